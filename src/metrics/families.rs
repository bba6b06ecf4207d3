//! From a picture to its text. Times are seconds, sizes are bytes, switches are 0 and 1.
//!
//! A family without samples is not written: what is not known is absent, never 0.
use super::picture::{ModulePicture, Picture, ReceiverPicture};
use super::text::{Kind, Text};
use crate::api::{HeartbeatView, PeerView};
use crate::model::{EngineStatus, Progress, Readiness, Role};
use jiff::Timestamp;
use std::fmt::Display;

const ROLES: [Role; 5] = [Role::Stop, Role::Wait, Role::Alone, Role::Prim, Role::Second];
const READINESS: [Readiness; 3] = [Readiness::NotReady, Readiness::Transient, Readiness::Ready];

/// All that can be said of a node whose daemon does not answer.
pub const DOWN: &str = "# TYPE lockstep_up gauge\n# HELP lockstep_up The node's daemon answers.\n\
                        lockstep_up 0\n# EOF\n";

pub fn open_metrics(picture: &Picture) -> String {
    let mut text = Text::default();
    node(&mut text, picture);
    if !picture.modules.is_empty() {
        states(&mut text, &picture.modules);
        copies(&mut text, &picture.modules);
        operations(&mut text, &picture.modules);
        returns(&mut text, &picture.modules);
        hearts(&mut text, &picture.modules);
    }
    if !picture.receivers.is_empty() {
        receivers(&mut text, &picture.receivers);
    }
    text.end()
}

fn node(text: &mut Text, picture: &Picture) {
    text.family("lockstep_up", Kind::Gauge, "", "The node's daemon answers.").flag(&[], true);
    let node = picture.node.as_ref().map_or("", |node| node.as_str());
    let labels = [("version", picture.version.as_str()), ("node", node)];
    text.family("lockstep_build_info", Kind::Gauge, "", "Which program answers, for which node.")
        .flag(&labels, true);
    if let Some(expires) = picture.certificate_expires {
        text.family(
            "lockstep_certificate_expiry_timestamp_seconds",
            Kind::Gauge,
            "seconds",
            "When the node's certificate ends, since 1970.",
        )
        .sample(&[], expires.as_second());
    }
    if !picture.nodes.is_empty() {
        let help = "The daemon of the other node is linked with this one.";
        let mut family = text.family("lockstep_node_reachable", Kind::Gauge, "", help);
        for (peer, reachable) in &picture.nodes {
            family.flag(&[("peer", peer.as_str())], *reachable);
        }
    }
}

fn states(text: &mut Text, modules: &[ModulePicture]) {
    let help = "The state that the module is in, one of STOP, WAIT, ALONE, PRIM, SECOND.";
    let mut family = text.family("lockstep_module_state", Kind::Gauge, "", help);
    for (module, role) in modules.iter().flat_map(|module| ROLES.map(|role| (module, role))) {
        let labels = [("module", name(module)), ("state", role.as_str())];
        family.flag(&labels, module.view.state.role == role);
    }
    let help = "How ready the module is in its state.";
    let mut family = text.family("lockstep_module_readiness", Kind::Gauge, "", help);
    for (module, is) in modules.iter().flat_map(|module| READINESS.map(|is| (module, is))) {
        let labels = [("module", name(module)), ("readiness", is.as_str())];
        family.flag(&labels, module.view.state.readiness == is);
    }
    gauge(text, modules, "state_timestamp_seconds", "Since when, since 1970.", |module| {
        seconds(module.view.since.as_deref()?.parse().ok()?)
    });
    gauge(text, modules, "needs_decision", "A person must say whose copy is right.", |module| {
        Some(u8::from(module.view.needs_decision))
    });
    gauge(text, modules, "epoch", "Changes of the right to write.", |module| {
        Some(module.view.epoch)
    });
    let help = "The module runs here and no other node could take over.";
    gauge(text, modules, "redundancy_lost", help, |module| {
        Some(u8::from(module.redundancy_lost.is_some()))
    });
    let help = "Since when no other node could take over, since 1970; absent while one could.";
    gauge(text, modules, "redundancy_lost_timestamp_seconds", help, |module| {
        seconds(module.redundancy_lost?)
    });
    gauge(
        text,
        modules,
        "maintenance",
        "A person works on it: nothing happens by itself.",
        |module| Some(u8::from(module.view.maintenance.is_some())),
    );
    gauge(text, modules, "loops", "Error-driven actions in the loop interval.", |module| {
        Some(module.view.loops)
    });
    gauge(text, modules, "loops_max", "How many of them are allowed (maxloop).", |module| {
        Some(module.view.loops_max)
    });
}

fn copies(text: &mut Text, modules: &[ModulePicture]) {
    gauge(text, modules, "up_to_date", "This copy may lead.", |module| {
        Some(u8::from(module.view.replication.as_ref()?.up_to_date))
    });
    let help = "This node and the other one hold the same acknowledged data.";
    gauge(text, modules, "in_sync", help, |module| {
        Some(u8::from(module.view.replication.as_ref()?.in_sync))
    });
    gauge(text, modules, "engine_up", "The data plane of the module runs.", |module| {
        Some(u8::from(module.view.replication.as_ref()?.engine_pid.is_some()))
    });
    gauge(text, modules, "link_up", "The data link to the other node is up.", |module| {
        Some(u8::from(status(module)?.link_up))
    });
    gauge(text, modules, "applied_position", "Last operation applied here.", |module| {
        Some(status(module)?.applied)
    });
    let help = "Last operation that the other node has acknowledged.";
    gauge(text, modules, "acknowledged_position", help, |module| {
        Some(status(module)?.acknowledged)
    });
    gauge(text, modules, "durable_position", "Last operation on both disks.", |module| {
        Some(status(module)?.durable)
    });
}

