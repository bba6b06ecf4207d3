//! From a path to a running script: session, group, descriptors, and the errors that a person
//! can repair.
use super::userlog::UserLog;
use super::{ScriptCall, ScriptSetup, environment, host};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// A script that somebody still writes to cannot be executed (ETXTBSY), e.g. because another
/// thread forked while `config` was copying it: tried again this often, this far apart.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Everything a start needs; may be started again after a passing failure.
pub(super) struct Plan {
    path: PathBuf,
    args: Vec<String>,
    environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    directory: PathBuf,
    output: Option<File>,
    join: Option<File>,
    /// Virtual host name.
    host: Option<String>,
}

pub(super) fn prepare(
    setup: &ScriptSetup,
    call: &ScriptCall,
    path: &Path,
    log: Option<&UserLog>,
) -> io::Result<Plan> {
    let join = setup.group.join_file().unwrap_or_else(|error| {
        // Better a script outside its group than a module that does not start.
        tracing::warn!(module = %setup.module, %error, "script runs outside the module's group");
        None
    });
    Ok(Plan {
        path: path.to_owned(),
        args: call.args.clone(),
        environment: environment::of(setup, call),
        directory: directory(setup),
        output: log.map(|log| log.file.try_clone()).transpose()?,
        join,
        host: setup.hosts.of(&call.script, call.role).map(str::to_owned),
    })
}

/// A module that only names applications may have no `bin`.
fn directory(setup: &ScriptSetup) -> PathBuf {
    let bin = setup.active_dir.join("bin");
    if bin.is_dir() { bin } else { setup.active_dir.clone() }
}

impl Plan {
    /// Starts the script. A file without an interpreter line goes to `/bin/sh`, as a shell does.
    pub(super) async fn spawn(self) -> io::Result<Child> {
        for _ in 0..BUSY_TRIES {
            match self.command(None)?.spawn() {
                Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
                    return self.command(Some("/bin/sh"))?.spawn();
                }
                other => return other,
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        }
        self.command(None)?.spawn()
    }

    fn command(&self, interpreter: Option<&str>) -> io::Result<Command> {
        let mut command = match interpreter {
            None => Command::new(&self.path),
            Some(interpreter) => {
                let mut command = Command::new(interpreter);
                command.arg(&self.path);
                command
            }
        };
        command.args(&self.args).env_clear().envs(self.environment.iter().cloned());
        command.current_dir(&self.directory).stdin(Stdio::null()).kill_on_drop(false);
        match &self.output {
            Some(file) => {
                command.stdout(file.try_clone()?).stderr(file.try_clone()?);
            }
            None => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
            }
        }
        let join = self.join.as_ref().map(File::as_raw_fd);
        let host = self.host.clone();
        // SAFETY: between fork and exec only system calls that are safe after a fork; the joined
        // descriptor is open as long as `self` is.
        unsafe {
            command.pre_exec(move || {
                if let Some(join) = join {
                    join_group(join)?;
                }
                if let Some(host) = &host {
                    host::take(host)?;
                }
                nix::unistd::setsid().map_err(io::Error::from)?;
                close_on_exec_from(3);
                libc::umask(0o022);
                Ok(())
            });
        }
        Ok(command)
    }
}

fn join_group(procs: i32) -> io::Result<()> {
    // "0" is the writer itself, whatever its number is in the reader's namespace.
    // SAFETY: one byte from a static buffer to a descriptor that was inherited by the fork.
    if unsafe { libc::write(procs, c"0".as_ptr().cast(), 1) } == 1 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// No descriptor of ours reaches the script, even if some library forgot to mark one.
fn close_on_exec_from(first: u32) {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: marks descriptors of this process only; without the call (before Linux 5.11) they
    // are marked already, because Rust opens them so.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
}

/// Signals the process group that the script leads.
pub(super) fn signal_group(leader: u32, signal: i32) {
    if let Ok(group) = i32::try_from(leader)
        && group > 1
    {
        // SAFETY: killpg(2) takes two integers; our child leads this group, it is not reaped yet.
        unsafe { libc::killpg(group, signal) };
    }
}

/// The error as a sentence that says what to repair.
pub(super) fn sentence(path: &Path, error: &io::Error) -> String {
    let found_in_path = path.components().count() == 1;
    let path = path.display();
    match error.raw_os_error() {
        Some(libc::ENOENT) if found_in_path => {
            format!("{path} is not on this node (it was looked for in PATH); install it")
        }
        Some(libc::EACCES) => format!(
            "{path} may not be executed; make it executable (chmod +x) in the module and apply \
             the module's configuration again"
        ),
        Some(libc::ENOENT) => format!(
            "{path} names an interpreter in its first line that is not on this node (or ends that \
             line in DOS style); correct the line or install the interpreter"
        ),
        _ => format!("{path}: {error}"),
    }
}
