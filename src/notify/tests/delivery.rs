//! Real receivers on loopback: an SMTP server, an HTTP server with and without TLS, a program.
use super::*;
use crate::config::WatchConfig;
use crate::fixture::program;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

fn receivers(xml: &str) -> Vec<Result<Receiver, String>> {
    let config = WatchConfig::parse(Path::new("watch.xml"), &format!("<watch>{xml}</watch>"));
    prepare(&config.unwrap().receivers).into_iter().map(|(_, receiver)| receiver).collect()
}

fn receiver(xml: &str) -> Receiver {
    receivers(xml).remove(0).unwrap_or_else(|reason| panic!("{reason}"))
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// How the server protects what is said.
enum Protection {
    None,
    StartTls(TlsAcceptor),
    Tls(TlsAcceptor),
}

/// Takes one mail as RFC 5321 says and gives all that the client said.
async fn smtp(recipient_code: &'static str, with: Protection) -> (u16, JoinHandle<String>) {
    let (listener, port) = listen().await;
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        match with {
            Protection::None => converse(stream, true, recipient_code).await,
            Protection::Tls(tls) => match tls.accept(stream).await {
                Ok(stream) => converse(stream, true, recipient_code).await,
                Err(error) => error.to_string(),
            },
            Protection::StartTls(tls) => {
                stream.write_all(b"220 test\r\n").await.unwrap();
                let mut said = [0; 512];
                let _ = stream.read(&mut said).await.unwrap();
                stream.write_all(b"250-test\r\n250 STARTTLS\r\n").await.unwrap();
                let length = stream.read(&mut said).await.unwrap();
                assert_eq!(&said[..length], b"STARTTLS\r\n");
                stream.write_all(b"220 go on\r\n").await.unwrap();
                converse(tls.accept(stream).await.unwrap(), false, recipient_code).await
            }
        }
    });
    (port, task)
}

async fn converse(
    stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    greets: bool,
    recipient_code: &str,
) -> String {
    let mut stream = BufReader::new(stream);
    if greets {
        stream.write_all(b"220 test\r\n").await.unwrap();
        stream.flush().await.unwrap();
    }
    let (mut said, mut data) = (String::new(), false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return said;
        }
        said.push_str(&line);
        let answer = match line.trim_end() {
            "." => "250 taken",
            _ if data => continue,
            "DATA" => "354 go on",
            "QUIT" => return said,
            line if line.starts_with("EHLO") => "250-test\r\n250 AUTH PLAIN",
            line if line.starts_with("AUTH") => "235 welcome",
            line if line.starts_with("RCPT") => recipient_code,
            _ => "250 fine",
        };
        data = answer.starts_with("354");
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
}

/// A server's TLS with a certificate of its own making, written to `ca`.
fn acceptor(ca: &Path) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(ca, made.cert.pem()).unwrap();
    let private = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], private.unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(tls))
}

fn mail(port: u16, more: &str) -> String {
    format!(
        "<mail server=\"127.0.0.1\" port=\"{port}\" from=\"lockstep@example.org\" \
         to=\"a@example.org, b@example.org\" {more}/>"
    )
}

#[tokio::test]
async fn a_mail_reaches_an_smtp_server() {
    let (port, server) = smtp("250 fine", Protection::None).await;
    let receiver = receiver(&mail(port, "tls=\"none\""));
    receiver.send(&batch(&["module web is ALONE Ready", "more"])).await.unwrap();
    drop(receiver);
    let said = server.await.unwrap();
    for part in [
        "MAIL FROM:<lockstep@example.org>",
        "RCPT TO:<a@example.org>",
        "RCPT TO:<b@example.org>",
        "Subject: [n1] information: module web is ALONE Ready (and 1 more)",
        "Message-ID: <n1-1-mail-1-1@example.org>",
        "What to do: look",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_or_has_no_tls_is_a_failure_with_its_words() {
    let (port, _server) = smtp("550 nobody here", Protection::None).await;
    let error = receiver(&mail(port, "tls=\"none\"")).send(&batch(&["a"])).await.unwrap_err();
    assert!(error.contains("nobody here"), "{error}");
    let (port, server) = smtp("250 fine", Protection::None).await;
    receiver(&mail(port, "")).send(&batch(&["a"])).await.unwrap_err();
    assert!(!server.await.unwrap().contains("MAIL FROM"), "nothing is said in the clear");
}

#[tokio::test]
async fn a_password_goes_through_tls_to_a_known_server_only() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, password) = (dir.path().join("ca.pem"), dir.path().join("password"));
    std::fs::write(&password, "secret\n").unwrap();
    set_mode(&password, 0o600);
    let tls = acceptor(&ca);
    let more = |tls: &str| {
        let (ca, password) = (ca.display(), password.display());
        format!("tls=\"{tls}\" user=\"u\" password_file=\"{password}\" ca=\"{ca}\"")
    };
    let both =
        [("starttls", Protection::StartTls(tls.clone())), ("tls", Protection::Tls(tls.clone()))];
    for (word, protection) in both {
        let (port, server) = smtp("250 fine", protection).await;
        let receiver = receiver(&mail(port, &more(word)));
        receiver.send(&batch(&["a"])).await.unwrap_or_else(|reason| panic!("{word}: {reason}"));
        drop(receiver);
        let said = server.await.unwrap();
        // NUL u NUL secret, in base64.
        assert!(said.contains("AUTH PLAIN AHUAc2VjcmV0"), "{word}: {said}");
        assert!(said.contains("Subject: [n1]"), "{word}: {said}");
    }
    acceptor(&ca);
    let (port, _server) = smtp("250 fine", Protection::Tls(tls)).await;
    receiver(&mail(port, &more("tls"))).send(&batch(&["a"])).await.unwrap_err();
}

