//! A new node and a token, from the first word to the link.
use super::{Cluster, node, read, start};
use crate::model::BootId;
use crate::peer::{JoinOptions, Joined, PeerError, PeerEvent, first_cluster_xml, join};
use crate::trust::{JoinCode, Pki, TokenStore};
use std::net::SocketAddr;
use std::time::Duration;

const VALID: Duration = Duration::from_secs(600);

/// n1 alone, as `cluster init` leaves it.
async fn first_node(cluster: &Cluster) -> super::Running {
    let lans = [("default".to_owned(), cluster.net.ip(1))];
    cluster.start("n1", &first_cluster_xml(&node("n1"), &lans, cluster.net.port)).await
}

fn token(cluster: &Cluster) -> JoinCode {
    let at = SocketAddr::new(cluster.net.ip(1), cluster.net.port);
    TokenStore::new(&cluster.paths("n1").pki()).create(&cluster.pki("n1"), at, VALID).unwrap()
}

fn options(cluster: &Cluster, name: &str, last: u8, code: JoinCode) -> JoinOptions {
    JoinOptions {
        code,
        address: None,
        node: node(name),
        addresses: vec![("default".to_owned(), cluster.net.ip(last))],
        replace: false,
        force: false,
        paths: cluster.paths(name),
        version: "test".to_owned(),
    }
}

