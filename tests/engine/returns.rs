//! S7: a node that comes back gets what it lacks while the application goes on; afterwards both
//! copies are equal, whatever happened to names, contents and attributes meanwhile.
use crate::pair::{Node, Pair};
use lockstep::model::Level;
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

    pub fn stop(mut self) {
        std::fs::write(&self.stop, "").unwrap();
        assert!(self.child.wait().unwrap().success(), "the application failed");
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
        pair.return_n2();
        churning.stop();
        pair.assert_equal();
    }
}
