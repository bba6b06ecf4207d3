//! Files and directories that are there whole or not at all.
//!
//! A directory is made beside its place, written through to the disk, and then exchanged with
//! the old one in a single step. Whatever fails before that step leaves the old one as it was.
use super::StoreError;
use crate::config::archive::Tree;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(super) fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: path.to_path_buf(), source }
}

/// Creates a directory and its parents, root only.
pub(super) fn make_dir(path: &Path) -> Result<(), StoreError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(failed("create", path))
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(failed("write", path))
}

fn write_file(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    // The mode of a new file is narrowed by the umask.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Replaces one file by write, fsync, rename, fsync of the directory.
pub(super) fn replace_file(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let mut name = std::ffi::OsString::from(".new-");
    name.push(path.file_name().unwrap_or_default());
    let staged = parent.join(name);
    let _ = fs::remove_file(&staged);
    let written = write_file(&staged, mode, bytes).and_then(|()| fs::rename(&staged, path));
    if let Err(source) = written {
        let _ = fs::remove_file(&staged);
        return Err(failed("write", path)(source));
    }
    sync_dir(parent)
}

/// Files beside their final places; gone again unless they were put there.
pub(super) struct Drafts(Vec<(PathBuf, PathBuf)>);

impl Drafts {
    /// Writes every file (path, mode, content) beside its place: a full disk is noticed before
    /// anything has changed.
    pub(super) fn write(files: &[(PathBuf, u32, &[u8])]) -> Result<Drafts, StoreError> {
        let mut drafts = Drafts(Vec::new());
        for (path, mode, bytes) in files {
            let parent = path.parent().unwrap_or(Path::new("/"));
            make_dir(parent)?;
            let mut name = std::ffi::OsString::from(".new-");
            name.push(path.file_name().unwrap_or_default());
            let draft = parent.join(name);
            let _ = fs::remove_file(&draft);
            drafts.0.push((draft.clone(), path.clone()));
            write_file(&draft, *mode, bytes).map_err(failed("write", path))?;
        }
        Ok(drafts)
    }

    /// Each in its place, in this order, the last one when all others are on disk.
    pub(super) fn put(mut self) -> Result<(), StoreError> {
        for (draft, path) in std::mem::take(&mut self.0) {
            fs::rename(&draft, &path).map_err(failed("replace", &path))?;
            sync_dir(path.parent().unwrap_or(Path::new("/")))?;
        }
        Ok(())
    }
}

impl Drop for Drafts {
    fn drop(&mut self) {
        for (draft, _) in &self.0 {
            let _ = fs::remove_file(draft);
        }
    }
}

/// A directory being made beside its final place; gone again unless it was put there.
pub(super) struct Staged {
    path: PathBuf,
}

impl Staged {
    /// Writes `tree` beside `target`. `conf` and `bin` exist even if they are empty.
    pub(super) fn write(target: &Path, tree: &Tree) -> Result<Staged, StoreError> {
        let parent = target.parent().unwrap_or(Path::new("/"));
        make_dir(parent)?;
        let mut name = std::ffi::OsString::from(".new-");
        name.push(target.file_name().unwrap_or_default());
        let path = parent.join(name);
        remove_all(&path)?;
        let staged = Staged { path };
        staged.fill(tree)?;
        Ok(staged)
    }

    fn fill(&self, tree: &Tree) -> Result<(), StoreError> {
        let mut folders = vec![self.path.clone(), self.path.join("conf"), self.path.join("bin")];
        for folder in &folders {
            make_dir(folder)?;
        }
        for entry in tree.entries() {
            let path = self.path.join(&entry.name);
            if let Some(folder) = path.parent()
                && !folders.iter().any(|known| known == folder)
            {
                make_dir(folder)?;
                folders.extend(
                    folder.ancestors().take_while(|a| *a != self.path).map(Path::to_path_buf),
                );
            }
            write_file(&path, entry.mode, &entry.bytes).map_err(failed("write", &path))?;
        }
        folders.iter().try_for_each(|folder| sync_dir(folder))
    }

    /// Puts the directory in the place of `target`, at once, and removes what was there.
    pub(super) fn put(self, target: &Path) -> Result<(), StoreError> {
        let exists = fs::symlink_metadata(target).is_ok();
        let flags =
            if exists { RenameFlags::RENAME_EXCHANGE } else { RenameFlags::RENAME_NOREPLACE };
        renameat2(AT_FDCWD, &self.path, AT_FDCWD, target, flags)
            .map_err(|errno| failed("replace", target)(errno.into()))?;
        sync_dir(target.parent().unwrap_or(Path::new("/")))
        // Dropping removes what lies at the staging place now: the old directory.
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays here in the worst case is removed by the next change.
        let _ = remove_all(&self.path);
    }
}

/// Takes a directory away in one step, then removes it.
pub(super) fn remove_dir(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let mut name = std::ffi::OsString::from(".old-");
    name.push(path.file_name().unwrap_or_default());
    let aside = parent.join(name);
    remove_all(&aside)?;
    match fs::rename(path, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(failed("remove", path))?,
    }
    sync_dir(parent)?;
    remove_all(&aside)
}

fn remove_all(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(failed("remove", path)),
    }
}

/// A small record as JSON: what it is, its version, its content and a checksum over the content.
#[derive(Serialize, serde::Deserialize)]
struct Record<T> {
    format: String,
    version: u32,
    body: T,
    check: String,
}

const RECORD_VERSION: u32 = 1;

pub(super) fn record_bytes<T: Serialize>(format: &str, body: &T) -> Result<Vec<u8>, StoreError> {
    let broken =
        |error: serde_json::Error| StoreError::Refused(format!("record {format}: {error}"));
    let check = checksum(body).map_err(broken)?;
    let record = Record { format: format.to_owned(), version: RECORD_VERSION, body, check };
    let mut bytes = serde_json::to_vec_pretty(&record).map_err(broken)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a record back; `None` if there is no such file.
pub(super) fn read_record<T>(format: &str, path: &Path) -> Result<Option<T>, StoreError>
where
    T: Serialize + DeserializeOwned,
{
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed("read", path))?,
    };
    let damaged = |why: String| {
        let path = path.display();
        StoreError::Refused(format!("{path} is damaged ({why}): restore it from a backup"))
    };
    let record: Record<T> = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
    if record.format != format {
        return Err(damaged(format!("it is a {:?}, not a {format:?}", record.format)));
    }
    if record.version != RECORD_VERSION {
        return Err(StoreError::Refused(format!(
            "{} has version {}, this program reads version {RECORD_VERSION}: upgrade this node",
            path.display(),
            record.version
        )));
    }
    let check = checksum(&record.body).map_err(|error| damaged(error.to_string()))?;
    if check != record.check {
        return Err(damaged("the checksum does not fit".to_owned()));
    }
    Ok(Some(record.body))
}

fn checksum<T: Serialize>(body: &T) -> serde_json::Result<String> {
    let hash = blake3::hash(&serde_json::to_vec(body)?);
    Ok(hash.to_hex()[..16].to_owned())
}
