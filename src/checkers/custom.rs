//! `custom`: a looping program of the module, which sets its resource itself (`safekit set -r`).
//! Here it is only kept running: started again after 1, 2, 4 … 60 s when it ends.
//!
//! It is called as `exec MODULE RESOURCE [arg …]`, `arg` split at white space.
use super::Around;
use crate::actions::script::{Script, ScriptCall, ScriptRunner};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest wait. A program that lived so long begins with the shortest wait again.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) fn call(around: &Around, exec: &str, resource: &str, arg: &str) -> ScriptCall {
    let module = around.runner.setup().module.as_str();
    let mut args = vec![module, resource];
    args.extend(arg.split_whitespace());
    let reason = format!("checker of {resource}");
    ScriptCall::new(Script::Other(exec.to_owned()), &args, around.role, &reason)
}

/// Never returns; the program ends with the future.
pub(super) async fn keep_running(runner: ScriptRunner, exec: String, call: ScriptCall) {
    let module = runner.setup().module.clone();
    let resource = call.args.get(1).cloned().unwrap_or_default();
    let program = runner.program(&exec, call).await;
    program.end_leftovers().await;
    let mut wait = WAIT_MIN;
    loop {
        let begin = Instant::now();
        let end = match program.start().await {
            Ok(mut started) => started.ended().await,
            Err(sentence) => sentence,
        };
        if begin.elapsed() >= WAIT_MAX {
            wait = WAIT_MIN;
        }
        let again = wait.as_secs();
        tracing::warn!(%module, resource, exec, end, again, "checker ended, started again later");
        sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}
