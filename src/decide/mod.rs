//! The automaton of one module on one node: facts and wishes in, actions out.
//!
//! ```text
//!            start                 may lead                    peer in sync
//!   STOP ───────────▶ WAIT ───────────────────▶ ALONE ◀──────────────────────▶ PRIM
//!    ▲                 │ ▲ ▲ peer leads           │  ▲     secondary gone        │ ▲
//!    │    forced stops │ │ └────────────┐         │  │                           │ │ swap
//!    └─────────────────┘ │              ▼         ▼  │ primary gone              ▼ │
//!                        │            SECOND ◀────┴──┴─────────────────────────────┘
//!                        └── stop, stopstart, wait: from every role
//! ```
//!
//! No clock, no file, no socket: `Machine::on(event, now)` returns the actions in the order in
//! which the hub must carry them out (remember first, then become visible), and
//! `Machine::deadline()` says when it wants to be asked again. Decisions look at facts that were
//! latched, never at the moment in which they came in: what cannot be done now is done when the
//! walk (transition under way) has ended.
//!
//! Two nodes; which of several standbys follows is the register's business (DESIGN section 3).
mod admit;
mod aged;
mod alone;
mod answers;
mod callback;
mod context;
mod errors;
mod facts;
mod hold;
mod limits;
mod maintenance;
mod memory;
mod peer;
mod prim;
mod run;
mod second;
mod stop;
mod table;
mod wait;
mod walk;
mod witness;
mod words;

#[cfg(test)]
mod tests;

pub use admit::{Admission, Heal, admit, heal};
pub use context::Context;
pub use facts::{Engine, Facts, Left, Peer, View};
pub use maintenance::{Asked, Maintenance, Window, length};
pub use memory::Memory;
pub use table::{MOVES, Move};
pub use walk::{Kind, Step, Walk};
pub use words::*;

use crate::model::{EngineEvent, Readiness, Role, State};
use alone::Alone;
use prim::Prim;
use second::Second;
use stop::Stop;
use wait::Wait;

/// A role with what only this role needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Stop(Stop),
    Wait(Wait),
    Alone(Alone),
    Prim(Prim),
    Second(Second),
}

impl Part {
    fn role(&self) -> Role {
        match self {
            Part::Stop(_) => Role::Stop,
            Part::Wait(_) => Role::Wait,
            Part::Alone(_) => Role::Alone,
            Part::Prim(_) => Role::Prim,
            Part::Second(_) => Role::Second,
        }
    }
}

/// One module on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    cx: Context,
    part: Part,
}

impl Machine {
    /// A module whose daemon part begins to live. `memory` is what the last life left; after a
    /// reboot it has gone through [`Memory::after_reboot`]. A role that was held is adopted: no
    /// script is run again, and nothing is decided before the engine was found (`Hello`) or is
    /// known to be dead (`EngineGone`).
    pub fn new(policy: Policy, memory: Memory, now: Moment) -> Machine {
        let part = match memory.role {
            Role::Stop => Part::Stop(Stop::adopt(&memory)),
            Role::Wait => Part::Wait(Wait::adopt(&memory, now)),
            Role::Alone => Part::Alone(Alone::default()),
            Role::Prim => Part::Prim(Prim::adopt(now)),
            Role::Second => Part::Second(Second::new(false)),
        };
        Machine { cx: Context::new(policy, memory, now), part }
    }

    pub fn state(&self) -> State {
        match &self.cx.walk {
            // Address gone, application stopped, the peer told: whatever scripts still run.
            Some(walk) if self.cx.resigned && self.part.role().is_primary() => {
                State::new(walk.to, Readiness::Transient)
            }
            _ => State::new(self.part.role(), self.readiness()),
        }
    }

    /// Why the module is in this state, one sentence for people.
    pub fn reason(&self) -> &str {
        &self.cx.memory.reason
    }

    /// A person must say whose copy is right; the reason names the commands.
    pub fn needs_decision(&self) -> bool {
        matches!(&self.part, Part::Wait(wait) if wait.needs_decision(&self.cx))
    }

    pub fn memory(&self) -> &Memory {
        &self.cx.memory
    }

    pub fn facts(&self) -> &Facts {
        &self.cx.facts
    }

