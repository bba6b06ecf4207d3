//! `log`, `logview`, and the words of scripts.
use super::args::{LogView, Words};
use super::context::{Context, io_refusal, usage};
use crate::api::{Command, Nodes, Refusal};
use crate::logbook::{Entry, Follower};
use std::time::Duration;

/// Between two looks for new entries.
const PERIOD: Duration = Duration::from_millis(200);

pub fn log(context: &mut Context<'_>, view: &LogView) -> Result<u8, Refusal> {
    context.needed_module()?;
    let command = Command::Log { count: view.count, verbose: view.verbose };
    let replies = context.do_or_ask(command)?;
    Ok(context.show(&replies))
}

/// What people and scripts have changed on the nodes that are meant.
pub fn commands(context: &mut Context<'_>, count: usize) -> Result<u8, Refusal> {
    let replies = context.do_or_ask(Command::CommandLog { count })?;
    Ok(context.show(&replies))
}

/// Shows the last entries, then every new one until the reader goes away. With `--json` an entry
/// is a line: a document that never ends would help nobody.
pub fn logview(context: &mut Context<'_>, view: &LogView) -> Result<u8, Refusal> {
    if context.nodes != Nodes::Local {
        return Err(usage("logview shows this node's log only; use log with -H"));
    }
    let module = context.needed_module()?;
    let dir = context.paths.module_log_dir(&module);
    let failed = |error: std::io::Error| io_refusal("read the log in", &dir, &error);
    // From the end first: what is written between the two reads is shown twice, never lost.
    let mut follower = Follower::from_end(&dir, view.verbose).map_err(failed)?;
    let mut entries = crate::logbook::last(&dir, view.count, view.verbose).map_err(failed)?;
    let known = entries.last().cloned();
    let mut first = true;
    loop {
        let lines: String = entries.iter().map(|entry| line(entry, context.json)).collect();
        if !context.still_read(&lines) {
            return Ok(0);
        }
        std::thread::sleep(PERIOD);
        entries = follower.poll().map_err(failed)?;
        if std::mem::take(&mut first) {
            let shown = entries.iter().rposition(|entry| Some(entry) == known.as_ref());
            entries.drain(..shown.map_or(0, |last| last + 1));
        }
    }
}

fn line(entry: &Entry, json: bool) -> String {
    if json {
        // An entry was read from JSON; it can be written as such.
        return serde_json::to_string(entry).map(|line| line + "\n").unwrap_or_default();
    }
    format!("{entry}\n")
}

/// `printi`, `printe`, `printw`: written directly, so that a script's words are kept while the
/// daemon is being started again.
pub fn print(context: &mut Context<'_>, level: char, words: Words) -> Result<u8, Refusal> {
    context.needed_module()?;
    let text = words.words.join(" ");
    let replies = context.do_or_ask(Command::Print { level, text })?;
    Ok(context.show(&replies))
}
