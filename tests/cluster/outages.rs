//! The guide's acceptance tests, whole nodes: shutdown, power cut, both at once.
use crate::fixture::{Cluster, DATA, HEART_TIMEOUT, MODULE, SLACK, Wish};
use std::thread;
use std::time::{Duration, Instant};

/// Row "OS shutdown of PRIM": stop scripts run, the peer takes over at once, the node starts the
/// module by itself when it is back.
#[test]
fn a_shutdown_of_the_primary_is_a_planned_stop() {
    let Some(mut cluster) = Cluster::started("shutdown", Wish::default()) else { return };
    for node in ["n1", "n2"] {
        cluster.ok(node, &["boot", "on", "-m", MODULE]);
    }
    cluster.start_client();
    cluster.wait_acknowledged(200);
    let before = cluster.calls().len();
    cluster.lab.run(["shutdown", "n1"]);
    let left = cluster.calls_since(before, "n1");
    assert!(
        left.contains(&"stop_prim".to_owned()) && left.contains(&"poststop".to_owned()),
        "{left:?}"
    );
    cluster.wait("n2", "ALONE Ready");
    cluster.wait_log("n2", "remote stop");
    cluster.wait_acknowledged(200);
    cluster.lab.run(["boot", "n1"]);
    cluster.wait("n1", "SECOND Ready");
    cluster.wait("n2", "PRIM Ready");
    cluster.wait_acknowledged(100);
    let record = cluster.stop_client();
    let gap = record.longest_gap();
    println!("gap of a shutdown: {} ms", gap.as_millis());
    assert!(gap < Duration::from_secs(1) * SLACK, "{gap:?}");
    cluster.check_copies();
}

/// Row "power-off of PRIM", under load: the peer takes over within the heartbeat's limit and a
/// second with all that was acknowledged; the dead node fetches only what it lacks.
#[test]
fn a_power_cut_of_the_primary_loses_nothing_acknowledged() {
    let Some(mut cluster) = Cluster::started("power", Wish::default()) else { return };
    cluster.start_client();
    cluster.wait_acknowledged(500);
    let cut = Instant::now();
    cluster.lab.run(["kill", "n1"]);
    cluster.wait("n2", "ALONE Ready");
    println!("power cut to ALONE Ready: {} ms", cut.elapsed().as_millis());
    cluster.wait_acknowledged(300);
    cluster.wait_log("n2", "Resource heartbeat.default set to down");
    cluster.wait_log("n2", "Action alone called by heart: no heartbeat");
    let acknowledged = cluster.record().acknowledged;
    crate::counter::check(&cluster.copy("n2"), &acknowledged);
    cluster.lab.run(["boot", "n1"]);
    cluster.ok("n1", &["start", "-m", MODULE]);
    cluster.wait("n1", "SECOND Ready");
    cluster.wait("n2", "PRIM Ready");
    cluster.wait_acknowledged(100);
    let record = cluster.stop_client();
    let (gap, promised) = (record.longest_gap(), HEART_TIMEOUT + Duration::from_secs(1));
    println!("gap of a power cut: {} ms (promised {} ms)", gap.as_millis(), promised.as_millis());
    assert!(gap < promised + Duration::from_secs(1) * SLACK, "{gap:?}");
    cluster.check_copies();
    // And the other way round, at once.
    cluster.start_client();
    cluster.wait_acknowledged(300);
    cluster.lab.run(["kill", "n2"]);
    cluster.wait("n1", "ALONE Ready");
    cluster.wait_acknowledged(300);
    cluster.lab.run(["boot", "n2"]);
    cluster.ok("n2", &["start", "-m", MODULE]);
    cluster.wait("n2", "SECOND Ready");
    cluster.stop_client();
    cluster.check_copies();
}

