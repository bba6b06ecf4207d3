//! Owner of the links: which endpoints there are, who is dialled, who is linked, who was refused.
//!
//! Everything that happens on a connection, and everything that is asked of the link, comes here
//! as a [`Report`]. Events leave through an outbox, so that a busy daemon never holds up the hub,
//! and a hub that waits never holds up a daemon that asks it something.
use super::context::{Context, Link, Report, Route};
use super::dial::{self, Target};
use super::message::Heartbeat;
use super::neighbour::Neighbours;
use super::transport::{Transport, close};
use super::{
    LanStatus, PULSE_MAX, PULSE_MIN, PeerError, PeerEvent, PeerSetup, PeersHandle, accept, cluster,
};
use crate::config::cluster::ClusterConfig;
use crate::model::{BootId, NodeName};
use crate::trust::{self, Pki};
use quinn::Endpoint;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Reports and events in flight.
const QUEUE: usize = 1024;
/// Events that wait for the daemon; above this, heartbeats are no longer added.
const HEARD_WAITING_MAX: usize = 256;
/// How long a stopping daemon waits for its good-bye to leave.
const GOODBYE_LIMIT: Duration = Duration::from_millis(300);
/// Days before the end of the own certificate from which on every start warns.
const LAST_DAYS: i64 = 365;
/// Different refusals remembered, so that each is told once.
const REFUSALS_MAX: usize = 256;

type LanKey = (NodeName, String);

struct Dialer {
    task: JoinHandle<()>,
    from: SocketAddr,
    to: SocketAddr,
}

struct Hub {
    context: Arc<Context>,
    endpoints: HashMap<SocketAddr, Endpoint>,
    dialers: HashMap<LanKey, Dialer>,
    links: HashMap<LanKey, Link>,
    /// Last boot seen of each node.
    boots: HashMap<NodeName, BootId>,
    /// When a lan was heard last, also after its link is gone.
    heard: HashMap<LanKey, Instant>,
    problems: HashMap<LanKey, String>,
    refusals: HashMap<IpAddr, String>,
    outbox: VecDeque<PeerEvent>,
}

pub(super) async fn start(
    setup: PeerSetup,
) -> Result<(PeersHandle, mpsc::Receiver<PeerEvent>), PeerError> {
    let (reports, reports_in) = mpsc::channel(QUEUE);
    let (stop, stop_in) = mpsc::channel(1);
    let (events, events_out) = mpsc::channel(QUEUE);
    let text = std::fs::read(setup.paths.cluster_xml()).unwrap_or_default();
    let context = Arc::new(Context {
        incarnation: rand::random(),
        transport: Transport::new(&setup.pki)?,
        neighbours: Neighbours::open(),
        node: setup.node,
        boot: setup.boot,
        version: setup.version,
        pki: setup.pki,
        paths: setup.paths,
        reports,
        pulse: watch::Sender::new(setup.cluster.pulse.clamp(PULSE_MIN, PULSE_MAX)),
        cluster: watch::Sender::new(Arc::new(setup.cluster.clone())),
        digest: watch::Sender::new(cluster::digest(&text)),
        links_changed: watch::Sender::new(0),
        changing: tokio::sync::Mutex::new(()),
        wrong_tokens: Mutex::default(),
        requests: 0.into(),
        arrived: Mutex::default(),
    });
    let mut hub = Hub {
        context: context.clone(),
        endpoints: HashMap::new(),
        dialers: HashMap::new(),
        links: HashMap::new(),
        boots: HashMap::new(),
        heard: HashMap::new(),
        problems: HashMap::new(),
        refusals: HashMap::new(),
        outbox: VecDeque::new(),
    };
    warn_of_end(&context.pki);
    hub.follow(&setup.cluster)?;
    tokio::spawn(hub.run(stop_in, reports_in, events));
    Ok((PeersHandle::new(stop, context), events_out))
}

