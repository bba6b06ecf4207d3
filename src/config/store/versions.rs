//! The last three applied configurations of a module, as archives, and the archives of what was
//! removed or overwritten without ever having been applied.
use super::durable::{self, failed};
use super::*;
use crate::config::archive::Tree;
use std::fs;

const VERSIONS_KEPT: usize = 3;
/// Of one module in the backup directory; the oldest go.
const BACKUPS_KEPT: usize = 10;
/// `2026-11-21_071450123`
const DATE_FORMAT: &str = "%Y-%m-%d_%H%M%S%3f";
const DATE_LENGTH: usize = 20;

/// One kept configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// File name of the archive, e.g. `postgresql_2026-11-21_071450123.safe`; names sort by date.
    pub name: String,
    /// `None`: the archive cannot be read any more.
    pub digest: Option<String>,
}

/// What [`ModuleStore::restore`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub version: String,
    pub digest: String,
    /// Where the edited copy is kept that was never applied.
    pub kept: Option<PathBuf>,
}

impl ModuleStore {
    /// Kept configurations, newest first. One that cannot be read hides no other.
    pub fn versions(&self, module: &ModuleName) -> Result<Vec<Version>, StoreError> {
        self.record(module)?;
        let folder = self.paths.module_versions(module);
        let read = |name: String| {
            let tree = Tree::read_archive(&folder.join(&name)).ok();
            Version { name, digest: tree.map(|tree| tree.digest()) }
        };
        Ok(names(&folder)?.into_iter().map(read).collect())
    }

    /// Puts a kept configuration back as the edited copy; `configure` applies it. `version` is its
    /// name, or its number in the list, 1 for the newest. An edited copy that no kept version holds
    /// goes to the backups first.
    pub fn restore(&self, module: &ModuleName, version: &str) -> Result<Restored, StoreError> {
        let _lock = self.lock()?;
        let record = self.record(module)?;
        let folder = self.paths.module_versions(module);
        let known = names(&folder)?;
        let number = version.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let named = |name: &&String| {
            **name == version || name.strip_suffix(".safe").is_some_and(|name| name == version)
        };
        let found = known.iter().find(named).or_else(|| known.get(number?)).cloned();
        let Some(name) = found else {
            let kept = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(StoreError::Refused(format!(
                "module {module} has no version {version:?}: kept are {kept}; nothing was changed"
            )));
        };
        let tree = Tree::read_archive(&folder.join(&name))?;
        let digest = tree.digest();
        let edited = self.edited_tree(module)?;
        let known_elsewhere = self
            .versions(module)?
            .iter()
            .any(|version| version.digest.as_ref() == Some(&edited.digest()));
        let kept = match known_elsewhere {
            true => None,
            false => Some(self.back_up(module, &edited)?),
        };
        self.put_edited(module, tree, record.id)?;
        Ok(Restored { version: name, digest, kept })
    }

    /// Keeps a copy that stands nowhere else; answers where.
    pub(super) fn back_up(&self, module: &ModuleName, tree: &Tree) -> Result<PathBuf, StoreError> {
        let folder = self.paths.backup();
        durable::make_dir(&folder)?;
        let kept = folder.join(dated(module, now_ms()));
        durable::replace_file(&kept, 0o600, &tree.to_bytes()?)?;
        let mut mine = names(&folder)?;
        mine.retain(|name| is_of(module, name));
        remove_oldest(&folder, &mine, BACKUPS_KEPT)?;
        Ok(kept)
    }

    pub(super) fn keep_version(
        &self,
        module: &ModuleName,
        tree: &Tree,
        date_ms: i64,
    ) -> Result<(), StoreError> {
        let folder = self.paths.module_versions(module);
        durable::make_dir(&folder)?;
        let before = self.versions(module)?;
        let same = |version: &&Version| version.digest.as_ref() == Some(&tree.digest());
        if before.first().is_some_and(|newest| same(&newest)) {
            return Ok(());
        }
        let path = folder.join(dated(module, date_ms));
        durable::replace_file(&path, 0o600, &tree.to_bytes()?)?;
        // Applied again: the three that are kept are three different ones.
        for again in before.iter().filter(same) {
            let path = folder.join(&again.name);
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        remove_oldest(&folder, &names(&folder)?, VERSIONS_KEPT)
    }
}

/// `names`: newest first.
fn remove_oldest(folder: &Path, names: &[String], kept: usize) -> Result<(), StoreError> {
    for old in names.iter().skip(kept) {
        let path = folder.join(old);
        fs::remove_file(&path).map_err(failed("remove", &path))?;
    }
    Ok(())
}

/// `NAME_<date>_<time>.safe` in UTC, with milliseconds, so that names sort by date.
fn dated(module: &ModuleName, date_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(date_ms).unwrap_or_default();
    format!("{module}_{}.safe", time.strftime(DATE_FORMAT))
}

/// Not that of a module whose name begins with this one's.
fn is_of(module: &ModuleName, name: &str) -> bool {
    let rest = name.strip_prefix(module.as_str()).and_then(|rest| rest.strip_prefix('_'));
    let date = rest.and_then(|rest| rest.strip_suffix(".safe"));
    let dated = |c: char| c.is_ascii_digit() || "-_".contains(c);
    date.is_some_and(|date| date.len() == DATE_LENGTH && date.chars().all(dated))
}

/// Names of the archives in a folder, newest first; none if there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        found => {
            for entry in found.map_err(failed("read", folder))? {
                let entry = entry.map_err(failed("read", folder))?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with(".safe") && !name.starts_with('.') {
                    names.push(name);
                }
            }
        }
    }
    names.sort();
    names.reverse();
    Ok(names)
}
