//! S7: a node that comes back gets what it lacks while the application goes on; afterwards both
//! copies are equal, whatever happened to names, contents and attributes meanwhile.
use crate::pair::{Node, Pair, assert_same, tree};
use lockstep::model::{EngineCommand, EngineEvent, Level, Plan, Progress};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;

const CHURN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/churn.py");

/// Random operations of every kind, `count` of them.
pub fn churn(node: &Node, dir: &Path, seed: u64, count: u64) {
    node.run(&format!("/usr/bin/python3 -B {CHURN} {}/churn {seed} {count}", dir.display()));
}

/// Random operations until [`Churning::stop`].
pub struct Churning {
    child: Child,
    stop: std::path::PathBuf,
}

impl Churning {
    pub fn start(node: &Node, dir: &Path, seed: u64) -> Churning {
        let stop = node.base.join(format!("stop-{seed}"));
        let (dir, file) = (dir.display(), stop.display());
        let script = format!("exec /usr/bin/python3 -B {CHURN} {dir}/churn {seed} 0 {file}");
        Churning { child: node.spawn(&script), stop }
    }

    /// The engine died under it: how it ends is its own affair.
    pub fn ended(mut self, node: &Node) {
        std::fs::write(&self.stop, "").unwrap();
        node.end_of(&mut self.child);
    }

    pub fn stop(mut self, node: &Node) {
        std::fs::write(&self.stop, "").unwrap();
        assert!(node.end_of(&mut self.child).success(), "the application failed");
    }
}

/// What the secondary lacks after an outage is found again, for changes of every kind at random.
#[test]
fn a_returned_node_is_equal_after_changes_of_every_kind() {
    let mut pair = Pair::mirrored(Level::Mirror);
    for seed in 1..=4 {
        churn(&pair.n1, &pair.dir, seed, 1500);
        pair.lose_n2();
        churn(&pair.n1, &pair.dir, seed + 100, 400);
        pair.return_n2();
        pair.assert_equal();
    }
}

/// The application goes on during the return, on the very objects that travel.
#[test]
fn the_application_goes_on_during_a_return() {
    let mut pair = Pair::mirrored(Level::Mirror);
    churn(&pair.n1, &pair.dir, 1, 2000);
    for seed in 2..=5 {
        pair.lose_n2();
        let churning = Churning::start(&pair.n1, &pair.dir, seed);
        return_at_once(&mut pair);
        churning.stop(&pair.n1);
        pair.assert_equal();
    }
}

/// n2 returns, in one session: what the application renames and removes breaks none.
pub fn return_at_once(pair: &mut Pair) {
    pair.n2.start();
    pair.n2.follow(false);
    pair.n2.wait(|event| matches!(event, EngineEvent::Ready));
    pair.n1.wait(|event| match event {
        EngineEvent::PeerGone { reason, .. } => panic!("the return was broken off: {reason}"),
        event => matches!(event, EngineEvent::PeerReady { .. }),
    });
}

/// The older name of a new link lies in a directory that did not change, below one that did.
#[test]
fn a_link_to_a_file_further_down_stays_a_link() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display().to_string();
    pair.n1
        .run(&format!("cd {dir} && for i in $(seq 9); do mkdir -p d/n$i; echo $i > d/n$i/x; done"));
    pair.lose_n2();
    pair.n1.run(&format!("cd {dir} && for i in $(seq 9); do ln d/n$i/x d/y$i; done"));
    return_at_once(&mut pair);
    pair.assert_equal();
}

