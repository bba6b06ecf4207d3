//! The kernel's patience with a neighbour that does not answer.
//!
//! While a node is away, the kernel asks for its hardware address once a second and drops what is
//! sent meanwhile. A dial just after such a question would wait a second for the next one, longer
//! than a cut may take to heal. So before each further dial the unanswered question is forgotten:
//! the dial's own packet asks again, at once.
use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use std::net::IpAddr;
use std::time::Duration;

/// The kernel answers at once; this only keeps a dial from hanging on it.
const LIMIT: Duration = Duration::from_millis(100);

/// A socket to the kernel's table of neighbours; without one, links only come back more slowly.
#[derive(Clone)]
pub(super) struct Neighbours(Option<rtnetlink::Handle>);

impl Neighbours {
    /// Must be called within a tokio runtime, in the network namespace of the links.
    pub(super) fn open() -> Neighbours {
        match rtnetlink::new_connection() {
            Ok((connection, handle, _)) => {
                tokio::spawn(connection);
                Neighbours(Some(handle))
            }
            Err(error) => {
                tracing::warn!(%error, "no netlink: links may come back a second later");
                Neighbours(None)
            }
        }
    }

    /// Forgets every unanswered question for the hardware address of `address`. Entries that were
    /// answered, or made by an administrator, stay.
    pub(super) async fn forget_unanswered(&self, address: IpAddr) {
        let Some(handle) = &self.0 else { return };
        // Nothing depends on it: a dial that has to wait is only slower.
        let _ = tokio::time::timeout(LIMIT, forget(handle, address)).await;
    }
}

async fn forget(handle: &rtnetlink::Handle, address: IpAddr) -> Result<(), rtnetlink::Error> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let known: Vec<NeighbourMessage> =
        handle.neighbours().get().set_address_family(family).execute().try_collect().await?;
    for entry in known.into_iter().filter(|entry| is_unanswered(entry, address)) {
        handle.neighbours().del(entry).execute().await?;
    }
    Ok(())
}

fn is_unanswered(entry: &NeighbourMessage, address: IpAddr) -> bool {
    let asked = matches!(entry.header.state, NeighbourState::Incomplete | NeighbourState::Failed);
    let destination = match address {
        IpAddr::V4(ip) => NeighbourAddress::Inet(ip),
        IpAddr::V6(ip) => NeighbourAddress::Inet6(ip),
    };
    asked && entry.attributes.contains(&NeighbourAttribute::Destination(destination))
}
