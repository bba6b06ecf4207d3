//! SECOND: follows the primary. Takes over when the primary gave its role up, was seen with another
//! boot, or is silent on every heartbeat lan *and* on the data link, and only with a copy that
//! holds everything acknowledged and that nobody recorded as outdated (rules A1, A2).
use super::alone::{disk_failed, give_way, overtaken};
use super::context::{Context, Following};
use super::facts::Engine;
use super::limits;
use super::table;
use super::walk::Kind;
use super::words::{Action, DefaultPrim, Ending, Job, Moment, Refusal, StartKind, Wish};
use crate::history::is_ancestor;
use crate::model::{EngineCommand, EngineMode, PeerMessage, Readiness, Role};

/// How long two secondaries look at each other before both decide anew, milliseconds. Longer than
/// any hand-over takes that is not stuck in a script; one that is stuck declines the claim.
const NOBODY_MS: u64 = 10_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Second {
    /// Was primary before its last stop: gets the role back with `defaultprim="lastprim"`.
    reclaim: bool,
    /// Since when it is in sync, for `defaultprim`.
    ready_since: Option<Moment>,
    asked: bool,
    /// Since when the peer is SECOND as well.
    both_since: Option<Moment>,
    /// Recorded *outdated* and has to follow anew.
    outdated: bool,
    /// Was told to record *outdated* because the primary went on without it.
    lacks: bool,
}

/// Reason of a secondary that nothing is wrong with.
pub(super) const FOLLOWS: &str = "secondary";
const REMOTE_STOP: &str = "remote stop";
const NO_HEARTBEAT: &str = "no heartbeat";

/// The primary was ALONE and wrote while this node could not hear it (paused, cut off). Both words
/// are needed: each may be a moment old while the pair is in sync.
fn went_on(cx: &Context) -> bool {
    let (Some(own), Some(theirs)) = (cx.facts.engine.side(), cx.facts.peer.side()) else {
        return false;
    };
    theirs.sole
        && is_ancestor(&own.lineage, &theirs.lineage)
        && !is_ancestor(&theirs.lineage, &own.lineage)
}

/// What became of the primary.
enum Primary {
    Leads,
    /// Why it leads no more, and the log text of an administrator's guide.
    Gone {
        reason: String,
        action: &'static str,
    },
    /// Both sides follow: nobody was told who leads.
    Nobody,
}

impl Second {
    pub(super) fn new(reclaim: bool) -> Second {
        Second {
            reclaim,
            ready_since: None,
            asked: false,
            both_since: None,
            outdated: false,
            lacks: false,
        }
    }

    pub(super) fn deadline(&self, cx: &Context) -> Option<Moment> {
        let failback = match self.ready_since {
            Some(ready) if !self.asked && self.preferred(cx) => {
                Some(ready.plus(limits::FAILBACK_MS))
            }
            _ => None,
        };
        let settling = self.both_since.map(|since| since.plus(NOBODY_MS));
        let times = failback.into_iter().chain(cx.silence_at()).chain(settling);
        times.filter(|at| *at > cx.now).min()
    }

    pub(super) fn readiness(&self, cx: &Context) -> Readiness {
        if cx.walk.is_some() {
            return Readiness::Transient;
        }
        if !cx.policy.replicates {
            let followed = cx.facts.peer.leads() && !cx.peer_silent();
            return if followed { Readiness::Ready } else { Readiness::NotReady };
        }
        match cx.facts.engine.mode() {
            Some(EngineMode::FollowingReady) => Readiness::Ready,
            Some(EngineMode::FollowingDetached) if self.ready_since.is_some() => {
                Readiness::NotReady
            }
            _ => Readiness::Transient,
        }
    }

    pub(super) fn settle(&mut self, cx: &mut Context) {
        if let Engine::Dead { reason, .. } = &cx.facts.engine {
            let reason = reason.clone();
            return engine_died(cx, &reason);
        }
        if let Some(reason) = cx.facts.fault.take() {
            return disk_failed(cx, Role::Second, reason);
        }
        if cx.facts.engine.mode() == Some(EngineMode::FollowingReady) && !cx.memory.in_sync {
            cx.memory.in_sync = true;
            cx.remember(false);
        }
        if !cx.idle() {
            return;
        }
        if let Some(text) = cx.facts.undecided.take() {
            let text = undecided(cx, &text);
            cx.fork = Some(text.clone());
            cx.because(text.clone());
            return cx
                .down(Role::Second, Ending::Wait { reason: text, wakeup: false, rule: false });
        }
        self.record_what_it_lacks(cx);
        self.say_link(cx);
        let both = cx.facts.peer.role() == Some(Role::Second) && !self.linked(cx);
        self.both_since = both.then(|| self.both_since.unwrap_or(cx.now));
        match self.primary(cx) {
            Primary::Gone { reason, action } => self.primary_gone(cx, reason, action),
            Primary::Leads => self.follow(cx),
            Primary::Nobody => {
                cx.because(format!("{} is SECOND as well", cx.policy.peer));
                cx.down(Role::Second, Ending::StopStart);
            }
        }
    }

