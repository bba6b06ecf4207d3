//! What the daemon shows to those outside who watch it, and who they are: `watch.xml`.
//!
//! Whatever goes wrong here is said and changes nothing else: a node whose metrics cannot be served
//! mirrors on.
use super::daemon::{Daemon, lock};
use crate::api::{Exit, Response};
use crate::config::watch::ReceiverConfig;
use crate::config::{Mistakes, WatchConfig};
use crate::metrics::{Listener, ModulePicture, Picture, ReceiverPicture, Redundancy, Source};
use crate::notify::{Disk, Look, Receiver, Receivers, named};
use crate::trust;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often the modules are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Before what could not be used at the start is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// What the files of a receiver may take: one on a dead mount holds nobody up.
const READY_LIMIT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

#[derive(Default)]
pub(super) struct Monitoring {
    redundancy: Mutex<Redundancy>,
    listener: Mutex<Option<Listener>>,
    receivers: Mutex<Receivers>,
    /// One reading of `watch.xml` at a time.
    applying: tokio::sync::Mutex<()>,
    /// What was read at the start and could not be used as a whole yet: an address that is still to
    /// come, a file on a late mount. Until it can, or until somebody applies another file.
    owed: Mutex<Option<Owed>>,
}

#[derive(Clone, Default)]
struct Owed {
    config: Arc<WatchConfig>,
    /// The receivers that work already.
    opened: BTreeSet<String>,
    begun: Arc<tokio::sync::Mutex<Begun>>,
    /// Why the rest does not; said when it changes.
    reason: String,
}

/// Receivers that are being made ready on threads of their own. One that hangs is not begun again.
type Begun = BTreeMap<String, JoinHandle<Result<Receiver, String>>>;

