//! `rfs checktime`: a mount that does not answer.
use crate::fixture::{Cluster, MODULE, Wish};

/// The engine is stopped as a whole, long before its silence would be noticed.
#[test]
fn a_mount_that_does_not_answer_is_a_stopstart() {
    let wish = Wish { rfs: "checktime=\"1500ms\" checkintv=\"1s\"", ..Wish::default() };
    let Some(cluster) = Cluster::installed("checktime", wish) else { return };
    cluster.ok("n1", &["prim", "-m", MODULE]);
    cluster.wait("n1", "ALONE Ready");
    cluster.wait_log("n1", "Resource rfs.mounted set to up");
    let engine = cluster.engine("n1");
    cluster.lab.sh("n1", &format!("kill -STOP {engine}"));
    cluster.wait_log("n1", "does not answer: a null request hangs for more than 1.5 s");
    cluster.wait_log("n1", "Action stopstart called by rfscheck");
    // Or the stop waits until the daemon gives the engine up.
    cluster.lab.sh("n1", &format!("kill -KILL {engine}"));
    cluster.wait_engine_after("n1", &engine);
    cluster.wait("n1", "ALONE Ready");
    let counted = cluster.view("n1")["loops"]["count"].as_u64();
    assert!(counted >= Some(1), "counted as any error: {counted:?}");
}