/// A certificate that ends unnoticed would part the nodes.
fn warn_of_end(pki: &Pki) {
    let days = trust::days_left(pki.expires(), jiff::Timestamp::now());
    if days < LAST_DAYS {
        let ends = pki.expires().strftime("%Y-%m-%d").to_string();
        let said = match days < 0 {
            true => format!("has ended on {ends}: the other nodes refuse it"),
            false => format!("ends on {ends}: the other nodes refuse it from then on"),
        };
        let renewal = trust::renewal(pki.node(), trust::keeps_key(pki.dir()));
        tracing::warn!("the certificate of this node {said}; {renewal}");
    }
}

impl Hub {
    async fn run(
        mut self,
        mut stop: mpsc::Receiver<oneshot::Sender<()>>,
        mut reports: mpsc::Receiver<Report>,
        events: mpsc::Sender<PeerEvent>,
    ) {
        let stopped = loop {
            tokio::select! {
                // None: every handle is gone.
                stopped = stop.recv() => break stopped,
                Some(report) = reports.recv() => self.note(report),
                room = events.reserve(), if !self.outbox.is_empty() => match room {
                    Ok(room) => {
                        if let Some(event) = self.outbox.pop_front() {
                            room.send(event);
                        }
                    }
                    Err(_) => break None,
                },
            }
        };
        for dialer in self.dialers.values() {
            dialer.task.abort();
        }
        for endpoint in self.endpoints.values() {
            endpoint.close(close::STOPPED, b"the daemon stops");
        }
        for endpoint in self.endpoints.values() {
            let _ = tokio::time::timeout(GOODBYE_LIMIT, endpoint.wait_idle()).await;
        }
        if let Some(done) = stopped {
            let _ = done.send(());
        }
    }

    fn note(&mut self, report: Report) {
        match report {
            Report::Up(link) => self.up(*link),
            Report::Down { node, lan, connection, reason } => {
                let key = (node, lan);
                let same = |link: &Link| link.connection.stable_id() == connection;
                if self.links.get(&key).is_some_and(same) {
                    self.down(key, reason);
                }
            }
            Report::Heard { node, lan, connection, heartbeat } => {
                self.hear((node, lan), connection, heartbeat);
            }
            Report::NotLinked { node, lan, address, refused, reason } => {
                if refused {
                    self.reject(Some(node.clone()), address, reason.clone());
                }
                self.problems.insert((node, lan), reason);
            }
            Report::Rejected { node, address, reason } => self.reject(node, address, reason),
            Report::Event(event) => self.outbox.push_back(*event),
            Report::Use { cluster, digest, by, done } => {
                let used = self.follow(&cluster);
                if used.is_ok() {
                    self.context.digest.send_replace(digest);
                    self.outbox.push_back(PeerEvent::ClusterChanged { cluster, by });
                }
                let _ = done.send(used);
            }
            // An asker that is gone needs no answer.
            Report::Routes { node, answer } => drop(answer.send(self.routes(&node))),
            Report::Status { answer } => drop(answer.send(self.status())),
        }
    }

    fn up(&mut self, link: Link) {
        let theirs = link.theirs.clone();
        let key = (theirs.node.clone(), theirs.lan.clone());
        if let Some(old) = self.links.get(&key) {
            // The peer dialled again: it has given the old one up already.
            old.connection.close(close::REPLACED, b"replaced");
            self.down(key.clone(), "a newer connection took its place".to_owned());
        }
        let before = self.boots.insert(theirs.node.clone(), theirs.boot);
        if before.is_some_and(|boot| boot != theirs.boot) {
            let (node, boot) = (theirs.node.clone(), theirs.boot);
            self.outbox.push_back(PeerEvent::BootChanged { node, boot });
        }
        self.problems.remove(&key);
        self.refusals.remove(&link.connection.remote_address().ip());
        self.heard.insert(key.clone(), link.heard);
        self.links.insert(key, link);
        self.context.links_changed.send_modify(|count| *count += 1);
        self.outbox.push_back(PeerEvent::Connected {
            node: theirs.node,
            lan: theirs.lan,
            boot: theirs.boot,
            incarnation: theirs.incarnation,
            version: theirs.version,
        });
    }

