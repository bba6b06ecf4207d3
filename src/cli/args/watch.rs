//! `watch …`
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Subcommand, Debug, PartialEq)]
pub enum WatchVerb {
    /// Check watch.xml and change nothing; works without a daemon
    #[command(after_help = "Example: lockstep watch check")]
    Check {
        /// Another file than the node's watch.xml
        file: Option<PathBuf>,
    },
    /// Let the daemon read watch.xml again and use it
    #[command(after_help = "Example: lockstep -H '*' watch apply")]
    Apply,
    /// Send a test event to every receiver of watch.xml now and tell how each answers
    #[command(after_help = "Example: lockstep watch test")]
    Test {
        /// Another file than the node's watch.xml
        file: Option<PathBuf>,
    },
}
