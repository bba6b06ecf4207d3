//! Everything a node remembers of a module, read together and judged once.
use super::{DirtyFile, FileError, LineageFile, Loaded, LoadedDirty, Memory, MemoryFile};
use crate::model::{BootId, CopyState, NodeName, Position, Seq, Side};
use std::path::Path;

/// What the files of one engine folder say at start.
#[derive(Debug)]
pub struct Remembered {
    /// `None`: nothing was ever remembered, or it is lost; the copy is unknown.
    pub memory: Option<Memory>,
    pub lineage: LineageFile,
    /// The dirty file of the only member, if it is the one that counts.
    pub dirty: Option<Loaded>,
    /// What a member that stopped in order had not yet on both disks: counts if it leads again
    /// before it follows anybody.
    pub kept: Option<Loaded>,
    /// What was repaired or lost, one sentence each, for the log.
    pub notes: Vec<String>,
}

impl Remembered {
    /// Reads lineage, memory and dirty set in `dir` (which must exist). `boot` is the present
    /// boot: another one than the memory's, while a peer was in sync, means that acknowledged
    /// operations may have gone with the page cache (rule A1). Writes nothing but repairs.
    ///
    /// Damage never stops it: what cannot be read is unknown, and unknown is compared. Only a
    /// history that is unreadable in both copies, a newer format and a failing disk are errors.
    pub fn load(dir: &Path, boot: BootId) -> Result<Remembered, FileError> {
        let (lineage, mut notes) = LineageFile::open(dir)?;
        let mut memory = match MemoryFile::new(dir).load() {
            Ok(memory) => memory,
            Err(error @ FileError::Damaged { .. }) => {
                notes.push(error.to_string());
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(memory) = &mut memory {
            let rebooted = memory.boot != boot;
            memory.lost_volatile |= rebooted && memory.in_sync_with.is_some() && !memory.exact;
            memory.boot = boot;
        }
        let base = memory.as_ref().and_then(|memory| memory.dirty_base);
        let dirty = match (DirtyFile::load(dir)?, base) {
            (LoadedDirty::Present(loaded), Some(base)) if loaded.base == base => Some(*loaded),
            (LoadedDirty::Absent, None) => None,
            (LoadedDirty::Present(_) | LoadedDirty::Lost(_), None) => None,
            (found, Some(_)) => {
                let why = match found {
                    LoadedDirty::Absent => "it is missing".to_owned(),
                    LoadedDirty::Lost(why) => why,
                    LoadedDirty::Present(_) => "it begins at another position".to_owned(),
                };
                let path = dir.join("dirty");
                notes.push(format!(
                    "{} cannot be used: {why}; the next return compares everything",
                    path.display()
                ));
                None
            }
        };
        let member = memory.as_ref().is_some_and(|memory| memory.in_sync_with.is_some());
        let (dirty, kept) = if member { (None, dirty) } else { (dirty, None) };
        Ok(Remembered { memory, lineage, dirty, kept, notes })
    }

    /// What this node tells a peer before anything runs. A running engine fills the fields from
    /// its own state instead: exact position, window, marks.
    pub fn side(&self, node: &NodeName, boot: BootId) -> Side {
        let memory = self.memory.as_ref();
        let counts = self.dirty.as_ref().map(|dirty| dirty.set.counts()).unwrap_or_default();
        Side {
            node: node.clone(),
            boot,
            lineage: self.lineage.lineage().clone(),
            position: memory.map_or(Position { epoch: None, seq: Seq(0) }, |m| m.position),
            exact: memory.is_some_and(|memory| memory.exact),
            copy: memory.map_or(CopyState::Unknown, |memory| memory.copy),
            lost_volatile: memory.is_some_and(|memory| memory.lost_volatile),
            sole: memory.is_some_and(|memory| memory.sole),
            dirty_base: self.dirty.as_ref().map(|dirty| dirty.base),
            dirty_objects: counts.objects,
            dirty_bytes: counts.bytes(),
            window: None,
        }
    }
}
