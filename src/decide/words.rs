//! The words of the automaton: what it is told (events), what it asks for (actions), what it
//! remembers, and the policy it was configured with. Values only.
use super::maintenance::Asked;
use super::memory::Memory;
use crate::model::{
    BootId, EngineCommand, EngineEvent, ModuleName, NodeName, PeerMessage, PeerReply, State,
};
use serde::{Deserialize, Serialize};

/// A point on a clock that never goes back, in milliseconds. Only the hub reads the clock.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Moment(pub u64);

impl Moment {
    pub fn plus(self, ms: u64) -> Moment {
        Moment(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to here, 0 if `earlier` is later.
    pub fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Who gets the primary role back (`service defaultprim=`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DefaultPrim {
    /// Whoever runs keeps it.
    #[default]
    Alone,
    /// This node, after its return.
    Node(NodeName),
    /// The node that was primary before its last stop.
    LastPrim,
}

/// The module as configured, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub module: ModuleName,
    pub own: NodeName,
    pub peer: NodeName,
    /// `false`: no `<rfs>`, nothing is replicated and no engine runs.
    pub replicates: bool,
    /// `false`: no `<user>`, no script runs.
    pub scripts: bool,
    /// `rfs scripts="on"`: `_rfs_callback` is called.
    pub callbacks: bool,
    /// `failover=`; the durable user setting overrides it.
    pub failover: bool,
    pub defaultprim: DefaultPrim,
    /// Error-driven actions allowed within `loop_interval_ms`; the next one stops the module.
    pub maxloop: u32,
    /// 0: errors are not counted.
    pub loop_interval_ms: u64,
    /// `heart timeout`: all heartbeats silent that long is a dead peer.
    pub silence_ms: u64,
    /// An engine says that its link is down when nothing was heard that long: so much of the
    /// silence has passed by then.
    pub link_detect_ms: u64,
    /// `<splitbrain>`: who does not hear the peer asks a witness before it goes on.
    pub witness: bool,
    /// `start="checked"`: a `start_prim` that fails stops the module.
    pub start_checked: bool,
    /// A stopstart that an error causes boots the server (`automatic_reboot=`).
    pub automatic_reboot: bool,
}

/// The rule by which a secondary waits between two scheduled synchronisations (`rfs syncat`). That
/// it acts is no error.
pub const SYNCAT_RULE: &str = "rfs_syncat_wait";

/// Behind the arguments of a script that restarts some services only: their names follow, as one
/// argument.
pub const SERVICES: &str = "-Services";

/// The scripts of a module, by their names in its `bin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    Prestart,
    StartPrim,
    StopPrim,
    StartSecond,
    StopSecond,
    StartSec,
    StopSec,
    StartBoth,
    StopBoth,
    Poststop,
    Transition,
    /// `_rfs_callback _rfs_pritoscd`: a primary that stays up becomes secondary.
    RfsPritoscd,
    /// `_rfs_callback _rfs_startsynch`: the copy here is about to be overwritten.
    RfsStartsynch,
}

impl Script {
    pub fn file_name(self) -> &'static str {
        match self {
            Script::Prestart => "prestart",
            Script::StartPrim => "start_prim",
            Script::StopPrim => "stop_prim",
            Script::StartSecond => "start_second",
            Script::StopSecond => "stop_second",
            Script::StartSec => "start_sec",
            Script::StopSec => "stop_sec",
            Script::StartBoth => "start_both",
            Script::StopBoth => "stop_both",
            Script::Poststop => "poststop",
            Script::Transition => "transition",
            Script::RfsPritoscd | Script::RfsStartsynch => "_rfs_callback",
        }
    }

    /// What `_rfs_callback` is told first: the edge at which it is called.
    pub fn callback(self) -> Option<&'static str> {
        match self {
            Script::RfsPritoscd => Some("_rfs_pritoscd"),
            Script::RfsStartsynch => Some("_rfs_startsynch"),
            _ => None,
        }
    }

    pub fn is_stop(self) -> bool {
        matches!(self, Script::StopPrim | Script::StopSecond | Script::StopSec | Script::StopBoth)
    }
}

