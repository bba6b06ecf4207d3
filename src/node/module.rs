//! The control task of one module: select, decide, act. It owns the automaton and everything that
//! belongs to the module on this node; others talk to it through [`ModuleHandle`].
use super::classes::Switched;
use super::clock;
use super::copy::Remembered;
use super::engine::{EngineHandle, EngineSite};
use super::hearts::Hearts;
use super::jobs::Hands;
use super::journal::Journal;
use super::memory::{Clocks, MemoryFile, Stored, UserSettings};
use super::progress::Returns;
use super::report::Reporter;
use super::resources::Resources;
use super::site::Site;
use super::watching::{Seen, Watching};
use crate::api::{ModuleView, ProcessView, Response, UserSetting};
use crate::checkers::Neighbour;
use crate::decide::{Caller, Event, Machine, Memory, Moment, Refusal, Wish};
use crate::logbook::{Level, Logbook, texts};
use crate::model::{
    BootId, EngineEvent, EngineMode, EngineStatus, PeerMessage, PeerReply, Progress, Role, State,
};
use crate::peer::{PeersHandle, Reply};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Events of one module in flight.
const QUEUE: usize = 256;
/// Token of a job that no walk waits for.
const NOBODY: u64 = u64::MAX;
/// How often heartbeats are looked at when nothing else happens.
const LOOK: Duration = Duration::from_millis(250);

/// What a module's task is told.
pub enum Input {
    Heard {
        lan: String,
        boot: BootId,
    },
    Connected {
        boot: BootId,
    },
    Disconnected,
    BootChanged {
        boot: BootId,
    },
    Message {
        message: PeerMessage,
        reply: Reply<PeerReply>,
    },
    Wish {
        wish: Wish,
        caller: Caller,
        answer: oneshot::Sender<Result<String, Refusal>>,
    },
    Loop {
        count: LoopCount,
        answer: oneshot::Sender<bool>,
    },
    Set {
        setting: UserSetting,
        on: bool,
        answer: oneshot::Sender<Result<(), String>>,
    },
    Resource {
        name: String,
        value: String,
        by: String,
        answer: oneshot::Sender<()>,
    },
    /// `errd enable|disable`
    Class {
        name: String,
        on: bool,
        by: String,
        answer: oneshot::Sender<Response>,
    },
    /// `errd list`
    Processes {
        answer: oneshot::Sender<Vec<ProcessView>>,
    },
    /// End the task, unless a transition is under way (`None`): another one takes over.
    HandOver {
        answer: oneshot::Sender<Option<Former>>,
    },
    /// End the task; the engine, if one runs, goes on.
    Quit {
        done: oneshot::Sender<()>,
    },
}

/// `incloop`, `resetloop`, `checkloop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopCount {
    Increment,
    Reset,
    Check,
}

/// What a task that ends while the module runs leaves to the next one, besides what is on disk.
pub struct Former {
    state: State,
    since: jiff::Timestamp,
    resources: Resources,
}

/// Hold on a module's task. Clones are equal.
#[derive(Clone)]
pub struct ModuleHandle {
    pub site: Arc<Site>,
    pub inputs: mpsc::Sender<Input>,
    /// How the module stands; changed before whoever asked is answered.
    pub view: watch::Receiver<Arc<ModuleView>>,
    pub journal: Journal,
}

pub(super) struct Control {
    pub(super) site: Arc<Site>,
    pub(super) machine: Machine,
    pub(super) settings: UserSettings,
    pub(super) switched: Switched,
    /// When the copy here was in sync last, seconds since 1970.
    pub(super) synced: Option<i64>,
    pub(super) hands: Hands,
    pub(super) hearts: Hearts,
    pub(super) resources: Resources,
    pub(super) status: Option<EngineStatus>,
    pub(super) engine_pid: Option<u32>,
    pub(super) since: jiff::Timestamp,
    /// The state that the last task handed over, until it is reached again, and since when it was.
    pub(super) former: Option<(State, jiff::Timestamp)>,
    /// Of a module in STOP: its copy, as its files say.
    pub(super) copy_at_rest: Option<Remembered>,
    pub(super) returns: Returns,
    pub(super) watching: Watching,
    pub(super) file: MemoryFile,
    pub(super) engine_site: EngineSite,
    pub(super) engine: Option<EngineHandle>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) reporter: Reporter,
    pub(super) wishes: HashMap<u64, oneshot::Sender<Result<String, Refusal>>>,
    pub(super) replies: HashMap<u64, Reply<PeerReply>>,
    pub(super) next_ticket: u64,
    pub(super) view: watch::Sender<Arc<ModuleView>>,
    /// An engine that was told to end belongs to a stopped module.
    pub(super) ending: bool,
}

