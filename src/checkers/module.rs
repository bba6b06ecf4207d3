//! `module`: another module gives its service, that is, it is `PRIM Ready` or `ALONE Ready`. One
//! of this node is asked of the hub; one elsewhere by what load balancers ask too, `ready.txt`,
//! over HTTP or HTTPS.
//!
//! HTTPS trusts the authorities of this system and nobody else, for the name or address that
//! `addr=` gives: the configuration has no place for another one. The cluster's own authority
//! vouches for nodes towards each other and for no web server. They are read at each look, so that
//! a renewed or added one counts without a restart.
use super::Neighbour;
use super::steady::{Check, Look};
use super::tcp::{connect, place};
use crate::model::Readiness;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// A module of this node is asked at least so often: it costs nothing.
pub(super) const LOCAL_POLL: Duration = Duration::from_secs(1);
/// Longest status line that is read.
const STATUS_LINE_MAX: usize = 256;

pub(super) struct Local {
    pub name: String,
    pub neighbour: Neighbour,
}

impl Check for Local {
    async fn look(&mut self) -> Look {
        match (self.neighbour)(&self.name) {
            Some(state) if state.role.is_primary() && state.readiness == Readiness::Ready => {
                Look::Up
            }
            Some(state) => Look::Down(format!("module {} is {state} on this node", self.name)),
            None => Look::Down(format!("this node has no module {}", self.name)),
        }
    }
}

pub(super) struct Remote {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub timeout: Duration,
    /// Over HTTPS, with these authorities. `None`: over HTTP.
    pub authorities: Option<Authorities>,
}

/// Whom HTTPS trusts; asked at each look.
pub(super) type Authorities = fn() -> RootCertStore;

/// Those of this system.
pub(super) fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

impl Check for Remote {
    async fn look(&mut self) -> Look {
        let (name, place) = (&self.name, place(&self.host, self.port));
        match timeout(self.timeout, self.status(&place)).await {
            Ok(Ok(Some(200))) => Look::Up,
            Ok(Ok(Some(404))) => Look::Down(format!("module {name} is not ready at {place}")),
            Ok(Ok(Some(status))) => Look::Down(format!(
                "{place} answers {status} when asked for /var/modules/{name}/ready.txt"
            )),
            Ok(Ok(None)) => Look::Down(format!("what listens at {place} does not speak HTTP")),
            Ok(Err(error)) => {
                Look::failed(&format!("cannot ask {place} for module {name}"), &error)
            }
            Err(_) => {
                let limit = self.timeout.as_secs_f64();
                Look::Down(format!("no answer about module {name} from {place} within {limit} s"))
            }
        }
    }
}

impl Remote {
    async fn status(&self, place: &str) -> io::Result<Option<u16>> {
        let stream = connect(&self.host, self.port).await?;
        let Some(authorities) = self.authorities else { return self.ask(stream, place).await };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let tls = spawn_blocking(move || connector(authorities())).await??;
        self.ask(tls.connect(name, stream).await?, place).await
    }

    async fn ask(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        place: &str,
    ) -> io::Result<Option<u16>> {
        let request = format!(
            "GET /var/modules/{}/ready.txt HTTP/1.1\r\nHost: {place}\r\nUser-Agent: lockstep\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n",
            self.name
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        let mut piece = [0; STATUS_LINE_MAX];
        while !answer.contains(&b'\n') && answer.len() < STATUS_LINE_MAX {
            match stream.read(&mut piece).await? {
                0 => break,
                length => answer.extend_from_slice(&piece[..length]),
            }
        }
        Ok(status_in(&answer))
    }
}

fn connector(roots: RootCertStore) -> io::Result<TlsConnector> {
    if roots.is_empty() {
        let text = "this system has no authorities for HTTPS: install the package ca-certificates";
        return Err(io::Error::other(text));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The number in `HTTP/1.1 200 OK`.
fn status_in(answer: &[u8]) -> Option<u16> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&answer[..end]).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_and_nothing_else() {
        assert_eq!(status_in(b"HTTP/1.1 200 OK\r\nServer: x\r\n"), Some(200));
        assert_eq!(status_in(b"HTTP/1.0 404 NOT FOUND\r\n"), Some(404));
        assert_eq!(status_in(b"HTTP/1.1 503\n"), Some(503));
        for wrong in
            [&b""[..], b"HTTP/1.1 200 OK", b"SSH-2.0-x 200\r\n", b"HTTP/1.1 99999 x\n", b"\xff\n"]
        {
            assert_eq!(status_in(wrong), None, "{wrong:?}");
        }
    }
}
