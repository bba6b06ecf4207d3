//! `module …`
use super::NewModule;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(Subcommand, Debug, PartialEq)]
pub enum ModuleVerb {
    /// Write the directory of a new module: asks five questions on a terminal, or takes flags
    #[command(
        after_help = "Example: lockstep module new web --dir /srv/web --unit nginx --port 80"
    )]
    New(Box<NewModule>),
    /// Install a module from a .safe archive or its directory (without: the mirror template)
    #[command(after_help = "Example: lockstep module install -m web web.safe")]
    Install {
        /// A .safe archive, or a directory as `module new` writes it
        archive: Option<PathBuf>,
        /// Number of the module in the cluster, the same on all nodes; it gives the ports
        #[arg(short = 'M', value_name = "ID")]
        id: Option<u32>,
        /// Replace the module's edited copy
        #[arg(short = 'r')]
        replace: bool,
    },
    /// List the installed modules
    #[command(after_help = "Example: lockstep module list")]
    List,
    /// List the installed modules with their ids
    #[command(after_help = "Example: lockstep module listid")]
    Listid,
    /// Show the ports that a module uses
    #[command(after_help = "Example: lockstep module getports -m web")]
    Getports,
    /// Write the module's edited copy as a .safe archive
    #[command(after_help = "Example: lockstep module package -m web /srv/web.safe")]
    Package { archive: PathBuf },
    /// Remove a stopped module and keep an archive of it
    #[command(after_help = "Example: lockstep module uninstall -m web")]
    Uninstall,
    /// List the last three applied configurations of a module
    #[command(after_help = "Example: lockstep -H '*' module versions -m web")]
    Versions,
    /// Put an applied configuration back as the edited copy; -E then applies it
    #[command(after_help = "Example: lockstep module restore -m web 2")]
    Restore {
        /// Its name in `module versions`, or its number there, 1 for the newest
        version: String,
    },
    /// Check an archive or an installed module; works without a daemon
    #[command(after_help = "Example: lockstep module check web.safe")]
    Check {
        /// A .safe file, a directory as `module new` writes it, or the name of an installed module
        what: Option<String>,
    },
}
