//! The command line, one file per group of commands.
use std::process::ExitCode;

pub fn main() -> ExitCode {
    eprintln!("lockstep: no command is built yet");
    ExitCode::from(2)
}
