//! One `cluster.xml` for all nodes.
use super::{Cluster, node, read};
use crate::peer::{PeerError, PeerEvent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_reaches_every_node_and_links_follow_it() {
    let cluster = Cluster::new();
    let one = cluster.net.xml(&[("a", &[("n1", 1), ("n2", 2)])]);
    let two = cluster.net.xml(&[("a", &[("n1", 1), ("n2", 2)]), ("b", &[("n1", 11), ("n2", 12)])]);
    let mut n1 = cluster.start("n1", &one).await;
    let mut n2 = cluster.start("n2", &one).await;
    n1.connected("n2", "a").await;
    n2.connected("n1", "a").await;
    // From the node that is dialled: the direction of the link does not matter.
    let results = n2.handle.push_cluster(two.clone()).await.unwrap();
    let digest = crate::peer::digest(two.as_bytes());
    assert_eq!(n1.handle.cluster_digest(), digest);
    for ((name, result), expected) in results.into_iter().zip(["n1", "n2"]) {
        assert_eq!((name.as_str(), result.unwrap()), (expected, digest.clone()));
    }
    for name in ["n1", "n2"] {
        assert_eq!(read(&cluster.paths(name).cluster_xml()), two);
    }
    n1.until("link on b", |event| match event {
        PeerEvent::Connected { lan, .. } => (lan == "b").then_some(()),
        PeerEvent::Disconnected { .. } => panic!("a link that did not change went down"),
        _ => None,
    })
    .await;
    // And back: lan b goes away on both nodes.
    n1.handle.push_cluster(one.clone()).await.unwrap();
    assert_eq!(n1.disconnected("n2", "b").await, "cluster.xml changed");
    assert_eq!(read(&cluster.paths("n2").cluster_xml()), one);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_used_changes_nothing_anywhere() {
    let cluster = Cluster::new();
    let xml = cluster.net.xml(&[("a", &[("n1", 1), ("n2", 2)])]);
    let mut n1 = cluster.start("n1", &xml).await;
    let n2 = cluster.start("n2", &xml).await;
    n1.connected("n2", "a").await;
    let without = cluster.net.xml(&[("a", &[("n2", 2), ("n3", 3)])]);
    for (bad, says) in
        [("<cluster/>", "lans"), ("rubbish", ""), (&without, "does not name node n1")]
    {
        let error = n1.handle.push_cluster(bad.to_owned()).await.unwrap_err();
        assert!(matches!(error, PeerError::Cluster(_)), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    // An address that cannot be bound: the former file stays in place and in use.
    let taken = tokio::net::UdpSocket::bind((cluster.net.ip(5), cluster.net.port)).await.unwrap();
    let moved = cluster.net.xml(&[("a", &[("n1", 5), ("n2", 2)])]);
    let error = n1.handle.apply_cluster(moved).await.unwrap_err();
    assert!(matches!(error, PeerError::Bind { .. }), "{error}");
    drop(taken);
    for (name, running) in [("n1", &n1), ("n2", &n2)] {
        assert_eq!(read(&cluster.paths(name).cluster_xml()), xml);
        assert_eq!(running.handle.cluster_digest(), crate::peer::digest(xml.as_bytes()));
    }
    n1.heard("n2", "a").await;
    let left: Vec<_> = std::fs::read_dir(cluster.paths("n1").etc).unwrap().collect();
    assert_eq!(left.len(), 2, "only cluster.xml and pki: {left:?}");
    assert_eq!(node("n1"), *cluster.pki("n1").node());
}
