//! S1, S3, A1 … A5: whatever is killed, nothing that returned to the application is missing.
use crate::pair::{LIMIT, Node, Pair, assert_same, tree};
use crate::returns::churn;
use lockstep::model::{EngineCommand, EngineEvent, Level};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;
use std::time::Instant;

const WRITER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/writer.py");

/// Writes, renames and syncs, and notes outside of the mirror what returned.
struct Recorded {
    child: Child,
    log: std::path::PathBuf,
    dir: std::path::PathBuf,
}

impl Recorded {
    fn start(node: &Node, dir: &Path, name: &str) -> Recorded {
        let log = node.base.join(format!("{name}.acknowledged"));
        let dir = dir.join(name);
        let script =
            format!("exec /usr/bin/python3 -B {WRITER} {} {}", dir.display(), log.display());
        Recorded { child: node.spawn(&script), log, dir }
    }

    fn acknowledged(&self) -> usize {
        std::fs::read_to_string(&self.log).map_or(0, |text| text.lines().count())
    }

    /// So many more operations returned.
    fn await_more(&self, count: usize) {
        let (before, end) = (self.acknowledged(), Instant::now() + LIMIT);
        while self.acknowledged() < before + count {
            assert!(Instant::now() < end, "the writer stands still at {before}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// The writer ends (its engine died, or it is told to) and everything noted is on `node`.
    fn verify(&mut self, node: &Node) {
        std::fs::write(self.log.with_extension("stop"), "").unwrap();
        node.end_of(&mut self.child);
        let (dir, log) = (self.dir.display(), self.log.display());
        let text = node.run(&format!("/usr/bin/python3 -B {WRITER} {dir} {log} verify 2>&1"));
        assert!(text.contains("nothing missing"), "on {}: {text}", node.name);
    }
}

pub fn lost(event: &EngineEvent) -> bool {
    matches!(event, EngineEvent::PeerLost { .. })
}

/// A2: operations wait while the secondary is silent, and go on when the primary goes alone.
#[test]
fn a_dead_secondary_holds_operations_and_loses_nothing() {
    let mut pair = Pair::mirrored(Level::Mirror);
    for round in 0..2 {
        let mut writer = Recorded::start(&pair.n1, &pair.dir, &format!("w{round}"));
        writer.await_more(200);
        pair.n2.kill();
        pair.n1.wait(lost);
        let held = writer.acknowledged();
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(writer.acknowledged(), held, "an operation returned while nobody decided");
        pair.n1.go_alone();
        writer.await_more(100);
        pair.return_n2();
        writer.await_more(100);
        writer.verify(&pair.n1);
        pair.assert_equal();
        writer.verify(&pair.n2);
    }
}

/// A2: a secondary whose copy turns out not to be what it should be is out, whatever it says when
/// it comes again; nothing returns before that is decided, and then it is compared.
#[test]
fn a_secondary_that_failed_is_not_in_sync_again_by_itself() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display().to_string();
    for (round, change) in ["mv f g", "cp --reflink=never f g && mv f h"].iter().enumerate() {
        pair.n1.run(&format!("cd {dir} && echo {round} > f && sync f"));
        pair.assert_equal();
        std::fs::remove_file(pair.n2.backing.join("f")).unwrap();
        let mut program = pair.n1.spawn(&format!("cd {dir} && {change}"));
        pair.n1.wait(lost);
        pair.n1.wait(|event| match event {
            EngineEvent::PeerReady { .. } => panic!("in sync again without a comparison"),
            EngineEvent::Log { text, .. } => text.contains("has to be compared"),
            _ => false,
        });
        assert!(program.try_wait().unwrap().is_none(), "returned while nobody decided");
        pair.n1.go_alone();
        assert!(pair.n1.end_of(&mut program).success());
        pair.n2.follow(false);
        pair.await_ready();
        pair.assert_equal();
    }
}

/// A1, A4: what returned under a dead primary is on the secondary that takes over.
#[test]
fn a_dead_primary_leaves_everything_on_the_other_node() {
    use Level::{Disk, Memory, Mirror};
    for (round, level) in [Mirror, Mirror, Mirror, Memory, Disk].into_iter().enumerate() {
        let mut pair = Pair::mirrored(level);
        let mut writer = Recorded::start(&pair.n1, &pair.dir, "w");
        writer.await_more(150 + round * 70);
        pair.n1.kill();
        pair.n2.wait(|event| matches!(event, EngineEvent::PrimaryLost { .. }));
        pair.n2.lead(false);
        writer.verify(&pair.n2);
        churn(&pair.n2, &pair.dir, round as u64, 200);
        // The old primary comes back as secondary and is level again.
        pair.n1.start();
        pair.n1.follow(false);
        pair.n1.wait(|event| matches!(event, EngineEvent::Ready));
        pair.assert_equal();
    }
}

/// The process dies at a named place; the other node has everything that returned.
fn secondary_dies_at(point: &str) {
    let mut pair = Pair::new(Level::Mirror);
    pair.n1.start();
    pair.n1.lead(true);
    churn(&pair.n1, &pair.dir, 5, 100);
    pair.n2.start_with(&[(FAILPOINT, point)]);
    pair.n2.command(&EngineCommand::Follow { discard: false, full: false });
    let mut writer = Recorded::start(&pair.n1, &pair.dir, "w");
    pair.n2.wait_end();
    std::thread::sleep(std::time::Duration::from_millis(1200));
    pair.n1.go_alone();
    writer.await_more(50);
    pair.return_n2();
    writer.verify(&pair.n1);
    pair.assert_equal();
}

#[test]
fn a_secondary_may_die_before_it_applies() {
    secondary_dies_at("before-apply:300");
}

#[test]
fn a_secondary_may_die_after_it_applied() {
    secondary_dies_at("after-apply:300");
}

#[test]
fn a_secondary_may_die_when_it_became_current() {
    secondary_dies_at("after-follower-current");
}

/// A4: an engine that went alone durably and died goes on alone, and knows what the peer lacks.
#[test]
fn a_primary_may_die_when_it_went_alone() {
    let mut pair = Pair::mirrored(Level::Mirror);
    churn(&pair.n1, &pair.dir, 1, 300);
    pair.n1.kill();
    pair.n1.start_with(&[(FAILPOINT, "after-go-alone-durable")]);
    pair.n1.lead(true);
    pair.n1.wait(|event| matches!(event, EngineEvent::PeerReady { .. }));
    churn(&pair.n1, &pair.dir, 2, 200);
    pair.n2.kill();
    pair.n1.wait(lost);
    pair.n1.command(&EngineCommand::GoAlone { reason: "test".into() });
    pair.n1.wait_end();
    pair.n1.start();
    pair.n1.lead(false);
    churn(&pair.n1, &pair.dir, 3, 200);
    pair.return_n2();
    pair.assert_equal();
}

const FAILPOINT: &str = "LOCKSTEP_FAILPOINT";

/// A `Lead` that the engine must refuse, because its copy may not be the newest.
fn may_not_lead(node: &mut Node) {
    node.command(&EngineCommand::Lead { reason: "test".into(), forced: false });
    let answer =
        node.wait(|event| matches!(event, EngineEvent::Refused { .. } | EngineEvent::Leading));
    assert!(matches!(answer, EngineEvent::Refused { .. }), "{} leads: {answer:?}", node.name);
}

/// A3: the leader has recorded that the other copy is in sync and dies before that copy knows it:
/// it must not lead, the leader's has everything.
#[test]
fn a_primary_may_die_when_it_recorded_its_secondary() {
    let mut pair = Pair::new(Level::Mirror);
    pair.n1.start_with(&[(FAILPOINT, "after-leader-admit")]);
    pair.n1.lead(true);
    churn(&pair.n1, &pair.dir, 1, 300);
    pair.n2.start();
    pair.n2.command(&EngineCommand::Follow { discard: false, full: false });
    pair.n1.wait_end();
    may_not_lead(&mut pair.n2);
    pair.n2.kill();
    pair.n1.start();
    pair.n1.lead(false);
    churn(&pair.n1, &pair.dir, 2, 200);
    pair.return_n2();
    pair.assert_equal();
}

/// A4: the secondary has recorded that it leads and dies before its first change: it leads again,
/// and the old primary gets what it lacks.
#[test]
fn a_secondary_may_die_when_it_took_over() {
    let mut pair = Pair::new(Level::Mirror);
    pair.n1.start();
    pair.n2.start_with(&[(FAILPOINT, "after-lead-durable")]);
    pair.n1.lead(true);
    pair.n2.follow(false);
    pair.await_ready();
    let mut writer = Recorded::start(&pair.n1, &pair.dir, "w");
    writer.await_more(200);
    pair.n1.kill();
    pair.n2.command(&EngineCommand::Lead { reason: "test".into(), forced: false });
    pair.n2.wait_end();
    pair.n2.start();
    pair.n2.lead(false);
    writer.verify(&pair.n2);
    churn(&pair.n2, &pair.dir, 3, 200);
    pair.n1.start();
    pair.n1.follow(false);
    pair.n1.wait(|event| matches!(event, EngineEvent::Ready));
    pair.assert_equal();
}

/// A2: a secondary that recorded itself as outdated and died never leads by itself again.
#[test]
fn a_secondary_may_die_when_it_gave_its_copy_up() {
    let mut pair = Pair::new(Level::Mirror);
    pair.n1.start();
    pair.n2.start_with(&[(FAILPOINT, "after-outdate")]);
    pair.n1.lead(true);
    pair.n2.follow(false);
    pair.await_ready();
    let mut writer = Recorded::start(&pair.n1, &pair.dir, "w");
    writer.await_more(200);
    pair.n2.command(&EngineCommand::Outdate { reason: "test".into() });
    pair.n2.wait_end();
    pair.n1.wait(lost);
    pair.n1.go_alone();
    writer.await_more(100);
    pair.n2.start();
    may_not_lead(&mut pair.n2);
    pair.n2.follow(false);
    pair.await_ready();
    writer.verify(&pair.n1);
    pair.assert_equal();
}

/// A program that nobody ends does not keep the primary from giving its part back: it is named,
/// then it loses the directory. Nothing of it is held any more, so it can be killed.
#[test]
fn a_program_that_stays_loses_the_directory() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display().to_string();
    let mut writer = pair.n1.spawn(&format!(
        "cd {dir} && exec 3>>f 2>/dev/null && echo in && for failure in 1 2 3; do \
         while echo line >&3; do sleep 0.01; done; done; exit 7"
    ));
    let mut stays = pair.n1.spawn(&format!("cd {dir} && echo in && exec sleep 100"));
    for program in [&mut writer, &mut stays] {
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "in\n");
    }
    pair.n2.kill();
    pair.n1.wait(lost);
    pair.n1.command(&EngineCommand::FailHeld);
    assert_eq!(pair.n1.end_of(&mut writer).code(), Some(7));
    pair.n1.command(&EngineCommand::Release { detach: false });
    let refused = pair.n1.wait(|event| matches!(event, EngineEvent::Refused { .. }));
    assert!(format!("{refused:?}").contains("sleep (process"), "{refused:?}");
    pair.n1.command(&EngineCommand::Release { detach: true });
    pair.n1.wait(|event| matches!(event, EngineEvent::Released));
    let bare = pair.n1.shell(&format!("touch {dir}/bare"));
    assert!(!bare.status.success(), "the directory is writable past the engine");
    stays.kill().unwrap();
    pair.n1.end_of(&mut stays);
    pair.n1.lead(false);
    pair.return_n2();
    pair.assert_equal();
}