/// What a module's task listens to.
pub(super) struct Ears {
    inputs: mpsc::Receiver<Input>,
    events: mpsc::Receiver<Event>,
    seen: mpsc::Receiver<Seen>,
}

/// Starts the task of a configured module. `program`: what is started as its engine.
pub fn spawn(
    site: Site,
    peers: PeersHandle,
    program: &Path,
    neighbour: Neighbour,
    boot_start: bool,
    former: Option<Former>,
) -> Result<ModuleHandle, String> {
    let (mut control, ears, handle) = prepare(site, peers, program, neighbour)?;
    if let Some(former) = former {
        control.resources = former.resources;
        match control.machine.state() == former.state {
            true => control.since = former.since,
            false => control.former = Some((former.state, former.since)),
        }
    }
    tokio::spawn(control.live(ears, boot_start));
    Ok(handle)
}

/// The task as it is before its first turn.
pub(super) fn prepare(
    site: Site,
    peers: PeersHandle,
    program: &Path,
    neighbour: Neighbour,
) -> Result<(Control, Ears, ModuleHandle), String> {
    let module = site.active.name.clone();
    let book = Logbook::open(&site.paths, &module).map_err(|error| error.to_string())?;
    let journal = Journal::new(&module, book);
    let site = Arc::new(site);
    let (events, events_in) = mpsc::channel(QUEUE);
    let (inputs, inputs_in) = mpsc::channel(QUEUE);
    let file = MemoryFile::new(&site.paths, &module);
    let stored = load(&file, &journal, site.boot);
    let hands = Hands::new(site.clone(), peers.clone(), journal.clone(), events.clone());
    let engine_site = EngineSite::new(&site.paths, &module, program);
    // Also where the memory is lost: then an engine may run beneath an application.
    if stored.memory.role == Role::Stop
        && engine_site.recorded().is_none()
        && let Err(reason) = site.uncover()
    {
        journal.write("control", texts::other("still-covered", Level::Critical, reason));
    }
    let machine = Machine::new(site.policy(), stored.memory, clock::now());
    // What was running runs on: nobody may take it for stopped before the first turn.
    let first = ModuleView { state: machine.state(), ..super::view::first(&site) };
    let (view, view_out) = watch::channel(Arc::new(first));
    let (watching, seen) = Watching::new(&site, neighbour);
    let control = Control {
        watching,
        hearts: Hearts::new(&site.active.config),
        resources: Resources::default(),
        status: None,
        engine_pid: None,
        since: jiff::Timestamp::now(),
        former: None,
        copy_at_rest: site.copy_at_rest(),
        returns: Returns::default(),
        engine_site,
        engine: None,
        reporter: Reporter::start(peers, site.peer.clone()),
        wishes: HashMap::new(),
        replies: HashMap::new(),
        next_ticket: 1,
        settings: stored.settings,
        switched: stored.switched,
        synced: stored.synced,
        ending: false,
        file,
        machine,
        hands,
        events,
        view,
        site: site.clone(),
    };
    let ears = Ears { inputs: inputs_in, events: events_in, seen };
    Ok((control, ears, ModuleHandle { site, inputs, view: view_out, journal }))
}

fn load(file: &MemoryFile, journal: &Journal, boot: BootId) -> Stored {
    let (settings, switched) = (UserSettings::default(), Switched::default());
    let clocks = Clocks::now();
    let memory = Memory::default();
    let empty = Stored { boot, memory, settings, synced: None, clocks, switched };
    match file.load() {
        Ok(Some(stored)) if stored.boot == boot => stored,
        Ok(Some(stored)) => stored.after_reboot(boot, clocks),
        Ok(None) => empty,
        Err(error) => {
            journal.write("control", texts::other("memory", Level::Critical, error.to_string()));
            empty
        }
    }
}

