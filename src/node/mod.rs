//! The daemon: the only place where clocks, tasks, files, sockets and decisions meet.
//!
//! ```text
//! peers ──┐                    ┌── scripts, address, processes   (jobs)
//! engine ─┼─▶ module task: ────┼── engine: start, order, adopt   (engine)
//! people ─┘   select, decide,  ├── memory on disk                (memory)
//!             act              └── report to the peer, view, log (report, view, journal)
//! ```
//! One task for each configured module owns that module's state; the daemon itself owns only the
//! list of them. Its death changes no role: engines are processes of their own sessions, scripts'
//! applications are nobody's children, and a new daemon adopts both.
mod act;
mod address;
mod applications;
mod classes;
mod clock;
mod copy;
mod counting;
mod daemon;
mod engine;
mod handler;
mod hearts;
mod implied;
mod jobs;
mod journal;
mod memory;
mod module;
mod modules;
mod monitoring;
mod progress;
mod reboot;
mod report;
mod resources;
mod ruling;
mod site;
mod syncat;
mod synced;
#[cfg(test)]
mod tests;
mod view;
mod watching;

pub use daemon::{DaemonError, run};
