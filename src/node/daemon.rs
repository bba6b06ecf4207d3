//! One node's daemon, from its first moment to its last.
//!
//! It may die at any time: engines and applications go on, and the next daemon adopts them. So a
//! plain SIGTERM ends it at once; only `lockstep shutdown` (what the system's shutdown calls) stops
//! the modules.
use super::clock;
use super::handler::Door;
use super::modules::Modules;
use super::monitoring::Monitoring;
use crate::api::{self, Fanout, Handler, Replies};
use crate::config::cluster::ClusterConfig;
use crate::config::paths::Paths;
use crate::model::{BootId, NodeName, PeerReply};
use crate::peer::{PeerError, PeerEvent, PeerSetup, Peers, PeersHandle};
use crate::trust::{Pki, TrustError};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("cannot {what} {}: {source}; the daemon must run as root", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot read the boot id of this node: {0}; is /proc mounted?")]
    Boot(#[source] io::Error),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[source] io::Error),
}

/// What a node knows once it belongs to a cluster.
pub(super) struct Member {
    pub(super) node: NodeName,
    pub(super) peers: PeersHandle,
    /// End of the node's certificate.
    pub(super) expires: jiff::Timestamp,
    cluster: Mutex<ClusterConfig>,
    /// Linked nodes, by what they are in this moment.
    linked: Mutex<HashMap<NodeName, Linked>>,
}

#[derive(Clone, Copy, Debug)]
struct Linked {
    boot: BootId,
    incarnation: u64,
}

impl Member {
    pub(super) fn cluster(&self) -> ClusterConfig {
        lock(&self.cluster).clone()
    }

    /// The boot of a node that is linked now.
    pub(super) fn linked(&self, node: &NodeName) -> Option<BootId> {
        lock(&self.linked).get(node).map(|linked| linked.boot)
    }
}

pub(super) struct Daemon {
    pub(super) paths: Paths,
    pub(super) boot: BootId,
    /// Started as engines.
    pub(super) program: PathBuf,
    pub(super) modules: Modules,
    member: Mutex<Option<Arc<Member>>>,
    /// One attempt to become a member at a time.
    joining: tokio::sync::Mutex<()>,
    pub(super) monitoring: Monitoring,
    /// The first daemon of this boot starts modules.
    boot_start: bool,
}

/// A panic of another task leaves only whole values behind in what is locked here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Nothing could be begun: no socket, no log, no runtime.
pub fn run(paths: Paths) -> Result<(), DaemonError> {
    write_log(&paths)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DaemonError::Runtime)?;
    let result = runtime.block_on(live(paths));
    // Scripts and engines are not waited for: they belong to the next daemon.
    runtime.shutdown_background();
    result
}

async fn live(paths: Paths) -> Result<(), DaemonError> {
    let boot = clock::boot_id().map_err(DaemonError::Boot)?;
    let program = std::env::current_exe()
        .map_err(|source| failed("find", Path::new("/proc/self/exe"), source))?;
    link_safe(&paths, &program)?;
    let boot_start = first_of_boot(&paths, boot)?;
    let socket = paths.daemon_socket();
    let listener =
        api::server::listen(&socket).map_err(|source| failed("listen on", &socket, source))?;
    let daemon = Arc::new(Daemon::new(paths, boot, program, boot_start));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %boot, boot_start, "daemon starts");
    match daemon.join_cluster().await {
        Ok(true) => {}
        Ok(false) => tracing::info!("this node belongs to no cluster yet"),
        Err(reason) => tracing::error!(reason, "this node does not reach its cluster"),
    }
    daemon.begin_monitoring();
    let door = Arc::new(Door(daemon.clone()));
    let served = api::server::serve(listener, Arc::new(Fanout::new(door.clone(), door)));
    let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Runtime)?;
    tokio::select! {
        () = served => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("daemon ends; engines and applications go on");
    if let Some(member) = daemon.member() {
        member.peers.stop().await;
    }
    Ok(())
}

impl Daemon {
    pub(super) fn new(paths: Paths, boot: BootId, program: PathBuf, boot_start: bool) -> Daemon {
        Daemon {
            modules: Modules::default(),
            member: Mutex::new(None),
            joining: tokio::sync::Mutex::new(()),
            monitoring: Monitoring::default(),
            paths,
            boot,
            program,
            boot_start,
        }
    }

    pub(super) fn member(&self) -> Option<Arc<Member>> {
        lock(&self.member).clone()
    }

