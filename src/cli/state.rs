//! What a node shows of itself, as text for people. The first line of `state -m` is the local
//! state in the form that scripts have been searching for since long:
//! `Local (n1) : PRIM Ready (uptodate)(Color : Green)`.
use super::lists::short;
use crate::api::view::LevelView;
use crate::api::{
    ClusterView, ConfigView, Data, ModuleView, PeerView, ReplicationView, SettingsView,
};
use crate::model::{EngineStatus, Progress, Readiness, State};
use std::fmt::Write;

/// Any answer as text; the last line may lack its end.
pub fn text(data: &Data, verbose: bool) -> String {
    match data {
        Data::Module(view) => module(view, verbose),
        Data::Modules(views) => table(views),
        Data::Installed(modules) => super::module::list(modules),
        Data::Cluster(view) => cluster(view),
        Data::Level(LevelView { version, pid, kernel }) => {
            format!("lockstep {version} (daemon {pid}, kernel {kernel})\n")
        }
        Data::Resources(resources) => super::lists::resource_lines(resources),
        Data::Settings(settings) => settings_line(settings),
        Data::Processes(processes) => super::lists::processes(processes),
        Data::Config(view) => config(view),
        Data::Versions(versions) => super::lists::versions(versions),
        Data::Commands(entries) => entries.iter().map(|entry| format!("{entry}\n")).collect(),
        Data::Preflight(_) => String::new(),
        Data::Metrics(text) => text.clone(),
        Data::Log(entries) => entries.iter().map(|entry| format!("{entry}\n")).collect(),
    }
}

fn module(view: &ModuleView, verbose: bool) -> String {
    let mut text = local_line(view);
    for peer in &view.peers {
        text.push_str(&remote_line(peer));
    }
    line(&mut text, "reason", &view.reason);
    if let Some(since) = &view.since {
        line(&mut text, "since", since);
    }
    if let Some(policy) = &view.policy {
        line(&mut text, "policy", &policy_text(policy));
    }
    if let Some(told) = super::maintenance::told(view) {
        line(&mut text, "maintenance", &format!("{told} (nothing happens by itself)"));
    }
    line(&mut text, "epoch", &view.epoch.to_string());
    for peer in view.peers.iter().filter(|peer| !peer.heartbeats.is_empty()) {
        line(&mut text, "heartbeats", &heartbeats(peer));
    }
    line(&mut text, "configuration", &configuration(view));
    if !view.addresses.is_empty() {
        line(&mut text, "addresses", &view.addresses.join(", "));
    }
    if let Some(replication) = &view.replication {
        replication_text(&mut text, replication);
    }
    if verbose {
        line(&mut text, "module id", &view.id.to_string());
        line(&mut text, "settings", settings_line(&view.settings).trim_end());
        line(&mut text, "automatic", &format!("{} of {} actions", view.loops, view.loops_max));
        history(&mut text, view);
        for resource in &view.resources {
            line(&mut text, &resource.name, &resource.value);
        }
    }
    text
}

/// `Local (n1) : PRIM Ready (uptodate)(Color : Green)`
pub fn local_line(view: &ModuleView) -> String {
    let mut facts = String::new();
    if let Some(replication) = &view.replication {
        facts.push_str(match (replication.up_to_date, replication.in_doubt) {
            (true, _) => "(uptodate)",
            (false, true) => "(in doubt)",
            (false, false) => "(not uptodate)",
        });
    }
    format!("Local ({}) : {} {facts}(Color : {})\n", view.node, view.state, color(view.state))
}

fn remote_line(peer: &PeerView) -> String {
    let Some(state) = peer.state else {
        return format!("Remote ({}) : UNKNOWN [Unknown]\n", peer.node);
    };
    let silent = if peer.alive { "" } else { " (last known; no heartbeat)" };
    format!("Remote ({}) : {state}{silent}\n", peer.node)
}

fn color(state: State) -> &'static str {
    match state.readiness {
        Readiness::Ready => "Green",
        Readiness::Transient => "Orange",
        Readiness::NotReady => "Red",
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<14}: {value}");
}

fn policy_text(policy: &str) -> String {
    match policy {
        "both-alone" => "both-alone: without a witness, nodes that do not see each other \
                         may both become primary"
            .to_owned(),
        "witness" => "witness: of two nodes that do not see each other the one that the witness \
                      answers goes on"
            .to_owned(),
        other => other.to_owned(),
    }
}

fn heartbeats(peer: &PeerView) -> String {
    let lans: Vec<String> = peer
        .heartbeats
        .iter()
        .map(|heartbeat| {
            let state = if heartbeat.up { "up" } else { "down" };
            let age = heartbeat.age_ms.map(|age| format!(" ({age} ms ago)")).unwrap_or_default();
            format!("{} {state}{age}", heartbeat.lan)
        })
        .collect();
    format!("{} {}", peer.node, lans.join(", "))
}

