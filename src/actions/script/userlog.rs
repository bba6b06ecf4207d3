//! What scripts print: one file a call in the module's log directory,
//! `userlog_<date>T<time>_<script>.ulog`, its first line a banner.
//!
//! The script and all it leaves behind write to the file themselves, at its end (O_APPEND), so
//! nobody waits for them and the file can be cut while they hold it.
use super::{ScriptCall, ScriptSetup};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Files that are kept; older ones go at the start of the module.
pub const FILES_MAX: usize = 100;
/// Calls of one script within one second that get a file of their own.
const SAME_SECOND_MAX: u32 = 1000;

pub(super) struct UserLog {
    pub file: File,
    pub path: PathBuf,
}

/// Makes the file of a call and writes its banner; `None` with `logging="none"`.
pub(super) fn open(setup: &ScriptSetup, call: &ScriptCall) -> io::Result<Option<UserLog>> {
    if !setup.logging {
        return Ok(None);
    }
    fs::create_dir_all(&setup.log_dir)?;
    // For people only: the date in the name decides nothing.
    let now = jiff::Zoned::now();
    let stamp = now.strftime("%Y-%m-%dT%H%M%S");
    let script = call.script.name();
    for number in 1..SAME_SECOND_MAX {
        let again = if number == 1 { String::new() } else { format!("_{number}") };
        let path = setup.log_dir.join(format!("userlog_{stamp}_{script}{again}.ulog"));
        let opened = OpenOptions::new().append(true).create_new(true).open(&path);
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other?,
        };
        let args = call.args.join(" ");
        let time = now.strftime("%Y-%m-%d %H:%M:%S");
        writeln!(file, "---------- {time} {script} {args} ----------")?;
        return Ok(Some(UserLog { file, path }));
    }
    Err(io::Error::other("too many calls of one script within a second"))
}

/// Cuts files above `kib_max` to their newest part and removes the oldest beyond [`FILES_MAX`].
/// What cannot be tidied is left: a log is no reason not to start.
pub(super) fn tidy(dir: &Path, kib_max: u64) {
    let mut logs: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_userlog(path))
        .collect();
    // The date in the name sorts.
    logs.sort();
    let surplus = logs.len().saturating_sub(FILES_MAX);
    for path in logs.drain(..surplus) {
        let _ = fs::remove_file(path);
    }
    for path in logs {
        if let Err(error) = cut(&path, kib_max.saturating_mul(1024)) {
            tracing::warn!(path = %path.display(), %error, "script log was not cut");
        }
    }
}

fn is_userlog(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
    name.starts_with("userlog_") && name.ends_with(".ulog")
}

fn cut(path: &Path, bytes_max: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    if size <= bytes_max {
        return Ok(());
    }
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(size - bytes_max))?;
    Read::take(&mut file, bytes_max).read_to_end(&mut tail)?;
    // Whole lines only, the first one is torn.
    let begin = tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    file.set_len(0)?;
    file.write_all(&tail[begin..])
}
