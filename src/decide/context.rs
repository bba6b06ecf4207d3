//! What every state may look at and use: policy, memory, facts, the walk under way, and the list of
//! actions that grows while one event is handled.
use super::facts::{Engine, Facts};
use super::hold::Hold;
use super::limits;
use super::maintenance::Maintenance;
use super::memory::Memory;
use super::walk::{Kind, Step, Walk};
use super::witness::Witness;
use super::words::{Action, Ending, Job, Moment, Policy, Refusal, StartKind, Word};
use crate::model::{
    EngineEvent, EngineMode, EngineSummary, NodeName, PeerMessage, Readiness, Role, Side, State,
};

/// What a report would say; a new one goes out when this changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Visible {
    state: State,
    reason: String,
    engine: Option<EngineSummary>,
    maintenance: Maintenance,
}

/// How the engine was told to follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Following {
    pub discard: bool,
    pub full: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub policy: Policy,
    pub memory: Memory,
    pub facts: Facts,
    pub(super) now: Moment,
    pub(super) actions: Vec<Action>,
    pub(super) walk: Option<Walk>,
    pub(super) hold: Hold,
    /// Why the wish at hand is wished, if no person wishes it.
    pub(super) cause: Option<String>,
    pub(super) witness: Witness,
    /// Requests of the peer to record *outdated*, answered when it is on disk.
    pub(super) owed: Vec<u64>,
    /// When the engine that owes it has to have answered; `None`: nothing was ordered.
    pub(super) owed_until: Option<Moment>,
    /// The primary role was given up: whatever the engine holds now is never returned.
    pub(super) resigned: bool,
    /// A new daemon that has not found its engine yet.
    pub(super) adopting: bool,
    /// Both copies have what the other one lacks: what a person was told. Until a role is taken.
    pub(super) fork: Option<String>,
    /// Of a SECOND. A new daemon does not know it and takes it for plain.
    pub(super) following: Following,
    next_token: u64,
    /// The peer is silent, and that has been said.
    unknown: bool,
    visible: Option<Visible>,
}

impl Context {
    pub(super) fn new(policy: Policy, mut memory: Memory, now: Moment) -> Context {
        let walk = memory.walk.take();
        let adopting = policy.replicates && memory.role != Role::Stop;
        let mut facts = Facts::default();
        // A life that begins has heard nobody, which says nothing about the peer.
        facts.peer.heard = Some(now);
        Context {
            policy,
            memory,
            facts,
            now,
            actions: Vec::new(),
            walk: walk.map(resumed),
            hold: Hold::default(),
            cause: None,
            witness: Witness::default(),
            owed: Vec::new(),
            owed_until: None,
            resigned: false,
            adopting,
            fork: None,
            following: Following::default(),
            // Tokens of the last life are never met again.
            next_token: 1,
            unknown: false,
            visible: None,
        }
    }

    pub(super) fn idle(&self) -> bool {
        self.walk.is_none()
    }

    /// The own copy as the engine describes it, or described it last.
    pub(super) fn copy(&self) -> Option<&Side> {
        self.facts.engine.side().or(self.memory.side.as_ref())
    }

    pub(super) fn failover(&self) -> bool {
        self.memory.failover.unwrap_or(self.policy.failover) && self.maintained().is_none()
    }

    pub(super) fn peer_silent(&self) -> bool {
        self.facts.peer.silent(self.now, self.policy.silence_ms)
    }

    /// Heartbeats and data link were silent for the time limit: only then is a peer dead that
    /// did not say so (rule A2).
    pub(super) fn peer_dead(&self) -> bool {
        let limit = self.policy.silence_ms;
        let link = self.facts.link_silent.is_none_or(|since| self.now.since(since) >= limit);
        self.peer_silent() && link
    }

    /// Says once that nothing is known of the peer any more.
    pub(super) fn watch_peer(&mut self) {
        let silent = self.facts.peer.report.is_some() && self.peer_silent();
        if silent && !std::mem::replace(&mut self.unknown, silent) {
            self.log('E', "remote-state", "Remote state UNKNOWN [Unknown]");
        }
        self.unknown = silent;
    }

