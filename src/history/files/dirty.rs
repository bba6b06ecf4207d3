//! The dirty file: what the peer may lack, durable before the first change, appended while ALONE.
//!
//! Records have one size and never cross a sector, so that a cut leaves whole records, then at
//! most one broken or zeroed end. Little endian:
//!
//! ```text
//! header, 512 bytes            record, 64 bytes
//!   0 magic "LSDIRTY1"           0 kind u8     names attributes whole zones pages clear = 1 … 6
//!   8 version u32                1 reserved
//!  12 flags u32 (1: epoch set)   2 directory u16
//!  16 base epoch u128            4 generation u32
//!  32 base sequence u64          8 inode u64
//!  40 file id u64               16 first zone u32
//!  48 records written at        20 last zone u32
//!     creation u64              24 pages 8 × u32
//!  56 peer name, 64 bytes       56 number of the record in the file u32
//! 508 crc32 of 0 .. 508         60 crc32 of the file id and 0 .. 60
//! ```
//!
//! An incomplete or zeroed end was never synced, so nothing was changed under it: it is dropped.
//! Any other record that fails its check means that a mark may be missing: the set is
//! [`LoadedDirty::Lost`], and the two copies must be compared. Never does it mean "in sync".
mod codec;

use super::{FileError, disk};
use crate::history::dirty::{DirtyRecord, DirtySet};
use crate::model::{NodeName, Position};
use codec::{HEADER, Header, RECORD, read_header, write_header, write_record};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// `DIR/dirty`, open for appending.
#[derive(Debug)]
pub struct DirtyFile {
    path: PathBuf,
    file: File,
    header: Header,
    /// Records in the file: the number of the next one.
    records: u32,
    /// Records appended since a rewrite began, to be repeated in the new file.
    since_rewrite: Option<Vec<DirtyRecord>>,
    /// A failed append may have left part of a record: the next one goes to the same place.
    length: u64,
}

/// A dirty file read back.
#[derive(Debug)]
pub struct Loaded {
    /// Where the peer's disk stood: the set is complete relative to that position.
    pub base: Position,
    pub peer: NodeName,
    pub set: DirtySet,
    /// Ready to append.
    pub file: DirtyFile,
}

#[derive(Debug)]
pub enum LoadedDirty {
    /// No dirty file.
    Absent,
    /// Marks may be missing, for this reason: compare everything.
    Lost(String),
    Present(Box<Loaded>),
}

impl DirtyFile {
    /// Writes `set` as the initial dirty set of a node that goes on without `peer`, in place of
    /// any older file (rule A4). Durable on return; the marks of `set` are then recorded.
    pub fn create(
        dir: &Path,
        base: Position,
        peer: &NodeName,
        set: &mut DirtySet,
    ) -> Result<DirtyFile, FileError> {
        let path = dir.join("dirty");
        let records = set.records(true);
        let file = write_file(path, base, peer.clone(), &records)?;
        set.written(true);
        Ok(file)
    }

    /// Reads the file back. A newer format is an error; damage is [`LoadedDirty::Lost`].
    pub fn load(dir: &Path) -> Result<LoadedDirty, FileError> {
        let path = dir.join("dirty");
        let Some(bytes) = disk::read(&path)? else { return Ok(LoadedDirty::Absent) };
        let header = match read_header(&bytes, &path)? {
            Ok(header) => header,
            Err(why) => return Ok(LoadedDirty::Lost(why)),
        };
        let read = match codec::read_records(&bytes[HEADER..], &header) {
            Ok(records) => records,
            Err(why) => return Ok(LoadedDirty::Lost(why)),
        };
        let mut set = DirtySet::new();
        read.iter().for_each(|record| set.apply(record));
        let file = OpenOptions::new().write(true).open(&path);
        let file = file.map_err(FileError::io("open", &path))?;
        let length = (HEADER + read.len() * RECORD) as u64;
        if bytes.len() as u64 != length {
            disk::truncate(&file, &path, length)?;
            disk::sync(&file, &path)?;
        }
        let (base, peer) = (header.base, header.peer.clone());
        let records = read.len() as u32;
        let file = DirtyFile { path, file, header, records, since_rewrite: None, length };
        Ok(LoadedDirty::Present(Box::new(Loaded { base, peer, set, file })))
    }

