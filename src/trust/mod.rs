//! Who is who: the cluster's certificate authority, the nodes' certificates, and how a node joins.
//!
//! One cluster has one authority and one random cluster id. Every node holds its own key, made on
//! the node and never sent anywhere, and a certificate that names cluster and node as the URI
//! `lockstep://CLUSTER/NODE`. All traffic between nodes is TLS 1.3 where both sides show such a
//! certificate; after the handshake the cluster id is compared as well.
//!
//! ```text
//! init          first node: cluster id, authority, own key           (authority.rs)
//! token         first node: one printable code, 10 minutes, one use  (token.rs)
//! join          new node: pins the authority by the code's fingerprint, shows the secret, sends a
//!               signing request, gets certificate + authority + cluster.xml  (peer::join)
//! load          every process with a link: `Pki`                     (pki.rs)
//! ```
mod authority;
mod files;
mod identity;
mod pinned;
mod pki;
mod renewal;
mod token;

pub use authority::{Authority, SigningRequest, init, install, keeps_key};
pub use files::refuse_member;
pub use identity::{ClusterId, Identity, peer_node};
pub use pinned::pinned_client_config;
pub use pki::{ALPN_JOIN, ALPN_PEER, Pki};
pub use renewal::{CERTIFICATE_DAYS, days_left, renewal};
pub use token::{JoinCode, TokenStore, VALID_DEFAULT};

use std::path::PathBuf;

/// Why a key, certificate or token was not accepted. Each text is one sentence for people.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error(
        "this node belongs to no cluster yet ({} is missing): `lockstep cluster init` begins a \
         cluster, `lockstep cluster join ADDRESS --token TOKEN` joins one", .path.display()
    )]
    NoCluster { path: PathBuf },
    #[error("cannot {what} {}: {source}", .path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "{} cannot be used: {why}; restore the file from a backup or join the cluster again \
         (`lockstep cluster join ADDRESS --token TOKEN`)", .path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error(
        "{} is readable by others (mode {mode:04o}): a key belongs to root alone, run \
         `chmod 600 {}`", .path.display(), .path.display()
    )]
    KeyExposed { path: PathBuf, mode: u32 },
    #[error(
        "this node already belongs to a cluster (keys in {}): use --force to leave it; the old \
         keys are kept beside it as {}", .dir.display(), files::previous_of(.dir).display()
    )]
    AlreadyMember { dir: PathBuf },
    #[error(
        "this node does not hold the key of the cluster's authority ({} is missing): run the \
         command on the node where `lockstep cluster init` was run", .path.display()
    )]
    NoAuthority { path: PathBuf },
    #[error("the certificate shown is not one of a Lockstep node: {why}")]
    NoIdentity { why: String },
    #[error(
        "the certificate shown belongs to node {node} of another cluster ({theirs}, this node's \
         is {ours}): join that node to this cluster with a token from here"
    )]
    OtherCluster { node: String, ours: ClusterId, theirs: ClusterId },
    #[error("cannot make a key or certificate: {why}")]
    Crypto { why: String },
    #[error("the signing request is refused: {why}")]
    Request { why: String },
    #[error(
        "this is not a join token ({why}): copy the whole token that `lockstep cluster token` printed"
    )]
    NotAToken { why: &'static str },
    #[error(
        "the join token is not known here: it was used already, has expired, or belongs to \
         another cluster; get a new one with `lockstep cluster token` on the first node"
    )]
    UnknownToken,
    #[error(
        "the join token has expired: get a new one with `lockstep cluster token` on the first node"
    )]
    ExpiredToken,
}

impl From<rcgen::Error> for TrustError {
    fn from(error: rcgen::Error) -> TrustError {
        TrustError::Crypto { why: error.to_string() }
    }
}
