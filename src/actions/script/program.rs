//! A program of the module that goes on while somebody holds it, e.g. a checker: environment,
//! session, module group and log as a script has them. Letting go of it kills its process group.
//!
//! All its lives write to one log file, so that a program that keeps ending cannot fill the
//! directory with logs.
use super::userlog::{self, UserLog};
use super::{Script, ScriptCall, ScriptEnd, ScriptResult, ScriptRunner, adopted};
use super::{end_of, forever, launch};
use crate::watch::process::exited;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::process::Child;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

/// A program that can be started, again and again. Cheap to clone.
#[derive(Clone)]
pub struct Program {
    runner: ScriptRunner,
    call: Arc<ScriptCall>,
    path: PathBuf,
    log: Option<Arc<UserLog>>,
}

/// One life of a program; dropping it kills its process group.
#[derive(Debug)]
#[must_use = "dropping it ends the program"]
pub struct Started {
    child: Child,
}

impl ScriptRunner {
    /// The program `exec` in the module's `bin`; an absolute path is taken as it is. The limits of
    /// `call` do not matter, nor whether the module has scripts.
    pub async fn program(&self, exec: &str, call: ScriptCall) -> Program {
        let path = self.setup.active_dir.join("bin").join(exec);
        let name = path.file_name().map_or(exec.into(), |name| name.to_string_lossy());
        let call = ScriptCall { script: Script::Other(name.into_owned()), ..call };
        let (setup, named) = (self.setup.clone(), call.clone());
        let opened = spawn_blocking(move || userlog::open(&setup, &named)).await;
        let log = opened.map_err(std::io::Error::other).and_then(|log| log);
        // Better a program without a log than none.
        let log = log.unwrap_or_else(|error| {
            tracing::warn!(module = %self.setup.module, exec, %error, "program without a log");
            None
        });
        Program { runner: self.clone(), call: Arc::new(call), path, log: log.map(Arc::new) }
    }
}

impl ScriptRunner {
    /// Calls a program that only looks, e.g. a monitor, within its limit. Dropping the future, an
    /// interruption and the limit kill it at once.
    pub async fn look(&self, call: ScriptCall) -> ScriptResult {
        if !self.setup.enabled {
            return ScriptResult::Absent;
        }
        let begin = Instant::now();
        let mut interrupted = self.interruptions();
        let (child, log) = match self.launch(&call, |_| {}).await {
            Ok(launched) => launched,
            Err(reason) => return ScriptResult::NotStarted { reason },
        };
        let mut started = Started { child };
        let end = tokio::select! {
            biased;
            end = started.end(exited) => end,
            () = tokio::time::sleep(call.limit.unwrap_or(forever())) => {
                ScriptEnd::TimedOut { gone: true }
            }
            _ = interrupted.changed() => ScriptEnd::Interrupted { gone: true },
        };
        drop(started);
        ScriptResult::Ended { end, duration: begin.elapsed(), log: log.map(|log| log.path) }
    }
}

impl Program {
    /// Kills what an earlier daemon has left running: the same program, called for the same.
    pub async fn end_leftovers(&self) {
        let program = self.clone();
        let ended = spawn_blocking(move || {
            for pid in program.runner.setup.group.members().unwrap_or_default() {
                if adopted::runs(pid, &program.path)
                    && adopted::is_called_with(pid, &program.call.args)
                {
                    launch::signal_group(pid, libc::SIGKILL);
                }
            }
        });
        let _ = ended.await;
    }

    /// Starts it; the error is a sentence that says what to repair.
    pub async fn start(&self) -> Result<Started, String> {
        let program = self.clone();
        let prepared = spawn_blocking(move || {
            let setup = &program.runner.setup;
            launch::prepare(setup, &program.call, &program.path, program.log.as_deref())
        });
        let plan = prepared.await.map_err(std::io::Error::other).and_then(|plan| plan);
        let plan = plan.map_err(|error| launch::sentence(&self.path, &error))?;
        if !self.path.is_file() {
            return Err(format!("{} is not there; put it into the module", self.path.display()));
        }
        match plan.spawn().await {
            Ok(child) => Ok(Started { child }),
            Err(error) => Err(launch::sentence(&self.path, &error)),
        }
    }
}

impl Started {
    /// Waits for the end of the program, kills what it has left in its process group, and says
    /// how it ended, e.g. `ended with code 3`. Cancel safe.
    pub async fn ended(&mut self) -> String {
        self.ended_after(exited).await
    }

    pub(super) async fn ended_after<E>(&mut self, end: impl FnOnce(u32) -> E) -> String
    where
        E: Future<Output = io::Result<()>>,
    {
        match self.end(end).await {
            ScriptEnd::Exit(code) => format!("ended with code {code}"),
            ScriptEnd::Signal(number) => format!("was ended by signal {number}"),
            ScriptEnd::TimedOut { .. } | ScriptEnd::Interrupted { .. } => "was ended".to_owned(),
        }
    }

    /// `end`: waits for the end of a process without reaping it.
    async fn end<E>(&mut self, end: impl FnOnce(u32) -> E) -> ScriptEnd
    where
        E: Future<Output = io::Result<()>>,
    {
        // The number names the group until its leader is reaped, so it is reaped last. Where the
        // end cannot be waited for (no descriptor is left), nothing has ended yet: what it leaves
        // in its group then stays.
        if let Some(pid) = self.child.id()
            && end(pid).await.is_ok()
        {
            launch::signal_group(pid, libc::SIGKILL);
        }
        end_of(self.child.wait().await)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(pid) = self.child.id() {
            launch::signal_group(pid, libc::SIGKILL);
        }
    }
}
