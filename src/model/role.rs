//! What a module is on a node: a role and how ready it is, in the words administrators know.
use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// Stopped: nothing of the module runs, its directories are plain.
    Stop,
    /// Starting, stopping, or blocked until something else is there.
    Wait,
    /// Primary without a secondary.
    Alone,
    /// Primary with an in-sync secondary.
    Prim,
    /// Follows a primary.
    Second,
}

impl Role {
    /// Exit code of `state -lq`: STOP 0, WAIT 1, ALONE 2, PRIM 3, SECOND 4.
    pub fn exit_code(self) -> u8 {
        match self {
            Role::Stop => 0,
            Role::Wait => 1,
            Role::Alone => 2,
            Role::Prim => 3,
            Role::Second => 4,
        }
    }

    /// Runs the application and owns the virtual address.
    pub fn is_primary(self) -> bool {
        matches!(self, Role::Alone | Role::Prim)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Stop => "STOP",
            Role::Wait => "WAIT",
            Role::Alone => "ALONE",
            Role::Prim => "PRIM",
            Role::Second => "SECOND",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Readiness {
    /// Blocked (or stopped).
    NotReady,
    /// On its way.
    Transient,
    /// Does what the role promises.
    Ready,
}

impl Readiness {
    pub fn as_str(self) -> &'static str {
        match self {
            Readiness::NotReady => "NotReady",
            Readiness::Transient => "Transient",
            Readiness::Ready => "Ready",
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Role and readiness together, shown as `ALONE Ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct State {
    pub role: Role,
    pub readiness: Readiness,
}

impl State {
    pub const STOP: State = State { role: Role::Stop, readiness: Readiness::NotReady };

    pub fn new(role: Role, readiness: Readiness) -> State {
        State { role, readiness }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.readiness)
    }
}
