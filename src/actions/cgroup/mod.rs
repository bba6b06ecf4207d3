//! Everything that a module's scripts start, held together: to freeze, thaw, kill or count it.
//!
//! A cgroup v2 of its own holds it, without any controller: the kernel puts every descendant in,
//! daemons that left their session included. Where no cgroup v2 can be had, the group falls back
//! to the process tree ([`tree`]): weaker, and [`ModuleGroup::unavailable`] says why.
//!
//! Nodes of a test cluster share the machine's cgroup tree, so a group is named after the node,
//! its boot and the module.
mod tree;

use crate::model::{BootId, ModuleName, NodeName};
use crate::watch::async_fd;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::time::{Instant, sleep, timeout_at};
use tree::ProcessTree;

/// Where cgroup v2 usually is; the last one is ours, mounted when none of the others is there.
const PLACES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const PRIVATE: &str = "/run/lockstep/cgroup";
/// Pause between two looks where the kernel gives no event.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The processes of one module on this node. Cheap to clone; all clones are the same group.
#[derive(Clone, Debug)]
pub struct ModuleGroup {
    inner: Arc<Inner>,
    killed: Arc<Mutex<Vec<Killed>>>,
}

/// A process that was still there when the group was killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killed {
    pub pid: u32,
    /// Name of the command, at most 15 bytes.
    pub name: String,
}

#[derive(Debug)]
enum Inner {
    Cgroup { dir: PathBuf },
    Tree { tree: ProcessTree, why: String },
}

/// How a freeze ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// No process of the group runs.
    Frozen,
    /// The order stands, but these have not stopped yet (a task that waits inside the kernel,
    /// e.g. for FUSE, stops when that wait ends, before it returns to the application).
    Pending { pids: Vec<u32> },
}

/// How a kill ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kill {
    /// The group is empty.
    Gone,
    /// These were sent SIGKILL and are still there.
    Left { pids: Vec<u32> },
}

#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the processes of the module ({path}): {source}")]
pub struct GroupError {
    what: &'static str,
    path: String,
    #[source]
    source: io::Error,
}

impl ModuleGroup {
    /// Makes the group, or finds the one that a former daemon made in this boot. Never fails:
    /// without cgroup v2 it falls back to the process tree.
    pub fn create(node: &NodeName, boot: BootId, module: &ModuleName) -> ModuleGroup {
        let mut why = String::from("cgroup v2 is not mounted");
        for root in PLACES.map(PathBuf::from).into_iter().chain(private_mount().ok()) {
            if !is_cgroup2(&root) {
                continue;
            }
            match Self::create_in(&root, node, boot, module) {
                Ok(group) => return group,
                Err(error) => why = error.to_string(),
            }
        }
        let tree = ProcessTree::new(node, module);
        ModuleGroup::of(Inner::Tree { tree, why })
    }

    fn of(inner: Inner) -> ModuleGroup {
        ModuleGroup { inner: Arc::new(inner), killed: Arc::default() }
    }

    /// Makes or finds the group beneath `root`, a mounted cgroup v2.
    pub fn create_in(
        root: &Path,
        node: &NodeName,
        boot: BootId,
        module: &ModuleName,
    ) -> Result<ModuleGroup, GroupError> {
        let dir = root.join(format!("lockstep-{node}-{:08x}-{module}", boot.0 >> 96));
        make_dir(&dir).map_err(|source| failed("group", &dir, source))?;
        Ok(ModuleGroup::of(Inner::Cgroup { dir }))
    }

    /// Why this is only the process tree; `None` when a cgroup holds the module.
    pub fn unavailable(&self) -> Option<&str> {
        match &*self.inner {
            Inner::Cgroup { .. } => None,
            Inner::Tree { why, .. } => Some(why),
        }
    }

    /// A file into which a new process writes `0` to join before it executes anything. `None`
    /// without a cgroup. Makes the group again if somebody removed it while it was empty.
    pub fn join_file(&self) -> Result<Option<File>, GroupError> {
        let Inner::Cgroup { dir } = &*self.inner else { return Ok(None) };
        let path = dir.join("cgroup.procs");
        make_dir(dir)
            .and_then(|()| OpenOptions::new().write(true).open(&path))
            .map(Some)
            .map_err(|source| failed("join", &path, source))
    }

    /// Puts a running process in. Its children come later; those it has already stay outside.
    pub fn add(&self, pid: u32) -> Result<(), GroupError> {
        let Inner::Cgroup { dir } = &*self.inner else { return Ok(()) };
        self.join_file()?;
        let path = dir.join("cgroup.procs");
        fs::write(&path, pid.to_string()).map_err(|source| failed("add to", &path, source))
    }

    /// Numbers of the processes in the group, those of nested groups included.
    pub fn members(&self) -> Result<Vec<u32>, GroupError> {
        match &*self.inner {
            Inner::Cgroup { dir } => {
                let mut pids = Vec::new();
                for dir in with_nested(dir) {
                    pids.extend(pids_in(&dir).map_err(|source| failed("list", &dir, source))?);
                }
                Ok(pids)
            }
            Inner::Tree { tree, .. } => Ok(tree.members()),
        }
    }

    /// Whether any process is left.
    pub fn populated(&self) -> Result<bool, GroupError> {
        match &*self.inner {
            Inner::Cgroup { dir } => event(dir, "populated"),
            Inner::Tree { tree, .. } => Ok(!tree.members().is_empty()),
        }
    }

