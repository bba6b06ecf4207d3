//! What a daemon answers, and the exit codes people's scripts rely on.
use super::preflight::PreflightView;
use super::view::{
    ClusterView, ConfigView, LevelView, ModuleSummary, ModuleView, ProcessView, ResourceView,
    SettingsView, VersionView,
};
use crate::logbook::{CommandEntry, Entry};
use crate::model::{ModuleName, NodeName};
use serde::{Deserialize, Serialize};

/// Exit code of a command (`state -lq` and `checkloop` have their own).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    /// Tried and failed.
    Failed = 1,
    /// Wrong usage, or a mistake in a configuration.
    Usage = 2,
    /// Refused by a safety rule, or not in this version.
    Refused = 3,
    NotAuthorised = 4,
    /// Did not come true in time; it may still.
    TimedOut = 5,
    /// A peer or a majority is missing.
    NoPeer = 6,
}

/// Names of reasons that programs, the command line among them, act upon. Others may be used too:
/// lower case, words joined by `-`.
pub mod code {
    /// Prefix: what was asked for is so already. `lockstep` exits with 0.
    pub const ALREADY: &str = "already-";
    /// `stop` of a stopped module: the old name of the program exits with 1, the new one with 0.
    pub const ALREADY_STOPPED: &str = "already-stopped";
    pub const ALREADY_STARTED: &str = "already-started";
    pub const ALREADY_PRIMARY: &str = "already-primary";
    pub const ALREADY_SECONDARY: &str = "already-secondary";
    pub const ALREADY_UNINSTALLED: &str = "already-uninstalled";
    /// `errd enable` of an enabled class, `errd disable` of one that is not.
    pub const ALREADY_SWITCHED: &str = "already-switched";
    /// A person must say whose copy is right.
    pub const NEEDS_DECISION: &str = "needs-decision";
    pub const NO_MODULE: &str = "no-module";
    pub const NOT_IN_THIS_VERSION: &str = "not-in-this-version";
    /// A configuration or directory cannot change while the module runs.
    pub const RUNNING: &str = "running";
    pub const LOOP_LIMIT: &str = "loop-limit";
}

/// Nothing was done, and why: one sentence with what, where, why and what next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// Stable name of the reason, e.g. `already-primary`, for programs.
    pub code: String,
    pub text: String,
    pub exit: Exit,
}

impl Refusal {
    /// Known, and for a later version.
    pub fn not_in_this_version(what: &str) -> Refusal {
        let text = format!("not in this version: {what}");
        Refusal { code: code::NOT_IN_THIS_VERSION.to_owned(), text, exit: Exit::Refused }
    }

    /// The module a request names is not installed (or not configured) here.
    pub fn no_module(module: &ModuleName) -> Refusal {
        let text = format!(
            "module {module} is not configured on this node; \
             see `lockstep module list`, then `lockstep config -m {module}`"
        );
        Refusal { code: code::NO_MODULE.to_owned(), text, exit: Exit::Failed }
    }
}

/// The answer of one node to one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "body")]
pub enum Response {
    /// Done, or accepted and under way.
    Ok {
        #[serde(default)]
        text: Option<String>,
    },
    Refused(Refusal),
    Data {
        data: Data,
    },
    /// Never the last line of an answer.
    Progress {
        text: String,
    },
}

impl Response {
    pub fn ok() -> Response {
        Response::Ok { text: None }
    }

    pub fn ok_with(text: impl Into<String>) -> Response {
        Response::Ok { text: Some(text.into()) }
    }

    pub fn data(data: Data) -> Response {
        Response::Data { data }
    }

    pub fn refused(code: &str, text: impl Into<String>, exit: Exit) -> Response {
        Response::Refused(Refusal { code: code.to_owned(), text: text.into(), exit })
    }

    /// Refused by a safety rule.
    pub fn unsafe_now(code: &str, text: impl Into<String>) -> Response {
        Response::refused(code, text, Exit::Refused)
    }

    pub fn not_in_this_version(what: &str) -> Response {
        Response::Refused(Refusal::not_in_this_version(what))
    }

    pub fn no_module(module: &ModuleName) -> Response {
        Response::Refused(Refusal::no_module(module))
    }

    /// What was asked for is so already; `code` is one of [`code`]'s `ALREADY_…`.
    pub fn already(code: &str, text: impl Into<String>) -> Response {
        Response::refused(code, text, Exit::Failed)
    }

    pub fn exit(&self) -> Exit {
        match self {
            Response::Refused(refusal) => refusal.exit,
            _ => Exit::Done,
        }
    }
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The node that answers; `None` before a node has a name.
    #[serde(default)]
    pub node: Option<NodeName>,
    #[serde(default)]
    pub last: bool,
    #[serde(flatten)]
    pub response: Response,
}

impl Reply {
    /// The one answer of this node, before its name is known.
    pub fn here(response: Response) -> Reply {
        Reply { node: None, last: true, response }
    }
}

/// What questions are answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    Module(Box<ModuleView>),
    Modules(Vec<ModuleView>),
    Installed(Vec<ModuleSummary>),
    Cluster(ClusterView),
    Level(LevelView),
    Resources(Vec<ResourceView>),
    Settings(SettingsView),
    Processes(Vec<ProcessView>),
    Config(ConfigView),
    Versions(Vec<VersionView>),
    Preflight(PreflightView),
    Log(Vec<Entry>),
    /// OpenMetrics text.
    Metrics(String),
    Commands(Vec<CommandEntry>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_one_flat_line_and_comes_back_equal() {
        for response in [
            Response::ok(),
            Response::ok_with("a\nb"),
            Response::unsafe_now("already-primary", "no"),
            Response::Progress { text: "x".into() },
            Response::data(Data::Modules(Vec::new())),
        ] {
            let reply = Reply { node: NodeName::new("n1").ok(), last: true, response };
            let line = serde_json::to_string(&reply).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Reply>(&line).unwrap(), reply, "{line}");
        }
    }
}