    /// Reads keys and `cluster.xml`, links with the others and starts the modules' tasks. `false`:
    /// there are none yet.
    ///
    /// # Errors
    /// One sentence; the node stays as it was.
    pub(super) async fn join_cluster(self: &Arc<Daemon>) -> Result<bool, String> {
        let _one = self.joining.lock().await;
        if self.member().is_some() {
            return Ok(true);
        }
        let path = self.paths.cluster_xml();
        if !path.exists() {
            return Ok(false);
        }
        let pki = match Pki::load(&self.paths.pki()) {
            Ok(pki) => pki,
            Err(TrustError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(false);
            }
            Err(error) => return Err(error.to_string()),
        };
        let cluster = ClusterConfig::load(&path).map_err(|mistakes| mistakes.to_string())?;
        let (node, expires) = (pki.node().clone(), pki.expires());
        let setup = PeerSetup {
            node: node.clone(),
            boot: self.boot,
            cluster: cluster.clone(),
            pki,
            paths: self.paths.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (peers, events) =
            Peers::start(setup).await.map_err(|error: PeerError| error.to_string())?;
        let member = Arc::new(Member {
            node,
            peers,
            expires,
            cluster: Mutex::new(cluster),
            linked: Mutex::new(HashMap::new()),
        });
        *lock(&self.member) = Some(member.clone());
        self.modules.load(self, &member, self.boot_start).await;
        tokio::spawn(listen_to_peers(self.clone(), member, events));
        Ok(true)
    }
}

/// Passes on what the other nodes say.
async fn listen_to_peers(
    daemon: Arc<Daemon>,
    member: Arc<Member>,
    mut events: mpsc::Receiver<PeerEvent>,
) {
    while let Some(event) = events.recv().await {
        match event {
            PeerEvent::Connected { node, lan, boot, incarnation, version } => {
                let linked = Linked { boot, incarnation };
                let known = lock(&member.linked).insert(node.clone(), linked);
                if known.is_none_or(|known| known.incarnation != incarnation) {
                    tracing::info!(%node, lan, version, "linked");
                    daemon.modules.connected(&node, boot).await;
                }
            }
            PeerEvent::Disconnected { node, lan, reason, lans_left } => {
                tracing::info!(%node, lan, reason, lans_left, "link lost");
                if lans_left == 0 {
                    lock(&member.linked).remove(&node);
                    daemon.modules.disconnected(&node).await;
                }
            }
            PeerEvent::Heard { node, lan, boot, .. } => daemon.modules.heard(&node, &lan, boot),
            PeerEvent::BootChanged { node, boot } => daemon.modules.reborn(&node, boot).await,
            PeerEvent::Message { node, message, reply } => {
                let module = message.module().clone();
                match daemon.modules.task(&module, &node) {
                    Some(task) => task.message(message, reply).await,
                    None => reply.send(PeerReply::Refused {
                        reason: format!("module {module} is not mirrored with {node} here"),
                    }),
                }
            }
            PeerEvent::Call { request, reply, .. } => {
                let door = Door(daemon.clone());
                tokio::spawn(async move {
                    reply.send(door.handle(*request, Replies::none()).await);
                });
            }
            PeerEvent::ClusterChanged { cluster, by } => {
                tracing::info!(%by, "cluster.xml was replaced");
                *lock(&member.cluster) = *cluster;
                daemon.modules.follow_cluster(&daemon, &member).await;
            }
            PeerEvent::Rejected { node, address, reason } => {
                let node = node.map_or_else(|| "?".to_owned(), |node| node.to_string());
                tracing::warn!(node, %address, reason, "no link");
            }
        }
    }
}

/// `true` once in each boot: `/run` is new at each.
fn first_of_boot(paths: &Paths, boot: BootId) -> Result<bool, DaemonError> {
    let path = paths.run.join("boot");
    let text = boot.to_string();
    if fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(false);
    }
    fs::create_dir_all(&paths.run).map_err(|source| failed("create", &paths.run, source))?;
    fs::write(&path, text).map_err(|source| failed("write", &path, source))?;
    Ok(true)
}

/// `SAFE`: what scripts call, under both names.
fn link_safe(paths: &Paths, program: &Path) -> Result<(), DaemonError> {
    let safe = paths.safe();
    fs::create_dir_all(&safe).map_err(|source| failed("create", &safe, source))?;
    for name in ["lockstep", "safekit"] {
        let link = safe.join(name);
        if fs::read_link(&link).is_ok_and(|target| target == program) {
            continue;
        }
        let draft = safe.join(format!("{name}.new"));
        let _ = fs::remove_file(&draft);
        symlink(program, &draft).map_err(|source| failed("link", &draft, source))?;
        fs::rename(&draft, &link).map_err(|source| failed("replace", &link, source))?;
    }
    Ok(())
}

/// Standard error for init, a file for people.
fn write_log(paths: &Paths) -> Result<(), DaemonError> {
    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::fmt::writer::MakeWriterExt;
    let path = paths.daemon_log();
    fs::create_dir_all(&paths.log).map_err(|source| failed("create", &paths.log, source))?;
    let file = fs::OpenOptions::new().create(true).append(true).open(&path);
    let file = file.map_err(|source| failed("open", &path, source))?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let writer = io::stderr.and(Mutex::new(file));
    // A second daemon in one process (tests) keeps the first one's log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(writer)
        .try_init();
    Ok(())
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> DaemonError {
    DaemonError::Io { what, path: path.to_owned(), source }
}
