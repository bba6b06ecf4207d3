//! `cluster …`
use crate::model::NodeName;
use clap::Subcommand;
use std::net::IpAddr;
use std::path::PathBuf;

#[derive(Subcommand, Debug, PartialEq)]
pub enum ClusterVerb {
    /// Found the cluster on its first node: authority and keys of the node
    #[command(after_help = "Example: lockstep cluster init --node n1 cluster.xml")]
    Init {
        /// Name of this node in cluster.xml; without it: the node that has an address of this
        /// machine
        #[arg(long, value_name = "NAME")]
        node: Option<NodeName>,
        /// Leave the cluster that this node belongs to; its keys are kept beside the new ones
        #[arg(long)]
        force: bool,
        /// Use this cluster.xml
        file: Option<PathBuf>,
    },
    /// Print a code with which one node may join, for ten minutes
    #[command(after_help = "Example: lockstep cluster token")]
    Token {
        /// Address at which the new node reaches this one; without it: its address in cluster.xml
        #[arg(long, value_name = "ADDRESS")]
        address: Option<IpAddr>,
    },
    /// Join the cluster that a daemon at ADDRESS belongs to
    #[command(after_help = "Example: lockstep cluster join 192.0.2.1 --token CODE")]
    Join {
        /// IP address of a node of the cluster, with `:PORT` where it is not the default
        address: String,
        #[arg(long, value_name = "CODE")]
        token: String,
        /// Name of this node in cluster.xml; without it: the node that has an
        /// address of this machine
        #[arg(long, value_name = "NAME")]
        node: Option<NodeName>,
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
