//! What the daemon shows to those outside who watch it, and who they are: `watch.xml`.
//!
//! Whatever goes wrong here is said and changes nothing else: a node whose metrics cannot be served
//! mirrors on.
use super::daemon::{Daemon, lock};
use crate::api::{Exit, Response};
use crate::config::WatchConfig;
use crate::metrics::{Listener, ModulePicture, Picture, Redundancy, SinkPicture, Source};
use crate::notify::{Disk, Look, Observer, Office, prepare};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often the modules are looked at.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Outlook {
    redundancy: Mutex<Redundancy>,
    listener: Mutex<Option<Listener>>,
    office: Mutex<Office>,
    /// Other receivers than before: what asks for somebody now is told to them.
    renewed: AtomicBool,
    /// One reading of `watch.xml` at a time.
    applying: tokio::sync::Mutex<()>,
}

impl Daemon {
    /// Reads `watch.xml` for the first time and begins to look.
    pub(super) async fn begin_outlook(self: &Arc<Daemon>) {
        if let Response::Refused(refusal) = self.apply_watch().await {
            tracing::error!(reason = refusal.text, "watch.xml is not used");
        }
        let daemon = Arc::downgrade(self);
        tokio::spawn(async move {
            let (begin, mut observer) = (Instant::now(), Observer::default());
            let mut looks = tokio::time::interval(LOOK);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                let Some(daemon) = daemon.upgrade() else { return };
                if daemon.outlook.renewed.swap(false, Ordering::Relaxed) {
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
        lock(&self.outlook.redundancy).look(views, time);
        let disks: Vec<Disk> =
            [&self.paths.lib, &self.paths.log].into_iter().filter_map(disk).collect();
        let events = observer.look(&Look { now, time, picture: &picture, disks: &disks });
        lock(&self.outlook.office).tell(&events);
    }

    pub(super) fn picture(&self) -> Picture {
        let mut picture =
            Picture { version: env!("CARGO_PKG_VERSION").to_owned(), ..Picture::default() };
        if let Some(member) = self.member() {
            let others = member.cluster().nodes().into_iter().filter(|node| *node != member.node);
            picture.nodes =
                others.map(|node| (node.clone(), member.linked(&node).is_some())).collect();
            picture.certificate_expires = Some(member.expires);
            picture.node = Some(member.node.clone());
        }
        let modules = self.modules.all().into_iter();
        let redundancy = lock(&self.outlook.redundancy);
        picture.modules = modules
            .map(|(name, entry)| ModulePicture {
                view: (*entry.view()).clone(),
                redundancy_lost: redundancy.lost_since(&name),
            })
            .collect();
        let sinks = lock(&self.outlook.office).counts().into_iter();
        picture.sinks = sinks
            .map(|(name, counts)| SinkPicture {
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
        let _one = self.outlook.applying.lock().await;
        let path = self.paths.watch_xml();
        let config = match path.exists() {
            true => WatchConfig::load(&path),
            false => Ok(WatchConfig::default()),
        };
        let config = match config {
            Ok(config) => config,
            Err(mistakes) => return Response::refused("watch", mistakes.to_string(), Exit::Usage),
        };
        // Secrets and authorities are read here; on another thread, because files may be slow.
        let sinks = config.sinks.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(&sinks)).await;
        let mut sinks = Vec::new();
        let mut unfit = Vec::new();
        for (name, sink) in prepared.unwrap_or_default() {
            match sink {
                Ok(sink) => sinks.push(sink),
                Err(reason) => unfit.push(format!("{name}: {reason}")),
            }
        }
        if !unfit.is_empty() {
            return Response::refused("watch", unfit.join("\n"), Exit::Failed);
        }
        if let Err(reason) = self.listen(config.metrics).await {
            return Response::refused("watch", reason, Exit::Failed);
        }
        let mut told: Vec<String> =
            sinks.iter().map(|sink| format!("{} to {}", sink.name, sink.target)).collect();
        let node = self.member().map(|member| member.node.to_string());
        let node = node.unwrap_or_else(|| "node".to_owned());
        let id = format!("{node}-{}", Timestamp::now().as_millisecond());
        // What the former sinks had not sent yet ends with them.
        *lock(&self.outlook.office) = Office::open(sinks, &id);
        self.outlook.renewed.store(true, Ordering::Relaxed);
        told.extend(config.metrics.map(|address| format!("metrics at http://{address}/metrics")));
        let text = match told.is_empty() {
            true => "nobody is told: watch.xml names no one".to_owned(),
            false => told.join("\n"),
        };
        tracing::info!(told = told.join("; "), "watch.xml is used");
        Response::ok_with(text)
    }

    /// Keeps a listener that stands where it should.
    async fn listen(self: &Arc<Daemon>, wanted: Option<SocketAddr>) -> Result<(), String> {
        let present = lock(&self.outlook.listener).as_ref().map(Listener::address);
        if present == wanted {
            return Ok(());
        }
        let listener = match wanted {
            None => None,
            Some(address) => {
                let daemon = Arc::downgrade(self);
                let source: Source =
                    Arc::new(move || daemon.upgrade().map(|d| d.picture()).unwrap_or_default());
                let bound = Listener::bind(address, source).await;
                Some(bound.map_err(|error| {
                    format!(
                        "cannot listen on {address} for metrics: {error}; correct <metrics> \
                         in {}, then run `lockstep watch apply`",
                        self.paths.watch_xml().display()
                    )
                })?)
            }
        };
        *lock(&self.outlook.listener) = listener;
        Ok(())
    }
}

/// A file system of Lockstep's own files, which are never behind a mount of an engine.
fn disk(path: &PathBuf) -> Option<Disk> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let block = stat.fragment_size();
    let (bytes, available) = (stat.blocks() * block, stat.blocks_available() * block);
    Some(Disk { path: path.clone(), bytes, available })
}
