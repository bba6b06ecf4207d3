//! `cluster …`
use crate::config::cluster::PORT_DEFAULT;
use crate::model::NodeName;
use clap::{Args, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

/// Addresses of this node, by lan.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct Addresses {
    /// Address of this node on a lan of cluster.xml; without the lan's name: on lan "default"
    #[arg(
        long = "addr",
        visible_alias = "lan",
        value_name = "[LAN=]ADDRESS",
        value_parser = lan_address
    )]
    pub addresses: Vec<(String, IpAddr)>,
}

fn lan_address(text: &str) -> Result<(String, IpAddr), String> {
    let (lan, address) = text.split_once('=').unwrap_or(("default", text));
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address: IpAddr =
        bare.unwrap_or(address).parse().map_err(|_| "ADDRESS or LAN=ADDRESS, an IP address")?;
    if lan.is_empty() || lan.chars().any(char::is_whitespace) {
        return Err("a lan has a name without spaces".to_owned());
    }
    Ok((lan.to_owned(), address))
}

#[derive(Subcommand, Debug, PartialEq)]
pub enum ClusterVerb {
    /// Found the cluster on its first node: authority, keys, and cluster.xml with this node
    #[command(after_help = "Example: lockstep cluster init --node n1 --addr 192.0.2.1")]
    Init {
        /// Name of this node; without it: its node in cluster.xml, else the name of the machine
        #[arg(long, value_name = "NAME")]
        node: Option<NodeName>,
        #[command(flatten)]
        addresses: Addresses,
        /// UDP port of the daemons, in a new cluster.xml
        #[arg(long, value_name = "PORT", default_value_t = PORT_DEFAULT)]
        port: u16,
        /// Leave the cluster that this node belongs to; its keys are kept beside the new ones
        #[arg(long)]
        force: bool,
        /// A cluster.xml that is written already, in place of --addr
        #[arg(conflicts_with = "addresses")]
        file: Option<PathBuf>,
    },
    /// Print a code with which one node may join, for ten minutes
    #[command(after_help = "Example: lockstep cluster token")]
    Token {
        /// Address at which the new node reaches this one; without it: its address in cluster.xml
        #[arg(long, value_name = "ADDRESS")]
        address: Option<IpAddr>,
    },
    /// Join the cluster whose daemon is at ADDRESS, with a code from `cluster token` there
    #[command(after_help = "Example: lockstep cluster join 192.0.2.1 --token CODE")]
    Join {
        /// Address of the node that printed the code, with `:PORT` where it is not the code's
        address: String,
        #[arg(long, value_name = "CODE")]
        token: String,
        /// Name of this node in the cluster; without it: the name of the machine
        #[arg(long, value_name = "NAME")]
        node: Option<NodeName>,
        #[command(flatten)]
        addresses: Addresses,
        /// Take the place of a node of this name that is gone for good
        #[arg(long)]
        replace: bool,
        /// Leave the cluster that this node belongs to; its keys are kept beside the new ones
        #[arg(long)]
        force: bool,
    },
    /// Apply cluster.xml on this node (use -G with -H to apply it on others)
    #[command(after_help = "Example: lockstep cluster config cluster.xml")]
    Config {
        /// Without it: read /etc/lockstep/cluster.xml again
        file: Option<PathBuf>,
        /// lock | unlock: not in this version
        #[arg(hide = true)]
        lock: Option<String>,
    },
    /// Check a cluster.xml and change nothing
    #[command(after_help = "Example: lockstep cluster confcheck cluster.xml")]
    Confcheck { file: Option<PathBuf> },
    /// Show digest and date of cluster.xml
    #[command(after_help = "Example: lockstep -H '*' cluster confinfo")]
    Confinfo,
    /// Show the nodes and modules of the cluster
    #[command(after_help = "Example: lockstep cluster state")]
    State,
}
