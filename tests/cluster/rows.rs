//! The guide's acceptance tests, planned actions: first start, stop, start, restart, swap, the
//! address, replication as a person sees it.
use crate::fixture::{Cluster, DATA, MODULE, SLACK, Wish};
use crate::support::wait_for;
use std::fs;
use std::time::{Duration, Instant};

/// Promised for an announced death: the address answers and `start_prim` has been called.
const TAKE_OVER: Duration = Duration::from_secs(1);
/// Promised for a lonely `prim` start.
const LONELY_START: Duration = Duration::from_secs(2);
/// Promised for a planned swap, as the longest gap that a client sees, the scripts aside.
const SWAP_GAP: Duration = Duration::from_millis(500);

fn promised(what: &str, took: Duration, limit: Duration) {
    println!("{what}: {} ms (promised {} ms)", took.as_millis(), limit.as_millis());
    assert!(took < limit * SLACK, "{what} took {took:?}");
}

/// Rows "first start on both nodes" and "later start on both".
#[test]
fn the_first_start_asks_a_person_and_later_ones_do_not() {
    let Some(cluster) = Cluster::installed("first", Wish::default()) else { return };
    for node in ["n1", "n2"] {
        cluster.ok(node, &["start", "-m", MODULE]);
    }
    for node in ["n1", "n2"] {
        cluster.wait(node, "WAIT NotReady");
        cluster.wait_log(node, "Data may be not uptodate for replicated directories");
        let reason = cluster.view(node)["reason"].to_string();
        assert!(reason.contains("lockstep prim") && reason.contains("lockstep second"), "{reason}");
    }
    assert!(cluster.calls().iter().all(|call| call.script != "start_prim"), "nobody has started");
    // The person decides.
    let begin = Instant::now();
    cluster.ok("n1", &["prim", "-m", MODULE]);
    wait_for("start_prim", || cluster.calls().iter().any(|call| call.script == "start_prim"));
    promised("first prim", begin.elapsed(), LONELY_START);
    // The other one waited for exactly this and follows.
    cluster.wait("n2", "SECOND Ready");
    cluster.wait("n1", "PRIM Ready");
    cluster.check_copies();
    // Both stop, the secondary first; both start again and remember.
    for node in ["n2", "n1"] {
        cluster.ok(node, &["stop", "-m", MODULE]);
        cluster.wait(node, "STOP NotReady");
    }
    let before = cluster.calls().len();
    for node in ["n2", "n1"] {
        cluster.ok(node, &["start", "-m", MODULE]);
    }
    cluster.wait("n1", "PRIM Ready");
    cluster.wait("n2", "SECOND Ready");
    let starts = |node: &str| {
        let calls = cluster.calls_since(before, node);
        calls.iter().filter(|script| *script == "start_prim").count()
    };
    assert_eq!((starts("n1"), starts("n2")), (1, 0), "start_prim runs on one node only");
}

/// Rows "stop on PRIM" and "start of the stopped node", and what was written meanwhile.
#[test]
fn a_stopped_primary_hands_over_and_returns_while_the_application_runs() {
    let Some(mut cluster) = Cluster::started("handover", Wish::default()) else { return };
    cluster.start_client();
    cluster.wait_acknowledged(200);
    let before = cluster.calls().len();
    cluster.ok("n1", &["stop", "-m", MODULE]);
    cluster.wait("n2", "ALONE Ready");
    cluster.wait("n1", "STOP NotReady");
    cluster.wait_acknowledged(200);
    cluster.wait_log("n2", "Action alone called by heart: remote stop");
    let left = cluster.calls_since(before, "n1");
    let plain = left.iter().position(|script| script == "stop_prim").expect("stop_prim is called");
    assert!(left[plain..].iter().any(|script| script == "stop_both"), "{left:?}");
    assert_eq!(left.last().map(String::as_str), Some("poststop"), "{left:?}");
    let forced = cluster.calls()[before..].iter().any(|call| {
        call.node == "n1" && call.script == "stop_prim" && call.args.starts_with("force")
    });
    assert!(forced, "the forced pass follows the graceful one");
    assert_eq!(cluster.calls_since(before, "n2")[..2], ["stop_second", "start_prim"]);
    let n1 = fs::read_dir(cluster.copy("n1")).unwrap().count();
    assert!(n1 > 0, "a stopped module leaves a plain directory");
    // The stopped node comes back; the application is not touched.
    let application = cluster.application("n2");
    let (before, said) = (cluster.calls().len(), cluster.log("n1").len());
    cluster.ok("n1", &["start", "-m", MODULE]);
    cluster.wait("n1", "SECOND Ready");
    cluster.wait("n2", "PRIM Ready");
    cluster.wait_acknowledged(100);
    assert_eq!(cluster.application("n2"), application);
    assert_eq!(cluster.calls_since(before, "n2"), ["stop_sec"]);
    cluster.wait_statistics("n1", said);
    let record = cluster.stop_client();
    promised("gap of a planned take-over", record.longest_gap(), TAKE_OVER);
    cluster.check_copies();
}

