//! What the daemon shows to those outside who watch it, and who they are: `watch.xml`.
//!
//! Whatever goes wrong here is said and changes nothing else: a node whose metrics cannot be served
//! mirrors on.
use super::daemon::{Daemon, lock};
use crate::api::{Exit, Response};
use crate::config::WatchConfig;
use crate::metrics::{Listener, ModulePicture, Picture, Redundancy, Source};
use jiff::Timestamp;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often the modules are looked at.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Outlook {
    redundancy: Mutex<Redundancy>,
    listener: Mutex<Option<Listener>>,
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
            let mut looks = tokio::time::interval(LOOK);
            looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                let Some(daemon) = daemon.upgrade() else { return };
                daemon.look_outside();
            }
        });
    }

    fn look_outside(&self) {
        let modules = self.modules.all();
        let views: Vec<_> = modules.iter().map(|(_, entry)| entry.view()).collect();
        let views = views.iter().map(AsRef::as_ref);
        lock(&self.outlook.redundancy).look(views, Timestamp::now());
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
        if let Err(reason) = self.listen(config.metrics).await {
            return Response::refused("watch", reason, Exit::Failed);
        }
        let text = match config.metrics {
            Some(address) => format!("metrics and readiness at http://{address}/metrics"),
            None => "nobody is told: watch.xml names no one".to_owned(),
        };
        tracing::info!("{text}");
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
                        "cannot listen on {address} for metrics: {error}; correct <metrics listen=> \
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
