//! `userconfig.xml`: what a module is, as checked values with defaults applied.
//!
//! Plain fields to read. What is understood but not acted on yet stands in `notes`.
use super::cluster::ClusterConfig;
use super::mistake::{Mistakes, Note};
use super::paths::Paths;
use crate::model::{
    Agent, Application, Level, ModuleName, NodeName, NotReplicated, ReplicatedDir, Schedule,
};
use crate::ocf::Described;
use crate::rules::{RuleSet, Statement};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod applications;
mod checks;
mod heart;
mod read;
mod rfs;
mod rules;
mod vip;
mod words;

#[derive(Clone, Debug, PartialEq)]
pub struct UserConfig {
    pub mode: Mode,
    pub boot: Boot,
    pub boot_delay: Duration,
    /// `false`: a secondary never promotes by itself.
    pub failover: bool,
    pub defaultprim: DefaultPrim,
    /// Error-driven actions allowed within `loop_interval`; the next one stops the module.
    pub maxloop: u32,
    /// Zero: no counting.
    pub loop_interval: Duration,
    pub automatic_reboot: bool,
    /// What two nodes do without a witness when they do not see each other.
    pub quorum: Quorum,
    /// `service start="checked"`: a failing start script stops the start. So it is by itself where
    /// the module names applications.
    pub start_checked: bool,
    pub heart: Heart,
    /// At least one for a mirror module.
    pub heartbeats: Vec<Heartbeat>,
    /// `vip tcpreset=`.
    pub tcp_reset: bool,
    pub vips: Vec<VirtualAddress>,
    pub rfs: Option<Rfs>,
    pub errd: Option<Errd>,
    pub checkers: Vec<Checker>,
    pub failover_rules: Vec<FailoverRules>,
    /// `failover period=`: of several blocks the last that says one.
    pub rules_period: Duration,
    /// `failover handle_time=`, likewise: how long a rule must be true before its action.
    pub rules_handle_time: Duration,
    /// `None`: no `<user>` element, no script runs.
    pub user: Option<UserBlock>,
    /// `<ocf>` and `<unit>`, in the order in which they are started.
    pub applications: Vec<NamedApplication>,
    /// Exported to every script, macros expanded.
    pub vars: Vec<(String, String)>,
    pub virtual_hosts: Vec<VirtualHost>,
    /// Macros as defined, in order, values expanded.
    pub macros: Vec<(String, String)>,
    /// Parsed and not acted on yet, obsolete, or to be filled in.
    pub notes: Vec<Note>,
    /// What must be filled in before a start, one sentence each.
    pub blanks: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Mirror,
    Farm,
    Light,
}

/// When the module starts at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    On,
    Off,
    /// If it ran before.
    Auto,
    /// As the `boot` command said.
    Ignore,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefaultPrim {
    /// Whoever runs ALONE stays primary.
    Alone,
    /// The node that was PRIM before its last stop gets it back.
    LastPrim,
    /// Roles are swapped to this node once it is in sync.
    Node(NodeName),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    BothAlone,
    Preferred,
    Fence,
    Manual,
    Ping,
}

/// `<heart>`: defaults of all heartbeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heart {
    pub port: Option<u16>,
    pub pulse: Duration,
    /// Silence on every lan for this long: the peer is dead.
    pub timeout: Duration,
    pub permanent_arp: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Name of a lan in `cluster.xml`.
    pub lan: String,
    /// Resource `heartbeat.<ident>`.
    pub ident: String,
    /// This lan carries the replication flow. Exactly one heartbeat has it.
    pub flow: bool,
    pub pulse: Duration,
    pub timeout: Duration,
    /// Old form: `<server addr=>`, in the order of the file.
    pub servers: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualAddress {
    pub addr: IpAddr,
    /// `None`: found by subnet.
    pub interface: Option<String>,
    /// `None`: as the interface's own network.
    pub prefix: Option<u8>,
    /// The address becomes the source of outgoing connections.
    pub one_side: bool,
    /// Say at least this often who has the address (`arpreroute` with `arpinterval`).
    pub arpreroute: Option<Duration>,
    /// How long that is repeated, in any case.
    pub arp_elapse: Duration,
    /// Watch that the address is there (`virtual_addr check=`).
    pub check: bool,
    /// Watch the interface's link (`interface check=`).
    pub check_interface: bool,
    /// Count connections.
    pub connections: bool,
}