impl Control {
    async fn live(mut self, ears: Ears, boot_start: bool) {
        let Ears { mut inputs, mut events, mut seen } = ears;
        self.begin(boot_start).await;
        loop {
            self.watch_turn().await;
            self.tell_peer();
            let due = self.machine.deadline().into_iter().chain(self.rules_due()).min();
            let wait = due.map(|at| at.since(clock::now()));
            let wait = wait.map_or(LOOK, Duration::from_millis).min(LOOK);
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.event(event).await,
                    None => return,
                },
                input = inputs.recv() => match input {
                    Some(Input::HandOver { answer }) if self.machine.busy() => {
                        let _ = answer.send(None);
                    }
                    Some(Input::HandOver { answer }) => {
                        let _ = answer.send(Some(self.handed_over()));
                        return;
                    }
                    Some(Input::Quit { done }) => {
                        let _ = done.send(());
                        return;
                    }
                    Some(input) => self.input(input).await,
                    // The daemon ends; the engine and the application go on.
                    None => return,
                },
                Some(seen) = seen.recv() => self.saw(seen).await,
                () = tokio::time::sleep(wait) => {
                    self.look();
                    self.event(Event::Tick).await;
                }
            }
        }
    }

    /// Finds what the last life left, or clears away what a crash left.
    async fn begin(&mut self, boot_start: bool) {
        let role = self.machine.memory().role;
        let replicates = self.machine.policy().replicates;
        if role.is_primary() {
            self.hands.begin(NOBODY, crate::decide::Job::TakeAddress, false);
        } else {
            let released = self.hands.addresses.lock().await.release().await;
            self.hands.note(released.unwrap_or_else(|reason| vec![reason]));
        }
        if replicates {
            // One that runs beside a stopped module is told to end when it says hello.
            self.ending = role == Role::Stop;
            self.engine = Some(self.engine_site.adopt(self.events.clone()));
        }
        self.event(Event::Tick).await;
        let ran = self.machine.memory().running;
        if boot_start && role == Role::Stop && self.site.starts_at_boot(self.settings.boot, ran) {
            self.start_at_boot();
        }
    }

    fn start_at_boot(&mut self) {
        let delay = self.site.active.config.boot_delay;
        let problems =
            crate::config::checks::ready_to_start(&self.site.active.config, &self.site.active.dir);
        if let Err(problems) = problems {
            for problem in problems {
                let text = texts::action_refused("start", &problem);
                self.hands.journal.write("control", text);
            }
            return;
        }
        let (ticket, events) = (self.ticket(), self.events.clone());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let wish = Wish::Start(crate::decide::StartKind::Normal);
            let _ = events.send(Event::Wish { ticket, wish, caller: Caller::Boot }).await;
        });
    }

    async fn input(&mut self, input: Input) {
        match input {
            Input::Heard { lan, boot } => {
                if self.hearts.heard(&lan, clock::now()) {
                    self.look();
                    self.event(Event::Heard { boot }).await;
                }
            }
            Input::Connected { boot } => {
                self.event(Event::Connected).await;
                self.event(Event::Heard { boot }).await;
                self.publish_again();
            }
            Input::Disconnected => self.event(Event::Disconnected).await,
            Input::BootChanged { boot } => self.event(Event::Heard { boot }).await,
            Input::Message { message, reply } => {
                let ticket = self.ticket();
                self.replies.insert(ticket, reply);
                if let PeerMessage::Returning { progress, .. } = &message {
                    self.went(progress);
                }
                let asks = matches!(&message, PeerMessage::Report(report) if report.asks);
                self.event(Event::Peer { ticket, message }).await;
                if asks {
                    self.publish_again();
                }
            }
            Input::Wish { wish, caller, answer } => {
                let ticket = self.ticket();
                self.wishes.insert(ticket, answer);
                self.event(Event::Wish { ticket, wish, caller }).await;
            }
            Input::Loop { count, answer } => {
                let _ = answer.send(self.count_loop(count).await);
            }
            Input::Set { setting, on, answer } => {
                let _ = answer.send(self.set(setting, on).await);
                self.show();
            }
            Input::Resource { name, value, by, answer } => {
                self.set_resource(&name, &value, &by);
                self.show();
                let _ = answer.send(());
            }
            Input::Class { name, on, by, answer } => {
                let _ = answer.send(self.switch_class(&name, on, &by).await);
            }
            Input::Processes { answer } => {
                let _ = answer.send(self.processes());
            }
            Input::Quit { .. } | Input::HandOver { .. } => {}
        }
    }

    /// What scripts and people have set stays; what checkers have seen is seen anew by the next.
    pub(super) fn handed_over(&mut self) -> Former {
        for name in self.watching.resources() {
            self.resources.unset(&name);
        }
        let (state, since) = (self.machine.state(), self.since);
        Former { state, since, resources: std::mem::take(&mut self.resources) }
    }

    pub(super) fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    pub(super) async fn event(&mut self, event: Event) {
        if let Event::Engine(event) = &event {
            self.heed(event);
        }
        if matches!(event, Event::EngineGone { .. }) {
            self.engine = None;
            self.engine_pid = None;
            self.status = None;
            self.ending = false;
            self.copy_at_rest = self.site.copy_at_rest();
        }
        let (before, acted) = (self.machine.state(), self.machine.acts_by_itself());
        let rival = self.machine.facts().peer.leads();
        let actions = self.machine.on(event, clock::now());
        let after = self.machine.state();
        if !acted && self.machine.acts_by_itself() {
            // What was only reported is looked at anew, and acted on if it still holds.
            self.watching.classes.clear();
            self.watching.rules.rearm(clock::now());
        }
        if after != before {
            let again = self.former.take_if(|(state, _)| *state == after);
            self.since = again.map_or_else(jiff::Timestamp::now, |(_, since)| since);
        }
        if before.role != Role::Stop && after.role == Role::Stop {
            self.switched = Switched::default();
        }
        if before.role == Role::Stop && after.role == Role::Wait {
            self.watching.begin();
            // Nothing is ignored in silence.
            for note in &self.site.active.config.notes {
                self.hands.journal.write("control", texts::not_acted_on(&note.to_string()));
            }
        }
        self.act(actions).await;
        if rival && after.role.is_primary() && !self.machine.facts().peer.leads() {
            // Two had the addresses: whoever heard the other last hears this node now.
            self.hands.addresses.lock().await.announce();
        }
    }

    /// A return goes on, here or on the peer.
    fn went(&mut self, progress: &Progress) {
        let dirs = self.site.active.config.rfs.iter().flat_map(|rfs| &rfs.dirs);
        let dirs: Vec<String> = dirs.map(|dir| dir.path.display().to_string()).collect();
        self.returns.went(progress, &dirs, &self.hands.journal);
        if let Some(status) = &mut self.status {
            status.progress = Some(progress.clone());
        }
    }

    /// What the hub itself needs of the engine's words.
    fn heed(&mut self, event: &EngineEvent) {
        match event {
            EngineEvent::Hello { pid, side, .. } => {
                self.engine_pid = Some(*pid);
                self.hands.journal.set_epoch(side.lineage.generation());
                if self.ending
                    && let Some(engine) = &self.engine
                {
                    engine.send(crate::model::EngineCommand::Shutdown);
                }
            }
            EngineEvent::Status(status) => {
                self.hands.journal.set_epoch(status.side.lineage.generation());
                // What the last return took stays to be read as long as the nodes are in sync. Of
                // one under way only the primary counts; what it told is still the newest.
                let told = self.status.take().and_then(|status| status.progress);
                let mut status = (**status).clone();
                let kept = match status.mode {
                    EngineMode::LeadingMirror | EngineMode::FollowingReady => {
                        told.filter(|progress| progress.finished)
                    }
                    EngineMode::FollowingReturn => told,
                    _ => None,
                };
                status.progress = status.progress.or(kept);
                self.status = Some(status);
            }
            EngineEvent::Return(progress) => {
                self.went(progress);
                self.hands.mention(PeerMessage::Returning {
                    module: self.site.active.name.clone(),
                    progress: progress.clone(),
                });
            }
            _ => {}
        }
    }

    /// Heartbeats that came or stayed away.
    fn look(&mut self) {
        let now: Moment = clock::now();
        for (name, up) in self.hearts.changes(now) {
            let value = if up { "up" } else { "down" };
            if self.machine.state().role != Role::Stop {
                self.hands.journal.write("heart", texts::resource_set(&name, value, "heart"));
            }
            self.resources.set(&name, value, "heart");
        }
    }
}
