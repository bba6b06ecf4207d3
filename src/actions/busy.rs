//! Who holds something beneath a directory: the answer to "why can it not be covered or freed".
//!
//! A cover mounted over a directory does not reach a file that is open already, so a start is
//! refused while anybody holds one (rule A7). Only links in `/proc` are read, never the files: a
//! file system that hangs cannot hang the search.
//!
//! A process in another mount namespace (a container) may reach the directory under another path.
//! The mounts of each namespace are therefore compared with the file system and the place within
//! it that the directory has here; every path by which it can be reached there is looked for.
//! A path that is hidden by another mount counts as well: files opened before stay open under it.
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// In which way a process holds the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    OpenFile,
    WorkingDirectory,
    RootDirectory,
    Program,
    MappedFile,
}

/// A process that holds something beneath the directory; one entry a process, its first find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUser {
    pub pid: u32,
    /// Name of the command, at most 15 bytes.
    pub comm: String,
    /// What it holds, as this node sees it or as the process does.
    pub path: PathBuf,
    pub hold: Hold,
}

impl std::fmt::Display for OpenUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.hold {
            Hold::OpenFile => "has open",
            Hold::WorkingDirectory => "works in",
            Hold::RootDirectory => "has as its root",
            Hold::Program => "runs",
            Hold::MappedFile => "has mapped",
        };
        write!(f, "{} (process {}) {what} {}", self.comm, self.pid, self.path.display())
    }
}

/// Processes that hold `dir` or something beneath it, the caller and `except` left out.
/// `dir` must be absolute; a symbolic link on the way is followed.
pub fn users_of(dir: &Path, except: &[u32]) -> io::Result<Vec<OpenUser>> {
    let dir = fs::canonicalize(dir)?;
    let mut search = Search::new(&dir)?;
    let own = std::process::id();
    let mut users = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if pid == own || except.contains(&pid) {
            continue;
        }
        // A process that ends while it is looked at holds nothing any more.
        if let Some((path, hold)) = search.first_find(pid) {
            let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
            let comm = String::from_utf8_lossy(&comm).trim_end().to_owned();
            users.push(OpenUser { pid, comm, path, hold });
        }
    }
    users.sort_by_key(|user| user.pid);
    Ok(users)
}

