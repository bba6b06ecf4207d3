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
        | (EngineCommand::Fence, EngineEvent::Fenced)
        | (EngineCommand::Release { .. }, EngineEvent::Released) => true,
        (_, EngineEvent::Refused { command: name, reason }) => {
            return name.eq_ignore_ascii_case(command.name()).then(|| Answer::Bad(reason.clone()));
        }
        _ => false,
    };
    good.then_some(Answer::Good)
}
