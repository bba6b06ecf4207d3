//! Tells people and programs outside what happened to a node and its modules.
//!
//! ```text
//! once a second:  picture ─┬▶ observer ─▶ events ─▶ outbox ─▶ mail
//!                          ├▶ observer ─▶ events ─▶ outbox ─▶ webhook     a task for each receiver
//!                          └▶ observer ─▶ events ─▶ outbox ─▶ command
//!                              (pure)               (pure)
//! ```
//! A receiver never holds anything up: events go into its outbox, which has an end, and a task of
//! its own sends from there. The first event is sent at once, the rest of its minute as one batch.
mod command;
mod mail;
mod message;
mod notification;
mod observer;
mod outbox;
mod receiver;
mod secret;
mod sender;
mod webhook;

pub use message::document;
pub use notification::{Code, Notification, Severity};
pub use observer::{Disk, Look, Observer};
pub use outbox::{Batch, Counts, Done, Outbox, Step};
pub use receiver::{Receiver, named, prepare};
pub use sender::Receivers;

#[cfg(test)]
mod tests;
