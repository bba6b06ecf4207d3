//! What is known of the own engine and of the peer. Facts are absorbed before anybody decides, and
//! latched until the role changes, so that a decision may look at them later than they happened.
use super::limits;
use super::words::{Gate, Moment};
use crate::model::{
    BootId, CopyState, EngineEvent, EngineMode, EngineSummary, ModuleReport, Plan, Readiness, Role,
    Side, State, Verdict,
};

/// The own engine, as it last told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// Not started, or ended as asked.
    #[default]
    Off,
    /// Asked for, has not said hello.
    Starting,
    Up(EngineSummary),
    /// Ended without having been asked, and nobody has dealt with that yet.
    Dead {
        reason: String,
        was: Option<EngineMode>,
    },
}

impl Engine {
    pub fn summary(&self) -> Option<&EngineSummary> {
        match self {
            Engine::Up(summary) => Some(summary),
            Engine::Off | Engine::Starting | Engine::Dead { .. } => None,
        }
    }

    pub fn mode(&self) -> Option<EngineMode> {
        self.summary().map(|summary| summary.mode)
    }

    pub fn side(&self) -> Option<&Side> {
        self.summary().map(|summary| &summary.side)
    }

    pub fn leads(&self) -> bool {
        use EngineMode::{Holding, LeadingAlone, LeadingMirror};
        matches!(self.mode(), Some(LeadingAlone | LeadingMirror | Holding))
    }

    pub fn mirrors(&self) -> bool {
        self.mode() == Some(EngineMode::LeadingMirror)
    }

    /// As secondary: everything acknowledged is in this copy, and nobody recorded otherwise.
    pub fn is_current(&self) -> bool {
        self.side().is_some_and(|side| side.copy == CopyState::Current)
    }

    fn set_mode(&mut self, mode: EngineMode) {
        if let Engine::Up(summary) = self {
            summary.mode = mode;
        }
    }
}

/// The peer gave its part up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub outdated: bool,
    pub reason: String,
}

/// The peer's daemon and its part of this module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    pub connected: bool,
    pub boot: Option<BootId>,
    pub heard: Option<Moment>,
    pub report: Option<ModuleReport>,
    /// The report was made on the present connection.
    pub fresh: bool,
    /// Since when there is a connection and no report of this module.
    pub connected_at: Option<Moment>,
    /// Said good-bye since it last reported another state.
    pub left: Option<Left>,
    /// Seen with another boot than the one this node worked with.
    pub reborn: bool,
}

/// How the peer looks to somebody who must decide now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View<'a> {
    /// Never heard, or connected a moment ago: its report may be on the way.
    Unheard,
    /// Silent, or it does not know the module.
    Absent,
    Report(&'a ModuleReport),
}

impl Peer {
    pub fn silent(&self, now: Moment, silence_ms: u64) -> bool {
        self.heard.is_none_or(|heard| now.since(heard) >= silence_ms)
    }

    pub fn role(&self) -> Option<Role> {
        self.report.as_ref().map(|report| report.state.role)
    }

    /// Primary, and its engine has not given the directories back (that is a hand-over).
    pub fn leads(&self) -> bool {
        let given_back = self
            .report
            .as_ref()
            .and_then(|report| report.engine.as_ref())
            .is_some_and(|engine| engine.mode == EngineMode::Idle);
        self.fresh && self.role().is_some_and(Role::is_primary) && !given_back
    }

    /// It said that it is primary no more, before its next report can say so.
    pub fn gave_up(&mut self, role: Role) {
        if let Some(report) = &mut self.report {
            report.state = State::new(role, Readiness::Transient);
        }
    }

