//! WAIT: starting, stopping, or blocked until something else is there.
use super::admit::{Admission, admit};
use super::context::{Context, Following};
use super::facts::Engine;
use super::limits;
use super::memory::Memory;
use super::stop::possible;
use super::table;
use super::walk::{Kind, Step, Walk};
use super::words::{Ending, Job, Moment, Outcome, Refusal, StartKind, Wish, Word};
use crate::model::{PeerMessage, PeerReply, Readiness, Role};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// A walk goes on: `prestart`, or the forced stops.
    Walking,
    /// Looks for the role to become. `blocked`: waits for somebody.
    Deciding { blocked: bool },
    /// Has asked the peer to record that it does not lead.
    Claiming { token: u64, to: Role, forced: bool },
    /// Only a command, `wakeup`, or the moment ends it. `rule`: a failover rule began it.
    Blocked { retry: Option<Moment>, rule: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    start: StartKind,
    since: Moment,
    phase: Phase,
    /// The peer claimed the role: no claim of our own until then.
    yield_until: Option<Moment>,
    /// The peer could not be told that the primary role was given up here.
    unheard: bool,
    /// The copies leave the choice to a person.
    person: bool,
}

impl Wait {
    fn new(phase: Phase, now: Moment) -> Wait {
        let start = StartKind::Normal;
        Wait { start, since: now, phase, yield_until: None, unheard: false, person: false }
    }

    pub(super) fn entered(kind: Option<&Kind>, unheard: bool, now: Moment) -> Wait {
        let mut wait = Wait::new(Phase::Walking, now);
        if let Some(Kind::Up { start }) = kind {
            wait.start = *start;
        }
        wait.unheard = unheard;
        wait
    }

    /// A new daemon: a walk that was under way goes on; a block stays; else it decides again.
    pub(super) fn adopt(memory: &Memory, now: Moment) -> Wait {
        let phase = match &memory.walk {
            Some(_) => Phase::Walking,
            None if memory.readiness == Readiness::NotReady => Phase::Deciding { blocked: true },
            None => Phase::Deciding { blocked: false },
        };
        Wait::new(phase, now)
    }

    pub(super) fn decide(&mut self, start: StartKind, now: Moment) {
        self.start = start;
        self.since = now;
        self.phase = Phase::Deciding { blocked: false };
    }

    /// Reached by `wait`, or because a start met something that must go away first (`wakeup`).
    pub(super) fn block(&mut self, cx: &mut Context, reason: String, wakeup: bool, rule: bool) {
        cx.because(reason);
        let retry = wakeup.then(|| cx.now.plus(limits::BLOCKED_RETRY_MS));
        self.phase = Phase::Blocked { retry, rule };
        // Whoever waits here lets the other side take over, told or not.
        self.unheard &= !rule;
    }

    pub(super) fn unheard(&self) -> bool {
        self.unheard
    }

    pub(super) fn sleeps(&self) -> bool {
        matches!(self.phase, Phase::Blocked { rule: true, .. })
    }

    pub(super) fn readiness(&self, cx: &Context) -> Readiness {
        match self.phase {
            _ if cx.walk.is_some() => Readiness::Transient,
            Phase::Blocked { .. } | Phase::Deciding { blocked: true } => Readiness::NotReady,
            Phase::Walking | Phase::Deciding { blocked: false } | Phase::Claiming { .. } => {
                Readiness::Transient
            }
        }
    }

    /// Nothing but a person's word about the copies ends this wait.
    pub(super) fn needs_decision(&self, cx: &Context) -> bool {
        match self.phase {
            _ if cx.walk.is_some() => false,
            Phase::Deciding { blocked } => blocked && self.person,
            Phase::Blocked { .. } => cx.fork.is_some(),
            Phase::Walking | Phase::Claiming { .. } => false,
        }
    }

