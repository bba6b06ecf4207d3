//! Goal: the listener answers, whatever other clients do or leave undone.
use super::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(5);

async fn listener(limit: Duration) -> Listener {
    let mut waiting = view();
    waiting.module = ModuleName::new("db").unwrap();
    waiting.state = State::new(Role::Prim, Readiness::Transient);
    let mut alone = view();
    alone.module = ModuleName::new("lone").unwrap();
    alone.state = State::new(Role::Alone, Readiness::Ready);
    let mut second = view();
    second.module = ModuleName::new("copy").unwrap();
    second.state = State::new(Role::Second, Readiness::Ready);
    let shown = picture(vec![view(), waiting, alone, second]);
    let source: Source = Arc::new(move || shown.clone());
    Listener::with_limit("127.0.0.1:0".parse().unwrap(), source, limit).await.unwrap()
}

async fn ask(listener: &Listener, line: &str) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(listener.address()).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    timeout(LIMIT, asked).await.expect("an answer in time")
}

#[tokio::test]
async fn metrics_and_readiness_are_served() {
    let listener = listener(LIMIT).await;
    let answer = ask(&listener, "GET /metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    strict::read(body).unwrap();
    for (module, code, text) in [
        ("web", "200", "OK"),
        ("lone", "200", "OK"),
        ("db", "404", "NOT FOUND"),
        ("copy", "404", "NOT FOUND"),
        ("none", "404", "NOT FOUND"),
        ("../web", "404", "NOT FOUND"),
    ] {
        let answer = ask(&listener, &format!("GET /var/modules/{module}/ready.txt")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{module}: {answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{text}")), "{module}: {answer}");
    }
    assert!(ask(&listener, "GET /").await.starts_with("HTTP/1.1 404"));
    assert!(ask(&listener, "POST /metrics").await.starts_with("HTTP/1.1 405"));
    let head = ask(&listener, "HEAD /var/modules/web/ready.txt").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn mute_clients_hold_nobody_up() {
    let listener = listener(LIMIT).await;
    let mut mute = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(listener.address()).await.unwrap();
        stream.write_all(b"GET /met").await.unwrap();
        mute.push(stream);
    }
    assert!(ask(&listener, "GET /metrics").await.contains("# EOF"));
    drop(mute);
}

#[tokio::test]
async fn every_client_has_an_end_and_gives_its_place_back() {
    let listener = listener(Duration::from_millis(300)).await;
    let mut mute = Vec::new();
    for _ in 0..40 {
        mute.push(TcpStream::connect(listener.address()).await.unwrap());
    }
    // Closed by the limit, or at once because there was no place.
    for stream in &mut mute {
        let end = timeout(LIMIT, stream.read(&mut [0u8; 1])).await;
        assert!(matches!(end.expect("an end"), Ok(0) | Err(_)));
    }
    assert!(ask(&listener, "GET /metrics").await.contains("# EOF"));
}