    /// `since`: when the one who asks began to wait for an answer.
    pub fn view(&self, now: Moment, silence_ms: u64, since: Moment) -> View<'_> {
        let waited = now.since(since) >= limits::FIRST_REPORT_MS;
        match &self.report {
            Some(report) if self.fresh && !self.silent(now, silence_ms) => View::Report(report),
            Some(_) if self.silent(now, silence_ms) => View::Absent,
            Some(_) | None if waited => View::Absent,
            Some(_) | None => View::Unheard,
        }
    }

    /// Its copy, also as it was described last before its engine ended.
    pub fn side(&self) -> Option<&Side> {
        let report = self.report.as_ref()?;
        report.engine.as_ref().map(|engine| &engine.side).or(report.side.as_ref())
    }

    /// Returns the new and the old state when the peer's state changed.
    pub fn absorb_report(&mut self, report: ModuleReport) -> bool {
        let stale = self
            .report
            .as_ref()
            .is_some_and(|known| known.boot == report.boot && known.report > report.report);
        if stale {
            return false;
        }
        self.absorb_boot(report.boot);
        // What its boot took from it no longer matters: it was found fit to lead.
        self.reborn &= !report.state.role.is_primary();
        let changed = self.report.as_ref().is_none_or(|known| known.state != report.state);
        if report.state.role.is_primary() || report.state.role == Role::Second {
            let joined = self.role().is_none_or(|role| role != report.state.role);
            if joined {
                self.left = None;
            }
        }
        self.report = Some(report);
        self.fresh = true;
        changed
    }

    pub fn absorb_boot(&mut self, boot: BootId) {
        if self.boot.is_some_and(|known| known != boot) {
            self.reborn = true;
            self.left = None;
            // What it said before its death holds no more.
            self.report = None;
        }
        self.boot = Some(boot);
    }
}

/// Everything that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub engine: Engine,
    pub peer: Peer,
    /// The engine said that the return needs a person.
    pub undecided: Option<String>,
    /// The own disk failed: the role must be given up.
    pub fault: Option<String>,
    /// Why the data link is down, or the peer was lost.
    pub link_reason: String,
    /// Why handshakes of the data link are refused, on this side or the other.
    pub link_refused: Option<String>,
    /// Since when the data link of an in-sync pair is silent; `None` while it acknowledges.
    pub link_silent: Option<Moment>,
    /// The in-sync secondary said good-bye to the engine.
    pub secondary_left: bool,
    /// A wait rule keeps the module from running here.
    pub gate: Option<Gate>,
    /// So long ago this copy was in sync, and `syncdelta` accepts that.
    pub synced_minutes: Option<u64>,
}

impl Facts {
    /// A new role begins: what was latched for the old one is settled.
    pub fn forget_latched(&mut self) {
        self.undecided = None;
        self.secondary_left = false;
        self.peer.reborn = false;
    }

    pub fn absorb_engine(&mut self, event: &EngineEvent, now: Moment, link_detect_ms: u64) {
        self.absorb_mode(event);
        self.absorb_refusal(event);
        // In sync over the data link: an older word of a peer that stops or waits is stale.
        if matches!(event, EngineEvent::PeerReady { .. } | EngineEvent::Ready)
            && matches!(self.peer.role(), Some(Role::Stop | Role::Wait))
        {
            self.peer.report = None;
            self.peer.left = None;
        }
        match self.engine.mode() {
            Some(EngineMode::LeadingMirror | EngineMode::FollowingReady) => self.link_silent = None,
            Some(EngineMode::Holding | EngineMode::FollowingDetached) => {
                let since = Moment(now.0.saturating_sub(link_detect_ms));
                self.link_silent.get_or_insert(since);
            }
            Some(EngineMode::Idle | EngineMode::LeadingAlone | EngineMode::FollowingReturn)
            | None => {}
        }
    }

    /// A refusal lasts until both have spoken: a session alone may be one that is refused late.
    fn absorb_refusal(&mut self, event: &EngineEvent) {
        use EngineMode::{FollowingReady, FollowingReturn, LeadingMirror};
        let spoke = match event {
            EngineEvent::LinkRefused { reason } => {
                let up = self.engine.summary().is_some_and(|engine| engine.link_up);
                self.link_refused = (!up).then(|| reason.clone());
                return;
            }
            EngineEvent::Status(status) => {
                matches!(status.mode, LeadingMirror | FollowingReady | FollowingReturn)
            }
            EngineEvent::Hello { .. } | EngineEvent::Handshake { .. } => true,
            _ => false,
        };
        if spoke {
            self.link_refused = None;
        }
    }