    pub(super) fn deadline(&self, cx: &Context) -> Option<Moment> {
        let retry = match self.phase {
            Phase::Blocked { retry, .. } => return retry,
            Phase::Walking => return None,
            Phase::Deciding { .. } | Phase::Claiming { .. } => self.yield_until,
        };
        let first = self.since.plus(limits::FIRST_REPORT_MS);
        let equal = self.since.plus(limits::YIELD_MS);
        let times = [Some(first), Some(equal), retry, cx.silence_at()];
        times.into_iter().flatten().filter(|at| *at > cx.now).min()
    }

    pub(super) fn settle(&mut self, cx: &mut Context) {
        // It leads: whatever it was told or not, it went on.
        self.unheard &= !cx.facts.peer.leads();
        if matches!(cx.facts.engine, Engine::Dead { .. }) {
            return self.engine_died(cx);
        }
        if !cx.idle() {
            return;
        }
        match self.phase {
            Phase::Blocked { retry: Some(retry), .. } if retry <= cx.now => {
                let start = self.start;
                self.decide(start, cx.now);
            }
            Phase::Walking | Phase::Deciding { .. } => {}
            Phase::Claiming { .. } | Phase::Blocked { .. } => return,
        }
        if cx.policy.replicates && cx.facts.engine == Engine::Off {
            let kind = Kind::Up { start: self.start };
            let walk = Walk::new(kind, Role::Wait, Role::Wait, Word::Start);
            return cx.begin(walk.then(Step::StartEngine));
        }
        let alone = self.unheard && cx.peer_silent() && cx.may_outlive();
        let admission = admit(cx, self.start, self.since, alone);
        self.admitted(cx, admission);
    }

    fn admitted(&mut self, cx: &mut Context, admission: Admission) {
        match admission {
            Admission::Lead { to, forced, claim: false } => {
                lead(cx, to, forced);
            }
            Admission::Lead { .. } if self.yield_until.is_some_and(|until| until > cx.now) => {
                self.phase = Phase::Deciding { blocked: false };
            }
            Admission::Lead { to, forced, claim: true } => {
                let message = PeerMessage::Outdate {
                    module: cx.policy.module.clone(),
                    generation: cx.facts.engine.side().map_or(0, |side| side.lineage.generation()),
                    reason: format!("{} starts as primary", cx.policy.own),
                };
                let token = cx.job(Job::Tell(message));
                self.phase = Phase::Claiming { token, to, forced };
            }
            Admission::LeadAged { reason } => {
                cx.memory.aged = true;
                cx.log('C', "forced-uptodate", format!("This node {reason}"));
                cx.because(reason.clone());
                // Before it leads: whoever meets it must know.
                cx.remember(true);
                cx.begin(table::lead(Role::Alone, true, &reason));
            }
            Admission::Follow { discard, full } => {
                cx.because("following the primary");
                cx.following = Following { discard, full };
                cx.begin(table::follow(discard, full));
            }
            Admission::Wait { blocked, person, reason } => {
                self.person = person;
                let phase = Phase::Deciding { blocked };
                if blocked && (self.phase != phase || cx.memory.reason != reason) {
                    cx.log('E', "start-blocked", reason.clone());
                }
                self.phase = phase;
                cx.because(reason);
            }
            Admission::Refuse(refusal) => {
                cx.log('E', "start-aborted", start_aborted(self.start, &refusal));
                cx.because(refusal.to_string());
                cx.memory.running = false;
                let walk = table::force(cx, Ending::Stop);
                cx.begin(walk);
            }
        }
    }

    pub(super) fn on_did(&mut self, cx: &mut Context, token: u64, outcome: &Outcome) {
        let Phase::Claiming { token: asked, to, forced } = self.phase else { return };
        if asked != token || !cx.idle() {
            return;
        }
        self.phase = Phase::Deciding { blocked: false };
        match outcome {
            Outcome::Reply(PeerReply::Done) => lead(cx, to, forced),
            // Nobody answers: an operator's word is enough, anybody else asks again.
            Outcome::Failed(_) if forced => lead(cx, Role::Alone, forced),
            Outcome::Reply(PeerReply::Refused { .. })
            | Outcome::Failed(_)
            | Outcome::Done
            | Outcome::Exit(_) => {
                self.yield_until = Some(cx.now.plus(limits::RETRY_MS));
            }
        }
    }

