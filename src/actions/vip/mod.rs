//! Virtual addresses: taken after asking whether somebody holds them, announced while held,
//! given up before the other node takes them.
//!
//! ```text
//! take:    find the interface -> probe the link (<= 250 ms) -> add -> announce in the background
//! release: stop announcing -> reset connections -> remove -> done when the kernel says so
//! ```
//! The address is an alias: the interface's own address stays the source of outgoing connections.
mod announce;
mod connections;
pub mod frames;
mod links;
mod packet;
mod probe;

use crate::watch::own;
use announce::Claimed;
use connections::Reset;
use frames::Mac;
use links::{Address, Interface, Netlink};
use packet::PacketSocket;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

/// Pause between two probes while a peer may still be giving the address up.
const GRACE_PAUSE: Duration = Duration::from_millis(50);

/// A virtual address as the configuration wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    pub addr: IpAddr,
    /// `None`: the interface that has an address in the same subnet.
    pub interface: Option<String>,
    /// `None`: the prefix length of the interface's own address in that subnet.
    pub prefix: Option<u8>,
    /// Wanted as the source of outgoing connections. Kept for IPv6; an alias with a note for IPv4.
    pub one_side: bool,
    /// Announce at least this often (`arpreroute` with `arpinterval`).
    pub refresh: Option<Duration>,
    /// How long announcements are repeated (`arpelapse`); zero: only those of the taking.
    pub elapse: Duration,
}

/// How the link is asked before the address is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Ask, at most 210 ms a time.
    Full,
    /// This node takes the place of the peer, which has these addresses: ask, at most 75 ms; the
    /// peer's own hardware address is no other holder, for it gave the address up or failed.
    Successor { peer: Vec<IpAddr> },
}

impl Probe {
    fn gap(&self) -> Duration {
        match self {
            Probe::Full => probe::GAP,
            Probe::Successor { .. } => probe::GAP_SUCCESSOR,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum VipError {
    #[error(
        "virtual address {addr} was not taken: no interface of this node has an address in its \
         subnet; give one such an address, or name the interface in <interface name=…>"
    )]
    NoInterface { addr: IpAddr },
    #[error(
        "virtual address {addr} was not taken: this node has no interface {interface}; correct \
         <interface name=…> in userconfig.xml"
    )]
    UnknownInterface { addr: IpAddr, interface: String },
    #[error(
        "virtual address {addr} was not taken: interface {interface} is down; bring it up \
         (ip link set {interface} up)"
    )]
    InterfaceDown { addr: IpAddr, interface: String },
    #[error(
        "virtual address {addr} was not taken: the machine with hardware address {mac} on \
         interface {interface} holds it; free it there, then start again"
    )]
    HeldByOther { addr: IpAddr, mac: Mac, interface: String },
    #[error("the kernel refused to {what}: {reason}; check capabilities and the interface")]
    Netlink { what: String, reason: String },
    #[error("no raw socket for virtual addresses: {0}; the daemon needs CAP_NET_RAW and NET_ADMIN")]
    Socket(#[source] io::Error),
    #[error(
        "connections of virtual addresses are not reset when they are released: {0}; the kernel \
         needs CONFIG_INET_DIAG_DESTROY, or write <vip tcpreset=\"off\">"
    )]
    NoReset(#[source] io::Error),
    #[error(
        "{left} connections of virtual address {addr} were not reset: {reason}; their clients \
         notice when they speak next"
    )]
    LeftOpen { addr: IpAddr, left: String, reason: String },
    #[error("the kernel does not list its connections: {0}; it needs CONFIG_INET_DIAG")]
    NoCount(#[source] io::Error),
}

impl VipError {
    /// It will be so the next time too: the kernel was made without it.
    pub fn is_lasting(&self) -> bool {
        matches!(self, VipError::NoReset(_))
    }
}

/// The hardware address of a machine that claims what is held here.
pub type Claim = Option<Mac>;