/// Files whose names are exchanged all the time, while each of them has something to be sent.
#[test]
fn renames_during_a_return_do_not_break_it() {
    const RENAMES: &str = "import os, sys\n\
        n = 0\n\
        while not os.path.exists(sys.argv[2]):\n\
        \x20   n += 1\n\
        \x20   a, b = (f'{sys.argv[1]}/{kind}{n % 50}' for kind in 'cr')\n\
        \x20   os.close(os.open(a, os.O_CREAT | os.O_WRONLY, 0o644))\n\
        \x20   os.rename(a, b)\n";
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.join("names").display().to_string();
    pair.n1.run(&format!("mkdir {dir}; for i in $(seq 2000); do echo $i > {dir}/f$i; done"));
    let script = pair.n1.base.join("renames.py");
    std::fs::write(&script, RENAMES).unwrap();
    for round in 0..3 {
        pair.lose_n2();
        pair.n1.run(&format!("for i in $(seq 500); do echo {round} >> {dir}/f$i; done"));
        let stop = pair.n1.base.join(format!("stop-{round}"));
        let (script, file) = (script.display(), stop.display());
        let mut child = pair.n1.spawn(&format!("exec /usr/bin/python3 -B {script} {dir} {file}"));
        return_at_once(&mut pair);
        std::fs::write(&stop, "").unwrap();
        assert!(pair.n1.end_of(&mut child).success(), "the application failed");
        pair.assert_equal();
    }
}

const MIB: u64 = 1 << 20;
const BIG_MIB: u64 = 256;

/// A file whose pages are on both disks, and remembered as being there.
fn big_file(pair: &mut Pair) -> String {
    let file = pair.dir.join("big").display().to_string();
    pair.n1.run(&format!("head -c {BIG_MIB}M /dev/urandom > {file} && sync {file}"));
    pair.n1.command(&EngineCommand::Flush);
    pair.n1.wait(|event| matches!(event, EngineEvent::Flushed));
    // What was written since the last checkpoint would be compared as well.
    std::thread::sleep(std::time::Duration::from_secs(6));
    file
}

/// Rewrites 1 % of the file in random pages; how many bytes that are.
fn change_pages(node: &Node, file: &str, seed: u64) -> u64 {
    change_pages_below(node, file, seed, BIG_MIB)
}

/// As [`change_pages`], in the first `mib` of it.
fn change_pages_below(node: &Node, file: &str, seed: u64, mib: u64) -> u64 {
    let changed = BIG_MIB * MIB / 100 / 4096;
    node.run(&format!(
        "/usr/bin/python3 -c 'import os, random\nr = random.Random({seed})\n\
         fd = os.open(\"{file}\", os.O_RDWR)\n\
         for p in r.sample(range({}), {changed}): os.pwrite(fd, r.randbytes(4096), p * 4096)'",
        mib * MIB / 4096
    ));
    changed * 4096
}

/// `follower` returns to `leader`: the plan, and the bytes that travelled as the leader counts them.
fn return_bytes(leader: &mut Node, follower: &mut Node) -> (Plan, u64) {
    follower.start();
    follower.follow(false);
    follower.wait(|event| matches!(event, EngineEvent::Ready));
    let (mut plan, mut bytes) = (None, 0);
    leader.wait(|event| {
        match event {
            EngineEvent::Return(progress) => bytes = bytes.max(progress.bytes_sent),
            EngineEvent::Handshake { verdict, .. } => plan = Some(verdict.plan.clone()),
            _ => {}
        }
        matches!(event, EngineEvent::PeerReady { .. })
    });
    (plan.expect("a plan was told"), bytes)
}

/// `reiallowedbw`: what a return sends is spread over time, from its beginning.
#[test]
fn a_return_keeps_to_its_bandwidth() {
    const LIMIT: u64 = 1_024_000;
    let mut pair = Pair::new(Level::Mirror);
    pair.n1.limit_return(LIMIT);
    pair.begin();
    pair.lose_n2();
    for file in 0..10 {
        let path = pair.dir.join(format!("big-{file}"));
        pair.n1.run(&format!("head -c {LIMIT} /dev/urandom >{}", path.display()));
    }
    let told = return_told(&mut pair);
    let last = told.last().unwrap();
    assert!(last.bytes_done >= 10 * LIMIT, "{} bytes", last.bytes_done);
    assert!(last.elapsed_ms >= 8_000, "over after {} ms", last.elapsed_ms);
    for progress in &told {
        let rate = progress.bytes_done * 1000 / progress.elapsed_ms.max(1);
        assert!(rate <= LIMIT * 12 / 10, "{rate} bytes a second: {progress:?}");
    }
    pair.assert_equal();
}

