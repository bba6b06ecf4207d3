//! A script that an earlier daemon began: nobody's child any more, so its exit code is lost. It is
//! found among the module's processes, waited for, and ended like any other.
use super::{Overrun, REAP_LIMIT, ScriptCall, ScriptEnd, ScriptResult, ScriptRunner};
use super::{forever, launch};
use crate::watch::process::exited;
use std::path::Path;
use std::time::Instant;
use tokio::time::timeout;

impl ScriptRunner {
    /// Waits for the script of `call` if it still runs; its limit begins anew. `Exit(0)` stands for
    /// an end by itself.
    pub async fn await_adopted(&self, call: ScriptCall) -> ScriptResult {
        let begin = Instant::now();
        let mut interrupted = self.interrupts.subscribe();
        let path = self.executed(&call);
        let members = self.setup.group.members().unwrap_or_default();
        // What an agent has started may carry the agent's name for ever, but not its action.
        let called = |pid| call.program.is_none() || is_called_with(pid, &call.args);
        let found = members.into_iter().find(|pid| runs(*pid, &path) && called(*pid));
        let Some(pid) = found else {
            return ScriptResult::Absent;
        };
        let early = tokio::select! {
            biased;
            // Gone already, or not to be watched: both mean that nothing is to be waited for.
            _ = exited(pid) => None,
            () = tokio::time::sleep(call.limit.unwrap_or(forever())) => Some(false),
            changed = interrupted.changed() => Some(changed.is_ok()),
        };
        let end = match early {
            None => ScriptEnd::Exit(0),
            Some(early) => {
                self.end_group(pid, &call).await;
                let gone = timeout(REAP_LIMIT, exited(pid)).await.is_ok();
                if early { ScriptEnd::Interrupted { gone } } else { ScriptEnd::TimedOut { gone } }
            }
        };
        ScriptResult::Ended { end, duration: begin.elapsed(), log: None }
    }

    /// TERM, grace, KILL to the script's process group, then what else the call ends.
    pub(super) async fn end_group(&self, pid: u32, call: &ScriptCall) {
        launch::signal_group(pid, libc::SIGTERM);
        let _ = timeout(call.grace, exited(pid)).await;
        launch::signal_group(pid, libc::SIGKILL);
        if call.overrun == Overrun::WholeModule
            && let Err(error) = self.setup.group.kill(REAP_LIMIT).await
        {
            tracing::warn!(module = %self.setup.module, %error, "module group not killed");
        }
    }
}

/// Whether all these words stand in its command line.
pub(super) fn is_called_with(pid: u32, args: &[String]) -> bool {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
    args.iter().all(|arg| words.contains(&arg.as_bytes()))
}

/// Whether the process is this script, as a program or as an interpreter's argument. A script leads
/// a session of its own; a subshell that it left in the background has its command line, too.
pub(super) fn runs(pid: u32, script: &Path) -> bool {
    let leads = i32::try_from(pid).is_ok_and(|pid| {
        let own = nix::unistd::Pid::from_raw(pid);
        nix::unistd::getsid(Some(own)) == Ok(own)
    });
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let script = script.as_os_str().as_encoded_bytes();
    leads && words.split(|byte| *byte == 0).take(4).any(|word| word == script)
}
