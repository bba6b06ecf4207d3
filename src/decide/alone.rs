//! ALONE: primary without a secondary; changes are remembered for the one that comes back.
use super::admit::{Heal, heal};
use super::context::Context;
use super::facts::Engine;
use super::hold::ALONE;
use super::prim;
use super::table;
use super::words::{Action, Ending, Refusal, Wish};
use crate::model::{EngineCommand, Role};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alone {
    /// The other side was seen primary as well, and this one stays: said once.
    stays: bool,
}

impl Alone {
    pub(super) fn settle(&mut self, cx: &mut Context) {
        if let Engine::Dead { reason, .. } = &cx.facts.engine {
            let reason = reason.clone();
            return engine_died(cx, &reason);
        }
        if let Some(reason) = cx.facts.fault.take() {
            return disk_failed(cx, Role::Alone, reason);
        }
        if !cx.idle() {
            return;
        }
        if cx.facts.peer.leads() && !cx.peer_silent() {
            return self.both_primary(cx);
        }
        self.stays = false;
        let joined = if cx.policy.replicates {
            cx.facts.engine.mirrors()
        } else {
            cx.facts.peer.role() == Some(Role::Second) && !cx.peer_silent()
        };
        if joined {
            cx.because(prim::MIRRORS);
            cx.begin(table::to_prim());
        }
    }

    /// Both were ALONE and see each other again.
    fn both_primary(&mut self, cx: &mut Context) {
        match heal(cx) {
            Heal::Unknown => {}
            Heal::Stay { reason } => {
                if !std::mem::replace(&mut self.stays, true) {
                    let text = format!("Split brain recovery: staying alone ({reason})");
                    cx.because(format!("{ALONE}{reason}"));
                    cx.log('E', "splitbrain-staying", text);
                }
            }
            Heal::Follow { reason } => {
                let text = format!("Split brain recovery: exiting alone ({reason})");
                cx.log('E', "splitbrain-exiting", text);
                cx.because(reason.clone());
                cx.begin(table::hand_over(false, cx.policy.module.clone(), &reason));
            }
            Heal::Block { text } => {
                cx.log(
                    'C',
                    "splitbrain-exiting",
                    format!("Split brain recovery: exiting alone. {text}"),
                );
                cx.because(text.clone());
                cx.fork = Some(text.clone());
                cx.actions.push(Action::Order(EngineCommand::NameChanges));
                cx.down(Role::Alone, Ending::Wait { reason: text, wakeup: false, rule: false });
            }
        }
    }

    pub(super) fn wish(&mut self, cx: &mut Context, wish: &Wish) -> Result<String, Refusal> {
        if let Some(answer) = cx.common_wish(Role::Alone, wish) {
            return answer;
        }
        let walk = match wish {
            Wish::Restart => table::restart(Role::Alone),
            Wish::RestartServices { services } => {
                table::restart_services(Role::Alone, services.clone())
            }
            _ => return Err(cx.wrong_state(Role::Alone, wish, "PRIM Ready with a secondary")),
        };
        if !cx.idle() {
            return Err(cx.wrong_state(Role::Alone, wish, "a module at rest"));
        }
        cx.begin(walk);
        Ok("restart begins".to_owned())
    }
}

/// Nobody else has the data: the engine is started again in place.
fn engine_died(cx: &mut Context, reason: &str) {
    if overtaken(cx) {
        return;
    }
    cx.because(format!("the engine died: {reason}"));
    let ending = cx.after_error();
    match &cx.walk {
        None if ending != Ending::Stop => {
            cx.facts.engine = Engine::Off;
            cx.begin(table::revive());
        }
        None => {
            let walk = table::resign(cx, Role::Alone, ending);
            cx.facts.engine = Engine::Off;
            cx.begin(walk);
        }
        Some(_) => give_way(cx, ending),
    }
}

/// The walk under way gives way already: the death has been counted.
pub(super) fn overtaken(cx: &Context) -> bool {
    cx.walk.as_ref().is_some_and(|walk| walk.overtaken.is_some())
}

/// The walk under way cannot go on without an engine.
pub(super) fn give_way(cx: &mut Context, ending: Ending) {
    let Some(walk) = &cx.walk else { return };
    match (&walk.kind, &walk.overtaken) {
        (_, Some(_)) => {}
        (super::Kind::Resign { .. } | super::Kind::Force { .. }, None) => {
            cx.facts.engine = Engine::Off;
        }
        (super::Kind::Down { .. }, None) if !walk.from.is_primary() => {
            cx.facts.engine = Engine::Off;
        }
        (super::Kind::Down { ending }, None) => {
            let ending = ending.clone();
            cx.overtake(ending, 0);
        }
        (_, None) => cx.overtake(ending, 0),
    }
}

/// A primary whose disk fails gives its role up and stays down until somebody looked.
pub(super) fn disk_failed(cx: &mut Context, role: Role, reason: String) {
    let text = format!(
        "the disk of this node failed or is full: {reason}; repair it or make room, then start"
    );
    cx.because(text.clone());
    let ending = Ending::Wait { reason: text, wakeup: false, rule: false };
    match &cx.walk {
        None => {
            let walk = if role.is_primary() {
                table::resign(cx, role, ending)
            } else {
                table::down(cx, role, ending)
            };
            cx.begin(walk);
        }
        Some(_) => cx.overtake(ending, 0),
    }
}
