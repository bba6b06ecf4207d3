//! The words of the command line. Both names of the program take the same words, the old
//! spellings (`-H NODES cmd`, `-E M`, `-G`, `state -lq`, `SAFEMODULE`) among them.
mod bench;
mod cluster;
mod errd;
mod later;
mod maintenance;
mod module;
mod new;
mod top;
mod watch;

pub use bench::{BenchGroup, BenchOptions};
pub use cluster::{Addresses, ClusterVerb};
pub use errd::ErrdVerb;
pub use later::later;
pub use maintenance::MaintenanceVerb;
pub use module::ModuleVerb;
pub use new::NewModule;
pub use top::TopOptions;
pub use watch::WatchVerb;

use super::completion::Shell;
use crate::model::{ModuleName, Role};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Keeps an application alive on two servers that share no disk.
#[derive(Parser, Debug, PartialEq)]
#[command(
    name = "lockstep",
    version,
    arg_required_else_help = true,
    after_help = "Example: lockstep state -m web"
)]
pub struct CommandLine {
    #[command(flatten)]
    pub common: Common,
    /// Copy this module to the nodes of -H, with the same id, and configure it there
    #[arg(short = 'E', value_name = "MODULE")]
    pub export: Option<ModuleName>,
    /// Copy cluster.xml of this node to the nodes of -H and use it there
    #[arg(short = 'G')]
    pub global: bool,
    /// Print the folders as the variables that scripts get
    #[arg(short = 'p')]
    pub print_paths: bool,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// Options that every command takes.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct Common {
    /// Nodes that carry the command out: "*" for all, or names with commas between them
    #[arg(short = 'H', long = "nodes", value_name = "NODES", global = true)]
    pub nodes: Option<String>,
    /// The module; without it the variable SAFEMODULE counts
    #[arg(short = 'm', long = "module", value_name = "MODULE", global = true)]
    pub module: Option<ModuleName>,
    /// Who asks, for scripts and checkers: such actions count for maxloop
    #[arg(short = 'i', long = "identity", value_name = "NAME", global = true)]
    pub identity: Option<String>,
    /// Answer as one JSON document (src/docs/json.md)
    #[arg(long, global = true)]
    pub json: bool,
}

/// Waiting for the end of an action.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct Wait {
    /// Wait until the module is Ready, or Ready in this state
    #[arg(long, value_name = "STATE", num_args = 0..=1, require_equals = true)]
    pub wait: Option<Option<Target>>,
    /// Give up waiting after this many seconds (exit 5); without it, wait for ever
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<f64>,
}

/// A state to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target(pub Role);