impl Daemon {
    /// Reads `watch.xml` for the first time and begins to look.
    pub(super) fn begin_monitoring(self: &Arc<Daemon>) {
        match self.watch_config() {
            // Nobody wrote one: there is nothing to be used.
            Ok(_) if !self.paths.watch_xml().exists() => {}
            Ok(config) => {
                *lock(&self.monitoring.owed) = Some(Owed::new(config));
                tokio::spawn(pay(Arc::downgrade(self)));
            }
            Err(mistakes) => tracing::error!(%mistakes, "watch.xml is not used"),
        }
        let daemon = Arc::downgrade(self);
        tokio::spawn(async move {
            let begin = Instant::now();
            let mut looks = tokio::time::interval(LOOK);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                let Some(daemon) = daemon.upgrade() else { return };
                daemon.look_outside(begin.elapsed());
            }
        });
    }

    fn look_outside(&self, now: Duration) {
        let time = Timestamp::now();
        let picture = self.picture();
        let views = picture.modules.iter().map(|shown| &shown.view);
        lock(&self.monitoring.redundancy).look(views, time);
        let disks: Vec<Disk> =
            [&self.paths.lib, &self.paths.log].into_iter().filter_map(disk).collect();
        let look = Look { now, time, picture: &picture, disks: &disks };
        lock(&self.monitoring.receivers).look(&look);
    }

    pub(super) fn picture(&self) -> Picture {
        let mut picture =
            Picture { version: env!("CARGO_PKG_VERSION").to_owned(), ..Picture::default() };
        if let Some(member) = self.member() {
            let others = member.cluster().nodes().into_iter().filter(|node| *node != member.node);
            picture.nodes =
                others.map(|node| (node.clone(), member.linked(&node).is_some())).collect();
            picture.certificate_expires = Some(member.expires);
            picture.keeps_key = trust::keeps_key(&self.paths.pki());
            picture.node = Some(member.node.clone());
        }
        let modules = self.modules.all().into_iter();
        let redundancy = lock(&self.monitoring.redundancy);
        picture.modules = modules
            .map(|(name, entry)| ModulePicture {
                view: (*entry.view()).clone(),
                redundancy_lost: redundancy.lost_since(&name),
            })
            .collect();
        let receivers = lock(&self.monitoring.receivers).counts().into_iter();
        picture.receivers = receivers
            .map(|(name, counts)| ReceiverPicture {
                name,
                delivered: counts.delivered,
                failures: counts.failures,
                dropped: counts.dropped,
                waiting: counts.waiting,
            })
            .collect();
        picture
    }

    /// Uses `watch.xml` as it is now. What cannot be used as a whole changes nothing.
    pub(super) async fn apply_watch(self: &Arc<Daemon>) -> Response {
        let _one = self.monitoring.applying.lock().await;
        let config = match self.watch_config() {
            Ok(config) => config,
            Err(mistakes) => return Response::refused("watch", mistakes.to_string(), Exit::Usage),
        };
        let all = named(&config.receivers);
        let (receivers, unfit) = made_ready(all, &mut Begun::default()).await;
        if !unfit.is_empty() {
            return Response::refused("watch", unfit.join("\n"), Exit::Failed);
        }
        if let Err(reason) = self.listen(config.metrics).await {
            let path = self.paths.watch_xml();
            let text = format!(
                "{reason}; correct <metrics> in {}, then run `lockstep watch apply`",
                path.display()
            );
            return Response::refused("watch", text, Exit::Failed);
        }
        *lock(&self.monitoring.owed) = None;
        let mut told: Vec<String> = receivers
            .iter()
            .map(|receiver| format!("{} to {}", receiver.name, receiver.target))
            .collect();
        let id = self.batches();
        *lock(&self.monitoring.receivers) = Receivers::open(receivers, &id);
        told.extend(config.metrics.map(|address| format!("metrics at http://{address}/metrics")));
        let text = match told.is_empty() {
            true => "nobody is told: watch.xml names no one".to_owned(),
            false => told.join("\n"),
        };
        tracing::info!(told = told.join("; "), "watch.xml is used");
        Response::ok_with(text)
    }

    fn watch_config(&self) -> Result<WatchConfig, Mistakes> {
        let path = self.paths.watch_xml();
        match path.exists() {
            true => WatchConfig::load(&path),
            false => Ok(WatchConfig::default()),
        }
    }

    /// What the file of the start owes: whatever can be used already is used, one part does not
    /// wait for another. `true`: nothing is left to do.
    async fn use_owed(self: &Arc<Daemon>) -> bool {
        let Some(mut owed) = lock(&self.monitoring.owed).clone() else { return true };
        let mut missing = named(&owed.config.receivers);
        missing.retain(|(name, _)| !owed.opened.contains(name));
        let begun = owed.begun.clone();
        let (receivers, mut reasons) = made_ready(missing, &mut *begun.lock().await).await;
        let _one = self.monitoring.applying.lock().await;
        let still = |now: &Owed| Arc::ptr_eq(&now.config, &owed.config);
        if !lock(&self.monitoring.owed).as_ref().is_some_and(still) {
            return true; // Another file was applied meanwhile.
        }
        owed.opened.extend(receivers.iter().map(|receiver| receiver.name.clone()));
        let id = self.batches();
        lock(&self.monitoring.receivers).add(receivers, &id);
        reasons.extend(self.listen(owed.config.metrics).await.err());
        let reason = reasons.join("; ");
        if reason.is_empty() {
            tracing::info!("watch.xml is used");
        } else if reason != owed.reason {
            tracing::error!(reason, "watch.xml is not used as a whole, tried again");
        }
        owed.reason = reason;
        let done = owed.reason.is_empty();
        *lock(&self.monitoring.owed) = (!done).then_some(owed);
        done
    }

    /// How the ids of batches begin that no others begin with.
    fn batches(&self) -> String {
        let node = self.member().map(|member| member.node.to_string());
        let node = node.unwrap_or_else(|| "node".to_owned());
        format!("{node}-{}", Timestamp::now().as_millisecond())
    }

    /// Keeps a listener that stands where it should.
    async fn listen(self: &Arc<Daemon>, wanted: Option<SocketAddr>) -> Result<(), String> {
        let present = lock(&self.monitoring.listener).as_ref().map(Listener::address);
        if present == wanted {
            return Ok(());
        }
        let Some(address) = wanted else {
            *lock(&self.monitoring.listener) = None;
            return Ok(());
        };
        // One port of every address and of a single one exclude each other: the old one goes first.
        let rival = present.filter(|present| present.port() == address.port());
        let old = rival.and_then(|_| lock(&self.monitoring.listener).take());
        if let Some(old) = old {
            old.close().await;
        }
        let (bound, error) = match Listener::bind(address, self.source()).await {
            Ok(bound) => (Some(bound), None),
            Err(error) => {
                let text = format!("cannot listen on {address} for metrics: {error}");
                (self.bind_again(rival).await, Some(text))
            }
        };
        if bound.is_some() {
            *lock(&self.monitoring.listener) = bound;
        }
        error.map_or(Ok(()), Err)
    }

    async fn bind_again(self: &Arc<Daemon>, address: Option<SocketAddr>) -> Option<Listener> {
        let bound = Listener::bind(address?, self.source()).await;
        let failed = |error| tracing::error!(?address, %error, "metrics are not served any more");
        bound.map_err(failed).ok()
    }

    fn source(self: &Arc<Daemon>) -> Source {
        let daemon = Arc::downgrade(self);
        Arc::new(move || daemon.upgrade().map(|daemon| daemon.picture()).unwrap_or_default())
    }
}

