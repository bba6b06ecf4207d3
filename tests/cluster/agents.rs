//! An application that the module names instead of writing scripts: an OCF agent, written for this
//! test, and a systemd unit. There is no systemd in a lab: a shell script answers for it, found by
//! the PATH that the module sets.
use crate::fixture::{Cluster, MODULE, Wish};
use crate::support::{Lab, wait_for};
use std::process::Stdio;

/// What stands in `<user>`.
pub const NAMED: &str = r#"
      <var name="PATH" value="/run/fake:/usr/sbin:/usr/bin:/sbin:/bin"/>
      <unit name="beside.service" interval="1s"/>
      <ocf agent="lockstep:counter" interval="1s"><param name="dir" value="/srv/counter"/></ocf>"#;

/// Starts the counter and waits until it answers. `/run/fail` holds the code of a start that fails.
const AGENT: &str = r#"#!/bin/sh
[ "$1" != meta-data ] || {
    echo '<?xml version="1.0"?><resource-agent name="counter"><parameters>
        <parameter name="dir" required="1"/></parameters><actions>
        <action name="start" timeout="20s"/><action name="stop" timeout="20s"/>
        <action name="monitor" timeout="5s" interval="30s"/></actions></resource-agent>'
    exit 0
}
[ "$1" = monitor ] || echo "$LOCKSTEP_NODE agent-$1 $OCF_RESOURCE_INSTANCE" >>"$CALLS"
listens() { ss -Hltn 'sport = :7000' | grep -q .; }
runs() { kill -0 "$(cat /run/counter.pid 2>/dev/null)" 2>/dev/null; }
case $1 in
start)
    [ ! -e /run/fail ] || exit "$(cat /run/fail)"
    runs && exit 0
    cd /
    COUNTER_DIR=$OCF_RESKEY_dir setsid @PROGRAM@ --exact counter::serve --ignored --nocapture \
        >/dev/null 2>&1 &
    echo $! >/run/counter.pid
    until listens; do runs || exit 1; sleep 0.02; done ;;
stop)
    runs && kill "$(cat /run/counter.pid)"
    while runs; do sleep 0.02; done
    rm -f /run/counter.pid ;;
monitor)
    runs || exit 7
    listens || exit 1 ;;
*) exit 3 ;;
esac
"#;

const SYSTEMCTL: &str = r#"#!/bin/sh
case "$1" in start | stop) echo "$LOCKSTEP_NODE unit-$1 $3" >>"$CALLS" ;; esac
case "$*" in
"start -- beside.service") echo >/run/beside ;;
"stop -- beside.service") rm -f /run/beside ;;
"is-active -- beside.service") [ -e /run/beside ] || exit 3 ;;
*) exit 1 ;;
esac
"#;