/// n2 returns to n1: what n1 told of it.
fn return_told(pair: &mut Pair) -> Vec<Progress> {
    let mut told = Vec::new();
    pair.n2.start();
    pair.n2.follow(false);
    pair.n2.wait(|event| matches!(event, EngineEvent::Ready));
    pair.n1.wait(|event| {
        if let EngineEvent::Return(progress) = event {
            told.push(progress.clone());
        }
        matches!(event, EngineEvent::PeerReady { .. })
    });
    assert!(told.len() > 1, "a return that takes seconds is told more than once");
    told
}

/// After an outage without a crash only the changed pages travel: at most 1.2 × their bytes. And
/// nothing else is read, on either node.
#[test]
fn only_changed_pages_travel() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let file = big_file(&mut pair);
    pair.lose_n2();
    let changed = change_pages(&pair.n1, &file, 1);
    let before = pair.n1.bytes_read();
    let (plan, bytes) = return_bytes(&mut pair.n1, &mut pair.n2);
    assert_eq!(plan, Plan::Zones { theirs: false });
    let read = [pair.n1.bytes_read() - before, pair.n2.bytes_read()];
    assert!(read[0] <= changed + MIB && read[1] <= MIB, "{read:?} bytes read, {changed} changed");
    pair.assert_equal();
    let limit = changed * 12 / 10;
    assert!(bytes > 0 && bytes <= limit, "{bytes} bytes travelled, at most {limit} are promised");
}

/// The primary dies, the other node takes over and writes, the dead one returns: neither reads more
/// than the zones that were touched, and what differs travels once.
#[test]
fn only_changed_pages_travel_after_the_primary_died() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let file = big_file(&mut pair);
    let before = change_pages(&pair.n1, &file, 1);
    pair.n1.kill();
    pair.n2.lead(false);
    let after = change_pages(&pair.n2, &file, 2);
    let (plan, bytes) = return_bytes(&mut pair.n2, &mut pair.n1);
    assert_eq!(plan, Plan::Zones { theirs: false });
    pair.assert_equal();
    // What was under way may be on the dead node or not: it is compared, and travels at most once.
    let limit = (before + after) * 12 / 10 + digests(&file, &pair.n2);
    assert!(bytes > 0 && bytes <= limit, "{bytes} bytes travelled, at most {limit} are promised");
}

/// The same when the only member was stopped and started: its marks were on disk before the changes.
#[test]
fn only_changed_pages_travel_after_the_only_member_was_stopped() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let file = big_file(&mut pair);
    pair.lose_n2();
    let mut changed = change_pages(&pair.n1, &file, 1);
    pair.n1.release();
    pair.n1.command(&EngineCommand::Shutdown);
    pair.n1.wait_end();
    pair.n1.start();
    pair.n1.lead(false);
    changed += change_pages(&pair.n1, &file, 2);
    let (plan, bytes) = return_bytes(&mut pair.n1, &mut pair.n2);
    assert_eq!(plan, Plan::Zones { theirs: false });
    pair.assert_equal();
    let limit = changed * 12 / 10;
    assert!(bytes > 0 && bytes <= limit, "{bytes} bytes travelled, at most {limit} are promised");
}

/// The same when both nodes were stopped in order and the one that starts first writes: what stopped
/// in sync is not compared as a whole, whichever node leads.
#[test]
fn only_changed_pages_travel_after_both_were_stopped() {
    for primary_returns_first in [true, false] {
        let mut pair = Pair::mirrored(Level::Mirror);
        let file = big_file(&mut pair);
        pair.n1.release();
        pair.n2.wait(|event| matches!(event, EngineEvent::PrimaryLost { .. }));
        pair.n2.release();
        for node in [&mut pair.n1, &mut pair.n2] {
            node.command(&EngineCommand::Shutdown);
            node.wait_end();
        }
        if !primary_returns_first {
            std::mem::swap(&mut pair.n1, &mut pair.n2);
        }
        pair.n1.start();
        pair.n1.lead(false);
        let changed = change_pages(&pair.n1, &file, 2);
        let (plan, bytes) = return_bytes(&mut pair.n1, &mut pair.n2);
        assert_eq!(plan, Plan::Zones { theirs: false });
        pair.assert_equal();
        let limit = changed * 12 / 10;
        assert!(bytes > 0 && bytes <= limit, "{bytes} bytes travelled, at most {limit} promised");
    }
}

