//! The door: XML and archives come in, checked types go out.
//!
//! `cluster.xml` says which nodes exist, `userconfig.xml` what a module is, `watch.xml` who is told
//! how they stand. Everything is checked here once, with file, line and column, and never again
//! later. Nothing here opens a socket.
pub mod archive;
pub mod checks;
pub mod cluster;
mod findings;
mod grammar;
mod macros;
pub mod mistake;
pub mod paths;
pub mod store;
pub mod units;
pub mod userconfig;
mod values;
pub mod watch;
mod xml;

pub use cluster::ClusterConfig;
pub use mistake::{Mistake, Mistakes, Note};
pub use paths::Paths;
pub use store::ModuleStore;
pub use userconfig::UserConfig;
pub use watch::WatchConfig;
