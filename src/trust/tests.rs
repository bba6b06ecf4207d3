//! Certificates against each other: who is let in, and what a refusal says.
use super::super::{Authority, SigningRequest, TrustError, init, install, peer_node};
use super::{ALPN_PEER, Pki};
use crate::model::NodeName;
use crate::trust::pinned_client_config;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

/// A second node of `first`'s cluster, certified the way a join does it.
fn joined(first: &Pki, dir: &Path, name: &str) -> Pki {
    let authority = Authority::load(first).unwrap();
    let request = SigningRequest::new(&node(name)).unwrap();
    let certificate = authority.sign(request.der(), &node(name)).unwrap();
    install(dir, &request, &certificate, authority.certificate_pem(), false).unwrap()
}

/// Runs a handshake over a socket pair: what the client and the server think of it.
fn handshake(
    client: Arc<rustls::ClientConfig>,
    server: Arc<rustls::ServerConfig>,
    name: String,
) -> (Result<NodeName, String>, Result<NodeName, String>) {
    let (near, far) = UnixStream::pair().unwrap();
    let serving = std::thread::spawn(move || {
        let mut tls = ServerConnection::new(server).map_err(|e| e.to_string())?;
        let mut socket = far;
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).map_err(|e| e.to_string())?;
        stream.write_all(&byte).map_err(|e| e.to_string())?;
        peer_node(tls.peer_certificates().unwrap_or_default()).map_err(|e| e.to_string())
    });
    let dialling = || {
        let name = ServerName::try_from(name).unwrap();
        let mut tls = ClientConnection::new(client, name).map_err(|e| e.to_string())?;
        let mut socket = near;
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        stream.write_all(&[1]).map_err(|e| e.to_string())?;
        stream.read_exact(&mut [0; 1]).map_err(|e| e.to_string())?;
        peer_node(tls.peer_certificates().unwrap_or_default()).map_err(|e| e.to_string())
    };
    let client = dialling();
    (client, serving.join().unwrap())
}

#[test]
fn nodes_of_one_cluster_know_each_other_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let n1 = init(&dir.path().join("n1"), &node("n1"), false).unwrap();
    let n2 = joined(&n1, &dir.path().join("n2"), "n2");
    assert_eq!((n1.cluster(), n2.node()), (n2.cluster(), &node("n2")));
    let server = || n2.server_config(b"x");
    let result = handshake(n1.client_config(b"x"), server(), n1.server_name(&node("n2")));
    assert_eq!(result, (Ok(node("n2")), Ok(node("n1"))));

    // The right cluster, but not the node that was dialled.
    let (client, _) = handshake(n1.client_config(b"x"), server(), n1.server_name(&node("n3")));
    assert!(client.unwrap_err().contains("not valid for name"));
    // Another version of the conversation.
    let (client, _) = handshake(n1.client_config(b"y"), server(), n1.server_name(&node("n2")));
    assert!(client.unwrap_err().contains("NoApplicationProtocol"));
}

#[test]
fn another_cluster_is_refused_by_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let ours = init(&dir.path().join("a"), &node("n1"), false).unwrap();
    let theirs = init(&dir.path().join("b"), &node("n2"), false).unwrap();
    let name = ours.server_name(&node("n2"));
    let (client, server) = handshake(ours.client_config(b"x"), theirs.server_config(b"x"), name);
    assert!(client.unwrap_err().contains("invalid peer certificate"));
    assert!(server.is_err());
    // A client that skips its check is still refused by the server.
    let careless = pinned_client_config(theirs.fingerprint()).unwrap();
    let mut careless = (*careless).clone();
    careless.alpn_protocols = vec![b"x".to_vec()];
    let name = ours.server_name(&node("n2"));
    let (client, server) = handshake(Arc::new(careless), theirs.server_config(b"x"), name);
    assert!(client.is_err() && server.unwrap_err().contains("no certificates"));
}

