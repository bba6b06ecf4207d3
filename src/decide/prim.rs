//! PRIM: primary with an in-sync secondary. Every operation is on both nodes before it returns.
use super::alone::{disk_failed, give_way, overtaken};
use super::context::Context;
use super::facts::Engine;
use super::hold;
use super::table;
use super::walk::Kind;
use super::words::{Ending, Moment, Refusal, Wish};
use crate::model::{EngineMode, Role};

/// How long a primary that took its role while the other side was on its way to SECOND waits for
/// it before it calls itself ALONE, milliseconds.
const JOIN_MS: u64 = 10_000;

/// Reason of a primary that nothing is wrong with.
pub(super) const MIRRORS: &str = "secondary is up to date";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prim {
    /// The secondary is expected until then.
    joining: Option<Moment>,
    /// The peer could not be told that the role was given up.
    pub(super) unheard: bool,
}

impl Prim {
    pub(super) fn new(kind: Option<&Kind>, now: Moment) -> Prim {
        let expected = matches!(kind, Some(Kind::TakeOver { swap: true } | Kind::Lead));
        Prim { joining: expected.then(|| now.plus(JOIN_MS)), unheard: false }
    }

    /// A new daemon lets the link settle before it looks.
    pub(super) fn adopt(now: Moment) -> Prim {
        Prim { joining: Some(now.plus(JOIN_MS)), unheard: false }
    }

    pub(super) fn deadline(&self, cx: &Context) -> Option<Moment> {
        let without = if cx.policy.replicates { None } else { cx.silence_at() };
        self.joining.into_iter().chain(without).filter(|at| *at > cx.now).min()
    }

    pub(super) fn settle(&mut self, cx: &mut Context) {
        if let Engine::Dead { reason, .. } = &cx.facts.engine {
            let reason = reason.clone();
            return engine_died(cx, &reason);
        }
        if let Some(reason) = cx.facts.fault.take() {
            return disk_failed(cx, Role::Prim, reason);
        }
        if is_superseded(cx) {
            return superseded(cx);
        }
        if cx.facts.engine.mirrors() {
            self.joining = None;
        }
        if cx.idle() && self.secondary_gone(cx) {
            self.say_why_alone(cx);
            cx.begin(table::to_alone());
        }
    }

    /// Where operations were held, the reason was said when they were let go.
    fn say_why_alone(&self, cx: &mut Context) {
        if hold::says_alone(cx) {
            return;
        }
        let peer = &cx.policy.peer;
        let reason = hold::settled(cx).unwrap_or_else(|| format!("{peer} does not follow"));
        cx.because(format!("{}{reason}", hold::ALONE));
    }

    fn secondary_gone(&self, cx: &Context) -> bool {
        let waited = self.joining.is_none_or(|until| until <= cx.now);
        if !cx.policy.replicates {
            let role = cx.facts.peer.role();
            let silent = cx.peer_silent() && cx.may_outlive();
            let gone = silent || cx.facts.peer.left.is_some();
            return gone || (role != Some(Role::Second) && waited);
        }
        let alone = cx.facts.engine.mode() == Some(EngineMode::LeadingAlone);
        alone && (waited || cx.facts.peer.left.is_some() || cx.peer_silent())
    }

    pub(super) fn wish(&mut self, cx: &mut Context, wish: &Wish) -> Result<String, Refusal> {
        if let Some(answer) = cx.common_wish(Role::Prim, wish) {
            return answer;
        }
        let ready = cx.idle() && (!cx.policy.replicates || cx.facts.engine.mirrors());
        match wish {
            Wish::Restart if cx.idle() => {
                cx.begin(table::restart(Role::Prim));
                Ok("restart begins".to_owned())
            }
            Wish::RestartServices { services } if cx.idle() => {
                cx.begin(table::restart_services(Role::Prim, services.clone()));
                Ok("restart begins".to_owned())
            }
            Wish::Swap if ready && !cx.facts.peer.connected => {
                Err(Refusal::PeerSilent(cx.policy.peer.clone()))
            }
            Wish::Swap if ready => {
                hand_over(cx, "swap");
                Ok("swap begins".to_owned())
            }
            _ => Err(cx.wrong_state(Role::Prim, wish, "PRIM Ready")),
        }
    }

    /// The secondary asks for the role (`swap` typed there, or `defaultprim`).
    pub(super) fn asked_to_swap(&mut self, cx: &mut Context) -> Result<(), String> {
        if !cx.idle() || (cx.policy.replicates && !cx.facts.engine.mirrors()) {
            return Err("the primary is not at rest with an up-to-date secondary".to_owned());
        }
        hand_over(cx, "swap asked for by the secondary");
        Ok(())
    }
}

fn hand_over(cx: &mut Context, reason: &str) {
    cx.log('E', "swap-begin", "Begin of Swap");
    cx.because(reason);
    cx.begin(table::hand_over(true, cx.policy.module.clone(), reason));
}

/// With somebody who can take over, the role goes there at once; this node comes back as secondary.
fn engine_died(cx: &mut Context, reason: &str) {
    if overtaken(cx) {
        return;
    }
    cx.because(format!("the engine died: {reason}"));
    let ending = cx.after_error();
    if cx.walk.is_some() {
        return give_way(cx, ending);
    }
    let walk = table::resign(cx, Role::Prim, ending);
    cx.facts.engine = Engine::Off;
    cx.log('C', "stop-local-fault", "Action stop called by heart : local fault");
    cx.begin(walk);
}

/// The secondary was promoted while this node held its operations: nothing was acknowledged since.
pub(super) fn is_superseded(cx: &Context) -> bool {
    cx.facts.peer.leads() && !cx.peer_silent() && !cx.facts.engine.mirrors()
}

fn superseded(cx: &mut Context) {
    let ends = matches!(&cx.walk, Some(walk) if walk.overtaken.is_some() || matches!(
        walk.kind,
        Kind::Down { .. } | Kind::Resign { .. } | Kind::Force { .. } | Kind::SwapOut
    ));
    if ends {
        return;
    }
    let peer = &cx.policy.peer;
    cx.because(format!("{peer} took the primary role over"));
    cx.log('E', "splitbrain-exiting", "Split brain recovery: exiting alone");
    if cx.idle() {
        let walk = table::resign(cx, Role::Prim, Ending::StopStart);
        cx.begin(walk);
    } else {
        cx.overtake(Ending::StopStart, 0);
    }
}
