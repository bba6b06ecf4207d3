//! What a module's daemon part remembers. The hub stores it under a magic, a version and a
//! checksum.
use super::maintenance::Maintenance;
use super::walk::Walk;
use super::words::Moment;
use crate::model::{Readiness, Role, Side};
use serde::{Deserialize, Serialize};

/// What a module's daemon part remembers: over its own death, and over a power cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub role: Role,
    pub readiness: Readiness,
    pub reason: String,
    /// Started and not stopped by anybody: `boot="auto"` starts it again.
    pub running: bool,
    /// The last role held was primary (`defaultprim="lastprim"`, and ties).
    pub was_primary: bool,
    /// The primary role was gained by taking over as SECOND: gives way after both were ALONE.
    pub took_over: bool,
    /// As SECOND: has been in sync with the primary that it follows. A copy that was current under
    /// an older primary is not enough to take over.
    pub in_sync: bool,
    /// `failover on|off` of the administrator.
    pub failover: Option<bool>,
    #[serde(default)]
    pub maintenance: Maintenance,
    /// Error-driven actions within the interval.
    pub loops: Vec<Moment>,
    /// Leads by `syncdelta`: the copy may lack what was acknowledged last. Until another one is in
    /// sync with it, or a person decides.
    #[serde(default)]
    pub aged: bool,
    /// The server boots because of an error (`automatic_reboot`).
    #[serde(default)]
    pub rebooting: bool,
    /// The copy as the engine described it last: the peer may ask while none runs.
    #[serde(default)]
    pub side: Option<Side>,
    /// What was under way.
    pub walk: Option<Walk>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            role: Role::Stop,
            readiness: Readiness::NotReady,
            reason: String::new(),
            running: false,
            was_primary: false,
            took_over: false,
            in_sync: false,
            failover: None,
            maintenance: Maintenance::default(),
            loops: Vec::new(),
            aged: false,
            rebooting: false,
            side: None,
            walk: None,
        }
    }
}

impl Memory {
    /// The same memory after a reboot: nothing of the module runs any more. Errors count on only if
    /// one of them was the cause, else each boot would lead to the next; their moments are those
    /// of another clock, so all are as if of the boot.
    pub fn after_reboot(self) -> Memory {
        let counted = if self.rebooting { self.loops.len() } else { 0 };
        Memory {
            role: Role::Stop,
            readiness: Readiness::NotReady,
            reason: String::new(),
            loops: vec![Moment(0); counted],
            rebooting: false,
            walk: None,
            ..self
        }
    }
}