fn configuration(view: &ModuleView) -> String {
    let same = match config_equal(view) {
        Some(true) => "equal on all nodes".to_owned(),
        Some(false) => format!(
            "NOT EQUAL on all nodes ({}): run `lockstep -H '*' -E {}` on the node whose edited \
             copy is right",
            others_config(view),
            view.module
        ),
        None => "the peer's is not known".to_owned(),
    };
    let date = view.config_date.as_ref().map(|date| format!(", applied {date}"));
    format!("{}, {same}{}", short(&view.config_digest), date.unwrap_or_default())
}

fn others_config(view: &ModuleView) -> String {
    let told =
        view.peers.iter().filter_map(|peer| Some((&peer.node, peer.config_digest.as_ref()?)));
    told.map(|(node, digest)| format!("{node} {}", short(digest))).collect::<Vec<_>>().join(", ")
}

/// `None`: no peer has told its configuration.
pub fn config_equal(view: &ModuleView) -> Option<bool> {
    let mut told = view.peers.iter().filter_map(|peer| peer.config_digest.as_ref()).peekable();
    told.peek()?;
    Some(told.all(|digest| *digest == view.config_digest))
}

/// Marks that stay visible as long as they are true.
pub fn marks(view: &ModuleView) -> Vec<&str> {
    let mut marks = Vec::new();
    marks.extend(view.policy.as_deref().filter(|policy| *policy == "both-alone"));
    if view.needs_decision {
        marks.push("needs-decision");
    }
    if view.maintenance.is_some() {
        marks.push("maintenance");
    }
    if !view.settings.failover {
        marks.push("failover-off");
    }
    if config_equal(view) == Some(false) {
        marks.push("config-differs");
    }
    marks
}

fn replication_text(text: &mut String, replication: &ReplicationView) {
    let level = level_name(replication);
    let sync = if replication.in_sync { "in sync" } else { "not in sync" };
    let engine = match (replication.engine_pid, &replication.status) {
        (Some(pid), Some(status)) => format!("engine {pid} {}", mode_name(status)),
        (Some(pid), None) => format!("engine {pid}"),
        (None, _) => "engine not running".to_owned(),
    };
    line(text, "replication", &format!("level {level}, {sync}, {engine}"));
    for dir in &replication.dirs {
        let level =
            dir.level.map(|own| format!(", level {}", super::json::word(&own))).unwrap_or_default();
        line(text, "directory", &(dir.agreement() + &level));
    }
    let Some(status) = &replication.status else { return };
    let link = if status.link_up { "up" } else { "down" };
    let peer = status.peer.as_ref().map(|peer| format!(" to {peer}")).unwrap_or_default();
    line(text, "link", &format!("{link}{peer}"));
    let (applied, acknowledged, durable) = (status.applied, status.acknowledged, status.durable);
    let positions = format!("applied {applied}, acknowledged {acknowledged}, durable {durable}");
    line(text, "positions", &positions);
    let latency = match status.latency_p99_us {
        0 => "idle".to_owned(),
        p99 => format!("p50 {} us, p99 {p99} us", status.latency_p50_us),
    };
    let (count, size, held) = (status.operations, bytes(status.bytes), status.held);
    let operations = format!("{count} ({size}), {latency}, {held} held");
    line(text, "operations", &operations);
    if status.side.dirty_objects > 0 {
        let (objects, size) = (status.side.dirty_objects, bytes(status.side.dirty_bytes));
        line(text, "peer may lack", &format!("{objects} objects, {size}"));
    }
    if let Some(progress) = &status.progress {
        line(text, "return", &progress_text(progress));
    }
    line(text, "features", &status.features.join(", "));
}

fn history(text: &mut String, view: &ModuleView) {
    let Some(status) = view.engine_status() else { return };
    for epoch in status.side.lineage.epochs.iter().rev().take(5) {
        let (number, node, first) = (epoch.number, &epoch.node, epoch.first_seq);
        let told = format!("epoch {number}, from operation {first}, {node}: {}", epoch.reason);
        line(text, "history", &told);
    }
}

/// The word of a unit enum as it stands in JSON: `leading_mirror` shown as `leading mirror`.
fn mode_name(status: &EngineStatus) -> String {
    super::json::word(&status.mode).replace('_', " ")
}

fn level_name(replication: &ReplicationView) -> String {
    super::json::word(&replication.level)
}

/// How a return that is under way goes.
pub fn return_progress(view: &ModuleView) -> Option<String> {
    let progress = view.engine_status()?.progress.as_ref()?;
    Some(progress).filter(|progress| !progress.finished).map(progress_text)
}