/// A6, S8: a part is given back while a call waits for a secondary that hangs, and while a program
/// stays that calls again afterwards. Every call is answered, nothing is written past the module,
/// and the position that is told is one that the secondary has: nobody has to decide anything.
#[test]
fn giving_a_part_back_answers_every_call() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display().to_string();
    let sign = pair.n1.base.join("sign");
    pair.n1.run(&format!("echo a > {dir}/a"));
    let mut stays = pair.n1.spawn(&format!(
        "cd {dir} && echo in && while [ ! -e {} ]; do sleep 0.01; done; \
         (echo late > late) 2>/dev/null && exit 8; [ -e a ] && exit 9; exit 7",
        sign.display()
    ));
    let mut line = String::new();
    BufReader::new(stays.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "in\n");
    pair.n2.signal("STOP");
    let mut waits = pair.n1.spawn(&format!("(echo b > {dir}/b) 2>/dev/null || exit 7"));
    pair.n1.wait(lost);
    pair.n1.command(&EngineCommand::Release { detach: true });
    pair.n1.wait(|event| matches!(event, EngineEvent::Released));
    assert_eq!(pair.n1.end_of(&mut waits).code(), Some(7));
    std::fs::write(sign, "").unwrap();
    assert_eq!(pair.n1.end_of(&mut stays).code(), Some(7));
    for name in ["b", "late"] {
        assert!(!pair.n1.backing.join(name).exists(), "{name} was written past the module");
    }
    pair.n2.signal("CONT");
    pair.n2.wait(|event| matches!(event, EngineEvent::PrimaryLost { .. }));
    pair.n2.lead(false);
    pair.n1.follow(false);
    pair.n1.wait(|event| {
        assert!(!matches!(event, EngineEvent::NeedsDecision { .. }), "{event:?}");
        matches!(event, EngineEvent::Ready)
    });
    pair.assert_equal();
}

