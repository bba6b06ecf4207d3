//! Where the applications that a module names (`<ocf>`, `<unit>`) meet its scripts. The automaton
//! knows scripts only, and asks for them as ever:
//!
//! ```text
//! start_prim   the applications in order, then the script
//! stop_prim    the script, then the applications in reverse order; with force: both by force
//! prestart     the script, then whatever of them still runs is stopped
//! ```
//! A daemon may die in the middle of it. Agents and units may be told twice, scripts may not: how
//! far a start had come stands in a mark, which ends with the boot.
use super::jobs::Hands;
use super::journal::Journal;
use super::site::Site;
use crate::actions::application::{Applications, Stop, Tell, Word};
use crate::actions::script::ScriptRunner;
use crate::decide::{Outcome, SERVICES, Script};
use crate::logbook::texts;
use crate::model::Role;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

const REASON: &str = "transition";

/// How far a start_prim has come.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// Of the script.
    args: Vec<String>,
    /// The applications run, the script was called.
    called: bool,
}

/// The applications of a module, whose calls stand in its log as those of scripts do.
pub(super) fn of(site: &Site, runner: &ScriptRunner, journal: &Journal) -> Applications {
    let config = &site.active.config;
    let journal = journal.clone();
    let tell: Tell = Arc::new(move |word| {
        let file = |log: Option<PathBuf>| {
            let name = log.and_then(|log| Some(log.file_name()?.to_string_lossy().into_owned()));
            name.unwrap_or_else(|| "daemon.log".to_owned())
        };
        let text = match word {
            Word::Called { resource, action, log } => {
                let log = log.map_or_else(String::new, |log| file(Some(log)));
                texts::script_called(&resource, Some(action), &log)
            }
            Word::Failed { resource, action, how, log } => {
                texts::script_failed(&format!("{resource} {action}"), &how, &file(log))
            }
        };
        journal.write("user", text);
    });
    let (nice, force) = config
        .user
        .as_ref()
        .map_or_else(Default::default, |user| (user.nice_stop, user.force_stop));
    let named = config.applications.iter().map(|named| named.application.clone());
    let applications = Applications::new(runner.clone(), named, nice, force, tell);
    if !applications.is_empty() {
        let learning = applications.clone();
        tokio::spawn(async move { learning.learn().await });
    }
    applications
}

impl Hands {
    /// A script of the automaton, with the applications that belong to it.
    pub(super) async fn run(&self, script: Script, args: Vec<String>, force: bool) -> Outcome {
        // Only services begin anew (`restart_services`): what is named goes on.
        let services = args.iter().any(|arg| arg == SERVICES);
        if self.applications.is_empty() || services {
            return self.run_script(script, args, force).await;
        }
        match script {
            Script::StartPrim => self.start_all(args).await,
            Script::StopPrim | Script::Prestart => {
                let role = super::jobs::role_in(&args);
                let ended = self.run_script(script, args, force).await;
                self.stop_all(script, force, role, ended).await
            }
            Script::StartSecond
            | Script::StopSecond
            | Script::StartSec
            | Script::StopSec
            | Script::StartBoth
            | Script::StopBoth
            | Script::Poststop
            | Script::Transition
            | Script::RfsPritoscd
            | Script::RfsStartsynch => self.run_script(script, args, force).await,
        }
    }

    /// As [`Hands::run`], of a script that an earlier daemon began.
    pub(super) async fn await_script(&self, script: Script, force: bool) -> Outcome {
        if self.applications.is_empty() {
            return self.await_script_alone(script, force).await;
        }
        match (script, self.marked().await) {
            (Script::StartPrim, Some(Mark { args, called: false })) => {
                self.applications.await_starts().await;
                self.start_all(args).await
            }
            (Script::StopPrim | Script::Prestart, _) => {
                let ended = self.await_script_alone(script, force).await;
                self.stop_all(script, force, Role::Wait, ended).await
            }
            _ => self.await_script_alone(script, force).await,
        }
    }

    async fn start_all(&self, args: Vec<String>) -> Outcome {
        self.mark(&Mark { args: args.clone(), called: false }).await;
        let started = self.applications.start(super::jobs::role_in(&args), REASON).await;
        if let Err(reason) = started {
            return Outcome::Failed(reason);
        }
        self.mark(&Mark { args: args.clone(), called: true }).await;
        self.run_script(Script::StartPrim, args, false).await
    }

    /// A script that has failed keeps no application from being stopped.
    async fn stop_all(&self, script: Script, force: bool, role: Role, ended: Outcome) -> Outcome {
        let how = match (script, force) {
            (Script::Prestart, _) => Stop::Leftovers,
            (_, true) => Stop::Force,
            (_, false) => Stop::Nice,
        };
        let stopped = self.applications.stop(how, role, REASON).await;
        match (stopped, ended) {
            (Ok(()), ended) => ended,
            (Err(reason), Outcome::Failed(first)) => Outcome::Failed(format!("{first}; {reason}")),
            (Err(reason), Outcome::Done | Outcome::Exit(_) | Outcome::Reply(_)) => {
                Outcome::Failed(reason)
            }
        }
    }

    async fn mark(&self, mark: &Mark) {
        let path = self.site.paths.start_mark(&self.site.active.name);
        let bytes = serde_json::to_vec(mark).unwrap_or_default();
        let written = tokio::task::spawn_blocking(move || {
            // In one step: a daemon that dies meanwhile leaves the old one or the new one.
            let new = path.with_extension("new");
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir)?;
            }
            std::fs::write(&new, bytes)?;
            std::fs::rename(&new, &path)
        });
        if let Ok(Err(error)) = written.await {
            tracing::warn!(module = %self.site.active.name, %error, "the start is not marked");
        }
    }

    async fn marked(&self) -> Option<Mark> {
        let path = self.site.paths.start_mark(&self.site.active.name);
        serde_json::from_slice(&tokio::fs::read(path).await.ok()?).ok()
    }
}

#[cfg(test)]
mod tests;
