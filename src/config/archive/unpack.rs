//! Reading a zip file that anybody may have made.
//!
//! First the list of names is judged, then the contents are read under limits that count what
//! really comes out, not what the archive says of itself.
use super::*;
use std::fs::File;
use std::io::{Cursor, Read};
use zip::result::ZipError;
use zip::{System, ZipArchive};

const FILE_TYPE: u32 = 0o170_000;

pub(super) fn read(path: &Path) -> Result<Tree, ArchiveError> {
    let failed = |source| ArchiveError::Read { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(ARCHIVE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    Tree::from_bytes(path, &bytes)
}

/// The tree, or one sentence why not.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<Tree, String> {
    if bytes.len() as u64 > ARCHIVE_BYTES_MAX {
        return Err(format!("is larger than {} MiB", ARCHIVE_BYTES_MAX >> 20));
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| sentence(&error))?;
    if archive.len() > ENTRIES_MAX {
        return Err(format!("has {} entries: at most {ENTRIES_MAX} are taken", archive.len()));
    }
    if archive.has_duplicate_names() {
        return Err("has one name twice: pack it again".to_owned());
    }
    if archive.has_overlapping_entries().map_err(|error| sentence(&error))? {
        return Err("has files that overlap inside: it is broken, or made to harm".to_owned());
    }
    let mut entries = Vec::new();
    let mut total = 0;
    for index in 0..archive.len() {
        if let Some(entry) = entry(&mut archive, index, &mut total)? {
            entries.push(entry);
        }
    }
    check_top(&entries)?;
    Tree::new(entries)
}

/// `None` for a directory.
fn entry(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    index: usize,
    total: &mut u64,
) -> Result<Option<Entry>, String> {
    let (name, mode, declared, packed) = {
        let file = archive.by_index_data(index).map_err(|error| sentence(&error))?;
        let raw = std::str::from_utf8(file.name_raw())
            .map_err(|_| "has a name that is not UTF-8: rename it".to_owned())?;
        let name = checked_name(raw)?;
        // Only Unix archives say what kind of file it is; elsewhere these bits mean nothing.
        let stored = if file.system() == System::Unix { file.unix_mode() } else { None };
        let kind = stored.unwrap_or(0) & FILE_TYPE;
        if file.encrypted() {
            return Err(format!("{name:?} is encrypted: pack it without a password"));
        }
        if file.is_symlink() || kind == 0o120_000 {
            return Err(format!("{name:?} is a link: pack the file itself"));
        }
        if ![0, 0o100_000, 0o040_000].contains(&kind) {
            return Err(format!("{name:?} is neither a file nor a directory"));
        }
        if file.is_dir() || kind == 0o040_000 {
            return Ok(None);
        }
        (name, stored, file.size(), file.compressed_size())
    };
    let too_large = || format!("{name:?} is larger than {} MiB", FILE_BYTES_MAX >> 20);
    if declared > FILE_BYTES_MAX {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let reader = archive.by_index(index).map_err(|error| sentence(&error))?;
    reader
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{name:?} cannot be unpacked ({error}): is it damaged?"))?;
    let length = bytes.len() as u64;
    *total += length;
    if length > FILE_BYTES_MAX {
        return Err(too_large());
    }
    if length > 1 << 20 && length / packed.max(1) > RATIO_MAX {
        return Err(format!("{name:?} grows more than {RATIO_MAX} times: it is made to harm"));
    }
    if *total > TOTAL_BYTES_MAX {
        return Err(format!("holds more than {} MiB", TOTAL_BYTES_MAX >> 20));
    }
    let mode = checked_mode(&name, mode);
    Ok(Some(Entry { name, mode, bytes }))
}

/// The layout of a module begins at the top, and some names there are ours.
fn check_top(entries: &[Entry]) -> Result<(), String> {
    let reserved = [MODULE_RECORD, APPLIED_RECORD, EXPANDED];
    if let Some(entry) = entries.iter().find(|entry| reserved.contains(&entry.name.as_str())) {
        return Err(format!("{:?} is a name that Lockstep keeps for itself: drop it", entry.name));
    }
    if entries.iter().any(|entry| entry.name == "conf/userconfig.xml") {
        return Ok(());
    }
    let deep = entries.iter().find_map(|entry| entry.name.strip_suffix("/conf/userconfig.xml"));
    Err(match deep {
        Some(folder) => format!("has everything below {folder:?}: pack the inside of that folder"),
        None => "has no conf/userconfig.xml: it is not a module".to_owned(),
    })
}

fn sentence(error: &ZipError) -> String {
    match error {
        ZipError::Io(error) => format!("is cut off or damaged ({error}): copy it again"),
        ZipError::InvalidArchive(why) => {
            format!("is no zip file, or cut off ({why}): copy it again")
        }
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
            "is encrypted: pack it without a password".to_owned()
        }
        ZipError::CompressionMethodNotSupported(_) | ZipError::UnsupportedArchive(_) => {
            format!("is packed in an unusual way ({error}): pack it with plain zip")
        }
        other => format!("cannot be read ({other})"),
    }
}
