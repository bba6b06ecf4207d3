//! The published JSON of the command line; its description is `src/docs/json.md`.
//!
//! It is made here, field by field, so that a change inside the program cannot change what
//! people's scripts read; log entries alone have the form of their files, which are as public.
//! Commands that answer something of their own (`explain`, `snapshot`, `bench`, `module getports`)
//! make their `data` beside it. Fields may be added; one that changes meaning or goes raises
//! [`SCHEMA`].
use super::state::{config_equal, marks};
use crate::api::{
    ClusterView, ConfigView, Data, Finding, ModuleView, NodeView, PeerConfigView, PeerView,
    ProcessView, Refusal, ReplicationView, Reply, Response, SettingsView, VersionView,
};
use crate::model::{NodeName, Progress, ReplicatedDir};
use serde_json::{Value, json};

/// Version of the documents.
pub const SCHEMA: u32 = 1;

/// The one document of a command.
pub fn document(exit: u8, answers: Vec<Value>) -> Value {
    json!({ "schema": SCHEMA, "exit": exit, "answers": answers })
}

pub fn answer(reply: &Reply) -> Value {
    let node = reply.node.as_ref();
    match &reply.response {
        Response::Refused(reason) => refusal(node, reason),
        Response::Data { data } => one(node, true, Value::Null, Value::Null, self::data(data)),
        Response::Ok { text } => one(node, true, Value::Null, json!(text), Value::Null),
        Response::Progress { text } => one(node, true, Value::Null, json!(text), Value::Null),
    }
}

pub fn refusal(node: Option<&NodeName>, refusal: &Refusal) -> Value {
    one(node, false, json!(refusal.code), json!(refusal.text), Value::Null)
}

/// What a command found out about a node, or about this one without its daemon.
pub fn found(node: Option<&NodeName>, data: Value) -> Value {
    one(node, true, Value::Null, Value::Null, data)
}

fn one(node: Option<&NodeName>, ok: bool, code: Value, text: Value, data: Value) -> Value {
    json!({ "node": node, "ok": ok, "code": code, "text": text, "data": data })
}

pub fn data(data: &Data) -> Value {
    match data {
        Data::Module(view) => module(view),
        Data::Modules(views) => views.iter().map(module).collect(),
        Data::Installed(modules) => modules.iter().map(summary).collect(),
        Data::Cluster(view) => cluster(view),
        Data::Level(view) => {
            json!({ "version": view.version, "pid": view.pid, "kernel": view.kernel })
        }
        Data::Resources(resources) => resources.iter().map(resource).collect(),
        Data::Settings(view) => settings(view),
        Data::Processes(processes) => processes.iter().map(process).collect(),
        Data::Config(view) => config(view),
        Data::Versions(versions) => versions.iter().map(version).collect(),
        Data::Preflight(view) => json!({
            "findings": view.findings.iter().map(finding).collect::<Value>(),
        }),
        Data::Metrics(text) => json!({ "openmetrics": text }),
        // An entry's own form is the log's file format, which is as public as this.
        Data::Commands(entries) => json!(entries),
        Data::Log(entries) => json!(entries),
    }
}

/// The word by which a unit enum is written in JSON.
pub fn word<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

fn module(view: &ModuleView) -> Value {
    json!({
        "module": view.module,
        "id": view.id,
        "node": view.node,
        "role": view.state.role.as_str(),
        "readiness": view.state.readiness.as_str(),
        "since": view.since,
        "reason": view.reason,
        "epoch": view.epoch,
        "policy": view.policy,
        "marks": marks(view),
        "maintenance": view.maintenance.as_ref().map(|window| {
            json!({ "owner": window.owner, "reason": window.reason, "until": window.until })
        }),
        "peers": view.peers.iter().map(peer).collect::<Value>(),
        "config": {
            "digest": view.config_digest,
            "date": view.config_date,
            "equal": config_equal(view),
        },
        "addresses": view.addresses,
        "settings": settings(&view.settings),
        "loops": { "count": view.loops, "max": view.loops_max },
        "replication": view.replication.as_ref().map(replication),
        "resources": view.resources.iter().map(resource).collect::<Value>(),
    })
}

fn peer(view: &PeerView) -> Value {
    let heartbeat = |beat: &crate::api::HeartbeatView| json!({ "lan": beat.lan, "up": beat.up, "age_ms": beat.age_ms });
    json!({
        "node": view.node,
        "role": view.state.map(|state| state.role.as_str()),
        "readiness": view.state.map(|state| state.readiness.as_str()),
        "alive": view.alive,
        "config_digest": view.config_digest,
        "heartbeats": view.heartbeats.iter().map(heartbeat).collect::<Value>(),
    })
}

