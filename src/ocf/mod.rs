//! What the OCF resource agent API (version 1.1) says, and nothing about any cluster: where an
//! agent lies, what it says of itself (`metadata`), what it is told (`environment`), and what its
//! exit codes mean (`exit`).
//!
//! ```text
//! heartbeat:pgsql -> OCF_ROOT/resource.d/heartbeat/pgsql start | stop | monitor | meta-data
//! ```
//! Agents are programs of the node, as its packages are: a module says only which one is run. An
//! archive cannot bring one, or a look at an archive would run what a stranger wrote.
mod environment;
mod exit;
mod metadata;

pub use environment::{Call, environment};
pub use exit::{DEGRADED, NOT_INSTALLED, NOT_RUNNING, SUCCESS, is_running, meaning};
pub use metadata::{Action, Described, MetaData, Parameter, ask, describe};

use crate::model::Agent;
use std::path::{Path, PathBuf};

/// Where distributions have agents, unless [`ROOT_VARIABLE`] names another place.
pub const ROOT: &str = "/usr/lib/ocf";
/// An absolute path in the environment of the daemon and of the commands.
pub const ROOT_VARIABLE: &str = "LOCKSTEP_OCF_ROOT";

/// OCF_ROOT of this node.
pub fn root() -> PathBuf {
    let named = std::env::var_os(ROOT_VARIABLE).map(PathBuf::from);
    named.filter(|path| path.is_absolute()).unwrap_or_else(|| ROOT.into())
}

/// The agent's file beneath a root, whether it is there or not.
pub fn path(root: &Path, agent: &Agent) -> PathBuf {
    root.join("resource.d").join(&agent.provider).join(&agent.name)
}

/// `heartbeat:pgsql`, also written `ocf:heartbeat:pgsql`: provider and name. Both are names of
/// files; a leading dot is kept for hidden ones, and would leave the folder.
pub fn names(text: &str) -> Option<(&str, &str)> {
    let (provider, name) = text.strip_prefix("ocf:").unwrap_or(text).split_once(':')?;
    let plain = |name: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || "_-.+".contains(c);
        !name.is_empty() && !name.starts_with('.') && name.chars().all(letter)
    };
    (plain(provider) && plain(name)).then_some((provider, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_named_by_provider_and_file() {
        assert_eq!(names("heartbeat:pgsql"), Some(("heartbeat", "pgsql")));
        assert_eq!(names("ocf:heartbeat:IPaddr2"), Some(("heartbeat", "IPaddr2")));
        for bad in
            ["pgsql", "heartbeat:", ":x", "a:../../bin/sh", "a:.hidden", "a/b:c", "a:b:c", ""]
        {
            assert_eq!(names(bad), None, "{bad}");
        }
    }
}
