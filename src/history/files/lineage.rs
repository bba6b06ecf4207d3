//! The lineage file: append-only, two copies, one readable line an epoch.
//!
//! ```text
//! lockstep-lineage 1
//! 5d41402a {"id":"…","number":1,"parent":null,"first_seq":1,"node":"n1",…}
//! ```
//!
//! An epoch is appended to the first copy, made durable, then to the second. A line without its
//! end is a torn tail: it was never promised and is dropped. A complete line that fails its
//! checksum is rot: it is taken from the other copy, and where that cannot help the file is refused
//! rather than shortened, because a history that forgets an epoch hides a fork.
use super::{FileError, disk, with_reserve};
use crate::model::{EpochRecord, Lineage};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

/// `DIR/lineage.a` and `DIR/lineage.b`, and what they say.
#[derive(Debug)]
pub struct LineageFile {
    paths: [PathBuf; 2],
    /// Length of the valid part of each copy: a failed append is cut off before the next one.
    lengths: [u64; 2],
    lineage: Lineage,
}

const KIND: &str = "lineage";
const VERSION: u32 = 1;
const NEXT: &str = "this copy may only follow: remove the lineage and memory files of the module's \
                    engine folder on this node, then start it as `second`";

/// One copy as read.
#[derive(Default)]
struct Copy {
    records: Vec<EpochRecord>,
    /// Complete lines, valid or not.
    lines: usize,
    /// Length up to the last complete line.
    length: u64,
    rotten: bool,
    present: bool,
}

impl LineageFile {
    /// Reads both copies in `dir` (which must exist), repairs one from the other, and says in
    /// `notes` what it repaired. No file yet is an empty lineage.
    pub fn open(dir: &Path) -> Result<(LineageFile, Vec<String>), FileError> {
        let paths = [dir.join("lineage.a"), dir.join("lineage.b")];
        let copies = [read_copy(&paths[0])?, read_copy(&paths[1])?];
        let lineage = merge(&paths[0], &copies)?;
        let mut file = LineageFile { lengths: copies.each_ref().map(|c| c.length), paths, lineage };
        let mut notes = Vec::new();
        for (index, copy) in copies.iter().enumerate() {
            if copy.records.len() < file.lineage.epochs.len() || copy.rotten {
                file.write_copy(index)?;
                if copy.present {
                    let path = file.paths[index].display();
                    notes.push(format!("{path} was damaged and is repaired from its second copy"));
                }
            }
        }
        Ok((file, notes))
    }

    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Appends an epoch. Durable in both copies on return. Refused if it is no successor.
    pub fn append(&mut self, epoch: EpochRecord) -> Result<(), FileError> {
        let refused = |why: String| FileError::Refused { path: self.paths[0].clone(), why };
        self.lineage.check_next(&epoch).map_err(|error| refused(error.to_string()))?;
        let line = line_of(&epoch).map_err(|error| refused(error.to_string()))?;
        let dir = self.paths[0].parent().unwrap_or(Path::new(".")).to_owned();
        for index in [0, 1] {
            with_reserve(&dir, FileError::is_full, || self.append_line(index, &line))?;
        }
        self.lineage.epochs.push(epoch);
        Ok(())
    }

    /// Appends what `leader` has and this lineage lacks: at the end of a return, before this copy
    /// is recorded as current. Refused if this lineage is no ancestor.
    pub fn adopt(&mut self, leader: &Lineage) -> Result<(), FileError> {
        if !crate::history::is_ancestor(&self.lineage, leader) {
            let why = "the leader's history does not contain this node's".to_owned();
            return Err(FileError::Refused { path: self.paths[0].clone(), why });
        }
        let known = self.lineage.epochs.len();
        leader.epochs[known..].iter().try_for_each(|epoch| self.append(epoch.clone()))
    }