/// Third argument of a script: which action of the module it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Start,
    Stop,
    StopStart,
    StopWait,
}

impl Word {
    pub fn as_str(self) -> &'static str {
        match self {
            Word::Start => "start",
            Word::Stop => "stop",
            Word::StopStart => "stopstart",
            Word::StopWait => "stopwait",
        }
    }
}

/// How a module is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartKind {
    /// `start`, boot and automatic restarts: the copies decide.
    Normal,
    /// `prim`: an operator says that this copy is the good one. `force` overrides an interrupted
    /// return (`primforce`).
    Prim { force: bool },
    /// `second`: only as secondary.
    Second { discard: bool, full: bool },
}

/// Where a stop ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Stop,
    /// Started again from STOP.
    StopStart,
    /// The server boots from STOP: a stopstart after an error, with `automatic_reboot`.
    Reboot,
    /// Blocked in WAIT. `wakeup`: facts alone may end it (`false`: a command must).
    Wait {
        reason: String,
        wakeup: bool,
        /// A failover rule asked for it: its end ends the block.
        #[serde(default)]
        rule: bool,
    },
}

impl Ending {
    pub fn word(&self) -> Word {
        match self {
            Ending::Stop => Word::Stop,
            Ending::StopStart | Ending::Reboot => Word::StopStart,
            Ending::Wait { .. } => Word::StopWait,
        }
    }
}

/// What people and rules ask for. May be declined, with a [`Refusal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Start(StartKind),
    Stop,
    /// Without the graceful scripts: whatever belongs to the module is killed.
    ForceStop,
    StopStart,
    Restart,
    /// Only these services of the application, in place: their names as `-Services` of
    /// `stop_prim` and `start_prim` (`restart_services=` of `<errd>`).
    RestartServices {
        services: String,
    },
    Swap,
    /// Block in WAIT (failover rule `wait`).
    Wait {
        reason: String,
    },
    /// End such a block.
    Wakeup,
    Failover(bool),
    /// A person works on the module: nothing happens by itself (`None`: no more).
    Maintenance(Option<Asked>),
    /// The node shuts down: stop, but keep in mind that the module ran.
    Shutdown,
}

impl Wish {
    /// The command as an administrator types it.
    pub fn name(&self) -> &'static str {
        match self {
            Wish::Start(StartKind::Normal) => "start",
            Wish::Start(StartKind::Prim { force: false }) => "prim",
            Wish::Start(StartKind::Prim { force: true }) => "primforce",
            Wish::Start(StartKind::Second { .. }) => "second",
            Wish::Stop => "stop",
            Wish::ForceStop => "forcestop",
            Wish::StopStart => "stopstart",
            Wish::Restart | Wish::RestartServices { .. } => "restart",
            Wish::Swap => "swap",
            Wish::Wait { .. } => "wait",
            Wish::Wakeup => "wakeup",
            Wish::Failover(true) => "failover on",
            Wish::Failover(false) => "failover off",
            Wish::Maintenance(Some(_)) => "maintenance on",
            Wish::Maintenance(None) => "maintenance off",
            Wish::Shutdown => "shutdown",
        }
    }
}

/// Who wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// An administrator: resets the loop counter. The text stands in the log.
    User(String),
    /// `-i identity`: a script or checker; counts for `maxloop`.
    Identity(String),
    /// A failover rule, by its label; counts for `maxloop`.
    Rule(String),
    Boot,
}

