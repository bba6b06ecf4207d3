//! What daemon and engine say to each other: one JSON object a line over the engine's socket.
//!
//! The daemon tells the engine its part; the engine tells what it holds and what happened to it.
//! The engine knows no scripts and no addresses, the daemon touches no replicated byte. Either may
//! die and be started again: on each connection the engine begins with [`EngineEvent::Hello`],
//! which says everything a new daemon needs to adopt it.
use super::ids::{BootId, ModuleName, NodeName, Seq};
use super::lineage::{Side, Verdict};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// When an operation returns to the application (DESIGN section 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Plain: the secondary has applied it. Barrier: both disks.
    #[default]
    Mirror,
    /// Plain: the secondary has applied it. Barrier: local disk, the secondary's page cache.
    Memory,
    /// Plain and barrier: the secondary has it on disk (barriers: both disks).
    Disk,
}

impl Level {
    /// How much is waited for; the strictest is the highest.
    pub fn rank(self) -> u8 {
        match self {
            Level::Memory => 0,
            Level::Mirror => 1,
            Level::Disk => 2,
        }
    }
}

impl std::str::FromStr for Level {
    type Err = String;
    fn from_str(text: &str) -> Result<Level, String> {
        match text {
            "mirror" => Ok(Level::Mirror),
            "memory" => Ok(Level::Memory),
            "disk" => Ok(Level::Disk),
            other => Err(format!("level {other:?} is not one of mirror, memory, disk")),
        }
    }
}

/// One directory that is mirrored. The order in the list is its number on the wire and must be
/// the same on both nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicatedDir {
    pub path: PathBuf,
    /// Own level; `None`: that of the module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// What in it stays on the node where it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_replicated: Vec<NotReplicated>,
}

impl ReplicatedDir {
    /// As both nodes must have it: the path, and what is left out of it.
    pub fn agreement(&self) -> String {
        let rules = self.not_replicated.iter().map(|rule| format!(" without {rule}"));
        rules.fold(self.path.display().to_string(), |text, rule| text + &rule)
    }
}

/// One `<notreplicated>` of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotReplicated {
    /// Relative to the directory; with everything below.
    Path(PathBuf),
    /// Extended regular expression on the name of an entry, wherever it is, found anywhere in it.
    /// `only`: a file is left out unless the name matches this one or another of the kind;
    /// directories are not.
    Pattern { pattern: String, only: bool },
}

impl std::fmt::Display for NotReplicated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotReplicated::Path(path) => write!(f, "{}", path.display()),
            NotReplicated::Pattern { pattern, only: false } => write!(f, "names like {pattern}"),
            NotReplicated::Pattern { pattern, only: true } => write!(f, "names unlike {pattern}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddress {
    pub node: NodeName,
    /// Where the peer's engine of this module listens (UDP).
    pub data: SocketAddr,
}

/// All that an engine is started with; `lockstep engine MODULE --config FILE` reads it as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineConfig {
    pub module: ModuleName,
    pub node: NodeName,
    /// Own address of the data link (UDP).
    pub listen: SocketAddr,
    pub peers: Vec<PeerAddress>,
    pub dirs: Vec<ReplicatedDir>,
    #[serde(default)]
    pub level: Level,
    /// Lineage, dirty set and memory of the copy: `/var/lib/lockstep/modules/M/engine`.
    pub state_dir: PathBuf,
    /// Socket on which the engine listens for its daemon, 0600.
    pub control_socket: PathBuf,
    /// Certificates of this node (`ca.crt`, `node.crt`, `node.key`).
    pub pki_dir: PathBuf,
    /// How long a silent peer is believed to be there, milliseconds; `None`: 2500. Not more than
    /// the module's heartbeat timeout.
    #[serde(default)]
    pub link_timeout_ms: Option<u64>,
    /// Limit of the return in bytes a second; `None`: as fast as it can without hurting.
    #[serde(default)]
    pub return_bytes_per_second: Option<u64>,
    /// A secondary that leaves an operation unacknowledged for so long is given up; `None`: never.
    #[serde(default)]
    pub ack_limit_ms: Option<u64>,
    /// A line of the log for each file of a return.
    #[serde(default)]
    pub return_detail: bool,
}

