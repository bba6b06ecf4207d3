//! What a node shows of itself: plain values, filled by the daemon, rendered by the command line.
//! The published JSON of the command line (`src/docs/json.md`) is derived from these and not the
//! same thing: these may change with [`super::VERSION`].
use crate::model::{EngineStatus, Level, ModuleName, NodeName, ReplicatedDir, State};
use serde::{Deserialize, Serialize};

/// One module on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleView {
    pub node: NodeName,
    pub module: ModuleName,
    /// Number of the module in the cluster; gives its ports.
    pub id: u32,
    pub state: State,
    /// When the state was reached, RFC 3339.
    #[serde(default)]
    pub since: Option<String>,
    /// Why it is in this state, one sentence.
    pub reason: String,
    /// A person must say whose copy is right; `reason` names the commands.
    #[serde(default)]
    pub needs_decision: bool,
    /// A person works on the module; nothing happens by itself.
    #[serde(default)]
    pub maintenance: Option<MaintenanceView>,
    /// Counts changes of the right to write, 0 before the first.
    #[serde(default)]
    pub epoch: u64,
    /// What decides when the nodes do not see each other, e.g. `both-alone`.
    #[serde(default)]
    pub policy: Option<String>,
    pub peers: Vec<PeerView>,
    /// `None`: the module replicates nothing.
    pub replication: Option<ReplicationView>,
    /// Addresses that this node holds for the module now.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Applied configuration, hexadecimal blake3.
    pub config_digest: String,
    /// When it was applied, RFC 3339.
    #[serde(default)]
    pub config_date: Option<String>,
    pub settings: SettingsView,
    #[serde(default)]
    pub resources: Vec<ResourceView>,
    /// Error-driven actions counted in the loop interval, and how many are allowed.
    #[serde(default)]
    pub loops: u32,
    #[serde(default)]
    pub loops_max: u32,
}

impl ModuleView {
    /// Last thing the engine said; `None` while none runs.
    pub fn engine_status(&self) -> Option<&EngineStatus> {
        self.replication.as_ref()?.status.as_ref()
    }
}

