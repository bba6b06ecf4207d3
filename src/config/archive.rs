//! `.safe` archives: zip files from strangers in, deterministic zip files out.
//!
//! A [`Tree`] is the files of a module in memory, whether they came from an archive or from a
//! directory; both doors keep the same limits. Nothing is written anywhere while an archive is
//! read, so a refused one leaves no trace.
use std::fmt;
use std::path::{Path, PathBuf};

mod folder;
mod pack;
mod unpack;

/// Largest archive, largest file in it, and largest sum of its files, in bytes.
pub const ARCHIVE_BYTES_MAX: u64 = 64 << 20;
pub const FILE_BYTES_MAX: u64 = 32 << 20;
pub const TOTAL_BYTES_MAX: u64 = 128 << 20;
/// Most files and directories.
pub const ENTRIES_MAX: usize = 4096;
/// A file above 1 MiB that shrinks more than this is a bomb, not a script.
pub const RATIO_MAX: u64 = 200;
const NAME_BYTES_MAX: usize = 512;
const DEPTH_MAX: usize = 16;

/// Names at the top that Lockstep keeps for itself.
pub(super) const MODULE_RECORD: &str = "module.json";
pub(super) const APPLIED_RECORD: &str = "applied.json";
pub const EXPANDED: &str = "conf/safeconf.xml";

/// One file of a module.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative, normalised, `/` between parts: `bin/start_prim`.
    pub name: String,
    /// Permission bits only.
    pub mode: u32,
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:04o} {} bytes", self.name, self.mode, self.bytes.len())
    }
}

/// The files of a module, sorted by name, nothing twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<Entry>,
}

/// Why an archive or a module directory is refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// One sentence after the name of the archive: what, and what to do.
    #[error("archive {}: {reason}", path.display())]
    Refused { path: PathBuf, reason: String },
    #[error("{}: {reason}", path.display())]
    Folder { path: PathBuf, reason: String },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
}

impl Tree {
    /// Sorts; two entries of one name, or a file that is another's directory, are refused.
    pub(super) fn new(mut entries: Vec<Entry>) -> Result<Tree, String> {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let names: std::collections::BTreeSet<&str> =
            entries.iter().map(|entry| entry.name.as_str()).collect();
        for entry in &entries {
            let mut parent = entry.name.as_str();
            while let Some((above, _)) = parent.rsplit_once('/') {
                if names.contains(above) {
                    return Err(format!("{above:?} is a file and a directory at once"));
                }
                parent = above;
            }
        }
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(format!("{:?} is in it twice", pair[0].name));
        }
        Ok(Tree { entries })
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        let index = self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        self.entries.get(index)
    }

    /// Adds or replaces a file that Lockstep writes itself.
    pub(super) fn put(&mut self, name: &str, mode: u32, bytes: Vec<u8>) {
        let entry = Entry { name: name.to_owned(), mode, bytes };
        match self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)) {
            Ok(index) => self.entries[index] = entry,
            Err(index) => self.entries.insert(index, entry),
        }
    }

    /// Hexadecimal blake3 over names, modes and contents. Equal on all nodes if they are equal.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"lockstep module 1\n");
        for entry in &self.entries {
            hasher.update(&(entry.name.len() as u64).to_le_bytes());
            hasher.update(entry.name.as_bytes());
            hasher.update(&entry.mode.to_le_bytes());
            hasher.update(&(entry.bytes.len() as u64).to_le_bytes());
            hasher.update(&entry.bytes);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Reads an archive file.
    pub fn read_archive(path: &Path) -> Result<Tree, ArchiveError> {
        unpack::read(path)
    }

    /// Reads an archive that is in memory; `label` names it in messages.
    pub fn from_bytes(label: &Path, bytes: &[u8]) -> Result<Tree, ArchiveError> {
        unpack::from_bytes(bytes)
            .map_err(|reason| ArchiveError::Refused { path: label.to_path_buf(), reason })
    }

    /// The archive of this tree: the same bytes for the same tree, whenever and wherever.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArchiveError> {
        pack::to_bytes(self).map_err(|error| ArchiveError::Refused {
            path: PathBuf::from("(new)"),
            reason: format!("cannot be packed: {error}"),
        })
    }

    /// Reads a module's directory, without Lockstep's own records and what editors leave behind.
    pub fn read_folder(path: &Path) -> Result<Tree, ArchiveError> {
        folder::read(path)
    }
}

/// A name from an archive as it is used: relative, no `.` or empty part.
fn checked_name(raw: &str) -> Result<String, String> {
    let shown: String = raw.chars().take(120).collect();
    let refuse = |why: &str| Err(format!("the name {shown:?} {why}"));
    if raw.contains('\\') {
        return refuse("has a backslash: pack it with / between the parts");
    }
    if raw.starts_with('/') || raw.as_bytes().get(1) == Some(&b':') {
        return refuse("is absolute: names are relative to the module");
    }
    if raw.chars().any(char::is_control) {
        return refuse("has control characters");
    }
    let name = raw.strip_prefix("./").unwrap_or(raw).trim_end_matches('/');
    let parts: Vec<&str> = name.split('/').collect();
    if parts.contains(&"..") {
        return refuse("has .. in it: it would leave the module");
    }
    if parts.iter().any(|part| part.is_empty() || *part == ".") {
        return refuse("is not a plain relative name");
    }
    if name.len() > NAME_BYTES_MAX
        || parts.len() > DEPTH_MAX
        || parts.iter().any(|part| part.len() > 255)
    {
        return refuse("is too long or too deep");
    }
    Ok(name.to_owned())
}

/// Permissions as a module's file has them: what was stored, without set-id bits, readable and
/// writable by root; programs are executable where nothing was stored.
fn checked_mode(name: &str, stored: Option<u32>) -> u32 {
    match stored {
        Some(mode) if mode & 0o777 != 0 => (mode & 0o777) | 0o600,
        _ if name.starts_with("bin/") => 0o755,
        _ => 0o644,
    }
}

#[cfg(test)]
mod tests;