/// The secondary loses power under load: the application waits for the decision, no longer.
#[test]
fn a_power_cut_of_the_secondary_pauses_the_application_only() {
    let Some(mut cluster) = Cluster::started("second", Wish::default()) else { return };
    let application = cluster.application("n1");
    cluster.start_client();
    cluster.wait_acknowledged(300);
    cluster.lab.run(["kill", "n2"]);
    cluster.wait("n1", "ALONE Ready");
    cluster.wait_acknowledged(300);
    cluster.lab.run(["boot", "n2"]);
    cluster.ok("n2", &["start", "-m", MODULE]);
    cluster.wait("n2", "SECOND Ready");
    cluster.wait("n1", "PRIM Ready");
    cluster.wait_acknowledged(100);
    assert_eq!(cluster.application("n1"), application);
    cluster.stop_client();
    cluster.check_copies();
}

/// Row "double power-off", with `async="none"`: data intact. The first one back waits for the
/// other, whichever it is; then the old roles return.
#[test]
fn both_lose_power_at_once() {
    for first in ["n1", "n2"] {
        let wish = Wish { rfs: r#"async="none""#, ..Wish::default() };
        let Some(mut cluster) = Cluster::started("both", wish) else { return };
        cluster.start_client();
        cluster.wait_acknowledged(300);
        thread::scope(|scope| {
            for node in ["n1", "n2"] {
                let lab = &cluster.lab;
                scope.spawn(move || lab.run(["kill", node]));
            }
        });
        let record = cluster.stop_client();
        let last = if first == "n1" { "n2" } else { "n1" };
        cluster.lab.run(["boot", first]);
        cluster.ok(first, &["start", "-m", MODULE]);
        cluster.wait(first, "WAIT NotReady");
        cluster.lab.run(["boot", last]);
        cluster.ok(last, &["start", "-m", MODULE]);
        cluster.wait("n1", "PRIM Ready");
        cluster.wait("n2", "SECOND Ready");
        for node in ["n1", "n2"] {
            crate::counter::check(&cluster.copy(node), &record.acknowledged);
        }
        cluster.check_copies();
    }
}

/// A primary that is only paused, longer than the time limit, must not go on as if nothing had
/// happened: it acknowledged nothing since, gives way, and follows its successor.
#[test]
fn a_paused_primary_does_not_overwrite_its_successor() {
    let Some(mut cluster) = Cluster::started("pause", Wish::default()) else { return };
    cluster.start_client();
    for [primary, successor] in [["n1", "n2"], ["n2", "n1"], ["n1", "n2"]] {
        cluster.wait_acknowledged(200);
        cluster.lab.run(["freeze", primary]);
        cluster.wait(successor, "ALONE Ready");
        cluster.wait_acknowledged(200);
        cluster.lab.run(["thaw", primary]);
        cluster.wait(primary, "SECOND Ready");
        cluster.wait(successor, "PRIM Ready");
        let acknowledged = cluster.record().acknowledged;
        for node in ["n1", "n2"] {
            crate::counter::check(&cluster.copy(node), &acknowledged);
        }
    }
    cluster.stop_client();
    cluster.check_copies();
}

/// The secondary's disk is full, the one with its own memory: the application goes on, and with
/// room again the node is stopped, started and level.
#[test]
fn a_full_disk_on_the_secondary_stops_the_secondary_only() {
    let Some(mut cluster) = Cluster::started("room", Wish::default()) else { return };
    let application = cluster.application("n1");
    cluster.start_client();
    cluster.wait_acknowledged(200);
    cluster.lab.run(["fill", "n2", "1"]);
    cluster.lab.sh("n1", &format!("head -c 4M /dev/urandom >{DATA}/large"));
    cluster.wait("n1", "ALONE Ready");
    cluster.wait("n2", "WAIT NotReady");
    let said = cluster.view("n2")["reason"].to_string();
    assert!(said.contains("is full") && said.contains("No space left"), "{said}");
    cluster.wait_acknowledged(200);
    cluster.lab.run(["unfill", "n2"]);
    cluster.ok("n2", &["stop", "-m", MODULE, "--wait"]);
    cluster.ok("n2", &["start", "-m", MODULE]);
    cluster.wait("n2", "SECOND Ready");
    cluster.wait("n1", "PRIM Ready");
    assert_eq!(cluster.application("n1"), application);
    cluster.stop_client();
    cluster.check_copies();
}
