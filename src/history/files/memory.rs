//! The memory of the copy: one small file, replaced as a whole.
//!
//! ```text
//! lockstep-memory 1
//! 5d41402a {"module":"postgresql",…}
//! ```
//!
//! A file that cannot be read back means a copy that nobody can vouch for ([`CopyState::Unknown`]),
//! so an older state is never used in its place.
use super::{FileError, disk};
use crate::model::{BootId, CopyState, ModuleName, NodeName, Position};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a node durably knows of its own copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub module: ModuleName,
    /// Identity of the cluster: a directory of state that came from elsewhere is not ours.
    pub cluster: String,
    pub node: NodeName,
    /// Boot in which this was written.
    pub boot: BootId,
    pub copy: CopyState,
    /// The only in-sync member: goes on without a peer.
    pub sole: bool,
    /// The peer that holds every acknowledged operation, if there is one.
    pub in_sync_with: Option<NodeName>,
    /// Everything up to here is on this node's disk.
    pub position: Position,
    /// Nothing was applied after `position`: set by an orderly stop only, unset before the first
    /// change after it.
    pub exact: bool,
    /// Rule A1: acknowledged operations may have gone with the page cache. Stays until another
    /// in-sync member answered, or an operator decided.
    pub lost_volatile: bool,
    /// Base of the dirty file that counts. `None`: a dirty file that lies about is an old one.
    pub dirty_base: Option<Position>,
    /// The node died while it marked: what it made last may lack its mark as new, for the inode is
    /// known only once it is there. Its directory is marked. Until the marks have served.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made_unmarked: bool,
    /// What is not replicated of the directories, one line each that leaves something out: the
    /// copies never had it in common.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// `DIR/memory`.
#[derive(Clone, Debug)]
pub struct MemoryFile {
    path: PathBuf,
}

const KIND: &str = "memory";
const VERSION: u32 = 1;
const NEXT: &str = "the copy counts as unknown until `prim` or `second` decides";

impl MemoryFile {
    /// The file in `dir`, which must exist; reads nothing.
    pub fn new(dir: &Path) -> MemoryFile {
        MemoryFile { path: dir.join("memory") }
    }

    /// What was stored last; `None`: nothing ever was.
    pub fn load(&self) -> Result<Option<Memory>, FileError> {
        let Some(bytes) = disk::read(&self.path)? else { return Ok(None) };
        let damaged = |why: &str| FileError::Damaged {
            path: self.path.clone(),
            why: why.to_owned(),
            next: NEXT,
        };
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let head = lines.next().unwrap_or_default();
        match disk::version(head, KIND) {
            Some(VERSION) => {}
            Some(found) if found > VERSION => {
                return Err(FileError::Newer { path: self.path.clone(), found, known: VERSION });
            }
            _ => return Err(damaged("its first line is not ours")),
        }
        let text = lines.next().and_then(disk::unseal);
        let text = text.ok_or_else(|| damaged("its checksum does not match its content"))?;
        if lines.next() != Some(b"") || lines.next().is_some() {
            return Err(damaged("it does not end where it should"));
        }
        match serde_json::from_str(text) {
            Ok(memory) => Ok(Some(memory)),
            Err(error) => Err(damaged(&error.to_string())),
        }
    }

    /// Replaces what is stored. Durable on return; after a power cut the old or the new.
    pub fn store(&self, memory: &Memory) -> Result<(), FileError> {
        let text = serde_json::to_string(memory).map_err(|error| FileError::Refused {
            path: self.path.clone(),
            why: error.to_string(),
        })?;
        let bytes = format!("lockstep-{KIND} {VERSION}\n{}", disk::seal(&text));
        disk::replace(&self.path, bytes.as_bytes()).map(drop)
    }
}
