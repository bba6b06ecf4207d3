//! Where is measured: a folder inside the mirror, and one beside it on the same file system.
//!
//! Nothing of the application is touched: each folder is made by us, carries a mark that says so,
//! and is removed at the end, however that comes. One that a killed benchmark left is recognised
//! by its mark and removed by the next.
use super::workload::{Halt, at};
use crate::capture::mount::FUSE_TYPE;
use nix::sys::statvfs::statvfs;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const NAME: &str = ".lockstep-bench";
const MARK_NAME: &str = "README";
const MARK: &str = "Made by `lockstep bench`, which removes it at its end. If no benchmark runs, \
                    it was killed: the next one removes this folder, or you may.\n";

/// A temporary folder; it goes with the value.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    present: bool,
}

impl Folder {
    /// Makes the folder in `parent`, after removing one that a killed benchmark left there.
    pub fn make(parent: &Path) -> Result<Folder, Halt> {
        let path = parent.join(NAME);
        let mut made = DirBuilder::new().mode(0o700).create(&path);
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            remove_left(&path).map_err(at("remove what an earlier benchmark left in", &path))?;
            made = DirBuilder::new().mode(0o700).create(&path);
        }
        made.map_err(at("create", &path))?;
        let folder = Folder { path, present: true };
        let mark = folder.path.join(MARK_NAME);
        let written = File::create(&mark).and_then(|mut file| {
            file.write_all(MARK.as_bytes())?;
            file.sync_all()
        });
        written.map_err(at("write", &mark))?;
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn remove(mut self) -> Result<(), Halt> {
        self.present = false;
        fs::remove_dir_all(&self.path).map_err(at("remove", &self.path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.present {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Only what carries our mark, or nothing at all.
fn remove_left(path: &Path) -> io::Result<()> {
    if fs::remove_dir(path).is_ok() {
        return Ok(());
    }
    // Not through a symbolic link: a folder of ours is a folder.
    let real = fs::symlink_metadata(path)?.is_dir();
    if !real || fs::read_to_string(path.join(MARK_NAME)).ok().as_deref() != Some(MARK) {
        let text = "it is not the benchmark's (no mark in it); rename it";
        return Err(io::Error::other(text));
    }
    fs::remove_dir_all(path)
}

/// Room on a file system, as the one who asks through this path sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub total_bytes: u64,
    pub free_bytes: u64,
    pub free_files: u64,
}

impl Room {
    pub fn of(path: &Path) -> Result<Room, Halt> {
        let found =
            statvfs(path).map_err(|error| at("look at the space of", path)(error.into()))?;
        let block = found.fragment_size();
        // A file system that does not count its files has no limit for them.
        let files = if found.files() == 0 { u64::MAX } else { found.files_available() };
        Ok(Room {
            total_bytes: found.blocks() * block,
            free_bytes: found.blocks_available() * block,
            free_files: files,
        })
    }

    /// What a benchmark leaves free in any case: the application goes on writing meanwhile.
    pub fn reserve_bytes(&self) -> u64 {
        (self.total_bytes / 10).clamp(64 << 20, 10 << 30)
    }
}

/// A line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    id: String,
    parent: String,
    /// `major:minor`, the same for all mounts of one file system.
    device: String,
    point: PathBuf,
    read_only: bool,
    kind: String,
}

/// The file system beneath a mirrored directory, and a directory of it that is not mirrored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beneath {
    /// Type, e.g. `ext4`.
    pub kind: String,
    pub plain: Option<PathBuf>,
}

/// Looks beneath the mirrored directory `dir`; a plain directory is looked for in `wished` first.
/// `None`: no mirror covers it.
pub fn beneath(dir: &Path, wished: &[&Path]) -> io::Result<Option<Beneath>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(find(&mounts(&text), dir, wished))
}

fn find(mounts: &[Mount], dir: &Path, wished: &[&Path]) -> Option<Beneath> {
    let is_cover = |mount: &&Mount| mount.point == dir && mount.kind == FUSE_TYPE;
    let cover = mounts.iter().rfind(is_cover)?;
    let backing = mounts.iter().find(|mount| mount.id == cover.parent)?;
    let points = mounts.iter().map(|mount| mount.point.as_path());
    // What covers a path decides: a read-only cover or another mirror is no plain directory.
    let plain = wished.iter().copied().chain(points).find(|path| {
        let on = covering(mounts, path);
        on.is_some_and(|on| on.device == backing.device && !on.read_only && path.is_absolute())
    });
    Some(Beneath { kind: backing.kind.clone(), plain: plain.map(Path::to_owned) })
}

/// The mount on which `path` lies: of the longest mount points the last one, which is on top.
fn covering<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let over = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    over.max_by_key(|mount| mount.point.as_os_str().len())
}

