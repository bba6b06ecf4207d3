//! What the failover rules of a module make of its resources: the gate of a start, or a wish such
//! as a script has. Decides nothing: rules and automaton do.
use super::clock;
use super::module::Control;
use super::report::Told;
use crate::config::userconfig::{Checker, CheckerKind};
use crate::decide::{Caller, Event, Gate, Moment, Wish};
use crate::logbook::texts;
use crate::model::Role;
use crate::rules::{Action, Blocked, Table, Verdict};
use std::collections::BTreeMap;

/// Names and values of resources in one report.
const TOLD_BYTES_MAX: usize = 64 << 10;

impl Control {
    fn table(&self) -> Table {
        let values = self.resources.all().into_iter();
        let local: BTreeMap<_, _> =
            values.map(|resource| (resource.name, resource.value)).collect();
        let peer = &self.machine.facts().peer;
        // What it said before it fell silent, or in a former life, is no reason to do anything.
        let report = peer.report.as_ref().filter(|_| peer.connected && peer.fresh);
        let told = report.and_then(|report| report.resources.clone());
        let peer_told = told.is_some();
        let mut remote = told.unwrap_or_default();
        let state = local.get("state.remote").cloned();
        remote.extend(state.map(|state| ("state.local".to_owned(), state)));
        Table { local, remote, peer_told }
    }

    /// The resources that rules look at as the peer's: it has the same configuration, so its rules
    /// look at those of this node.
    pub(super) fn told(&self) -> Told {
        let looked_at = self.watching.set.of_peer();
        if looked_at.is_empty() {
            return None;
        }
        let mut all = self.resources.all();
        all.retain(|resource| looked_at.iter().any(|names| names.hold(&resource.name)));
        let mut bytes = 0;
        let told = all.into_iter().map(|resource| (resource.name, resource.value));
        let fits = |(name, value): &(String, String)| {
            bytes += name.len() + value.len();
            bytes <= TOLD_BYTES_MAX
        };
        Some(told.take_while(fits).collect())
    }

    /// At rest only: a report between the steps of a hand-over says what holds no more.
    pub(super) fn tell_peer(&mut self) {
        let told = self.told();
        if told.is_some()
            && !self.machine.busy()
            && self.reporter.told().is_some_and(|before| before != told)
        {
            self.publish_again();
        }
    }

    /// What the witness answered is a resource; the built-in rule on it holds this node in WAIT.
    pub(super) fn keep_witness(&mut self) {
        let config = &self.site.active.config;
        let kind = |checker: &&Checker| matches!(checker.kind, CheckerKind::SplitBrain { .. });
        let Some(ident) = config.checkers.iter().find(kind).map(|checker| checker.ident.clone())
        else {
            return;
        };
        match self.machine.witness() {
            Some(answers) => {
                let value = if answers { "up" } else { "down" };
                self.set_resource(&format!("splitbrain.{ident}"), value, "splitbraincheck");
                self.set_resource("splitbrain.uptodate", value, "splitbraincheck");
            }
            None => {
                self.resources.unset(&format!("splitbrain.{ident}"));
                self.resources.unset("splitbrain.uptodate");
            }
        }
    }

    /// Before a start, and in WAIT: what keeps the module from running here. Then whether what a
    /// rule put to sleep may go on.
    pub(super) async fn keep_gate(&mut self) {
        let role = self.machine.state().role;
        let asks = matches!(role, Role::Stop | Role::Wait) && self.settings.checker.unwrap_or(true);
        let blocked = if asks { self.watching.rules.waits(&self.table()) } else { None };
        let gate = blocked.map(|blocked| match blocked {
            Blocked::Failed { label } => Gate { reason: self.watching.waits(&label), failed: true },
            Blocked::Unknown { label, resource } => {
                let reason =
                    format!("failover rule {label} waits for the first word on {resource}");
                Gate { reason, failed: false }
            }
        });
        let at_rest = matches!(role, Role::Stop | Role::Wait);
        let gate = gate.or_else(|| self.syncat_gate().filter(|_| at_rest));
        let known = self.machine.facts().gate.clone();
        if known != gate {
            let was = known.is_some_and(|gate| gate.failed);
            if was && gate.is_none() && role == Role::Wait && !self.machine.sleeps() {
                self.hands.journal.write("control", texts::wakeup());
            }
            self.event(Event::Gate(gate.clone())).await;
        }
        let woken = asks && self.watching.set.implicit_wakeup || at_rest && self.is_scheduled();
        let wakes = woken && self.machine.acts_by_itself();
        if gate.is_none() && wakes && self.machine.sleeps() {
            let label = crate::rules::builtin::IMPLICIT_WAKEUP.to_owned();
            self.wish(Wish::Wakeup, Caller::Rule(label)).await;
        }
    }

