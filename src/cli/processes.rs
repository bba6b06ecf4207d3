//! `daemon` and `engine`: from a command to a process that stays.
//!
//! The only place where the command line meets `node` and `engine`. Standard output and error are
//! not locked here, so that both may log from every thread.
use super::context::{Context, failed};
use crate::api::Refusal;
use crate::model::ModuleName;
use std::path::Path;

/// Runs until it is told to end; answers the exit code.
pub fn daemon(context: &mut Context<'_>) -> Result<u8, Refusal> {
    if context.daemon_answers() {
        return Err(failed("a lockstep daemon runs on this node already; see `lockstep level`"));
    }
    match crate::node::run(context.paths.clone()) {
        Ok(()) => Ok(0),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Runs the data plane of one module; `config` is a `model::EngineConfig` as JSON.
pub fn engine(name: &ModuleName, config: &Path) -> Result<u8, Refusal> {
    Ok(crate::engine::main(name, config))
}