/// What the engine is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineMode {
    /// Nothing mounted, no link.
    Idle,
    /// Primary: captures; the only in-sync member.
    LeadingAlone,
    /// Primary: captures; operations wait for the in-sync secondary.
    LeadingMirror,
    /// Primary that lost its in-sync secondary: operations are held until the daemon decides.
    Holding,
    /// Secondary without a link to the primary.
    FollowingDetached,
    /// Secondary being brought level.
    FollowingReturn,
    /// In-sync secondary.
    FollowingReady,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum EngineCommand {
    /// Become primary. Refused while the copy may not lead, unless `forced` (an operator's `prim`).
    /// Answered by `Leading` or `Refused`.
    Lead { reason: String, forced: bool },
    /// Become secondary: cover the directories read-only and let the primary in. `discard` allows
    /// a plan that overwrites changes only this node has (`--discard`), `full` asks for a
    /// comparison of everything. Answered by `Following` or `Refused`.
    Follow { discard: bool, full: bool },
    /// The in-sync secondary is gone for good as far as the policy is concerned: remember that
    /// durably, then return what is held. Answered by `Alone`.
    GoAlone { reason: String },
    /// Record durably that the peer goes on without this copy. Answered by `Outdated`.
    Outdate { reason: String },
    /// Barrier over everything on both nodes, before a planned stop or swap. Answered by `Flushed`.
    Flush,
    /// Refuse every change from now on (EROFS): this primary gives way to the other one, and what
    /// its application writes while it stops would only make a fork. Until the next `Lead`.
    Fence,
    /// Fail every held request (rule A6), before the force pass of the stop scripts, and every
    /// change from now on, as `Fence`: what would be held next could not be ended either.
    FailHeld,
    /// Say what only this copy changed, for a person. Answered by `ChangesNamed`, after seconds in
    /// a big tree.
    NameChanges,
    /// Give the part back: finish what is under way, make it durable. The directories stay covered
    /// read-only until `Shutdown`, so that they are never bare while the module runs. Answered by
    /// `Released` or `Refused` (open files, named). `detach`: open files do not matter, each
    /// further call of their owners fails; who they are is logged.
    Release { detach: bool },
    /// `Release` if needed, then exit.
    Shutdown,
}

impl EngineCommand {
    /// As [`EngineEvent::Refused`] names it.
    pub fn name(&self) -> &'static str {
        match self {
            EngineCommand::Lead { .. } => "lead",
            EngineCommand::Follow { .. } => "follow",
            EngineCommand::GoAlone { .. } => "go_alone",
            EngineCommand::Outdate { .. } => "outdate",
            EngineCommand::Flush => "flush",
            EngineCommand::Fence => "fence",
            EngineCommand::FailHeld => "fail_held",
            EngineCommand::NameChanges => "name_changes",
            EngineCommand::Release { .. } => "release",
            EngineCommand::Shutdown => "shutdown",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum EngineEvent {
    /// First line of every connection.
    Hello {
        version: String,
        pid: u32,
        boot: BootId,
        mode: EngineMode,
        side: Side,
    },
    Leading,
    Following,
    Alone {
        generation: u64,
    },
    Outdated,
    Flushed,
    Released,
    /// Nothing is written from here on; the status before it is the last word about the copy.
    Fenced,
    /// The first of the files that only this copy changed: `: a, b and 3 more`, or nothing.
    ChangesNamed {
        text: String,
    },
    /// A command was not carried out; nothing changed. One sentence: what, where, why, what next.
    Refused {
        command: String,
        reason: String,
    },
    /// Primary: a peer connected and was compared.
    Handshake {
        peer: NodeName,
        verdict: Verdict,
    },
    /// Primary: the peer is in sync (after its syncfs, rule A3).
    PeerReady {
        peer: NodeName,
    },
    /// Primary: the in-sync secondary stopped answering; operations are held. `left`: it said
    /// good-bye and has recorded that it is outdated.
    PeerLost {
        peer: NodeName,
        left: bool,
        reason: String,
    },
    /// Primary: a secondary that was not in sync is gone; nothing is held.
    PeerGone {
        peer: NodeName,
        reason: String,
    },
    /// No session with the peer, for a reason that lasts: one of both refused the other.
    LinkRefused {
        reason: String,
    },
    /// Secondary: in sync, may take over.
    Ready,
    /// Secondary: the link to the primary is down; not Ready.
    PrimaryLost {
        reason: String,
    },
    /// Secondary: the return needs a person (fork, unrelated copies); nothing was changed.
    NeedsDecision {
        verdict: Verdict,
        text: String,
    },
    /// How the return goes, on both nodes, about once a second.
    Return(Progress),
    /// The own disk failed: the daemon must resign the role.
    Fault {
        reason: String,
    },
    Status(Box<EngineStatus>),
    /// Something people should read in the module's log.
    Log {
        level: char,
        text: String,
    },
}

/// Return of a node, in objects and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub plan: String,
    pub objects_done: u64,
    pub objects_todo: u64,
    pub bytes_done: u64,
    pub bytes_todo: u64,
    /// Bytes sent for the return, so far.
    pub bytes_sent: u64,
    pub bytes_per_second: u64,
    /// Since the return began.
    #[serde(default)]
    pub elapsed_ms: u64,
    /// `None` until it can be told.
    pub remaining_ms: Option<u64>,
    pub finished: bool,
}

/// What the engine knows of itself, sent every second and after each change of mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    pub mode: EngineMode,
    pub side: Side,
    pub peer: Option<NodeName>,
    pub link_up: bool,
    /// Last operation this node applied / the peer acknowledged / is durable on both.
    pub applied: Seq,
    pub acknowledged: Seq,
    pub durable: Seq,
    /// Operations since start, and bytes of them.
    pub operations: u64,
    pub bytes: u64,
    /// Time from capture to reply of mutating operations in the last second, microseconds.
    pub latency_p50_us: u64,
    pub latency_p99_us: u64,
    pub held: u64,
    pub progress: Option<Progress>,
    /// Kernel features in use, e.g. `io_uring`, `classic`, `passthrough`.
    pub features: Vec<String>,
}