/// What a member had not on both disks when it stopped in order: a power cut of the other node may
/// have taken it there, and nothing else says so.
#[test]
fn what_the_other_disk_may_lack_is_remembered_by_an_orderly_stop() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let file = pair.dir.join("late").display().to_string();
    pair.n1.run(&format!("printf first_ >{file} && sync {file}"));
    pair.n1.run(&format!("printf second | dd of={file} conv=notrunc status=none"));
    pair.n1.release();
    pair.n1.command(&EngineCommand::Shutdown);
    pair.n1.wait_end();
    pair.n2.kill();
    // As a power cut leaves it: neither size nor time tells.
    let copy = pair.n2.backing.join("late");
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), "second");
    let modified = std::fs::metadata(&copy).unwrap().modified().unwrap();
    std::fs::write(&copy, "first_").unwrap();
    std::fs::File::options().write(true).open(&copy).unwrap().set_modified(modified).unwrap();
    pair.n1.start();
    pair.n1.lead(false);
    let (plan, _) = return_bytes(&mut pair.n1, &mut pair.n2);
    assert_eq!(plan, Plan::Zones { theirs: false });
    pair.assert_equal();
}

/// The same when the only member died: the zones that it touched are compared, no others are read.
#[test]
fn only_touched_zones_are_read_after_the_only_member_died() {
    const TOUCHED_MIB: u64 = 32;
    let mut pair = Pair::mirrored(Level::Mirror);
    let file = big_file(&mut pair);
    pair.lose_n2();
    let mut changed = change_pages_below(&pair.n1, &file, 1, TOUCHED_MIB);
    pair.n1.kill();
    pair.n1.start();
    pair.n1.lead(false);
    changed += change_pages_below(&pair.n1, &file, 2, TOUCHED_MIB);
    let before = pair.n1.bytes_read();
    let (plan, bytes) = return_bytes(&mut pair.n1, &mut pair.n2);
    assert_eq!(plan, Plan::Zones { theirs: false });
    let read = [pair.n1.bytes_read() - before, pair.n2.bytes_read()];
    let zones = (TOUCHED_MIB + 2) * MIB + changed;
    assert!(
        read.iter().all(|read| *read <= zones),
        "{read:?} bytes read, {zones} in the zones and sent"
    );
    pair.assert_equal();
    let limit = changed * 12 / 10 + TOUCHED_MIB * MIB / 4096 * 32;
    assert!(bytes > 0 && bytes <= limit, "{bytes} bytes travelled, at most {limit} are promised");
}

/// Bytes of the digests of every page of the file, 32 each.
fn digests(file: &str, node: &Node) -> u64 {
    let size: u64 = node.run(&format!("stat -c %s {file}")).trim().parse().unwrap();
    size / 4096 * 32
}

/// A planned move: flush, release, lead, follow; nothing travels twice and both are equal.
#[test]
fn a_swap_and_a_swap_back() {
    let mut pair = Pair::mirrored(Level::Mirror);
    for seed in 0..2 {
        churn(&pair.n1, &pair.dir, seed, 300);
        pair.n1.command(&EngineCommand::Flush);
        pair.n1.wait(|event| matches!(event, EngineEvent::Flushed));
        pair.n1.release();
        pair.n2.lead(false);
        pair.n1.follow(false);
        pair.n1.wait(|event| matches!(event, EngineEvent::Ready));
        pair.n2.wait(|event| matches!(event, EngineEvent::PeerReady { .. }));
        churn(&pair.n2, &pair.dir, seed + 50, 300);
        pair.n2.command(&EngineCommand::Flush);
        pair.n2.wait(|event| matches!(event, EngineEvent::Flushed));
        pair.n2.release();
        pair.n1.lead(false);
        pair.n2.follow(false);
        pair.await_ready();
        pair.assert_equal();
    }
}