fn refusal(result: Result<Joined, PeerError>) -> String {
    result.map(drop).unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_by_one_code_and_every_member_learns_of_it() {
    let cluster = Cluster::new();
    let mut n1 = first_node(&cluster).await;
    let code = token(&cluster).to_string().parse().unwrap();
    let joined = join(options(&cluster, "n2", 2, code)).await.unwrap();
    assert_eq!(joined.cluster.nodes(), [node("n1"), node("n2")]);
    assert_eq!(joined.pki.cluster(), cluster.pki("n1").cluster());
    n1.until("a changed cluster", |event| match event {
        PeerEvent::ClusterChanged { cluster, .. } => (cluster.nodes().len() == 2).then_some(()),
        _ => None,
    })
    .await;
    let mut n2 = start(&cluster.paths("n2"), BootId(1)).await;
    n1.connected("n2", "default").await;
    n2.connected("n1", "default").await;

    // A third one: n2 gets the new file over its link and then links with n3.
    let joined = join(options(&cluster, "n3", 3, token(&cluster))).await.unwrap();
    assert_eq!(joined.cluster.nodes().len(), 3);
    let by = n2
        .until("a changed cluster on n2", |event| match event {
            PeerEvent::ClusterChanged { by, .. } => Some(by),
            _ => None,
        })
        .await;
    assert_eq!(by, node("n1"));
    let mut n3 = start(&cluster.paths("n3"), BootId(1)).await;
    n3.connected("n2", "default").await;
    let xml = |name| read(&cluster.paths(name).cluster_xml());
    assert_eq!((xml("n1"), xml("n1")), (xml("n2"), xml("n3")));
    // The authority's key stays on the first node; the others say where it is.
    assert!(!cluster.paths("n2").pki().join("ca.key").exists());
    let at = SocketAddr::new(cluster.net.ip(2), cluster.net.port);
    let store = TokenStore::new(&cluster.paths("n2").pki());
    let error = store.create(&joined.pki, at, VALID).unwrap_err().to_string();
    assert!(error.contains("lockstep cluster init"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_used_or_expired_token_opens_nothing() {
    let cluster = Cluster::new();
    let mut n1 = first_node(&cluster).await;
    let good = token(&cluster);
    let before = read(&cluster.paths("n1").cluster_xml());

    let wrong = JoinCode { secret: [1; 16], ..good.clone() };
    let said = refusal(join(options(&cluster, "n2", 2, wrong)).await);
    assert!(said.contains("the join token is not known here"), "{said}");
    assert!(n1.rejected().await.contains("may not join"));
    let at = SocketAddr::new(cluster.net.ip(1), cluster.net.port);
    let store = TokenStore::new(&cluster.paths("n1").pki());
    let late = store.create(&cluster.pki("n1"), at, Duration::ZERO).unwrap();
    let said = refusal(join(options(&cluster, "n2", 2, late)).await);
    assert!(said.contains("has expired"), "{said}");
    assert_eq!(read(&cluster.paths("n1").cluster_xml()), before);
    assert!(!cluster.paths("n2").pki().exists(), "a failed join leaves nothing");

    join(options(&cluster, "n2", 2, good.clone())).await.unwrap();
    let said = refusal(join(options(&cluster, "n3", 3, good.clone())).await);
    assert!(said.contains("used already"), "{said}");

    // Guessing ends soon, also for who has a good token.
    for _ in 0..10 {
        let wrong = JoinCode { secret: rand::random(), ..good.clone() };
        refusal(join(options(&cluster, "n3", 3, wrong)).await);
    }
    let said = refusal(join(options(&cluster, "n3", 3, token(&cluster))).await);
    assert!(said.contains("too many wrong tokens"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_refused_is_refused_before_the_token_is_used_up() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let _n1 = first_node(&cluster).await;
    let code = token(&cluster);
    // The token of another cluster: the server is not the pinned one, no secret is shown to it.
    let foreign = JoinCode { fingerprint: other.pki("n1").fingerprint(), ..code.clone() };
    let said = refusal(join(options(&cluster, "n2", 2, foreign)).await);
    assert!(said.contains("another cluster than the token"), "{said}");
    let said = refusal(join(options(&cluster, "n1", 2, code.clone())).await);
    assert!(said.contains("already belongs to a cluster"), "{said}");
    let as_first =
        JoinOptions { paths: cluster.paths("x"), ..options(&cluster, "n1", 2, code.clone()) };
    let said = refusal(join(as_first).await);
    assert!(said.contains("n1 has joined already"), "{said}");
    let said = refusal(join(options(&cluster, "n2", 1, code.clone())).await);
    assert!(said.contains("is the address of node n1"), "{said}");
    let mut lan = options(&cluster, "n2", 2, code.clone());
    lan.addresses[0].0 = "repli".to_owned();
    let said = refusal(join(lan).await);
    assert!(said.contains("no lan \"repli\"; lans are: default"), "{said}");
    // And still the token is good.
    join(options(&cluster, "n2", 2, code)).await.unwrap();
    // The machine broke; another takes its place, with the same name and another address.
    std::fs::remove_dir_all(cluster.paths("n2").etc).unwrap();
    let said = refusal(join(options(&cluster, "n2", 7, token(&cluster))).await);
    assert!(said.contains("--replace"), "{said}");
    let again = JoinOptions { replace: true, ..options(&cluster, "n2", 7, token(&cluster)) };
    let joined = join(again).await.unwrap();
    assert_eq!(joined.cluster.lans[0].address_of(&node("n2")), Some(cluster.net.ip(7)));
    assert_eq!(joined.cluster.nodes().len(), 2);
    assert!(Pki::load(&cluster.paths("n2").pki()).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_the_file_names_already_joins_where_it_stands() {
    let cluster = Cluster::new();
    let xml = cluster.net.xml(&[("a", &[("n1", 1), ("n2", 2)])]);
    let mut n1 = cluster.start("n1", &xml).await;
    let mut options = options(&cluster, "n2", 2, token(&cluster));
    options.addresses.clear();
    join(options).await.unwrap();
    assert_eq!(read(&cluster.paths("n2").cluster_xml()), xml, "nothing to change");
    let _n2 = start(&cluster.paths("n2"), BootId(1)).await;
    n1.connected("n2", "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_the_address_is_said_in_time() {
    let cluster = Cluster::new();
    let said = refusal(join(options(&cluster, "n2", 2, token(&cluster))).await);
    assert!(said.contains("is `lockstep daemon` running on the first node"), "{said}");
}