/// Row "restart on PRIM".
#[test]
fn a_restart_stays_in_place() {
    let Some(cluster) = Cluster::started("restart", Wish::default()) else { return };
    let before = cluster.calls().len();
    let application = cluster.application("n1");
    cluster.ok("n1", &["restart", "-m", MODULE]);
    wait_for("a new application", || {
        let new = cluster.application("n1");
        !new.is_empty() && new != application
    });
    cluster.wait("n1", "PRIM Ready");
    assert_eq!(cluster.state("n2"), "SECOND Ready");
    let mut calls = cluster.calls_since(before, "n1");
    calls.dedup();
    assert_eq!(calls, ["stop_prim", "stop_both", "start_both", "start_prim"]);
    assert!(cluster.calls_since(before, "n2").is_empty());
    let last = cluster.calls();
    let start = last.iter().rev().find(|call| call.script == "start_prim").unwrap();
    assert!(start.args.starts_with("PRIM PRIM"), "{start:?}");
}

/// Row "VIP", for IPv4 and IPv6: the address is where the primary is, and the client follows.
#[test]
fn the_address_moves_with_the_primary() {
    let Some(cluster) = Cluster::started("address", Wish::default()) else { return };
    let (vip, vip6) = (cluster.vip.clone(), cluster.vip6.clone());
    let mac = |node: &str| {
        let dev = format!(
            "cat /sys/class/net/$(ip -o addr show | awk '/{}\\//{{print $2; exit}}')/address",
            cluster.lab.variable(&format!("LAB_ADDR_{node}"))
        );
        cluster.lab.sh(node, &dev)
    };
    let seen = |addr: &str| {
        cluster.lab.holds("client", &format!("ping -c1 -W1 {addr} >/dev/null"));
        cluster.lab.sh("client", &format!("ip neigh show {addr}"))
    };
    let has = |node: &str, addr: &str| {
        cluster.lab.holds(node, &format!("ip -o addr show | grep -qF ' {addr}/'"))
    };
    let (first, second) = (mac("n1"), mac("n2"));
    assert_ne!(first, second);
    for addr in [&vip, &vip6] {
        assert!(has("n1", addr) && !has("n2", addr));
        assert!(seen(addr).contains(&first), "{addr}: {}", seen(addr));
    }
    cluster.ok("n1", &["stopstart", "-m", MODULE]);
    // ALONE lasts a few milliseconds only: what follows is looked at when all is calm again.
    cluster.wait("n1", "SECOND Ready");
    cluster.wait("n2", "PRIM Ready");
    for addr in [&vip, &vip6] {
        assert!(has("n2", addr) && !has("n1", addr));
        // Told by the new primary, not found out by asking again.
        wait_for("the client's entry", || seen(addr).contains(&second));
    }
}

/// Row "replication", as a person looks at it.
#[test]
fn a_file_made_on_the_primary_is_on_the_secondary_which_refuses_changes() {
    let Some(cluster) = Cluster::started("file", Wish::default()) else { return };
    cluster
        .lab
        .sh("n1", &format!("echo hello >{DATA}/hello; setfattr -n user.a -v b {DATA}/hello"));
    assert_eq!(cluster.lab.sh("n2", &format!("cat {DATA}/hello")), "hello");
    let refused = cluster.lab.try_run(["exec", "n2", "--", "rm", &format!("{DATA}/hello")]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("Read-only file system"), "{said}");
    cluster.ok("n2", &["stop", "-m", MODULE]);
    cluster.wait("n1", "ALONE Ready");
    let said = cluster.log("n2").len();
    cluster.lab.sh("n1", &format!("echo later >{DATA}/later; mv {DATA}/hello {DATA}/renamed"));
    cluster.ok("n2", &["start", "-m", MODULE]);
    cluster.wait("n2", "SECOND Ready");
    assert_eq!(cluster.lab.sh("n2", &format!("cat {DATA}/later {DATA}/renamed")), "later\nhello");
    assert!(!cluster.lab.holds("n2", &format!("test -e {DATA}/hello")));
    cluster.wait_statistics("n2", said);
    cluster.check_copies();
}

/// Swap there and back under load: nothing acknowledged is lost, the gap is short.
#[test]
fn a_swap_exchanges_the_roles() {
    let Some(mut cluster) = Cluster::started("swap", Wish::default()) else { return };
    cluster.start_client();
    cluster.wait_acknowledged(200);
    for (old, new) in [("n1", "n2"), ("n2", "n1")] {
        let before = cluster.calls().len();
        cluster.ok(old, &["swap", "-m", MODULE]);
        cluster.wait(new, "PRIM Ready");
        cluster.wait(old, "SECOND Ready");
        cluster.wait_acknowledged(200);
        let calls: Vec<_> = cluster.calls().split_off(before);
        let stop = calls.iter().position(|c| c.node == old && c.script == "stop_prim").unwrap();
        let start = calls.iter().position(|c| c.node == new && c.script == "start_prim").unwrap();
        assert!(stop < start, "the old side stops before the new one starts: {calls:?}");
        let left = cluster.calls_since(before, old);
        assert!(left.ends_with(&["start_second".into(), "start_sec".into()]), "{left:?}");
    }
    let record = cluster.stop_client();
    promised("gap of a swap", record.longest_gap(), SWAP_GAP);
    cluster.check_copies();
}
