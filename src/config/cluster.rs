//! `cluster.xml`: which nodes exist and which networks join them.
use super::mistake::{Mistakes, Note};
use crate::model::NodeName;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

mod read;

/// UDP port of the daemons when `lans port=` says nothing.
pub const PORT_DEFAULT: u16 = 4800;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// UDP port of the daemons (`lans port=`).
    pub port: u16,
    /// Gap between heartbeats of the daemons (`lans pulse=`).
    pub pulse: Duration,
    /// `lans mlost_count=`, `slost_count=`: parsed, not acted on.
    pub mlost_count: u32,
    pub slost_count: u32,
    /// In the order of the file.
    pub lans: Vec<Lan>,
    pub notes: Vec<Note>,
}

/// One network that joins the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lan {
    /// What `<heartbeat name=>` refers to.
    pub name: String,
    /// Carries distributed commands. Exactly one lan has this after loading.
    pub command: bool,
    pub addresses: Vec<(NodeName, IpAddr)>,
    /// `laddr=`: the address a node has itself where `addr=` is translated on the way.
    pub local_addresses: Vec<(NodeName, IpAddr)>,
}

impl Lan {
    /// Where the others reach `node` on this lan.
    pub fn address_of(&self, node: &NodeName) -> Option<IpAddr> {
        self.addresses.iter().find(|(name, _)| name == node).map(|(_, address)| *address)
    }

    /// What `node` itself binds to on this lan: `laddr=` if given, else `addr=`.
    pub fn local_address_of(&self, node: &NodeName) -> Option<IpAddr> {
        let local = self.local_addresses.iter().find(|(name, _)| name == node);
        local.map(|(_, address)| *address).or_else(|| self.address_of(node))
    }
}

impl ClusterConfig {
    /// Reads and checks the file. All mistakes at once.
    pub fn load(path: &Path) -> Result<ClusterConfig, Mistakes> {
        ClusterConfig::parse(path, &super::xml::read_text(path)?, resolve)
    }

    /// The same for text that is already here; `file` is only a name for messages.
    pub fn parse(
        file: &Path,
        text: &str,
        resolve: fn(&str) -> Option<IpAddr>,
    ) -> Result<ClusterConfig, Mistakes> {
        read::read(file, text, resolve)
    }

    /// Every node once, in the order of the file.
    pub fn nodes(&self) -> Vec<NodeName> {
        let mut nodes: Vec<NodeName> = Vec::new();
        for (node, _) in self.lans.iter().flat_map(|lan| &lan.addresses) {
            if !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        nodes
    }

    pub fn lan(&self, name: &str) -> Option<&Lan> {
        self.lans.iter().find(|lan| lan.name == name)
    }

    /// The lan of distributed commands: the one marked, else the first.
    pub fn command_lan(&self) -> Option<&Lan> {
        self.lans.iter().find(|lan| lan.command).or_else(|| self.lans.first())
    }
}

/// Address of a host name; IPv4 before IPv6, as the resolver of the system orders them.
pub fn resolve(name: &str) -> Option<IpAddr> {
    use std::net::ToSocketAddrs;
    let found: Vec<IpAddr> = (name, 0).to_socket_addrs().ok()?.map(|a| a.ip()).collect();
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}