/// Why a wish was declined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing to do; not a failure.
    #[error("{0}")]
    AlreadyThere(String),
    #[error("{wish} needs {needs}, and the module is {state}: wait for it, or stop it first")]
    WrongState { wish: &'static str, state: State, needs: &'static str },
    #[error("{0} is primary already: use `second` or `start` here, or `swap` to move the role")]
    PeerPrimary(NodeName),
    #[error("{0} is not primary, nobody can be followed: start it there with `start` or `prim`")]
    PeerNotPrimary(NodeName),
    #[error(
        "there is no link to {0}, so nobody can be followed: `lockstep cluster state` says why; \
         when {0} is heard and is primary, `second` again"
    )]
    NoLink(NodeName),
    #[error(
        "the copy here is incomplete (stopped during reintegration): start {0} as primary, or \
         `primforce` to take this copy as it is"
    )]
    Incomplete(NodeName),
    #[error("`second` gives up what only this node has, and wants `--discard` for it. {0}")]
    WouldLose(String),
    /// A return is under way that was begun without what is wished now.
    #[error(
        "the module is SECOND and its return was begun without {option}: `lockstep stop -m \
         {module}`, then `lockstep second {option} -m {module}`"
    )]
    ReturnBegun { option: &'static str, module: ModuleName },
    #[error(
        "maintenance by {owner} ({reason}): only a person does {wish} meanwhile; `lockstep \
         maintenance off -m {module}` ends it"
    )]
    Maintained { wish: &'static str, owner: String, reason: String, module: ModuleName },
    #[error("{0} does not answer, so the role cannot be handed over: use `stop` instead")]
    PeerSilent(NodeName),
}

/// How one thing asked for by [`Action::Do`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// A script's exit code.
    Exit(i32),
    Reply(PeerReply),
    /// One sentence.
    Failed(String),
}

/// What happened. Facts are never declined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Only time passed: a deadline came.
    Tick,
    /// A heartbeat of the peer, on any lan.
    Heard {
        boot: BootId,
    },
    Connected,
    Disconnected,
    /// From the peer; answered once by [`Action::Reply`] with the same ticket.
    Peer {
        ticket: u64,
        message: PeerMessage,
    },
    Engine(EngineEvent),
    /// The engine's process ended, or could not be started.
    EngineGone {
        reason: String,
    },
    /// What keeps the module from running here, in the eyes of its rules; `None`: nothing.
    Gate(Option<Gate>),
    /// `syncdelta`: how many minutes ago this copy was in sync; `None`: too many, or nobody knows.
    Synced(Option<u64>),
    /// Answer to [`Action::Do`].
    Did {
        token: u64,
        outcome: Outcome,
    },
    Wish {
        ticket: u64,
        wish: Wish,
        caller: Caller,
    },
}

/// A wait rule that holds before a start, and in WAIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// One sentence: which rule, and what it looks at.
    pub reason: String,
    /// `false`: a checker has not answered yet, which it soon will.
    pub failed: bool,
}

/// Something that takes time and is answered by [`Event::Did`] with the same token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Skipped with `Exit(0)` if the module has no such script.
    Script {
        script: Script,
        args: Vec<String>,
        force: bool,
    },
    /// Wait for the end of a script that an earlier daemon called.
    Await {
        script: Script,
        force: bool,
    },
    TakeAddress,
    ReleaseAddress,
    /// End every process of the module's group at once.
    KillGroup,
    /// Leave the replicated directories plain. No engine runs.
    Uncover,
    /// `Done`: a witness answers. `Failed`: none does.
    AskWitness,
    Tell(PeerMessage),
}

/// What the automaton asks for, in this order: remember first, then become visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the memory. `durable`: it must survive a power cut before the next action is done.
    Remember {
        memory: Box<Memory>,
        durable: bool,
    },
    Do {
        token: u64,
        job: Job,
    },
    /// End the running script of this job if it has not ended after `grace_ms`.
    Overtake {
        token: u64,
        grace_ms: u64,
    },
    Order(EngineCommand),
    /// Start the engine; answered by `Hello` or `EngineGone`.
    StartEngine,
    /// End the engine's process; answered by `EngineGone`.
    KillEngine,
    Reply {
        ticket: u64,
        reply: PeerReply,
    },
    Answer {
        ticket: u64,
        answer: Result<String, Refusal>,
    },
    Log {
        level: char,
        code: &'static str,
        text: String,
    },
    /// Boot the server. Where that cannot be, the module is started again.
    Reboot,
    /// Tell the peer and the status how the module stands now.
    Publish {
        state: State,
        reason: String,
    },
}