/// What is done to a file without a name is nobody else's affair: the copies stay equal, and the
/// position of a primary that stops right after it is not ahead of its secondary's.
#[test]
fn a_file_without_a_name_puts_no_primary_ahead() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display().to_string();
    // Modification times wait for less than a second before they are sent; and the file stays open.
    let script = "exec 3>gone && rm gone && sleep 1 && echo last >&3 && echo done && exec sleep 60";
    let mut holds = pair.n1.spawn(&format!("cd {dir} && {script}"));
    let mut line = String::new();
    BufReader::new(holds.stdout.take().unwrap()).read_line(&mut line).unwrap();
    pair.n1.command(&EngineCommand::Release { detach: true });
    pair.n1.wait(|event| matches!(event, EngineEvent::Released));
    holds.kill().unwrap();
    pair.n1.end_of(&mut holds);
    pair.n2.wait(|event| matches!(event, EngineEvent::PrimaryLost { .. }));
    pair.n2.lead(false);
    pair.n2.run(&format!("echo new > {dir}/new"));
    pair.n1.follow(false);
    pair.n1.wait(|event| match event {
        EngineEvent::NeedsDecision { text, .. } => panic!("a fork: {text}"),
        event => matches!(event, EngineEvent::Ready),
    });
    pair.assert_equal();
}

/// Both were alone: a person decides, nothing is overwritten before, and afterwards both are equal.
#[test]
fn a_fork_needs_a_decision_and_changes_nothing() {
    let mut pair = Pair::mirrored(Level::Mirror);
    churn(&pair.n1, &pair.dir, 1, 300);
    pair.n1.kill();
    pair.n2.lead(true);
    churn(&pair.n2, &pair.dir, 2, 100);
    pair.n2.release();
    pair.n2.command(&EngineCommand::Shutdown);
    pair.n2.wait_end();
    pair.n1.start();
    pair.n1.lead(true);
    churn(&pair.n1, &pair.dir, 3, 100);
    let before = tree(&pair.n2.backing);
    pair.n2.start();
    pair.n2.follow(false);
    pair.n2.wait(|event| matches!(event, EngineEvent::NeedsDecision { .. }));
    assert_same("a fork was overwritten", &before, &tree(&pair.n2.backing));
    pair.n2.follow(true);
    pair.await_ready();
    pair.assert_equal();
}

fn restart(node: &mut Node) {
    node.command(&EngineCommand::Shutdown);
    node.wait_end();
    node.start();
}

/// What a person is told when n2 follows n1 and both wrote.
fn fork_sentence(pair: &mut Pair) -> String {
    pair.n2.follow(false);
    let asks = |event: &EngineEvent| matches!(event, EngineEvent::NeedsDecision { .. });
    let EngineEvent::NeedsDecision { text, .. } = pair.n2.wait(asks) else { unreachable!() };
    text
}

fn make_files(node: &Node, dir: &Path, count: u32) {
    node.run(&format!("cd {} && for i in $(seq {count}); do echo $i > new$i; done", dir.display()));
}

/// A person who must choose between two copies is told how much each side changed, also what it
/// changed in an earlier life of its engine; where nobody counted, that is said.
#[test]
fn a_fork_tells_how_much_each_side_changed() {
    // n1 was left alone and counted, n2 was forced and could not.
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.clone();
    pair.lose_n2();
    make_files(&pair.n1, &dir, 5);
    pair.n1.restart_in_place();
    pair.n2.start();
    pair.n2.lead(true);
    make_files(&pair.n2, &dir, 3);
    pair.n2.release();
    restart(&mut pair.n2);
    pair.n1.lead(false);
    let text = fork_sentence(&mut pair);
    assert!(text.contains("n1 holds position") && text.contains("epoch 2, 6 objects"), "{text}");
    assert!(text.contains("epoch 2, its changes were not counted"), "{text}");

    // n2 took over and counted, n1 was forced; n2 is asked as it is, then in a new life.
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.clone();
    pair.n1.kill();
    pair.n2.lead(true);
    make_files(&pair.n2, &dir, 5);
    pair.n2.release();
    pair.n1.start();
    pair.n1.lead(true);
    make_files(&pair.n1, &dir, 3);
    for _ in 0..2 {
        let text = fork_sentence(&mut pair);
        let own = text.split("n1 holds").next().unwrap();
        assert!(own.contains("epoch 2, 6 objects"), "{text}");
        assert!(text.contains("epoch 2, its changes were not counted"), "{text}");
        restart(&mut pair.n2);
    }
    pair.n1.restart_in_place();
    pair.n1.lead(false);
    let text = fork_sentence(&mut pair);
    assert!(text.contains("its changes were not counted"), "{text}");
}