fn mounts(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let text = |index: usize| fields.get(index).map(|f| String::from_utf8_lossy(f).into_owned());
    let has_ro = |index: usize| text(index).is_some_and(|all| all.split(',').any(|o| o == "ro"));
    Some(Mount {
        id: text(0)?,
        parent: text(1)?,
        device: text(2)?,
        point: PathBuf::from(std::ffi::OsString::from_vec(unescape(fields.get(4)?))),
        read_only: has_ro(5) || has_ro(dash + 3),
        kind: text(dash + 1)?,
    })
}

/// Space, tab, newline and backslash stand there in octal.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|d| d.iter().all(|c| (b'0'..b'8').contains(c)));
        match (first, digits) {
            (b'\\', Some(digits)) => {
                let value = digits.iter().fold(0u32, |sum, d| sum * 8 + u32::from(d - b'0'));
                out.push(value as u8);
                rest = &tail[3..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:17 /srv /srv rw - ext4 /dev/sdb1 rw
31 22 8:17 /lib /var/lib/lockstep rw - ext4 /dev/sdb1 rw
40 30 0:50 / /srv/web rw - fuse.lockstep lockstep rw,allow_other
41 30 8:17 /srv/other /srv/other ro - ext4 /dev/sdb1 rw
42 22 8:33 / /mnt/own\\040disk rw - xfs /dev/sdc1 rw
43 42 0:51 / /mnt/own\\040disk rw - fuse.lockstep lockstep rw
44 22 8:33 /a /mnt/view ro - xfs /dev/sdc1 rw
45 22 8:33 /b /mnt/below rw - xfs /dev/sdc1 rw
";

    fn found(dir: &str, wished: &[&str]) -> Option<(String, Option<String>)> {
        let wished: Vec<&Path> = wished.iter().map(Path::new).collect();
        let beneath = find(&mounts(MOUNTS.as_bytes()), Path::new(dir), &wished)?;
        Some((beneath.kind, beneath.plain.map(|path| path.display().to_string())))
    }

    #[test]
    fn the_plain_directory_is_on_the_same_file_system_and_not_mirrored() {
        let some = |kind: &str, path: &str| Some((kind.to_owned(), Some(path.to_owned())));
        let (lib, srv) = ("/var/lib/lockstep", "/srv");
        assert_eq!(found("/srv/web", &[lib, srv]), some("ext4", lib));
        assert_eq!(found("/srv/web", &["/srv/web/sub", "/srv/other/x", srv]), some("ext4", srv));
        assert_eq!(found("/srv/web", &["/", "/tmp"]), some("ext4", srv), "any mount of it will do");
        assert_eq!(found("/mnt/own disk", &[lib, "/mnt"]), some("xfs", "/mnt/below"));
        assert_eq!(found("/srv", &[lib]), None, "not mirrored");
    }

    #[test]
    fn a_disk_that_is_all_mirror_has_no_plain_directory() {
        let lines: Vec<&str> = MOUNTS.lines().filter(|line| !line.starts_with("45")).collect();
        let mounts = mounts(lines.join("\n").as_bytes());
        let beneath = find(&mounts, Path::new("/mnt/own disk"), &[]).unwrap();
        assert_eq!(beneath, Beneath { kind: "xfs".into(), plain: None });
    }

    #[test]
    fn a_folder_goes_with_its_value_and_takes_an_earlier_one_away() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(dir.path()).unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("data"), "x").unwrap();
        // As if killed: the value goes without its end.
        std::mem::forget(folder);
        let folder = Folder::make(dir.path()).unwrap();
        assert!(!path.join("data").exists(), "begins empty");
        drop(folder);
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        Folder::make(dir.path()).unwrap().remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let error = |text: &str| {
            let error = Folder::make(dir.path()).unwrap_err().to_string();
            assert!(error.contains("it is not the benchmark's"), "{text}: {error}");
        };
        fs::create_dir(&path).unwrap();
        fs::write(path.join("data"), "precious").unwrap();
        error("no mark");
        assert_eq!(fs::read_to_string(path.join("data")).unwrap(), "precious");
        fs::remove_dir_all(&path).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join(MARK_NAME), MARK).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        error("a link");
        assert!(elsewhere.join(MARK_NAME).exists());
    }

    #[test]
    fn a_tenth_stays_free_within_limits() {
        let room = |total_bytes| Room { total_bytes, free_bytes: 0, free_files: 0 };
        assert_eq!(room(1 << 30).reserve_bytes(), (1 << 30) / 10);
        assert_eq!(room(1 << 20).reserve_bytes(), 64 << 20);
        assert_eq!(room(1 << 50).reserve_bytes(), 10 << 30);
        assert!(Room::of(Path::new("/")).unwrap().total_bytes > 0);
    }
}
