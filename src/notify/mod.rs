//! Tells people and programs outside what happened to a node and its modules.
//!
//! ```text
//! once a second:  picture ─▶ observer ─▶ events ─┬▶ outbox ─▶ mail
//!                             (pure)             ├▶ outbox ─▶ webhook     one task for each sink
//!                                                └▶ outbox ─▶ command
//!                                                   (pure)
//! ```
//! A sink never holds anything up: events go into its outbox, which has an end, and a task of its
//! own sends from there. The first event is sent at once, the rest of its minute as one batch.
mod command;
mod event;
mod mail;
mod message;
mod observer;
mod outbox;
mod secret;
mod sender;
mod sink;
mod webhook;

pub use event::{Code, Event, Severity};
pub use message::document;
pub use observer::{Disk, Look, Observer};
pub use outbox::{Batch, Counts, Done, Outbox, Step};
pub use sender::Office;
pub use sink::{Sink, prepare};

#[cfg(test)]
mod tests;