    fn absorb_mode(&mut self, event: &EngineEvent) {
        match event {
            EngineEvent::Hello { mode, side, .. } => {
                let summary = EngineSummary { mode: *mode, link_up: false, side: side.clone() };
                self.engine = Engine::Up(summary);
            }
            EngineEvent::Status(status) => {
                self.engine = Engine::Up(EngineSummary {
                    mode: status.mode,
                    link_up: status.link_up,
                    side: status.side.clone(),
                });
            }
            EngineEvent::Leading => self.engine.set_mode(EngineMode::LeadingAlone),
            EngineEvent::Following => self.engine.set_mode(EngineMode::FollowingDetached),
            EngineEvent::Alone { .. } => {
                self.engine.set_mode(EngineMode::LeadingAlone);
                self.secondary_left = false;
                if let Engine::Up(summary) = &mut self.engine {
                    summary.side.sole = true;
                }
            }
            EngineEvent::Outdated => {
                if let Engine::Up(summary) = &mut self.engine {
                    summary.side.copy = CopyState::Outdated;
                }
            }
            EngineEvent::Released => self.engine.set_mode(EngineMode::Idle),
            EngineEvent::PeerReady { .. } => {
                self.engine.set_mode(EngineMode::LeadingMirror);
                self.secondary_left = false;
                self.peer.left = None;
                self.peer.reborn = false;
            }
            EngineEvent::PeerLost { left, reason, .. } => {
                self.engine.set_mode(EngineMode::Holding);
                self.secondary_left = *left;
                self.link_reason.clone_from(reason);
            }
            EngineEvent::Ready => {
                self.engine.set_mode(EngineMode::FollowingReady);
                if let Engine::Up(summary) = &mut self.engine {
                    summary.side.copy = CopyState::Current;
                    summary.link_up = true;
                }
            }
            EngineEvent::PrimaryLost { reason } => {
                self.engine.set_mode(EngineMode::FollowingDetached);
                if let Engine::Up(summary) = &mut self.engine {
                    summary.link_up = false;
                }
                self.link_reason.clone_from(reason);
            }
            EngineEvent::NeedsDecision { verdict, text } => {
                self.undecided = Some(sentence(verdict, text));
            }
            EngineEvent::Fault { reason } => self.fault = Some(reason.clone()),
            EngineEvent::PeerGone { reason, .. } => self.link_reason.clone_from(reason),
            EngineEvent::Flushed
            | EngineEvent::Fenced
            | EngineEvent::ChangesNamed { .. }
            | EngineEvent::Refused { .. }
            | EngineEvent::Handshake { .. }
            | EngineEvent::LinkRefused { .. }
            | EngineEvent::Return(_)
            | EngineEvent::Log { .. } => {}
        }
    }
}

fn sentence(verdict: &Verdict, text: &str) -> String {
    let kind = match &verdict.plan {
        Plan::Fork { .. } => "both sides wrote since their last common point",
        Plan::Unrelated => "the copies have nothing in common",
        Plan::Reverse => "this copy holds what the primary lacks",
        Plan::Nothing | Plan::Window { .. } | Plan::Zones { .. } | Plan::Digests => {
            "a person must decide"
        }
    };
    let rule = format!("rule {}", verdict.rule);
    if text.contains(&rule) {
        format!("{kind}: {text}")
    } else {
        format!("{kind} ({rule}): {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_of_a_fork_names_its_rule_once() {
        let rule = "both-wrote".into();
        let verdict = Verdict { plan: Plan::Fork { common: None }, rule };
        for text in ["n1 holds position 4, rule both-wrote; decide", "decide"] {
            let said = sentence(&verdict, text);
            assert_eq!(said.matches("rule both-wrote").count(), 1, "{said}");
        }
    }
}