/// Both nodes restarted, orderly and not: the copies meet again.
#[test]
fn both_restarted() {
    let mut pair = Pair::mirrored(Level::Mirror);
    churn(&pair.n1, &pair.dir, 1, 400);
    pair.n2.power_off();
    pair.n1.power_off();
    pair.n1.start();
    pair.n1.lead(true);
    churn(&pair.n1, &pair.dir, 2, 100);
    pair.return_n2();
    pair.assert_equal();
}

/// Directories: moved, replaced by files, made anew under an old name, with links across them.
#[test]
fn names_of_every_kind_after_an_outage() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display().to_string();
    pair.n1.run(&format!(
        "cd {dir} && mkdir -p a/b c d && echo 1 > a/one && ln a/one c/uno && echo 2 > c/two && \
         ln -s one a/sym && mkfifo c/p && echo deep > a/b/deep && ln a/b/deep d/deep && \
         echo x > d/kind && mkdir d/dir && echo keep > keep && ln keep c/keep && \
         setfattr -n user.a -v 1 a && chmod 700 d"
    ));
    pair.lose_n2();
    pair.n1.run(&format!(
        "cd {dir} && mv a moved && mkdir a && echo new > a/one && ln keep a/kept && \
         echo other > t && mv t c/keep && rm d/kind && mkdir d/kind && rmdir d/dir && \
         echo file > d/dir && ln -sf two moved/sym && rm c/p && echo nopipe > c/p && \
         setfattr -x user.a moved && setfattr -n user.b -v 2 d && chmod 750 d && \
         mv c/two d/two && ln d/two c/two && chmod 600 moved/b && truncate -s 5M keep && \
         fallocate -p -o 4096 -l 8192 keep && ln keep moved/keep3"
    ));
    pair.return_n2();
    pair.assert_equal();
}

/// n1 changes things alone, is ended and started, three times; what it changed, and only that, is
/// sent to n2, in each of `rounds`.
fn ends_of_a_lonely_primary(rounds: u64, end: fn(&mut Pair, u64)) {
    let mut pair = Pair::mirrored(Level::Mirror);
    churn(&pair.n1, &pair.dir, 1, 800);
    for round in 0..rounds {
        pair.lose_n2();
        for life in 0..3 {
            let seed = 100 * round + 10 + life;
            churn(&pair.n1, &pair.dir, seed, 150);
            end(&mut pair, seed);
            pair.n1.start();
            pair.n1.lead(false);
        }
        let churning = Churning::start(&pair.n1, &pair.dir, 100 * round + 40);
        let (plan, _) = return_bytes(&mut pair.n1, &mut pair.n2);
        assert_eq!(plan, Plan::Zones { theirs: false });
        churning.stop(&pair.n1);
        pair.assert_equal();
    }
}

/// A4: what a node that is alone changed is not forgotten by its own death, again and again, also in
/// the middle of changes of every kind.
#[test]
fn a_lonely_primary_may_die_and_forgets_nothing() {
    ends_of_a_lonely_primary(2, |pair, seed| {
        let churning = Churning::start(&pair.n1, &pair.dir, seed + 20);
        std::thread::sleep(std::time::Duration::from_millis(300 + seed % 7 * 40));
        pair.n1.kill();
        churning.ended(&pair.n1);
    });
}

