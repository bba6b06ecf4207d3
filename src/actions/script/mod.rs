//! Runs the scripts of a module (reference safekit.md section 3).
//!
//! A script gets its arguments as they are, a clean environment, a session of its own, its
//! module's process group and a log file; it gets no descriptor of ours. It is waited for itself:
//! what it leaves behind is the application, which may hold the log file open for years.
//!
//! ```text
//! end of script ------------------------------> Exit / Signal
//! limit over, or interrupted -> TERM -> grace -> KILL (the script's process group)
//!                                               then, if asked, the whole module group
//! ```
//! A [`Program`] is started the same way and has no end of its own: whoever holds it ends it.
mod adopted;
mod environment;
mod host;
mod launch;
mod program;
mod userlog;

pub use host::HostNames;
pub use program::{Program, Started};

use crate::actions::cgroup::ModuleGroup;
use crate::model::{ModuleName, NodeName, Role};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Time between TERM and KILL unless the call says otherwise.
pub const GRACE: Duration = Duration::from_secs(5);
/// How long a killed script is waited for; one stuck in the kernel is left and reported.
const REAP_LIMIT: Duration = Duration::from_secs(5);

/// The scripts that SafeKit defines, and any other file name in `bin`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    Prestart,
    StartBoth,
    StartPrim,
    StartSecond,
    StartSec,
    StopBoth,
    StopPrim,
    StopSecond,
    StopSec,
    Poststop,
    Transition,
    Update,
    Config,
    Postconfig,
    Deconfig,
    Confcheck,
    State,
    Level,
    /// Whoever starts and stops an application that the module names, by its resource.
    Application(String),
    Other(String),
}

