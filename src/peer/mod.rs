//! The link between the daemons of a cluster.
//!
//! One QUIC connection for each pair of nodes and lan, mutual TLS. The node whose name is lower
//! dials, again and again while there is no link; the other accepts. Each connection carries
//! heartbeats (datagrams, every pulse) and small messages (a stream each); a large payload gets a
//! connection of its own. A message is tried over the next lan while the first stays silent, and
//! is carried out once, however often it arrives.
//!
//! ```text
//! PeersHandle --command--> hub ----------event----> PeerEvent (the node decides)
//!                           ^  who is linked, who was refused, which endpoints there are
//!      dial / accept -> session (heartbeats out, heartbeats and requests in)
//! ```
//!
//! This part tells what it hears and when; it holds no deadline about roles. What silence means
//! is the module's business (`<heart timeout=>`), so `node` keeps those deadlines.
mod accept;
mod cluster;
mod context;
mod dial;
mod enrol;
mod frame;
mod handle;
mod hub;
mod inbox;
mod join;
mod message;
mod neighbour;
mod refusal;
mod session;
mod stream;
mod transport;

pub use cluster::{digest, first_cluster_xml};
pub use handle::{PeersHandle, PushResult};
pub use join::{JoinOptions, Joined, join};

use crate::api;
use crate::config::cluster::ClusterConfig;
use crate::config::paths::Paths;
use crate::model::{BootId, NodeName, PeerMessage, PeerReply};
use crate::trust::Pki;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Limit of [`PeersHandle::send`].
pub const SEND_LIMIT: Duration = Duration::from_secs(3);
/// Limit of [`PeersHandle::call`]: a start with long scripts is one call.
pub const CALL_LIMIT: Duration = Duration::from_secs(900);
/// Heartbeats are never further apart nor closer than this.
pub const PULSE_MIN: Duration = Duration::from_millis(20);
pub const PULSE_MAX: Duration = Duration::from_secs(10);

/// All that the link needs to know at start.
pub struct PeerSetup {
    pub node: NodeName,
    pub boot: BootId,
    pub cluster: ClusterConfig,
    pub pki: Pki,
    pub paths: Paths,
    /// Release of Lockstep, shown to people on the other nodes.
    pub version: String,
}

/// The link of this node to all others.
pub struct Peers;

impl Peers {
    /// Binds the control port on this node's address of every lan and begins to dial. Must be
    /// called within a tokio runtime. Ends when the handle is stopped or every clone is dropped.
    pub async fn start(
        setup: PeerSetup,
    ) -> Result<(PeersHandle, mpsc::Receiver<PeerEvent>), PeerError> {
        hub::start(setup).await
    }
}

/// What the daemon hears. Events of one node arrive in order.
#[derive(Debug)]
pub enum PeerEvent {
    /// A link is up. `boot` and `incarnation` are the peer's.
    Connected { node: NodeName, lan: String, boot: BootId, incarnation: u64, version: String },
    /// A link is gone; `lans_left` others to the same node are still up.
    Disconnected { node: NodeName, lan: String, reason: String, lans_left: usize },
    /// A heartbeat arrived. Under an overload these are dropped first:
    /// [`PeersHandle::status`] always knows when a lan was heard last.
    Heard { node: NodeName, lan: String, boot: BootId, incarnation: u64 },
    /// The peer came back with another boot than the one seen before.
    BootChanged { node: NodeName, boot: BootId },
    /// Answer with [`Reply::send`].
    Message { node: NodeName, message: PeerMessage, reply: Reply<PeerReply> },
    /// A request of the local socket, forwarded by a peer's command line.
    Call { node: NodeName, request: Box<api::Request>, reply: Reply<api::Response> },
    /// `cluster.xml` was replaced (by a push or a join) and the links follow it already.
    ClusterChanged { cluster: Box<ClusterConfig>, by: NodeName },
    /// Somebody was not let in, or did not let us in: another certificate, another version, a
    /// node that is not in `cluster.xml`. Told once until it changes. One sentence.
    Rejected { node: Option<NodeName>, address: SocketAddr, reason: String },
}

/// The way back for an answer. Dropped unused, the asker is told that nobody answered.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Answers. The asker may be gone by now; that is no concern of the one who answers.
    pub fn send(self, answer: T) {
        let _ = self.0.send(answer);
    }
}

/// Why something asked of a peer did not come about. One sentence for people.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("node {node} is not in cluster.xml (nodes there: {known})")]
    Unknown { node: NodeName, known: String },
    #[error("there is no link to node {node} over {lans}: {why}")]
    Unreachable { node: NodeName, lans: String, why: String },
    #[error(
        "node {node} did not answer within {limit:?}; whether it carried the request out is not \
         known, ask for its state"
    )]
    TimedOut { node: NodeName, limit: Duration },
    #[error(
        "node {node} was restarted before it answered; whether it carried the request out is not \
         known, ask for its state"
    )]
    Restarted { node: NodeName },
    #[error("node {node}: {reason}")]
    Refused { node: NodeName, reason: String },
    #[error("a request of {length} bytes cannot be sent: at most {max} are allowed")]
    TooLarge { length: usize, max: usize },
    #[error(
        "cannot listen on {address} (UDP): {source}; another daemon runs here already, or the \
         address in cluster.xml is wrong"
    )]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("node {node} is on no lan of cluster.xml: give it an address there")]
    NoAddress { node: NodeName },
    #[error("{0}")]
    Cluster(String),
    #[error("{0}")]
    Join(String),
    #[error("the link to the other nodes has been stopped")]
    Stopped,
    #[error(transparent)]
    Trust(#[from] crate::trust::TrustError),
}

/// What is known of one node over one lan.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LanStatus {
    pub node: NodeName,
    pub lan: String,
    pub address: SocketAddr,
    pub connected: bool,
    pub boot: Option<BootId>,
    pub incarnation: Option<u64>,
    /// Release of Lockstep the peer runs.
    pub version: Option<String>,
    /// Digest of the peer's `cluster.xml` in use.
    pub cluster_digest: Option<String>,
    /// Milliseconds since anything was heard over this lan.
    pub silent_ms: Option<u64>,
    /// Round trip, microseconds.
    pub rtt_us: Option<u64>,
    /// Why there is no link, as far as it can be said.
    pub problem: Option<String>,
}

#[cfg(test)]
mod tests;
