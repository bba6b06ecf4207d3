//! What survives a power cut: lineage, memory of the copy, dirty set. The edge of `history`.
//!
//! ```text
//! DIR/lineage.a, lineage.b   every change of the right to write, appended, two copies
//! DIR/memory                 what this node knows of its own copy, replaced as a whole
//! DIR/dirty                  what the peer may lack, appended while ALONE
//! DIR/reserve                room for the others on a full disk
//! ```
//!
//! Each function returns when its bytes are on disk. The order in which they are called makes the
//! promise; `memory` decides which of the others counts:
//!
//! ```text
//! going alone   DirtyFile::create, then Memory { sole, dirty_base }, then the first mark, the
//!               epoch, the change
//! in sync       both disks, then the leader: Memory { in_sync_with, dirty_base: None }; then the
//!               follower: lineage adopted, Memory { Current, in_sync_with }; then
//!               DirtyFile::remove
//! stop in sync  this disk, then DirtyFile::create with what may not be on both disks, then
//!               Memory { position, dirty_base }
//! ```
mod dirty;
mod disk;
mod lineage;
mod memory;
mod remembered;
mod reserve;

pub use dirty::{DirtyFile, Loaded, LoadedDirty};
pub use lineage::LineageFile;
pub use memory::{Memory, MemoryFile};
pub use remembered::Remembered;
pub use reserve::{is_full, with_reserve};

use std::path::{Path, PathBuf};

/// Why something could not be remembered or recalled: what, where, why, what next.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {action} {}: {source}; nothing was changed, check the disk and its free space", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{} is damaged: {why}; {next}", path.display())]
    Damaged { path: PathBuf, why: String, next: &'static str },
    #[error(
        "{} was written by a newer version of lockstep (format {found}, this version knows up to \
         {known}); install that version again",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("{} cannot take this: {why}; nothing was changed", path.display())]
    Refused { path: PathBuf, why: String },
}

impl FileError {
    fn is_full(&self) -> bool {
        matches!(self, FileError::Io { source, .. } if is_full(source))
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
        let path = path.to_owned();
        move |source| FileError::Io { action, path, source }
    }
}

#[cfg(test)]
mod tests;
