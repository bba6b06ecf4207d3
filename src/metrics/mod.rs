//! Numbers for those who watch from outside: what the daemon knows, as OpenMetrics text.
//!
//! ```text
//! picture     what is shown: plain values, filled by the daemon
//! redundancy  does another node stand ready to take over, and since when not
//! text        the form: families, labels, escapes, `# EOF`
//! families    picture -> text, one function for each group
//! listener    GET /metrics and GET /var/modules/M/ready.txt on a configured address
//! ```
//! The text is read by two kinds of readers, so it is written for both: OpenMetrics 1.0 (what a
//! Prometheus asks for) and the older text format (the textfile collector of node_exporter). That
//! is why states are gauges with a label: the older format knows no StateSet and no Info.
//! Labels hold names of nodes, modules and lans only; their number is bounded by the configuration.
mod families;
mod listener;
mod picture;
mod redundancy;
mod text;

pub use families::{DOWN, open_metrics};
pub use listener::{Listener, Source};
pub use picture::{ModulePicture, Picture, ReceiverPicture};
pub use redundancy::{Redundancy, is_lost};

#[cfg(test)]
pub(crate) mod tests;
