//! `splitbrain`: whether a witness answers, asked once when all heartbeats are lost. `exec="ping"`
//! pings every name in `arg`, all at once; another `exec` is a program in the module's bin that
//! ends with 0 if its witness answers.
use super::ping::Ping;
use super::steady::{Look, Probe};
use crate::actions::script::{Overrun, Script, ScriptCall, ScriptRunner};
use crate::model::Role;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::time::Duration;

/// A witness that is slower than this is none.
const LIMIT: Duration = Duration::from_secs(3);

/// `Ok` as soon as one answers; else why none did, one sentence.
pub async fn ask_witness(runner: &ScriptRunner, exec: &str, arg: &str) -> Result<(), String> {
    if exec != "ping" {
        return ask_program(runner, exec, arg).await;
    }
    let ask = |host: &str| {
        let mut ping = Ping { host: host.to_owned(), timeout: LIMIT };
        async move { ping.look().await }
    };
    let mut answers: FuturesUnordered<_> = arg.split_whitespace().map(ask).collect();
    let mut whys = Vec::new();
    while let Some(look) = answers.next().await {
        match look {
            Look::Up => return Ok(()),
            Look::Down(why) | Look::Unknown(why) => whys.push(why),
        }
    }
    Err(whys.join("; "))
}

async fn ask_program(runner: &ScriptRunner, exec: &str, arg: &str) -> Result<(), String> {
    let script = Script::Other(exec.to_owned());
    if !runner.exists(&script) {
        return Err(format!("{exec}, which asks the witness, is not in the module's bin"));
    }
    let args: Vec<&str> = arg.split_whitespace().collect();
    let call = ScriptCall::new(script, &args, Role::Wait, "all heartbeats are lost");
    let result = runner.run(call.within(LIMIT, Overrun::Script)).await;
    if result.is_success() { Ok(()) } else { Err(format!("{exec} {}", result.describe())) }
}
