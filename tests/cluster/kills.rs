//! `kill -9` of engine and daemon on either node, under load, with a client outside the nodes.
use crate::fixture::{Cluster, DATA, MODULE, SLACK, Wish};
use crate::support::wait_for;
use std::time::Duration;

pub fn kill(cluster: &Cluster, node: &str, pid: &str) {
    cluster.lab.sh(node, &format!("kill -9 {pid}"));
}

/// Process of the daemon on a node, a child of the node's init.
// The oldest: one that is about to become an engine still looks like its daemon.
pub fn daemon(cluster: &Cluster, node: &str) -> String {
    cluster.lab.sh(node, "for p in /proc/[0-9]*; do \
        [ \"$(tr '\\0' ' ' <$p/cmdline 2>/dev/null | cut -d' ' -f2)\" = daemon ] && echo ${p#/proc/}; \
        done | sort -n | head -n 1")
}

/// The engine of a primary with a Ready secondary dies: an announced death, the other node takes
/// over; the node returns by itself.
#[test]
fn the_engine_of_the_primary_dies() {
    let Some(mut cluster) = Cluster::started("engine", Wish::default()) else { return };
    cluster.start_client();
    cluster.wait_acknowledged(300);
    kill(&cluster, "n1", &cluster.engine("n1"));
    wait_for("n2 to take over", || {
        cluster.state("n2").ends_with("Ready") && {
            let state = cluster.state("n2");
            state.starts_with("ALONE") || state.starts_with("PRIM")
        }
    });
    cluster.wait_acknowledged(300);
    cluster.wait("n1", "SECOND Ready");
    cluster.wait("n2", "PRIM Ready");
    cluster.wait_acknowledged(100);
    let record = cluster.stop_client();
    let gap = record.longest_gap();
    println!("gap of an engine's death: {} ms", gap.as_millis());
    assert!(gap < Duration::from_secs(1) * SLACK, "{gap:?}");
    cluster.check_copies();
}

/// The engine of the secondary dies: the primary goes on alone, the secondary returns.
#[test]
fn the_engine_of_the_secondary_dies() {
    let Some(mut cluster) = Cluster::started("engine2", Wish::default()) else { return };
    let application = cluster.application("n1");
    cluster.start_client();
    for _ in 0..3 {
        cluster.wait_acknowledged(200);
        let engine = cluster.engine("n2");
        kill(&cluster, "n2", &engine);
        cluster.wait_engine_after("n2", &engine);
        cluster.wait("n2", "SECOND Ready");
        cluster.wait("n1", "PRIM Ready");
    }
    assert_eq!(cluster.application("n1"), application);
    cluster.stop_client();
    cluster.check_copies();
}

/// The engine of the secondary hangs, and its daemon lives: the application of the primary waits
/// for no longer than it takes to replace that engine.
#[test]
fn the_engine_of_the_secondary_hangs() {
    let Some(mut cluster) = Cluster::started("hang", Wish::default()) else { return };
    cluster.start_client();
    cluster.wait_acknowledged(200);
    let engine = cluster.engine("n2");
    cluster.lab.sh("n2", &format!("kill -STOP {engine}"));
    cluster.wait_engine_after("n2", &engine);
    cluster.wait_acknowledged(100);
    cluster.wait("n2", "SECOND Ready");
    cluster.wait("n1", "PRIM Ready");
    let record = cluster.stop_client();
    println!("gap of a hung engine: {} ms", record.longest_gap().as_millis());
    cluster.check_copies();
}

/// The engine dies while the node is ALONE: it is started again in place.
#[test]
fn the_engine_dies_while_alone() {
    let Some(mut cluster) = Cluster::started("alone", Wish::default()) else { return };
    cluster.ok("n2", &["stop", "-m", MODULE, "--wait"]);
    cluster.wait("n1", "ALONE Ready");
    cluster.start_client();
    cluster.wait_acknowledged(300);
    kill(&cluster, "n1", &cluster.engine("n1"));
    cluster.wait_acknowledged(300);
    cluster.wait("n1", "ALONE Ready");
    cluster.ok("n2", &["start", "-m", MODULE]);
    cluster.wait("n2", "SECOND Ready");
    cluster.stop_client();
    cluster.check_copies();
}

