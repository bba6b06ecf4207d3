//! The applications that a module names instead of writing scripts for them: started in the order
//! of the file, stopped in reverse. They run as scripts do: in the module's group, with a log file
//! for each call, a time limit, and the environment of scripts.
//!
//! ```text
//! start   agent start | systemctl start -> then a look: up? else the start has failed
//! stop    agent stop  | systemctl stop  -> then a look: cleanly down? else the stop has failed
//! force   a look first; kill the unit; an agent that fails: kill the module's group, stop again
//! look    agent monitor | systemctl is-active
//! ```
//! What an agent starts is in the module's group. What systemd starts is not: a unit is killed
//! through systemd ([`Applications::kill_units`]).
mod limits;
mod look;
mod unit;

pub use limits::Limits;
pub use look::{Health, Look, Monitor};

use crate::actions::script::{Overrun, Script, ScriptCall, ScriptEnd, ScriptResult, ScriptRunner};
use crate::model::application::{NO_SYSTEMD, SYSTEMD};
use crate::model::{Application, Role, RunBy};
use crate::ocf::{self, MetaData};
use futures_util::future::join_all;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// How long killed processes, and systemd, are waited for when a unit is killed.
const KILL_LIMIT: Duration = Duration::from_secs(2);
/// What each part of a forced stop has when its limit is over.
const LEAST: Duration = Duration::from_secs(1);
/// Where agents keep their state. systemd-tmpfiles makes it where systemd runs; else nobody does.
const AGENT_STATE: &str = "/run/resource-agents";

/// What the module's log should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// `ocf.db`, `start`, and the log file of the call.
    Called { resource: String, action: &'static str, log: Option<PathBuf> },
    /// `how` goes on from `ocf.db start`.
    Failed { resource: String, action: &'static str, how: String, log: Option<PathBuf> },
}

/// How a stop is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Whatever an earlier life has left running.
    Leftovers,
    Nice,
    /// Killed if it does not go.
    Force,
}

/// Takes what the module's log should say.
pub type Tell = Arc<dyn Fn(Word) + Send + Sync>;

/// The applications of one module. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Applications {
    runner: ScriptRunner,
    all: Arc<[One]>,
    /// Limits of stops where neither the configuration nor the agent has one, and of forced ones.
    nice: Duration,
    force: Duration,
    tell: Tell,
    /// OCF_ROOT.
    agents: PathBuf,
    agent_state: PathBuf,
    /// Exists while systemd runs.
    systemd: PathBuf,
}

struct One {
    application: Application,
    /// What the agent says of itself; `None` inside: it says nothing.
    metadata: OnceCell<Option<MetaData>>,
}

impl Applications {
    pub fn new(
        runner: ScriptRunner,
        applications: impl IntoIterator<Item = Application>,
        nice: Duration,
        force: Duration,
        tell: Tell,
    ) -> Applications {
        let all = applications.into_iter();
        let all = all.map(|application| One { application, metadata: OnceCell::new() }).collect();
        let (agents, agent_state) = (ocf::root(), AGENT_STATE.into());
        let systemd = SYSTEMD.into();
        Applications { runner, all, nice, force, tell, agents, agent_state, systemd }
    }

    #[cfg(test)]
    pub(crate) fn with_agents(mut self, root: &std::path::Path) -> Applications {
        (self.agents, self.agent_state) = (root.to_owned(), root.join("state"));
        self
    }

