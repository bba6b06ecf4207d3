//! STOP: nothing of the module runs, its directories are plain.
use super::admit::lost_to;
use super::context::Context;
use super::facts::Engine;
use super::memory::Memory;
use super::walk::Kind;
use super::words::{Action, Ending, Refusal, StartKind, Wish, Word};
use crate::model::{CopyState, Role};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    next: Next,
}

/// What follows by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Nothing,
    /// `stopstart`.
    Start,
    /// The same after an error, with `automatic_reboot`.
    Reboot,
}

impl Stop {
    /// A daemon that died before it did what follows has to do it.
    pub(super) fn adopt(memory: &Memory) -> Stop {
        if memory.rebooting {
            return Stop { next: Next::Reboot };
        }
        Stop::ended(memory.walk.as_ref().map(|walk| &walk.kind))
    }

    /// STOP was reached by this walk.
    pub(super) fn ended(kind: Option<&Kind>) -> Stop {
        let next = match kind {
            Some(Kind::Force { ending: Ending::StopStart }) => Next::Start,
            Some(Kind::Force { ending: Ending::Reboot }) => Next::Reboot,
            _ => Next::Nothing,
        };
        Stop { next }
    }

    pub(super) fn settle(&mut self, cx: &mut Context) {
        if !cx.idle() {
            return;
        }
        cx.facts.engine = Engine::Off;
        match std::mem::take(&mut self.next) {
            Next::Nothing => {}
            Next::Start => {
                cx.log('E', "action-automatic", "Action start called automatically");
                cx.start(StartKind::Normal, Word::StopStart);
            }
            Next::Reboot => {
                cx.log('C', "action-reboot", "Action reboot called by automatic_reboot");
                if !std::mem::replace(&mut cx.memory.rebooting, true) {
                    cx.because(format!("the server reboots: {}", cx.memory.reason));
                }
                cx.remember(true);
                cx.actions.push(Action::Reboot);
            }
        }
    }

    pub(super) fn wish(&mut self, cx: &mut Context, wish: &Wish) -> Result<String, Refusal> {
        if !cx.idle() {
            // STOP → WAIT is one event long, WAIT → STOP ends with it.
            return Err(cx.wrong_state(Role::Stop, wish, "a module at rest"));
        }
        match wish {
            Wish::Start(start) => {
                possible(cx, *start)?;
                self.next = Next::Nothing;
                cx.start(*start, Word::Start);
                Ok(format!("{} begins", wish.name()))
            }
            Wish::StopStart => {
                cx.start(StartKind::Normal, Word::StopStart);
                Ok("start begins".to_owned())
            }
            Wish::Stop | Wish::ForceStop | Wish::Shutdown => {
                self.next = Next::Nothing;
                if *wish != Wish::Shutdown && cx.memory.running {
                    cx.memory.running = false;
                    cx.remember(true);
                }
                Err(Refusal::AlreadyThere("the module is stopped already".to_owned()))
            }
            Wish::Restart
            | Wish::RestartServices { .. }
            | Wish::Swap
            | Wish::Wait { .. }
            | Wish::Wakeup
            | Wish::Failover(_)
            | Wish::Maintenance(_) => Err(cx.wrong_state(Role::Stop, wish, "a started module")),
        }
    }
}

/// Refuses at once what is known to be refused later.
pub(super) fn possible(cx: &Context, start: StartKind) -> Result<(), Refusal> {
    let peer = &cx.policy.peer;
    let known = !cx.peer_silent();
    match start {
        StartKind::Prim { .. } if known && cx.facts.peer.leads() => {
            Err(Refusal::PeerPrimary(peer.clone()))
        }
        // What the last engine said of the copy; only another engine could know better.
        StartKind::Prim { force: false }
            if cx.copy().is_some_and(|side| side.copy == CopyState::Incomplete) =>
        {
            Err(Refusal::Incomplete(peer.clone()))
        }
        StartKind::Second { discard: false, .. } if let Some(text) = &cx.fork => {
            Err(Refusal::WouldLose(text.clone()))
        }
        StartKind::Second { discard: false, .. }
            if known
                && cx.facts.peer.leads()
                && let Some(text) = lost_to(cx) =>
        {
            Err(Refusal::WouldLose(text))
        }
        StartKind::Second { .. } if known && cx.facts.peer.role() == Some(Role::Stop) => {
            Err(Refusal::PeerNotPrimary(peer.clone()))
        }
        StartKind::Normal | StartKind::Prim { .. } | StartKind::Second { .. } => Ok(()),
    }
}
