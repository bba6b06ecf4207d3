//! `<splitbrain>`: of two nodes that do not hear each other the one that a witness answers goes on.
//!
//! ```text
//! all heartbeats and the data link silent for the limit -> the witness is asked, once a silence
//!   it answers    -> the peer is dead, or cut off: this node goes on, or takes over
//!   it does not   -> this node is cut off: WAIT, until heartbeats return or a person decides
//! ```
//! Without a witness both go on (policy `both-alone`). A witness that both reach while they do not
//! reach each other tells neither of them apart: then both go on as well.
use super::context::Context;
use super::table;
use super::walk::{Kind, Walk};
use super::words::{Ending, Job, Outcome};
use crate::model::Role;

/// Its answer for the present silence of the peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    asked: Option<u64>,
    pub(super) answer: Option<bool>,
}

impl Context {
    /// The peer is silent, and this node is not the one that is cut off.
    pub(super) fn may_outlive(&self) -> bool {
        !self.policy.witness || self.witness.answer == Some(true)
    }

    /// This node is the one that is cut off.
    pub(super) fn cut_off(&self) -> bool {
        self.policy.witness && self.peer_dead() && self.witness.answer == Some(false)
    }
}

/// Asks where the answer is needed (`asks`), and gives way where it is no. What was answered holds
/// in WAIT as well, until a person stops the module.
pub(super) fn settle(cx: &mut Context, role: Role, asks: bool) {
    let over = matches!(role, Role::Stop | Role::Alone);
    if !cx.policy.witness || over || !cx.peer_dead() {
        cx.witness = Witness::default();
        return;
    }
    if asks && cx.witness == Witness::default() {
        cx.witness.asked = Some(cx.job(Job::AskWitness));
    }
    if cx.cut_off() && matches!(role, Role::Prim | Role::Second) {
        give_way(cx, role);
    }
}

pub(super) fn on_did(cx: &mut Context, token: u64, outcome: &Outcome) {
    if cx.witness.asked == Some(token) {
        cx.witness.answer = Some(*outcome == Outcome::Done);
    }
}

fn give_way(cx: &mut Context, role: Role) {
    let ends = |walk: &Walk| {
        let down =
            matches!(walk.kind, Kind::Down { .. } | Kind::Resign { .. } | Kind::Force { .. });
        down || walk.overtaken.is_some()
    };
    if cx.walk.as_ref().is_some_and(ends) {
        return;
    }
    let reason = format!(
        "cut off: neither {} nor a witness answers; this node waits until heartbeats return, or for \
         `lockstep stop`, then `lockstep prim -m {}`",
        cx.policy.peer, cx.policy.module
    );
    cx.log('E', "splitbrain-cut-off", "Split brain recovery: exiting alone");
    cx.because(reason.clone());
    let ending = Ending::Wait { reason, wakeup: false, rule: true };
    match (&cx.walk, role) {
        (Some(_), _) => cx.overtake(ending, 0),
        // What is held is never answered: nothing graceful would end.
        (None, Role::Prim) => {
            let walk = table::resign(cx, role, ending);
            cx.begin(walk);
        }
        (None, _) => cx.down(role, ending),
    }
}
