//! Lets nodes of the cluster in, and new ones that hold a token.
use super::context::{Context, Report};
use super::message::{Hello, HelloAnswer, Purpose};
use super::session::{self, HELLO_LIMIT};
use super::stream;
use super::transport::close;
use super::{enrol, frame::Kind, refusal};
use crate::model::NodeName;
use crate::trust::{ALPN_JOIN, ALPN_PEER};
use quinn::{Connection, Endpoint, Incoming};
use rustls::pki_types::CertificateDer;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Handshakes under way at a time on one address; more wait in the socket.
const HANDSHAKES_MAX: usize = 32;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(3);
/// A refused peer gets this long to read why.
const REFUSAL_LIMIT: Duration = Duration::from_millis(500);

/// Serves one endpoint until it is closed.
pub(super) async fn serve(context: Arc<Context>, endpoint: Endpoint, local: SocketAddr) {
    let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = endpoint.accept().await {
        // Under a flood of beginnings, whoever begins has to prove its address first.
        if room.available_permits() < HANDSHAKES_MAX / 2 && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let context = context.clone();
        tokio::spawn(async move {
            let admitted = admit(&context, incoming, local.ip()).await;
            drop(permit);
            match admitted {
                Some((connection, hello)) if hello.purpose == Purpose::Link => {
                    session::run(context, connection, hello).await;
                }
                Some((connection, hello)) => {
                    session::accept_requests(context, connection, hello.node).await;
                }
                None => {}
            }
        });
    }
}

/// Handshake, identity and first frames; `None`: not let in (or a join, which is done then).
async fn admit(
    context: &Arc<Context>,
    incoming: Incoming,
    local: IpAddr,
) -> Option<(Connection, Hello)> {
    let address = incoming.remote_address();
    let who = format!("the node at {address}");
    let connection = match tokio::time::timeout(HANDSHAKE_LIMIT, incoming).await.ok()? {
        Ok(connection) => connection,
        Err(error) => {
            if let Some(reason) = refusal::sentence(&who, &error) {
                reject(context, None, address, reason).await;
            }
            return None;
        }
    };
    if protocol(&connection).as_deref() == Some(ALPN_JOIN) {
        enrol::serve(context, connection).await;
        return None;
    }
    let certificates: Vec<CertificateDer<'static>> = connection
        .peer_identity()
        .and_then(|identity| identity.downcast().ok())
        .map(|certificates| *certificates)
        .unwrap_or_default();
    let node = match context.pki.check_peer(&certificates) {
        Ok(node) if protocol(&connection).as_deref() == Some(ALPN_PEER) => node,
        Ok(node) => {
            let reason = format!("node {node} at {address} speaks an unknown protocol");
            connection.close(close::REFUSED, reason.as_bytes());
            return None;
        }
        Err(error) => {
            let reason = format!("{who} is refused: {error}");
            connection.close(close::REFUSED, reason.as_bytes());
            reject(context, None, address, reason).await;
            return None;
        }
    };
    let welcomed = tokio::time::timeout(HELLO_LIMIT, welcome(context, &connection, &node, local));
    match welcomed.await.ok()? {
        Ok(hello) => Some((connection, hello)),
        Err(reason) => {
            reject(context, Some(node), address, reason).await;
            // The peer closes when it has read the refusal.
            let _ = tokio::time::timeout(REFUSAL_LIMIT, connection.closed()).await;
            connection.close(close::REFUSED, b"refused");
            None
        }
    }
}

/// Reads the peer's first frame and answers it. The error is the sentence the peer was told.
async fn welcome(
    context: &Context,
    connection: &Connection,
    node: &NodeName,
    local: IpAddr,
) -> Result<Hello, String> {
    let broken = |e: &dyn std::fmt::Display| format!("node {node} sent no proper first frame: {e}");
    let (mut send, mut recv) = connection.accept_bi().await.map_err(|e| broken(&e))?;
    let theirs: Hello = stream::read(&mut recv, Kind::Hello).await.map_err(|e| broken(&e))?;
    let checked = check(context, &theirs, node, local);
    let answer = match &checked {
        Ok(()) => HelloAnswer::Welcome(session::own_hello(context, &theirs.lan, theirs.purpose)),
        Err(reason) => HelloAnswer::Refused { reason: reason.clone() },
    };
    stream::write_last(&mut send, Kind::Hello, &answer).await.map_err(|e| broken(&e))?;
    checked.map(|()| theirs)
}

/// Whether this first frame fits the certificate and this node's `cluster.xml`.
fn check(context: &Context, theirs: &Hello, node: &NodeName, local: IpAddr) -> Result<(), String> {
    if theirs.node != *node {
        return Err(format!("a node with the certificate of {node} calls itself {}", theirs.node));
    }
    if *node == context.node {
        return Err(format!("another machine calls itself {node}, as this node does"));
    }
    let cluster = context.cluster.borrow();
    if !cluster.nodes().contains(node) {
        return Err(format!(
            "node {node} is not in the cluster.xml of node {}: apply the same file on all nodes \
             (`lockstep cluster config` on one, then `lockstep -H \"*\" -G`)",
            context.node
        ));
    }
    let lan = cluster.lan(&theirs.lan).ok_or_else(|| {
        format!(
            "the cluster.xml of node {} has no lan {:?}, that of node {node} has: apply the same \
             file on all nodes (`lockstep -H \"*\" -G`)",
            context.node, theirs.lan
        )
    })?;
    if lan.local_address_of(&context.node) != Some(local) {
        return Err(format!(
            "node {node} reached node {} at {local}, which is not its address on lan {}: apply \
             the same cluster.xml on all nodes (`lockstep -H \"*\" -G`)",
            context.node, theirs.lan
        ));
    }
    if theirs.purpose == Purpose::Link && *node > context.node {
        return Err(format!("node {node} dials although node {} is to dial it", context.node));
    }
    Ok(())
}

fn protocol(connection: &Connection) -> Option<Vec<u8>> {
    let data = connection.handshake_data()?;
    data.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?.protocol
}

async fn reject(context: &Context, node: Option<NodeName>, address: SocketAddr, reason: String) {
    // Fails only when the whole link part has been stopped.
    let _ = context.reports.send(Report::Rejected { node, address, reason }).await;
}
