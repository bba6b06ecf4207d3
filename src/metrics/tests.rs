//! Goal: the text is OpenMetrics for the strictest reader, and says what the picture says.
mod listening;
mod strict;

use super::*;
use crate::api::ModuleView;
use crate::model::{ModuleName, NodeName, Progress, Readiness, Role, Seq, State};
use jiff::Timestamp;
use strict::Sample;

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// `web` on n1: PRIM Ready with an in-sync n2.
pub(crate) fn view() -> ModuleView {
    let mut view = ModuleView::sample("n1", "n2");
    (view.id, view.loops) = (1, 1);
    view.since = Some("1970-01-01T00:16:40.250Z".into());
    view.peers[0].heartbeats[0].lan = "a\"b\\".into();
    let status = view.replication.as_mut().and_then(|replication| replication.status.as_mut());
    let status = status.unwrap();
    (status.acknowledged, status.latency_p99_us, status.held) = (Seq(1199), 1_000_900, 2);
    view
}

pub(crate) fn picture(views: Vec<ModuleView>) -> Picture {
    let modules = views.into_iter().map(|view| ModulePicture { view, redundancy_lost: None });
    Picture {
        version: "0.1.0".into(),
        node: Some(node("n1")),
        certificate_expires: Some(at(2_000_000_000)),
        keeps_key: false,
        nodes: vec![(node("n2"), false)],
        modules: modules.collect(),
        receivers: vec![ReceiverPicture {
            name: "mail-1".into(),
            delivered: 3,
            failures: 2,
            dropped: 1,
            waiting: 4,
        }],
    }
}

fn value(samples: &[Sample], name: &str, label: Option<(&str, &str)>) -> Option<f64> {
    let with = |sample: &&Sample| {
        let label = label.map(|(name, value)| (name.to_owned(), value.to_owned()));
        sample.name == name && label.is_none_or(|label| sample.labels.contains(&label))
    };
    let found: Vec<&Sample> = samples.iter().filter(with).collect();
    assert!(found.len() < 2, "{name} {label:?} is not one sample: {found:?}");
    found.first().map(|sample| sample.value)
}

#[test]
fn a_picture_is_told_in_whole() {
    let samples = strict::read(&open_metrics(&picture(vec![view()]))).unwrap();
    for (name, label, expected) in [
        ("lockstep_up", None, 1.0),
        ("lockstep_build_info", Some(("node", "n1")), 1.0),
        ("lockstep_certificate_expiry_timestamp_seconds", None, 2e9),
        ("lockstep_node_reachable", Some(("peer", "n2")), 0.0),
        ("lockstep_module_state", Some(("state", "PRIM")), 1.0),
        ("lockstep_module_state", Some(("state", "ALONE")), 0.0),
        ("lockstep_module_readiness", Some(("readiness", "Ready")), 1.0),
        ("lockstep_module_state_timestamp_seconds", None, 1000.25),
        ("lockstep_module_redundancy_lost", None, 0.0),
        ("lockstep_module_up_to_date", None, 1.0),
        ("lockstep_module_in_sync", None, 1.0),
        ("lockstep_module_applied_position", None, 1200.0),
        ("lockstep_module_acknowledged_position", None, 1199.0),
        ("lockstep_module_durable_position", None, 1100.0),
        ("lockstep_module_operations_total", None, 40.0),
        ("lockstep_module_bytes_total", None, 163_840.0),
        ("lockstep_module_held_operations", None, 2.0),
        ("lockstep_module_operation_latency_seconds", Some(("quantile", "0.5")), 0.00018),
        ("lockstep_module_operation_latency_seconds", Some(("quantile", "0.99")), 1.0009),
        ("lockstep_module_return_active", None, 0.0),
        ("lockstep_module_loops", None, 1.0),
        ("lockstep_module_maintenance", None, 0.0),
        ("lockstep_module_link_up", None, 1.0),
        ("lockstep_notification_delivered_events_total", Some(("receiver", "mail-1")), 3.0),
        ("lockstep_notification_waiting_events", Some(("receiver", "mail-1")), 4.0),
        ("lockstep_module_heartbeat_up", Some(("lan", "a\"b\\")), 1.0),
    ] {
        assert_eq!(value(&samples, name, label), Some(expected), "{name} {label:?}");
    }
}

