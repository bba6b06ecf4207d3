//! What is watched beside the nodes themselves: the application's process and port, addresses, and
//! what scripts say of the world; and what failover rules make of it.
use crate::fixture::{Cluster, DATA, MODULE, Wish};
use crate::support::wait_for;

/// The application is a test program, so it is known by its arguments.
const WATCH: &str = r#"
    <errd polltimer="1s">
      <proc name="counter" nameregex="^cluster-" argregex="counter::serve" action="restart"/>
    </errd>
    <check><tcp ident="counter"><to addr="127.0.0.1" port="7000" interval="1s"/></tcp></check>
    <failover period="100ms" handle_time="300ms"><![CDATA[
      world: if ( custom.world == down ) then wait();
      far: if ( remote.custom.far == down ) then restart();
    ]]></failover>"#;

fn resource(cluster: &Cluster, node: &str, name: &str) -> String {
    let view = cluster.view(node);
    let resources = view["resources"].as_array().cloned().unwrap_or_default();
    let found = resources.iter().find(|resource| resource["name"] == name);
    found.map_or(String::new(), |resource| resource["value"].as_str().unwrap_or("").to_owned())
}

fn wait_resource(cluster: &Cluster, node: &str, name: &str, value: &str) {
    wait_for(&format!("{name} {value} on {node}"), || resource(cluster, node, name) == value);
}

/// The application dies: it is started again where it is. Its address is taken away: the module
/// starts anew, and the other node takes over.
#[test]
fn a_dead_application_is_restarted_and_a_lost_address_moves_it() {
    let watch = Wish { watch: Some(WATCH), ..Wish::default() };
    let Some(mut cluster) = Cluster::started("watched", watch) else { return };
    cluster.start_client();
    cluster.wait_acknowledged(50);
    wait_resource(&cluster, "n1", "proc.counter", "up");
    wait_resource(&cluster, "n1", "tcp.counter", "up");
    assert_eq!(resource(&cluster, "n2", "proc.counter"), "", "watched where it does not run");
    let before = cluster.calls().len();
    let pid = cluster.application("n1");
    cluster.lab.sh("n1", &format!("kill -9 {pid}"));
    cluster.wait_log("n1", "Process counter not running");
    cluster.wait_log("n1", "Action restart called by errd");
    wait_for("another application", || {
        let now = cluster.application("n1");
        !now.is_empty() && now != pid
    });
    cluster.wait_acknowledged(50);
    let scripts = cluster.calls_since(before, "n1");
    assert!(scripts.iter().any(|script| script == "start_prim"), "{scripts:?}");
    assert!(cluster.calls_since(before, "n2").is_empty(), "nothing happened on n2");
    cluster.wait("n1", "PRIM Ready");
    // The address.
    wait_resource(&cluster, "n1", &format!("ip.{}", cluster.vip), "up");
    let find = format!("ip -o addr show to {}", cluster.vip);
    let remove = format!("set -- $({find}); ip addr del \"$4\" dev \"$2\"");
    cluster.lab.sh("n1", &remove);
    cluster.wait_log("n1", "Action stopstart from failover rule ip_failure");
    cluster.wait("n2", "PRIM Ready");
    cluster.wait("n1", "SECOND Ready");
    cluster.wait_acknowledged(50);
    cluster.stop_client();
    cluster.check_copies();
}

/// Something without which the module cannot run here is missing: it waits, the other node takes
/// over, and when it is there again the node comes back by itself. A start waits for it as well.
#[test]
fn a_wait_rule_moves_the_module_and_lets_it_come_back() {
    let watch = Wish { watch: Some(WATCH), ..Wish::default() };
    let Some(mut cluster) = Cluster::started("waits", watch) else { return };
    let world = |node: &str, value: &str| {
        cluster.ok(node, &["set", "-r", "custom.world", "-v", value, "-m", MODULE, "-i", "test"]);
    };
    // A rule may look at what the other node sees.
    let far = |value| {
        cluster.ok("n2", &["set", "-r", "custom.far", "-v", value, "-m", MODULE, "-i", "test"]);
    };
    far("down");
    cluster.wait_log("n1", "Action restart from failover rule far");
    far("up");
    cluster.wait_whole();
    world("n1", "down");
    cluster.wait_log("n1", "Action wait from failover rule world");
    cluster.wait("n1", "WAIT NotReady");
    cluster.wait("n2", "ALONE Ready");
    let reason = cluster.view("n1")["reason"].to_string();
    assert!(reason.contains("world") && reason.contains("custom.world"), "{reason}");
    cluster.lab.sh("n2", &format!("echo alone > {DATA}/alone"));
    world("n1", "up");
    cluster.wait_log("n1", "Action wakeup from failover rule Implicit_wakeup");
    cluster.wait_whole();
    // A start.
    cluster.ok("n1", &["stop", "-m", MODULE]);
    cluster.wait("n1", "STOP NotReady");
    world("n1", "down");
    cluster.ok("n1", &["start", "-m", MODULE]);
    cluster.wait("n1", "WAIT NotReady");
    world("n1", "up");
    cluster.wait_whole();
    // Checkers switched off: nobody acts, all through a restart, which takes longer than the rule.
    let waits = |cluster: &Cluster| {
        let said = "Action wait from failover rule world";
        cluster.log("n1").iter().filter(|text| text.contains(said)).count()
    };
    let before = waits(&cluster);
    cluster.ok("n1", &["checker", "off", "-m", MODULE]);
    world("n1", "down");
    cluster.ok("n1", &["restart", "-m", MODULE]);
    cluster.wait_whole();
    assert_eq!(waits(&cluster), before, "the rule acted although checkers are off");
    cluster.ok("n1", &["checker", "on", "-m", MODULE]);
    cluster.wait("n1", "WAIT NotReady");
    cluster.wait("n2", "ALONE Ready");
    world("n1", "up");
    cluster.wait_whole();
    cluster.stop_client();
    cluster.check_copies();
}