impl std::str::FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Target, String> {
        let role = match text.to_ascii_uppercase().as_str() {
            "STOP" => Role::Stop,
            "WAIT" => Role::Wait,
            "ALONE" => Role::Alone,
            "PRIM" => Role::Prim,
            "SECOND" => Role::Second,
            _ => return Err("states are STOP, WAIT, ALONE, PRIM, SECOND".to_owned()),
        };
        Ok(Target(role))
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('s').parse::<f64>() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds, e.g. 30 or 0.5".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOffStatus {
    On,
    Off,
    Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FullSync {
    Fullsync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NoSync {
    Nosync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    En,
    Fr,
}

#[derive(Subcommand, Debug, PartialEq)]
pub enum Verb {
    /// Start the module; the nodes find out who is primary
    #[command(after_help = "Example: lockstep start -m web --wait")]
    Start(Wait),
    /// Stop the module: graceful stop scripts, then forced ones; the peer takes over
    #[command(after_help = "Example: lockstep stop -m web --wait --timeout 300")]
    Stop(Wait),
    /// Stop and start the application in place, without changing roles
    #[command(after_help = "Example: lockstep restart -m web --wait")]
    Restart(Wait),
    /// Stop the module and start it again; a Ready peer takes over
    #[command(after_help = "Example: lockstep stopstart -m web")]
    Stopstart(Wait),
    /// Stop the module at once, with the forced stop scripts only
    #[command(after_help = "Example: lockstep forcestop -m web")]
    Forcestop(Wait),
    /// Exchange the roles of primary and secondary
    #[command(after_help = "Example: lockstep swap -m web --wait")]
    Swap {
        /// nosync: without bringing the copies level first (not in this version)
        mode: Option<NoSync>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Start as primary: this node's copy is the good one
    #[command(after_help = "Example: lockstep prim -m web --wait=ALONE")]
    Prim {
        /// fullsync: says how to have everything compared when the other node returns
        mode: Option<FullSync>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Start as primary although the copy is stale or half done
    #[command(after_help = "Example: lockstep primforce -m web")]
    Primforce(Wait),
    /// Start as secondary: follow the other node's copy
    #[command(after_help = "Example: lockstep second -m web --discard --wait")]
    Second {
        /// fullsync: compare everything, whatever is remembered
        mode: Option<FullSync>,
        /// Overwrite what only this node has changed
        #[arg(long)]
        discard: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Stop all modules of the node and wait until they are stopped
    #[command(after_help = "Example: lockstep shutdown --timeout 300")]
    Shutdown {
        /// Give up waiting after this many seconds (exit 5); without it, wait for ever
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        timeout: Option<f64>,
    },
    /// Show the state of a module, or of all of them
    #[command(after_help = "Example: lockstep state -m web --json")]
    State {
        /// With resources, digests and history
        #[arg(short = 'v', long)]
        verbose: bool,
        /// This node only
        #[arg(short = 'l')]
        local: bool,
        /// Print nothing, exit with STOP 0, WAIT 1, ALONE 2, PRIM 3, SECOND 4
        #[arg(short = 'q', long)]
        quiet: bool,
    },
    /// Watch all modules on all nodes: roles, throughput, latency, lag, returns
    #[command(after_help = "Example: lockstep top -m web")]
    Top(TopOptions),
    /// Wait until the module is Ready in this state (STOP: stopped)
    #[command(after_help = "Example: lockstep waitstate -m web SECOND --timeout 60")]
    Waitstate {
        state: Target,
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        timeout: Option<f64>,
    },
    /// Wait until the module is started and Ready
    #[command(after_help = "Example: lockstep waitstart -m web")]
    Waitstart {
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        timeout: Option<f64>,
    },
    /// Wait until the module is stopped
    #[command(after_help = "Example: lockstep waitstop -m web")]
    Waitstop {
        #[arg(long, value_name = "SECONDS", value_parser = seconds)]
        timeout: Option<f64>,
    },
    /// Show the version of the program that answers
    #[command(after_help = "Example: lockstep level -H '*'")]
    Level,
    /// Show the last entries of the module's log
    #[command(after_help = "Example: lockstep log -m web -s 50 -A")]
    Log(LogView),
    /// Show the last commands that changed something on this node: when, who, what, result
    #[command(after_help = "Example: lockstep -H '*' cmdlog -m web -s 20")]
    Cmdlog {
        /// How many
        #[arg(short = 's', value_name = "COUNT", default_value_t = 300)]
        count: usize,
    },
    /// Show the module's log and go on showing what is written
    #[command(after_help = "Example: lockstep logview -m web")]
    Logview(LogView),
    /// Write words into the verbose log of the module (for scripts)
    #[command(after_help = "Example: lockstep printi \"data directory is ready\"")]
    Printi(Words),
    /// Write words into the log of the module (for scripts)
    #[command(after_help = "Example: lockstep printe \"service does not start\"")]
    Printe(Words),
    /// Write a warning into the verbose log of the module (for scripts)
    #[command(after_help = "Example: lockstep printw \"slow start\"")]
    Printw(Words),
    /// Apply the edited configuration of the module
    #[command(after_help = "Example: lockstep -H '*' config -m web")]
    Config,
    /// Check the edited configuration of the module and change nothing
    #[command(after_help = "Example: lockstep confcheck -m web")]
    Confcheck,
    /// Show digest and date of the applied and of the edited configuration
    #[command(after_help = "Example: lockstep -H '*' confinfo -m web")]
    Confinfo,
    /// Install, list, check, pack and remove modules
    #[command(subcommand, after_help = "Example: lockstep module install -m web web.safe")]
    Module(ModuleVerb),
    /// Found or join a cluster, check and apply cluster.xml, see the nodes
    #[command(subcommand, after_help = "Example: lockstep cluster state")]
    Cluster(ClusterVerb),
    /// Show all resources of the module: value, who set it, since when
    #[command(after_help = "Example: lockstep resources -m web")]
    Resources,
    /// Print the numbers of this node and its modules as OpenMetrics text
    #[command(
        after_help = "Example: lockstep metrics --output /var/lib/node_exporter/lockstep.prom"
    )]
    Metrics {
        /// Replace this file in one step, e.g. for the textfile collector of node_exporter
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check and apply watch.xml: who is told how this node and its modules stand
    #[command(subcommand, after_help = "Example: lockstep watch check")]
    Watch(WatchVerb),
    /// Show a resource, or all of them
    #[command(after_help = "Example: lockstep get -m web -r heartbeat.default")]
    Get {
        #[arg(short = 'r', value_name = "RESOURCE")]
        resource: Option<String>,
    },
    /// Set a resource
    #[command(after_help = "Example: lockstep set -m web -r custom.disk -v up -i disk_check")]
    Set {
        #[arg(short = 'r', value_name = "RESOURCE")]
        resource: String,
        #[arg(short = 'v', value_name = "VALUE")]
        value: String,
        /// Without history (accepted; no history is kept in this version)
        #[arg(short = 'n', hide = true)]
        no_history: bool,
        #[arg(short = 'l', hide = true)]
        force_history: bool,
    },
    /// Count one automatic action of -i; exit 1 when the limit is reached
    #[command(after_help = "Example: lockstep incloop -m web -i my_check")]
    Incloop,
    /// Set the counter of automatic actions back
    #[command(after_help = "Example: lockstep resetloop -m web")]
    Resetloop,
    /// Exit 1 when the limit of automatic actions is reached, else 0
    #[command(after_help = "Example: lockstep checkloop -m web")]
    Checkloop,
    /// Start the module when the machine starts, or not
    #[command(after_help = "Example: lockstep boot on -m web")]
    Boot { value: OnOffStatus },
    /// Allow automatic take-over, or not (set it on all nodes)
    #[command(after_help = "Example: lockstep -H '*' failover off -m web")]
    Failover { value: OnOff },
    /// Work on a module: until it is over nothing happens by itself, on both nodes
    #[command(
        subcommand,
        after_help = "Example: lockstep maintenance on -m web --reason 'new kernel' --for 2h"
    )]
    Maintenance(MaintenanceVerb),
    /// Watch the module's processes or not, all or a class of them
    #[command(subcommand, after_help = "Example: lockstep errd list -m web")]
    Errd(ErrdVerb),
    /// Let the module's checkers act, or not
    #[command(after_help = "Example: lockstep checker off -m web")]
    Checker { value: OnOff },
    /// Measure replication on this pair: throughput and latency beside the plain file system
    #[command(after_help = "Example: lockstep bench -m web --seconds 1 --with-return")]
    Bench(BenchOptions),
    /// Say why the module is in its state on this node, and what can be done now
    #[command(after_help = "Example: lockstep explain -m web")]
    Explain,
    /// Pack logs, configurations and states into a zip file for support; without -m, of all modules
    #[command(after_help = "Example: lockstep snapshot -m web /tmp/web.zip")]
    Snapshot {
        /// Without it: lockstep-NODE-MODULE-TIME.zip in the current directory
        file: Option<PathBuf>,
    },
    /// Look for what would keep this node and its modules from working; exit 3 if something will
    #[command(after_help = "Example: lockstep -H '*' preflight -m web")]
    Preflight,
    /// Print what makes a shell complete the words of lockstep
    #[command(
        after_help = "zsh:  lockstep completion zsh >/usr/local/share/zsh/site-functions/_lockstep\n\
        fish: lockstep completion fish >/etc/fish/vendor_completions.d/lockstep.fish\n\n\
        Example: lockstep completion bash >/etc/bash_completion.d/lockstep"
    )]
    Completion { shell: Shell },
    /// What a shell asks at each Tab
    #[command(hide = true)]
    Complete {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<std::ffi::OsString>,
    },
    /// Write manual pages into a directory (for packages)
    #[command(hide = true)]
    Man { dir: PathBuf },
    /// Run the node's daemon in the foreground
    #[command(after_help = "Example: lockstep daemon")]
    Daemon,
    /// Run the data plane of one module; the daemon starts it
    #[command(hide = true)]
    Engine {
        name: ModuleName,
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct LogView {
    /// How many entries
    #[arg(short = 's', value_name = "COUNT", default_value_t = 300)]
    pub count: usize,
    /// Verbose entries too
    #[arg(short = 'A')]
    pub verbose: bool,
    /// Language (the log is in English; accepted for old scripts)
    #[arg(short = 'l', value_name = "LANGUAGE", hide = true)]
    pub language: Option<Language>,
}

#[derive(Args, Clone, Debug, PartialEq)]
pub struct Words {
    #[arg(required = true, num_args = 1.., value_name = "WORDS")]
    pub words: Vec<String>,
}

/// Parses the words after the program's name. `Err` holds help, version or what was wrong.
pub fn parse<I>(name: &'static str, words: I) -> Result<CommandLine, clap::Error>
where
    I: IntoIterator<Item = std::ffi::OsString>,
{
    let command = CommandLine::command().name(name).bin_name(name);
    let arguments = std::iter::once(name.into()).chain(free_words(words.into_iter().collect()));
    let mut matches = command.try_get_matches_from(arguments)?;
    CommandLine::from_arg_matches_mut(&mut matches)
}

/// A script's message may begin with a dash: what follows `printi`, `printe`, `printw` and is no
/// option of theirs is marked as a word.
fn free_words(mut words: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    const OPTIONS: [&str; 10] =
        ["-m", "--module", "-i", "--identity", "-H", "--nodes", "--json", "-h", "--help", "--"];
    let is_print = |word: &std::ffi::OsString| {
        ["printi", "printe", "printw"].iter().any(|print| word == print)
    };
    let Some(print) = words.iter().position(is_print) else { return words };
    let is_message = |word: &std::ffi::OsString| {
        word.to_string_lossy().starts_with('-') && !OPTIONS.iter().any(|option| word == option)
    };
    if let Some(at) = words.iter().skip(print).position(is_message) {
        words.insert(print + at, "--".into());
    }
    words
}

#[cfg(test)]
mod tests;
