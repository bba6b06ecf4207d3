//! An application that a module names instead of writing scripts for it: an OCF resource agent
//! (`<ocf>`) or a systemd unit (`<unit>`).
use std::time::Duration;

/// One `<ocf>` or `<unit>` of `<user>`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Letters, digits, `_`, `.` and `-`: part of the resource's name and of file names.
    pub ident: String,
    pub by: RunBy,
    /// `None`: as the agent's meta-data says, else a default.
    pub start_limit: Option<Duration>,
    pub stop_limit: Option<Duration>,
    pub monitor_limit: Option<Duration>,
    /// Between two looks of the monitor; `None` likewise.
    pub interval: Option<Duration>,
}

/// Who starts, stops and watches an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunBy {
    Agent(Agent),
    /// Name of a systemd unit, with its ending.
    Unit(String),
}

/// An OCF resource agent with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// `heartbeat` of `heartbeat:pgsql`.
    pub provider: String,
    /// `pgsql`: the name of the agent's file.
    pub name: String,
    /// In the order of the file.
    pub params: Vec<(String, String)>,
    /// How thoroughly its monitor looks (OCF_CHECK_LEVEL).
    pub depth: Option<u32>,
}

impl Application {
    /// `ocf.db`, `unit.db`: what its monitor sets, and how logs call it.
    pub fn resource(&self) -> String {
        let class = match self.by {
            RunBy::Agent(_) => "ocf",
            RunBy::Unit(_) => "unit",
        };
        format!("{class}.{}", self.ident)
    }
}

impl Agent {
    /// As the configuration names it.
    pub fn title(&self) -> String {
        format!("{}:{}", self.provider, self.name)
    }
}

/// Exists while systemd runs (sd_booted(3)).
pub const SYSTEMD: &str = "/run/systemd/system";

/// Why `<unit>` cannot be started on a node.
pub const NO_SYSTEMD: &str = "this node does not run systemd, which <unit> needs: name an OCF \
     agent (<ocf>) instead, or write start_prim and stop_prim";
