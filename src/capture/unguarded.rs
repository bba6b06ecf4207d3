//! Rule A7, the time in between: while a module is stopped its directories are plain, and anybody
//! may change them (a restored backup, an edit by hand). What is remembered about the differences
//! of the copies says nothing of that.
//!
//! When the cover goes a marker file is made; when it comes again, a walk looks for a change time
//! (ctime, which no program sets) from the marker to now. After a crash of the node there is no
//! marker, and nothing is looked for.
use crate::disk::walk::each_directory;
use crate::disk::{Errno, Selection, sys};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Empty; its change time says since when nobody guards the directories.
pub const MARKER: &str = "unguarded";
/// Time stamps of files move on in steps; longer than the longest (`CONFIG_HZ=100`).
const STEPS_MAX: u32 = 50;

/// Seconds and nanoseconds of a file's change time.
pub type Time = (i64, i64);

/// From now on anybody may change the directories of the module whose engine remembers in
/// `state_dir`. To be called while they are still covered. A marker that is there stays: nobody has
/// looked since.
///
/// # Errors
/// Of writing below `state_dir`.
pub fn leave(state_dir: &Path) -> io::Result<()> {
    let path = state_dir.join(MARKER);
    if path.exists() {
        return Ok(());
    }
    let file = File::create(path)?;
    let touched = || -> io::Result<Time> {
        file.set_modified(std::time::SystemTime::now())?;
        Ok(changed_at(&file.metadata()?))
    };
    // Later than every change that was made under the cover.
    let first = touched()?;
    for _ in 0..STEPS_MAX {
        std::thread::sleep(Duration::from_millis(1));
        if touched()? > first {
            break;
        }
    }
    file.sync_all()?;
    File::open(state_dir)?.sync_all()
}

/// Since when nobody guarded the directories; `None`: nobody says.
pub fn since(state_dir: &Path) -> Option<Time> {
    fs::metadata(state_dir.join(MARKER)).ok().map(|meta| changed_at(&meta))
}

fn changed_at(meta: &fs::Metadata) -> Time {
    (meta.ctime(), meta.ctime_nsec())
}

/// The first thing found below `roots` that changed from `since` to `until`, both included; its
/// path there, empty for a root.
///
/// # Errors
/// Of reading: then nothing is known.
pub fn find(
    roots: Vec<(OwnedFd, Selection)>,
    since: Time,
    until: Time,
) -> Result<Option<PathBuf>, Errno> {
    let within = |stat: &libc::stat| {
        let time = (stat.st_ctime, stat.st_ctime_nsec);
        since <= time && time <= until
    };
    let mut found = None;
    for (root, selection) in roots {
        let walked = each_directory(root, &selection, |turn| {
            let path = || turn.path.iter().map(|name| OsStr::from_bytes(name)).collect::<PathBuf>();
            if within(&sys::fstat(turn.fd)?) {
                found = Some(path());
                return Ok(ControlFlow::Break(()));
            }
            for (bytes, _, _) in turn.entries.iter().filter(|(_, _, kind)| *kind != libc::DT_DIR) {
                match sys::stat_at(turn.fd, &sys::name(bytes)?) {
                    Ok(stat) if within(&stat) => {
                        found = Some(path().join(OsStr::from_bytes(bytes)));
                        return Ok(ControlFlow::Break(()));
                    }
                    Ok(_) | Err(Errno(libc::ENOENT)) => {}
                    Err(errno) => return Err(errno),
                }
            }
            Ok(ControlFlow::Continue(()))
        });
        if walked?.is_break() {
            break;
        }
    }
    Ok(found)
}