    fn down(&mut self, key: LanKey, reason: String) {
        self.links.remove(&key);
        self.context.links_changed.send_modify(|count| *count += 1);
        self.problems.insert(key.clone(), reason.clone());
        let lans_left = self.links.keys().filter(|(node, _)| *node == key.0).count();
        let (node, lan) = key;
        self.outbox.push_back(PeerEvent::Disconnected { node, lan, reason, lans_left });
    }

    fn hear(&mut self, key: LanKey, connection: usize, heartbeat: Heartbeat) {
        let Some(link) = self.links.get_mut(&key) else { return };
        if link.connection.stable_id() != connection {
            return;
        }
        link.heard = Instant::now();
        link.theirs.cluster_digest = heartbeat.cluster_digest;
        self.heard.insert(key.clone(), link.heard);
        if self.outbox.len() < HEARD_WAITING_MAX {
            let (node, lan) = key;
            let Heartbeat { boot, incarnation, .. } = heartbeat;
            self.outbox.push_back(PeerEvent::Heard { node, lan, boot, incarnation });
        }
    }

    fn reject(&mut self, node: Option<NodeName>, address: SocketAddr, reason: String) {
        if self.refusals.len() >= REFUSALS_MAX {
            self.refusals.clear();
        }
        // The port of a dialling node changes with every attempt, its sentence need not.
        let said = reason.replace(&address.to_string(), &address.ip().to_string());
        if self.refusals.insert(address.ip(), said.clone()).as_ref() != Some(&said) {
            self.outbox.push_back(PeerEvent::Rejected { node, address, reason });
        }
    }

    /// Makes endpoints, dialers and links what `cluster` says. On an error nothing has changed.
    fn follow(&mut self, cluster: &ClusterConfig) -> Result<(), PeerError> {
        let me = self.context.node.clone();
        let mut endpoints = HashMap::new();
        for lan in &cluster.lans {
            let Some(ip) = lan.local_address_of(&me) else { continue };
            let address = SocketAddr::new(ip, cluster.port);
            if endpoints.contains_key(&address) {
                continue;
            }
            let endpoint = match self.endpoints.get(&address) {
                Some(endpoint) => endpoint.clone(),
                None => self.context.transport.bind(address)?,
            };
            endpoints.insert(address, endpoint);
        }
        if endpoints.is_empty() {
            return Err(PeerError::NoAddress { node: me });
        }
        self.context.cluster.send_replace(Arc::new(cluster.clone()));
        let old = std::mem::replace(&mut self.endpoints, endpoints);
        for (address, endpoint) in &self.endpoints {
            if !old.contains_key(address) {
                tokio::spawn(accept::serve(self.context.clone(), endpoint.clone(), *address));
            }
        }
        self.follow_targets();
        for (address, endpoint) in old {
            if !self.endpoints.contains_key(&address) {
                endpoint.close(close::CHANGED, b"the address is not used any more");
            }
        }
        Ok(())
    }

    fn follow_targets(&mut self) {
        let targets = self.targets();
        let same = |key: &LanKey, dialer: &Dialer| {
            targets
                .get(key)
                .is_some_and(|(from, target)| (*from, target.address) == (dialer.from, dialer.to))
        };
        self.dialers.retain(|key, dialer| {
            let keep = same(key, dialer);
            if !keep {
                dialer.task.abort();
            }
            keep
        });
        let me = &self.context.node;
        let gone: Vec<LanKey> = self
            .links
            .keys()
            .filter(|key| {
                let dialled = *me < key.0;
                !targets.contains_key(key) || (dialled && !self.dialers.contains_key(key))
            })
            .cloned()
            .collect();
        for key in gone {
            if let Some(link) = self.links.get(&key) {
                link.connection.close(close::CHANGED, b"cluster.xml changed");
            }
            self.down(key, "cluster.xml changed".to_owned());
        }
        self.problems.retain(|key, _| targets.contains_key(key));
        for (key, (from, target)) in targets {
            if self.context.node < key.0 && !self.dialers.contains_key(&key) {
                let to = target.address;
                let task = tokio::spawn(dial::keep_linked(self.context.clone(), target));
                self.dialers.insert(key, Dialer { task, from, to });
            }
        }
    }