fn replication(view: &ReplicationView) -> Value {
    json!({
        "level": word(&view.level),
        "directories": view.dirs.iter().map(|dir| dir.path.to_string_lossy()).collect::<Vec<_>>(),
        "directory_rules": view.dirs.iter().map(directory_rules).collect::<Value>(),
        "up_to_date": view.up_to_date,
        "in_doubt": view.in_doubt,
        "in_sync": view.in_sync,
        "engine": engine(view),
    })
}

fn directory_rules(dir: &ReplicatedDir) -> Value {
    json!({
        "directory": dir.path.to_string_lossy(),
        "level": dir.level.as_ref().map(word),
        "not_replicated": dir.not_replicated.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// `null` while no engine runs.
fn engine(view: &ReplicationView) -> Value {
    let (Some(pid), Some(status)) = (view.engine_pid, &view.status) else { return Value::Null };
    json!({
        "pid": pid,
        "mode": word(&status.mode),
        "peer": status.peer,
        "link_up": status.link_up,
        "applied": status.applied.0,
        "acknowledged": status.acknowledged.0,
        "durable": status.durable.0,
        "operations": status.operations,
        "bytes": status.bytes,
        "latency_p50_us": status.latency_p50_us,
        "latency_p99_us": status.latency_p99_us,
        "held": status.held,
        "dirty_objects": status.side.dirty_objects,
        "dirty_bytes": status.side.dirty_bytes,
        "features": status.features,
        "return": status.progress.as_ref().map(progress),
    })
}

fn progress(progress: &Progress) -> Value {
    json!({
        "plan": progress.plan,
        "objects_done": progress.objects_done,
        "objects_todo": progress.objects_todo,
        "bytes_done": progress.bytes_done,
        "bytes_todo": progress.bytes_todo,
        "bytes_sent": progress.bytes_sent,
        "bytes_per_second": progress.bytes_per_second,
        "elapsed_ms": progress.elapsed_ms,
        "remaining_ms": progress.remaining_ms,
        "finished": progress.finished,
    })
}

fn settings(view: &SettingsView) -> Value {
    json!({
        "boot": view.boot,
        "failover": view.failover,
        "errd": view.errd,
        "checker": view.checker,
    })
}

fn resource(view: &crate::api::ResourceView) -> Value {
    json!({ "name": view.name, "value": view.value, "since": view.since, "by": view.by })
}

fn process(view: &ProcessView) -> Value {
    json!({
        "name": view.name,
        "service": view.service,
        "class": view.class,
        "action": view.action,
        "at_least": view.at_least,
        "at_most": view.at_most,
        "watched": view.watched,
        "value": view.value,
    })
}

fn summary(view: &crate::api::view::ModuleSummary) -> Value {
    json!({
        "module": view.module,
        "id": view.id,
        "mode": view.mode,
        "configured": view.configured,
    })
}

fn cluster(view: &ClusterView) -> Value {
    let node = |node: &NodeView| {
        let address = |(lan, address): &(String, String)| json!({ "lan": lan, "address": address });
        let problem = |(lan, reason): &(String, String)| json!({ "lan": lan, "reason": reason });
        json!({
            "node": node.node,
            "addresses": node.addresses.iter().map(address).collect::<Value>(),
            "reachable": node.reachable,
            "problems": node.problems.iter().map(problem).collect::<Value>(),
            "version": node.version,
            "config_digest": node.config_digest,
            "modules": node.modules.iter().map(summary).collect::<Value>(),
        })
    };
    json!({ "me": view.me, "nodes": view.nodes.iter().map(node).collect::<Value>() })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "grade": finding.grade.as_str(),
        "check": finding.check,
        "place": finding.place,
        "text": finding.text,
        "remedy": finding.remedy,
    })
}

fn config(view: &ConfigView) -> Value {
    json!({
        "name": view.name,
        "applied_digest": view.applied_digest,
        "applied_date": view.applied_date,
        "edited_digest": view.edited_digest,
        "peers": view.peers.iter().map(peer_config).collect::<Value>(),
        "equal": config_told_equal(view),
    })
}

fn peer_config(peer: &PeerConfigView) -> Value {
    json!({ "node": peer.node, "applied_digest": peer.applied_digest })
}

/// `null`: no other node has told its configuration.
fn config_told_equal(view: &ConfigView) -> Option<bool> {
    let mut told = view.peers.iter().filter_map(|peer| peer.applied_digest.as_ref()).peekable();
    told.peek()?;
    Some(told.all(|digest| view.applied_digest.as_ref() == Some(digest)))
}

fn version(view: &VersionView) -> Value {
    json!({
        "version": view.version,
        "digest": view.digest,
        "applied": view.applied,
        "edited": view.edited,
    })
}
