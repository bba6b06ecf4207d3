//! Goal: while somebody works on a module nothing happens by itself, whatever dies, on both nodes;
//! and when it is over, what was only reported is acted on.
use crate::fixture::{Cluster, MODULE, Wish};
use crate::kills::{daemon, kill};
use crate::support::wait_for;

const WATCH: &str = r#"
    <errd polltimer="1s">
      <proc name="counter" nameregex="^cluster-" argregex="counter::serve" action="restart"
            class="prim"/>
    </errd>
    <failover period="100ms" handle_time="300ms"><![CDATA[
      world: if ( custom.world == down ) then stopstart();
    ]]></failover>"#;

#[test]
fn nothing_happens_by_itself_until_it_is_over() {
    let watch = Wish { watch: Some(WATCH), ..Wish::default() };
    let Some(cluster) = Cluster::started("maintenance", watch) else { return };
    let on = ["maintenance", "on", "-m", MODULE, "--reason", "new kernel", "--for", "2h"];
    let said = cluster.ok("n1", &[&on[..], &["--owner", "ops"]].concat());
    assert!(said.contains("n2 is told"), "{said}");
    for node in ["n1", "n2"] {
        wait_for("both know it", || cluster.view(node)["maintenance"]["reason"] == "new kernel");
        let view = cluster.view(node);
        assert_eq!(view["maintenance"]["owner"], "ops");
        assert!(view["marks"].as_array().unwrap().iter().any(|mark| mark == "maintenance"));
        let shown = cluster.ok(node, &["state", "-m", MODULE]);
        assert!(shown.contains("maintenance   : by ops until "), "{shown}");
    }
    let before = cluster.calls().len();
    let pid = cluster.application("n1");
    cluster.lab.sh("n1", &format!("kill -9 {pid}"));
    cluster.wait_log("n1", "Resource proc.counter is down, only reported during maintenance");
    cluster.ok("n1", &["set", "-r", "custom.world", "-v", "down", "-m", MODULE, "-i", "test"]);
    let refused = cluster.cli("n1", &["restart", "-m", MODULE, "-i", "some_check"]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    // The daemon dies; it knows it afterwards, and still nothing acts.
    let old = daemon(&cluster, "n1");
    kill(&cluster, "n1", &old);
    wait_for("another daemon", || {
        let now = daemon(&cluster, "n1");
        !now.is_empty() && now != old && cluster.state("n1") == "PRIM Ready"
    });
    assert_eq!(cluster.view("n1")["maintenance"]["owner"], "ops");
    // The rule and the watch have had several turns by then.
    cluster.ok("n1", &["set", "-r", "custom.world", "-v", "down", "-m", MODULE, "-i", "test"]);
    wait_for("the dead process is seen again", || {
        let told = cluster.log("n1");
        told.iter().filter(|text| text.contains("only reported during maintenance")).count() > 1
    });
    assert_eq!(cluster.calls_since(before, "n1"), [""; 0]);
    assert_eq!((cluster.state("n1").as_str(), cluster.state("n2").as_str()), WHOLE);
    // The primary leaves: nobody takes over, and it comes back as what it was.
    cluster.ok("n1", &["set", "-r", "custom.world", "-v", "up", "-m", MODULE, "-i", "test"]);
    cluster.ok("n1", &["stopstart", "-m", MODULE]);
    cluster.wait_log("n2", "nothing takes over by itself");
    cluster.wait_whole();
    // Over: what is down is acted on.
    let pid = cluster.application("n1");
    let pid = if pid.is_empty() { cluster.application("n2") } else { pid };
    let node = if cluster.state("n1") == "PRIM Ready" { "n1" } else { "n2" };
    let reports = |cluster: &Cluster| {
        let told = cluster.log(node);
        told.iter().filter(|text| text.contains("only reported during maintenance")).count()
    };
    let reported = reports(&cluster);
    cluster.lab.sh(node, &format!("kill -9 {pid}"));
    wait_for("the report", || reports(&cluster) > reported);
    let other = if node == "n1" { "n2" } else { "n1" };
    cluster.ok(other, &["maintenance", "off", "-m", MODULE]);
    cluster.wait_log(node, "Action restart called by errd");
    cluster.wait_whole();
    for node in ["n1", "n2"] {
        assert!(cluster.view(node)["maintenance"].is_null());
        cluster.wait_log(node, "Maintenance by ops for another 2 h 0 min: new kernel");
    }
}

const WHOLE: (&str, &str) = ("PRIM Ready", "SECOND Ready");
