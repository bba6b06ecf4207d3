//! `tcp` and `module` against listeners on loopback.
use super::super::steady::{Check, Look};
use super::*;
use crate::model::{Readiness, State};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn tcp(addr: &str, port: u16) -> CheckerKind {
    CheckerKind::Tcp { addr: addr.into(), port, interval: OFTEN, timeout: LIMIT }
}

fn remote(port: u16, limit: Duration) -> CheckerKind {
    CheckerKind::Module {
        name: "am".into(),
        addr: Some("127.0.0.1".into()),
        port,
        interval: OFTEN,
        timeout: limit,
        secure: false,
    }
}

#[tokio::test]
async fn a_port_is_up_while_somebody_listens() {
    let module = Module::new();
    for (addr, bound) in
        [("127.0.0.1", "127.0.0.1:0"), ("::1", "[::1]:0"), ("localhost", "127.0.0.1:0")]
    {
        let listener = TcpListener::bind(bound).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (_running, mut from) = module.start(tcp(addr, at.port()));
        let first = next(&mut from).await;
        assert_eq!(
            first,
            Reading { resource: "tcp.x".into(), up: true, why: "".into(), by: "tcpcheck" }
        );
        drop(listener);
        let why = next_down(&mut from).await;
        assert!(why.contains(&super::super::tcp::place(addr, at.port())), "{why}");
        let _again = TcpListener::bind(at).await.unwrap();
        next_up(&mut from).await;
    }
}

#[tokio::test]
async fn silence_is_down_and_so_is_a_name_without_address() {
    let module = Module::new();
    // A listener whose queue is full answers nothing.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let filler = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let timeout = Duration::from_millis(50);
    let silent = CheckerKind::Tcp { addr: "127.0.0.1".into(), port, interval: OFTEN, timeout };
    let (_running, mut from) = module.start(silent);
    assert!(next_down(&mut from).await.contains("within 0.05 s"));
    drop(filler);
    let (_running, mut from) = module.start(tcp("no-such-host.invalid", 80));
    assert!(next_down(&mut from).await.contains("no-such-host.invalid:80"));
}

#[tokio::test]
async fn dropping_it_ends_it() {
    let module = Module::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (running, mut from) = module.start(tcp("127.0.0.1", listener.local_addr().unwrap().port()));
    next_up(&mut from).await;
    drop(running);
    assert_eq!(timeout(LIMIT, from.recv()).await.unwrap(), None);
}

/// Answers each connection with the next text; the last one again and again.
async fn server(answers: &'static [&'static str]) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (to, from) = mpsc::channel(64);
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            let _ = to.try_send(String::from_utf8_lossy(&request[..length]).into_owned());
            for piece in answers[turn.min(answers.len() - 1)].split('|') {
                stream.write_all(piece.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    (port, from)
}

#[tokio::test]
async fn a_module_elsewhere_is_up_when_its_page_is_there() {
    let module = Module::new();
    let (port, mut requests) = server(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",
        "HTTP/1.1 404 NOT FOUND\r\n\r\n",
        "HTTP/1.1 404 NOT FOUND\r\n\r\n",
        "HTT|P/1.1 2|00 OK\r\n\r\nOK",
        "SSH-2.0-OpenSSH\r\n",
    ])
    .await;
    let (_running, mut from) = module.start(remote(port, LIMIT));
    let first = next(&mut from).await;
    assert_eq!((first.resource.as_str(), first.up, first.by), ("module.x", true, "modulecheck"));
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("GET /var/modules/am/ready.txt HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nHost: 127.0.0.1:{port}\r\n")), "{request}");
    assert!(request.ends_with("\r\n\r\n"), "{request}");
    assert!(next_down(&mut from).await.contains("am is not ready"));
    next_up(&mut from).await;
    assert!(next_down(&mut from).await.contains("does not speak HTTP"));
}

