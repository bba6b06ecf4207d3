//! What the node does to the world around the replicated data: scripts, processes, addresses.
//!
//! Nothing here decides. Each action is asked for by `decide` through `node`, does one thing, and
//! answers with what really happened, a refusal or a time-out included: `script` runs a module's
//! scripts, `application` what a module names in their place, `cgroup` holds everything they start,
//! `vip` takes and gives up virtual addresses, `busy` finds who holds something beneath a
//! directory.
pub mod application;
pub mod busy;
pub mod cgroup;
pub mod script;
pub mod vip;
