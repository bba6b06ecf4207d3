//! Dials one node over one lan for as long as the daemon lives, and keeps the link once it is up.
use super::context::{Context, Report};
use super::message::{Hello, HelloAnswer, Purpose};
use super::session::{self, HELLO_LIMIT};
use super::stream::{self, StreamError};
use super::transport::{DIAL_GAP, DIAL_LIMIT, close};
use super::{frame::Kind, refusal};
use crate::model::NodeName;
use futures_util::stream::{FuturesUnordered, StreamExt};
use quinn::{ClientConfig, Connection, Endpoint};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Gap between dials after a refusal: a person has to act first.
const REFUSED_GAP: Duration = Duration::from_millis(500);

/// Whom to dial, and from where.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) node: NodeName,
    pub(super) lan: String,
    pub(super) endpoint: Endpoint,
    pub(super) address: SocketAddr,
}

impl Target {
    /// The peer as people know it.
    pub(super) fn who(&self) -> String {
        format!("node {} at {} (lan {})", self.node, self.address, self.lan)
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("no answer from {address} within {:?}", DIAL_LIMIT)]
    Silent { address: SocketAddr },
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Other(String),
}

/// Dials until the task is aborted.
pub(super) async fn keep_linked(context: Arc<Context>, target: Target) {
    loop {
        match first_link(&context, &target).await {
            Ok((connection, theirs)) => session::run(context.clone(), connection, theirs).await,
            Err(error) => {
                let refused = matches!(error, DialError::Refused(_));
                report(&context, &target, error).await;
                tokio::time::sleep(if refused { REFUSED_GAP } else { DIAL_GAP }).await;
            }
        }
    }
}

/// Begins a dial every [`DIAL_GAP`], whatever becomes of those before it: a packet that is lost
/// in a cut costs one gap after the cut, not the grown time limit of its own connection.
async fn first_link(context: &Context, target: &Target) -> Result<(Connection, Hello), DialError> {
    let mut attempts = FuturesUnordered::new();
    let mut ticks = tokio::time::interval(DIAL_GAP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if !attempts.is_empty() {
                    context.neighbours.forget_unanswered(target.address.ip()).await;
                }
                attempts.push(connect(context, target, context.transport.link.clone()));
            }
            Some(attempt) = attempts.next() => match attempt {
                Ok(connection) => {
                    // The others are given up before the peer hears of any: it sees one link.
                    attempts.clear();
                    return introduce(context, target, connection, Purpose::Link).await;
                }
                Err(error @ DialError::Silent { .. }) => report(context, target, error).await,
                Err(error) => return Err(error),
            }
        }
    }
}

/// One QUIC handshake. The certificate shown must be of the node that was dialled.
async fn connect(
    context: &Context,
    target: &Target,
    config: ClientConfig,
) -> Result<Connection, DialError> {
    let name = context.pki.server_name(&target.node);
    let connecting = target
        .endpoint
        .connect_with(config, target.address, &name)
        .map_err(|e| DialError::Other(format!("cannot dial {}: {e}", target.address)))?;
    match tokio::time::timeout(DIAL_LIMIT, connecting).await {
        Err(_) => Err(DialError::Silent { address: target.address }),
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(quinn::ConnectionError::TimedOut)) => {
            Err(DialError::Silent { address: target.address })
        }
        Ok(Err(error)) => Err(ended(target, &error)),
    }
}

/// Exchanges the first frames. Only now the peer has looked at this node's certificate.
async fn introduce(
    context: &Context,
    target: &Target,
    connection: Connection,
    purpose: Purpose,
) -> Result<(Connection, Hello), DialError> {
    let ours = session::own_hello(context, &target.lan, purpose);
    let exchange = async {
        let (mut send, mut recv) = connection.open_bi().await?;
        stream::write_last(&mut send, Kind::Hello, &ours).await?;
        stream::read::<HelloAnswer>(&mut recv, Kind::Hello).await
    };
    let answer = tokio::time::timeout(HELLO_LIMIT, exchange).await;
    let refused = |reason| Err(DialError::Refused(format!("{} refuses: {reason}", target.who())));
    match answer {
        Ok(Ok(HelloAnswer::Welcome(theirs)))
            if theirs.node == target.node && theirs.lan == target.lan =>
        {
            Ok((connection, theirs))
        }
        Ok(Ok(HelloAnswer::Welcome(theirs))) => {
            connection.close(close::REFUSED, b"another node or lan than was dialled");
            refused(format!("it calls itself {} on lan {}", theirs.node, theirs.lan))
        }
        Ok(Ok(HelloAnswer::Refused { reason })) => {
            connection.close(close::DONE, b"");
            refused(reason)
        }
        Ok(Err(StreamError::Frame(error))) => {
            connection.close(close::BROKEN, error.to_string().as_bytes());
            refused(format!("its first message cannot be read ({error})"))
        }
        Ok(Err(error)) => match connection.close_reason() {
            Some(reason) => Err(ended(target, &reason)),
            None => Err(DialError::Other(error.to_string())),
        },
        Err(_) => {
            connection.close(close::BROKEN, b"no answer to the first message");
            Err(DialError::Silent { address: target.address })
        }
    }
}

/// A connection of its own for one large request, over the lan of `target`.
pub(super) async fn bulk(context: &Context, target: &Target) -> Result<Connection, DialError> {
    let connection = connect(context, target, context.transport.bulk.clone()).await?;
    let (connection, _) = introduce(context, target, connection, Purpose::Bulk).await?;
    Ok(connection)
}

fn ended(target: &Target, error: &quinn::ConnectionError) -> DialError {
    match refusal::sentence(&target.who(), error) {
        Some(sentence) => DialError::Refused(sentence),
        None => DialError::Other(session::end_of(error)),
    }
}

async fn report(context: &Context, target: &Target, error: DialError) {
    let report = Report::NotLinked {
        node: target.node.clone(),
        lan: target.lan.clone(),
        address: target.address,
        refused: matches!(error, DialError::Refused(_)),
        reason: error.to_string(),
    };
    // Fails only when the whole link part has been stopped.
    let _ = context.reports.send(report).await;
}