    pub fn policy(&self) -> &Policy {
        &self.cx.policy
    }

    /// Configuration applied again while the module lives.
    pub fn set_policy(&mut self, policy: Policy) {
        self.cx.policy = policy;
    }

    /// An error-driven action that a script does by itself (`incloop`). `true`: one too many.
    pub fn count_loop(&mut self, now: Moment) -> (bool, Vec<Action>) {
        self.cx.now = self.cx.now.max(now);
        let over = self.cx.count_error();
        self.cx.remember(true);
        (over, std::mem::take(&mut self.cx.actions))
    }

    /// `resetloop`.
    pub fn reset_loop(&mut self) -> Vec<Action> {
        self.cx.memory.loops.clear();
        self.cx.remember(true);
        std::mem::take(&mut self.cx.actions)
    }

    /// The peer gave the primary role up, its address before everything else, or failed: it may
    /// not be the one who keeps this node from the address.
    pub fn succeeds(&self) -> bool {
        matches!(&self.cx.walk, Some(walk) if matches!(walk.kind, Kind::TakeOver { .. }))
    }

    /// The application runs here as primary: from the end of `start_prim` to the beginning of
    /// `stop_prim`.
    pub fn serves(&self) -> bool {
        let stays = |walk: &Walk| {
            matches!(walk.kind, Kind::ToPrim | Kind::ToAlone) && walk.overtaken.is_none()
        };
        self.part.role().is_primary() && self.cx.walk.as_ref().is_none_or(stays)
    }

    /// The same for a secondary and its scripts.
    pub fn follows(&self) -> bool {
        let stays = |walk: &Walk| matches!(walk.kind, Kind::Refollow) && walk.overtaken.is_none();
        self.part.role() == Role::Second && self.cx.walk.as_ref().is_none_or(stays)
    }

    /// What the witness answered in the present silence of the peer.
    pub fn witness(&self) -> Option<bool> {
        self.cx.witness.answer
    }

    /// In WAIT as a rule asked for; only [`Wish::Wakeup`] or a start ends it.
    pub fn sleeps(&self) -> bool {
        self.cx.walk.is_none() && matches!(&self.part, Part::Wait(wait) if wait.sleeps())
    }

    /// `true` while a transition is under way.
    pub fn busy(&self) -> bool {
        self.cx.walk.is_some()
    }

