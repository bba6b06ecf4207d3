//! How long an action may take, and how often a monitor looks: as the configuration says, else as
//! the agent's meta-data says, else a default.
use crate::model::{Application, RunBy};
use crate::ocf::{Action, MetaData};
use std::time::Duration;

/// Defaults. A start by systemd has a limit of systemd's own, which comes first.
const START: Duration = Duration::from_secs(120);
const UNIT_START: Duration = Duration::from_secs(300);
const MONITOR: Duration = Duration::from_secs(30);
const UNIT_MONITOR: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub start: Duration,
    pub stop: Duration,
    pub monitor: Duration,
    pub interval: Duration,
}

impl Limits {
    /// `nice`: of stop scripts (`nicestoptimeout`).
    pub fn of(application: &Application, metadata: Option<&MetaData>, nice: Duration) -> Limits {
        let (depth, start, monitor) = match &application.by {
            RunBy::Agent(agent) => (agent.depth, START, MONITOR),
            RunBy::Unit(_) => (None, UNIT_START, UNIT_MONITOR),
        };
        let hint = |name| metadata.and_then(|metadata| metadata.action(name, depth));
        let timeout = |action: Option<&Action>| action.and_then(|action| action.timeout);
        let look = hint("monitor");
        Limits {
            start: application.start_limit.or(timeout(hint("start"))).unwrap_or(start),
            stop: application.stop_limit.or(timeout(hint("stop"))).unwrap_or(nice),
            monitor: application.monitor_limit.or(timeout(look)).unwrap_or(monitor),
            interval: application
                .interval
                .or(look.and_then(|action| action.interval))
                .unwrap_or(INTERVAL),
        }
    }
}