impl Owed {
    fn new(config: WatchConfig) -> Owed {
        Owed { config: Arc::new(config), ..Owed::default() }
    }
}

/// The receivers that can be used, and why others cannot. `begun` keeps those that still hang.
async fn made_ready(
    wanted: Vec<(String, ReceiverConfig)>,
    begun: &mut Begun,
) -> (Vec<Receiver>, Vec<String>) {
    let until = tokio::time::Instant::now() + READY_LIMIT;
    let mut tasks = Vec::new();
    for (name, config) in wanted {
        let of = name.clone();
        // Secrets and authorities are read here, from files that may be slow.
        let task = begun
            .remove(&name)
            .unwrap_or_else(|| tokio::task::spawn_blocking(move || Receiver::prepare(of, &config)));
        tasks.push((name, task));
    }
    let (mut receivers, mut unfit) = (Vec::new(), Vec::new());
    for (name, mut task) in tasks {
        match tokio::time::timeout_at(until, &mut task).await {
            Ok(Ok(Ok(receiver))) => receivers.push(receiver),
            Ok(Ok(Err(reason))) => unfit.push(format!("{name}: {reason}")),
            // Nobody is not what the file says.
            Ok(Err(error)) => unfit.push(format!("{name}: cannot be made ready: {error}")),
            Err(_) => {
                let limit = READY_LIMIT.as_secs();
                unfit.push(format!(
                    "{name}: its files are not there within {limit} s (a dead mount?)"
                ));
                begun.insert(name, task);
            }
        }
    }
    (receivers, unfit)
}