fn progress_text(progress: &Progress) -> String {
    let state = if progress.finished { "finished, " } else { "" };
    let mut text = format!(
        "{state}plan {}, {} of {} objects, {} of {}, sent {}, {}/s",
        progress.plan,
        progress.objects_done,
        progress.objects_done + progress.objects_todo,
        bytes(progress.bytes_done),
        bytes(progress.bytes_done + progress.bytes_todo),
        bytes(progress.bytes_sent),
        bytes(progress.bytes_per_second)
    );
    if let Some(remaining) = progress.remaining_ms.filter(|_| !progress.finished) {
        let _ = write!(text, ", {} s left", remaining.div_ceil(1000));
    }
    text
}

/// `1.5 MiB`
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// One line per module, for `state` without a module.
fn table(views: &[ModuleView]) -> String {
    if views.is_empty() {
        return "no module is configured on this node; see `lockstep module list`\n".to_owned();
    }
    let mut text =
        format!("{:<20} {:>3} {:<16} {:<24} REASON\n", "MODULE", "ID", "LOCAL", "REMOTE");
    for view in views {
        let peers: Vec<String> = view
            .peers
            .iter()
            .map(|peer| {
                let state = peer.state.map_or_else(|| "UNKNOWN".to_owned(), |s| s.to_string());
                format!("{} {state}", peer.node)
            })
            .collect();
        let (module, id, state) = (view.module.as_str(), view.id, view.state.to_string());
        let peers = peers.join(", ");
        let told = super::maintenance::told(view);
        let maintained = told.map(|told| format!("[maintenance {told}] ")).unwrap_or_default();
        let reason = maintained + &view.reason;
        let _ = writeln!(text, "{module:<20} {id:>3} {state:<16} {peers:<24} {reason}");
    }
    text
}

fn cluster(view: &ClusterView) -> String {
    let mut text = String::new();
    let mine = view.nodes.iter().find(|node| node.node == view.me);
    let mine = mine.and_then(|node| node.config_digest.as_ref());
    for node in &view.nodes {
        let here = if node.node == view.me { " (this node)" } else { "" };
        let reach = if node.reachable { "reachable" } else { "NOT REACHABLE" };
        let version = node.version.as_deref().unwrap_or("unknown");
        let _ = writeln!(text, "Node {}{here} : {reach}, version {version}", node.node);
        for (lan, address) in &node.addresses {
            let _ = writeln!(text, "  lan {lan:<12} {address}");
        }
        for (lan, problem) in &node.problems {
            let _ = writeln!(text, "  no link on lan {lan}: {problem}");
        }
        match &node.config_digest {
            Some(digest) if mine.is_some_and(|mine| mine != digest) => {
                let digest = short(digest);
                let _ =
                    writeln!(text, "  cluster.xml {digest} NOT EQUAL: run `lockstep -H '*' -G`");
            }
            Some(digest) => {
                let _ = writeln!(text, "  cluster.xml {}", short(digest));
            }
            None => {}
        }
        for module in &node.modules {
            let applied = if module.configured { "" } else { ", not configured" };
            let (name, id, mode) = (&module.module, module.id, &module.mode);
            let _ = writeln!(text, "  module {name:<12} id {id}, {mode}{applied}");
        }
    }
    text
}

fn settings_line(settings: &SettingsView) -> String {
    let word = |on| if on { "on" } else { "off" };
    format!(
        "boot {}, failover {}, errd {}, checker {}\n",
        word(settings.boot),
        word(settings.failover),
        word(settings.errd),
        word(settings.checker)
    )
}

fn config(view: &ConfigView) -> String {
    let mut text = String::new();
    let applied = view.applied_digest.as_deref().map_or("none", short);
    let date = view.applied_date.as_deref().unwrap_or("never");
    let _ = writeln!(text, "{} : applied {applied} ({date})", view.name);
    if let Some(edited) = &view.edited_digest {
        let same = if view.applied_digest.as_ref() == Some(edited) {
            "the same as applied"
        } else {
            "not applied: run config"
        };
        let _ = writeln!(text, "  edited {} ({same})", short(edited));
    }
    for peer in &view.peers {
        let told = match (&peer.applied_digest, &view.applied_digest) {
            (None, _) => "has not told its configuration yet".to_owned(),
            (Some(theirs), own) if own.as_ref() == Some(theirs) => {
                format!("applied {} (EQUAL)", short(theirs))
            }
            (Some(theirs), _) => format!(
                "applied {} (NOT EQUAL: run `lockstep -H '*' -E {}` on the node whose edited copy \
                 is right)",
                short(theirs),
                view.name
            ),
        };
        let _ = writeln!(text, "  {} {told}", peer.node);
    }
    text
}