/// An orderly stop keeps the marks, and the return goes by them.
#[test]
fn a_lonely_primary_may_stop_and_remembers_what_it_changed() {
    ends_of_a_lonely_primary(3, |pair, _| {
        pair.n1.release();
        pair.n1.command(&EngineCommand::Shutdown);
        pair.n1.wait_end();
    });
}

/// A7, S8: what somebody changes in the plain directory of a stopped module is found, on either node,
/// and the primary's wins; what nobody changed is not compared for it.
#[test]
fn changes_of_a_stopped_module_are_found() {
    fn stop(node: &mut Node) {
        node.release();
        node.command(&EngineCommand::Shutdown);
        node.wait_end();
    }
    const CHANGE: &str = "echo restored > a && rm b && mkdir c && chmod 600 d/deep";
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display().to_string();
    pair.n1.run(&format!("cd {dir} && mkdir d && touch a b d/deep e && sync -f a"));
    for changed in [None, Some(1), Some(2), None] {
        stop(&mut pair.n2);
        pair.n1.wait(|event| matches!(event, EngineEvent::PeerLost { .. }));
        pair.n1.go_alone();
        stop(&mut pair.n1);
        if let Some(changed) = changed {
            let node = if changed == 1 { &pair.n1 } else { &pair.n2 };
            let script = format!("cd {} && touch -d @0 b && {CHANGE}", node.backing.display());
            let done = std::process::Command::new("sh").args(["-ec", &script]).status();
            assert!(done.unwrap().success());
            // An engine that came and went without a part saw nothing.
            pair.n1.start();
            pair.n1.command(&EngineCommand::Shutdown);
            pair.n1.wait_end();
        }
        let primary = tree(&pair.n1.backing);
        pair.n1.start();
        pair.n1.lead(false);
        let (plan, _) = return_bytes(&mut pair.n1, &mut pair.n2);
        assert_eq!(plan == Plan::Digests, changed.is_some(), "{changed:?}: {plan:?}");
        pair.assert_equal();
        assert_same("the primary's copy was changed", &primary, &tree(&pair.n1.backing));
        pair.n1.run(&format!("cd {dir} && rm -rf c && touch b"));
    }
}

/// The same while directories move under the search for what is marked.
#[test]
fn marks_are_found_again_while_directories_move() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display().to_string();
    pair.n1.run(&format!(
        "cd {dir} && for d in $(seq 40); do mkdir -p t/$d/x/y; for f in $(seq 20); do \
         echo $d > t/$d/x/y/$f; done; done; mkdir u"
    ));
    pair.lose_n2();
    pair.n1.run(&format!("cd {dir} && for f in t/*/x/y/*; do echo changed >> $f; done"));
    pair.n1.release();
    pair.n1.lead(false);
    let mut moving = pair.n1.spawn(&format!(
        "cd {dir}; for round in $(seq 6); do for d in $(seq 40); do mv t/$d/x u/$d; done; \
         for d in $(seq 40); do mv u/$d t/$d/x; done; done"
    ));
    let (plan, _) = return_bytes(&mut pair.n1, &mut pair.n2);
    assert_eq!(plan, Plan::Zones { theirs: false });
    assert!(pair.n1.end_of(&mut moving).success());
    pair.assert_equal();
}

/// A return that is cut, on either side, begins again and ends equal.
#[test]
fn a_return_may_be_cut_anywhere() {
    let mut pair = Pair::mirrored(Level::Mirror);
    churn(&pair.n1, &pair.dir, 1, 800);
    pair.lose_n2();
    churn(&pair.n1, &pair.dir, 2, 800);
    for (round, point) in
        ["before-apply:20", "before-apply:90", "after-apply:200"].iter().enumerate()
    {
        let churning = Churning::start(&pair.n1, &pair.dir, 40 + round as u64);
        pair.n2.start_with(&[("LOCKSTEP_FAILPOINT", point)]);
        pair.n2.command(&lockstep::model::EngineCommand::Follow { discard: false, full: false });
        pair.n2.wait_end();
        churning.stop(&pair.n1);
    }
    pair.n1.kill();
    pair.n1.start();
    pair.n1.lead(false);
    pair.return_n2();
    pair.assert_equal();
}
