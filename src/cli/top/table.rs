//! What is known of all modules on all nodes, as rows, as text and as JSON.
use super::meter::Rate;
use crate::api::ModuleView;
use crate::cli::lists;
use crate::cli::state::bytes;
use crate::model::{EngineMode, EngineStatus, NodeName, Progress, State};
use serde_json::{Value, json};

/// One module on one node.
#[derive(Clone, Debug)]
pub struct Row {
    pub module: String,
    pub node: NodeName,
    pub state: Option<State>,
    pub rate: Option<Rate>,
    /// `None`: the node does not answer, what is shown is what its peer knows.
    pub view: Option<ModuleView>,
    /// Operations that the other copy, or this one as secondary, has not got yet.
    pub lag: Option<u64>,
}

impl Row {
    fn status(&self) -> Option<&EngineStatus> {
        self.view.as_ref()?.engine_status()
    }

    fn progress(&self) -> Option<&Progress> {
        self.status()?.progress.as_ref().filter(|progress| !progress.finished)
    }

    fn note(&self) -> String {
        let Some(view) = &self.view else { return "no answer, last known by its peer".to_owned() };
        let mut notes: Vec<String> = Vec::new();
        notes.extend(self.progress().map(returning));
        if let Some(status) = self.status() {
            if status.held > 0 {
                notes.push(format!("{} operations held", status.held));
            }
            if status.side.dirty_objects > 0 {
                notes.push(format!("peer lacks {}", bytes(status.side.dirty_bytes)));
            }
        }
        notes.extend(view.maintenance.as_ref().map(|m| format!("maintenance until {}", m.until)));
        if view.needs_decision {
            notes.push("needs a decision".to_owned());
        }
        if notes.is_empty() && view.state.readiness == crate::model::Readiness::NotReady {
            notes.push(view.reason.clone());
        }
        notes.join(", ")
    }

    pub fn json(&self) -> Value {
        let status = self.status();
        let progress = self.progress();
        json!({
            "module": self.module,
            "node": self.node,
            "answers": self.view.is_some(),
            "role": self.state.map(|state| state.role.as_str()),
            "readiness": self.state.map(|state| state.readiness.as_str()),
            "in_sync": self.view.as_ref().and_then(|view| Some(view.replication.as_ref()?.in_sync)),
            "operations_per_second": self.rate.map(|rate| rate.operations),
            "bytes_per_second": self.rate.map(|rate| rate.bytes),
            "latency_p50_us": status.map(|status| status.latency_p50_us),
            "latency_p99_us": status.map(|status| status.latency_p99_us),
            "lag_operations": self.lag,
            "held_operations": status.map(|status| status.held),
            "peer_lacks_bytes": status.map(|status| status.side.dirty_bytes),
            "return_bytes_done": progress.map(|progress| progress.bytes_done),
            "return_bytes_todo": progress.map(|progress| progress.bytes_todo),
            "return_remaining_ms": progress.and_then(|progress| progress.remaining_ms),
        })
    }
}

/// `views`: all answers, each with its rate. `silent`: nodes that do not answer.
pub fn rows(views: &[(ModuleView, Option<Rate>)], silent: &[NodeName]) -> Vec<Row> {
    let mut rows: Vec<Row> = views
        .iter()
        .map(|(view, rate)| Row {
            module: view.module.to_string(),
            node: view.node.clone(),
            state: Some(view.state),
            rate: *rate,
            lag: lag(view, views),
            view: Some(view.clone()),
        })
        .collect();
    for (view, _) in views {
        for peer in view.peers.iter().filter(|peer| silent.contains(&peer.node)) {
            let (module, node) = (view.module.to_string(), peer.node.clone());
            rows.push(Row { module, node, state: peer.state, rate: None, view: None, lag: None });
        }
    }
    rows.sort_by(|a, b| (&a.module, &a.node).cmp(&(&b.module, &b.node)));
    rows
}

/// Of a primary what is on its way, of a secondary what it is behind the primary.
fn lag(view: &ModuleView, views: &[(ModuleView, Option<Rate>)]) -> Option<u64> {
    let status = view.engine_status()?;
    match status.mode {
        EngineMode::LeadingMirror | EngineMode::Holding => {
            Some(status.applied.0.saturating_sub(status.acknowledged.0))
        }
        EngineMode::FollowingReady => {
            let other = views.iter().map(|(other, _)| other);
            let mut leads = other.filter(|o| o.module == view.module && o.state.role.is_primary());
            let leader = leads.next()?.engine_status()?;
            Some(leader.applied.0.saturating_sub(status.applied.0))
        }
        _ => None,
    }
}

pub fn text(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no module is configured; see `lockstep module list`\n".to_owned();
    }
    let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let line = |row: &Row| {
        let leads = row.state.is_some_and(|state| state.role.is_primary());
        let latency = |pick: fn(&EngineStatus) -> u64| {
            let status = row.status().filter(|status| leads && status.latency_p99_us > 0);
            cell(status.map(|status| micros(pick(status))))
        };
        [
            row.module.clone(),
            row.node.to_string(),
            row.state.map_or_else(|| "UNKNOWN".to_owned(), |state| state.to_string()),
            cell(row.rate.map(|rate| format!("{:.0}", rate.operations))),
            cell(row.rate.map(|rate| bytes(rate.bytes as u64) + "/s")),
            latency(|status| status.latency_p50_us),
            latency(|status| status.latency_p99_us),
            cell(row.lag.map(|lag| lag.to_string())),
            row.note(),
        ]
    };
    let heads = ["MODULE", "NODE", "STATE", "OPS/S", "BYTES", "P50", "P99", "LAG", ""];
    lists::table(heads, rows.iter().map(line).collect())
}

fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us / 100 % 10),
        _ => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
    }
}

/// `return 37 %, 2.0 MiB/s, 12 s left`
fn returning(progress: &Progress) -> String {
    let all = progress.bytes_done.saturating_add(progress.bytes_todo).max(1);
    let done = u128::from(progress.bytes_done) * 100 / u128::from(all);
    let left = progress.remaining_ms.map(|ms| format!(", {} s left", ms.div_ceil(1_000)));
    let rate = bytes(progress.bytes_per_second);
    format!("return {done} %, {rate}/s{}", left.unwrap_or_default())
}