/// Answers one request with `status`, and gives the request.
async fn http(status: &'static str, tls: Option<TlsAcceptor>) -> (u16, JoinHandle<String>) {
    let (listener, port) = listen().await;
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        match tls {
            None => answer(stream, status).await,
            Some(tls) => match tls.accept(stream).await {
                Ok(stream) => answer(stream, status).await,
                Err(error) => error.to_string(),
            },
        }
    });
    (port, task)
}

async fn answer(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, status: &str) -> String {
    let mut said = Vec::new();
    while !said.ends_with(b"}]}") && !said.ends_with(b"\"schema\":1}") {
        if stream.read_buf(&mut said).await.unwrap() == 0 {
            break;
        }
    }
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn a_webhook_gets_the_document() {
    let (port, server) = http("204 No Content", None).await;
    let receiver = receiver(&format!("<webhook url=\"http://127.0.0.1:{port}/hook?key=k\"/>"));
    receiver.send(&batch(&["a"])).await.unwrap();
    assert!(!receiver.target.contains("key"), "{}", receiver.target);
    let said = server.await.unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook?key=k HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(value, document(&batch(&["a"])));
    let (port, _server) = http("500 No", None).await;
    let receiver = self::receiver(&format!("<webhook url=\"http://127.0.0.1:{port}/\"/>"));
    let error = receiver.send(&batch(&["a"])).await.unwrap_err();
    assert!(error.contains("500"), "{error}");
}

#[tokio::test]
async fn https_trusts_the_named_authority_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, key) = (dir.path().join("ca.pem"), dir.path().join("key"));
    std::fs::write(&key, "Bearer abc\n").unwrap();
    let tls = acceptor(&ca);
    let xml = |port| {
        let (ca, key) = (ca.display(), key.display());
        let url = format!("https://127.0.0.1:{port}/x");
        format!("<webhook url=\"{url}\" ca=\"{ca}\" authorization_file=\"{key}\"/>")
    };
    set_mode(&key, 0o644);
    let refused = receivers(&xml(1)).remove(0).err().unwrap();
    assert!(refused.contains("chmod 600"), "{refused}");
    set_mode(&key, 0o600);
    let (port, server) = http("200 OK", Some(tls.clone())).await;
    receiver(&xml(port)).send(&batch(&["a"])).await.unwrap();
    assert!(server.await.unwrap().contains("authorization: Bearer abc\r\n"));
    acceptor(&ca);
    let (port, _server) = http("200 OK", Some(tls)).await;
    let error = receiver(&xml(port)).send(&batch(&["a"])).await.unwrap_err();
    assert!(error.contains("no TLS"), "{error}");
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_command_reads_the_document_and_has_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let (script, out) = (dir.path().join("tell"), dir.path().join("out"));
    let run = |body: String| {
        program(&script, format!("#!/bin/sh\n{body}\n").as_bytes());
        receiver(&format!("<command path=\"{}\" timeout=\"2s\"/>", script.display()))
    };
    run(format!("cat > {}", out.display())).send(&batch(&["a"])).await.unwrap();
    let value: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(value, document(&batch(&["a"])));
    run("exit 0".to_owned()).send(&batch(&["a"])).await.unwrap();
    let error = run("exit 3".to_owned()).send(&batch(&["a"])).await.unwrap_err();
    assert!(error.contains("exit status: 3"), "{error}");
    let begin = std::time::Instant::now();
    let error = run("sleep 60".to_owned()).send(&batch(&["a"])).await.unwrap_err();
    assert!(error.contains("after 2s") && begin.elapsed() < Duration::from_secs(30), "{error}");
    std::fs::remove_file(&script).unwrap();
    let gone = receiver(&format!("<command path=\"{}\"/>", script.display()));
    assert!(gone.send(&batch(&["a"])).await.unwrap_err().contains("cannot start"));
}

#[tokio::test]
async fn a_receiver_that_is_away_holds_no_other_up() {
    let (listener, port) = listen().await;
    drop(listener);
    let (there, server) = http("200 OK", None).await;
    let two: Vec<Receiver> = [port, there]
        .map(|port| receiver(&format!("<webhook url=\"http://127.0.0.1:{port}/\"/>")))
        .into();
    let mut two = two;
    two[1].name = "webhook-2".to_owned();
    let receivers = Receivers::open(two, "n1-1");
    receivers.tell(&batch(&["a"]).events);
    let limit = Duration::from_secs(10);
    assert!(
        tokio::time::timeout(limit, server).await.unwrap().unwrap().contains("n1-1-webhook-2-1")
    );
    let done = async {
        loop {
            let counts = receivers.counts();
            let (away, there) = (&counts[0].1, &counts[1].1);
            if (away.failures, away.waiting, there.delivered) == (1, 1, 1) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(limit, done).await.expect("counted");
}