/// The engine dies once more than `maxloop` allows and no other is started: the directory is plain,
/// and a person can start the module.
#[test]
fn an_engine_that_is_not_replaced_leaves_a_plain_directory() {
    let wish = Wish { service: r#"maxloop="1""#, ..Wish::default() };
    let Some(cluster) = Cluster::started("plain", wish) else { return };
    cluster.ok("n2", &["stop", "-m", MODULE, "--wait"]);
    cluster.wait("n1", "ALONE Ready");
    let first = cluster.engine("n1");
    kill(&cluster, "n1", &first);
    cluster.wait_engine_after("n1", &first);
    cluster.wait("n1", "ALONE Ready");
    kill(&cluster, "n1", &cluster.engine("n1"));
    cluster.wait("n1", "STOP NotReady");
    cluster.lab.sh("n1", &format!("ls {DATA} && ! grep -F ' {DATA} ' /proc/mounts"));
    cluster.ok("n1", &["start", "-m", MODULE, "--wait=ALONE", "--timeout", "20"]);
    // And what an earlier daemon left so, its successor takes away.
    cluster.ok("n1", &["stop", "-m", MODULE, "--wait"]);
    cluster.lab.sh("n1", &format!("mount --bind {DATA} {DATA} && mount -o remount,bind,ro {DATA}"));
    kill(&cluster, "n1", &daemon(&cluster, "n1"));
    wait_for("the cover to go", || {
        cluster.lab.holds("n1", &format!("! grep -F ' {DATA} ' /proc/mounts"))
    });
}

/// A daemon whose memory is damaged takes the module as stopped, although it runs: the engine and
/// its mount beneath the application stay.
#[test]
fn a_daemon_without_memory_takes_no_directory_from_an_engine() {
    let Some(cluster) = Cluster::started("amnesia", Wish::default()) else { return };
    let mounted = format!("grep -F ' {DATA} fuse' /proc/mounts");
    cluster.lab.sh("n1", &mounted);
    let old = daemon(&cluster, "n1");
    let memory = format!("/var/lib/lockstep/modules/{MODULE}/control/memory");
    cluster.lab.sh("n1", &format!("test -s {memory} && echo damaged >{memory} && kill -9 {old}"));
    cluster.wait_log("n1", "is damaged");
    cluster.wait("n1", "STOP NotReady");
    cluster.lab.sh("n1", &mounted);
}

/// The daemon of either node dies, three times: no role changes, no script runs, the same engine
/// and application go on, and the address stays.
#[test]
fn a_daemon_dies_and_no_role_changes() {
    let Some(mut cluster) = Cluster::started("daemon", Wish::default()) else { return };
    let (application, engines) =
        (cluster.application("n1"), [cluster.engine("n1"), cluster.engine("n2")]);
    cluster.start_client();
    cluster.wait_acknowledged(200);
    let before = cluster.calls().len();
    for node in ["n1", "n2", "n1"] {
        let old = daemon(&cluster, node);
        kill(&cluster, node, &old);
        wait_for("another daemon", || {
            let new = daemon(&cluster, node);
            !new.is_empty() && new != old
        });
        cluster.wait("n1", "PRIM Ready");
        cluster.wait("n2", "SECOND Ready");
        cluster.wait_acknowledged(100);
    }
    assert_eq!(cluster.calls().len(), before, "{:?}", &cluster.calls()[before..]);
    assert_eq!(cluster.application("n1"), application);
    assert_eq!([cluster.engine("n1"), cluster.engine("n2")], engines);
    // The new daemons act: a swap goes through them.
    cluster.ok("n1", &["swap", "-m", MODULE]);
    cluster.wait("n2", "PRIM Ready");
    cluster.wait("n1", "SECOND Ready");
    cluster.stop_client();
    cluster.check_copies();
}

/// Everything in a row, as somebody who does not believe it would: engine, daemon, node, in
/// alternating order and on alternating nodes, under load all the time.
#[test]
fn killed_in_any_order_nothing_acknowledged_is_lost() {
    let Some(mut cluster) = Cluster::started("any", Wish::default()) else { return };
    cluster.start_client();
    let what = ["engine", "daemon", "node", "daemon", "engine", "node"];
    for (round, what) in what.into_iter().enumerate() {
        cluster.wait_acknowledged(150);
        // First the primary of the moment, then the secondary, and so on.
        let primary = if cluster.state("n1").starts_with("PRIM") { "n1" } else { "n2" };
        let other = if primary == "n1" { "n2" } else { "n1" };
        let node = if round % 2 == 0 { primary } else { other };
        println!("round {round}: {what} of {node}");
        match what {
            "engine" => kill(&cluster, node, &cluster.engine(node)),
            "daemon" => kill(&cluster, node, &daemon(&cluster, node)),
            _ => {
                cluster.lab.run(["kill", node]);
                cluster.wait_acknowledged(50);
                cluster.lab.run(["boot", node]);
                cluster.ok(node, &["start", "-m", MODULE]);
            }
        }
        // A death that nobody has noticed yet still shows the old states.
        cluster.wait_acknowledged(50);
        cluster.wait_whole();
        let acknowledged = cluster.record().acknowledged;
        for node in ["n1", "n2"] {
            crate::counter::check(&cluster.copy(node), &acknowledged);
        }
    }
    cluster.stop_client();
    cluster.check_copies();
}