/// Puts agent and `systemctl` into a node.
pub fn prepare(lab: &Lab, node: &str) {
    let program = std::env::current_exe().unwrap();
    let agent = AGENT.replace("@PROGRAM@", program.to_str().unwrap());
    for (path, text) in [
        ("/run/ocf/resource.d/lockstep/counter", agent.as_str()),
        ("/run/fake/systemctl", SYSTEMCTL),
    ] {
        let words = "mkdir -p \"${0%/*}\" /run/systemd/system && cat >\"$0\" && chmod 755 \"$0\"";
        let mut command = lab.command(["exec", node, "--", "sh", "-ec", words, path]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{path} on {node}");
    }
}

fn resource(cluster: &Cluster, node: &str, name: &str) -> String {
    let view = cluster.view(node);
    let resources = view["resources"].as_array().cloned().unwrap_or_default();
    let found = resources.iter().find(|resource| resource["name"] == name);
    found.map_or(String::new(), |resource| resource["value"].as_str().unwrap_or("").to_owned())
}

fn wait_up(cluster: &Cluster, node: &str) {
    for name in ["unit.beside", "ocf.counter"] {
        wait_for(&format!("{name} up on {node}"), || resource(cluster, node, name) == "up");
    }
}

/// What runs on a node: process of the counter, and whether the unit is active.
fn runs(cluster: &Cluster, node: &str) -> (bool, bool) {
    let counter = cluster.lab.holds(node, "kill -0 $(cat /run/counter.pid)");
    (counter, cluster.lab.holds(node, "[ -e /run/beside ]"))
}

/// Names of the calls that an agent or systemd got on a node.
fn named_since(cluster: &Cluster, before: usize, node: &str) -> Vec<String> {
    let calls = cluster.calls_since(before, node).into_iter();
    calls.filter(|call| call.starts_with("agent-") || call.starts_with("unit-")).collect()
}

/// The application dies: its monitor notices and it is started again where it is, and so is the
/// unit. It moves with a swap. Where it cannot be started the module stops, and the other node
/// takes over.
#[test]
fn a_named_application_is_watched_restarted_and_moved() {
    let wish = Wish { named: true, ..Wish::default() };
    let Some(mut cluster) = Cluster::started("named", wish) else { return };
    cluster.start_client();
    cluster.wait_acknowledged(50);
    wait_up(&cluster, "n1");
    assert_eq!(runs(&cluster, "n1"), (true, true));
    assert_eq!(runs(&cluster, "n2"), (false, false));
    assert_eq!(resource(&cluster, "n2", "ocf.counter"), "", "watched where it does not run");
    assert_eq!(named_since(&cluster, 0, "n1"), ["unit-start", "agent-start"]);
    // The application dies.
    let before = cluster.calls().len();
    let pid = cluster.application("n1");
    cluster.lab.sh("n1", &format!("kill -9 {pid}"));
    cluster.wait_log("n1", "Resource ocf.counter set to down by ocfcheck");
    cluster.wait_log("n1", "Action restart from failover rule o_counter");
    wait_for("another application", || {
        let now = cluster.application("n1");
        !now.is_empty() && now != pid
    });
    cluster.wait_acknowledged(50);
    cluster.wait("n1", "PRIM Ready");
    wait_up(&cluster, "n1");
    let all = ["agent-stop", "unit-stop", "unit-start", "agent-start"];
    assert_eq!(named_since(&cluster, before, "n1"), all);
    // The unit ends.
    cluster.lab.sh("n1", "rm /run/beside");
    cluster.wait_log("n1", "Action restart from failover rule u_beside");
    wait_for("the unit again", || runs(&cluster, "n1") == (true, true));
    cluster.wait("n1", "PRIM Ready");
    wait_up(&cluster, "n1");
    assert!(named_since(&cluster, 0, "n2").is_empty(), "nothing happened on n2");
    assert_eq!(cluster.view("n1")["loops"]["count"], 2, "both restarts count for maxloop");
    // It moves.
    let before = cluster.calls().len();
    cluster.ok("n1", &["swap", "-m", MODULE, "--wait"]);
    cluster.wait("n2", "PRIM Ready");
    cluster.wait("n1", "SECOND Ready");
    cluster.wait_acknowledged(50);
    wait_up(&cluster, "n2");
    assert_eq!(runs(&cluster, "n1"), (false, false));
    assert_eq!(resource(&cluster, "n1", "ocf.counter"), "");
    assert_eq!(named_since(&cluster, before, "n1"), ["agent-stop", "unit-stop"]);
    assert_eq!(named_since(&cluster, before, "n2"), ["unit-start", "agent-start"]);
    // It cannot be started where it is.
    let pid = cluster.application("n2");
    cluster.lab.sh("n2", &format!("echo 5 >/run/fail; kill -9 {pid}"));
    cluster.wait_log("n2", "Script ocf.counter start ended with code 5");
    cluster.wait("n2", "STOP NotReady");
    cluster.wait("n1", "ALONE Ready");
    cluster.wait_acknowledged(50);
    assert_eq!(runs(&cluster, "n2"), (false, false), "what had been started was stopped");
    cluster.lab.sh("n2", "rm /run/fail");
    cluster.ok("n2", &["start", "-m", MODULE]);
    cluster.wait("n2", "SECOND Ready");
    cluster.stop_client();
    cluster.check_copies();
}