/// `<rfs>`: what is mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rfs {
    /// In the order of the file, which is their number on the wire.
    pub dirs: Vec<Dir>,
    pub level: Level,
    /// `<flow name=>`: lan of the replication; also said by `Heartbeat::flow`.
    pub flow: Option<String>,
    /// `reiallowedbw`, in bytes a second.
    pub return_bytes_per_second: Option<u64>,
    /// `syncat`: when the secondary is brought level; `None`: always.
    pub sync_at: Option<Schedule>,
    /// `syncdelta`: a copy whose last synchronisation is no older may lead; `None`: by no age.
    pub sync_delta: Option<Duration>,
    /// `locktimeout`: a secondary that acknowledges nothing for so long is dropped.
    pub lock_timeout: Duration,
    /// `sendtimeout`: a link that is silent for so long is down.
    pub send_timeout: Duration,
    /// `reidetail`: a line of the log for each file of a return.
    pub return_detail: bool,
    /// `nbrei`: parallel streams of the return.
    pub return_streams: u32,
    /// `checkintv`: how often the mounted directories are asked, and
    pub probe_interval: Duration,
    /// `checktime`: how long they may take to answer.
    pub probe_limit: Duration,
    /// `scripts`: `_rfs_callback` is called.
    pub callbacks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dir {
    /// Absolute and normalised.
    pub path: PathBuf,
    /// Line of `userconfig.xml`, for messages.
    pub line: u32,
    /// Own level; `None`: that of the module.
    pub level: Option<Level>,
    pub read_only: bool,
    pub not_replicated: Vec<NotReplicated>,
    /// Absolute; must exist before replication starts.
    pub tocheck: Vec<PathBuf>,
}

impl Dir {
    /// As the engine and people are told it.
    pub fn replicated(&self) -> ReplicatedDir {
        let (path, not_replicated) = (self.path.clone(), self.not_replicated.clone());
        ReplicatedDir { path, level: self.level, not_replicated }
    }
}

impl Rfs {
    /// Everything that must exist before replication starts, absolute.
    pub fn tocheck(&self) -> impl Iterator<Item = &Path> {
        self.dirs.iter().flat_map(|dir| dir.tocheck.iter().map(PathBuf::as_path))
    }
}

/// `<user>`: scripts run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserBlock {
    /// Limit of a graceful stop script.
    pub nice_stop: Duration,
    /// Limit of a `force` stop script.
    pub force_stop: Duration,
    /// `logging="userlog"`: output goes to files of its own.
    pub logging: bool,
    /// Cap of script output, KiB.
    pub log_kb: u64,
}

/// `<ocf>` or `<unit>`, and what follows when its monitor says down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedApplication {
    pub application: Application,
    pub action: ErrorAction,
    /// Line of `userconfig.xml`, for messages.
    pub line: u32,
}

