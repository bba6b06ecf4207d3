//! `splitbrain`: whether a witness answers, asked once when all heartbeats are lost. `exec="ping"`
//! pings every name in `arg`, all at once and each once a second; another `exec` is a program in
//! the module's bin that ends with 0 if its witness answers.
use super::ping::Ping;
use super::steady::{Check, Look};
use crate::actions::script::{Overrun, Script, ScriptCall, ScriptRunner};
use crate::model::Role;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::time::Duration;
use tokio::time::sleep;

/// A witness that is slower than this is none.
const LIMIT: Duration = Duration::from_secs(3);
/// Each name is asked so many times within the limit: the answer ends a service, one lost packet
/// must not.
const TRIES: u32 = 3;

/// `Ok` as soon as one answers; else why none did, one sentence.
pub async fn ask_witness(runner: &ScriptRunner, exec: &str, arg: &str) -> Result<(), String> {
    if exec != "ping" {
        return ask_program(runner, exec, arg).await;
    }
    let ask = |host: &str, turn: u32| {
        let begin = LIMIT / TRIES * turn;
        let mut ping = Ping { host: host.to_owned(), timeout: LIMIT - begin };
        async move {
            sleep(begin).await;
            (turn, ping.look().await)
        }
    };
    let each = |host| (0..TRIES).map(move |turn| ask(host, turn));
    let mut answers: FuturesUnordered<_> = arg.split_whitespace().flat_map(each).collect();
    let mut whys = Vec::new();
    while let Some((turn, look)) = answers.next().await {
        match look {
            Look::Up => return Ok(()),
            // The later tries say the same of the same names.
            Look::Down(why) | Look::Unknown(why) if turn == 0 => whys.push(why),
            Look::Down(_) | Look::Unknown(_) => {}
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
