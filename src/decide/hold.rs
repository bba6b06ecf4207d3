//! Rule A2: a primary whose in-sync secondary stopped answering holds every operation until it is
//! settled that the secondary cannot be promoted with an older copy. One of these settles it:
//! the secondary said good-bye; it was seen with another boot (its memory is gone, rule A1); it has
//! durably recorded *outdated* because it was asked to; or all heartbeats were silent for the time
//! limit and the policy `both-alone` grants it. If the link comes back first, nothing happened.
use super::context::Context;
use super::limits;
use super::walk::Kind;
use super::words::{Action, Job, Moment, Outcome};
use crate::model::{EngineCommand, EngineMode, PeerMessage, PeerReply, Role};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// Token of the request on its way to the peer.
    asked: Option<u64>,
    retry: Option<Moment>,
    granted: bool,
}

impl Hold {
    pub(super) fn deadline(&self, cx: &Context) -> Option<Moment> {
        if cx.facts.engine.mode() != Some(EngineMode::Holding) || self.granted || cx.resigned {
            return None;
        }
        self.retry.into_iter().chain(cx.silence_at()).filter(|at| *at > cx.now).min()
    }

    /// The engine declined to go alone.
    pub(super) fn declined(&mut self, now: Moment) {
        self.granted = false;
        self.retry = Some(now.plus(limits::RETRY_MS));
    }
}

/// How the reason of every primary begins that goes on without its secondary.
pub(super) const ALONE: &str = "alone: ";

pub(super) fn settle(cx: &mut Context, role: Role) {
    // Its daemon is faster than its silence: a secondary that left is not waited for.
    let gone = cx.facts.peer.left.as_ref().is_some_and(|left| left.outdated);
    let mode = cx.facts.engine.mode();
    let holding =
        mode == Some(EngineMode::Holding) || mode == Some(EngineMode::LeadingMirror) && gone;
    let resigns = cx.walk.as_ref().is_some_and(|walk| matches!(walk.kind, Kind::Resign { .. }));
    if !holding || !role.is_primary() || cx.resigned || resigns {
        // The link came back before the engine went alone.
        if role == Role::Prim && mode == Some(EngineMode::LeadingMirror) && says_alone(cx) {
            cx.because(super::prim::MIRRORS);
        }
        cx.hold = Hold::default();
        return;
    }
    if cx.hold.granted || cx.facts.peer.leads() {
        return;
    }
    if let Some(reason) = settled(cx) {
        return grant(cx, reason);
    }
    let due = cx.hold.retry.is_none_or(|retry| retry <= cx.now);
    if cx.hold.asked.is_none() && due && cx.facts.peer.connected {
        let message = PeerMessage::Outdate {
            module: cx.policy.module.clone(),
            generation: cx.facts.engine.side().map_or(0, |side| side.lineage.generation()),
            reason: format!("data link lost: {}", cx.facts.link_reason),
        };
        cx.hold.retry = None;
        cx.hold.asked = Some(cx.job(Job::Tell(message)));
    } else if cx.hold.asked.is_none() && due {
        cx.hold.retry = Some(cx.now.plus(limits::RETRY_MS));
    }
}

/// Why nobody can be promoted with an older copy any more.
pub(super) fn settled(cx: &Context) -> Option<String> {
    let peer = &cx.facts.peer;
    let name = &cx.policy.peer;
    if cx.facts.secondary_left {
        return Some(format!("{name} left: {}", cx.facts.link_reason));
    }
    if let Some(left) = &peer.left {
        return Some(format!("{name} left: {}", left.reason));
    }
    if peer.reborn {
        return Some(format!("{name} was started again with another boot"));
    }
    if matches!(peer.role(), Some(Role::Stop | Role::Wait)) {
        return Some(format!("{name} gave its role up"));
    }
    if cx.peer_dead() && cx.may_outlive() {
        let limit = cx.policy.silence_ms;
        let policy = if cx.policy.witness { "a witness answers" } else { "policy both-alone" };
        return Some(format!("no heartbeat of {name} for {limit} ms ({policy})"));
    }
    None
}

/// The reason of now is one for going on alone.
pub(super) fn says_alone(cx: &Context) -> bool {
    cx.memory.reason.starts_with(ALONE)
}

fn grant(cx: &mut Context, reason: String) {
    cx.hold.granted = true;
    cx.log('E', "hold-alone", format!("Goes on alone: {reason}"));
    cx.because(format!("{ALONE}{reason}"));
    cx.actions.push(Action::Order(EngineCommand::GoAlone { reason }));
}

pub(super) fn on_did(cx: &mut Context, token: u64, outcome: &Outcome) {
    if cx.hold.asked != Some(token) {
        return;
    }
    cx.hold.asked = None;
    if *outcome == Outcome::Reply(PeerReply::Done) {
        let name = cx.policy.peer.clone();
        grant(cx, format!("{name} has recorded that its copy is outdated"));
    } else {
        cx.hold.retry = Some(cx.now.plus(limits::RETRY_MS));
    }
}
