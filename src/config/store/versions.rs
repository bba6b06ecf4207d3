//! The last three applied configurations of a module, as archives.
use super::durable::{self, failed};
use super::*;
use crate::config::archive::Tree;
use std::fs;

const VERSIONS_KEPT: usize = 3;

/// One kept configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// File name of the archive, e.g. `postgresql_2026-11-21_071450.safe`; names sort by date.
    pub name: String,
    pub digest: String,
}

impl ModuleStore {
    /// Kept configurations, newest first.
    pub fn versions(&self, module: &ModuleName) -> Result<Vec<Version>, StoreError> {
        let folder = self.paths.module_versions(module);
        let mut versions = Vec::new();
        for name in names(&folder)? {
            let tree = Tree::read_archive(&folder.join(&name))?;
            versions.push(Version { name, digest: tree.digest() });
        }
        Ok(versions)
    }

    /// Puts a kept configuration back as the edited copy; `configure` applies it.
    pub fn restore(&self, module: &ModuleName, version: &str) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let record = self.record(module)?;
        let folder = self.paths.module_versions(module);
        let known = names(&folder)?;
        if !known.iter().any(|name| name == version) {
            let kept = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(StoreError::Refused(format!(
                "module {module} has no version {version:?}: kept are {kept}"
            )));
        }
        let tree = Tree::read_archive(&folder.join(version))?;
        self.put_edited(module, tree, record.id)
    }

    pub(super) fn keep_version(
        &self,
        module: &ModuleName,
        tree: &Tree,
        date_ms: i64,
    ) -> Result<(), StoreError> {
        let folder = self.paths.module_versions(module);
        durable::make_dir(&folder)?;
        let newest = names(&folder)?.into_iter().next();
        let same = newest.and_then(|name| Tree::read_archive(&folder.join(name)).ok());
        if same.is_some_and(|newest| newest.digest() == tree.digest()) {
            return Ok(());
        }
        let path = folder.join(dated(module, date_ms));
        durable::replace_file(&path, 0o600, &tree.to_bytes()?)?;
        for old in names(&folder)?.iter().skip(VERSIONS_KEPT) {
            let path = folder.join(old);
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(())
    }
}

/// `NAME_<date>_<time>.safe` in UTC, with milliseconds, so that names sort by date.
pub(super) fn dated(module: &ModuleName, date_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(date_ms).unwrap_or_default();
    format!("{module}_{}.safe", time.strftime("%Y-%m-%d_%H%M%S%3f"))
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
