//! The few steps that durable files are made of. Tests listen in, cut the sequence after each step
//! and drop what was not synced.
use super::{FileError, with_reserve};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// One step, as the disk sees it.
#[cfg(test)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Create(std::path::PathBuf),
    /// Bytes written at an offset.
    Write(std::path::PathBuf, u64, Vec<u8>),
    Truncate(std::path::PathBuf, u64),
    Sync(std::path::PathBuf),
    Rename(std::path::PathBuf, std::path::PathBuf),
    Remove(std::path::PathBuf),
    SyncDir(std::path::PathBuf),
}

#[cfg(test)]
thread_local! {
    pub(super) static STEPS: std::cell::RefCell<Vec<Step>> = const { std::cell::RefCell::new(Vec::new()) };
}

macro_rules! step {
    ($step:expr) => {
        #[cfg(test)]
        STEPS.with_borrow_mut(|steps| {
            use Step::*;
            steps.push($step)
        });
    };
}

/// Whole content of a file of ours, `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::io("read", path)(error)),
    }
}

/// Replaces `path` by `bytes`: after a power cut it is the old file or the new one. On a full disk
/// it takes the reserve of the folder.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<File, FileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    with_reserve(dir, FileError::is_full, || {
        let new = path.with_extension("new");
        let file = create(&new, bytes)?;
        rename(&new, path)?;
        Ok(file)
    })
}

/// A new file with this content, durable; its name is not.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    let file = file.map_err(FileError::io("create", path))?;
    step!(Create(path.to_owned()));
    write_at(&file, path, 0, bytes)?;
    sync(&file, path)?;
    Ok(file)
}

/// The name is durable when this returns.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    std::fs::rename(from, to).map_err(FileError::io("rename", from))?;
    step!(Rename(from.to_owned(), to.to_owned()));
    sync_parent(to)
}

pub(super) fn write_at(
    file: &File,
    path: &Path,
    offset: u64,
    bytes: &[u8],
) -> Result<(), FileError> {
    file.write_all_at(bytes, offset).map_err(FileError::io("write to", path))?;
    step!(Write(path.to_owned(), offset, bytes.to_owned()));
    Ok(())
}

pub(super) fn truncate(file: &File, path: &Path, length: u64) -> Result<(), FileError> {
    file.set_len(length).map_err(FileError::io("shorten", path))?;
    step!(Truncate(path.to_owned(), length));
    Ok(())
}

/// Content and length are on disk when this returns. An error is final: what the file then holds
/// is not known (the kernel may have dropped the pages).
pub(super) fn sync(file: &File, path: &Path) -> Result<(), FileError> {
    file.sync_data().map_err(FileError::io("make durable", path))?;
    step!(Sync(path.to_owned()));
    Ok(())
}

pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(FileError::io("remove", path)(error)),
    }
    step!(Remove(path.to_owned()));
    sync_parent(path)
}

/// Names in the directory of `path` are on disk when this returns.
fn sync_parent(path: &Path) -> Result<(), FileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(FileError::io("make durable", dir))?;
    step!(SyncDir(dir.to_owned()));
    Ok(())
}

/// A line `crc32 text\n`: readable, and a bit flip anywhere in it shows.
pub(super) fn seal(text: &str) -> String {
    format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()))
}

/// The text of a line (without its end) whose checksum holds.
pub(super) fn unseal(line: &[u8]) -> Option<&str> {
    let (crc, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    (crc.len() == 8 && crc == format!("{:08x}", crc32fast::hash(text.as_bytes()))).then_some(text)
}

/// The first line of a text format, `lockstep-KIND VERSION`; `Ok(None)` if it is not that.
pub(super) fn version(line: &[u8], kind: &str) -> Option<u32> {
    std::str::from_utf8(line)
        .ok()?
        .strip_prefix("lockstep-")?
        .strip_prefix(kind)?
        .strip_prefix(' ')?
        .parse()
        .ok()
}
