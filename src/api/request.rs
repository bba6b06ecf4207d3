//! What may be asked of a daemon.
use crate::model::{ModuleName, NodeName};
use serde::{Deserialize, Serialize};

/// Largest module archive that travels in a request, in bytes.
pub const ARCHIVE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// One request line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`super::VERSION`] of the one who asks.
    pub v: u32,
    pub origin: Origin,
    #[serde(default)]
    pub nodes: Nodes,
    /// The module that is meant; `None` where the command names none or means all.
    #[serde(default)]
    pub module: Option<ModuleName>,
    #[serde(flatten)]
    pub command: Command,
}

impl Request {
    /// A request for this node only.
    pub fn new(origin: Origin, module: Option<ModuleName>, command: Command) -> Request {
        Request { v: super::VERSION, origin, nodes: Nodes::Local, module, command }
    }

    /// The same request for other nodes.
    pub fn on(mut self, nodes: Nodes) -> Request {
        self.nodes = nodes;
        self
    }
}

/// Who asks. Only the daemon's own user and root reach the socket, so this is not a right but a
/// name for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the user who typed the command.
    pub user: String,
    /// Terminal, without `/dev/`, e.g. `pts/0`.
    #[serde(default)]
    pub tty: Option<String>,
    /// Node on which the command was typed, where it is not this one.
    #[serde(default)]
    pub node: Option<NodeName>,
    /// `-i`: a script or checker that acts by itself. Such actions count for `maxloop`; the same
    /// command without an identity is an administrator's and resets the counter.
    #[serde(default)]
    pub identity: Option<String>,
}

impl Origin {
    /// What the log says after `called by`: the identity, else the user with terminal and node.
    pub fn caller(&self) -> String {
        if let Some(identity) = &self.identity {
            return identity.clone();
        }
        let user = if self.user.is_empty() { "root" } else { &self.user };
        match (&self.tty, &self.node) {
            (None, None) => user.to_owned(),
            (Some(tty), None) => format!("{user}@{tty}"),
            (None, Some(node)) => format!("{user}@{node}"),
            (Some(tty), Some(node)) => format!("{user}@{tty} on {node}"),
        }
    }
}

/// The nodes a request is meant for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nodes {
    /// The node of the daemon that is asked.
    #[default]
    Local,
    /// Every node of the cluster, in the order of `cluster.xml`.
    All,
    /// These nodes, in this order.
    Named(Vec<NodeName>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    On,
    Off,
}

/// A setting that a person changes by command and that outlives stop, start and reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserSetting {
    Boot,
    Failover,
    Errd,
    Checker,
}

impl UserSetting {
    pub fn as_str(self) -> &'static str {
        match self {
            UserSetting::Boot => "boot",
            UserSetting::Failover => "failover",
            UserSetting::Errd => "errd",
            UserSetting::Checker => "checker",
        }
    }
}

/// What is asked. Commands that act on a module need `Request::module`.
///
/// An action is answered as soon as it is accepted or refused; who wants to wait for its end asks
/// [`Command::State`] again (`--wait` does). So that this cannot mistake the old rest for the new
/// one, an accepted action is answered after its first step has been decided: the next `State` no
/// longer shows the state from before. What is so already is answered with a code that begins with
/// `already-` (see [`super::response::code`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Command {
    /// Answer `Ok`: is somebody there.
    Ping,

    // Actions. Answer: `Ok`, or `Refused` and nothing has changed.
    Start,
    Stop,
    Restart,
    Stopstart,
    Forcestop,
    Swap,
    Prim {
        /// Take the copy of this node although it may be stale or half done (`primforce`).
        #[serde(default)]
        force: bool,
        /// Compare everything when the other node comes back (`prim fullsync`).
        #[serde(default)]
        full: bool,
    },
    Second {
        /// Overwrite changes that only this node has.
        #[serde(default)]
        discard: bool,
        /// Compare everything.
        #[serde(default)]
        full: bool,
    },
    /// Stop every module of this node in order.
    Shutdown,

    // Questions.
    /// With a module: [`super::Data::Module`]; without: [`super::Data::Modules`].
    State,
    /// [`super::Data::Cluster`]: the nodes as this one sees them.
    ClusterState,
    /// [`super::Data::Level`]: version of the program.
    Level,
    /// [`super::Data::Metrics`]: numbers of the node and all its modules.
    Metrics,

    // Resources.
    /// [`super::Data::Resource`] of that name (`class.id`), or all with `None`.
    ResourceGet {
        resource: Option<String>,
    },
    ResourceSet {
        resource: String,
        value: String,
    },

    // Loop counter of error-driven actions (safekit.md 2.3 `maxloop`).
    /// Count one for `origin.identity`; `Refused` with exit 1 when the limit is reached.
    LoopIncrement,
    LoopReset,
    /// `Refused` with exit 1 when the limit is reached; counts nothing.
    LoopCheck,

    // Settings.
    Set {
        setting: UserSetting,
        value: Switch,
    },
    /// Nothing happens by itself on both nodes of the module, for so long.
    Maintain {
        /// `None`: the user who asks.
        #[serde(default)]
        owner: Option<String>,
        reason: String,
        seconds: u64,
    },
    MaintainNoMore,
    /// [`super::Data::Settings`].
    Settings,
    /// `errd enable|disable`: watch the processes of this class, or not.
    Class {
        name: String,
        value: Switch,
    },
    /// [`super::Data::Processes`]: what `errd` watches.
    Processes,

    // Configuration. The daemon refuses what a running module does not allow, then lets
    // `cli::offline::answer` do the work in files and reads the result.
    /// Edited copy becomes the applied one. `Ok` with notes as text.
    Config,
    /// Install what `ModuleStore::export` made on another node, same name and id, and configure
    /// it (`-E`). `Request::module` names it too, so that a running module can be refused.
    Import {
        #[serde(with = "hex_bytes")]
        package: Vec<u8>,
    },
    /// Install an archive (empty: the built-in mirror template) without configuring it;
    /// `replace` as `module install -r`.
    Install {
        #[serde(default)]
        id: Option<u32>,
        #[serde(default, with = "hex_bytes")]
        archive: Vec<u8>,
        #[serde(default)]
        replace: bool,
    },
    Uninstall,
    /// [`super::Data::Versions`]: the last applied configurations.
    Versions,
    /// Put one of them back as the edited copy; [`Command::Config`] applies it.
    Restore {
        version: String,
    },
    ConfCheck,
    /// [`super::Data::Config`].
    ConfInfo,
    ModuleList,
    /// [`super::Data::Preflight`]: of the module, or of all.
    Preflight,
    /// Make this text the node's `cluster.xml` and use it (`None`: read the file again).
    ClusterConfig {
        xml: Option<String>,
    },
    /// `cluster init` or `join` has written keys and `cluster.xml`, and notes itself: read them.
    ClusterRead,
    ClusterConfInfo,
    /// Read `watch.xml` again and use it.
    WatchApply,

    // Log.
    /// The last `count` entries, oldest first; `verbose` adds the levels I, W and D.
    Log {
        count: usize,
        #[serde(default)]
        verbose: bool,
    },
    /// [`super::Data::Commands`]: the last `count` commands that changed something on the node, of
    /// the module or all.
    CommandLog {
        count: usize,
    },
    /// A script's own words for the log: level `i`, `e` or `w`.
    Print {
        level: char,
        text: String,
    },
}

