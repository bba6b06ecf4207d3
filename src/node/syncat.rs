//! `rfs syncat`: the copy here is brought level at scheduled times and not in real time; resource
//! `rfs.syncat`, rule `rfs_syncat_wait`.
//!
//! ```text
//! rfs.syncat   this node, while the peer is primary
//! down         WAIT: it follows nobody
//! up           follows; SECOND Ready → down, and back to WAIT
//!   set by the schedule, in local time, or by `set -r rfs.syncat -v up`
//! ```
//! What is given up is said by `confcheck`, in the log of each start, and in the state of both nodes:
//! an operation that was acknowledged since the last
//! synchronisation is on the primary alone, and nobody takes over by itself. A time that passes
//! while the module is stopped is not made up for, as in a crontab.
use super::module::Control;
use crate::decide::{Caller, Gate, SYNCAT_RULE, Wish};
use crate::model::{Minute, Readiness, Role, Schedule};
use jiff::{Timestamp, Zoned, tz::TimeZone};

const RESOURCE: &str = "rfs.syncat";
/// Who sets it.
const BY: &str = "syncat";
/// Longer than this nobody looked: what was due meanwhile is past.
const MISSED_MINUTES_MAX: i64 = 60;

/// The schedule was due in one of the minutes behind `looked`, up to `now` (minutes since 1970).
fn due(schedule: &Schedule, looked: i64, now: i64, zone: &TimeZone) -> bool {
    let from = (looked + 1).max(now - MISSED_MINUTES_MAX);
    (from..=now).any(|minute| {
        let at = Timestamp::from_second(minute * 60).map(|at| at.to_zoned(zone.clone()));
        at.is_ok_and(|at| schedule.holds(fields(&at)))
    })
}

fn fields(at: &Zoned) -> Minute {
    let number = |value: i8| u8::try_from(value).unwrap_or_default();
    Minute {
        minute: number(at.minute()),
        hour: number(at.hour()),
        day: number(at.day()),
        month: number(at.month()),
        weekday: number(at.weekday().to_sunday_zero_offset()),
    }
}

impl Control {
    fn schedule(&self) -> Option<&Schedule> {
        self.site.active.config.rfs.as_ref().and_then(|rfs| rfs.sync_at.as_ref())
    }

    /// Opens and closes the times in which this node follows.
    pub(super) async fn keep_syncat(&mut self) {
        let Some(schedule) = self.schedule().cloned() else { return };
        let state = self.machine.state();
        if state.role == Role::Stop || state.role.is_primary() {
            self.resources.unset(RESOURCE);
            self.watching.syncat_looked = None;
            return;
        }
        // A daemon that finds a secondary finds a synchronisation under way.
        let first = if state.role == Role::Second { "up" } else { "down" };
        if self.resources.value(RESOURCE).is_none() {
            self.resources.set(RESOURCE, first, BY);
        }
        let now = Timestamp::now().as_second().div_euclid(60);
        let looked = self.watching.syncat_looked.replace(now).unwrap_or(now);
        if due(&schedule, looked, now, &TimeZone::system()) {
            self.set_resource(RESOURCE, "up", BY);
        }
        if state.role != Role::Second || self.machine.busy() {
            return;
        }
        if state.readiness == Readiness::Ready {
            self.set_resource(RESOURCE, "down", BY);
        }
        if self.resources.value(RESOURCE) == Some("down") {
            let reason = format!(
                "synchronised; {} goes on alone until the next time of syncat=\"{schedule}\"",
                self.site.peer
            );
            self.wish(Wish::Wait { reason }, Caller::Rule(SYNCAT_RULE.to_owned())).await;
        }
    }

    /// What keeps this node from following now.
    pub(super) fn syncat_gate(&self) -> Option<Gate> {
        let schedule = self.schedule()?;
        if self.resources.value(RESOURCE) == Some("up") || !self.machine.facts().peer.leads() {
            return None;
        }
        let (peer, module) = (&self.site.peer, &self.site.active.name);
        let reason = format!(
            "waits by failover rule {SYNCAT_RULE} for the next time of syncat=\"{schedule}\": what \
             is acknowledged until then is on {peer} alone, and this node does not take over; \
             `lockstep set -r {RESOURCE} -v up -m {module}` here synchronises now"
        );
        Some(Gate { reason, failed: true })
    }

    /// Why the module is in its state, and what its application has no promise of between two
    /// synchronisations.
    pub(super) fn shown_reason(&self) -> String {
        let reason = self.machine.reason();
        match self.schedule() {
            Some(schedule) if self.machine.state().role == Role::Alone => format!(
                "{reason}; replication is scheduled (syncat=\"{schedule}\"), not synchronous: what \
                 is acknowledged now is on this node alone until the next time"
            ),
            _ => reason.to_owned(),
        }
    }

    /// This node sleeps between two synchronisations, whatever other rules there are.
    pub(super) fn is_scheduled(&self) -> bool {
        self.schedule().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fixture;
    use super::*;
    use crate::decide::{Event, StartKind};
    use crate::model::{BootId, ModuleReport, NodeName, PeerMessage, State};

    #[test]
    fn a_minute_that_nobody_looked_at_is_made_up_for_and_an_hour_is_not() {
        let schedule = Schedule::parse("30 2 * * *").unwrap();
        let zone = TimeZone::UTC;
        let at = |hour: i64, minute: i64| hour * 60 + minute;
        assert!(due(&schedule, at(2, 29), at(2, 30), &zone));
        assert!(!due(&schedule, at(2, 30), at(2, 31), &zone), "once");
        assert!(due(&schedule, at(2, 20), at(2, 40), &zone));
        assert!(!due(&schedule, at(1, 0), at(9, 0), &zone));
        assert!(!due(&schedule, at(2, 31), at(2, 30), &zone), "the clock was set back");
        let east = TimeZone::fixed(jiff::tz::offset(1));
        assert!(due(&schedule, at(1, 29), at(1, 30), &east), "in local time");
    }

    async fn module() -> (Fixture, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let inside = format!("<rfs syncat='0 0 29 2 *'><replicated dir='{path}'/></rfs>");
        (Fixture::new(&inside).await, dir)
    }

    /// The peer says that it is ALONE.
    fn leads() -> Event {
        let report = ModuleReport {
            node: NodeName::new("n2").unwrap(),
            boot: BootId(9),
            module: crate::model::ModuleName::new("m").unwrap(),
            state: State::new(Role::Alone, Readiness::Ready),
            report: 1,
            engine: None,
            side: None,
            was_primary: true,
            took_over: false,
            aged: false,
            asks: false,
            config_digest: String::new(),
            reason: String::new(),
            resources: None,
            maintenance: None,
        };
        Event::Peer { ticket: 7, message: PeerMessage::Report(Box::new(report)) }
    }

    #[tokio::test]
    async fn between_two_times_nobody_is_followed_and_a_person_may_open_one() {
        let (mut module, _dir) = module().await;
        let control = &mut module.control;
        control.wish(Wish::Start(StartKind::Normal), Caller::Boot).await;
        control.watch_turn().await;
        assert_eq!(control.machine.facts().gate, None, "a primary needs no schedule");
        control.event(leads()).await;
        control.watch_turn().await;
        let gate = control.machine.facts().gate.clone().expect("it waits");
        assert!(gate.reason.contains("rfs_syncat_wait") && gate.failed, "{gate:?}");
        control.set_resource(RESOURCE, "up", "root");
        control.watch_turn().await;
        assert_eq!(control.machine.facts().gate, None);
        assert!(module.log().contains("not synchronous"), "{}", module.log());
    }
}
