//! What two daemons say inside the frames. The words about modules are `model::peer`'s.
use crate::api;
use crate::model::{BootId, NodeName, PeerMessage, PeerReply};
use serde::{Deserialize, Serialize};

/// First frame of a connection, from both sides. The certificate has proved `node` already; a
/// different name here is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) node: NodeName,
    pub(super) lan: String,
    pub(super) purpose: Purpose,
    pub(super) boot: BootId,
    /// One life of the daemon, random.
    pub(super) incarnation: u64,
    /// Release of Lockstep, for people.
    pub(super) version: String,
    /// Digest of the cluster configuration in use.
    pub(super) cluster_digest: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    /// Heartbeats and messages; one for each pair of nodes and lan.
    Link,
    /// One request with its payload, on a connection of its own so that heartbeats share neither
    /// its queue nor its congestion window.
    Bulk,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "hello")]
pub(super) enum HelloAnswer {
    Welcome(Hello),
    Refused { reason: String },
}

/// In a datagram, every pulse, over every lan. A restarted sender has another incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heartbeat {
    pub(super) boot: BootId,
    pub(super) incarnation: u64,
    /// Counts the heartbeats of this connection.
    pub(super) counter: u64,
    pub(super) cluster_digest: String,
}

/// Names a request for ever: the same one sent again over another lan is carried out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct RequestId {
    pub(super) incarnation: u64,
    pub(super) number: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) body: RequestBody,
    /// The archive of the call was taken out and follows as it is, in a frame of its own
    /// ([`super::frame::Kind::Payload`]).
    #[serde(default)]
    pub(super) payload: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request")]
pub(super) enum RequestBody {
    Module {
        message: PeerMessage,
    },
    /// A request of the local socket, forwarded (`-H NODES`).
    Call {
        call: Box<api::Request>,
    },
    /// Use this `cluster.xml` (`-G`, and after a join).
    Cluster {
        text: String,
    },
}

impl RequestBody {
    /// The archive inside, which travels apart when it is large.
    pub(super) fn archive(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            RequestBody::Call { call } => match &mut call.command {
                api::Command::Import { package: bytes }
                | api::Command::Install { archive: bytes, .. } => Some(bytes),
                _ => None,
            },
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub(super) enum Answer {
    Module {
        reply: PeerReply,
    },
    Call {
        response: Box<api::Response>,
    },
    /// Digest of what is in use now.
    Cluster {
        digest: String,
    },
    /// The request was not carried out, or nobody answered it.
    Failed {
        reason: String,
    },
}

/// A new node asks for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JoinRequest {
    pub(super) secret: [u8; 16],
    pub(super) node: NodeName,
    /// PKCS #10, DER.
    pub(super) request: Vec<u8>,
    /// Addresses of the new node, `(lan, address)`, as far as it was told.
    pub(super) addresses: Vec<(String, std::net::IpAddr)>,
    /// Its interfaces' addresses with their prefix lengths, to find the other lans' by subnet.
    pub(super) interfaces: Vec<(std::net::IpAddr, u8)>,
    /// The new node takes the place of one with the same name that is gone for good.
    pub(super) replace: bool,
    pub(super) version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "join")]
pub(super) enum JoinAnswer {
    Welcome { certificate: String, authority: String, cluster_xml: String },
    Refused { reason: String },
}
