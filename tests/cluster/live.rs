//! Goal: a configuration that changes only what watches a module is applied while it runs, on both
//! nodes, and nobody notices but the checkers.
use crate::fixture::{Cluster, MODULE, Wish};
use crate::support::wait_for;
use std::fs;

const WATCH: &str = r#"
    <failover period="100ms" handle_time="300ms"><![CDATA[
      world: if ( custom.world == down ) then restart();
    ]]></failover>"#;
const ERRD: &str = r#"
    <errd polltimer="1s">
      <proc name="counter" nameregex="^cluster-" argregex="counter::serve" action="restart"
            class="prim"/>
    </errd>
    <failover "#;

#[test]
fn what_watches_is_changed_while_the_module_runs() {
    let watch = Wish { watch: Some(WATCH), ..Wish::default() };
    let Some(mut cluster) = Cluster::started("live", watch) else { return };
    cluster.start_client();
    cluster.wait_acknowledged(50);
    let set = ["set", "-r", "custom.other", "-v", "kept", "-m", MODULE, "-i", "test"];
    cluster.ok("n1", &set);
    let xml = format!("/etc/lockstep/modules/{MODULE}/conf/userconfig.xml");
    let xml = cluster.lab.path("n1", &xml);
    let before = fs::read_to_string(&xml).unwrap();
    let (calls, pid) = (cluster.calls().len(), cluster.application("n1"));
    let shown = |node: &str| {
        let view = cluster.view(node);
        (view["role"].clone(), view["readiness"].clone(), view["since"].clone())
    };
    let states = [shown("n1"), shown("n2")];

    fs::write(&xml, before.replace("<failover ", ERRD)).unwrap();
    let said = cluster.ok("n1", &["-H", "*", "-E", MODULE]);
    assert_eq!(said.matches("nothing was restarted").count(), 2, "{said}");
    wait_for("equal configurations, and the states as before", || {
        let equal = |node| cluster.view(node)["config"]["equal"] == true;
        equal("n1") && equal("n2") && [shown("n1"), shown("n2")] == states
    });
    let resource = |name: &str| {
        let view = cluster.view("n1");
        let resources = view["resources"].as_array().cloned().unwrap_or_default();
        let found = resources.iter().find(|resource| resource["name"] == name);
        found.map_or(String::new(), |resource| resource["value"].as_str().unwrap_or("").into())
    };
    wait_for("the new watch", || resource("proc.counter") == "up");
    assert_eq!(resource("custom.other"), "kept");
    cluster.wait_acknowledged(50);
    assert_eq!((cluster.calls().len(), cluster.application("n1")), (calls, pid.clone()));
    let held = || cluster.view("n1")["addresses"].as_array().map(Vec::len);
    wait_for("both addresses shown", || held() == Some(2));

    // Both nodes in one picture, with what the client makes them do.
    let shown = cluster.ok("n2", &["top", "--json", "-m", MODULE]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let row = |at: usize| shown["answers"][at]["data"][0].clone();
    assert_eq!((&row(0)["role"], &row(1)["role"]), (&"PRIM".into(), &"SECOND".into()), "{shown}");
    assert!(row(0)["operations_per_second"].as_f64().unwrap() > 0.0, "{shown}");
    assert!(row(1)["lag_operations"].is_u64(), "{shown}");

    // What it acts on now.
    cluster.lab.sh("n1", &format!("kill -9 {pid}"));
    cluster.wait_log("n1", "Action restart called by errd");
    cluster.wait_acknowledged(50);
    cluster.wait_whole();

    // A mistake is told before the state; what needs a stop is named; nothing changes.
    let digest = cluster.view("n1")["config"]["digest"].clone();
    for (edit, exit, word) in [
        (before.replace("<rfs", "<rfx"), 2, "<rfx"),
        (before.replace("pulse=\"200ms\"", "pulse=\"500ms\""), 3, "<heart>"),
    ] {
        assert_ne!(edit, before, "{word}");
        fs::write(&xml, edit).unwrap();
        let output = cluster.cli("n1", &["-H", "*", "-E", MODULE]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{said}");
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(cluster.view("n1")["config"]["digest"], digest);
    cluster.ok("n1", &["swap", "-m", MODULE, "--wait"]);
    cluster.wait_whole();
    cluster.stop_client();
    cluster.check_copies();
}