    /// Stops every process of the group where it is, waiting at most `limit` until they stand.
    pub async fn freeze(&self, limit: Duration) -> Result<Freeze, GroupError> {
        let until = Instant::now() + limit;
        match &*self.inner {
            Inner::Cgroup { dir } => {
                write(dir, "cgroup.freeze", "1", "freeze")?;
                if wait_event(dir, "frozen", true, until).await? {
                    return Ok(Freeze::Frozen);
                }
                Ok(Freeze::Pending { pids: tree::in_kernel_wait(&self.members()?) })
            }
            Inner::Tree { tree, .. } => loop {
                let running = tree.signal_running(libc::SIGSTOP);
                if running.is_empty() {
                    return Ok(Freeze::Frozen);
                }
                if Instant::now() >= until {
                    return Ok(Freeze::Pending { pids: running });
                }
                sleep(LOOK_AGAIN).await;
            },
        }
    }

    /// Lets a frozen group go on.
    pub fn thaw(&self) -> Result<(), GroupError> {
        match &*self.inner {
            Inner::Cgroup { dir } => write(dir, "cgroup.freeze", "0", "thaw"),
            Inner::Tree { tree, .. } => {
                tree.signal(libc::SIGCONT);
                Ok(())
            }
        }
    }

    /// SIGKILL for everybody, frozen or not, new children included, waiting at most `limit`
    /// until the group is empty.
    pub async fn kill(&self, limit: Duration) -> Result<Kill, GroupError> {
        let until = Instant::now() + limit;
        self.note(&self.members().unwrap_or_default());
        if let Inner::Cgroup { dir } = &*self.inner
            && write(dir, "cgroup.kill", "1", "kill").is_ok()
        {
            if wait_event(dir, "populated", false, until).await? {
                return Ok(Kill::Gone);
            }
            return Ok(Kill::Left { pids: self.members()? });
        }
        // Before Linux 5.14, or without a cgroup: again until nobody is left, because a fork may
        // run away from a list that was just read.
        loop {
            let pids = self.members()?;
            if pids.is_empty() {
                return Ok(Kill::Gone);
            }
            if Instant::now() >= until {
                return Ok(Kill::Left { pids });
            }
            self.note(&pids);
            for pid in pids {
                tree::signal_pid(pid, libc::SIGKILL);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Whom `kill` met since this was asked last, so that somebody can say so.
    pub fn take_killed(&self) -> Vec<Killed> {
        std::mem::take(&mut self.killed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, pids: &[u32]) {
        let mut killed = self.killed.lock().unwrap_or_else(PoisonError::into_inner);
        for pid in pids {
            // One that ended meanwhile was not killed.
            let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm")) else { continue };
            if killed.iter().all(|known| known.pid != *pid) {
                killed.push(Killed { pid: *pid, name: name.trim_end().to_owned() });
            }
        }
    }

    /// Removes the group. Refused by the kernel (`EBUSY`) while a process is in it.
    pub fn remove(&self) -> Result<(), GroupError> {
        let Inner::Cgroup { dir } = &*self.inner else { return Ok(()) };
        for dir in with_nested(dir).iter().rev() {
            match fs::remove_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(|source| failed("remove the group of", dir, source))?,
            }
        }
        Ok(())
    }
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> GroupError {
    GroupError { what, path: path.display().to_string(), source }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn is_cgroup2(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// A mount of our own where the system has none; needs the right to mount.
fn private_mount() -> io::Result<PathBuf> {
    let dir = PathBuf::from(PRIVATE);
    if PLACES.iter().any(|place| is_cgroup2(Path::new(place))) || is_cgroup2(&dir) {
        return Ok(dir);
    }
    fs::create_dir_all(&dir)?;
    let none: Option<&str> = None;
    let flags = nix::mount::MsFlags::MS_NOSUID | nix::mount::MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("cgroup2"), &dir, Some("cgroup2"), flags, none)?;
    Ok(dir)
}

fn write(dir: &Path, file: &str, text: &str, what: &'static str) -> Result<(), GroupError> {
    let path = dir.join(file);
    // Never created: a file that is not there means a kernel without that feature.
    let opened = OpenOptions::new().write(true).open(&path);
    opened
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
        .map_err(|source| failed(what, &path, source))
}

/// Reads one flag of `cgroup.events`; a group that is gone has no processes.
fn event(dir: &Path, key: &str) -> Result<bool, GroupError> {
    let path = dir.join("cgroup.events");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().any(|line| line == format!("{key} 1"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed("look at", &path, source)),
    }
}

/// Waits until the flag has the value; `false` when the time is over first.
async fn wait_event(
    dir: &Path,
    key: &str,
    wanted: bool,
    until: Instant,
) -> Result<bool, GroupError> {
    // The kernel reports a change of this file as priority data.
    let watch = File::open(dir.join("cgroup.events"))
        .and_then(|file| async_fd(OwnedFd::from(file), Interest::PRIORITY));
    loop {
        if event(dir, key)? == wanted {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        match &watch {
            Ok(watch) => {
                let wake = until.min(Instant::now() + LOOK_AGAIN * 10);
                if let Ok(Ok(mut ready)) = timeout_at(wake, watch.ready(Interest::PRIORITY)).await {
                    ready.clear_ready();
                }
            }
            Err(_) => sleep(LOOK_AGAIN).await,
        }
    }
}

/// The group and the groups that an application made inside it, parents first.
fn with_nested(dir: &Path) -> Vec<PathBuf> {
    let mut dirs = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(dir) = dirs.get(next).cloned() {
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        dirs.extend(entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        next += 1;
    }
    dirs
}

fn pids_in(dir: &Path) -> io::Result<Vec<u32>> {
    match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
