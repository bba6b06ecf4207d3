//! `intf` and `ip`: what the kernel knows of this node's links and addresses. Its announcements
//! cause a look; a slow poll covers announcements that were lost.
use super::steady::{Look, Probe};
use crate::actions::vip;
use crate::watch::link::{self, LinkEvent};
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::sync::mpsc;

/// `<intf>` has no interval of its own.
pub(super) const POLL: Duration = Duration::from_secs(10);

/// The interface of an address, or the one that is named, is up and has a carrier.
pub(super) struct Link {
    interface: Option<String>,
    addr: String,
    news: News,
}

impl Link {
    pub(super) fn new(interface: Option<String>, addr: String) -> Link {
        Link { interface, addr, news: News::default() }
    }
}

impl Probe for Link {
    async fn look(&mut self) -> Look {
        self.news.listen();
        let addr = match resolve(&self.addr).await {
            Ok(addr) => addr,
            Err(error) => return Look::failed(&format!("cannot resolve {}", self.addr), &error),
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
    addr: String,
    /// As it was resolved last.
    known: Option<IpAddr>,
    news: News,
}

impl Address {
    pub(super) fn new(addr: String) -> Address {
        Address { addr, known: None, news: News::default() }
    }
}

impl Probe for Address {
    async fn look(&mut self) -> Look {
        self.news.listen();
        let addr = match resolve(&self.addr).await {
            Ok(addr) => addr,
            Err(error) => return Look::failed(&format!("cannot resolve {}", self.addr), &error),
        };
        self.known = Some(addr);
        match vip::is_present(addr).await {
            Ok(Some(_)) => Look::Up,
            Ok(None) => Look::Down(format!("address {addr} is not on this node any more")),
            Err(error) => Look::Unknown(error.to_string()),
        }
    }

    async fn changed(&mut self) {
        let known = self.known;
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

/// Names are allowed; the first address counts.
async fn resolve(host: &str) -> io::Result<IpAddr> {
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
