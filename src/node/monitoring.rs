//! What the daemon shows to those outside who watch it, and who they are: `watch.xml`.
//!
//! Whatever goes wrong here is said and changes nothing else: a node whose metrics cannot be served
//! mirrors on.
use super::daemon::{Daemon, lock};
use crate::api::{Exit, Response};
use crate::config::{Mistakes, WatchConfig};
use crate::metrics::{Listener, ModulePicture, Picture, ReceiverPicture, Redundancy, Source};
use crate::notify::{Disk, Look, Observer, Receiver, Receivers, prepare};
use crate::trust;
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};
use tokio::task::JoinError;

/// How often the modules are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Before what could not be used at the start is tried again.
const AGAIN: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Monitoring {
    redundancy: Mutex<Redundancy>,
    listener: Mutex<Option<Listener>>,
    receivers: Mutex<Receivers>,
    /// Other receivers than before: what asks for somebody now is told to them.
    renewed: AtomicBool,
    /// One reading of `watch.xml` at a time.
    applying: tokio::sync::Mutex<()>,
    /// What was read at the start and could not be used as a whole yet: an address that is still to
    /// come, a file on a late mount. Until it can, or until somebody applies another file.
    owed: Mutex<Option<Owed>>,
}

#[derive(Clone, Default)]
struct Owed {
    config: WatchConfig,
    /// How many receivers work already.
    opened: Option<usize>,
    /// Why the rest does not; said when it changes.
    reason: String,
}

/// Name and receiver of an element of `watch.xml`, or why it cannot be used.
type Prepared = (String, Result<Receiver, String>);

impl Daemon {
    /// Reads `watch.xml` for the first time and begins to look.
    pub(super) fn begin_monitoring(self: &Arc<Daemon>) {
        match self.watch_config() {
            Ok(config) => {
                *lock(&self.monitoring.owed) = Some(Owed { config, ..Owed::default() });
                tokio::spawn(pay(Arc::downgrade(self)));
            }
            Err(mistakes) => tracing::error!(%mistakes, "watch.xml is not used"),
        }
        let daemon = Arc::downgrade(self);
        tokio::spawn(async move {
            let (begin, mut observer) = (Instant::now(), Observer::default());
            let mut looks = tokio::time::interval(LOOK);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                let Some(daemon) = daemon.upgrade() else { return };
                if daemon.monitoring.renewed.swap(false, Ordering::Relaxed) {
                    observer = Observer::default();
                }
                daemon.look_outside(&mut observer, begin.elapsed());
            }
        });
    }

    fn look_outside(&self, observer: &mut Observer, now: Duration) {
        let time = Timestamp::now();
        let picture = self.picture();
        let views = picture.modules.iter().map(|shown| &shown.view);
        lock(&self.monitoring.redundancy).look(views, time);
        let disks: Vec<Disk> =
            [&self.paths.lib, &self.paths.log].into_iter().filter_map(disk).collect();
        let events = observer.look(&Look { now, time, picture: &picture, disks: &disks });
        lock(&self.monitoring.receivers).tell(&events);
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
        let (receivers, unfit) = made_ready(&config).await;
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
        self.open(receivers);
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

    /// What the file of the start owes: whatever can be used already is used, one part does not wait
    /// for another. `true`: nothing is left to do.
    async fn use_owed(self: &Arc<Daemon>) -> bool {
        let _one = self.monitoring.applying.lock().await;
        let Some(mut owed) = lock(&self.monitoring.owed).clone() else { return true };
        let (receivers, mut reasons) = made_ready(&owed.config).await;
        if owed.opened != Some(receivers.len()) {
            owed.opened = Some(receivers.len());
            self.open(receivers);
        }
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

    /// What the former receivers had not sent yet ends with them.
    fn open(&self, receivers: Vec<Receiver>) {
        let node = self.member().map(|member| member.node.to_string());
        let node = node.unwrap_or_else(|| "node".to_owned());
        let id = format!("{node}-{}", Timestamp::now().as_millisecond());
        *lock(&self.monitoring.receivers) = Receivers::open(receivers, &id);
        self.monitoring.renewed.store(true, Ordering::Relaxed);
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

/// The receivers that can be used, and why others cannot.
async fn made_ready(config: &WatchConfig) -> (Vec<Receiver>, Vec<String>) {
    // Secrets and authorities are read here; on another thread, because files may be slow.
    let receivers = config.receivers.clone();
    sorted(tokio::task::spawn_blocking(move || prepare(&receivers)).await)
}

fn sorted(prepared: Result<Vec<Prepared>, JoinError>) -> (Vec<Receiver>, Vec<String>) {
    let prepared = match prepared {
        Ok(prepared) => prepared,
        // Nobody is not what the file says.
        Err(error) => return (Vec::new(), vec![format!("cannot make receivers ready: {error}")]),
    };
    let (mut receivers, mut unfit) = (Vec::new(), Vec::new());
    for (name, receiver) in prepared {
        match receiver {
            Ok(receiver) => receivers.push(receiver),
            Err(reason) => unfit.push(format!("{name}: {reason}")),
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
        *lock(&daemon.monitoring.owed) = Some(Owed { config, ..Owed::default() });
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
        let (receivers, unfit) = sorted(tokio::task::spawn_blocking(|| panic!("broken")).await);
        assert_eq!((receivers.len(), unfit.len()), (0, 1));
        assert!(unfit[0].contains("panic"), "{unfit:?}");
    }
}
