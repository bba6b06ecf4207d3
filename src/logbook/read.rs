//! Reading the log: the last entries across the kept files, and following new ones.
use super::{Entry, FILE, FILES_KEPT};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The last `count` entries that are shown, oldest first. Lines that are no entries (torn by a
/// crash, or of a newer form) are skipped. No log yet is an empty list.
pub fn last(dir: &Path, count: usize, verbose: bool) -> std::io::Result<Vec<Entry>> {
    last_of(&dir.join(FILE), count, |line| parse(line, verbose))
}

/// The same for any log of lines; `parse` says which of them count.
pub(super) fn last_of<T>(
    path: &Path,
    count: usize,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> std::io::Result<Vec<T>> {
    let mut newest_first: Vec<VecDeque<T>> = Vec::new();
    let mut found = 0;
    for number in 0..=FILES_KEPT {
        let file = match File::open(kept(path, number)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut entries = VecDeque::new();
        for line in BufReader::new(file).split(b'\n') {
            let Some(entry) = parse(&line?) else { continue };
            entries.push_back(entry);
            if entries.len() > count - found {
                entries.pop_front();
            }
        }
        found += entries.len();
        newest_first.push(entries);
        if found >= count {
            break;
        }
    }
    Ok(newest_first.into_iter().rev().flatten().collect())
}

/// `log.jsonl` for 0, else `log.jsonl.<number>`.
pub(super) fn kept(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn parse(line: &[u8], verbose: bool) -> Option<Entry> {
    let entry: Entry = serde_json::from_slice(line).ok()?;
    (verbose || !entry.level.is_verbose()).then_some(entry)
}

/// Gives new entries each time it is asked; survives that the file is put aside.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    verbose: bool,
    file: Option<File>,
    /// Bytes after the last line end: a line that is still being written.
    rest: Vec<u8>,
}

impl Follower {
    /// Follows from the current end of the log.
    pub fn from_end(dir: &Path, verbose: bool) -> std::io::Result<Follower> {
        use std::io::{Seek, SeekFrom};
        let path = dir.join(FILE);
        let mut file = open(&path)?;
        if let Some(file) = &mut file {
            file.seek(SeekFrom::End(0))?;
        }
        Ok(Follower { path, verbose, file, rest: Vec::new() })
    }

    /// Entries written since the last call; never waits.
    pub fn poll(&mut self) -> std::io::Result<Vec<Entry>> {
        let mut entries = self.drain()?;
        if self.was_put_aside() {
            // The old file has been read to its end above, and nobody appends to it any more.
            entries.extend(self.drain()?);
            self.file = open(&self.path)?;
            self.rest.clear();
            entries.extend(self.drain()?);
        }
        Ok(entries)
    }

    fn drain(&mut self) -> std::io::Result<Vec<Entry>> {
        let Some(file) = &mut self.file else { return Ok(Vec::new()) };
        file.read_to_end(&mut self.rest)?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let lines = whole.split(|byte| *byte == b'\n');
        Ok(lines.filter_map(|line| parse(line, self.verbose)).collect())
    }

    fn was_put_aside(&self) -> bool {
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        let named = std::fs::metadata(&self.path).ok();
        match (open, named) {
            (Some(open), Some(named)) => (open.dev(), open.ino()) != (named.dev(), named.ino()),
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }
}

fn open(path: &Path) -> std::io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