impl Script {
    pub fn name(&self) -> &str {
        match self {
            Script::Prestart => "prestart",
            Script::StartBoth => "start_both",
            Script::StartPrim => "start_prim",
            Script::StartSecond => "start_second",
            Script::StartSec => "start_sec",
            Script::StopBoth => "stop_both",
            Script::StopPrim => "stop_prim",
            Script::StopSecond => "stop_second",
            Script::StopSec => "stop_sec",
            Script::Poststop => "poststop",
            Script::Transition => "transition",
            Script::Update => "update",
            Script::Config => "config",
            Script::Postconfig => "postconfig",
            Script::Deconfig => "deconfig",
            Script::Confcheck => "confcheck",
            Script::State => "state",
            Script::Level => "level",
            Script::Application(name) | Script::Other(name) => name,
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What stays the same for all scripts of a module while it runs.
#[derive(Clone, Debug)]
pub struct ScriptSetup {
    pub module: ModuleName,
    pub node: NodeName,
    pub peer: Option<NodeName>,
    /// Applied copy of the module, with `bin` and `conf`.
    pub active_dir: PathBuf,
    /// Log directory of the module: `userlog_…` files, and SAFEUSERVAR.
    pub log_dir: PathBuf,
    /// SAFE and SAFEBIN: holds the `safekit` and `lockstep` commands.
    pub safe_dir: PathBuf,
    /// SAFEVAR.
    pub var_dir: PathBuf,
    pub vips: Vec<IpAddr>,
    /// `<var>` elements of the module, in order.
    pub vars: Vec<(String, String)>,
    /// `<vhost>` of the module.
    pub hosts: HostNames,
    /// `false`: the module has no `<user>` block; every script counts as absent.
    pub enabled: bool,
    /// `false`: what scripts print is discarded (`logging="none"`).
    pub logging: bool,
    /// Size of a script's log, kibibytes, above which it is cut at the next start of the module.
    pub log_kib_max: u64,
    pub group: ModuleGroup,
}

/// What a time-out or an interruption ends besides the script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overrun {
    /// The script's own process group; daemons that it started go on.
    #[default]
    Script,
    /// Everything in the module's group as well (a start that hangs, the forced stop).
    WholeModule,
}

/// One call of a script.
#[derive(Clone, Debug)]
pub struct ScriptCall {
    pub script: Script,
    pub args: Vec<String>,
    /// The role that the module has or is getting, LOCKSTEP_ROLE.
    pub role: Role,
    /// Why it is called, LOCKSTEP_REASON.
    pub reason: String,
    /// `None`: as long as it takes.
    pub limit: Option<Duration>,
    pub grace: Duration,
    pub overrun: Overrun,
    /// What is executed in place of the file in `bin`: a path, or a name to be found in PATH.
    pub program: Option<PathBuf>,
    /// Variables besides those of every script.
    pub variables: Vec<(String, String)>,
}

impl ScriptCall {
    /// A call without a time limit.
    pub fn new(script: Script, args: &[&str], role: Role, reason: &str) -> ScriptCall {
        ScriptCall {
            script,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            role,
            reason: reason.to_owned(),
            limit: None,
            grace: GRACE,
            overrun: Overrun::Script,
            program: None,
            variables: Vec::new(),
        }
    }

    /// The same call with a limit, and what happens when it is over.
    pub fn within(mut self, limit: Duration, overrun: Overrun) -> ScriptCall {
        self.limit = Some(limit);
        self.overrun = overrun;
        self
    }
}

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptResult {
    /// The module has no such script: nothing was to be done.
    Absent,
    /// It could not be started; one sentence.
    NotStarted {
        reason: String,
    },
    Ended {
        end: ScriptEnd,
        duration: Duration,
        log: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptEnd {
    Exit(i32),
    Signal(i32),
    /// Ended by us after its limit. `gone`: the process is no longer there.
    TimedOut {
        gone: bool,
    },
    /// Ended by us because of [`ScriptRunner::interrupt`].
    Interrupted {
        gone: bool,
    },
}

impl ScriptResult {
    /// Absent, or ended by itself with code 0.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Absent | Self::Ended { end: ScriptEnd::Exit(0), .. })
    }

    /// One clause for the module's log, e.g. `ended with code 3 after 0.2 s`.
    pub fn describe(&self) -> String {
        let (end, duration) = match self {
            Self::Absent => return "is not in the module".to_owned(),
            Self::NotStarted { reason } => return format!("could not be started: {reason}"),
            Self::Ended { end, duration, .. } => (end, duration.as_secs_f64()),
        };
        let left = |gone: &bool| if *gone { "" } else { ", still there: stuck in the kernel" };
        match end {
            ScriptEnd::Exit(code) => format!("ended with code {code} after {duration:.1} s"),
            ScriptEnd::Signal(number) => {
                format!("was ended by signal {number} after {duration:.1} s")
            }
            ScriptEnd::TimedOut { gone } => {
                format!("was stopped at its time limit, after {duration:.1} s{}", left(gone))
            }
            ScriptEnd::Interrupted { gone } => {
                format!("was interrupted after {duration:.1} s{}", left(gone))
            }
        }
    }
}

/// Runs the scripts of one module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ScriptRunner {
    setup: Arc<ScriptSetup>,
    interrupts: Arc<watch::Sender<u64>>,
}

impl ScriptRunner {
    pub fn new(setup: ScriptSetup) -> ScriptRunner {
        ScriptRunner { setup: Arc::new(setup), interrupts: Arc::new(watch::Sender::new(0)) }
    }

    pub fn setup(&self) -> &ScriptSetup {
        &self.setup
    }

    /// Whether the module has this script (and may run scripts at all).
    pub fn exists(&self, script: &Script) -> bool {
        self.setup.enabled && self.path(script).is_file()
    }

    /// At the start of the module: script logs above their size are cut to their newest part,
    /// the oldest files beyond a hundred removed.
    pub fn begin(&self) {
        userlog::tidy(&self.setup.log_dir, self.setup.log_kib_max);
    }

    /// Runs a script to its end. The script goes on, and its limit stays in force, when the
    /// caller drops this future.
    pub async fn run(&self, call: ScriptCall) -> ScriptResult {
        self.run_told(call, |_| {}).await
    }

    /// As [`ScriptRunner::run`]; `started` is told the name of the log file (none without
    /// logging) just before the script begins, so that the module's log can name it in time.
    pub async fn run_told(
        &self,
        call: ScriptCall,
        started: impl FnOnce(Option<&Path>) + Send + 'static,
    ) -> ScriptResult {
        if !self.setup.enabled || call.program.is_none() && !self.exists(&call.script) {
            return ScriptResult::Absent;
        }
        let runner = self.clone();
        // Subscribed before the task is scheduled: an interruption from now on is for this call.
        let interrupted = self.interrupts.subscribe();
        let work = async move { runner.drive(call, interrupted, started).await };
        match tokio::spawn(work).await {
            Ok(result) => result,
            Err(error) => ScriptResult::NotStarted { reason: format!("its task ended: {error}") },
        }
    }

    /// Ends all scripts that run now, as if their limits were over.
    pub fn interrupt(&self) {
        self.interrupts.send_modify(|count| *count += 1);
    }

    /// Changes whenever all that runs now is to end; a caller that has several calls to make looks
    /// at it between them.
    pub fn interruptions(&self) -> watch::Receiver<u64> {
        self.interrupts.subscribe()
    }

    fn path(&self, script: &Script) -> PathBuf {
        self.setup.active_dir.join("bin").join(script.name())
    }

    fn executed(&self, call: &ScriptCall) -> PathBuf {
        call.program.clone().unwrap_or_else(|| self.path(&call.script))
    }

    async fn drive(
        &self,
        call: ScriptCall,
        interrupted: watch::Receiver<u64>,
        told: impl FnOnce(Option<&Path>),
    ) -> ScriptResult {
        let begin = Instant::now();
        let (child, log) = match self.launch(&call, told).await {
            Ok(launched) => launched,
            Err(reason) => return ScriptResult::NotStarted { reason },
        };
        let end = self.wait(child, &call, interrupted).await;
        ScriptResult::Ended { end, duration: begin.elapsed(), log: log.map(|log| log.path) }
    }

    /// Makes its log and starts it; the error is a sentence.
    async fn launch(
        &self,
        call: &ScriptCall,
        told: impl FnOnce(Option<&Path>),
    ) -> Result<(Child, Option<userlog::UserLog>), String> {
        let setup = self.setup.clone();
        let prepared = call.clone();
        let path = self.executed(call);
        let started = tokio::task::spawn_blocking(move || {
            let log = userlog::open(&setup, &prepared)?;
            Ok((launch::prepare(&setup, &prepared, &path, log.as_ref())?, log))
        })
        .await;
        let started = started.map_err(std::io::Error::other).and_then(|done| done);
        let launched = match started {
            Ok((plan, log)) => {
                told(log.as_ref().map(|log| log.path.as_path()));
                plan.spawn().await.map(|child| (child, log))
            }
            Err(error) => Err(error),
        };
        launched.map_err(|error| launch::sentence(&self.executed(call), &error))
    }

    async fn wait(
        &self,
        mut child: Child,
        call: &ScriptCall,
        mut interrupted: watch::Receiver<u64>,
    ) -> ScriptEnd {
        let limit = call.limit.unwrap_or(forever());
        let early = tokio::select! {
            biased;
            status = child.wait() => return end_of(status),
            () = tokio::time::sleep(limit) => false,
            changed = interrupted.changed() => {
                // The sender lives in `self`: this is never an error.
                changed.is_ok()
            }
        };
        let gone = self.stop(&mut child, call).await;
        if early { ScriptEnd::Interrupted { gone } } else { ScriptEnd::TimedOut { gone } }
    }

    /// `true` when the script is gone.
    async fn stop(&self, child: &mut Child, call: &ScriptCall) -> bool {
        // The number names the group until its leader is reaped, so it is reaped last.
        if let Some(pid) = child.id() {
            self.end_group(pid, call).await;
        }
        timeout(REAP_LIMIT, child.wait()).await.is_ok()
    }
}

/// Where there is no limit.
const fn forever() -> Duration {
    Duration::from_secs(u32::MAX as u64)
}

fn end_of(status: std::io::Result<std::process::ExitStatus>) -> ScriptEnd {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match status.code() {
            Some(code) => ScriptEnd::Exit(code),
            None => ScriptEnd::Signal(status.signal().unwrap_or(0)),
        },
        // Nobody else reaps our children; if it happens, nobody knows how it ended.
        Err(_) => ScriptEnd::Signal(0),
    }
}

#[cfg(test)]
mod tests;