#[test]
fn what_is_not_known_is_absent_and_empty_families_are_too() {
    let mut quiet = view();
    quiet.replication = None;
    quiet.peers.clear();
    quiet.since = None;
    let text = open_metrics(&picture(vec![quiet]));
    let samples = strict::read(&text).unwrap();
    for name in ["in_sync", "operations_total", "heartbeat_up", "state_timestamp_seconds"] {
        assert_eq!(value(&samples, &format!("lockstep_module_{name}"), None), None, "{text}");
    }
    for text in [open_metrics(&Picture::default()), DOWN.to_owned()] {
        assert!(strict::read(&text).unwrap().iter().any(|sample| sample.name == "lockstep_up"));
    }
}

#[test]
fn a_return_tells_its_bytes_and_ends() {
    let mut returning = view();
    let progress =
        |finished| Progress { bytes_done: 5, bytes_todo: 7, finished, ..Progress::default() };
    for finished in [false, true] {
        let status = returning.replication.as_mut().and_then(|r| r.status.as_mut());
        status.unwrap().progress = Some(progress(finished));
        let samples = strict::read(&open_metrics(&picture(vec![returning.clone()]))).unwrap();
        let of = |name: &str| value(&samples, &format!("lockstep_module_return_{name}"), None);
        assert_eq!(of("active"), Some(f64::from(u8::from(!finished))));
        assert_eq!((of("done_bytes"), of("todo_bytes")), (Some(5.0), Some(7.0)));
    }
}

#[test]
fn redundancy_is_lost_where_the_application_runs_without_a_standby() {
    let state = |role, readiness| State::new(role, readiness);
    let base = view();
    assert!(!is_lost(&base));
    let with = |change: fn(&mut ModuleView)| {
        let mut view = base.clone();
        change(&mut view);
        view
    };
    let lost = [
        with(|view| view.peers[0].alive = false),
        with(|view| view.peers[0].state = None),
        with(|view| view.peers[0].state = Some(State::new(Role::Second, Readiness::Transient))),
        with(|view| view.replication.as_mut().unwrap().in_sync = false),
        with(|view| view.peers.clear()),
    ];
    for view in &lost {
        assert!(is_lost(view), "{:?} {:?}", view.peers, view.replication);
        for role in [Role::Stop, Role::Wait, Role::Second] {
            let elsewhere = ModuleView { state: state(role, Readiness::Ready), ..view.clone() };
            assert!(!is_lost(&elsewhere), "{role}");
        }
    }
    assert!(!is_lost(&with(|view| view.replication = None)), "nothing to be in sync");
}

#[test]
fn since_when_is_kept_and_armed_again() {
    let (whole, mut lonely) = (view(), view());
    lonely.peers[0].alive = false;
    let mut redundancy = Redundancy::default();
    let mut look = |view: &ModuleView, second| {
        redundancy.look(std::iter::once(view), at(second));
        redundancy.lost_since(&view.module)
    };
    assert_eq!(look(&whole, 1), None);
    assert_eq!(look(&lonely, 2), Some(at(2)));
    assert_eq!(look(&lonely, 3), Some(at(2)));
    assert_eq!(look(&whole, 4), None);
    assert_eq!(look(&lonely, 5), Some(at(5)));
}

/// The checker that people will use, where it is installed.
#[test]
fn promtool_finds_nothing_to_say() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut lonely = view();
    lonely.module = ModuleName::new("db").unwrap();
    let mut shown = picture(vec![view(), lonely]);
    shown.modules[1].redundancy_lost = Some(at(1000));
    let pipe = Stdio::piped;
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(pipe()).stderr(pipe()).stdout(pipe());
    let Ok(mut promtool) = promtool.spawn() else {
        // `bin-scripts/test` says so too.
        println!("SKIPPED: promtool is not installed (Debian package prometheus)");
        return;
    };
    // It reads the older format, where the family of a counter has the name of its samples.
    let mut text = open_metrics(&shown);
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for counter in lines.iter().filter_map(|line| line.strip_suffix(" counter")) {
        let name = counter.trim_start_matches("# TYPE ");
        text = text.replace(&format!(" {name} "), &format!(" {name}_total "));
    }
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}
