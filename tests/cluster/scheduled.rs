//! `rfs syncat`: the secondary waits between two synchronisations.
use crate::fixture::{Cluster, DATA, MODULE, Wish};
use crate::support::wait_for;

#[test]
fn a_scheduled_secondary_waits_and_a_person_may_synchronise_now() {
    // On a leap day only: nothing but the command opens it here.
    let wish = Wish { rfs: "syncat=\"0 0 29 2 *\"", ..Wish::default() };
    let Some(cluster) = Cluster::installed("syncat", wish) else { return };
    let file = format!("{DATA}/late");
    let read = |node: &str| {
        let output = cluster.lab.try_run(["exec", node, "--", "cat", &file]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    cluster.ok("n1", &["prim", "-m", MODULE]);
    cluster.wait("n1", "ALONE Ready");
    cluster.ok("n2", &["second", "-m", MODULE]);
    cluster.wait("n2", "WAIT NotReady");
    let reason = cluster.view("n2")["reason"].to_string();
    assert!(reason.contains("rfs_syncat_wait") && reason.contains("set -r rfs.syncat"), "{reason}");
    cluster.wait_log("n2", "not synchronous");
    for turn in ["one", "two"] {
        cluster.lab.sh("n1", &format!("echo {turn} > {file}"));
        assert_ne!(read("n2"), turn);
        cluster.ok("n2", &["set", "-r", "rfs.syncat", "-v", "up", "-m", MODULE]);
        wait_for("the copy", || read("n2") == turn);
        cluster.wait("n2", "WAIT NotReady");
        cluster.wait("n1", "ALONE Ready");
    }
    assert_eq!(cluster.view("n2")["loops"]["count"], 0, "a schedule is no error");
    let reason = cluster.view("n1")["reason"].to_string();
    assert!(reason.contains("syncat"), "{reason}");
    // The primary is lost: nobody takes over.
    cluster.ok("n1", &["stop", "-m", MODULE]);
    cluster.wait("n1", "STOP NotReady");
    cluster.wait_log("n2", "Data may be not uptodate for replicated directories");
    assert_eq!(cluster.state("n2"), "WAIT NotReady");
}