/// When a watch is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    Prim,
    Second,
    Both,
    Pre,
    Sec,
    /// Switched by hand: `errd enable CLASS`.
    Named(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorAction {
    Restart,
    StopStart,
    Stop,
    Wait,
    Swap,
    Nothing,
    /// A program in the module's `bin`.
    Program(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errd {
    pub poll: Duration,
    pub procs: Vec<Proc>,
}

/// A process or service that must run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proc {
    pub name: String,
    pub service: bool,
    pub name_pattern: Option<String>,
    pub argument_pattern: Option<String>,
    pub at_least: u32,
    /// `None`: no upper limit.
    pub at_most: Option<u32>,
    pub action: ErrorAction,
    pub class: When,
    pub start_after: u32,
    pub restart_services: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checker {
    pub ident: String,
    pub when: When,
    pub action: ErrorAction,
    pub kind: CheckerKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckerKind {
    Tcp {
        addr: String,
        port: u16,
        interval: Duration,
        timeout: Duration,
    },
    Ping {
        addr: String,
        interval: Duration,
        timeout: Duration,
    },
    Interface {
        /// `None`: the one that has the address, or one of its network.
        interface: Option<String>,
        local_addr: String,
    },
    Address {
        addr: String,
        interval: Duration,
    },
    Custom {
        exec: String,
        arg: String,
    },
    Module {
        name: String,
        addr: Option<String>,
        port: u16,
        interval: Duration,
        timeout: Duration,
        /// Asked over HTTPS.
        secure: bool,
    },
    /// The replicated directories answer a null request within `limit`.
    Mounted {
        dirs: Vec<PathBuf>,
        interval: Duration,
        limit: Duration,
    },
    SplitBrain {
        exec: String,
        arg: String,
    },
    /// The monitor of an `<ocf>` or `<unit>`, by its resource; nobody writes it.
    Application {
        resource: String,
    },
}

/// One `<failover>`: its rules of both languages. [`UserConfig::rules`] puts them beside the
/// built-in ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailoverRules {
    /// `false`: without the built-in rules.
    pub extends: bool,
    /// In the order of the text.
    pub statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    pub name: String,
    pub env_file: String,
    pub when: When,
}

/// What a module is checked against besides its own file.
#[derive(Clone)]
pub struct Surroundings {
    /// `None`: no `cluster.xml` yet; names of lans and nodes are not checked.
    pub cluster: Option<ClusterConfig>,
    /// The other modules of this node.
    pub neighbours: Vec<Neighbour>,
    /// Where `%NAME%` is looked up when it is no macro.
    pub environment: fn(&str) -> Option<String>,
    /// Host names to addresses.
    pub resolve: fn(&str) -> Option<IpAddr>,
    /// What an OCF agent says of itself.
    pub describe: fn(&Agent) -> Described,
    /// Lockstep's own directories; they are never replicated.
    pub own_dirs: Vec<PathBuf>,
}

/// Another module of this node, with what nobody else may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub name: ModuleName,
    pub dirs: Vec<PathBuf>,
    pub vips: Vec<IpAddr>,
}

impl Surroundings {
    /// This node without other modules: the real environment, resolver and directories. Agents are
    /// not asked: they may change after a configuration was applied.
    pub fn of(paths: &Paths) -> Surroundings {
        Surroundings {
            cluster: None,
            neighbours: Vec::new(),
            environment: |name| std::env::var(name).ok(),
            resolve: super::cluster::resolve,
            describe: |_| Described::Unasked,
            own_dirs: vec![paths.etc.clone(), paths.lib.clone(), paths.log.clone()],
        }
    }
}

/// A checked file and its text with all macros put in (`conf/safeconf.xml` of the applied copy).
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub config: UserConfig,
    pub expanded: String,
}

impl UserConfig {
    /// Reads and checks the file by itself: no cluster, no other modules.
    pub fn load(path: &Path) -> Result<UserConfig, Mistakes> {
        let around = Surroundings::of(&Paths::system());
        Ok(UserConfig::read(path, &around)?.config)
    }

    /// Reads and checks the file among its surroundings. All mistakes at once.
    pub fn read(path: &Path, around: &Surroundings) -> Result<Reading, Mistakes> {
        let text = super::xml::read_text(path)?;
        UserConfig::parse(path, &text, around)
    }

    /// The same for text that is already here; `file` is only a name for messages.
    pub fn parse(file: &Path, text: &str, around: &Surroundings) -> Result<Reading, Mistakes> {
        read::read(file, text, around)
    }

    /// `<splitbrain>`: program and words that ask a witness.
    pub fn witness(&self) -> Option<(&str, &str)> {
        self.checkers.iter().find_map(|checker| match &checker.kind {
            CheckerKind::SplitBrain { exec, arg } => Some((exec.as_str(), arg.as_str())),
            _ => None,
        })
    }

    /// Why this module cannot be started anywhere, as one sentence (farm and light modules,
    /// values still to be filled in). [`super::checks::ready_to_start`] asks this node as well.
    pub fn startable(&self) -> Result<(), String> {
        match self.mode {
            Mode::Mirror => self.blanks.first().map_or(Ok(()), |blank| Err(blank.clone())),
            Mode::Farm | Mode::Light => Err(format!(
                "a {} module is understood and checked, but only mirror modules are started",
                if self.mode == Mode::Farm { "farm" } else { "light" }
            )),
        }
    }
}