#[cfg(test)]
impl ModuleView {
    /// `web` on `node`: PRIM Ready with an in-sync `peer`.
    pub(crate) fn sample(node: &str, peer: &str) -> ModuleView {
        use crate::model::{EngineMode, Position, Readiness, Role, Seq, Side};
        let named = |name| NodeName::new(name).unwrap();
        let position = Position { epoch: None, seq: Seq(1200) };
        let status = EngineStatus {
            mode: EngineMode::LeadingMirror,
            side: Side { position, ..Side::sample(node) },
            peer: Some(named(peer)),
            link_up: true,
            applied: Seq(1200),
            acknowledged: Seq(1200),
            durable: Seq(1100),
            operations: 40,
            bytes: 163_840,
            latency_p50_us: 180,
            latency_p99_us: 900,
            held: 0,
            progress: None,
            features: vec!["io_uring".into()],
        };
        ModuleView {
            node: named(node),
            module: ModuleName::new("web").unwrap(),
            id: 3,
            state: State::new(Role::Prim, Readiness::Ready),
            since: Some("2026-02-03T04:05:06Z".into()),
            reason: String::new(),
            needs_decision: false,
            maintenance: None,
            epoch: 7,
            policy: Some("both-alone".into()),
            peers: vec![PeerView {
                node: named(peer),
                state: Some(State::new(Role::Second, Readiness::Ready)),
                alive: true,
                config_digest: Some("0123456789abcdef".into()),
                heartbeats: vec![HeartbeatView {
                    lan: "default".into(),
                    up: true,
                    age_ms: Some(80),
                }],
            }],
            replication: Some(ReplicationView {
                level: Level::Mirror,
                dirs: vec![ReplicatedDir {
                    path: "/srv/web".into(),
                    level: None,
                    not_replicated: Vec::new(),
                }],
                engine_pid: Some(4711),
                status: Some(status),
                up_to_date: true,
                in_doubt: false,
                in_sync: true,
            }),
            addresses: Vec::new(),
            config_digest: "0123456789abcdef".into(),
            config_date: Some("2026-02-03T04:00:00Z".into()),
            settings: SettingsView::default(),
            resources: Vec::new(),
            loops: 0,
            loops_max: 3,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceView {
    pub owner: String,
    pub reason: String,
    /// RFC 3339.
    pub until: String,
}

/// What this node knows of the module on another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    pub node: NodeName,
    /// `None`: nothing heard since the module started, shown as `UNKNOWN`.
    pub state: Option<State>,
    /// Heartbeats arrive on at least one lan within the time limit.
    pub alive: bool,
    #[serde(default)]
    pub config_digest: Option<String>,
    #[serde(default)]
    pub heartbeats: Vec<HeartbeatView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatView {
    pub lan: String,
    pub up: bool,
    /// Since the last heartbeat, in milliseconds.
    #[serde(default)]
    pub age_ms: Option<u64>,
}

/// The data plane of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicationView {
    pub level: Level,
    pub dirs: Vec<ReplicatedDir>,
    /// Process of the engine, if it runs.
    pub engine_pid: Option<u32>,
    /// Last thing the engine said; `None` while it does not run.
    pub status: Option<EngineStatus>,
    /// May this copy lead: shown as `uptodate` / `not uptodate`.
    pub up_to_date: bool,
    /// Not known to be up to date and not known to be old: shown as `in doubt`.
    #[serde(default)]
    pub in_doubt: bool,
    /// This node and the peer hold the same acknowledged data.
    pub in_sync: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsView {
    pub boot: bool,
    pub failover: bool,
    pub errd: bool,
    pub checker: bool,
}

impl Default for SettingsView {
    fn default() -> Self {
        SettingsView { boot: false, failover: true, errd: true, checker: true }
    }
}

/// A resource `class.id` with its value (`up`, `down`, `init`, `unknown` or a text).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceView {
    pub name: String,
    pub value: String,
    #[serde(default)]
    pub since: Option<String>,
    #[serde(default)]
    pub by: Option<String>,
}

/// A process or service that `errd` looks after, as it is configured and as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessView {
    pub name: String,
    pub service: bool,
    pub class: String,
    pub action: String,
    pub at_least: u32,
    /// `None`: no upper limit.
    pub at_most: Option<u32>,
    /// Its class is being watched now.
    pub watched: bool,
    /// Value of its resource, `None` before the first look.
    pub value: Option<String>,
}

/// One installed module, from files alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleSummary {
    pub module: ModuleName,
    pub id: u32,
    /// `mirror`, `farm`, `light`, or why it cannot be read.
    pub mode: String,
    pub configured: bool,
}

/// Applied against edited configuration of a module on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigView {
    /// The module, or `cluster`.
    pub name: String,
    pub applied_digest: Option<String>,
    pub applied_date: Option<String>,
    pub edited_digest: Option<String>,
    /// What other nodes have told this one; empty without a daemon.
    #[serde(default)]
    pub peers: Vec<PeerConfigView>,
}

/// Which configuration another node runs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerConfigView {
    pub node: NodeName,
    /// `None`: it has not told yet.
    pub applied_digest: Option<String>,
}

/// A configuration that was applied and can be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// Name of its archive.
    pub version: String,
    /// `None`: the archive cannot be read any more.
    pub digest: Option<String>,
    /// The module runs with it.
    pub applied: bool,
    /// The edited copy is the same.
    pub edited: bool,
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    pub me: NodeName,
    pub nodes: Vec<NodeView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    pub node: NodeName,
    /// `lan address` pairs of `cluster.xml`.
    pub addresses: Vec<(String, String)>,
    /// The daemon there answers (always true for the own node).
    pub reachable: bool,
    /// Lans without a link and why, as far as it is known.
    #[serde(default)]
    pub problems: Vec<(String, String)>,
    #[serde(default)]
    pub version: Option<String>,
    /// Digest of its `cluster.xml`.
    #[serde(default)]
    pub config_digest: Option<String>,
    #[serde(default)]
    pub modules: Vec<ModuleSummary>,
}

/// Which program answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelView {
    pub version: String,
    pub pid: u32,
    /// Kernel release of the node.
    #[serde(default)]
    pub kernel: String,
}
