//! What of a replicated directory is replicated: everything but what `<notreplicated>` names.
//!
//! An entry is left out by its path, by its name, or because a directory above it is. Both nodes
//! ask here before anything is sent, compared or removed; what is left out belongs to the node
//! where it is, and neither is its content read nor its name touched for the other one's sake.
use crate::model::{NotReplicated, ReplicatedDir};
use regex::bytes::{Regex, RegexBuilder};
use std::os::unix::ffi::OsStrExt;
use std::path::Component;

/// Of one replicated directory.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Names from the directory down.
    paths: Vec<Vec<Vec<u8>>>,
    leave: Vec<Regex>,
    /// A file is left out unless one of these matches; empty: no such rule.
    only: Vec<Regex>,
}

impl Selection {
    /// # Errors
    /// An expression that is none.
    pub fn of(dir: &ReplicatedDir) -> Result<Selection, String> {
        let mut selection = Selection::default();
        for rule in &dir.not_replicated {
            match rule {
                NotReplicated::Path(path) => {
                    let names = path.components().filter_map(|part| match part {
                        Component::Normal(name) => Some(name.as_bytes().to_vec()),
                        _ => None,
                    });
                    selection.paths.push(names.collect());
                }
                NotReplicated::Pattern { pattern, only } => {
                    let list = if *only { &mut selection.only } else { &mut selection.leave };
                    list.push(expression(pattern)?);
                }
            }
        }
        Ok(selection)
    }

    /// Nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.paths.is_empty() && self.leave.is_empty() && self.only.is_empty()
    }

    /// The entry is left out of a directory that is not. `path`: the names that lead to the
    /// directory; asked for only where it matters.
    pub fn leaves_out(
        &self,
        path: impl FnOnce() -> Vec<Vec<u8>>,
        name: &[u8],
        is_dir: bool,
    ) -> bool {
        if self.leave.iter().any(|pattern| pattern.is_match(name)) {
            return true;
        }
        if !is_dir && !self.only.is_empty() && !self.only.iter().any(|it| it.is_match(name)) {
            return true;
        }
        if !self.paths.iter().any(|rule| rule.last().is_some_and(|last| last == name)) {
            return false;
        }
        let path = path();
        self.paths.iter().any(|rule| {
            rule.split_last().is_some_and(|(last, above)| last == name && above == path)
        })
    }

    /// A directory with this path has something below it that is left out by its own path.
    pub fn names_below(&self, path: &[Vec<u8>]) -> bool {
        self.paths.iter().any(|rule| rule.len() > path.len() && rule.starts_with(path))
    }
}

/// Names are bytes; a pattern that speaks of characters beyond ASCII finds them as UTF-8.
fn expression(pattern: &str) -> Result<Regex, String> {
    let build = |unicode: bool| {
        let mut builder = RegexBuilder::new(pattern);
        builder.unicode(unicode).dot_matches_new_line(true).size_limit(1 << 20).nest_limit(64);
        builder.build()
    };
    build(false)
        .or_else(|_| build(true))
        .map_err(|error| format!("regexpath {pattern:?} is no regular expression: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(rules: &[&str]) -> Selection {
        let rule = |text: &&str| match text.split_once(' ') {
            Some(("path", path)) => NotReplicated::Path(path.into()),
            Some((kind, pattern)) => {
                NotReplicated::Pattern { pattern: pattern.to_owned(), only: kind == "only" }
            }
            None => unreachable!(),
        };
        let not_replicated = rules.iter().map(rule).collect();
        Selection::of(&ReplicatedDir { path: "/d".into(), level: None, not_replicated }).unwrap()
    }

    fn left_out(selection: &Selection, path: &str, is_dir: bool) -> bool {
        let mut names: Vec<Vec<u8>> = path.split('/').map(|name| name.into()).collect();
        let name = names.pop().unwrap();
        selection.leaves_out(|| names, &name, is_dir)
    }

    #[test]
    fn an_expression_is_found_anywhere_in_a_name() {
        let tmp = selection(&["leave .*\\.tmp$", "leave ^core"]);
        assert!(left_out(&tmp, "a/b/x.tmp", false) && left_out(&tmp, "x.tmp", true));
        assert!(left_out(&tmp, "core.12", false));
        // The reference's own example, and a name that only contains the word.
        assert!(!left_out(&tmp, "conf/config.tmp.swap", false));
        assert!(!left_out(&tmp, "x.TMP", false) && !left_out(&tmp, "score", false));
    }

    #[test]
    fn only_speaks_of_files() {
        let data = selection(&["only .*\\.mdf$", "only .*\\.ldf$", "leave ^old"]);
        assert!(!left_out(&data, "a/x.mdf", false) && !left_out(&data, "x.ldf", false));
        assert!(left_out(&data, "x.txt", false) && !left_out(&data, "directory", true));
        assert!(left_out(&data, "old.mdf", false) && left_out(&data, "older", true));
    }

    #[test]
    fn a_path_is_one_place() {
        let cache = selection(&["path var/cache", "path tmp"]);
        assert!(left_out(&cache, "var/cache", true) && left_out(&cache, "tmp", true));
        assert!(!left_out(&cache, "cache", true) && !left_out(&cache, "a/var/cache", true));
        assert!(cache.names_below(&[b"var".to_vec()]) && cache.names_below(&[]));
        assert!(!cache.names_below(&[b"tmp".to_vec()]));
    }

    #[test]
    fn names_are_bytes() {
        let all = selection(&["leave ^.*\\.tmp$", "leave é"]);
        assert!(all.leaves_out(Vec::new, b"caf\xe9.tmp", false));
        assert!(all.leaves_out(Vec::new, "café".as_bytes(), false));
        assert!(!all.leaves_out(Vec::new, b"caf\xe9", false));
    }
}
