//! Row "cut all networks, reconnect", with the outcome of the policy `both-alone`: both go on, and
//! nothing is overwritten without a person's word.
use crate::fixture::{Cluster, DATA, MODULE, Wish};
use std::fs;

/// Cuts the nodes apart until both are ALONE. Neither hears the other, each has its application.
fn split(cluster: &Cluster) {
    cluster.lab.run(["cut", "n1", "n2"]);
    cluster.wait("n2", "ALONE Ready");
    cluster.wait("n1", "ALONE Ready");
    for node in ["n1", "n2"] {
        let marks = cluster.view(node)["marks"].to_string();
        assert!(marks.contains("both-alone"), "a permanent mark in the status of {node}: {marks}");
    }
}

#[test]
fn both_wrote_and_a_person_decides() {
    let Some(cluster) = Cluster::started("fork", Wish::default()) else { return };
    cluster.lab.sh("n1", &format!("echo common >{DATA}/common"));
    split(&cluster);
    cluster.lab.sh("n1", &format!("echo one >{DATA}/written; echo 1 >{DATA}/only-n1"));
    cluster.lab.sh("n2", &format!("echo two >{DATA}/written; echo 2 >{DATA}/only-n2"));
    cluster.lab.run(["heal"]);
    // The one that was primary stays; the other one stops its application and waits.
    cluster.wait("n2", "WAIT NotReady");
    assert_eq!(cluster.state("n1"), "ALONE Ready");
    let reason = cluster.view("n2")["reason"].to_string();
    assert!(reason.contains("second") && reason.contains("--discard"), "{reason}");
    for lost in ["written", "only-n2"] {
        assert!(reason.contains(&format!("{DATA}/{lost}")), "what would be lost: {reason}");
    }
    assert!(cluster.calls().iter().any(|c| c.node == "n2" && c.script == "stop_prim"));
    // Nothing is overwritten, neither by waiting nor by starting again nor by a plain `second`.
    cluster.ok("n2", &["stop", "-m", MODULE, "--wait"]);
    cluster.ok("n2", &["start", "-m", MODULE]);
    cluster.wait("n2", "WAIT NotReady");
    let refused = cluster.cli("n2", &["second", "-m", MODULE]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    for words in ["--discard", "only-n2", "written"] {
        assert!(said.contains(words), "what would be lost: {said}");
    }
    cluster.wait("n2", "WAIT NotReady");
    assert_eq!(fs::read_to_string(cluster.copy("n2").join("written")).unwrap(), "two\n");
    assert!(cluster.copy("n2").join("only-n2").exists());
    // The word is given.
    cluster.ok("n2", &["second", "-m", MODULE, "--discard"]);
    cluster.wait("n2", "SECOND Ready");
    cluster.wait("n1", "PRIM Ready");
    assert_eq!(fs::read_to_string(cluster.copy("n2").join("written")).unwrap(), "one\n");
    assert!(!cluster.copy("n2").join("only-n2").exists());
    cluster.check_copies();
}

#[test]
fn only_one_side_wrote_and_the_other_follows_by_itself() {
    let Some(mut cluster) = Cluster::started("oneside", Wish::default()) else { return };
    // The client reaches n1 only: n2 becomes ALONE as well, and changes nothing.
    cluster.start_client();
    cluster.wait_acknowledged(100);
    cluster.lab.run(["cut", "client", "n2"]);
    cluster.lab.run(["cut", "n1", "n2"]);
    cluster.wait("n2", "ALONE Ready");
    cluster.wait("n1", "ALONE Ready");
    cluster.wait_acknowledged(200);
    // Both nodes hold the address: after the heal a client could reach n2 before it steps back.
    cluster.stop_client();
    cluster.lab.run(["heal"]);
    cluster.wait("n2", "SECOND Ready");
    cluster.wait("n1", "PRIM Ready");
    cluster.start_client();
    cluster.wait_acknowledged(100);
    cluster.stop_client();
    cluster.check_copies();
}

/// A cut in one direction only, and one that is healed before any limit: no role changes for the
/// short one, nothing is lost by either.
#[test]
fn a_short_cut_changes_no_role() {
    let Some(mut cluster) = Cluster::started("short", Wish::default()) else { return };
    cluster.start_client();
    cluster.wait_acknowledged(200);
    for _ in 0..3 {
        cluster.lab.run(["cut", "n1", "n2"]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        cluster.lab.run(["heal"]);
        cluster.wait_acknowledged(100);
    }
    cluster.wait("n1", "PRIM Ready");
    cluster.wait("n2", "SECOND Ready");
    assert_eq!(cluster.calls().iter().filter(|c| c.script == "start_prim").count(), 1);
    cluster.stop_client();
    cluster.check_copies();
}

/// A witness tells the node that is cut off from the one whose peer is dead: no fork, no person.
#[test]
fn with_a_witness_only_one_side_goes_on() {
    const WATCH: &str = r#"<check><splitbrain ident="gate" arg="%CLIENT%"/></check>"#;
    let wish = Wish { watch: Some(WATCH), ..Wish::default() };
    let Some(cluster) = Cluster::started("witness", wish) else { return };
    assert_eq!(cluster.view("n1")["policy"], "witness");
    // The primary is cut off, then the one that took over from it.
    for (lost, stays) in [("n1", "n2"), ("n2", "n1")] {
        cluster.lab.run(["cut", lost, stays]);
        cluster.lab.run(["cut", lost, "client"]);
        cluster.wait(stays, "ALONE Ready");
        cluster.wait(lost, "WAIT NotReady");
        let reason = cluster.view(lost)["reason"].to_string();
        assert!(reason.contains("cut off") && reason.contains("lockstep prim"), "{reason}");
        assert_eq!(cluster.application(lost), "", "the application was ended on {lost}");
        cluster.lab.sh(stays, &format!("echo {stays} >{DATA}/written-on-{stays}"));
        cluster.lab.run(["heal"]);
        cluster.wait(lost, "SECOND Ready");
        cluster.wait(stays, "PRIM Ready");
        cluster.check_copies();
    }
    // Nobody reaches the witness: both wait, and a person decides.
    for (one, other) in [("n1", "n2"), ("n1", "client"), ("n2", "client")] {
        cluster.lab.run(["cut", one, other]);
    }
    for node in ["n1", "n2"] {
        cluster.wait(node, "WAIT NotReady");
    }
    cluster.ok("n2", &["stop", "-m", MODULE, "--wait"]);
    cluster.ok("n2", &["prim", "-m", MODULE]);
    cluster.wait("n2", "ALONE Ready");
    cluster.lab.run(["heal"]);
    cluster.wait("n1", "SECOND Ready");
    cluster.wait("n2", "PRIM Ready");
    cluster.check_copies();
}
