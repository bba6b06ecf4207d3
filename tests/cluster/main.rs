//! What an administrator tries first, on a real cluster: the guide's own acceptance tests row by
//! row, then everything killed under load in any order.
//!
//! Each test has a lab of its own (`bin-scripts/lab`): two nodes with disks of their own, and a
//! client outside them. The client records what was acknowledged to it; afterwards both copies are
//! read from outside, with find, sha256sum, stat and getfattr, never with our own digests.
//! Needs root and /dev/fuse.
#![allow(clippy::unwrap_used)] // a failed assumption of a test is a failed test
mod aged;
mod agents;
mod copies;
mod counter;
mod fixture;
mod kills;
mod live;
mod maintenance;
mod mounted;
mod outages;
mod programs;
#[path = "../support/random.rs"]
mod random;
mod refusals;
mod rows;
mod scheduled;
mod shipped;
mod split;
#[path = "../support/lab.rs"]
mod support;
mod torture;
mod watched;