    /// When the peer counts as dead if it says nothing more.
    pub(super) fn silence_at(&self) -> Option<Moment> {
        let last = self.facts.peer.heard.into_iter().chain(self.facts.link_silent).max();
        last.map(|last| last.plus(self.policy.silence_ms))
    }

    pub(super) fn log(&mut self, level: char, code: &'static str, text: impl Into<String>) {
        self.actions.push(Action::Log { level, code, text: text.into() });
    }

    /// Says why; logged when it is new.
    pub(super) fn because(&mut self, reason: impl Into<String>) {
        self.memory.reason = reason.into();
    }

    pub(super) fn remember(&mut self, durable: bool) {
        if let Some(side) = self.facts.engine.side() {
            self.memory.side = Some(side.clone());
        }
        let mut memory = self.memory.clone();
        memory.walk.clone_from(&self.walk);
        self.actions.push(Action::Remember { memory: Box::new(memory), durable });
    }

    pub(super) fn job(&mut self, job: Job) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.actions.push(Action::Do { token, job });
        token
    }

    /// Begins a transition; the machine takes its first step at once.
    pub(super) fn begin(&mut self, walk: Walk) {
        assert!(self.walk.is_none(), "a walk begins while another is under way: {:?}", walk.kind);
        self.walk = Some(walk);
    }

    /// A stop (or a fact that is stronger than what is under way) overtakes the walk.
    pub(super) fn overtake(&mut self, ending: Ending, grace_ms: u64) {
        if let Some(walk) = &mut self.walk {
            walk.steps.clear();
            walk.overtaken = Some(ending);
            let token = walk.token;
            if matches!(walk.running, Some(Step::Script { .. } | Step::Await { .. })) {
                self.actions.push(Action::Overtake { token, grace_ms });
            }
        }
    }

    /// Ends a role: gracefully, and from then on in WAIT by force.
    pub(super) fn down(&mut self, role: Role, ending: Ending) {
        match &mut self.walk {
            Some(Walk { kind: Kind::Down { ending: e } | Kind::Resign { ending: e }, .. }) => {
                *e = ending;
            }
            // The steps of a block and of a stop differ; the ways to STOP are the same.
            Some(Walk { kind: Kind::Force { ending: e }, to: Role::Stop, .. })
                if !matches!(ending, Ending::Wait { .. }) =>
            {
                *e = ending;
            }
            Some(_) => self.overtake(ending, limits::OVERTAKE_MS),
            None => {
                let walk = super::table::down(self, role, ending);
                self.begin(walk);
            }
        }
    }

    /// Ends a role without asking it: address, processes, the forced stops.
    fn force_down(&mut self, role: Role) {
        match &self.walk {
            Some(Walk { kind: Kind::Force { .. }, .. }) => self.down(role, Ending::Stop),
            Some(_) => self.overtake(Ending::Stop, 0),
            None if role == Role::Wait => self.down(role, Ending::Stop),
            None => {
                let walk = super::table::resign(self, role, Ending::Stop);
                self.begin(walk);
            }
        }
    }

    /// The wishes that every running role takes alike. `None`: the role itself must answer.
    pub(super) fn common_wish(
        &mut self,
        role: Role,
        wish: &super::words::Wish,
    ) -> Option<Result<String, Refusal>> {
        use super::words::Wish;
        let ending = match wish {
            Wish::Stop => {
                self.memory.running = false;
                Ending::Stop
            }
            Wish::ForceStop => {
                self.memory.running = false;
                self.because("forcestop asked for");
                self.force_down(role);
                return Some(Ok("forcestop begins".to_owned()));
            }
            Wish::Shutdown => Ending::Stop,
            Wish::StopStart => Ending::StopStart,
            Wish::Wait { reason } => {
                Ending::Wait { reason: reason.clone(), wakeup: false, rule: true }
            }
            Wish::Start(StartKind::Prim { .. })
                if role == Role::Second && self.facts.peer.leads() =>
            {
                return Some(Err(Refusal::PeerPrimary(self.policy.peer.clone())));
            }
            Wish::Start(StartKind::Prim { .. }) if role == Role::Second => {
                return Some(Err(self.wrong_state(role, wish, "STOP or WAIT (or use `swap`)")));
            }
            Wish::Start(StartKind::Second { .. }) if role.is_primary() => {
                return Some(Err(self.wrong_state(role, wish, "STOP or WAIT (or use `swap`)")));
            }
            Wish::Start(_) => {
                let text = format!("the module is started already ({role})");
                return Some(Err(Refusal::AlreadyThere(text)));
            }
            Wish::Wakeup => {
                let text = format!("nothing to wake up: the module is {role}");
                return Some(Err(Refusal::AlreadyThere(text)));
            }
            Wish::Restart
            | Wish::RestartServices { .. }
            | Wish::Swap
            | Wish::Failover(_)
            | Wish::Maintenance(_) => return None,
        };
        let cause = self.cause.take();
        self.because(cause.unwrap_or_else(|| format!("{} asked for", wish.name())));
        self.down(role, ending);
        Some(Ok(format!("{} begins", wish.name())))
    }

    pub(super) fn wrong_state(
        &self,
        role: Role,
        wish: &super::words::Wish,
        needs: &'static str,
    ) -> Refusal {
        let state = State::new(role, self.memory.readiness);
        Refusal::WrongState { wish: wish.name(), state, needs }
    }

    /// Adds to what a person who must decide is told: the files that only this copy changed.
    pub(super) fn name_changes(&mut self, names: &str) {
        let Some(told) = self.fork.clone().filter(|_| !names.is_empty()) else { return };
        let only = format!("Only {} changed{names}", self.policy.own);
        let text = format!("{told}. {only}");
        if self.memory.reason == told {
            self.because(text.clone());
        }
        // The way to WAIT may not be over.
        if let Some(Walk { kind: Kind::Down { ending: Ending::Wait { reason, .. } }, .. }) =
            &mut self.walk
            && *reason == told
        {
            reason.clone_from(&text);
        }
        self.log('E', "fork-names", only);
        self.fork = Some(text);
    }

    pub(super) fn start(&mut self, start: StartKind, word: Word) {
        self.memory.running = true;
        self.memory.rebooting = false;
        self.because("starting");
        let walk = super::table::up(start, word);
        self.begin(walk);
    }

    pub(super) fn leave(&self, outdated: bool, reason: &str) -> Step {
        Step::Tell(PeerMessage::Leave {
            module: self.policy.module.clone(),
            outdated,
            reason: reason.to_owned(),
        })
    }

    pub(super) fn engine_gone(&mut self, reason: &str) {
        let adopting = std::mem::take(&mut self.adopting);
        self.facts.link_silent = Some(self.now);
        let asked = matches!(&self.walk, Some(Walk { running: Some(Step::StopEngine), .. }));
        let was = self.facts.engine.mode();
        let off = matches!(self.facts.engine, Engine::Off) && !adopting;
        self.facts.engine = if asked || off {
            Engine::Off
        } else {
            self.log('C', "process-not-running", format!("Process engine not running: {reason}"));
            Engine::Dead { reason: reason.to_owned(), was }
        };
    }

    pub(super) fn engine_log(&mut self, event: &EngineEvent) {
        let (level, code, text) = match event {
            EngineEvent::Log { level, text } => (*level, "engine", text.clone()),
            EngineEvent::Refused { command, reason } => {
                ('E', "engine-refused", format!("{command} refused: {reason}"))
            }
            EngineEvent::Handshake { peer, verdict } => {
                let plan = plan_name(&verdict.plan);
                ('E', "return-plan", format!("Return of {peer}: {plan} (rule {})", verdict.rule))
            }
            EngineEvent::PeerLost { peer, left: true, reason } => {
                ('E', "link-lost", format!("The engine of {peer} said good-bye: {reason}"))
            }
            EngineEvent::PeerLost { peer, left: false, reason } => {
                ('E', "link-lost", link_lost(peer, reason))
            }
            EngineEvent::PeerGone { peer, reason } => ('I', "link-gone", link_lost(peer, reason)),
            EngineEvent::PrimaryLost { reason } => {
                ('E', "link-lost", link_lost(&self.policy.peer, reason))
            }
            EngineEvent::Ready => ('E', "uptodate", "Uptodate replicated file system".to_owned()),
            EngineEvent::NeedsDecision { text, .. } => ('C', "return-decision", text.clone()),
            EngineEvent::Fault { reason } => ('C', "disk-fault", reason.clone()),
            EngineEvent::Hello { .. }
            | EngineEvent::Leading
            | EngineEvent::Following
            | EngineEvent::Alone { .. }
            | EngineEvent::Outdated
            | EngineEvent::Flushed
            | EngineEvent::Released
            | EngineEvent::Fenced
            | EngineEvent::ChangesNamed { .. }
            | EngineEvent::PeerReady { .. }
            | EngineEvent::LinkRefused { .. }
            | EngineEvent::Return(_)
            | EngineEvent::Status(_) => return,
        };
        self.log(level, code, text);
    }

    /// The engines refuse each other: said once, and the reason of whoever waits for the link.
    pub(super) fn say_refusal(&mut self, known: Option<String>) {
        let Some(reason) = self.facts.link_refused.clone() else { return };
        let text = format!("no data link to {}: {reason}", self.policy.peer);
        if known.as_ref() != Some(&reason) {
            self.log('C', "link-refused", text.clone());
        }
        let waits = [EngineMode::LeadingAlone, EngineMode::FollowingDetached];
        if self.idle() && self.facts.engine.mode().is_some_and(|mode| waits.contains(&mode)) {
            self.because(text);
        }
    }

    pub(super) fn publish(&mut self, state: State) {
        let engine = self.facts.engine.summary().cloned().map(steady);
        let reason = self.memory.reason.clone();
        let maintenance = self.memory.maintenance.clone();
        let visible = Visible { state, reason: reason.clone(), engine, maintenance };
        if self.visible.as_ref() == Some(&visible) {
            return;
        }
        let announced = self.visible.as_ref().is_some_and(|known| known.state == state);
        if !announced {
            // STOP is always NotReady, so that the text is the one administrators know.
            self.log('E', "local-state", format!("Local state {state}"));
            if state.readiness != Readiness::Transient {
                self.remember(false);
            }
        }
        self.visible = Some(visible);
        self.actions.push(Action::Publish { state, reason });
    }
}