#[test]
fn a_joining_node_accepts_only_the_pinned_authority() {
    let dir = tempfile::tempdir().unwrap();
    let ours = init(&dir.path().join("a"), &node("n1"), false).unwrap();
    let theirs = init(&dir.path().join("b"), &node("n1"), false).unwrap();
    let pinned = pinned_client_config(ours.fingerprint()).unwrap();
    let name = || "join.lockstep.invalid".to_owned();
    let (client, _) = handshake(pinned.clone(), ours.control_server_config(), name());
    assert_eq!(client, Ok(node("n1")));
    let (client, _) = handshake(pinned, theirs.control_server_config(), name());
    assert!(client.unwrap_err().contains("OtherAuthority"));
    assert!(ours.control_server_config().alpn_protocols.contains(&ALPN_PEER.to_vec()));
}

#[test]
fn keys_are_private_and_never_overwritten_without_force() {
    let dir = tempfile::tempdir().unwrap();
    let pki_dir = dir.path().join("etc/pki");
    let first = init(&pki_dir, &node("n1"), false).unwrap();
    for key in ["ca.key", "node.key"] {
        let mode = std::fs::metadata(pki_dir.join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let again = init(&pki_dir, &node("n1"), false).map(drop).unwrap_err();
    assert!(again.to_string().contains("already belongs to a cluster"), "{again}");
    assert_eq!(Pki::load(&pki_dir).unwrap().cluster(), first.cluster());
    for _ in 0..2 {
        let forced = init(&pki_dir, &node("n1"), true).unwrap();
        assert_ne!(forced.cluster(), first.cluster());
        assert!(dir.path().join("etc/pki.previous/ca.key").exists());
    }
}

#[test]
fn every_damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let pki_dir = dir.path().join("pki");
    let text = |r: Result<Pki, TrustError>| r.map(drop).unwrap_err().to_string();
    assert!(text(Pki::load(&pki_dir)).contains("lockstep cluster init"));
    init(&pki_dir, &node("n1"), false).unwrap();
    init(&dir.path().join("other"), &node("n1"), false).unwrap();
    let other = |file: &str| std::fs::read(dir.path().join("other").join(file)).unwrap();
    for (file, bytes) in [
        ("node.key", b"rubbish".to_vec()),
        ("node.crt", Vec::new()),
        ("ca.crt", b"-----BEGIN CERTIFICATE-----\n".to_vec()),
        ("node.key", other("node.key")),
        ("node.crt", other("node.crt")),
        ("ca.crt", other("ca.crt")),
    ] {
        let good = std::fs::read(pki_dir.join(file)).unwrap();
        std::fs::write(pki_dir.join(file), bytes).unwrap();
        let said = text(Pki::load(&pki_dir));
        assert!(said.contains("cannot be used"), "{file}: {said}");
        std::fs::write(pki_dir.join(file), good).unwrap();
    }
    let key = pki_dir.join("node.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(text(Pki::load(&pki_dir)).contains("chmod 600"));
}

#[test]
fn the_authority_takes_only_the_key_from_a_request() {
    let dir = tempfile::tempdir().unwrap();
    let n1 = init(&dir.path().join("n1"), &node("n1"), false).unwrap();
    let authority = Authority::load(&n1).unwrap();
    // The request names n1; the token's holder asked to be n2.
    let request = SigningRequest::new(&node("n1")).unwrap();
    let certificate = authority.sign(request.der(), &node("n2")).unwrap();
    let dir2 = dir.path().join("n2");
    let n2 = install(&dir2, &request, &certificate, authority.certificate_pem(), false).unwrap();
    assert_eq!(n2.node(), &node("n2"));
    let years = n2.expires().duration_since(jiff::Timestamp::now()).as_hours() / (365 * 24);
    assert!((9..12).contains(&years), "{years}");

    assert!(authority.has_certified(&node("n1")).unwrap());
    assert!(authority.has_certified(&node("n2")).unwrap());
    assert!(!authority.has_certified(&node("n3")).unwrap());
    assert!(authority.sign(b"rubbish", &node("n3")).is_err());
    let mut forged = request.der().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(authority.sign(&forged, &node("n3")).is_err());
    let error = Authority::load(&n2).map(drop).unwrap_err().to_string();
    assert!(error.contains("where `lockstep cluster init` was run"), "{error}");
}