    #[cfg(test)]
    fn with_systemd(mut self, sign: &std::path::Path) -> Applications {
        self.systemd = sign.to_owned();
        self
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Asks the agents what they say of themselves, so that nobody waits for it at a start.
    pub async fn learn(&self) {
        for one in self.all.iter() {
            self.metadata(one).await;
        }
    }

    /// Starts them in order, until one fails; a sentence.
    pub async fn start(&self, role: Role, reason: &str) -> Result<(), String> {
        let interrupted = self.runner.interruptions();
        for one in self.all.iter() {
            if interrupted.has_changed().unwrap_or(true) {
                return Err("the start was interrupted".to_owned());
            }
            self.start_one(one, role, reason).await?;
        }
        Ok(())
    }

    /// Stops them in reverse order, all of them; what failed, in sentences.
    pub async fn stop(&self, how: Stop, role: Role, reason: &str) -> Result<(), String> {
        let interrupted = self.runner.interruptions();
        let mut failures = Vec::new();
        for one in self.all.iter().rev() {
            if interrupted.has_changed().unwrap_or(true) {
                failures.push("the stop was interrupted".to_owned());
                break;
            }
            failures.extend(self.stop_one(one, how, role, reason).await.err());
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
    }

    /// Waits for the end of what an earlier daemon has begun to start. How it ended is not known;
    /// starting again says so, because an agent's start of what runs succeeds.
    pub async fn await_starts(&self) {
        for one in self.all.iter() {
            let limits = self.limits(one).await;
            let call = self.call(one, "start", limits.start, Duration::ZERO);
            let _ = self.runner.await_adopted(call.within(limits.start, Overrun::Script)).await;
        }
    }

    /// Ends the processes of all units at once. What agents have started is in the module's group.
    pub async fn kill_units(&self) {
        let units = self.all.iter().filter(|one| matches!(one.application.by, RunBy::Unit(_)));
        if !self.systemd.is_dir() {
            return;
        }
        join_all(units.map(|one| async {
            // With a stop under way systemd does not start again what is killed.
            for action in ["stop --no-block", "kill"] {
                let call = self.call(one, action, KILL_LIMIT, Duration::ZERO);
                let _ = self.runner.run(call.within(KILL_LIMIT, Overrun::Script)).await;
            }
        }))
        .await;
    }

    async fn start_one(&self, one: &One, role: Role, reason: &str) -> Result<(), String> {
        let limits = self.limits(one).await;
        match &one.application.by {
            RunBy::Unit(_) if !self.systemd.is_dir() => {
                return Err(self.failed(one, "start", NO_SYSTEMD.to_owned(), None));
            }
            RunBy::Unit(_) => {}
            RunBy::Agent(_) => {
                let state = self.agent_state.clone();
                let _ = spawn_blocking(move || std::fs::create_dir_all(state)).await;
            }
        }
        let call = self.call(one, "start", limits.start, Duration::ZERO);
        let call = ScriptCall { role, reason: reason.to_owned(), ..call };
        let log = self.carry_out(one, "start", call.within(limits.start, Overrun::Script)).await?;
        let Look { health, why } = self.probe(one, limits.monitor).await;
        match health {
            Health::Running => Ok(()),
            Health::Stopped | Health::Doubtful | Health::Unknown => {
                let how = format!("says that all is done, but a look says otherwise: {why}");
                Err(self.failed(one, "start", how, log))
            }
        }
    }

    async fn stop_one(&self, one: &One, how: Stop, role: Role, reason: &str) -> Result<(), String> {
        let unit = matches!(one.application.by, RunBy::Unit(_));
        if unit && !self.systemd.is_dir() {
            return Ok(());
        }
        if how == Stop::Force {
            return self.force_one(one, role, reason).await;
        }
        let limits = self.limits(one).await;
        if how == Stop::Leftovers && self.probe(one, limits.monitor).await.health == Health::Stopped
        {
            return Ok(());
        }
        let call = self.call(one, "stop", limits.stop, Duration::ZERO);
        let call = ScriptCall { role, reason: reason.to_owned(), ..call };
        self.stop_once(one, call.within(limits.stop, Overrun::Script), limits.monitor).await
    }

    /// All that it takes has one limit together, beyond which each part has a second.
    async fn force_one(&self, one: &One, role: Role, reason: &str) -> Result<(), String> {
        let until = Instant::now() + self.force;
        let left = || until.saturating_duration_since(Instant::now()).max(LEAST);
        let monitor = self.limits(one).await.monitor;
        if self.probe(one, left().min(monitor)).await.health == Health::Stopped {
            return Ok(());
        }
        let call = || {
            let call = self.call(one, "stop", left(), Duration::ZERO);
            let call = ScriptCall { role, reason: reason.to_owned(), ..call };
            call.within(left(), Overrun::WholeModule)
        };
        if matches!(one.application.by, RunBy::Unit(_)) {
            let kill = self.call(one, "kill", KILL_LIMIT, Duration::ZERO);
            let _ = self.runner.run(kill.within(KILL_LIMIT, Overrun::Script)).await;
            return self.stop_once(one, call(), left().min(monitor)).await;
        }
        let stopped = self.stop_once(one, call(), left().min(monitor)).await;
        let Err(failure) = stopped else { return Ok(()) };
        // Nothing of it may go on; then the agent clears away what is left of it.
        if let Err(error) = self.runner.setup().group.kill(KILL_LIMIT).await {
            return Err(format!("{failure}; {error}"));
        }
        self.stop_once(one, call(), left().min(monitor)).await
    }

    /// `look`: limit of the look that follows.
    async fn stop_once(&self, one: &One, call: ScriptCall, look: Duration) -> Result<(), String> {
        let log = self.carry_out(one, "stop", call).await?;
        let Look { health, why } = self.probe(one, look).await;
        match health {
            Health::Stopped => Ok(()),
            Health::Running | Health::Doubtful | Health::Unknown => {
                let how = format!("says that all is done, but a look says otherwise: {why}");
                Err(self.failed(one, "stop", how, log))
            }
        }
    }

    /// Calls it and judges its code; the log file of the call.
    async fn carry_out(
        &self,
        one: &One,
        action: &'static str,
        call: ScriptCall,
    ) -> Result<Option<PathBuf>, String> {
        let (tell, resource) = (self.tell.clone(), one.application.resource());
        let told = move |log: Option<&std::path::Path>| {
            tell(Word::Called { resource, action, log: log.map(Into::into) });
        };
        let result = self.runner.run_told(call, told).await;
        let (end, log) = match &result {
            ScriptResult::Ended { end, log, .. } => (Some(*end), log.clone()),
            ScriptResult::Absent | ScriptResult::NotStarted { .. } => (None, None),
        };
        if result.is_success() {
            return Ok(log);
        }
        let how = match end {
            Some(ScriptEnd::Exit(code)) => {
                format!("{}: {}", result.describe(), one.meaning(action, code))
            }
            _ => result.describe(),
        };
        Err(self.failed(one, action, how, log))
    }

    /// Says it in the module's log; the whole sentence.
    fn failed(&self, one: &One, action: &'static str, how: String, log: Option<PathBuf>) -> String {
        let resource = one.application.resource();
        let sentence = format!("{resource} {action} {how}");
        (self.tell)(Word::Failed { resource, action, how, log });
        sentence
    }

    async fn metadata<'a>(&self, one: &'a One) -> Option<&'a MetaData> {
        let RunBy::Agent(agent) = &one.application.by else { return None };
        // An agent that is not there yet is asked again.
        let (root, path) = (self.agents.clone(), ocf::path(&self.agents, agent));
        let asked = one.metadata.get_or_try_init(|| async move {
            let agent = agent.clone();
            let asked =
                spawn_blocking(move || path.is_file().then(|| ocf::ask(&root, &agent))).await;
            match asked.ok().flatten() {
                Some(Ok(metadata)) => Ok(Some(metadata)),
                Some(Err(why)) => {
                    let resource = one.application.resource();
                    tracing::warn!(resource, why, "the agent's time limits are not known");
                    Ok(None)
                }
                None => Err(()),
            }
        });
        asked.await.ok().and_then(Option::as_ref)
    }

