//! Checkers: edges that look at the world for one module and say what they see. They decide
//! nothing; the hub starts them when their class becomes active, and ends them by dropping
//! [`Running`].
//!
//! ```text
//! look -> failed? look once more after a pause -> told only if it differs from what was told last
//! ```
//! A failure of our own (no descriptors, no answer from the kernel) is no reading: the resource
//! keeps the value it has. `splitbrain` is none of them: a witness is asked once, at a decision.
mod application;
pub mod connections;
mod custom;
mod echo;
pub mod errd;
mod module;
mod mounted;
mod network;
mod ping;
mod processes;
mod service;
mod steady;
mod tcp;
#[cfg(test)]
mod tests;
mod witness;

pub use witness::ask_witness;

use crate::actions::application::Applications;
use crate::actions::script::ScriptRunner;
use crate::config::userconfig::{Checker, CheckerKind};
use crate::model::{Role, State};
use std::sync::Arc;
use steady::{Pace, Report, watch};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What a checker has seen: the first time, and whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `tcp.web`
    pub resource: String,
    pub up: bool,
    /// One sentence for the log; empty if up.
    pub why: String,
    /// The component that the log names: `tcpcheck`, `pingcheck` …
    pub by: &'static str,
}

/// State of another module of this node; `None` if there is no such module.
pub type Neighbour = Arc<dyn Fn(&str) -> Option<State> + Send + Sync>;

/// What a checker may need of the node that it runs on.
#[derive(Clone)]
pub struct Around {
    /// Starts custom programs as it starts scripts.
    pub runner: ScriptRunner,
    /// LOCKSTEP_ROLE of a custom program that is started now.
    pub role: Role,
    pub neighbour: Neighbour,
    pub applications: Applications,
}

/// A checker at work. Dropping it ends the checker, and a custom program with its process group.
#[derive(Debug, Default)]
#[must_use = "dropping it ends the checker"]
pub struct Running {
    /// A set aborts its tasks when it is dropped.
    _tasks: JoinSet<()>,
}

/// Why a checker cannot be run as it is configured; one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

/// Starts a checker; it ends by itself when nobody receives its readings any more.
pub fn start(
    checker: &Checker,
    around: &Around,
    to: mpsc::Sender<Reading>,
) -> Result<Running, Refused> {
    let report = |class, by| Report::new(format!("{class}.{}", checker.ident), by, to.clone());
    let mut tasks = JoinSet::new();
    match checker.kind.clone() {
        CheckerKind::Tcp { addr, port, interval, timeout } => {
            let probe = tcp::Tcp { host: addr, port, timeout };
            tasks.spawn(watch(probe, Pace::remote(interval), report("tcp", "tcpcheck")));
        }
        CheckerKind::Ping { addr, interval, timeout } => {
            let probe = ping::Ping { host: addr, timeout };
            tasks.spawn(watch(probe, Pace::remote(interval), report("ping", "pingcheck")));
        }
        CheckerKind::Interface { interface, local_addr } => {
            let probe = network::Link::new(interface, local_addr);
            tasks.spawn(watch(probe, Pace::local(network::POLL), report("intf", "intfcheck")));
        }
        CheckerKind::Address { addr, interval } => {
            let probe = network::Address::new(addr);
            tasks.spawn(watch(probe, Pace::local(interval), report("ip", "ipcheck")));
        }
        CheckerKind::Module { name, addr: Some(host), port, interval, timeout, secure } => {
            let authorities = secure.then_some(module::of_system as module::Authorities);
            let probe = module::Remote { name, host, port, timeout, authorities };
            tasks.spawn(watch(probe, Pace::remote(interval), report("module", "modulecheck")));
        }
        CheckerKind::Module { name, addr: None, interval, .. } => {
            let probe = module::Local { name, neighbour: around.neighbour.clone() };
            let pace = Pace::local(interval.min(module::LOCAL_POLL));
            tasks.spawn(watch(probe, pace, report("module", "modulecheck")));
        }
        CheckerKind::Mounted { dirs, interval, limit } => {
            let probe = mounted::Mounted::new(dirs, limit);
            tasks.spawn(watch(probe, Pace::local(interval), report("rfs", "rfscheck")));
        }
        CheckerKind::Custom { exec, arg } => {
            let resource = format!("custom.{}", checker.ident);
            let call = custom::call(around, &exec, &resource, &arg);
            tasks.spawn(custom::keep_running(around.runner.clone(), exec, call));
        }
        CheckerKind::Application { resource } => {
            let Some(monitor) = around.applications.monitor(&resource, around.role) else {
                return Err(Refused(format!("{resource} is no application of the module")));
            };
            let by = if resource.starts_with("ocf.") { "ocfcheck" } else { "unitcheck" };
            let report = Report::new(resource.clone(), by, to);
            let watched = application::Watched { monitor, resource };
            tasks.spawn(application::keep_watching(watched, report));
        }
        CheckerKind::SplitBrain { .. } => {
            return Err(Refused(format!(
                "splitbrain.{} is asked when all heartbeats are lost; it is no checker that runs",
                checker.ident
            )));
        }
    }
    Ok(Running { _tasks: tasks })
}
