//! Lockstep keeps an application alive on two servers that share no disk.
//!
//! Two straight paths and one place where they meet:
//!
//! ```text
//! DATA     app -> capture -> engine (order) -> link -> apply on the peer -> ack -> own disk -> reply
//! CONTROL  watch (facts, wishes) -> decide (pure) -> actions (scripts, address, engine, memory)
//! ```
//!
//! Cores think (`model`, `wire`, `history`, `decide`, `rules`): no clock, file, socket or task.
//! Edges act (`disk`, `capture`, `link`, `watch`, `actions`, `checkers`, `config`, `ocf`, `trust`).
//! `engine` joins the data path, `node` joins the control path, `cli` is the door.
//! This is an application; the modules are public for the tests, no interface is promised.
pub mod model;

pub mod decide;
pub mod history;
pub mod rules;
pub mod wire;

pub mod disk;

pub mod actions;
pub mod capture;
pub mod checkers;
pub mod config;
pub mod link;
pub mod logbook;
pub mod ocf;
pub mod peer;
pub mod trust;
pub mod watch;

pub mod api;
pub mod metrics;
pub mod notify;

pub mod engine;
pub mod node;

pub mod cli;

#[cfg(test)]
mod fixture;
