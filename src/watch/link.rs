//! Links and addresses as the kernel announces their changes (rtnetlink multicast groups).
//!
//! The socket may overflow under a storm of changes; then [`LinkEvent::Missed`] says so, and the
//! reader must look again instead of trusting its memory.
use futures_util::StreamExt;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use std::io;
use std::net::IpAddr;
use tokio::sync::mpsc;

/// One change of the network of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// An interface changed. `up`: administratively up and with a carrier.
    Link {
        interface: String,
        index: u32,
        up: bool,
    },
    /// An interface is gone.
    LinkGone {
        interface: String,
        index: u32,
    },
    AddressAdded {
        addr: IpAddr,
        index: u32,
    },
    AddressGone {
        addr: IpAddr,
        index: u32,
    },
    /// Changes were lost (socket overflow): read the state again.
    Missed,
}

/// Starts listening in the network namespace of the calling thread. The stream ends when the
/// receiver is dropped. At most 256 events wait; a slow reader gets `Missed`, never a growing
/// queue.
pub fn events() -> io::Result<mpsc::Receiver<LinkEvent>> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
    let (sender, receiver) = mpsc::channel(256);
    let io = tokio::spawn(connection);
    tokio::spawn(async move {
        // The connection lives as long as its handle.
        let _handle = handle;
        let mut missed = false;
        while let Some((message, _)) = messages.next().await {
            let event = match message.payload {
                NetlinkPayload::InnerMessage(inner) => event_of(inner),
                NetlinkPayload::Overrun(_) => Some(LinkEvent::Missed),
                _ => None,
            };
            let Some(event) = event else { continue };
            if missed && sender.try_send(LinkEvent::Missed).is_ok() {
                missed = false;
            }
            match sender.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => missed = true,
                Err(mpsc::error::TrySendError::Closed(_)) => break,
            }
        }
        io.abort();
    });
    Ok(receiver)
}

fn event_of(message: RouteNetlinkMessage) -> Option<LinkEvent> {
    match message {
        RouteNetlinkMessage::NewLink(link) => {
            let flags = link.header.flags;
            let up = flags.contains(LinkFlags::Up) && flags.contains(LinkFlags::LowerUp);
            let (interface, index) = link_name(&link)?;
            Some(LinkEvent::Link { interface, index, up })
        }
        RouteNetlinkMessage::DelLink(link) => {
            link_name(&link).map(|(interface, index)| LinkEvent::LinkGone { interface, index })
        }
        RouteNetlinkMessage::NewAddress(address) => {
            let addr = address_of(&address)?;
            Some(LinkEvent::AddressAdded { addr, index: address.header.index })
        }
        RouteNetlinkMessage::DelAddress(address) => {
            let addr = address_of(&address)?;
            Some(LinkEvent::AddressGone { addr, index: address.header.index })
        }
        _ => None,
    }
}

fn link_name(link: &LinkMessage) -> Option<(String, u32)> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some((name.clone(), link.header.index)),
        _ => None,
    })
}

/// The interface's own address: `Local` where the link is point-to-point, else `Address`.
pub(crate) fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let find = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(addr) if local => Some(*addr),
            AddressAttribute::Address(addr) if !local => Some(*addr),
            _ => None,
        })
    };
    find(true).or_else(|| find(false))
}
