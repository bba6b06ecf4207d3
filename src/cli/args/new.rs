//! `module new`: the answers to its questions.
use crate::model::ModuleName;
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct NewModule {
    /// Name of the module
    #[arg(value_name = "NAME")]
    pub fresh: Option<ModuleName>,
    /// A directory of the application, to be mirrored; may be given several times
    #[arg(long = "dir", value_name = "DIRECTORY")]
    pub dirs: Vec<PathBuf>,
    /// The address that clients use, e.g. 192.0.2.10 or 192.0.2.10/24; or none
    #[arg(long, value_name = "ADDRESS")]
    pub vip: Option<String>,
    /// A systemd unit of the application; may be given several times, in the order of their start
    #[arg(long = "unit", value_name = "UNIT", conflicts_with = "command")]
    pub units: Vec<String>,
    /// The command that runs the application, beginning with its path
    #[arg(long, value_name = "COMMAND")]
    pub command: Option<String>,
    /// The user that the command runs as; without it, root
    #[arg(long, value_name = "NAME", requires = "command")]
    pub user: Option<String>,
    /// The TCP port that the application listens on; it is watched. Or none
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// A lan of cluster.xml over which the nodes hear each other; may be given several times
    #[arg(long = "lan", value_name = "LAN")]
    pub lans: Vec<String>,
    /// Where the directory of the module is written; without it, ./NAME
    #[arg(long, value_name = "DIRECTORY")]
    pub into: Option<PathBuf>,
}
