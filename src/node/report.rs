//! Tells the peer how a module stands: the newest report, again and again until it is there.
use super::clock;
use super::site::Site;
use crate::decide::Machine;
use crate::model::{ModuleReport, NodeName, PeerMessage, State};
use crate::peer::PeersHandle;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_millis(1_500);
const RETRY: Duration = Duration::from_millis(300);

/// Resources of this node that rules of the peer look at; `None` if they look at nothing.
pub type Told = Option<BTreeMap<String, String>>;

/// Sends the newest report of one module. Older ones that were not sent yet are dropped.
pub struct Reporter {
    newest: watch::Sender<Option<ModuleReport>>,
    number: u64,
}

impl Reporter {
    pub fn start(peers: PeersHandle, peer: NodeName) -> Reporter {
        let (newest, reports) = watch::channel(None);
        tokio::spawn(deliver(peers, peer, reports));
        let number = u64::try_from(clock::since_boot().as_micros()).unwrap_or(0);
        Reporter { newest, number }
    }

    /// What the peer was told last, or is about to be; `None` before the first report.
    pub fn told(&self) -> Option<Told> {
        self.newest.borrow().as_ref().map(|report| report.resources.clone())
    }

    pub fn publish(&mut self, mut report: ModuleReport) {
        self.number += 1;
        report.report = self.number;
        self.newest.send_replace(Some(report));
    }
}

async fn deliver(
    peers: PeersHandle,
    peer: NodeName,
    mut reports: watch::Receiver<Option<ModuleReport>>,
) {
    while reports.changed().await.is_ok() {
        loop {
            let Some(report) = reports.borrow_and_update().clone() else { break };
            let message = PeerMessage::Report(Box::new(report));
            match peers.send_within(&peer, message, LIMIT).await {
                Ok(_) => break,
                Err(error) => tracing::debug!(%peer, %error, "a report was not delivered"),
            }
            // A newer one, or another attempt: the peer may be back in a moment.
            tokio::select! {
                changed = reports.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }
}

pub fn report(
    site: &Site,
    machine: &Machine,
    state: State,
    reason: String,
    resources: Told,
) -> ModuleReport {
    let engine = machine.facts().engine.summary().cloned();
    ModuleReport {
        node: site.node.clone(),
        boot: site.boot,
        module: site.active.name.clone(),
        state,
        report: 0,
        side: machine.memory().side.clone().filter(|_| engine.is_none()),
        engine,
        was_primary: machine.memory().was_primary,
        took_over: machine.memory().took_over,
        aged: machine.memory().aged,
        asks: !machine.facts().peer.fresh,
        config_digest: site.active.digest.clone(),
        reason,
        resources,
        maintenance: Some(machine.memory().maintenance.report(clock::now())),
    }
}
