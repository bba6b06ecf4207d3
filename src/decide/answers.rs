//! Which event of the engine answers which command.
use crate::model::{EngineCommand, EngineEvent};

/// How the running step of a walk ended.
pub(super) enum Answer {
    Good,
    /// One sentence.
    Bad(String),
}

/// Whether the engine's `event` answers `command`.
pub(super) fn ordered(command: &EngineCommand, event: &EngineEvent) -> Option<Answer> {
    let good = match (command, event) {
        (EngineCommand::Lead { .. }, EngineEvent::Leading)
        | (EngineCommand::Follow { .. }, EngineEvent::Following)
        | (EngineCommand::GoAlone { .. }, EngineEvent::Alone { .. })
        | (EngineCommand::Outdate { .. }, EngineEvent::Outdated)
        | (EngineCommand::Flush, EngineEvent::Flushed)
        | (EngineCommand::Release, EngineEvent::Released) => true,
        (_, EngineEvent::Refused { command: name, reason }) => {
            return name
                .eq_ignore_ascii_case(command_name(command))
                .then(|| Answer::Bad(reason.clone()));
        }
        _ => false,
    };
    good.then_some(Answer::Good)
}

/// The command's name as the engine's `Refused` gives it.
pub(super) fn command_name(command: &EngineCommand) -> &'static str {
    match command {
        EngineCommand::Lead { .. } => "lead",
        EngineCommand::Follow { .. } => "follow",
        EngineCommand::GoAlone { .. } => "go_alone",
        EngineCommand::Outdate { .. } => "outdate",
        EngineCommand::Flush => "flush",
        EngineCommand::Fence => "fence",
        EngineCommand::FailHeld => "fail_held",
        EngineCommand::Release => "release",
        EngineCommand::Shutdown => "shutdown",
    }
}
