//! What is told: one thing that happened, with a stable code.
use crate::model::{ModuleName, NodeName};
use jiff::Timestamp;
use serde::Serialize;

/// Stable names; programs act upon them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    State,
    RedundancyLost,
    RedundancyRegained,
    NeedsDecision,
    Maxloop,
    NodeUnreachable,
    NodeReachable,
    CertificateExpires,
    DiskAlmostFull,
    Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Info,
    /// Nothing is lost yet.
    Warning,
    /// Somebody must act.
    Critical,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notification {
    pub code: Code,
    pub severity: Severity,
    /// Wall clock, for people only.
    #[serde(serialize_with = "seconds")]
    pub time: Timestamp,
    /// Where it happened.
    pub node: NodeName,
    pub module: Option<ModuleName>,
    /// One sentence.
    pub text: String,
    /// What to do; empty where nothing is to be done.
    pub advice: String,
}

fn seconds<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}
