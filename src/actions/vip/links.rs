//! Interfaces and their addresses by rtnetlink: find, add, remove.
//!
//! Each call opens its own netlink socket in the network namespace of the calling thread: calls
//! are rare, and a socket that is not kept cannot go stale.
use super::VipError;
use super::frames::Mac;
use crate::watch::link::address_of;
use crate::watch::own::same_subnet;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use std::net::IpAddr;

/// One netlink connection; its task ends with it.
pub struct Netlink {
    handle: rtnetlink::Handle,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An interface as far as a virtual address is concerned.
#[derive(Clone, Debug)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// `None` where the link is not Ethernet: nothing to probe, nobody to tell.
    pub mac: Option<Mac>,
    /// Administratively up.
    pub up: bool,
    /// A cable (or its virtual likeness) is plugged in.
    pub carrier: bool,
}

/// An address on an interface.
#[derive(Clone, Debug)]
pub struct Address {
    pub index: u32,
    pub addr: IpAddr,
    pub prefix: u8,
    message: AddressMessage,
}

impl Netlink {
    pub fn open() -> Result<Netlink, VipError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(VipError::Socket)?;
        Ok(Netlink { handle, task: tokio::spawn(connection) })
    }

    pub async fn interfaces(&self) -> Result<Vec<Interface>, VipError> {
        let links = self.handle.link().get().execute();
        let links: Vec<LinkMessage> =
            links.try_collect().await.map_err(|error| netlink("list the interfaces", error))?;
        Ok(links.iter().filter_map(interface_of).collect())
    }

    pub async fn addresses(&self) -> Result<Vec<Address>, VipError> {
        let found = self.handle.address().get().execute();
        let found: Vec<AddressMessage> =
            found.try_collect().await.map_err(|error| netlink("list the addresses", error))?;
        let address = |message: AddressMessage| {
            Some(Address {
                index: message.header.index,
                addr: address_of(&message)?,
                prefix: message.header.prefix_len,
                message,
            })
        };
        Ok(found.into_iter().filter_map(address).collect())
    }

    /// Adds the address. IPv6: without the kernel's own detection (seconds; ours has run), and,
    /// unless `source`, deprecated, so that outgoing connections do not carry it.
    pub async fn add(
        &self,
        interface: &Interface,
        addr: IpAddr,
        prefix: u8,
        source: bool,
    ) -> Result<(), VipError> {
        let mut request = self.handle.address().add(interface.index, addr, prefix);
        if addr.is_ipv6() {
            let attributes = &mut request.message_mut().attributes;
            attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            if !source {
                let mut life = CacheInfo::default();
                life.ifa_preferred = 0;
                life.ifa_valid = u32::MAX;
                attributes.push(AddressAttribute::CacheInfo(life));
            }
        }
        match request.execute().await {
            Err(error) if errno(&error) == Some(libc::EEXIST) => Ok(()),
            other => other.map_err(|error| {
                netlink(&format!("add {addr}/{prefix} to interface {}", interface.name), error)
            }),
        }
    }

    /// Removes the address; one that is gone already is a success.
    pub async fn remove(&self, address: &Address) -> Result<(), VipError> {
        let request = self.handle.address().del(address.message.clone());
        match request.execute().await {
            Err(error) if errno(&error) == Some(libc::EADDRNOTAVAIL) => Ok(()),
            other => other.map_err(|error| netlink(&format!("remove {}", address.addr), error)),
        }
    }
}

/// The address of this interface whose prefix contains `addr`; the longest prefix wins.
pub fn subnet_of(addresses: &[Address], addr: IpAddr) -> Option<&Address> {
    addresses
        .iter()
        .filter(|own| own.addr != addr && same_subnet(own.addr, own.prefix, addr))
        .max_by_key(|own| own.prefix)
}

fn interface_of(link: &LinkMessage) -> Option<Interface> {
    let mut name = None;
    let mut mac = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => mac = bytes.as_slice().try_into().ok().map(Mac),
            _ => {}
        }
    }
    let ethernet = link.header.link_layer_type == LinkLayerType::Ether;
    Some(Interface {
        index: link.header.index,
        name: name?,
        mac: mac.filter(|_| ethernet),
        up: link.header.flags.contains(LinkFlags::Up),
        carrier: link.header.flags.contains(LinkFlags::LowerUp),
    })
}

fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().raw_os_error(),
        _ => None,
    }
}

fn netlink(what: &str, error: rtnetlink::Error) -> VipError {
    let reason = match &error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    };
    VipError::Netlink { what: what.to_owned(), reason }
}
