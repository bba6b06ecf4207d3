//! `.safe` archives: zip files from strangers in, deterministic zip files out.
use std::path::PathBuf;

/// One file of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative, normalised, `/` between parts: `bin/start_prim`.
    pub name: String,
    /// Permission bits only.
    pub mode: u32,
    pub bytes: Vec<u8>,
}

/// The files of a module, sorted by name, nothing twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    pub entries: Vec<Entry>,
}

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("archive {}: {reason}", path.display())]
    Refused { path: PathBuf, reason: String },
}