fn operations(text: &mut Text, modules: &[ModulePicture]) {
    let help = "Operations since the module's engine started.";
    each(text, modules, ("operations", Kind::Counter, ""), help, |module| {
        Some(status(module)?.operations)
    });
    let help = "Bytes of operations since the module's engine started.";
    each(text, modules, ("bytes", Kind::Counter, "bytes"), help, |module| {
        Some(status(module)?.bytes)
    });
    let help = "Operations that wait for a decision about the other node.";
    gauge(text, modules, "held_operations", help, |module| Some(status(module)?.held));
    if modules.iter().any(|module| status(module).is_some()) {
        let help = "From an application's call to its answer, changes of the last second.";
        let name_of = "lockstep_module_operation_latency_seconds";
        let mut family = text.family(name_of, Kind::Summary, "seconds", help);
        for (module, status) in modules.iter().filter_map(|m| Some((m, status(m)?))) {
            for (quantile, us) in [("0.5", status.latency_p50_us), ("0.99", status.latency_p99_us)]
            {
                let labels = [("module", name(module)), ("quantile", quantile)];
                family.sample(&labels, format_args!("{}.{:06}", us / 1_000_000, us % 1_000_000));
            }
        }
    }
}

fn returns(text: &mut Text, modules: &[ModulePicture]) {
    gauge(text, modules, "return_active", "A node is being brought level.", |module| {
        status(module)?;
        Some(u8::from(progress(module).is_some_and(|progress| !progress.finished)))
    });
    let help = "What the present or last return has brought level.";
    gauge(text, modules, "return_done_bytes", help, |module| Some(progress(module)?.bytes_done));
    let help = "What the present or last return has still to bring level.";
    gauge(text, modules, "return_todo_bytes", help, |module| Some(progress(module)?.bytes_todo));
}

fn hearts(text: &mut Text, modules: &[ModulePicture]) {
    let peers = || modules.iter().flat_map(|m| m.view.peers.iter().map(move |peer| (m, peer)));
    if peers().next().is_some() {
        let help = "Heartbeats of the other node arrive on at least one lan.";
        let mut family = text.family("lockstep_module_peer_alive", Kind::Gauge, "", help);
        for (module, peer) in peers() {
            let labels = [("module", name(module)), ("peer", peer.node.as_str())];
            family.flag(&labels, peer.alive);
        }
    }
    let of_peer = |(module, peer)| lans(module, peer);
    if peers().flat_map(of_peer).next().is_some() {
        let help = "Heartbeats of the other node arrive on this lan.";
        let mut family = text.family("lockstep_module_heartbeat_up", Kind::Gauge, "", help);
        for (module, peer, heartbeat) in peers().flat_map(of_peer) {
            let labels = [
                ("module", name(module)),
                ("peer", peer.node.as_str()),
                ("lan", heartbeat.lan.as_str()),
            ];
            family.flag(&labels, heartbeat.up);
        }
    }
}

fn receivers(text: &mut Text, receivers: &[ReceiverPicture]) {
    type Value = fn(&ReceiverPicture) -> u64;
    let families: [(&str, Kind, &str, Value); 4] = [
        ("delivered_events", Kind::Counter, "Events that the receiver has got.", |s| s.delivered),
        ("failures", Kind::Counter, "Attempts that failed.", |s| s.failures),
        ("dropped_events", Kind::Counter, "Events it will never get.", |s| s.dropped),
        ("waiting_events", Kind::Gauge, "Events that are still to be sent.", |s| s.waiting),
    ];
    for (what, kind, help, value) in families {
        let mut family = text.family(&format!("lockstep_notification_{what}"), kind, "", help);
        for receiver in receivers {
            family.sample(&[("receiver", &receiver.name)], value(receiver));
        }
    }
}

fn lans<'a>(
    module: &'a ModulePicture,
    peer: &'a PeerView,
) -> impl Iterator<Item = (&'a ModulePicture, &'a PeerView, &'a HeartbeatView)> {
    peer.heartbeats.iter().map(move |heartbeat| (module, peer, heartbeat))
}

/// A gauge of each module that has it.
fn gauge<V: Display>(
    text: &mut Text,
    modules: &[ModulePicture],
    what: &str,
    help: &str,
    value: impl Fn(&ModulePicture) -> Option<V>,
) {
    let unit = ["seconds", "bytes"].into_iter().find(|unit| what.ends_with(unit));
    each(text, modules, (what, Kind::Gauge, unit.unwrap_or_default()), help, value);
}

fn each<V: Display>(
    text: &mut Text,
    modules: &[ModulePicture],
    (what, kind, unit): (&str, Kind, &str),
    help: &str,
    value: impl Fn(&ModulePicture) -> Option<V>,
) {
    let known: Vec<(&str, V)> =
        modules.iter().filter_map(|module| Some((name(module), value(module)?))).collect();
    if known.is_empty() {
        return;
    }
    let mut family = text.family(&format!("lockstep_module_{what}"), kind, unit, help);
    for (module, value) in known {
        family.sample(&[("module", module)], value);
    }
}

fn name(module: &ModulePicture) -> &str {
    module.view.module.as_str()
}

fn status(module: &ModulePicture) -> Option<&EngineStatus> {
    module.view.engine_status()
}

fn progress(module: &ModulePicture) -> Option<&Progress> {
    status(module)?.progress.as_ref()
}

/// Seconds since 1970 with milliseconds.
fn seconds(time: Timestamp) -> Option<String> {
    let ms = time.as_millisecond();
    (ms >= 0).then(|| format!("{}.{:03}", ms / 1000, ms % 1000))
}