    /// Every other node on every lan this node has an address on, with the own address.
    fn targets(&self) -> HashMap<LanKey, (SocketAddr, Target)> {
        let cluster = self.context.cluster.borrow();
        let mut targets = HashMap::new();
        for lan in &cluster.lans {
            let Some(ip) = lan.local_address_of(&self.context.node) else { continue };
            let from = SocketAddr::new(ip, cluster.port);
            let Some(endpoint) = self.endpoints.get(&from) else { continue };
            for (node, ip) in lan.addresses.iter().filter(|(node, _)| *node != self.context.node) {
                let target = Target {
                    node: node.clone(),
                    lan: lan.name.clone(),
                    endpoint: endpoint.clone(),
                    address: SocketAddr::new(*ip, cluster.port),
                };
                targets.insert((node.clone(), lan.name.clone()), (from, target));
            }
        }
        targets
    }

    /// Ways to `node`, the best first: heard lately, then the lan of distributed commands.
    fn routes(&self, node: &NodeName) -> Result<Vec<Route>, PeerError> {
        let cluster = self.context.cluster.borrow();
        let nodes = cluster.nodes();
        if !nodes.contains(node) || *node == self.context.node {
            let known = nodes.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
            return Err(PeerError::Unknown { node: node.clone(), known });
        }
        let command = cluster.command_lan().map(|lan| lan.name.clone());
        let targets = self.targets();
        let mut routes: Vec<(bool, bool, Route)> = Vec::new();
        for (key, (_, target)) in targets {
            let Some(link) = self.links.get(&key).filter(|_| key.0 == *node) else { continue };
            let silent = link.heard.elapsed() > *self.context.pulse.borrow() * 4;
            let route = Route {
                target,
                connection: link.connection.clone(),
                incarnation: link.theirs.incarnation,
            };
            routes.push((silent, command.as_ref() != Some(&key.1), route));
        }
        routes.sort_by_key(|(silent, other, _)| (*silent, *other));
        Ok(routes.into_iter().map(|(_, _, route)| route).collect())
    }

    /// A refusal says more than the silence after it.
    fn problem(&self, key: &LanKey, address: SocketAddr) -> Option<String> {
        self.refusals.get(&address.ip()).or_else(|| self.problems.get(key)).cloned()
    }

    fn status(&self) -> Vec<LanStatus> {
        let mut lans: Vec<LanStatus> = self
            .targets()
            .into_iter()
            .map(|(key, (_, target))| {
                let link = self.links.get(&key);
                let theirs = link.map(|link| &link.theirs);
                LanStatus {
                    address: target.address,
                    connected: link.is_some(),
                    boot: theirs.map(|hello| hello.boot),
                    incarnation: theirs.map(|hello| hello.incarnation),
                    version: theirs.map(|hello| hello.version.clone()),
                    cluster_digest: theirs.map(|hello| hello.cluster_digest.clone()),
                    silent_ms: self.heard.get(&key).map(|at| at.elapsed().as_millis() as u64),
                    rtt_us: link.map(|link| link.connection.rtt().as_micros() as u64),
                    problem: self.problem(&key, target.address).filter(|_| link.is_none()),
                    node: key.0,
                    lan: key.1,
                }
            })
            .collect();
        lans.sort_by(|a, b| (&a.node, &a.lan).cmp(&(&b.node, &b.lan)));
        lans
    }
}
