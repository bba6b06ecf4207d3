//! The words of the program: values with checked constructors, no behaviour in time.
//! Everything that crosses a socket or is stored is defined here, so that both ends agree.
pub mod application;
pub mod engine;
pub mod ids;
pub mod lineage;
pub mod peer;
pub mod role;
pub mod schedule;

pub use application::{Agent, Application, RunBy};
pub use engine::{
    EngineCommand, EngineConfig, EngineEvent, EngineMode, EngineStatus, Level, NotReplicated,
    PeerAddress, Progress, ReplicatedDir,
};
pub use ids::{BootId, EpochId, IdError, ModuleName, NodeName, Seq};
pub use lineage::{CopyState, EpochKind, EpochRecord, Lineage, Plan, Position, Side, Verdict};
pub use peer::{EngineSummary, MaintenanceReport, ModuleReport, PeerMessage, PeerReply};
pub use role::{Readiness, Role, State};
pub use schedule::{Minute, Schedule};
