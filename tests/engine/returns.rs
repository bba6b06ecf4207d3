//! S7: a node that comes back gets what it lacks while the application goes on; afterwards both
//! copies are equal, whatever happened to names, contents and attributes meanwhile.
use crate::pair::{Node, Pair, assert_same, tree};
use crate::return_bytes::return_bytes;
use lockstep::model::{EngineCommand, EngineEvent, Level, Plan};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
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

/// A4: what a node that is alone changed is not forgotten by its own death, again and again, also
/// in the middle of changes of every kind.
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

/// A7, S8: what somebody changes in the plain directory of a stopped module is found, on either
/// node, and the primary's wins; what nobody changed is not compared for it.
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

/// More zones than one mark holds, most of them a hole: sent new, found changed, compared whole.
#[test]
fn a_long_sparse_file_returns() {
    const SIZE: u64 = 5 << 30;
    let mut pair = Pair::mirrored(Level::Mirror);
    let file = pair.dir.join("sparse").display().to_string();
    let write = |node: &Node, text: &str, mib: u64| {
        node.run(&format!(
            "printf {text} | dd of={file} bs=1M seek={mib} conv=notrunc status=none && sync {file}"
        ));
    };
    // To read all of it would take longer than the return.
    let assert_copied = |pair: &Pair, content: &[(u64, &[u8; 5])]| {
        let copy = std::fs::File::open(pair.n2.backing.join("sparse")).unwrap();
        assert_eq!(copy.metadata().unwrap().len(), SIZE);
        for (mib, text) in content {
            let mut bytes = [0; 5];
            copy.read_exact_at(&mut bytes, mib << 20).unwrap();
            assert_eq!(&bytes, *text, "at {mib} MiB");
        }
    };
    pair.lose_n2();
    pair.n1.run(&format!("truncate -s {SIZE} {file}"));
    write(&pair.n1, "first", 3);
    write(&pair.n1, "far..", 4500);
    pair.return_n2();
    assert_copied(&pair, &[(3, b"first"), (4500, b"far..")]);
    // The secondary's history is lost: everything is compared.
    write(&pair.n1, "later", 4200);
    pair.lose_n2();
    pair.n1.run(&format!("fallocate -p -o 3M -l 1M {file}"));
    std::fs::remove_dir_all(pair.n2.base.join("state")).unwrap();
    let (plan, bytes) = return_bytes(&mut pair.n1, &mut pair.n2);
    assert_eq!(plan, Plan::Digests);
    assert!(bytes < 4 << 20, "{bytes} bytes travelled for a few pages");
    assert_copied(&pair, &[(3, &[0; 5]), (4500, b"far.."), (4200, b"later")]);
    let space = pair.n2.run(&format!("du -k {file} | cut -f1"));
    assert!(space.trim().parse::<u64>().unwrap() < 4096, "{space} KiB on the secondary");
}
