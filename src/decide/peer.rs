//! What the peer's daemon says, and what it is answered. Every message gets exactly one reply; one
//! that promises something durable gets it when the promise is on disk.
use super::limits;
use super::words::Action;
use super::{Machine, Part};
use crate::model::{EngineCommand, EngineEvent, PeerMessage, PeerReply, Role};

impl Machine {
    pub(super) fn on_peer(&mut self, ticket: u64, message: PeerMessage) {
        self.cx.facts.peer.heard = Some(self.cx.now);
        let reply = match message {
            PeerMessage::Report(report) => {
                let state = report.state;
                if let Some(maintenance) = &report.maintenance {
                    self.cx.learn_maintenance(&report.node, maintenance);
                }
                if self.cx.facts.peer.absorb_report(*report) {
                    self.cx.log('E', "remote-state", format!("Remote state {state}"));
                }
                Some(PeerReply::Done)
            }
            PeerMessage::Leave { outdated, reason, .. } => {
                let text = format!("{} leaves: {reason}", self.cx.policy.peer);
                self.cx.log('E', "peer-left", text);
                self.cx.facts.peer.left = Some(super::Left { outdated, reason });
                self.cx.facts.peer.gave_up(Role::Wait);
                Some(PeerReply::Done)
            }
            PeerMessage::Outdate { reason, .. } => self.outdate(ticket, &reason),
            PeerMessage::TakeOver { reason, .. } => Some(self.take_over(&reason)),
            PeerMessage::Returning { .. } => Some(PeerReply::Done),
            PeerMessage::Swap { .. } => Some(match &mut self.part {
                Part::Prim(prim) => answer(prim.asked_to_swap(&mut self.cx)),
                Part::Stop(_) | Part::Wait(_) | Part::Alone(_) | Part::Second(_) => {
                    refused(format!("{} is not PRIM", self.cx.policy.own))
                }
            }),
        };
        if let Some(reply) = reply {
            self.cx.actions.push(Action::Reply { ticket, reply });
        }
    }

    fn take_over(&mut self, reason: &str) -> PeerReply {
        match &mut self.part {
            Part::Second(second) => {
                let taken = second.take_over(&mut self.cx, reason);
                if taken.is_ok() {
                    self.cx.facts.peer.gave_up(Role::Second);
                }
                answer(taken)
            }
            // Asked again because the first answer was lost.
            Part::Alone(_) | Part::Prim(_) => PeerReply::Done,
            Part::Stop(_) | Part::Wait(_) => {
                refused(format!("{} is {}", self.cx.policy.own, self.part.role()))
            }
        }
    }

    /// The peer goes on, or begins, without this copy. `None`: answered when it is on disk.
    fn outdate(&mut self, ticket: u64, reason: &str) -> Option<PeerReply> {
        let own = self.cx.policy.own.clone();
        let role = self.part.role();
        let leading = self.cx.walk.as_ref().is_some_and(|walk| walk.to.is_primary());
        if role.is_primary() || leading {
            return Some(refused(format!("{own} is primary, or about to be")));
        }
        match &mut self.part {
            Part::Wait(wait) => {
                if let Err(text) = wait.yields(&self.cx) {
                    return Some(refused(text));
                }
                wait.give_way(self.cx.now.plus(limits::YIELD_MS));
            }
            Part::Stop(_) => return Some(refused(format!("the module is stopped on {own}"))),
            Part::Second(_) | Part::Alone(_) | Part::Prim(_) => {}
        }
        if !self.cx.policy.replicates {
            return Some(PeerReply::Done);
        }
        let engine = &self.cx.facts.engine;
        if engine.summary().is_some() && !engine.is_current() {
            return Some(PeerReply::Done);
        }
        let text = format!("{}: {reason}", self.cx.policy.peer);
        // A primary that asks again is answered with the first one: one order is enough.
        let runs = engine.summary().is_some();
        self.cx.owed.push(ticket);
        if runs && self.cx.owed_until.is_none() {
            self.cx.owed_until = Some(self.cx.now.plus(limits::OUTDATE_MS));
            self.cx.actions.push(Action::Order(EngineCommand::Outdate { reason: text }));
        }
        None
    }

    /// The primary's application waits for an engine here that does not answer: it is replaced by
    /// one that does. What it acknowledged is in the page cache and outlives it.
    pub(super) fn kill_if_stuck(&mut self) {
        if self.cx.owed_until.is_some_and(|until| until <= self.cx.now) {
            let text = "the engine does not answer, and the primary waits for it: it is killed";
            self.cx.log('C', "engine-stuck", text);
            self.cx.owed_until = None;
            self.cx.actions.push(Action::KillEngine);
        }
    }

    /// Answers what was owed when the engine has recorded it, declined it, or came back.
    pub(super) fn pay(&mut self, event: &EngineEvent) {
        let asked = matches!(event, EngineEvent::Refused { command, .. } if command == "outdate");
        if asked || matches!(event, EngineEvent::Outdated | EngineEvent::Hello { .. }) {
            self.cx.owed_until = None;
        }
        if let (EngineEvent::Outdated, Part::Second(second)) = (event, &mut self.part) {
            second.recorded_outdated();
        }
        let reply = match event {
            EngineEvent::Outdated => PeerReply::Done,
            EngineEvent::Refused { command, reason } if command == "outdate" => {
                refused(reason.clone())
            }
            EngineEvent::Hello { .. } if !self.cx.owed.is_empty() => {
                if self.cx.facts.engine.is_current() {
                    let reason = format!("{} goes on without this copy", self.cx.policy.peer);
                    self.cx.owed_until = Some(self.cx.now.plus(limits::OUTDATE_MS));
                    self.cx.actions.push(Action::Order(EngineCommand::Outdate { reason }));
                    return;
                }
                PeerReply::Done
            }
            _ => return,
        };
        for ticket in std::mem::take(&mut self.cx.owed) {
            self.cx.actions.push(Action::Reply { ticket, reply: reply.clone() });
        }
    }
}

fn refused(reason: String) -> PeerReply {
    PeerReply::Refused { reason }
}

fn answer(result: Result<(), String>) -> PeerReply {
    match result {
        Ok(()) => PeerReply::Done,
        Err(reason) => PeerReply::Refused { reason },
    }
}
