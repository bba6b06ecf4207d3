//! The log of a module: what administrators read to know what happened and why.
//!
//! JSON lines in `log.jsonl`, one [`Entry`] a line, appended with one write under a file lock, so
//! that the daemon and the commands of scripts (`printi`, `printe`) may write side by side. At
//! [`BYTES_MAX`] the file is renamed to `log.jsonl.1` (older ones move up, [`FILES_KEPT`] stay).
//! A torn last line, left by a power cut, is skipped by readers and closed by the next writer.
//! The log is for people: nothing is ever decided from it.
mod commands;
pub mod entry;
pub mod read;
pub mod texts;

pub use commands::CommandEntry;
pub use entry::{Entry, Level};
pub use read::{Follower, last};
pub use texts::Text;

use crate::config::paths::Paths;
use crate::model::ModuleName;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Size at which a log file is put aside, in bytes.
pub const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Files kept besides the one in use.
pub const FILES_KEPT: u32 = 4;
/// Name of the file in use, in the module's log directory.
pub const FILE: &str = "log.jsonl";

#[derive(Debug, thiserror::Error)]
#[error("{action} log {}: {source}", .path.display())]
pub struct LogError {
    action: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

/// Writer of one module's log. May be shared between tasks; writing is one short system call.
#[derive(Debug)]
pub struct Logbook {
    path: PathBuf,
    bytes_max: u64,
    file: Mutex<Option<File>>,
}

impl Logbook {
    /// Opens (or creates, mode 0640) the log of `module`.
    pub fn open(paths: &Paths, module: &ModuleName) -> Result<Logbook, LogError> {
        Logbook::open_dir(&paths.module_log_dir(module))
    }

    /// Opens (or creates) the log in this directory.
    pub fn open_dir(dir: &Path) -> Result<Logbook, LogError> {
        Logbook::with_limit(dir, BYTES_MAX)
    }

    fn with_limit(dir: &Path, bytes_max: u64) -> Result<Logbook, LogError> {
        Logbook::at(dir, FILE, bytes_max)
    }

    fn at(dir: &Path, file: &str, bytes_max: u64) -> Result<Logbook, LogError> {
        let path = dir.join(file);
        std::fs::create_dir_all(dir).map_err(|source| LogError {
            action: "create directory of",
            path: path.clone(),
            source,
        })?;
        let book = Logbook { path, bytes_max, file: Mutex::new(None) };
        let file = book.open_file().map_err(|source| book.error("open", source))?;
        *book.lock() = Some(file);
        Ok(book)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one entry. An error leaves the file as it was, or with a torn line that readers
    /// skip. The caller goes on either way: an unwritable log never changes a state.
    pub fn write(&self, entry: &Entry) -> Result<(), LogError> {
        let mut line = serde_json::to_vec(entry)
            .map_err(|error| self.error("write", std::io::Error::other(error)))?;
        line.push(b'\n');
        self.append(&line).map_err(|source| self.error("write", source))
    }

    /// What was written is on disk when this returns.
    pub fn sync(&self) -> Result<(), LogError> {
        let file = self.lock().as_ref().map(File::try_clone);
        match file.transpose().and_then(|file| file.map_or(Ok(()), |file| file.sync_data())) {
            Ok(()) => Ok(()),
            Err(source) => Err(self.error("sync", source)),
        }
    }

    fn append(&self, line: &[u8]) -> std::io::Result<()> {
        let mut slot = self.lock();
        // Taken out: after an error the next call opens the file anew.
        let mut file = match slot.take() {
            Some(file) => file,
            None => self.open_file()?,
        };
        file.lock()?;
        if !same_file(&file, &self.path) {
            // Somebody else has put the file aside.
            file = self.open_file()?;
            file.lock()?;
        }
        if file.metadata()?.len() + line.len() as u64 > self.bytes_max {
            self.put_aside()?;
            let new = self.open_file()?;
            new.lock()?;
            file = new;
        }
        close_torn_line(&mut file)?;
        file.write_all(line)?;
        file.unlock()?;
        *slot = Some(file);
        Ok(())
    }

    fn open_file(&self) -> std::io::Result<File> {
        OpenOptions::new().create(true).read(true).append(true).mode(0o640).open(&self.path)
    }

    /// `log.jsonl` becomes `.1`, `.1` becomes `.2`, the oldest goes.
    fn put_aside(&self) -> std::io::Result<()> {
        for number in (1..FILES_KEPT).rev() {
            let from = read::kept(&self.path, number);
            if from.exists() {
                std::fs::rename(from, read::kept(&self.path, number + 1))?;
            }
        }
        std::fs::rename(&self.path, read::kept(&self.path, 1))
    }

    fn error(&self, action: &'static str, source: std::io::Error) -> LogError {
        LogError { action, path: self.path.clone(), source }
    }

    /// The slot is only an open file: a panic of another thread leaves nothing half done in it.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<File>> {
        self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.dev() == named.dev() && open.ino() == named.ino(),
        _ => false,
    }
}

/// Ends a line that a crash has cut, so that the next one is whole.
fn close_torn_line(file: &mut File) -> std::io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut byte = [0u8];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    if byte[0] != b'\n' {
        file.write_all(b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
