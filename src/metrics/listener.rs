//! HTTP on the configured address: metrics for a Prometheus, readiness for a load balancer.
//!
//! ```text
//! GET /metrics                    200, OpenMetrics text
//! GET /var/modules/M/ready.txt    200 "OK" in PRIM Ready and ALONE Ready, else 404 "NOT FOUND"
//! ```
//! One request a connection, each with an end. A client that is slow, mute or one of too many costs
//! a place among [`CLIENTS_MAX`] for [`CLIENT_LIMIT`], and never anything of the node's own work.
use super::families::open_metrics;
use super::picture::Picture;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Longest life of a connection.
const CLIENT_LIMIT: Duration = Duration::from_secs(10);
const CLIENTS_MAX: usize = 32;
/// Pause after the kernel gave no connection, e.g. because this process has no descriptor left.
const PAUSE: Duration = Duration::from_millis(200);

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// Where pictures come from; takes one without waiting.
pub type Source = Arc<dyn Fn() -> Picture + Send + Sync>;

/// Listens until it is dropped.
pub struct Listener {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listener {
    /// # Errors
    /// The address is not one of this node, or in use.
    pub async fn bind(address: SocketAddr, source: Source) -> io::Result<Listener> {
        Listener::with_limit(address, source, CLIENT_LIMIT).await
    }

    /// `limit`: longest life of a connection.
    pub(super) async fn with_limit(
        address: SocketAddr,
        source: Source,
        limit: Duration,
    ) -> io::Result<Listener> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Listener { address, task: tokio::spawn(accept(socket, source, limit)) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When this returns, the address is free.
    pub async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(socket: TcpListener, source: Source, limit: Duration) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "no connection for metrics");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // One too many is closed at once: whoever asks again finds a place soon.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let source = source.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(limit, serve(stream, source)).await;
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, source: Source) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &source);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_LIMIT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client of metrics");
    }
}

fn respond(method: &Method, path: &str, source: &Source) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return response(StatusCode::METHOD_NOT_ALLOWED, TEXT_TYPE, "only GET and HEAD\n".into());
    }
    if path == "/metrics" {
        return response(StatusCode::OK, METRICS_TYPE, open_metrics(&source()));
    }
    let module =
        path.strip_prefix("/var/modules/").and_then(|rest| rest.strip_suffix("/ready.txt"));
    match module {
        Some(module) if source().is_ready(module) => {
            response(StatusCode::OK, TEXT_TYPE, "OK".into())
        }
        _ => response(StatusCode::NOT_FOUND, TEXT_TYPE, "NOT FOUND".into()),
    }
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // A balancer behind a cache must not see the state of a minute ago.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
