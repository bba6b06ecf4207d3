//! The failover rules of a module: what is done when resources say that something is wrong.
//!
//! ```text
//! text -> language, lua -> Rule ─┐
//!          checkers -> builtin ──┴-> engine (resources, now) -> Verdict
//! ```
//!
//! A core: no clock, no file, no task. `config` reads the texts at the door, the hub looks after
//! the resources and carries verdicts out.
pub mod builtin;
pub mod engine;
pub mod language;
pub mod lua;
mod rule;
mod truth;

pub use builtin::{RuleSet, Statement, UserRules, combine};
pub use engine::{Blocked, Rules, Verdict};
pub use rule::{
    Action, Condition, Effect, Names, Pattern, Resource, Rule, Value, Whose, unsupported,
};
pub use truth::{Lookup, Table, truth};

/// The first thing in a text of rules that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Byte offset in the text.
    pub at: usize,
    pub expected: &'static str,
    pub found: Found,
}

/// What stood where something else was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A piece of the text as written.
    Text(String),
    /// Said in words: the end of the rules, a comment without end.
    Said(&'static str),
}

impl SyntaxError {
    fn text(at: usize, expected: &'static str, found: &str) -> SyntaxError {
        SyntaxError { at, expected, found: Found::Text(found.to_owned()) }
    }

    fn said(at: usize, expected: &'static str, found: &'static str) -> SyntaxError {
        SyntaxError { at, expected, found: Found::Said(found) }
    }
}