/// A held address. Dropping it ends the announcements and leaves the address where it is, so a
/// daemon that ends does not take the address from a running application.
#[derive(Debug)]
pub struct Held {
    pub addr: IpAddr,
    pub interface: String,
    pub prefix: u8,
    /// Sentences for the module's log: what is not as it was asked for.
    pub notes: Vec<String>,
    again: Arc<Notify>,
    foreign: watch::Receiver<Claim>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Held {
    /// Announces at once, as after taking (the network healed).
    pub fn announce(&self) {
        self.again.notify_one();
    }

    /// Changes whenever another machine claims the address, to its hardware address.
    pub fn foreign_claims(&self) -> watch::Receiver<Claim> {
        self.foreign.clone()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Takes the address and begins to announce it. `grace`: how long another holder is given to let
/// go (a peer that is just leaving) before [`VipError::HeldByOther`]. An address that this node
/// has already is only announced again.
pub async fn take(vip: &Vip, probe: &Probe, grace: Duration) -> Result<Held, VipError> {
    let netlink = Netlink::open()?;
    let addresses = netlink.addresses().await?;
    let interfaces = netlink.interfaces().await?;
    if let Some(own) = addresses.iter().find(|own| own.addr == vip.addr)
        && let Some(interface) = interfaces.iter().find(|i| i.index == own.index)
    {
        return Ok(hold(vip, interface, own.prefix, Vec::new()));
    }
    let (interface, prefix) = place(vip, &interfaces, &addresses)?;
    let mut notes = Vec::new();
    if !interface.carrier {
        notes.push(format!(
            "interface {} has no carrier: {} was taken without asking the link",
            interface.name, vip.addr
        ));
    } else if let Some(mac) = interface.mac {
        notes.extend(wait_until_free(vip.addr, interface, mac, probe, grace).await?);
    }
    if vip.one_side && vip.addr.is_ipv4() {
        notes.push(format!(
            "{} is an alias: where=\"one_side\" would make it the source of outgoing connections, \
             which stay with the interface's own address",
            vip.addr
        ));
    }
    keep_other_addresses(&interface.name, vip.addr);
    netlink.add(interface, vip.addr, prefix, vip.one_side).await?;
    Ok(hold(vip, interface, prefix, notes))
}

/// Takes several at once, so that the probes run side by side. All or an error for each that
/// failed; those taken stay taken.
pub async fn take_all(vips: &[Vip], probe: &Probe, grace: Duration) -> Vec<Result<Held, VipError>> {
    futures_util::future::join_all(vips.iter().map(|vip| take(vip, probe, grace))).await
}

/// Resets the TCP connections that have the address as their own, whoever's they are. Returns how
/// many there were. The other ends hear of it only while the address is still here.
///
/// # Errors
/// [`VipError::NoReset`]: this kernel cannot. [`VipError::LeftOpen`]: some were not reset.
pub async fn reset_connections(addr: IpAddr) -> Result<usize, VipError> {
    let left_open = |left: String, reason: &io::Error| {
        let reason = reason.to_string();
        VipError::LeftOpen { addr, left, reason }
    };
    match diagnose(move || connections::reset(addr)).await {
        Ok(Reset { why: Some(why), left, .. }) => Err(left_open(left.to_string(), &why)),
        Ok(Reset { done, .. }) => Ok(done),
        Err(error) if connections::lacking(&error) => Err(VipError::NoReset(error)),
        Err(error) => Err(left_open("the".to_owned(), &error)),
    }
}

/// How many TCP connections of the address are established.
pub async fn established(addr: IpAddr) -> Result<usize, VipError> {
    diagnose(move || connections::established(addr)).await.map_err(VipError::NoCount)
}

/// Some thousand sockets take the kernel milliseconds.
async fn diagnose<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Removes the address from wherever it is. Returns the interfaces it was on once it is gone;
/// none if it was not here. Drop the [`Held`] first.
pub async fn release(addr: IpAddr) -> Result<Vec<String>, VipError> {
    let netlink = Netlink::open()?;
    let interfaces = netlink.interfaces().await?;
    let mut names = Vec::new();
    for own in netlink.addresses().await?.iter().filter(|own| own.addr == addr) {
        netlink.remove(own).await?;
        let name = interfaces.iter().find(|i| i.index == own.index).map(|i| i.name.clone());
        names.push(name.unwrap_or_else(|| format!("number {}", own.index)));
    }
    Ok(names)
}

/// The interface that has the address now.
pub async fn is_present(addr: IpAddr) -> Result<Option<String>, VipError> {
    let netlink = Netlink::open()?;
    let Some(own) = netlink.addresses().await?.into_iter().find(|own| own.addr == addr) else {
        return Ok(None);
    };
    let interfaces = netlink.interfaces().await?;
    Ok(interfaces.into_iter().find(|i| i.index == own.index).map(|i| i.name))
}

/// An interface and whether it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub interface: String,
    /// Administratively up.
    pub up: bool,
    pub carrier: bool,
}

/// The interface of this name; without one, that which has the address; else the one with an
/// address in its subnet, because a network (`10.0.0.0`) may be meant, or a virtual address that
/// is elsewhere now.
pub async fn link_of(interface: Option<&str>, addr: IpAddr) -> Result<Option<Link>, VipError> {
    let netlink = Netlink::open()?;
    let addresses = netlink.addresses().await?;
    let exact = addresses.iter().find(|own| own.addr == addr);
    let own = exact.or_else(|| links::subnet_of(&addresses, addr)).map(|own| own.index);
    let found = netlink.interfaces().await?.into_iter().find(|found| match interface {
        Some(name) => found.name == name,
        None => own == Some(found.index),
    });
    Ok(found.map(|i| Link { interface: i.name, up: i.up, carrier: i.carrier }))
}

/// The prefix length of this node's own address whose subnet contains `addr`, if it has one now.
pub fn own_prefix(addr: IpAddr) -> Option<u8> {
    let own = own::addresses().into_iter();
    let own = own.filter(|(own, prefix)| *own != addr && own::same_subnet(*own, *prefix, addr));
    own.map(|(_, prefix)| prefix).max()
}

fn place<'a>(
    vip: &Vip,
    interfaces: &'a [Interface],
    addresses: &[Address],
) -> Result<(&'a Interface, u8), VipError> {
    let addr = vip.addr;
    let (interface, own_prefix) = if let Some(name) = &vip.interface {
        let interface = interfaces
            .iter()
            .find(|i| &i.name == name)
            .ok_or_else(|| VipError::UnknownInterface { addr, interface: name.clone() })?;
        let here: Vec<Address> =
            addresses.iter().filter(|own| own.index == interface.index).cloned().collect();
        (interface, links::subnet_of(&here, addr).map(|own| own.prefix))
    } else {
        let own = links::subnet_of(addresses, addr).ok_or(VipError::NoInterface { addr })?;
        let interface = interfaces.iter().find(|i| i.index == own.index);
        (interface.ok_or(VipError::NoInterface { addr })?, Some(own.prefix))
    };
    if !interface.up {
        return Err(VipError::InterfaceDown { addr, interface: interface.name.clone() });
    }
    let host = if addr.is_ipv4() { 32 } else { 128 };
    Ok((interface, vip.prefix.or(own_prefix).unwrap_or(host).min(host)))
}

/// Answers a note where the peer, whose place is taken, has the address still.
async fn wait_until_free(
    addr: IpAddr,
    interface: &Interface,
    own: Mac,
    probe: &Probe,
    grace: Duration,
) -> Result<Option<String>, VipError> {
    let until = Instant::now() + grace;
    while let Some(mac) = probe::holder(interface.index, own, addr, probe.gap()).await? {
        if let Probe::Successor { peer } = probe
            && is_peer(mac, interface, own, peer).await?
        {
            let note = format!("the other node, {mac}, still answered for {addr}; taken from it");
            return Ok(Some(note));
        }
        if Instant::now() >= until {
            let interface = interface.name.clone();
            return Err(VipError::HeldByOther { addr, mac, interface });
        }
        sleep(GRACE_PAUSE).await;
    }
    Ok(None)
}

/// Whoever answers for an address of the peer on this link is the peer.
async fn is_peer(
    mac: Mac,
    interface: &Interface,
    own: Mac,
    peer: &[IpAddr],
) -> Result<bool, VipError> {
    let ask = |addr: &IpAddr| probe::holder(interface.index, own, *addr, probe::GAP_SUCCESSOR);
    for answer in futures_util::future::join_all(peer.iter().map(ask)).await {
        if answer? == Some(mac) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// When the first IPv4 address of a subnet is removed, the kernel by default removes the others
/// of that subnet with it; releasing one virtual address must not take a second one along.
fn keep_other_addresses(interface: &str, addr: IpAddr) {
    if addr.is_ipv4() {
        let path = format!("/proc/sys/net/ipv4/conf/{interface}/promote_secondaries");
        if let Err(error) = std::fs::write(&path, "1") {
            tracing::debug!(path, %error, "left as it was");
        }
    }
}

fn hold(vip: &Vip, interface: &Interface, prefix: u8, mut notes: Vec<String>) -> Held {
    let again = Arc::new(Notify::new());
    let (foreign_sender, foreign) = watch::channel(None);
    let socket = interface.mac.map(|mac| (mac, PacketSocket::open(interface.index, vip.addr)));
    let task = match socket {
        None => None,
        Some((_, Err(error))) => {
            notes.push(format!("{} cannot be announced to the network: {error}", vip.addr));
            None
        }
        Some((mac, Ok(socket))) => {
            let claimed = Claimed {
                addr: vip.addr,
                interface: interface.name.clone(),
                mac,
                refresh: vip.refresh,
                elapse: vip.elapse,
            };
            let work = announce::announce(claimed, socket, again.clone(), foreign_sender);
            Some(tokio::spawn(work))
        }
    };
    let interface = interface.name.clone();
    Held { addr: vip.addr, interface, prefix, notes, again, foreign, task }
}

#[cfg(test)]
mod tests;