    /// When `on(Event::Tick, …)` must be called at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        let of_part = match &self.part {
            Part::Stop(_) => None,
            Part::Wait(wait) => wait.deadline(&self.cx),
            Part::Alone(_) => None,
            Part::Prim(prim) => prim.deadline(&self.cx),
            Part::Second(second) => second.deadline(&self.cx),
        };
        let of_walk = self.cx.walk.as_ref().and_then(|walk| walk.limit);
        let hold = self.cx.hold.deadline(&self.cx);
        let maintenance = self.cx.maintenance_due();
        [of_part, of_walk, hold, self.cx.owed_until, maintenance].into_iter().flatten().min()
    }

    /// One event, at `now`. Returns what must be done, in order.
    pub fn on(&mut self, event: Event, now: Moment) -> Vec<Action> {
        self.notice_pause(now);
        self.cx.now = self.cx.now.max(now);
        self.absorb(&event);
        self.feed_walk(&event);
        match event {
            Event::Wish { ticket, wish, caller } => self.on_wish(ticket, wish, caller),
            Event::Peer { ticket, message } => self.on_peer(ticket, message),
            Event::Did { token, outcome } => self.on_did(token, &outcome),
            Event::Engine(event) => self.pay(&event),
            Event::EngineGone { .. } => self.cx.owed_until = None,
            Event::Tick => self.kill_if_stuck(),
            Event::Heard { .. }
            | Event::Connected
            | Event::Disconnected
            | Event::Gate(_)
            | Event::Synced(_) => {}
        }
        self.cx.keep_maintenance();
        self.settle();
        self.publish();
        std::mem::take(&mut self.cx.actions)
    }

    /// Nothing happened here for a while, and what was due is late: this node itself was paused (a
    /// virtual machine, a stopped process). What it did not hear meanwhile says nothing about
    /// others.
    fn notice_pause(&mut self, now: Moment) {
        let due = self.deadline().unwrap_or(self.cx.now).max(self.cx.now);
        let watches = self.part.role() != Role::Stop && !self.cx.peer_silent();
        if watches && now.since(due) >= limits::PAUSE_MS {
            let facts = &mut self.cx.facts;
            facts.peer.heard = facts.peer.heard.map(|_| now);
            facts.link_silent = facts.link_silent.map(|_| now);
        }
    }

    /// Facts first: whoever decides later in this call sees them all.
    fn absorb(&mut self, event: &Event) {
        let cx = &mut self.cx;
        match event {
            Event::Heard { boot } => {
                cx.facts.peer.heard = Some(cx.now);
                cx.facts.peer.absorb_boot(*boot);
            }
            Event::Connected => {
                cx.facts.peer.connected = true;
                // It reports again; what it said before may be of an older life.
                cx.facts.peer.fresh = false;
                cx.facts.peer.heard = Some(cx.now);
            }
            Event::Disconnected => cx.facts.peer.connected = false,
            Event::Engine(event) => {
                let refused = cx.facts.link_refused.clone();
                cx.facts.absorb_engine(event, cx.now, cx.policy.link_detect_ms);
                cx.engine_log(event);
                if matches!(event, EngineEvent::LinkRefused { .. }) {
                    cx.say_refusal(refused);
                }
                match event {
                    EngineEvent::Hello { .. } => cx.adopting = false,
                    EngineEvent::ChangesNamed { text } => cx.name_changes(text),
                    EngineEvent::PeerReady { .. } => cx.memory.aged = false,
                    EngineEvent::Refused { command, .. } if command == "go_alone" => {
                        let now = cx.now;
                        cx.hold.declined(now);
                    }
                    _ => {}
                }
            }
            Event::EngineGone { reason } => cx.engine_gone(reason),
            Event::Gate(gate) => cx.facts.gate.clone_from(gate),
            Event::Synced(minutes) => cx.facts.synced_minutes = *minutes,
            Event::Tick | Event::Peer { .. } | Event::Did { .. } | Event::Wish { .. } => {}
        }
    }

    fn on_wish(&mut self, ticket: u64, wish: Wish, caller: Caller) {
        let name = wish.name();
        match &caller {
            Caller::User(who) => {
                self.cx.log('U', "action-called", format!("Action {name} called by {who}"));
            }
            Caller::Identity(who) => {
                self.cx.log('E', "action-by", format!("Action {name} called by {who}"));
            }
            Caller::Rule(label) => {
                let text = format!("Action {name} from failover rule {label}");
                self.cx.log('E', "action-rule", text);
            }
            Caller::Boot => {
                self.cx.log('U', "action-boot", format!("Action {name} called at boot time"));
            }
        }
        let counts = matches!(
            wish,
            Wish::Restart | Wish::RestartServices { .. } | Wish::StopStart | Wish::Wait { .. }
        );
        let by_itself = matches!(caller, Caller::Identity(_) | Caller::Rule(_));
        let scheduled = matches!(&caller, Caller::Rule(label) if label == SYNCAT_RULE);
        let counts = counts && !scheduled;
        if counts && by_itself && self.stops() {
            // What ends while a module stops, or has stopped, is no error of it.
            let text = format!("{name} is not needed: the module stops");
            let answer = Err(Refusal::AlreadyThere(text));
            return self.cx.actions.push(Action::Answer { ticket, answer });
        }
        let acts = matches!(caller, Caller::Rule(_))
            || counts && by_itself
            || wish == Wish::Swap && by_itself;
        if acts && let Some(refusal) = self.cx.reports_only(name) {
            let text = format!("Action {name} not carried out: {refusal}");
            self.cx.log('E', "action-refused", text);
            return self.cx.actions.push(Action::Answer { ticket, answer: Err(refusal) });
        }
        let over = counts && by_itself && self.cx.count_error();
        self.cx.cause = match (&caller, &wish) {
            _ if over => Some(self.cx.memory.reason.clone()),
            (Caller::Rule(_), Wish::Wait { reason }) => Some(reason.clone()),
            (Caller::Rule(label), _) => Some(format!("{name} by failover rule {label}")),
            (Caller::Identity(who), _) => Some(format!("{name} by {who}")),
            (Caller::User(_) | Caller::Boot, _) => None,
        };
        let again = wish == Wish::StopStart && !over;
        let answer = self.wish(if over { Wish::Stop } else { wish });
        self.cx.cause = None;
        if matches!(caller, Caller::User(_)) && answer.is_ok() {
            self.cx.memory.loops.clear();
        }
        if again && by_itself && answer.is_ok() {
            self.cx.reboot_instead();
        }
        if let Err(refusal) = &answer {
            let text = format!("Action {name} not carried out: {refusal}");
            self.cx.log('W', "action-refused", text);
        }
        self.cx.actions.push(Action::Answer { ticket, answer });
    }

    /// It is stopped for good, or about to be.
    fn stops(&self) -> bool {
        match &self.cx.walk {
            Some(walk) => walk.ends_in_stop(),
            None => self.part.role() == Role::Stop,
        }
    }

    fn wish(&mut self, wish: Wish) -> Result<String, Refusal> {
        if let Wish::Failover(on) = wish {
            self.cx.memory.failover = Some(on);
            self.cx.remember(true);
            return Ok(format!("failover is {}", if on { "on" } else { "off" }));
        }
        if let Wish::Maintenance(asked) = wish {
            return self.cx.maintain(asked);
        }
        match &mut self.part {
            Part::Stop(stop) => stop.wish(&mut self.cx, &wish),
            Part::Wait(wait) => wait.wish(&mut self.cx, &wish),
            Part::Alone(alone) => alone.wish(&mut self.cx, &wish),
            Part::Prim(prim) => prim.wish(&mut self.cx, &wish),
            Part::Second(second) => second.wish(&mut self.cx, &wish),
        }
    }

    fn on_did(&mut self, token: u64, outcome: &Outcome) {
        hold::on_did(&mut self.cx, token, outcome);
        witness::on_did(&mut self.cx, token, outcome);
        if let Part::Wait(wait) = &mut self.part {
            wait.on_did(&mut self.cx, token, outcome);
        }
    }

    /// Decides on what is known until nothing more follows from it.
    fn settle(&mut self) {
        self.cx.watch_peer();
        for _ in 0..8 {
            let before = (self.part.role(), self.cx.walk.is_some(), self.cx.actions.len());
            if !self.cx.adopting {
                let asks = match &self.part {
                    Part::Prim(_) | Part::Second(_) => true,
                    Part::Wait(wait) => wait.unheard() || aged::may_need_it(&self.cx),
                    Part::Stop(_) | Part::Alone(_) => false,
                };
                witness::settle(&mut self.cx, self.part.role(), asks);
                hold::settle(&mut self.cx, self.part.role());
                match &mut self.part {
                    Part::Stop(stop) => stop.settle(&mut self.cx),
                    Part::Wait(wait) => wait.settle(&mut self.cx),
                    Part::Alone(alone) => alone.settle(&mut self.cx),
                    Part::Prim(prim) => prim.settle(&mut self.cx),
                    Part::Second(second) => second.settle(&mut self.cx),
                }
                self.run_walk();
            }
            if before == (self.part.role(), self.cx.walk.is_some(), self.cx.actions.len()) {
                break;
            }
        }
    }

    /// Derived from what holds now, never from a flag somebody forgot to clear (S8).
    fn readiness(&self) -> Readiness {
        let cx = &self.cx;
        let at_rest = |ready: bool| {
            if cx.walk.is_some() || !ready { Readiness::Transient } else { Readiness::Ready }
        };
        match &self.part {
            Part::Stop(_) => Readiness::NotReady,
            Part::Wait(wait) => wait.readiness(cx),
            Part::Alone(_) => at_rest(true),
            Part::Prim(_) => at_rest(!cx.policy.replicates || cx.facts.engine.mirrors()),
            Part::Second(second) => second.readiness(cx),
        }
    }

    fn publish(&mut self) {
        let state = self.state();
        if self.cx.memory.readiness != state.readiness {
            self.cx.memory.readiness = state.readiness;
        }
        self.cx.publish(state);
    }
}