    /// This copy lacks what the other side acknowledged alone: durably, so that it does not lead
    /// when that side cannot be heard any more. Only of an engine without a session, which has told
    /// its own history since it follows.
    fn record_what_it_lacks(&mut self, cx: &mut Context) {
        let detached = cx.facts.engine.mode() == Some(EngineMode::FollowingDetached);
        if !self.lacks && detached && cx.facts.engine.is_current() && went_on(cx) {
            self.lacks = true;
            let reason = format!("{} went on without this copy", cx.policy.peer);
            cx.actions.push(Action::Order(EngineCommand::Outdate { reason }));
        }
    }

    /// Ready and NotReady come and go without a transition.
    fn say_link(&self, cx: &mut Context) {
        match self.readiness(cx) {
            Readiness::NotReady => {
                let peer = &cx.policy.peer;
                cx.because(match cx.facts.link_reason.as_str() {
                    _ if !cx.policy.replicates => format!("nothing is heard of {peer} as primary"),
                    "" => format!("the link to {peer} is down"),
                    reason => format!("the link to {peer} is down: {reason}"),
                });
            }
            Readiness::Ready => cx.because(FOLLOWS),
            Readiness::Transient => {}
        }
    }

    fn primary(&self, cx: &Context) -> Primary {
        let peer = &cx.facts.peer;
        let name = &cx.policy.peer;
        let gone = |reason: String, action| Primary::Gone { reason, action };
        if let Some(left) = &peer.left {
            return gone(format!("{name} left: {}", left.reason), REMOTE_STOP);
        }
        if peer.reborn {
            return gone(format!("{name} was seen with another boot"), NO_HEARTBEAT);
        }
        match peer.role() {
            Some(Role::Stop | Role::Wait) => {
                return gone(format!("{name} is primary no more"), REMOTE_STOP);
            }
            Some(Role::Second)
                if self.both_since.is_some_and(|since| cx.now.since(since) >= NOBODY_MS) =>
            {
                return Primary::Nobody;
            }
            Some(Role::Second | Role::Alone | Role::Prim) | None => {}
        }
        if cx.peer_dead() && cx.may_outlive() && !self.linked(cx) {
            let limit = cx.policy.silence_ms;
            return gone(format!("no heartbeat of {name} for {limit} ms"), NO_HEARTBEAT);
        }
        Primary::Leads
    }

    /// The data link acknowledges: lost heartbeats promote nobody.
    fn linked(&self, cx: &Context) -> bool {
        let up = cx.facts.engine.summary().is_some_and(|engine| engine.link_up);
        cx.policy.replicates && up
    }

    fn primary_gone(&mut self, cx: &mut Context, reason: String, action: &'static str) {
        if went_on(cx) {
            let name = &cx.policy.peer;
            let text = format!("{reason}; it had gone on without this copy: start {name}");
            cx.log('E', "not-uptodate", text.clone());
            cx.because(text);
            return cx.down(Role::Second, Ending::StopStart);
        }
        let synced = cx.memory.in_sync && cx.facts.engine.is_current();
        let current = !cx.policy.replicates || synced;
        if current && cx.failover() {
            let code = match action {
                REMOTE_STOP => "alone-remote-stop",
                _ => "alone-no-heartbeat",
            };
            cx.log('E', code, format!("Action alone called by heart: {action}"));
            cx.because(reason.clone());
            return cx.begin(table::take_over(false, &reason));
        }
        if current && let Some(window) = cx.maintained() {
            let (owner, module) = (window.owner().to_owned(), &cx.policy.module);
            let reason = format!(
                "{reason}; maintenance by {owner}: nothing takes over by itself (`lockstep prim -m \
                 {module}` does)"
            );
            cx.log('E', "maintenance-no-takeover", reason.clone());
            cx.because(reason);
            return cx.down(Role::Second, Ending::StopStart);
        }
        if current {
            cx.log('E', "failover-off", "Failover-off configured");
            cx.log('E', "stopstart-failover-off", "Action stopstart called by failover-off");
        }
        cx.because(reason);
        cx.down(Role::Second, Ending::StopStart);
    }

    /// The copy was recorded as outdated: the engine waits until it is told to follow again.
    pub(super) fn recorded_outdated(&mut self) {
        self.outdated = true;
        // In sync again only after the next return.
    }