    /// Writes records behind the last one: one write, not durable yet. Sync through
    /// [`DirtyFile::sync_handle`] before the change that they announce is made. After an error
    /// the same records may be appended again.
    pub fn append(&mut self, records: &[DirtyRecord]) -> Result<(), FileError> {
        let mut bytes = Vec::with_capacity(records.len() * RECORD);
        for (number, record) in (self.records..).zip(records) {
            write_record(&mut bytes, record, number, self.header.id);
        }
        disk::write_at(&self.file, &self.path, self.length, &bytes)?;
        self.length += bytes.len() as u64;
        self.records += records.len() as u32;
        if let Some(since) = &mut self.since_rewrite {
            since.extend_from_slice(records);
        }
        Ok(())
    }

    /// The file for an `fdatasync` on another thread. Take a new one after a rewrite.
    pub fn sync_handle(&self) -> Result<File, FileError> {
        self.file.try_clone().map_err(FileError::io("open", &self.path))
    }

    /// Everything appended is on disk when this returns.
    pub fn sync(&self) -> Result<(), FileError> {
        disk::sync(&self.file, &self.path)
    }

    /// Records in the file: when they are many more than the set's parts, rewrite it.
    pub fn records(&self) -> u64 {
        u64::from(self.records)
    }

    pub fn base(&self) -> Position {
        self.header.base
    }

    pub fn peer(&self) -> &NodeName {
        &self.header.peer
    }

    /// Rewrites the file with the exact pages of `set`, which must hold every record appended: at
    /// an orderly stop, so that the next start compares nothing. Durable on return.
    pub fn checkpoint(&mut self, set: &mut DirtySet) -> Result<(), FileError> {
        let records = set.records(true);
        *self =
            write_file(self.path.clone(), self.header.base, self.header.peer.clone(), &records)?;
        set.written(true);
        Ok(())
    }

    /// Begins to rewrite the file without what is settled; `set` must hold every record appended
    /// so far. [`Rewrite::run`] belongs on another thread, appending goes on meanwhile, and
    /// [`DirtyFile::finish_rewrite`] puts the new file in place.
    pub fn start_rewrite(&mut self, set: &DirtySet) -> Rewrite {
        self.since_rewrite = Some(Vec::new());
        let header = Header::new(self.header.base, self.header.peer.clone());
        Rewrite { path: self.path.clone(), header, records: set.records(false) }
    }

    /// Puts a rewritten file in place. Durable on return: short, because the bulk already is.
    pub fn finish_rewrite(&mut self, rewritten: Rewritten) -> Result<(), FileError> {
        let Some(since) = self.since_rewrite.take() else { return Ok(()) };
        let mut new = rewritten.file;
        new.append(&since)?;
        new.sync()?;
        disk::rename(&new.path, &self.path)?;
        new.path = self.path.clone();
        *self = new;
        Ok(())
    }

    /// Removes the file. Only after `Memory` no longer names its base. Durable on return.
    pub fn remove(dir: &Path) -> Result<(), FileError> {
        disk::remove(&dir.join("dirty"))
    }
}

/// A rewrite that is to be run on another thread.
#[derive(Debug)]
pub struct Rewrite {
    path: PathBuf,
    header: Header,
    records: Vec<DirtyRecord>,
}

/// A new file beside the old one, durable but not yet in place.
#[derive(Debug)]
pub struct Rewritten {
    file: DirtyFile,
}

impl Rewrite {
    /// Writes and syncs the new file.
    pub fn run(self) -> Result<Rewritten, FileError> {
        let path = self.path.with_extension("rewrite");
        let bytes = encode(&self.header, &self.records);
        let file = disk::create(&path, &bytes)?;
        Ok(Rewritten { file: opened(path, file, self.header, &self.records) })
    }
}

fn write_file(
    path: PathBuf,
    base: Position,
    peer: NodeName,
    records: &[DirtyRecord],
) -> Result<DirtyFile, FileError> {
    let header = Header::new(base, peer);
    let file = disk::replace(&path, &encode(&header, records))?;
    Ok(opened(path, file, header, records))
}

fn opened(path: PathBuf, file: File, header: Header, records: &[DirtyRecord]) -> DirtyFile {
    let length = (HEADER + records.len() * RECORD) as u64;
    let records = records.len() as u32;
    DirtyFile { path, file, header, records, since_rewrite: None, length }
}

fn encode(header: &Header, records: &[DirtyRecord]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + records.len() * RECORD);
    write_header(&mut bytes, header, records.len() as u64);
    for (number, record) in (0u32..).zip(records) {
        write_record(&mut bytes, record, number, header.id);
    }
    bytes
}