impl Command {
    /// Changes something (is worth a line in the log), as opposed to a question.
    pub fn is_action(&self) -> bool {
        use Command::*;
        matches!(
            self,
            Start
                | Stop
                | Restart
                | Stopstart
                | Forcestop
                | Swap
                | Prim { .. }
                | Second { .. }
                | Shutdown
        )
    }

    /// The verb as the log writes it: `Action <verb> called by …`.
    pub fn verb(&self) -> &'static str {
        use Command::*;
        match self {
            Ping => "ping",
            Start => "start",
            Stop => "stop",
            Restart => "restart",
            Stopstart => "stopstart",
            Forcestop => "forcestop",
            Swap => "swap",
            Prim { force: false, .. } => "prim",
            Prim { force: true, .. } => "primforce",
            Second { .. } => "second",
            Shutdown => "shutdown",
            State => "state",
            ClusterState => "cluster state",
            Level => "level",
            Metrics => "metrics",
            ResourceGet { .. } => "get",
            ResourceSet { .. } => "set",
            LoopIncrement => "incloop",
            LoopReset => "resetloop",
            LoopCheck => "checkloop",
            Set { setting, .. } => setting.as_str(),
            Maintain { .. } => "maintenance on",
            MaintainNoMore => "maintenance off",
            Settings => "settings",
            Class { value: Switch::On, .. } => "errd enable",
            Class { value: Switch::Off, .. } => "errd disable",
            Processes => "errd list",
            Config => "config",
            Import { .. } => "import",
            Install { .. } => "module install",
            Uninstall => "module uninstall",
            Versions => "module versions",
            Restore { .. } => "module restore",
            ConfCheck => "confcheck",
            ConfInfo => "confinfo",
            ModuleList => "module list",
            Preflight => "preflight",
            ClusterConfig { .. } => "cluster config",
            ClusterConfInfo => "cluster confinfo",
            ClusterRead => "cluster read",
            WatchApply => "watch apply",
            Log { .. } => "log",
            CommandLog { .. } => "cmdlog",
            Print { .. } => "print",
        }
    }
}

/// Bytes as hexadecimal text inside JSON: modules are small, and every tool can read it.
mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let text: String = digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect();
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
        let digits = digits.ok_or_else(|| D::Error::custom("a digit is not hexadecimal"))?;
        if digits.len() % 2 != 0 {
            return Err(D::Error::custom("an odd number of hexadecimal digits"));
        }
        Ok(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_flat_line_and_comes_back_equal() {
        let origin = Origin { user: "root".into(), tty: Some("pts/0".into()), ..Origin::default() };
        let module = ModuleName::new("web").ok();
        for command in [
            Command::Start,
            Command::Prim { force: true, full: false },
            Command::Import { package: vec![0, 255, 10, 13, 171] },
            Command::Set { setting: UserSetting::Boot, value: Switch::On },
            Command::Log { count: 300, verbose: false },
        ] {
            let request = Request::new(origin.clone(), module.clone(), command).on(Nodes::All);
            let line = serde_json::to_string(&request).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request, "{line}");
        }
    }

    #[test]
    fn missing_fields_take_their_defaults() {
        let line = r#"{"v":1,"origin":{"user":"root"},"command":"prim","unknown":7}"#;
        let request: Request = serde_json::from_str(line).unwrap();
        assert_eq!(request.command, Command::Prim { force: false, full: false });
        assert_eq!(request.nodes, Nodes::Local);
    }

    #[test]
    fn an_identity_speaks_for_itself() {
        let mut origin = Origin { user: "root".into(), ..Origin::default() };
        assert_eq!(origin.caller(), "root");
        origin.tty = Some("pts/1".into());
        assert_eq!(origin.caller(), "root@pts/1");
        origin.identity = Some("start_prim".into());
        assert_eq!(origin.caller(), "start_prim");
    }
}
