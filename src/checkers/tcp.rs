//! `tcp`: a connection to a port is possible. The name is resolved each time, because an address
//! may move; several addresses are tried side by side, so that a dead one does not use up the time.
use super::steady::{Check, Look};
use futures_util::future::select_ok;
use std::io;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

pub(super) struct Tcp {
    pub host: String,
    pub port: u16,
    pub timeout: Duration,
}

impl Check for Tcp {
    async fn look(&mut self) -> Look {
        let place = place(&self.host, self.port);
        match timeout(self.timeout, connect(&self.host, self.port)).await {
            Ok(Ok(_)) => Look::Up,
            Ok(Err(error)) => Look::failed(&format!("no connection to {place}"), &error),
            Err(_) => {
                let limit = self.timeout.as_secs_f64();
                Look::Down(format!("no connection to {place} within {limit} s"))
            }
        }
    }
}

/// Host and port for messages and for HTTP.
pub(super) fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The first connection to any address of `host`.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let tries: Vec<_> = lookup_host((host, port))
        .await?
        .map(|addr| Box::pin(async move { refuse_self(TcpStream::connect(addr).await?) }))
        .collect();
    if tries.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    select_ok(tries).await.map(|(stream, _)| stream)
}

/// A connection to a local port where nobody listens can meet itself, if the kernel happens to
/// choose that very port as its source.
fn refuse_self(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}