    /// All is well: remember since when, and ask for the role if it belongs here.
    fn follow(&mut self, cx: &mut Context) {
        if std::mem::take(&mut self.outdated) {
            self.ready_since = None;
            cx.following = Following::default();
            let order = EngineCommand::Follow { discard: false, full: false };
            cx.actions.push(Action::Order(order));
        }
        if self.readiness(cx) != Readiness::Ready {
            return;
        }
        let ready = *self.ready_since.get_or_insert(cx.now);
        let due = cx.now.since(ready) >= limits::FAILBACK_MS;
        let primary = cx.facts.peer.role() == Some(Role::Prim);
        if due && primary && !self.asked && self.preferred(cx) && cx.maintained().is_none() {
            self.asked = true;
            cx.log('E', "swap-defaultprim", "Transition SWAP from defaultprim");
            let module = cx.policy.module.clone();
            cx.job(Job::Tell(PeerMessage::Swap { module }));
        }
    }

    fn preferred(&self, cx: &Context) -> bool {
        match &cx.policy.defaultprim {
            DefaultPrim::Alone => false,
            DefaultPrim::Node(node) => *node == cx.policy.own,
            DefaultPrim::LastPrim => self.reclaim,
        }
    }

    pub(super) fn wish(&mut self, cx: &mut Context, wish: &Wish) -> Result<String, Refusal> {
        let ready = self.readiness(cx) == Readiness::Ready;
        if let Wish::Start(StartKind::Second { discard, full }) = wish {
            self.follows_so(cx, *discard && !ready, *full)?;
        }
        if let Some(answer) = cx.common_wish(Role::Second, wish) {
            return answer;
        }
        match wish {
            // Its scripts know no services: those are of the application.
            Wish::Restart | Wish::RestartServices { .. } if cx.idle() => {
                cx.begin(table::restart(Role::Second));
                Ok("restart begins".to_owned())
            }
            Wish::Swap if ready && cx.facts.peer.connected => {
                cx.log('E', "swap-begin", "Begin of Swap");
                let module = cx.policy.module.clone();
                cx.job(Job::Tell(PeerMessage::Swap { module }));
                Ok(format!("{} is asked to hand over", cx.policy.peer))
            }
            Wish::Swap if ready => Err(Refusal::PeerSilent(cx.policy.peer.clone())),
            _ => Err(cx.wrong_state(Role::Second, wish, "SECOND Ready")),
        }
    }

    /// Whether it follows with these options; what was begun otherwise is not changed on the way.
    /// In sync there is nothing left to discard.
    fn follows_so(&self, cx: &Context, discard: bool, full: bool) -> Result<(), Refusal> {
        let module = cx.policy.module.clone();
        if discard && !cx.following.discard {
            return Err(Refusal::ReturnBegun { option: "--discard", module });
        }
        if full && !cx.following.full {
            return Err(Refusal::ReturnBegun { option: "fullsync", module });
        }
        Ok(())
    }

    /// The primary handed over: its application is stopped, its address gone, its copy ours.
    pub(super) fn take_over(&mut self, cx: &mut Context, reason: &str) -> Result<(), String> {
        if matches!(&cx.walk, Some(walk) if matches!(walk.kind, Kind::TakeOver { .. })) {
            return Ok(());
        }
        if !cx.idle() {
            return Err("the secondary is not at rest".to_owned());
        }
        if cx.policy.replicates && !(cx.memory.in_sync && cx.facts.engine.is_current()) {
            return Err("the copy of the secondary is not up to date".to_owned());
        }
        cx.log('E', "swap-begin", "Begin of Swap");
        cx.because(reason);
        cx.begin(table::take_over(true, reason));
        Ok(())
    }
}

/// The primary must not wait for a secondary without an engine; it is followed again.
fn engine_died(cx: &mut Context, reason: &str) {
    if overtaken(cx) {
        return;
    }
    cx.because(format!("the engine died: {reason}"));
    let ending = cx.after_error();
    let over = ending == Ending::Stop;
    if cx.walk.is_some() {
        return give_way(cx, ending);
    }
    cx.facts.engine = Engine::Off;
    if over {
        return cx.down(Role::Second, Ending::Stop);
    }
    cx.following = Following::default();
    let walk = table::refollow(cx);
    cx.begin(walk);
}

fn undecided(cx: &Context, text: &str) -> String {
    let (own, peer, module) = (&cx.policy.own, &cx.policy.peer, &cx.policy.module);
    format!(
        "{text}. To give up what only {own} has: `lockstep second \
         --discard -m {module}` here; to keep it: stop {module} on {peer}, then `lockstep prim -m \
         {module}` here and `lockstep second --discard -m {module}` on {peer}"
    )
}
