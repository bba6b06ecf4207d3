//! The data plane of one module: `lockstep engine MODULE --config FILE`.
//!
//! One thread runs the whole road of a write ([`run`]); a few more wait for disks ([`pool`]). The
//! engine knows directories, a peer and its daemon's commands; no scripts, no addresses, no policy.
//! Its parts: `leader` (order, send, acknowledge; with `pieces`, `barrier`, `times`), `alone` (the
//! same without a peer), `left_out` (what is not replicated), `follower` (receive, apply), `fork`
//! (words for who decides), `session` (handshake, checkpoints), `reintegrate` (return; with `pace`,
//! `compare_dirs`, `compare_files`, `identity`, `locate`, `detail`, `admission`), `stuck` (a peer
//! that answers no more), `roles` (commands; with `leaving`), `store` (memory), `unguarded` (what
//! happened while stopped).
mod admission;
mod alone;
mod answers;
mod barrier;
mod behind;
mod compare_dirs;
mod compare_files;
mod control;
mod detail;
mod entries;
mod failures;
mod follower;
mod fork;
mod identity;
mod in_flight;
mod leader;
mod leaving;
mod left_out;
pub mod locate;
mod look;
mod operands;
mod pace;
mod pieces;
pub mod pool;
mod reactor;
mod reintegrate;
mod requests;
mod roles;
mod run;
mod session;
mod stats;
mod store;
mod stuck;
mod times;
mod touch;
mod unguarded;

use crate::capture::mount;
use crate::disk::{Errno, Objects, Selection, perform, sys};
use crate::link::Link;
use crate::model::{BootId, EngineConfig, ModuleName};
use crate::trust::Pki;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a silent peer is believed to be there, unless the configuration says otherwise.
pub const LINK_TIMEOUT_MS: u64 = 2500;

/// Runs the engine; returns when the daemon shut it down: the exit code.
pub fn main(module: &ModuleName, config: &Path) -> u8 {
    match start(module, config) {
        Ok(mut engine) => match engine.run() {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("engine {module}: the data loop cannot wait any more: {error}");
                1
            }
        },
        Err(reason) => {
            eprintln!("engine {module}: {reason}");
            1
        }
    }
}

fn start(module: &ModuleName, path: &Path) -> Result<run::Engine, String> {
    let text = std::fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let config: EngineConfig = serde_json::from_slice(&text)
        .map_err(|error| format!("{} is not an engine's configuration: {error}", path.display()))?;
    if config.module != *module {
        return Err(format!("{} is for module {}, not {module}", path.display(), config.module));
    }
    stay_alive();
    let boot = boot_id()?;
    let pki = Pki::load(&config.pki_dir).map_err(|error| error.to_string())?;
    let cluster = pki.cluster().to_string();
    let lock = store::lock_alone(&config.state_dir)?;
    let store = store::Store::open(&config, lock, &cluster, boot);
    let store = store.map_err(|error| error.to_string())?;
    let dirs: Vec<_> = config.dirs.iter().map(|dir| dir.path.clone()).collect();
    perform::keep_capabilities().map_err(|errno| format!("keep capabilities: {errno}"))?;
    let mut objects = Objects::open(&dirs, open_directory).map_err(|(dir, errno)| {
        format!("cannot open the replicated directory {}: {errno}; create it", dir.display())
    })?;
    for (index, dir) in config.dirs.iter().enumerate() {
        objects.select(index, Selection::of(dir)?);
    }
    let silence = Duration::from_millis(config.link_timeout_ms.unwrap_or(LINK_TIMEOUT_MS));
    let link = bind_link(config.listen, &Arc::new(pki), silence)
        .map_err(|error| format!("bind the data link to {}: {error}", config.listen))?;
    let control = control::Control::bind(&config.control_socket)
        .map_err(|error| format!("listen on {}: {error}", config.control_socket.display()))?;
    let parts = run::Parts { config, boot, control, link, objects, store };
    run::Engine::new(parts).map_err(|error| format!("prepare the data loop: {error}"))
}

/// The kernel may hold the socket of a killed engine for a moment longer than its process.
fn bind_link(
    listen: std::net::SocketAddr,
    pki: &Arc<Pki>,
    silence: Duration,
) -> std::io::Result<Link> {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        match Link::bind(listen, pki.clone(), silence) {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse
                    && std::time::Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// The directory itself, beneath what a crash may have left over it.
fn open_directory(dir: &Path) -> Result<OwnedFd, Errno> {
    if mount::uncover_dead(dir)? {
        if let Ok(fd) = mount::open_below_cover(dir) {
            return Ok(fd);
        }
        // An older kernel: bare for a moment.
        mount::uncover_all(dir)?;
    }
    let path =
        std::ffi::CString::new(dir.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))?;
    sys::open_at(libc::AT_FDCWD, &path, libc::O_RDONLY | libc::O_DIRECTORY, 0)
}

/// This boot of the node's kernel.
pub fn boot_id() -> Result<BootId, String> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(|error| format!("read {path}: {error}"))?;
    BootId::try_from(text.trim().to_owned()).map_err(|error| error.to_string())
}

/// A server of file requests must not wait for memory that only its own writes can free, nor be
/// the first to go when memory is short (`PR_SET_IO_FLUSHER`, prctl(2)). The FUSE transport over
/// io_uring is a module parameter that root may set; without it the classic device serves.
fn stay_alive() {
    const PR_SET_IO_FLUSHER: libc::c_int = 57;
    // SAFETY: plain calls on the own process; where they are not known nothing changes.
    unsafe {
        libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
    let parameter = "/sys/module/fuse/parameters/enable_uring";
    if std::fs::read_to_string(parameter).is_ok_and(|text| text.trim() == "N") {
        let _ = std::fs::write(parameter, "Y");
    }
}

/// A named place at which a test may kill this process: `LOCKSTEP_FAILPOINT=NAME[:COUNT]`.
/// Reading one environment variable once is all it costs.
pub fn failpoint(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WANTED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("LOCKSTEP_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU64::new(count.parse().unwrap_or(1))))
    });
    if let Some((wanted, left)) = wanted
        && wanted == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        eprintln!("failpoint {name}: the process ends here");
        // SAFETY: ends the process at once and runs nothing, as kill -9 would.
        unsafe { libc::_exit(137) }
    }
}
