//! The modules of a node: installed, edited, applied.
use super::archive::ArchiveError;
use super::mistake::{Mistakes, Note};
use super::paths::Paths;
use super::userconfig::UserConfig;
use crate::model::ModuleName;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What the administrator gave cannot be used; exit code 2, nothing changed.
    #[error("{0}")]
    Mistakes(#[from] Mistakes),
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// Refused, one sentence with what to do next.
    #[error("{0}")]
    Refused(String),
    #[error("module {0} is not installed on this node: see `lockstep module list`")]
    NotInstalled(ModuleName),
    #[error("module {0} was never configured on this node: run `lockstep config -m {0}`")]
    NotConfigured(ModuleName),
    /// The disk said no; what was there is still there.
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
}

/// A module as `module list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    pub name: ModuleName,
    pub id: u32,
    /// Digest of the edited copy.
    pub edited: String,
    /// The applied copy; `None`: never configured.
    pub applied: Option<AppliedMark>,
}

/// Which configuration is applied, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedMark {
    /// Hexadecimal blake3 over names, modes and contents.
    pub digest: String,
    /// Milliseconds since 1970, for people only.
    pub date_ms: i64,
}

/// Result of `configure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub digest: String,
    pub date_ms: i64,
    pub notes: Vec<Note>,
}

/// The applied configuration a module runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveModule {
    pub name: ModuleName,
    pub id: u32,
    pub config: UserConfig,
    pub digest: String,
    pub date_ms: i64,
    /// Holds `bin` and `conf` of the applied copy.
    pub dir: PathBuf,
}

#[derive(Clone, Debug)]
pub struct ModuleStore {
    paths: Paths,
}

impl ModuleStore {
    pub fn new(paths: Paths) -> ModuleStore {
        ModuleStore { paths }
    }

    /// Installs a module from an archive (or the built-in mirror template), or replaces the
    /// edited copy of one. Answers its id.
    pub fn install(
        &self,
        name: &ModuleName,
        _archive: Option<&Path>,
        _id: Option<u32>,
        _replace: bool,
    ) -> Result<u32, StoreError> {
        Err(StoreError::NotInstalled(name.clone()))
    }

    /// Removes a module and keeps an archive of it. The caller refuses while it runs.
    pub fn uninstall(&self, name: &ModuleName) -> Result<PathBuf, StoreError> {
        Err(StoreError::NotInstalled(name.clone()))
    }

    /// All modules, by name.
    pub fn list(&self) -> Result<Vec<Installed>, StoreError> {
        Ok(Vec::new())
    }

    /// Writes the edited copy as an archive.
    pub fn package(&self, name: &ModuleName, _out: &Path) -> Result<(), StoreError> {
        Err(StoreError::NotInstalled(name.clone()))
    }

    /// Checks the edited copy; changes nothing.
    pub fn check(&self, name: &ModuleName) -> Result<UserConfig, StoreError> {
        Err(StoreError::NotInstalled(name.clone()))
    }

    /// Checks the edited copy and applies it, at once or not at all.
    pub fn configure(&self, name: &ModuleName) -> Result<Applied, StoreError> {
        Err(StoreError::NotInstalled(name.clone()))
    }

    /// The applied configuration.
    pub fn active(&self, name: &ModuleName) -> Result<ActiveModule, StoreError> {
        let dir = self.paths.module_active(name);
        Err(StoreError::Io {
            action: "read",
            path: dir,
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    /// Name, id and archive of a module as bytes for another node (`-E`).
    pub fn export(&self, name: &ModuleName) -> Result<Vec<u8>, StoreError> {
        Err(StoreError::NotInstalled(name.clone()))
    }

    /// Installs what another node exported, with the same id, over an older copy if there is one.
    pub fn import(&self, _bytes: &[u8]) -> Result<ModuleName, StoreError> {
        Err(StoreError::Refused("nothing to import".into()))
    }
}