    /// Whether the peer may have the role. Of two that ask at once the first by name gets it.
    pub(super) fn yields(&self, cx: &Context) -> Result<(), String> {
        let claims = matches!(self.phase, Phase::Claiming { .. });
        if claims && cx.policy.own < cx.policy.peer {
            return Err(format!("{} is about to become primary itself", cx.policy.own));
        }
        Ok(())
    }

    pub(super) fn give_way(&mut self, until: Moment) {
        self.yield_until = Some(until);
        if let Phase::Claiming { .. } = self.phase {
            self.phase = Phase::Deciding { blocked: false };
        }
    }

    fn engine_died(&mut self, cx: &mut Context) {
        let Engine::Dead { reason, was } = std::mem::take(&mut cx.facts.engine) else { return };
        // Never seen running: a new daemon looked for it, nothing has failed.
        if was.is_none() || cx.walk.is_some() {
            return;
        }
        if cx.count_error() {
            let walk = table::force(cx, Ending::Stop);
            return cx.begin(walk);
        }
        cx.because(format!("the engine died: {reason}"));
    }

    pub(super) fn wish(&mut self, cx: &mut Context, wish: &Wish) -> Result<String, Refusal> {
        match wish {
            Wish::Start(start) if !cx.idle() => {
                let up = cx.walk.as_ref().is_some_and(|walk| matches!(walk.kind, Kind::Up { .. }));
                if up && *start == self.start {
                    return Err(Refusal::AlreadyThere("the module is starting".to_owned()));
                }
                Err(cx.wrong_state(Role::Wait, wish, "STOP, or WAIT NotReady"))
            }
            Wish::Start(start) => {
                possible(cx, *start)?;
                cx.memory.running = true;
                self.yield_until = None;
                self.decide(*start, cx.now);
                Ok(format!("{} begins", wish.name()))
            }
            Wish::Wakeup if matches!(self.phase, Phase::Blocked { .. }) => {
                let start = self.start;
                self.decide(start, cx.now);
                Ok("wakeup".to_owned())
            }
            Wish::Restart | Wish::RestartServices { .. } | Wish::Swap => {
                Err(cx.wrong_state(Role::Wait, wish, "a module that is ALONE, PRIM or SECOND"))
            }
            Wish::Stop
            | Wish::ForceStop
            | Wish::Shutdown
            | Wish::StopStart
            | Wish::Wait { .. }
            | Wish::Wakeup
            | Wish::Failover(_)
            | Wish::Maintenance(_) => match cx.common_wish(Role::Wait, wish) {
                Some(answer) => answer,
                None => Err(cx.wrong_state(Role::Wait, wish, "a started module")),
            },
        }
    }
}

fn lead(cx: &mut Context, to: Role, forced: bool) {
    let why = if forced { "an operator said prim" } else { "up to date" };
    cx.memory.aged &= !forced;
    cx.because(format!("starts as primary: {why}"));
    cx.begin(table::lead(to, forced, why));
}

/// The text that administrators know for it.
fn start_aborted(start: StartKind, refusal: &Refusal) -> String {
    match (start, refusal) {
        (StartKind::Prim { .. }, Refusal::Incomplete(_)) => format!(
            "Data may be inconsistent for replicated directories (stopped during reintegration). \
             {refusal}. Requested prim start aborted"
        ),
        (StartKind::Prim { .. }, _) => format!("{refusal}. Requested prim start aborted"),
        (StartKind::Normal | StartKind::Second { .. }, _) => {
            format!("{refusal}. Requested start aborted")
        }
    }
}