/// Positions and counters move with every operation and are no reason for a report.
fn steady(mut summary: EngineSummary) -> EngineSummary {
    let side = &mut summary.side;
    side.position.seq = crate::model::Seq(0);
    side.dirty_objects = 0;
    side.dirty_bytes = 0;
    side.dirty_base = None;
    side.window = None;
    summary
}

fn link_lost(peer: &NodeName, reason: &str) -> String {
    format!("The link to {peer} was lost: {reason}")
}

fn plan_name(plan: &crate::model::Plan) -> String {
    use crate::model::Plan;
    match plan {
        Plan::Nothing => "equal already".to_owned(),
        Plan::Window { from } => format!("operations from {from} on"),
        Plan::Zones { .. } => "changed zones".to_owned(),
        Plan::Digests => "comparison of everything".to_owned(),
        Plan::Reverse => "the other side must lead".to_owned(),
        Plan::Fork { .. } => "both sides wrote".to_owned(),
        Plan::Unrelated => "unrelated copies".to_owned(),
    }
}

/// A walk of the last life goes on with the step that was under way: a script is waited for and
/// never run a second time; what can be repeated without harm is repeated.
fn resumed(mut walk: Walk) -> Walk {
    match walk.running.take() {
        Some(Step::Script { script, force }) => {
            walk.steps.push_front(Step::Await { script, force });
        }
        Some(Step::Enter(_)) | None => {}
        Some(step) => walk.steps.push_front(step),
    }
    walk.token = 0;
    walk.limit = None;
    walk
}