/// A11: a primary that gave its part back and died before it could say so: the secondary holds
/// everything, takes over, and the old primary follows without a comparison of everything.
#[test]
fn a_primary_may_die_when_it_gave_its_part_back() {
    let mut pair = Pair::new(Level::Mirror);
    pair.n1.start_with(&[(FAILPOINT, "after-release-durable")]);
    pair.n2.start();
    pair.n1.lead(true);
    pair.n2.follow(false);
    pair.await_ready();
    churn(&pair.n1, &pair.dir, 1, 300);
    let before = tree(&pair.n1.backing);
    pair.n1.command(&EngineCommand::Release { detach: false });
    pair.n1.wait_end();
    pair.n2.wait(|event| matches!(event, EngineEvent::PrimaryLost { .. }));
    pair.n2.lead(false);
    assert_same("the secondary lacks something", &before, &pair.n2.tree(&pair.dir));
    churn(&pair.n2, &pair.dir, 2, 200);
    pair.n1.start();
    pair.n1.follow(false);
    pair.n1.wait(|event| matches!(event, EngineEvent::Ready));
    pair.assert_equal();
}

/// An engine that was killed and does not end (it waits for a disk) may still write: no second one
/// starts beside it.
#[test]
fn a_module_has_one_engine() {
    let mut pair = Pair::new(Level::Mirror);
    pair.n1.start();
    let (program, config) = (crate::pair::binary(), &pair.n1.config);
    let script = format!("{} engine m --config {}", program.display(), config.display());
    let output = pair.n1.shell(&script);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("an earlier engine of this module has not ended"), "{said}");
    pair.n1.kill();
    pair.n1.start();
}
