//! What the tasks of the link share, and what they tell the hub.
use super::dial::Target;
use super::inbox::Inbox;
use super::message::{Heartbeat, Hello, RequestId};
use super::neighbour::Neighbours;
use super::transport::Transport;
use super::{LanStatus, PeerError, PeerEvent};
use crate::config::cluster::ClusterConfig;
use crate::config::paths::Paths;
use crate::model::{BootId, NodeName};
use crate::trust::Pki;
use quinn::Connection;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// What every task of the link shares: constants of this life, and values that are watched.
pub(super) struct Context {
    pub(super) node: NodeName,
    pub(super) boot: BootId,
    /// This life of the daemon.
    pub(super) incarnation: u64,
    pub(super) version: String,
    pub(super) pki: Pki,
    pub(super) paths: Paths,
    pub(super) transport: Transport,
    pub(super) neighbours: Neighbours,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) pulse: watch::Sender<Duration>,
    /// Configuration in use and its digest; the hub advances both.
    pub(super) cluster: watch::Sender<Arc<ClusterConfig>>,
    pub(super) digest: watch::Sender<String>,
    /// Counts changes of who is linked; the hub advances it.
    pub(super) links_changed: watch::Sender<u64>,
    /// One change of `cluster.xml` at a time.
    pub(super) changing: tokio::sync::Mutex<()>,
    pub(super) wrong_tokens: Mutex<VecDeque<Instant>>,
    /// Counts the requests sent in this life.
    pub(super) requests: AtomicU64,
    pub(super) arrived: Mutex<Inbox>,
}

impl Context {
    /// Bookkeeping without waiting; a panic while it was held cannot leave it half changed.
    pub(super) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name for the next request of this life.
    pub(super) fn next_request(&self) -> RequestId {
        // Only has to be different each time; nothing else is ordered by it.
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        RequestId { incarnation: self.incarnation, number }
    }

    /// Queues an event for the daemon.
    pub(super) async fn tell(&self, event: PeerEvent) {
        // Fails only when the whole link part has been stopped.
        let _ = self.reports.send(Report::Event(Box::new(event))).await;
    }
}

/// What the hub is told, and what it is asked.
pub(super) enum Report {
    Up(Box<Link>),
    Down {
        node: NodeName,
        lan: String,
        connection: usize,
        reason: String,
    },
    Heard {
        node: NodeName,
        lan: String,
        connection: usize,
        heartbeat: Heartbeat,
    },
    NotLinked {
        node: NodeName,
        lan: String,
        address: SocketAddr,
        refused: bool,
        reason: String,
    },
    Rejected {
        node: Option<NodeName>,
        address: SocketAddr,
        reason: String,
    },
    Event(Box<PeerEvent>),
    /// A checked configuration that is on disk already.
    Use {
        cluster: Box<ClusterConfig>,
        digest: String,
        by: NodeName,
        done: oneshot::Sender<Result<(), PeerError>>,
    },
    /// Ways to a node, the best first; none while there is no link.
    Routes {
        node: NodeName,
        answer: oneshot::Sender<Result<Vec<Route>, PeerError>>,
    },
    Status {
        answer: oneshot::Sender<Vec<LanStatus>>,
    },
}

/// One way to a node.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) target: Target,
    pub(super) connection: Connection,
    pub(super) incarnation: u64,
}

/// A connection that is up.
pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) theirs: Hello,
    pub(super) heard: Instant,
}

impl Link {
    pub(super) fn new(connection: Connection, theirs: Hello) -> Link {
        Link { connection, theirs, heard: Instant::now() }
    }
}
