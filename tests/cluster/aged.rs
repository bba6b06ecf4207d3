//! `rfs syncdelta`: one of two nodes that lost their power goes on alone.
use crate::fixture::{Cluster, DATA, MODULE, Wish};

#[test]
fn one_of_two_nodes_without_power_goes_on_and_the_other_waits_for_a_person() {
    let wish = Wish { rfs: "syncdelta=\"10m\"", ..Wish::default() };
    let Some(cluster) = Cluster::started("syncdelta", wish) else { return };
    let file = format!("{DATA}/word");
    let write = |node: &str, word: &str| cluster.lab.sh(node, &format!("echo {word} > {file}"));
    let read = |node: &str| {
        let output = cluster.lab.try_run(["exec", node, "--", "cat", &file]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    write("n1", "both");
    cluster.lab.sh("n1", &format!("sync {file}"));
    cluster.wait_log("n1", "Resource rfs.synced set to up");
    cluster.lab.run(["kill", "n1"]);
    cluster.lab.run(["kill", "n2"]);
    cluster.lab.run(["boot", "n2"]);
    cluster.ok("n2", &["start", "-m", MODULE]);
    cluster.wait("n2", "ALONE Ready");
    cluster.wait_log("n2", "rfs_forceuptodate (syncdelta)");
    let reason = cluster.view("n2")["reason"].to_string();
    assert!(reason.contains("primary by syncdelta"), "{reason}");
    write("n2", "second");
    cluster.lab.run(["boot", "n1"]);
    cluster.ok("n1", &["start", "-m", MODULE]);
    cluster.wait("n1", "WAIT NotReady");
    let marks = cluster.view("n1")["marks"].to_string();
    assert!(marks.contains("needs-decision"), "{marks}");
    assert_eq!((read("n1").as_str(), read("n2").as_str()), ("both", "second"));
    // Not by itself, and not by a plain `second`.
    assert_eq!(cluster.cli("n1", &["second", "-m", MODULE]).status.code(), Some(3));
    assert_eq!(read("n1"), "both");
    cluster.ok("n1", &["second", "--discard", "-m", MODULE]);
    cluster.wait("n1", "SECOND Ready");
    cluster.wait("n2", "PRIM Ready");
    assert_eq!(read("n1"), "second");
    let reason = cluster.view("n2")["reason"].to_string();
    assert!(!reason.contains("syncdelta"), "{reason}");
}
