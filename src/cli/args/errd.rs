//! `errd …`
use clap::Subcommand;

#[derive(Subcommand, Clone, Debug, PartialEq)]
pub enum ErrdVerb {
    /// Watch the module's processes (this outlives stop and start)
    #[command(alias = "resume", after_help = "Example: lockstep errd on -m web")]
    On,
    /// Do not watch the module's processes, until errd on
    #[command(alias = "suspend", after_help = "Example: lockstep errd off -m web")]
    Off,
    /// Show what is watched: name, class, action, how many are wanted, value of the resource
    #[command(after_help = "Example: lockstep errd list -m web")]
    List,
    /// Watch the processes of a class with a name of its own, until disable or the module's stop
    #[command(after_help = "Example: lockstep errd enable backup -m web")]
    Enable { class: String },
    /// Do not watch the processes of a class, until enable or the module's stop
    #[command(after_help = "Example: lockstep errd disable backup -m web")]
    Disable { class: String },
}
