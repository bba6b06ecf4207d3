//! Small files of the key directory: written whole or not at all.
use super::TrustError;
use serde::{Serialize, de::DeserializeOwned};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Largest key, certificate or token file that is read, bytes.
const FILE_MAX: u64 = 1 << 20;

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TrustError> {
    let error = |source| TrustError::File { what: "read", path: path.to_owned(), source };
    if fs::metadata(path).map_err(error)?.len() > FILE_MAX {
        return Err(TrustError::Damaged { path: path.to_owned(), why: "it is too large".into() });
    }
    fs::read(path).map_err(error)
}

/// Reads a private key; refuses one that anybody but its owner can read.
pub(super) fn read_key(path: &Path) -> Result<Vec<u8>, TrustError> {
    let error = |source| TrustError::File { what: "read", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(error)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TrustError::KeyExposed { path: path.to_owned(), mode });
    }
    read(path)
}

/// Replaces `path` by `bytes`: temporary file, fsync, rename, fsync of the directory.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TrustError> {
    let error = |source| TrustError::File { what: "write", path: path.to_owned(), source };
    let temporary = with_suffix(path, ".new");
    let replace = || -> io::Result<()> {
        remove_if_there(&temporary)?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_parent(path)
    };
    replace().map_err(error)
}

/// Replaces a small list: `MAGIC CRC32` on the first line, then one JSON object a line.
pub(super) fn write_list<T: Serialize>(
    path: &Path,
    magic: &str,
    items: &[T],
) -> Result<(), TrustError> {
    let text = render_list(magic, items)
        .map_err(|e| TrustError::Damaged { path: path.to_owned(), why: e.to_string() })?;
    write(path, text.as_bytes(), 0o600)
}

/// Reads what [`write_list`] wrote; no file is an empty list.
pub(super) fn read_list<T: DeserializeOwned>(
    path: &Path,
    magic: &str,
) -> Result<Vec<T>, TrustError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    parse_list(magic, &text).ok_or_else(|| TrustError::Damaged {
        path: path.to_owned(),
        why: "its checksum differs".to_owned(),
    })
}

pub(super) fn render_list<T: Serialize>(magic: &str, items: &[T]) -> serde_json::Result<String> {
    let mut body = String::new();
    for item in items {
        body += &serde_json::to_string(item)?;
        body.push('\n');
    }
    Ok(format!("{magic} {:08x}\n{body}", crc32fast::hash(body.as_bytes())))
}

pub(super) fn parse_list<T: DeserializeOwned>(magic: &str, text: &str) -> Option<Vec<T>> {
    let (head, body) = text.split_once('\n')?;
    let checksum = head.strip_prefix(magic)?.trim();
    if u32::from_str_radix(checksum, 16).ok()? != crc32fast::hash(body.as_bytes()) {
        return None;
    }
    body.lines().map(|line| serde_json::from_str(line).ok()).collect()
}

/// Puts a whole directory of new files in place at once. The old one, if `force` allows it, is
/// kept beside it under [`previous_of`].
pub(super) fn install_dir(
    dir: &Path,
    files: &[(&str, &[u8], u32)],
    force: bool,
) -> Result<(), TrustError> {
    if !force {
        refuse_member(dir)?;
    }
    let fresh = with_suffix(dir, ".new");
    let error = |source| TrustError::File { what: "create", path: dir.to_owned(), source };
    let prepare = || -> io::Result<()> {
        match fs::remove_dir_all(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::DirBuilder::new().mode(0o700).create(&fresh)
    };
    prepare().map_err(error)?;
    for (name, bytes, mode) in files {
        write(&fresh.join(name), bytes, *mode)?;
    }
    swap_dir(dir, &fresh).map_err(error)
}

/// [`TrustError::AlreadyMember`] if there is anything in the directory of keys.
pub fn refuse_member(dir: &Path) -> Result<(), TrustError> {
    if is_occupied(dir)? {
        return Err(TrustError::AlreadyMember { dir: dir.to_owned() });
    }
    Ok(())
}

fn swap_dir(dir: &Path, fresh: &Path) -> io::Result<()> {
    let previous = previous_of(dir);
    match fs::rename(dir, &previous) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        // An older generation of keys is there already: only the newest is worth keeping.
        Err(e) if previous.exists() => {
            fs::remove_dir_all(&previous)?;
            fs::rename(dir, &previous).map_err(|_| e)?;
        }
        Err(e) => return Err(e),
    }
    fs::rename(fresh, dir)?;
    sync_parent(dir)
}

/// Where `install_dir` keeps what was there before.
pub(super) fn previous_of(dir: &Path) -> PathBuf {
    with_suffix(dir, ".previous")
}

fn is_occupied(dir: &Path) -> Result<bool, TrustError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(TrustError::File { what: "read", path: dir.to_owned(), source }),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
