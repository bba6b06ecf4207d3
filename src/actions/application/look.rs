//! Whether an application runs: one look by its monitor, once or again and again.
use super::{Applications, One};
use crate::actions::script::{ScriptCall, ScriptEnd, ScriptResult};
use crate::model::{Role, RunBy};
use crate::ocf;
use std::path::PathBuf;
use std::time::Duration;

/// How it stands with an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Running,
    /// Cleanly down.
    Stopped,
    /// It does not run as it should, and is not known to be down.
    Doubtful,
    /// The look itself failed, for a reason that is not the application's.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub health: Health,
    /// One clause: by what it is known.
    pub why: String,
}

/// The monitor of one application, for a checker.
pub struct Monitor {
    applications: Applications,
    index: usize,
    role: Role,
    /// What the last look that was not content has printed: of those that follow one another only
    /// the newest is kept.
    kept: Option<PathBuf>,
}

impl Applications {
    /// The monitor of this resource; `None`: the module has no such application.
    pub fn monitor(&self, resource: &str, role: Role) -> Option<Monitor> {
        let index = self.all.iter().position(|one| one.application.resource() == resource)?;
        Some(Monitor { applications: self.clone(), index, role, kept: None })
    }

    /// A single look, of which nothing is kept if it could be taken. What an application needs may
    /// not be there: then it does not run.
    pub(super) async fn probe(&self, one: &One, limit: Duration) -> Look {
        if matches!(one.application.by, RunBy::Unit(_)) && !self.systemd.is_dir() {
            let why = "this node does not run systemd".to_owned();
            return Look { health: Health::Stopped, why };
        }
        let (look, log) = self.look(one, limit, Duration::ZERO, Role::Wait).await;
        let installed = !look.why.starts_with(NOT_INSTALLED);
        let health = if installed { look.health } else { Health::Stopped };
        if health != Health::Unknown {
            forget(log).await;
        }
        Look { health, ..look }
    }

    async fn look(
        &self,
        one: &One,
        limit: Duration,
        interval: Duration,
        role: Role,
    ) -> (Look, Option<PathBuf>) {
        let call = self.call(one, "monitor", limit, interval);
        let reason = format!("monitor of {}", one.application.resource());
        let call = ScriptCall { role, reason, limit: Some(limit), ..call };
        let result = self.runner.look(call).await;
        let log = match &result {
            ScriptResult::Ended { log, .. } => log.clone(),
            ScriptResult::Absent | ScriptResult::NotStarted { .. } => None,
        };
        (one.judge(&result, limit), log)
    }
}

/// How the sentence of an agent begins whose application is not on the node.
const NOT_INSTALLED: &str = "its monitor ended with code 5:";

impl One {
    fn judge(&self, result: &ScriptResult, limit: Duration) -> Look {
        let agent = matches!(self.application.by, RunBy::Agent(_));
        let (health, why) = match result {
            ScriptResult::Ended { end: ScriptEnd::Exit(code), .. } if agent => {
                let health = match *code {
                    code if ocf::is_running(code) => Health::Running,
                    ocf::NOT_RUNNING => Health::Stopped,
                    _ => Health::Doubtful,
                };
                let meaning = ocf::meaning("monitor", *code);
                (health, format!("its monitor ended with code {code}: {meaning}"))
            }
            ScriptResult::Ended { end: ScriptEnd::Exit(code), .. } => match code {
                0 => (Health::Running, "systemd calls it active".to_owned()),
                // Not active, and no such unit.
                3 | 4 => (Health::Stopped, self.not_active()),
                _ => (Health::Unknown, format!("systemctl is-active ended with code {code}")),
            },
            ScriptResult::Ended { end: ScriptEnd::TimedOut { .. }, .. } => {
                let health = if agent { Health::Doubtful } else { Health::Unknown };
                (health, format!("its monitor did not answer within {} s", limit.as_secs_f64()))
            }
            ScriptResult::Ended { end: ScriptEnd::Signal(_), .. } => {
                (Health::Doubtful, format!("its monitor {}", result.describe()))
            }
            ScriptResult::Ended { end: ScriptEnd::Interrupted { .. }, .. }
            | ScriptResult::Absent
            | ScriptResult::NotStarted { .. } => {
                (Health::Unknown, format!("its monitor {}", result.describe()))
            }
        };
        Look { health, why }
    }

    fn not_active(&self) -> String {
        match &self.application.by {
            RunBy::Unit(unit) => {
                format!("systemd does not call it active: see `systemctl status {unit}`")
            }
            RunBy::Agent(_) => String::new(),
        }
    }
}

impl Monitor {
    /// Pause between two looks.
    pub async fn interval(&self) -> Duration {
        match self.applications.all.get(self.index) {
            Some(one) => self.applications.limits(one).await.interval,
            None => Duration::MAX,
        }
    }

    /// Dropping the future kills the monitor.
    pub async fn look(&mut self) -> Look {
        let Some(one) = self.applications.all.get(self.index) else {
            return Look { health: Health::Unknown, why: String::new() };
        };
        let limits = self.applications.limits(one).await;
        let looking = self.applications.look(one, limits.monitor, limits.interval, self.role);
        let (look, log) = looking.await;
        let content = look.health == Health::Running;
        let old = std::mem::replace(&mut self.kept, if content { None } else { log.clone() });
        // What a monitor printed before it was content again stays to be read.
        forget(if content { log } else { old }).await;
        look
    }
}

/// A monitor looks for years: what it prints is kept where it has something to say.
async fn forget(log: Option<PathBuf>) {
    if let Some(log) = log {
        let _ = tokio::fs::remove_file(log).await;
    }
}