    /// Puts `lineage` in place of this one, each copy atomically: after a person gave up what
    /// only this node had.
    pub fn replace(&mut self, lineage: &Lineage) -> Result<(), FileError> {
        lineage.check().map_err(|error| FileError::Refused {
            path: self.paths[0].clone(),
            why: error.to_string(),
        })?;
        let old = std::mem::replace(&mut self.lineage, lineage.clone());
        for index in [0, 1] {
            if let Err(error) = self.write_copy(index) {
                self.lineage = old;
                return Err(error);
            }
        }
        Ok(())
    }

    fn append_line(&mut self, index: usize, line: &str) -> Result<(), FileError> {
        if self.lengths[index] == 0 {
            self.write_copy(index)?;
        }
        let (path, length) = (&self.paths[index], self.lengths[index]);
        let file =
            OpenOptions::new().write(true).open(path).map_err(FileError::io("open", path))?;
        let found = file.metadata().map_err(FileError::io("examine", path))?.len();
        if found != length {
            disk::truncate(&file, path, length)?;
        }
        disk::write_at(&file, path, length, line.as_bytes())?;
        disk::sync(&file, path)?;
        self.lengths[index] += line.len() as u64;
        Ok(())
    }

    fn write_copy(&mut self, index: usize) -> Result<(), FileError> {
        let mut text = format!("lockstep-{KIND} {VERSION}\n");
        for epoch in &self.lineage.epochs {
            text += &line_of(epoch).map_err(|error| FileError::Refused {
                path: self.paths[index].clone(),
                why: error.to_string(),
            })?;
        }
        disk::replace(&self.paths[index], text.as_bytes())?;
        self.lengths[index] = text.len() as u64;
        Ok(())
    }
}

fn line_of(epoch: &EpochRecord) -> serde_json::Result<String> {
    Ok(disk::seal(&serde_json::to_string(epoch)?))
}

fn read_copy(path: &Path) -> Result<Copy, FileError> {
    let Some(bytes) = disk::read(path)? else { return Ok(Copy::default()) };
    let mut copy = Copy { present: true, ..Copy::default() };
    let mut rest = bytes.as_slice();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        copy.length += end as u64 + 1;
        if copy.length == end as u64 + 1 {
            match disk::version(line, KIND) {
                Some(VERSION) => {}
                Some(found) if found > VERSION => {
                    return Err(FileError::Newer { path: path.to_owned(), found, known: VERSION });
                }
                _ => copy.rotten = true,
            }
            continue;
        }
        copy.lines += 1;
        match disk::unseal(line).and_then(|text| serde_json::from_str(text).ok()) {
            Some(record) => copy.records.push(record),
            None => copy.rotten = true,
        }
    }
    Ok(copy)
}

/// The one chain that both copies tell.
fn merge(path: &Path, copies: &[Copy; 2]) -> Result<Lineage, FileError> {
    let damaged = |why: String| FileError::Damaged { path: path.to_owned(), why, next: NEXT };
    let mut successors = HashMap::new();
    for record in copies.iter().flat_map(|copy| &copy.records) {
        let other = successors.insert(record.parent, record);
        if other.is_some_and(|other| other != record) {
            return Err(damaged(format!("its copies disagree about epoch {}", record.id)));
        }
    }
    let mut lineage = Lineage::default();
    while let Some(next) = successors.remove(&lineage.last().map(|epoch| epoch.id)) {
        lineage.epochs.push(next.clone());
    }
    // The second copy is appended last: what it lacks was never promised. The other way round,
    // or with neither copy whole, a rotten line may have been an epoch.
    let [first, second] = copies;
    let vouched = second.present && !second.rotten;
    let short = |copy: &Copy| copy.rotten && copy.lines > lineage.epochs.len();
    if !successors.is_empty() || short(second) || (short(first) && !vouched) {
        return Err(damaged("an epoch is unreadable in both copies".to_owned()));
    }
    lineage.check().map_err(|error| damaged(error.to_string()))?;
    Ok(lineage)
}
