//! What a node finds when it looks at itself before it goes live.
use crate::model::ModuleName;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreflightView {
    /// The node's clock when it was asked, RFC 3339.
    pub clock: String,
    pub findings: Vec<Finding>,
    /// Who owns what is replicated.
    pub owners: Vec<OwnerView>,
    /// The users and groups of the node's own files.
    pub accounts: Vec<AccountView>,
}

impl PreflightView {
    pub fn worst(&self) -> Option<Grade> {
        self.findings.iter().map(|finding| finding.grade).max()
    }
}

/// From good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Good to know.
    Note,
    /// Works today, or nearly as well.
    Warning,
    /// Will not work.
    Failure,
}

impl Grade {
    pub fn as_str(self) -> &'static str {
        match self {
            Grade::Note => "note",
            Grade::Warning => "warning",
            Grade::Failure => "failure",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub grade: Grade,
    /// Stable name of what was looked at, for programs.
    pub check: String,
    /// What it is about: a module, a file, a link.
    pub place: String,
    /// What is the matter with it; goes on from the place.
    pub text: String,
    /// What to do; may be empty where the text says it.
    pub remedy: String,
}

impl Finding {
    pub fn new(grade: Grade, check: &str, place: &str, text: &str, remedy: &str) -> Finding {
        let [check, place, text, remedy] = [check, place, text, remedy].map(str::to_owned);
        Finding { grade, check, place, text, remedy }
    }
}

/// A number that owns something in a replicated directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerView {
    pub module: ModuleName,
    pub dir: PathBuf,
    pub group: bool,
    pub id: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountView {
    pub group: bool,
    pub name: String,
    pub id: u32,
}
