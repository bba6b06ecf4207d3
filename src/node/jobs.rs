//! Carries out what the automaton asks for and what takes time: scripts, addresses, processes,
//! words to the peer. Each job is a task and ends with one answer.
use super::address::Addresses;
use super::journal::Journal;
use super::site::Site;
use crate::actions::application::Applications;
use crate::actions::cgroup::{GroupError, Kill, ModuleGroup};
use crate::actions::script::{
    Overrun, Script as File, ScriptCall, ScriptEnd, ScriptResult, ScriptRunner,
};
use crate::actions::vip::Probe;
use crate::checkers;
use crate::decide::{Event, Job, Outcome, SERVICES, Script};
use crate::logbook::texts;
use crate::model::{NodeName, PeerMessage, Role};
use crate::peer::PeersHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};

/// How long killed processes are waited for.
const KILL_LIMIT: Duration = Duration::from_secs(2);
/// Words to the peer that may wait for those before them.
const MENTIONS_MAX: usize = 64;
/// A word to the peer that was not answered by then is said again by whoever needs it.
const TELL_LIMIT: Duration = Duration::from_millis(2_000);

/// The hands of one module. Cheap to clone into tasks.
#[derive(Clone)]
pub struct Hands {
    pub site: Arc<Site>,
    pub runner: ScriptRunner,
    pub applications: Applications,
    pub group: ModuleGroup,
    pub addresses: Arc<Mutex<Addresses>>,
    pub peers: PeersHandle,
    pub journal: Journal,
    pub events: mpsc::Sender<Event>,
    mentions: mpsc::Sender<PeerMessage>,
    /// Token of the script that runs, 0 for none.
    script: Arc<AtomicU64>,
}

impl Hands {
    pub fn new(
        site: Arc<Site>,
        peers: PeersHandle,
        journal: Journal,
        events: mpsc::Sender<Event>,
    ) -> Hands {
        let group = ModuleGroup::create(&site.node, site.boot, &site.active.name);
        if let Some(why) = group.unavailable() {
            tracing::warn!(module = %site.active.name, why, "processes are followed by their tree");
        }
        let runner = ScriptRunner::new(site.script_setup(group.clone()));
        let applications = super::applications::of(&site, &runner, &journal);
        let addresses = Arc::new(Mutex::new(Addresses::new(&site.active.config)));
        let script = Arc::new(AtomicU64::new(0));
        let (mentions, waiting) = mpsc::channel(MENTIONS_MAX);
        tokio::spawn(mention_all(peers.clone(), site.peer.clone(), waiting));
        Hands {
            site,
            runner,
            applications,
            group,
            addresses,
            peers,
            journal,
            events,
            mentions,
            script,
        }
    }

    /// Begins a job; the answer comes as an event. `succeeds`: this node takes the peer's place.
    pub fn begin(&self, token: u64, job: Job, succeeds: bool) {
        let hands = self.clone();
        tokio::spawn(async move {
            let outcome = hands.carry_out(token, job, succeeds).await;
            let _ = hands.events.send(Event::Did { token, outcome }).await;
        });
    }

    /// Tells the peer something that nobody waits for, one after the other. While the peer is
    /// silent the newest are lost.
    pub fn mention(&self, message: PeerMessage) {
        if self.mentions.try_send(message).is_err() {
            tracing::debug!("the peer is not told: too much waits for it");
        }
    }

