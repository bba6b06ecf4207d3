//! Values back into the words that they are written with.
use super::{ErrorAction, When};

impl When {
    /// As it is written in `class` and `when`.
    pub fn as_str(&self) -> &str {
        match self {
            When::Prim => "prim",
            When::Second => "second",
            When::Both => "both",
            When::Pre => "pre",
            When::Sec => "sec",
            When::Named(name) => name,
        }
    }
}

impl ErrorAction {
    /// As it is written in `action`.
    pub fn as_str(&self) -> &str {
        match self {
            ErrorAction::Restart => "restart",
            ErrorAction::StopStart => "stopstart",
            ErrorAction::Stop => "stop",
            ErrorAction::Wait => "wait",
            ErrorAction::Swap => "swap",
            ErrorAction::Nothing => "noaction",
            ErrorAction::Program(exec) => exec,
        }
    }
}
