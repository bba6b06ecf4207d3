//! Who is not let in, and what both sides are told.
use super::{Cluster, LIMIT, node, start};
use crate::model::BootId;
use crate::peer::{PeerError, PeerEvent};
use crate::trust;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_refused_and_both_are_told() {
    let (ours, theirs) = (Cluster::new(), Cluster::new());
    let xml = ours.net.xml(&[("a", &[("n1", 1), ("n2", 2)])]);
    // n2 began a cluster of its own at the address where n2 is expected.
    let stranger = theirs.paths("n2");
    trust::init(&stranger.pki(), &node("n2"), false).unwrap();
    super::cluster::install(&stranger.cluster_xml(), &xml, &node("n2")).unwrap();
    let mut n2 = start(&stranger, BootId(1)).await;
    let mut n1 = ours.start("n1", &xml).await;
    let said = n1.rejected().await;
    assert!(
        said.starts_with("node n2 at ") && said.contains("certificate of another cluster"),
        "{said}"
    );
    let said = n2.rejected().await;
    assert!(said.contains("refuses this node's certificate"), "{said}");
    let error = n1
        .handle
        .call(
            &node("n2"),
            crate::api::Request::new(Default::default(), None, crate::api::Command::Ping),
        )
        .await
        .unwrap_err();
    assert!(error.to_string().contains("certificate of another cluster"), "{error}");
    // Told once, although it is dialled again and again.
    let mut again = 0;
    while let Ok(event) = n1.events.try_recv() {
        again += u32::from(matches!(event, PeerEvent::Rejected { .. }));
    }
    assert_eq!(again, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_another_version_is_named_on_both_sides() {
    let cluster = Cluster::new();
    let xml = cluster.net.xml(&[("a", &[("n1", 1), ("n2", 2)])]);
    // A later release, once as the dialled node ...
    cluster.start("n2", &xml).await.handle.stop().await;
    let pki = cluster.pki("n2");
    let tls = QuicServerConfig::try_from(pki.server_config(b"lockstep-peer/9")).unwrap();
    let server = quinn::ServerConfig::with_crypto(Arc::new(tls));
    let at = |last| SocketAddr::new(cluster.net.ip(last), cluster.net.port);
    // The socket of the node before is closed when its last task is gone.
    let began = Instant::now();
    let endpoint = loop {
        match quinn::Endpoint::server(server.clone(), at(2)) {
            Ok(endpoint) => break endpoint,
            Err(error) => assert!(began.elapsed() < LIMIT, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    let later = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = later.accept().await {
            drop(incoming.await);
        }
    });
    let mut n1 = cluster.start("n1", &xml).await;
    let said = n1.rejected().await;
    assert!(said.contains("does not speak lockstep-peer/1"), "{said}");
    assert!(said.contains("install the same release"), "{said}");
    // ... and once as the dialling one.
    let tls = QuicClientConfig::try_from(pki.client_config(b"lockstep-peer/9")).unwrap();
    let client = quinn::ClientConfig::new(Arc::new(tls));
    let name = pki.server_name(&node("n1"));
    let refused = endpoint.connect_with(client, at(1), &name).unwrap().await;
    assert!(refused.is_err());
    let said = n1
        .until("a refusal of the dialling node", |event| match event {
            PeerEvent::Rejected { node: None, reason, .. } => Some(reason),
            _ => None,
        })
        .await;
    assert!(said.contains("does not speak lockstep-peer/1"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_certificate_or_a_place_in_the_file_stays_outside() {
    let cluster = Cluster::new();
    let net = &cluster.net;
    let mut n2 = cluster.start("n2", &net.xml(&[("a", &[("n2", 2), ("n3", 3)])])).await;
    // Certified, but not in n2's file.
    let mut n1 = cluster.start("n1", &net.xml(&[("a", &[("n1", 1), ("n2", 2)])])).await;
    let said = n1.rejected().await;
    assert!(said.contains("node n1 is not in the cluster.xml of node n2"), "{said}");
    assert!(said.contains("-G"), "{said}");
    assert!(n2.rejected().await.contains("node n1 is not in the cluster.xml"));
    // Another lan name.
    let mut n3 = cluster.start("n3", &net.xml(&[("other", &[("n2", 2), ("n3", 3)])])).await;
    let said = n2.rejected().await;
    assert!(said.contains("node n3 has no lan \"a\""), "{said}");
    drop(n3.events.try_recv());
    // No certificate at all.
    let tls = trust::pinned_client_config(cluster.pki("n1").fingerprint()).unwrap();
    let mut tls = (*tls).clone();
    tls.alpn_protocols = vec![trust::ALPN_PEER.to_vec()];
    let tls = QuicClientConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::client(SocketAddr::new(net.ip(9), 0)).unwrap();
    let at = SocketAddr::new(net.ip(2), net.port);
    let client = quinn::ClientConfig::new(Arc::new(tls));
    let connection =
        endpoint.connect_with(client, at, "x.lockstep.invalid").unwrap().await.unwrap();
    connection.closed().await;
    let said = n2
        .until("a refusal", |event| match event {
            PeerEvent::Rejected { node: None, reason, .. } => Some(reason),
            _ => None,
        })
        .await;
    assert!(said.contains("none was shown"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_a_clear_error() {
    let cluster = Cluster::new();
    let xml = cluster.net.xml(&[("a", &[("n1", 1), ("n2", 2)])]);
    let _n1 = cluster.start("n1", &xml).await;
    let error = super::try_start(&cluster.paths("n1"), BootId(1)).await.map(drop).unwrap_err();
    assert!(matches!(error, PeerError::Bind { .. }), "{error}");
    assert!(error.to_string().contains("another daemon runs here already"), "{error}");
}
