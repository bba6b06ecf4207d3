//! The log of commands: who changed what on this node, and how it ended.
//!
//! A file of its own beside those of the modules, because it is about the node: commands for no
//! module, and for modules that were removed since. Same form: JSON lines, put aside at the same
//! size. Questions are not in it; neither is what a module does by itself, which its own log has.
use super::{BYTES_MAX, LogError, Logbook, read};
use crate::config::paths::Paths;
use crate::model::ModuleName;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::fmt;

const FILE: &str = "commands.jsonl";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEntry {
    /// When it was asked for.
    #[serde(with = "super::entry::rfc3339")]
    pub time: Timestamp,
    /// User with terminal and node, or the identity of a script.
    pub who: String,
    #[serde(default)]
    pub module: Option<ModuleName>,
    pub command: String,
    /// Exit code; 0 is done, or accepted and under way.
    pub exit: u8,
    /// What was answered, one line; may be empty.
    pub result: String,
}

impl CommandEntry {
    /// Appends it to the node's log of commands.
    pub fn write(&self, paths: &Paths) -> Result<(), LogError> {
        let book = Logbook::at(&paths.log, FILE, BYTES_MAX)?;
        let mut line = serde_json::to_vec(self)
            .map_err(|error| book.error("write", std::io::Error::other(error)))?;
        line.push(b'\n');
        book.append(&line).map_err(|source| book.error("write", source))
    }

    /// The last `count`, oldest first; of this module, or all.
    pub fn last(
        paths: &Paths,
        count: usize,
        module: Option<&ModuleName>,
    ) -> std::io::Result<Vec<CommandEntry>> {
        read::last_of(&paths.log.join(FILE), count, |line| {
            let entry: CommandEntry = serde_json::from_slice(line).ok()?;
            (module.is_none() || entry.module.as_ref() == module).then_some(entry)
        })
    }
}

/// `date time | who | module | command | done`
impl fmt::Display for CommandEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CommandEntry { time, who, command, exit, result, .. } = self;
        let time = time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let module = self.module.as_ref().map_or("-", |module| module.as_str());
        let outcome = match (exit, result.as_str()) {
            (0, "") => "done".to_owned(),
            (0, result) => result.to_owned(),
            (exit, result) => format!("exit {exit}: {result}"),
        };
        let line = format!("{time} | {who} | {module} | {command} | {outcome}");
        line.chars().try_for_each(|c| write!(f, "{}", if c.is_control() { '?' } else { c }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_back_by_module_and_a_torn_line_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        assert_eq!(CommandEntry::last(&paths, 10, None).unwrap(), []);
        let entry = |module: Option<&str>, command: &str, exit| CommandEntry {
            time: "2026-02-03T04:05:06Z".parse().unwrap(),
            who: "root@pts/0".into(),
            module: module.map(|name| ModuleName::new(name).unwrap()),
            command: command.into(),
            exit,
            result: "a\nb".into(),
        };
        let all = [entry(Some("web"), "start", 0), entry(None, "cluster init", 3)];
        all[0].write(&paths).unwrap();
        std::fs::OpenOptions::new()
            .append(true)
            .open(paths.log.join(FILE))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"{\"torn"))
            .unwrap();
        all[1].write(&paths).unwrap();
        assert_eq!(CommandEntry::last(&paths, 10, None).unwrap(), all);
        assert_eq!(CommandEntry::last(&paths, 1, None).unwrap(), all[1..]);
        assert_eq!(CommandEntry::last(&paths, 10, all[0].module.as_ref()).unwrap(), all[..1]);
        assert!(all[1].to_string().ends_with("| - | cluster init | exit 3: a?b"), "{}", all[1]);
    }
}