/// [`users_of`] in a thread of its own, with a limit. Blocks.
///
/// # Errors
/// Those of the search; `TimedOut` where it did not end, and goes on by itself.
pub fn users_of_limited(dir: &Path, except: &[u32], limit: Duration) -> io::Result<Vec<OpenUser>> {
    let (send, receive) = std::sync::mpsc::channel();
    let (dir, except) = (dir.to_owned(), except.to_vec());
    std::thread::Builder::new().name("search".to_owned()).spawn(move || {
        // Nobody listens any more after the limit.
        let _ = send.send(users_of(&dir, &except));
    })?;
    receive.recv_timeout(limit).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// One line of a mountinfo file (proc_pid_mountinfo(5)).
struct Mount {
    /// `major:minor`
    device: String,
    /// Place within the file system that is seen at `point`.
    root: PathBuf,
    point: PathBuf,
}

struct Search {
    /// Device, and the place of the directory within its file system; more than one where a
    /// cover lies over it.
    targets: Vec<(String, PathBuf)>,
    /// Paths by which the directory is reached, for each mount namespace (inode number).
    aliases: HashMap<u64, Vec<PathBuf>>,
}

impl Search {
    fn new(dir: &Path) -> io::Result<Search> {
        let mounts = mounts_of("self")?;
        let mut targets = Vec::new();
        // The mount that holds the directory, and what is mounted over it at this very place.
        let longest = mounts.iter().filter(|m| dir.starts_with(&m.point) && m.point != dir);
        let longest = longest.max_by_key(|m| m.point.as_os_str().len());
        for mount in longest.into_iter().chain(mounts.iter().filter(|m| m.point == dir)) {
            if let Ok(rest) = dir.strip_prefix(&mount.point) {
                targets.push((mount.device.clone(), joined(&mount.root, rest)));
            }
        }
        let mut aliases = aliases_in(&mounts, &targets);
        if !aliases.iter().any(|alias| alias == dir) {
            aliases.push(dir.to_owned());
        }
        let namespace = namespace_of("self").unwrap_or(0);
        Ok(Search { targets, aliases: HashMap::from([(namespace, aliases)]) })
    }

    fn first_find(&mut self, pid: u32) -> Option<(PathBuf, Hold)> {
        let process = pid.to_string();
        let namespace = namespace_of(&process)?;
        if !self.aliases.contains_key(&namespace) {
            let mounts = mounts_of(&process).ok()?;
            self.aliases.insert(namespace, aliases_in(&mounts, &self.targets));
        }
        let aliases = self.aliases.get(&namespace)?;
        if aliases.is_empty() {
            return None;
        }
        let base = Path::new("/proc").join(&process);
        for (link, hold) in
            [("cwd", Hold::WorkingDirectory), ("root", Hold::RootDirectory), ("exe", Hold::Program)]
        {
            if let Some(path) = link_beneath(&base.join(link), aliases) {
                return Some((path, hold));
            }
        }
        let files = fs::read_dir(base.join("fd")).into_iter().flatten().flatten();
        for file in files {
            if let Some(path) = link_beneath(&file.path(), aliases) {
                return Some((path, Hold::OpenFile));
            }
        }
        mapped_beneath(&base.join("maps"), aliases).map(|path| (path, Hold::MappedFile))
    }
}

fn link_beneath(link: &Path, aliases: &[PathBuf]) -> Option<PathBuf> {
    let path = fs::read_link(link).ok()?;
    is_beneath(&path, aliases).then_some(path)
}

fn is_beneath(path: &Path, aliases: &[PathBuf]) -> bool {
    aliases.iter().any(|alias| path.starts_with(alias)) || {
        // A removed directory that was the alias itself.
        let bytes = path.as_os_str().as_bytes();
        let plain = bytes.strip_suffix(b" (deleted)");
        plain.is_some_and(|plain| aliases.iter().any(|a| a.as_os_str().as_bytes() == plain))
    }
}

/// Files mapped into memory, their descriptors perhaps closed: the sixth field of each line.
fn mapped_beneath(maps: &Path, aliases: &[PathBuf]) -> Option<PathBuf> {
    let text = fs::read(maps).ok()?;
    for line in text.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b'/') else { continue };
        let path = unescape(&line[at..]);
        if is_beneath(&path, aliases) {
            return Some(path);
        }
    }
    None
}

fn namespace_of(process: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{process}/ns/mnt")).ok()?;
    let text = link.to_str()?;
    text.strip_prefix("mnt:[")?.strip_suffix(']')?.parse().ok()
}

fn mounts_of(process: &str) -> io::Result<Vec<Mount>> {
    let text = fs::read(format!("/proc/{process}/mountinfo"))?;
    let mount = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        let device = String::from_utf8_lossy(fields.next()?).into_owned();
        let root = unescape(fields.next()?);
        let point = unescape(fields.next()?);
        Some(Mount { device, root, point })
    };
    Ok(text.split(|byte| *byte == b'\n').filter_map(mount).collect())
}

/// Every path by which a target, or a part of it, is reached through these mounts.
fn aliases_in(mounts: &[Mount], targets: &[(String, PathBuf)]) -> Vec<PathBuf> {
    let mut aliases = Vec::new();
    for mount in mounts {
        for (device, place) in targets {
            if &mount.device != device {
                continue;
            }
            let alias = if let Ok(rest) = place.strip_prefix(&mount.root) {
                joined(&mount.point, rest)
            } else if mount.root.starts_with(place) {
                mount.point.clone()
            } else {
                continue;
            };
            if !aliases.contains(&alias) {
                aliases.push(alias);
            }
        }
    }
    aliases
}

/// `base/rest` without the trailing slash that joining an empty rest leaves.
fn joined(base: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { base.to_owned() } else { base.join(rest) }
}

/// The kernel writes space, tab, newline and backslash in these files as `\ooo`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok());
        let code = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                plain.push(code);
                rest = &tail[3..];
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&plain))
}

#[cfg(test)]
mod tests;
