//! The new node's half of a join, run by the command line before any daemon has keys.
use super::frame::Kind;
use super::message::{JoinAnswer, JoinRequest};
use super::stream::{self, StreamError};
use super::transport::close;
use super::{PeerError, cluster, refusal, session};
use crate::config::cluster::ClusterConfig;
use crate::config::paths::Paths;
use crate::model::NodeName;
use crate::trust::{self, JoinCode, Pki, SigningRequest};
use crate::watch::own;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Any valid name: the pinned authority decides, not the name.
const DIALLED_NAME: &str = "join.lockstep.invalid";

/// What `lockstep cluster join` was told.
pub struct JoinOptions {
    pub code: JoinCode,
    /// Where the first node is reached, if not at the token's address.
    pub address: Option<SocketAddr>,
    /// Name of this node in the cluster.
    pub node: NodeName,
    /// Addresses of this node by lan; the others are found by subnet.
    pub addresses: Vec<(String, IpAddr)>,
    /// Take the place of a member of the same name that is gone for good.
    pub replace: bool,
    /// Leave the cluster this node is in; its keys are kept beside the new ones.
    pub force: bool,
    pub paths: Paths,
    pub version: String,
}

/// What a join left on disk.
pub struct Joined {
    pub pki: Pki,
    pub cluster: ClusterConfig,
    /// The node that let this one in.
    pub through: SocketAddr,
}

/// Joins this node to the cluster of the token: a key is made here, certified there; certificate,
/// authority and `cluster.xml` are stored. On an error this node is as it was.
pub async fn join(options: JoinOptions) -> Result<Joined, PeerError> {
    let pki_dir = options.paths.pki();
    if !options.force {
        trust::refuse_member(&pki_dir)?;
    }
    let address = options.address.unwrap_or(options.code.address);
    let request = SigningRequest::new(&options.node)?;
    let (endpoint, connection) = connect(address, &options.code).await?;
    let asked = ask(&connection, address, &options, &request).await;
    connection.close(close::DONE, b"");
    let _ = tokio::time::timeout(CONNECT_LIMIT, endpoint.wait_idle()).await;
    let (certificate, authority, xml) = asked?;
    let path = options.paths.cluster_xml();
    let before = std::fs::read(&path).ok();
    let cluster = cluster::install(&path, &xml, &options.node)?;
    let installed = trust::install(&pki_dir, &request, &certificate, &authority, options.force);
    let pki = installed.inspect_err(|_| restore(&path, before))?;
    Ok(Joined { pki, cluster, through: address })
}

fn restore(path: &std::path::Path, before: Option<Vec<u8>>) {
    // The error that led here is the one to report.
    let _ = match before {
        Some(bytes) => std::fs::write(path, bytes),
        None => std::fs::remove_file(path),
    };
}

async fn connect(
    address: SocketAddr,
    code: &JoinCode,
) -> Result<(Endpoint, Connection), PeerError> {
    let failed = |why: String| PeerError::Join(format!("cannot join through {address}: {why}"));
    let local: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let endpoint =
        Endpoint::client(SocketAddr::new(local, 0)).map_err(|e| failed(e.to_string()))?;
    let tls = trust::pinned_client_config(code.fingerprint)?;
    let tls = QuicClientConfig::try_from(tls).map_err(|e| failed(e.to_string()))?;
    let connecting = endpoint
        .connect_with(ClientConfig::new(Arc::new(tls)), address, DIALLED_NAME)
        .map_err(|e| failed(e.to_string()))?;
    let connection = match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Err(_) | Ok(Err(quinn::ConnectionError::TimedOut)) => Err(failed(format!(
            "no answer within {} s; is `lockstep daemon` running on the first node, and is UDP \
             port {} open there?",
            CONNECT_LIMIT.as_secs(),
            address.port()
        ))),
        Ok(Err(error)) => Err(failed(
            refusal::sentence("the node that answered", &error)
                .unwrap_or_else(|| session::end_of(&error)),
        )),
        Ok(Ok(connection)) => Ok(connection),
    }?;
    Ok((endpoint, connection))
}

/// Certificate, authority and `cluster.xml`.
async fn ask(
    connection: &Connection,
    address: SocketAddr,
    options: &JoinOptions,
    request: &SigningRequest,
) -> Result<(String, String, String), PeerError> {
    let message = JoinRequest {
        secret: options.code.secret,
        node: options.node.clone(),
        request: request.der().to_vec(),
        addresses: options.addresses.clone(),
        interfaces: interfaces(),
        replace: options.replace,
        version: options.version.clone(),
    };
    let conversation = async {
        let (mut send, mut recv) = connection.open_bi().await?;
        stream::write_last(&mut send, Kind::Join, &message).await?;
        stream::read::<JoinAnswer>(&mut recv, Kind::Join).await
    };
    let answer = tokio::time::timeout(ANSWER_LIMIT, conversation).await;
    let unclear = |why: &str| {
        PeerError::Join(format!(
            "the first node at {address} did not finish the join ({why}): if the token is used \
             up, get a new one with `lockstep cluster token` there"
        ))
    };
    match answer {
        Ok(Ok(JoinAnswer::Welcome { certificate, authority, cluster_xml })) => {
            Ok((certificate, authority, cluster_xml))
        }
        Ok(Ok(JoinAnswer::Refused { reason })) => {
            Err(PeerError::Join(format!("the first node at {address} refuses: {reason}")))
        }
        Ok(Err(StreamError::Frame(error))) => Err(unclear(&error.to_string())),
        Ok(Err(error)) => Err(unclear(&error.to_string())),
        Err(_) => Err(unclear("no answer in time")),
    }
}

/// Addresses of this machine's interfaces with their prefix lengths; loopback left out.
fn interfaces() -> Vec<(IpAddr, u8)> {
    let mut all = own::addresses();
    all.retain(|(address, _)| !address.is_loopback());
    all
}