    /// Ends the script of this job if it still runs after `grace_ms`; 0: with everything of the
    /// module at once.
    pub fn overtake(&self, token: u64, grace_ms: u64) {
        let hands = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(grace_ms)).await;
            if hands.script.load(Ordering::Acquire) != token {
                return;
            }
            hands.runner.interrupt();
            if grace_ms == 0 {
                let _ = hands.kill().await;
                hands.tell_killed();
            }
        });
    }

    async fn carry_out(&self, token: u64, job: Job, succeeds: bool) -> Outcome {
        let is_script = matches!(job, Job::Script { .. } | Job::Await { .. });
        if is_script {
            self.script.store(token, Ordering::Release);
        }
        let outcome = match job {
            Job::Script { script, args, force } => self.run(script, args, force).await,
            Job::Await { script, force } => self.await_script(script, force).await,
            Job::TakeAddress => self.take_address(succeeds).await,
            Job::ReleaseAddress => self.release_address().await,
            Job::KillGroup => match self.kill().await {
                Ok(Kill::Gone) => Outcome::Done,
                Ok(Kill::Left { pids }) => Outcome::Failed(format!("still there: {pids:?}")),
                Err(error) => Outcome::Failed(error.to_string()),
            },
            Job::Uncover => self.uncover().await,
            Job::AskWitness => self.ask_witness().await,
            Job::Tell(message) => self.tell(message).await,
        };
        self.tell_killed();
        if is_script {
            let _ = self.script.compare_exchange(token, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        outcome
    }

    /// The group first: whoever tells systemd is in it for a moment.
    async fn kill(&self) -> Result<Kill, GroupError> {
        let killed = self.group.kill(KILL_LIMIT).await;
        self.applications.kill_units().await;
        killed
    }

    /// By this job, or by a forced stop that took too long.
    fn tell_killed(&self) {
        let killed = self.group.take_killed();
        if !killed.is_empty() {
            let named: Vec<(u32, &str)> =
                killed.iter().map(|process| (process.pid, process.name.as_str())).collect();
            self.journal.write("control", texts::processes_killed(&named));
        }
    }

    /// One of several witnesses is enough.
    async fn ask_witness(&self) -> Outcome {
        let Some((exec, arg)) = self.site.active.config.witness() else { return Outcome::Done };
        match checkers::ask_witness(&self.runner, exec, arg).await {
            Ok(()) => Outcome::Done,
            Err(reason) => Outcome::Failed(reason),
        }
    }

    async fn uncover(&self) -> Outcome {
        let site = self.site.clone();
        match tokio::task::spawn_blocking(move || site.uncover()).await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(reason)) => Outcome::Failed(reason),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    /// A script that an earlier daemon began.
    pub(super) async fn await_script_alone(&self, script: Script, force: bool) -> Outcome {
        let call =
            self.limited(ScriptCall::new(file_of(script), &[], Role::Wait, ""), script, force);
        let result = self.runner.await_adopted(call).await;
        if result.is_success() {
            return Outcome::Done;
        }
        self.complain(script.file_name(), &result);
        Outcome::Failed(result.describe())
    }

    /// The configured time limits of stop scripts, and of call-backs: nobody serves meanwhile.
    fn limited(&self, call: ScriptCall, script: Script, force: bool) -> ScriptCall {
        let ends = script.is_stop() || script.callback().is_some();
        match self.site.active.config.user.as_ref().filter(|_| ends) {
            Some(user) if force => call.within(user.force_stop, Overrun::WholeModule),
            Some(user) => call.within(user.nice_stop, Overrun::Script),
            None => call,
        }
    }

    async fn tell(&self, message: PeerMessage) -> Outcome {
        match self.peers.send_within(&self.site.peer, message, TELL_LIMIT).await {
            Ok(reply) => Outcome::Reply(reply),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    async fn take_address(&self, succeeds: bool) -> Outcome {
        let peer = succeeds.then(|| self.site.peer_addresses());
        let probe = peer.map_or(Probe::Full, |peer| Probe::Successor { peer });
        let mut addresses = self.addresses.lock().await;
        match addresses.take(&probe).await {
            Ok(notes) => {
                for address in addresses.held() {
                    self.journal.write("vip", texts::virtual_address_set(&address.to_string()));
                }
                self.note(notes);
                addresses.tell_claims(&self.journal);
                Outcome::Done
            }
            Err(reason) => Outcome::Failed(reason),
        }
    }

    async fn release_address(&self) -> Outcome {
        let mut addresses = self.addresses.lock().await;
        let held = addresses.held();
        match addresses.release().await {
            Ok(notes) => {
                for address in held {
                    self.journal.write("vip", texts::virtual_address_unset(&address.to_string()));
                }
                self.note(notes);
                Outcome::Done
            }
            Err(reason) => Outcome::Failed(reason),
        }
    }

    pub(super) fn note(&self, notes: Vec<String>) {
        for note in notes {
            let text = texts::other("vip-note", crate::logbook::Level::Warning, note);
            self.journal.write("vip", text);
        }
    }

    pub(super) async fn run_script(
        &self,
        script: Script,
        args: Vec<String>,
        force: bool,
    ) -> Outcome {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let role = role_in(&args);
        let call = ScriptCall::new(file_of(script), &words, role, "transition");
        let call = self.limited(call, script, force);
        let word = match (script, force) {
            (_, true) => Some("force"),
            (Script::Prestart, false) => Some("start"),
            _ => script.callback(),
        };
        let journal = self.journal.clone();
        let name = script.file_name();
        let result = self
            .runner
            .run_told(call, move |log| {
                let log = log.and_then(|log| log.file_name()).unwrap_or_default();
                let log = log.to_string_lossy();
                journal.write("user", texts::script_called(name, word, &log));
            })
            .await;
        if !result.is_success() {
            self.complain(name, &result);
        }
        match result {
            ScriptResult::Absent => Outcome::Exit(0),
            ScriptResult::Ended { end: ScriptEnd::Exit(code), .. } => Outcome::Exit(code),
            other => Outcome::Failed(other.describe()),
        }
    }

    fn complain(&self, name: &str, result: &ScriptResult) {
        let log = match result {
            ScriptResult::Ended { log: Some(log), .. } => log.file_name().unwrap_or_default(),
            _ => std::ffi::OsStr::new("daemon.log"),
        };
        let text = texts::script_failed(name, &result.describe(), &log.to_string_lossy());
        self.journal.write("user", text);
    }
}

async fn mention_all(peers: PeersHandle, peer: NodeName, mut waiting: mpsc::Receiver<PeerMessage>) {
    while let Some(message) = waiting.recv().await {
        let _ = peers.send_within(&peer, message, TELL_LIMIT).await;
    }
}

/// The role that a script's arguments lead to: `[force] current next action [-Services NAMES]`.
pub(super) fn role_in(args: &[String]) -> Role {
    let args = args.split(|arg| arg == SERVICES).next().unwrap_or_default();
    let next = args.len().checked_sub(2).and_then(|at| args.get(at)).map_or("", String::as_str);
    let roles = [Role::Stop, Role::Wait, Role::Alone, Role::Prim, Role::Second];
    roles.into_iter().find(|role| role.as_str() == next).unwrap_or(Role::Wait)
}

fn file_of(script: Script) -> File {
    match script {
        Script::Prestart => File::Prestart,
        Script::StartPrim => File::StartPrim,
        Script::StopPrim => File::StopPrim,
        Script::StartSecond => File::StartSecond,
        Script::StopSecond => File::StopSecond,
        Script::StartSec => File::StartSec,
        Script::StopSec => File::StopSec,
        Script::StartBoth => File::StartBoth,
        Script::StopBoth => File::StopBoth,
        Script::Poststop => File::Poststop,
        Script::Transition => File::Transition,
        Script::RfsPritoscd | Script::RfsStartsynch => File::Other(script.file_name().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fixture;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_role_stands_before_the_services() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(role_in(&words("force ALONE PRIM stop")), Role::Prim);
        assert_eq!(role_in(&words("ALONE ALONE start -Services a,b")), Role::Alone);
        assert_eq!(role_in(&words("_rfs_pritoscd PRIM SECOND start")), Role::Second);
    }

    #[tokio::test]
    async fn a_call_back_is_told_its_edge_first_and_its_code_is_handed_on() {
        let module = Fixture::new("<user/>").await;
        let hands = &module.control.hands;
        let bin = module.control.site.active.dir.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let path = bin.join("_rfs_callback");
        std::fs::write(&path, "#!/bin/sh\necho \"$*\" > \"$0.told\"\nexit 2\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let words = ["_rfs_startsynch", "WAIT", "SECOND", "start"];
        let args = words.map(str::to_owned).to_vec();
        let job = Job::Script { script: Script::RfsStartsynch, args, force: false };
        assert_eq!(hands.carry_out(1, job, false).await, Outcome::Exit(2));
        let told = std::fs::read_to_string(bin.join("_rfs_callback.told")).unwrap();
        assert_eq!(told.trim(), words.join(" "));
        assert!(
            module.log().contains("Script _rfs_callback \"_rfs_startsynch\""),
            "{}",
            module.log()
        );
    }
}
