//! `intf` and `ip`: what the kernel knows of this node's links and addresses. Its announcements
//! cause a look; a slow poll covers announcements that were lost.
use super::steady::{Check, Look};
use crate::actions::vip;
use crate::watch::link::{self, LinkEvent};
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// A resolver that waits for its servers.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// `<intf>` has no interval of its own.
pub(super) const POLL: Duration = Duration::from_secs(10);

/// The interface of an address, or the one that is named, is up and has a carrier.
pub(super) struct Link {
    interface: Option<String>,
    place: Place,
    news: News,
}

impl Link {
    pub(super) fn new(interface: Option<String>, addr: String) -> Link {
        Link { interface, place: Place::new(addr), news: News::default() }
    }
}

impl Check for Link {
    async fn look(&mut self) -> Look {
        self.news.listen();
        let addr = match self.place.address().await {
            Ok(addr) => addr,
            Err(why) => return Look::Unknown(why),
        };
        match vip::link_of(self.interface.as_deref(), addr).await {
            Ok(Some(link)) if link.up && link.carrier => Look::Up,
            Ok(Some(link)) if link.up => Look::Down(format!(
                "interface {} of {addr} has no carrier: look at its cable and switch",
                link.interface
            )),
            Ok(Some(link)) => Look::Down(format!("interface {} of {addr} is down", link.interface)),
            Ok(None) => Look::Down(match &self.interface {
                Some(name) => format!("this node has no interface {name}"),
                None => format!("no interface of this node has {addr} or an address beside it"),
            }),
            Err(error) => Look::Unknown(error.to_string()),
        }
    }

    async fn changed(&mut self) {
        self.news.next(|_| true).await;
    }
}

/// The address is on this node.
pub(super) struct Address {
    place: Place,
    news: News,
}

impl Address {
    pub(super) fn new(addr: String) -> Address {
        Address { place: Place::new(addr), news: News::default() }
    }
}

impl Check for Address {
    async fn look(&mut self) -> Look {
        self.news.listen();
        let addr = match self.place.address().await {
            Ok(addr) => addr,
            Err(why) => return Look::Unknown(why),
        };
        match vip::is_present(addr).await {
            Ok(Some(_)) => Look::Up,
            Ok(None) => Look::Down(format!("address {addr} is not on this node any more")),
            Err(error) => Look::Unknown(error.to_string()),
        }
    }

    async fn changed(&mut self) {
        let known = self.place.known;
        let concerns = |event: &LinkEvent| match event {
            LinkEvent::AddressAdded { addr, .. } | LinkEvent::AddressGone { addr, .. } => {
                Some(*addr) == known
            }
            LinkEvent::Missed | LinkEvent::LinkGone { .. } => true,
            LinkEvent::Link { .. } => false,
        };
        self.news.next(concerns).await;
    }
}

/// An address, or a name of it. A resolver that fails or says nothing tells nothing about links
/// and addresses of this node: what it said last holds, and until then nothing is known.
struct Place {
    host: String,
    /// As it was resolved last.
    known: Option<IpAddr>,
}

impl Place {
    fn new(host: String) -> Place {
        Place { host, known: None }
    }

    /// The error says why nothing is known.
    async fn address(&mut self) -> Result<IpAddr, String> {
        let found = resolve(self.host.clone());
        self.settle(timeout(RESOLVE_LIMIT, found).await)
    }

    fn settle(&mut self, found: Result<io::Result<IpAddr>, Elapsed>) -> Result<IpAddr, String> {
        let why = match found {
            Ok(Ok(addr)) => {
                self.known = Some(addr);
                return Ok(addr);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", RESOLVE_LIMIT.as_secs()),
        };
        self.known.ok_or_else(|| format!("cannot resolve {}: {why}", self.host))
    }
}

/// The first address counts.
async fn resolve(host: String) -> io::Result<IpAddr> {
    let first = lookup_host((host, 0)).await?.next().map(|found| found.ip());
    first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

/// Announcements of the kernel, as long as they can be had.
#[derive(Default)]
struct News(Option<mpsc::Receiver<LinkEvent>>);

impl News {
    /// Before a look, so that nothing can happen between the look and the wait. What has been
    /// announced until now is seen by the look.
    fn listen(&mut self) {
        match &mut self.0 {
            Some(news) => while news.try_recv().is_ok() {},
            None => match link::events() {
                Ok(news) => self.0 = Some(news),
                Err(error) => tracing::warn!(%error, "no news of links, they are polled only"),
            },
        }
    }

    async fn next(&mut self, concerns: impl Fn(&LinkEvent) -> bool) {
        while let Some(news) = &mut self.0 {
            match news.recv().await {
                Some(event) if concerns(&event) => return,
                Some(_) => {}
                // Opened again at the next look.
                None => self.0 = None,
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_resolver_that_fails_takes_nothing_back() {
        let addr: IpAddr = "10.0.0.9".parse().unwrap();
        let failed = || Ok(Err(io::Error::other("no server")));
        let silent = timeout(Duration::ZERO, std::future::pending());
        let mut place = Place::new("db.example".into());
        let why = place.settle(failed()).unwrap_err();
        assert!(why.contains("db.example") && why.contains("no server"), "{why}");
        assert_eq!(place.settle(Ok(Ok(addr))), Ok(addr));
        assert_eq!(place.settle(failed()), Ok(addr));
        assert_eq!(place.settle(silent.await), Ok(addr));
        assert_eq!(Place::new("10.0.0.9".into()).address().await, Ok(addr));
    }
}
