//! Bytes of the dirty file, from and to values. Layout: see the parent.
use crate::history::dirty::{DirtyRecord, ObjectKey, PageMap};
use crate::history::files::FileError;
use crate::model::{EpochId, NodeName, Position, Seq};
use std::path::Path;

pub(super) const HEADER: usize = 512;
pub(super) const RECORD: usize = 64;
const MAGIC: &[u8; 8] = b"LSDIRTY1";
const VERSION: u32 = 1;
const EPOCH_SET: u32 = 1;
const PEER: std::ops::Range<usize> = 56..120;

#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) base: Position,
    pub(super) peer: NodeName,
    /// Random: a record of another file never passes for one of this.
    pub(super) id: u64,
    /// Records that were written before the file got its name: none of them may be torn.
    pub(super) initial: u64,
}

impl Header {
    pub(super) fn new(base: Position, peer: NodeName) -> Header {
        Header { base, peer, id: rand::random(), initial: 0 }
    }
}

pub(super) fn write_header(bytes: &mut Vec<u8>, header: &Header, initial: u64) {
    let mut block = [0; HEADER];
    let mut put = |at: usize, value: &[u8]| block[at..at + value.len()].copy_from_slice(value);
    put(0, MAGIC);
    put(8, &VERSION.to_le_bytes());
    put(12, &u32::from(header.base.epoch.is_some()).to_le_bytes());
    put(16, &header.base.epoch.map_or(0, |epoch| epoch.0).to_le_bytes());
    put(32, &header.base.seq.0.to_le_bytes());
    put(40, &header.id.to_le_bytes());
    put(48, &initial.to_le_bytes());
    // A node name is at most 64 bytes: its constructor says so.
    let name = header.peer.as_str().as_bytes();
    put(PEER.start, &name[..name.len().min(PEER.len())]);
    let crc = crc32fast::hash(&block[..HEADER - 4]);
    block[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&block);
}

/// The header, or why the file is lost. A newer format is an error.
pub(super) fn read_header(bytes: &[u8], path: &Path) -> Result<Result<Header, String>, FileError> {
    let Some(block) = bytes.get(..HEADER) else {
        return Ok(Err("its header is cut short".to_owned()));
    };
    if &block[..8] != MAGIC {
        return Ok(Err("it does not begin with the mark of a dirty file".to_owned()));
    }
    if u32_at(block, HEADER - 4) != crc32fast::hash(&block[..HEADER - 4]) {
        return Ok(Err("the checksum of its header does not match".to_owned()));
    }
    let found = u32_at(block, 8);
    if found > VERSION {
        return Err(FileError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    let epoch = (u32_at(block, 12) & EPOCH_SET != 0).then(|| EpochId(u128_at(block, 16)));
    let name = &block[PEER];
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let peer = std::str::from_utf8(&name[..end]).ok().and_then(|name| NodeName::new(name).ok());
    let Some(peer) = peer else { return Ok(Err("its peer has no valid name".to_owned())) };
    let base = Position { epoch, seq: Seq(u64_at(block, 32)) };
    Ok(Ok(Header { base, peer, id: u64_at(block, 40), initial: u64_at(block, 48) }))
}

pub(super) fn write_record(bytes: &mut Vec<u8>, record: &DirtyRecord, number: u32, id: u64) {
    let (kind, first, last, pages) = match *record {
        DirtyRecord::Names { .. } => (1, 0, 0, PageMap::EMPTY),
        DirtyRecord::Attributes { .. } => (2, 0, 0, PageMap::EMPTY),
        DirtyRecord::Whole { .. } => (3, 0, 0, PageMap::EMPTY),
        DirtyRecord::Zones { first, last, .. } => (4, first, last, PageMap::EMPTY),
        DirtyRecord::Pages { zone, pages, .. } => (5, zone, zone, pages),
        DirtyRecord::Clear { .. } => (6, 0, 0, PageMap::EMPTY),
    };
    let key = record.key();
    let start = bytes.len();
    bytes.extend_from_slice(&[kind, 0]);
    bytes.extend_from_slice(&key.dir.to_le_bytes());
    bytes.extend_from_slice(&key.generation.to_le_bytes());
    bytes.extend_from_slice(&key.ino.to_le_bytes());
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes.extend_from_slice(&last.to_le_bytes());
    pages.0.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    bytes.extend_from_slice(&number.to_le_bytes());
    let crc = checksum(&bytes[start..], id);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

/// All records, or why the file is lost.
pub(super) fn read_records(bytes: &[u8], header: &Header) -> Result<Vec<DirtyRecord>, String> {
    let mut records = Vec::with_capacity(bytes.len() / RECORD);
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_at_checked(RECORD) {
        // A power cut may leave the file longer than what reached the disk: zeros to its end.
        if rest.iter().all(|byte| *byte == 0) {
            break;
        }
        let record = u32::try_from(records.len())
            .ok()
            .and_then(|number| read_record(block, number, header.id))
            .ok_or_else(|| format!("its record {} fails its checksum", records.len()))?;
        records.push(record);
        rest = after;
    }
    if (records.len() as u64) < header.initial {
        return Err(format!("it has {} of {} first records", records.len(), header.initial));
    }
    Ok(records)
}

fn read_record(block: &[u8], number: u32, id: u64) -> Option<DirtyRecord> {
    let sound = u32_at(block, 60) == checksum(&block[..60], id) && u32_at(block, 56) == number;
    if !sound {
        return None;
    }
    let dir = u16::from_le_bytes([block[2], block[3]]);
    let key = ObjectKey { dir, generation: u32_at(block, 4), ino: u64_at(block, 8) };
    let (first, last) = (u32_at(block, 16), u32_at(block, 20));
    Some(match block[0] {
        1 => DirtyRecord::Names { key },
        2 => DirtyRecord::Attributes { key },
        3 => DirtyRecord::Whole { key },
        4 => DirtyRecord::Zones { key, first, last },
        5 => {
            let pages = PageMap(std::array::from_fn(|word| u32_at(block, 24 + 4 * word)));
            DirtyRecord::Pages { key, zone: first, pages }
        }
        6 => DirtyRecord::Clear { key },
        _ => return None,
    })
}

fn checksum(bytes: &[u8], id: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

// The callers pass blocks of fixed size and constant offsets within them.
fn array_at<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| block[at + i])
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(block, at))
}

fn u64_at(block: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(block, at))
}

fn u128_at(block: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(array_at(block, at))
}