/// Until nothing is left to do.
async fn pay(daemon: Weak<Daemon>) {
    loop {
        match daemon.upgrade() {
            Some(daemon) if !daemon.use_owed().await => {}
            _ => return,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// A file system of Lockstep's own files, which are never behind a mount of an engine.
fn disk(path: &PathBuf) -> Option<Disk> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let block = stat.fragment_size();
    let (bytes, available) = (stat.blocks() * block, stat.blocks_available() * block);
    Some(Disk { path: path.clone(), bytes, available })
}

#[cfg(test)]
mod tests {
    use super::super::tests::bare_daemon;
    use super::*;
    use crate::config::watch::CommandConfig;
    use std::net::TcpListener;

    /// A port of the loopback that nothing has.
    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    fn write(daemon: &Daemon, inside: &str) {
        let path = daemon.paths.watch_xml();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("<watch>{inside}</watch>")).unwrap();
    }

    fn receivers(daemon: &Daemon) -> usize {
        lock(&daemon.monitoring.receivers).counts().len()
    }

    fn served(daemon: &Daemon) -> Option<SocketAddr> {
        lock(&daemon.monitoring.listener).as_ref().map(Listener::address)
    }

    #[tokio::test]
    async fn what_is_not_there_at_the_start_comes_later_and_holds_up_nobody() {
        let (_dir, daemon) = bare_daemon();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let ca = daemon.paths.etc.join("late.pem");
        write(
            &daemon,
            &format!(
                "<metrics listen='{address}'/><command path='/bin/true'/>\
                 <webhook url='https://192.0.2.1/x' ca='{}'/>",
                ca.display()
            ),
        );
        let config = daemon.watch_config().unwrap();
        *lock(&daemon.monitoring.owed) = Some(Owed::new(config));
        assert!(!daemon.use_owed().await);
        assert_eq!((receivers(&daemon), served(&daemon)), (1, None));
        drop(taken);
        assert!(!daemon.use_owed().await, "the authority is still missing");
        assert_eq!((receivers(&daemon), served(&daemon)), (1, Some(address)));
        let made = rcgen::generate_simple_self_signed(["192.0.2.1".to_owned()]).unwrap();
        std::fs::write(&ca, made.cert.pem()).unwrap();
        assert!(daemon.use_owed().await);
        assert_eq!((receivers(&daemon), served(&daemon)), (2, Some(address)));
    }

    #[tokio::test]
    async fn one_port_moves_between_one_address_and_all() {
        let (_dir, daemon) = bare_daemon();
        let port = free_port();
        for ip in ["127.0.0.1", "0.0.0.0", "127.0.0.1"] {
            write(&daemon, &format!("<metrics listen='{ip}:{port}'/>"));
            let response = daemon.apply_watch().await;
            assert_eq!(response.exit(), Exit::Done, "{ip}: {response:?}");
        }
        // Not an address of this node: what was served is served on.
        write(&daemon, &format!("<metrics listen='192.0.2.1:{port}'/>"));
        assert_eq!(daemon.apply_watch().await.exit(), Exit::Failed);
        assert_eq!(served(&daemon), Some(SocketAddr::from(([127, 0, 0, 1], port))));
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    #[tokio::test]
    async fn a_panic_while_receivers_are_made_ready_is_not_nobody() {
        let config = CommandConfig { path: "/bin/true".into(), timeout: READY_LIMIT };
        let wanted = vec![("command-1".to_owned(), ReceiverConfig::Command(config))];
        let broken = tokio::task::spawn_blocking(|| panic!("broken"));
        let mut begun = Begun::from([("command-1".to_owned(), broken)]);
        let (receivers, unfit) = made_ready(wanted, &mut begun).await;
        assert_eq!((receivers.len(), unfit.len()), (0, 1));
        assert!(unfit[0].contains("panic"), "{unfit:?}");
    }

    /// How many events each receiver was told, sent or not.
    fn told(daemon: &Daemon) -> Vec<u64> {
        let counts = lock(&daemon.monitoring.receivers).counts().into_iter();
        counts.map(|(_, counts)| counts.delivered + counts.dropped + counts.waiting).collect()
    }

    #[tokio::test]
    async fn one_that_comes_later_takes_nothing_from_those_before() {
        let (_dir, daemon) = bare_daemon();
        let secret = daemon.paths.etc.join("password");
        write(
            &daemon,
            &format!(
                "<command path='/bin/false'/>\
                 <webhook url='https://192.0.2.1/x' authorization_file='{}'/>",
                secret.display()
            ),
        );
        *lock(&daemon.monitoring.owed) = Some(Owed::new(daemon.watch_config().unwrap()));
        assert!(!daemon.use_owed().await);
        let node = crate::model::NodeName::new("n1").ok();
        let picture = Picture { node, ..Picture::default() };
        let disks = [Disk { path: "/".into(), bytes: 100, available: 1 }];
        let look = || {
            let (now, time) = (Duration::from_secs(1), Timestamp::now());
            let look = Look { now, time, picture: &picture, disks: &disks };
            lock(&daemon.monitoring.receivers).look(&look);
        };
        look();
        assert_eq!(told(&daemon), [1]);
        std::fs::write(&secret, "x").unwrap();
        let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&secret, only_owner).unwrap();
        assert!(daemon.use_owed().await);
        assert_eq!(told(&daemon), [1, 0], "what waited still waits");
        look();
        assert_eq!(told(&daemon), [1, 1], "told once to each");
    }

    /// A file that nobody writes: as one on a mount whose server is away.
    #[tokio::test]
    async fn a_file_that_never_answers_holds_up_no_other_part() {
        let (_dir, daemon) = bare_daemon();
        let hangs = daemon.paths.etc.join("authority.pem");
        let webhook = format!("<webhook url='https://192.0.2.1/x' ca='{}'/>", hangs.display());
        write(&daemon, &format!("{webhook}<command path='/bin/true'/>"));
        let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
        nix::unistd::mkfifo(&hangs, mode).unwrap();
        *lock(&daemon.monitoring.owed) = Some(Owed::new(daemon.watch_config().unwrap()));
        for _ in 0..2 {
            let tried = tokio::time::timeout(Duration::from_secs(20), daemon.use_owed()).await;
            assert_eq!(tried.ok(), Some(false));
            assert_eq!(receivers(&daemon), 1, "the command works");
        }
        write(&daemon, "<command path='/bin/true'/>");
        let applied = tokio::time::timeout(Duration::from_secs(20), daemon.apply_watch()).await;
        assert_eq!(applied.unwrap().exit(), Exit::Done);
        // Ends the thread that reads.
        std::fs::OpenOptions::new().write(true).open(&hangs).unwrap();
    }
}