    async fn limits(&self, one: &One) -> Limits {
        let metadata = self.metadata(one).await;
        Limits::of(&one.application, metadata, self.nice)
    }

    /// A call without role and reason.
    fn call(&self, one: &One, action: &str, limit: Duration, interval: Duration) -> ScriptCall {
        let script = Script::Application(one.application.resource());
        match &one.application.by {
            RunBy::Agent(agent) => {
                let module = self.runner.setup().module.as_str();
                let instance = format!("{module}.{}", one.application.ident);
                let call = ocf::Call { instance: &instance, action, limit, interval };
                let variables = ocf::environment(&self.agents, agent, &call);
                let plain = ScriptCall::new(script, &[action], Role::Wait, "");
                ScriptCall { program: Some(ocf::path(&self.agents, agent)), variables, ..plain }
            }
            RunBy::Unit(name) => {
                let mut words: Vec<&str> = unit::words(action);
                words.extend(["--", name.as_str()]);
                let plain = ScriptCall::new(script, &words, Role::Wait, "");
                ScriptCall { program: Some("systemctl".into()), ..plain }
            }
        }
    }
}

impl One {
    fn meaning(&self, action: &str, code: i32) -> String {
        match &self.application.by {
            RunBy::Agent(_) => ocf::meaning(action, code),
            RunBy::Unit(name) => unit::meaning(name, code),
        }
    }
}

#[cfg(test)]
mod tests;
