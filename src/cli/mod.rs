//! The command line: words in, an answer out, an exit code that scripts can rely on.
//!
//! ```text
//! args      words -> CommandLine (clap), both names of the program, old spellings
//! dispatch  CommandLine -> one verb
//! ask       a request to the daemon, or `offline` where files are enough
//! completion  words for Tab, manual pages
//! bench     replication measured on the user's own pair
//! explain   why a module is in its state
//! preflight what would keep a node or a module from working
//! show      the answers of one or more nodes as text or JSON; `state`, `json` render
//! snapshot  support archive
//! wait      asking for the state until it is as wished
//! ```
//!
//! Results go to standard output, everything else to standard error. Exit codes are
//! [`crate::api::Exit`], except where an old command has its own (`state -lq`, `checkloop`).
pub mod args;
mod ask;
mod bench;
mod cluster;
mod completion;
mod context;
mod dispatch;
mod explain;
mod files;
pub mod json;
mod lists;
pub mod live;
mod log;
mod maintenance;
mod module;
mod new;
pub mod offline;
mod preflight;
mod processes;
mod show;
mod snapshot;
pub mod state;
mod top;
mod wait;
mod watch;

use crate::api::Exit;
use crate::config::paths::Paths;
use context::{Context, Name};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// Where a command writes.
pub struct Output<'a> {
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
}

pub fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    // Not locked: daemon and engine log to the same streams from other threads.
    let mut out = std::io::stdout();
    let mut err = std::io::stderr();
    let output = Output { out: &mut out, err: &mut err };
    ExitCode::from(run(&program, words, Paths::system(), output))
}

/// Runs one command line and answers its exit code. `program` is the name it was called by.
pub fn run(
    program: &OsString,
    words: impl Iterator<Item = OsString>,
    paths: Paths,
    output: Output<'_>,
) -> u8 {
    let name = Name::of(program);
    let words: Vec<OsString> = words.collect();
    if let Some(what) = args::later(&words) {
        let _ = writeln!(output.err, "{}: not in this version: {what}", name.as_str());
        return Exit::Refused as u8;
    }
    let line = match args::parse(name.as_str(), words) {
        Ok(line) => line,
        Err(error) => return usage(&error, output),
    };
    let mut context = match Context::new(name, &line.common, paths, output) {
        Ok(context) => context,
        Err((refusal, output)) => {
            let _ = writeln!(output.err, "{}: {}", name.as_str(), refusal.text);
            return refusal.exit as u8;
        }
    };
    match dispatch::carry_out(&mut context, line) {
        Ok(code) => code,
        Err(refusal) => context.refuse(&refusal),
    }
}

/// Help and version are results, everything else is a mistake of the caller.
fn usage(error: &clap::Error, output: Output<'_>) -> u8 {
    let text = error.render();
    if error.use_stderr() {
        let _ = write!(output.err, "{text}");
        Exit::Usage as u8
    } else {
        let _ = write!(output.out, "{text}");
        Exit::Done as u8
    }
}

#[cfg(test)]
pub(crate) mod tests;