#[tokio::test]
async fn a_web_server_that_says_nothing_is_down() {
    let module = Module::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (_running, mut from) = module.start(remote(port, Duration::from_millis(50)));
    assert!(next_down(&mut from).await.contains("no answer about module am"));
}

#[tokio::test]
async fn a_module_of_this_node_is_up_when_it_serves() {
    let states = [
        Some(State::new(Role::Prim, Readiness::Ready)),
        Some(State::new(Role::Second, Readiness::Ready)),
        Some(State::new(Role::Second, Readiness::Ready)),
        Some(State::new(Role::Alone, Readiness::Ready)),
        Some(State::new(Role::Alone, Readiness::Transient)),
        Some(State::new(Role::Alone, Readiness::Transient)),
        Some(State::new(Role::Prim, Readiness::Ready)),
        None,
    ];
    let mut module = Module::new();
    let turn = AtomicUsize::new(0);
    module.around.neighbour = Arc::new(move |name| {
        assert_eq!(name, "am");
        states[turn.fetch_add(1, Ordering::Relaxed).min(states.len() - 1)]
    });
    let kind = CheckerKind::Module {
        name: "am".into(),
        addr: None,
        port: 9010,
        interval: OFTEN,
        timeout: LIMIT,
        secure: false,
    };
    let (_running, mut from) = module.start(kind);
    next_up(&mut from).await;
    assert!(next_down(&mut from).await.contains("am is SECOND Ready"));
    next_up(&mut from).await;
    assert!(next_down(&mut from).await.contains("am is ALONE Transient"));
    next_up(&mut from).await;
    assert!(next_down(&mut from).await.contains("no module am"));
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_with_a_sentence() {
    let module = Module::new();
    let (to, _from) = mpsc::channel(1);
    let kind = CheckerKind::SplitBrain { exec: "ping".into(), arg: "10.0.0.1".into() };
    assert!(start(&checker(kind), &module.around, to).is_err());
}

/// A web service with a certificate that names 127.0.0.1; its certificate.
async fn secure_server(answer: &'static str) -> (u16, rustls::pki_types::CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"GET /var/modules/am/ready.txt HTTP/1.1"));
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    (port, certificate)
}

#[tokio::test]
async fn a_module_elsewhere_answers_over_https_to_who_trusts_it() {
    static TRUSTED: std::sync::OnceLock<rustls::pki_types::CertificateDer<'static>> =
        std::sync::OnceLock::new();
    let probe = |host: &str, port, authorities| {
        let (name, host) = ("am".to_owned(), host.to_owned());
        super::super::module::Remote { name, host, port, timeout: LIMIT, authorities }
    };
    let (port, certificate) = secure_server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").await;
    TRUSTED.set(certificate).unwrap();
    let known = || {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(TRUSTED.get().unwrap().clone()).unwrap();
        roots
    };
    assert_eq!(probe("127.0.0.1", port, Some(known)).look().await, Look::Up);
    let down = |look| match look {
        Look::Down(why) => why,
        other => panic!("{other:?}"),
    };
    // Another name than the one in the certificate, nobody who vouches for it, no authority at all.
    let why = down(probe("localhost", port, Some(known)).look().await);
    assert!(why.contains("not valid for"), "{why}");
    let why = down(probe("127.0.0.1", port, Some(super::super::module::of_system)).look().await);
    assert!(why.contains("am") && why.contains(&port.to_string()), "{why}");
    let why = down(probe("127.0.0.1", port, Some(rustls::RootCertStore::empty)).look().await);
    assert!(why.contains("ca-certificates"), "{why}");
    // Plain HTTP to it gets nowhere either.
    assert_ne!(probe("127.0.0.1", port, None).look().await, Look::Up);
    let (port, _) = secure_server("HTTP/1.1 404 NOT FOUND\r\n\r\n").await;
    assert!(matches!(probe("127.0.0.1", port, Some(known)).look().await, Look::Down(_)));
}
