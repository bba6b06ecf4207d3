//! What the daemons of two nodes say to each other about modules.
use super::engine::{EngineMode, Progress};
use super::ids::{BootId, ModuleName, NodeName};
use super::lineage::Side;
use super::role::State;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Short form of an engine's mode for heartbeats and decisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineSummary {
    pub mode: EngineMode,
    pub link_up: bool,
    pub side: Side,
}

/// Maintenance of a module as a node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceReport {
    /// The greater one is newer.
    pub number: u64,
    /// Empty: there is none.
    pub owner: String,
    pub reason: String,
    pub remaining_ms: u64,
}

/// What a node tells its peer about one module: on every change, reliably, and again whenever a
/// connection is made. Heartbeats carry only the node's boot and a counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleReport {
    pub node: NodeName,
    pub boot: BootId,
    pub module: ModuleName,
    pub state: State,
    /// Grows with each report of one boot (a daemon begins with the time since boot in
    /// microseconds, so that a new life goes on above the last); an older one is dropped.
    pub report: u64,
    /// `None`: no engine runs, or the module replicates nothing.
    pub engine: Option<EngineSummary>,
    /// While no engine runs: the copy as the last one described it, if this boot or an earlier one
    /// had any. A crash may have left the copy older or newer.
    #[serde(default)]
    pub side: Option<Side>,
    /// The last role held was primary (ties between equal copies, `defaultprim="lastprim"`).
    #[serde(default)]
    pub was_primary: bool,
    /// The primary role was gained by taking over as SECOND: gives way after both were ALONE.
    #[serde(default)]
    pub took_over: bool,
    /// The primary leads by `syncdelta`, with a copy that may lack what was acknowledged last.
    #[serde(default)]
    pub aged: bool,
    /// The sender knows nothing of the receiver's part: it is asked to report as well.
    #[serde(default)]
    pub asks: bool,
    /// Digest of the active configuration, hexadecimal blake3.
    pub config_digest: String,
    /// Why the module is in this state, one sentence for people.
    pub reason: String,
    /// What rules of the module look at of this node. `None`: they look at nothing, or this node
    /// does not tell it yet.
    #[serde(default)]
    pub resources: Option<BTreeMap<String, String>>,
    /// `None`: this node's program does not know of it.
    #[serde(default)]
    pub maintenance: Option<MaintenanceReport>,
}

/// A message between daemons; each is answered by one [`PeerReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "message")]
pub enum PeerMessage {
    Report(Box<ModuleReport>),
    /// The sender gave its primary role up (address gone, application stopped, frozen or dead)
    /// or leaves as secondary. `outdated`: it has durably recorded that it may not lead.
    Leave {
        module: ModuleName,
        outdated: bool,
        reason: String,
    },
    /// Record durably that your copy is outdated (rule A2). Answered `Done` once it is on disk.
    Outdate {
        module: ModuleName,
        generation: u64,
        reason: String,
    },
    /// Planned move: the sender has flushed, stopped its application and released its
    /// directories; take the primary role.
    TakeOver {
        module: ModuleName,
        reason: String,
    },
    /// How the receiver's return goes, as the primary's engine told: for status and log.
    Returning {
        module: ModuleName,
        progress: Progress,
    },
    /// Ask the primary to begin a swap.
    Swap {
        module: ModuleName,
    },
}

impl PeerMessage {
    pub fn module(&self) -> &ModuleName {
        match self {
            PeerMessage::Report(report) => &report.module,
            PeerMessage::Leave { module, .. }
            | PeerMessage::Outdate { module, .. }
            | PeerMessage::TakeOver { module, .. }
            | PeerMessage::Returning { module, .. }
            | PeerMessage::Swap { module } => module,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum PeerReply {
    Done,
    Refused { reason: String },
}
