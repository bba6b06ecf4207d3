use super::super::observer::GRACE;
use super::*;
use crate::api::ModuleView;
use crate::metrics::Picture;
use crate::metrics::tests::{picture, view};
use crate::model::{Readiness, Role, State};
use std::time::Duration;

/// An observer with a clock; each look is a second later.
struct World {
    observer: Observer,
    second: u64,
    disks: Vec<Disk>,
}

impl World {
    fn new() -> World {
        World { observer: Observer::default(), second: 0, disks: Vec::new() }
    }

    fn look(&mut self, picture: &Picture) -> Vec<Notification> {
        self.second += 1;
        let (now, time) = (Duration::from_secs(self.second), at(1_000_000_000));
        self.observer.look(&Look { now, time, picture, disks: &self.disks })
    }

    fn codes(&mut self, picture: &Picture) -> Vec<Code> {
        self.look(picture).into_iter().map(|event| event.code).collect()
    }

    /// Looks for longer than the grace.
    fn rest(&mut self, picture: &Picture) -> Vec<Code> {
        (0..=GRACE.as_secs()).flat_map(|_| self.codes(picture)).collect()
    }
}

fn shown(change: impl Fn(&mut ModuleView)) -> Picture {
    let mut view = view();
    change(&mut view);
    let mut picture = picture(vec![view]);
    picture.nodes[0].1 = true;
    picture
}

fn state(role: Role, readiness: Readiness) -> impl Fn(&mut ModuleView) {
    move |view| view.state = State::new(role, readiness)
}

fn lonely(view: &mut ModuleView) {
    view.state = State::new(Role::Alone, Readiness::Ready);
    view.peers[0].alive = false;
}

#[test]
fn only_states_at_rest_are_told_and_the_first_look_is_none() {
    let mut world = World::new();
    assert_eq!(world.rest(&shown(|_| {})), []);
    assert_eq!(world.codes(&shown(state(Role::Prim, Readiness::Transient))), []);
    assert_eq!(world.codes(&shown(|_| {})), [], "back where it was");
    let events = world.look(&shown(state(Role::Stop, Readiness::NotReady)));
    assert_eq!((events.len(), events[0].code), (1, Code::State));
    assert_eq!(events[0].severity, Severity::Warning);
    assert_eq!(events[0].text, "module web is STOP NotReady, was PRIM Ready");
}

#[test]
fn lost_redundancy_is_told_once_after_the_grace_and_armed_again() {
    let mut world = World::new();
    let (whole, alone) = (shown(|_| {}), shown(lonely));
    world.rest(&whole);
    assert_eq!(world.codes(&alone), [Code::State]);
    assert_eq!(world.rest(&alone), [Code::RedundancyLost]);
    assert_eq!(world.rest(&alone), []);
    assert_eq!(world.codes(&whole), [Code::State, Code::RedundancyRegained]);
    world.codes(&alone);
    assert_eq!(world.codes(&whole), [Code::State], "shorter than the grace");
    world.codes(&alone);
    assert_eq!(world.rest(&alone), [Code::RedundancyLost]);
    let elsewhere = shown(state(Role::Second, Readiness::Ready));
    assert_eq!(world.codes(&elsewhere), [Code::State], "nothing was regained here");
}

#[test]
fn what_asks_for_somebody_is_told_after_a_restart_too() {
    let mut world = World::new();
    assert_eq!(world.rest(&shown(lonely)), [Code::RedundancyLost]);
    let text = |events: Vec<Notification>| events.into_iter().map(|event| event.advice).next();
    let fork = shown(|view| {
        view.state = State::new(Role::Wait, Readiness::NotReady);
        view.needs_decision = true;
        view.reason = "run second --discard on one".into();
    });
    let mut fresh = World::new();
    assert_eq!(text(fresh.look(&fork)).as_deref(), Some("run second --discard on one"));
    assert_eq!(fresh.codes(&fork), []);
}

#[test]
fn a_stop_by_maxloop_is_told_when_it_happens() {
    let mut world = World::new();
    world.codes(&shown(|_| {}));
    let looped = shown(|view| {
        view.state = State::STOP;
        view.loops = view.loops_max + 1;
    });
    assert_eq!(world.codes(&looped), [Code::State, Code::Maxloop]);
    assert_eq!(world.codes(&looped), []);
    assert_eq!(World::new().codes(&looped), [], "it was told when it happened");
}

#[test]
fn a_node_is_unreachable_after_the_grace() {
    let mut world = World::new();
    let (there, mut gone) = (shown(|_| {}), shown(|_| {}));
    gone.nodes[0].1 = false;
    assert_eq!(world.codes(&gone), []);
    assert_eq!(world.codes(&there), [], "a link needs a moment after a start");
    assert_eq!(world.rest(&gone), [Code::NodeUnreachable]);
    assert_eq!(world.codes(&there), [Code::NodeReachable]);
}

#[test]
fn a_certificate_is_told_at_each_threshold() {
    let mut world = World::new();
    let with = |days: i64| {
        let mut picture = shown(|_| {});
        picture.certificate_expires = Some(at(1_000_000_000 + days * 86_400));
        picture
    };
    let codes: Vec<usize> =
        [31, 30, 29, 14, 13, 0, -1, 400, 7].map(|days| world.codes(&with(days)).len()).into();
    assert_eq!(codes, [0, 1, 0, 1, 0, 1, 0, 0, 1]);
    let mut first = with(1);
    first.keeps_key = true;
    let event = world.look(&first).pop().unwrap();
    assert!(event.advice.contains("copy ca.key"), "{}", event.advice);
    assert!(event.advice.contains("cluster join ADDRESS --token CODE"), "{}", event.advice);
}

#[test]
fn a_disk_is_told_below_a_tenth_and_armed_at_fifteen() {
    let mut world = World::new();
    let mut with = |available| {
        world.disks = vec![Disk { path: "/var/lib/lockstep".into(), bytes: 1000, available }];
        world.codes(&shown(|_| {})).len()
    };
    assert_eq!([500, 99, 50, 120, 99, 150, 99].map(&mut with), [0, 1, 0, 0, 0, 0, 1]);
}