    /// When a rule that is true now acts, if nothing changes before.
    pub(super) fn rules_due(&self) -> Option<Moment> {
        self.watching.rules.deadline().filter(|_| self.asks_rules())
    }

    fn asks_rules(&self) -> bool {
        let active = self.active();
        let runs = active.serves || active.follows;
        let acts = self.machine.acts_by_itself() && self.settings.checker.unwrap_or(true);
        runs && acts && !self.machine.busy()
    }

    pub(super) async fn ask_rules(&mut self) {
        if !self.asks_rules() {
            return;
        }
        let table = self.table();
        for verdict in self.watching.rules.evaluate(&table, clock::now()) {
            match verdict {
                Verdict::Assign { label, resource, value } => {
                    self.set_resource(&resource, value.as_str(), &format!("rule {label}"));
                }
                Verdict::Act { label, action } => {
                    let wish = match action {
                        Action::Stop => Wish::Stop,
                        Action::StopStart => Wish::StopStart,
                        Action::Restart => Wish::Restart,
                        Action::Swap => Wish::Swap,
                        Action::Wakeup => Wish::Wakeup,
                        Action::Wait => Wish::Wait { reason: self.watching.waits(&label) },
                    };
                    self.wish(wish, Caller::Rule(label)).await;
                    self.watching.rules.rearm(clock::now());
                }
            }
        }
        self.show();
    }

    /// `true`: carried out.
    pub(super) async fn wish(&mut self, wish: Wish, caller: Caller) -> bool {
        let (answer, mut answered) = tokio::sync::oneshot::channel();
        let ticket = self.ticket();
        self.wishes.insert(ticket, answer);
        self.event(Event::Wish { ticket, wish, caller }).await;
        matches!(answered.try_recv(), Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fixture;
    use super::*;
    use crate::model::{BootId, PeerMessage, Readiness, State};

    #[tokio::test]
    async fn a_report_carries_the_resources_of_the_state_that_it_tells() {
        let rule = "<failover><![CDATA[x: if (remote.usersetting.errd == off) then stop();]]>\
                    </failover>";
        let mut module = Fixture::new(rule).await;
        let control = &mut module.control;
        let told = |control: &Control| {
            let told = control.reporter.told().flatten().unwrap();
            told.get("usersetting.errd").cloned()
        };
        control.publish_again();
        assert_eq!(told(control).as_deref(), Some("on"));
        control.settings.errd = Some(false);
        control.publish_again();
        assert_eq!(told(control).as_deref(), Some("off"));
    }

    #[tokio::test]
    async fn the_last_words_of_a_peer_that_is_gone_are_no_reason_to_do_anything() {
        let mut module = Fixture::new("").await;
        let control = &mut module.control;
        let told = BTreeMap::from([("tcp.db".to_owned(), "down".to_owned())]);
        let state = State::new(Role::Second, Readiness::Ready);
        let (site, machine) = (&control.site, &control.machine);
        let mut report = super::super::report::report(site, machine, state, "x".into(), Some(told));
        (report.node, report.boot, report.report) = (site.peer.clone(), BootId(7), 1);
        control.event(Event::Connected).await;
        control.event(Event::Heard { boot: BootId(7) }).await;
        let message = PeerMessage::Report(Box::new(report));
        control.event(Event::Peer { ticket: 99, message }).await;
        control.hearts.heard("default", clock::now());
        let _ = control.hearts.changes(clock::now());
        assert_eq!(control.table().remote.get("tcp.db").map(String::as_str), Some("down"));
        control.event(Event::Disconnected).await;
        assert!(control.hearts.alive());
        assert!(!control.table().peer_told);
        assert_eq!(control.table().remote.get("tcp.db"), None);
        // Back, and it has not yet said how it is.
        control.event(Event::Connected).await;
        assert!(!control.table().peer_told);
    }
}
