//! The first node's half of a join: a token against a certificate, and the new node in
//! `cluster.xml`.
//!
//! Everything that can be refused is refused before the token is used up; the token is used up,
//! durably, before anything is given for it.
use super::context::{Context, Report};
use super::frame::Kind;
use super::message::{JoinAnswer, JoinRequest};
use super::transport::close;
use super::{PeerError, cluster, handle, stream};
use crate::config::cluster::{ClusterConfig, Lan};
use crate::model::NodeName;
use crate::trust::{Authority, TokenStore};
use crate::watch::own::same_subnet;
use quinn::Connection;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A joining node has this long to say what it wants.
const ASK_LIMIT: Duration = Duration::from_secs(5);
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// Wrong tokens in [`WRONG_WINDOW`] after which every join is refused for a while.
const WRONG_MAX: usize = 10;
const WRONG_WINDOW: Duration = Duration::from_secs(60);

pub(super) async fn serve(context: &Arc<Context>, connection: Connection) {
    let conversation = async {
        let (mut send, mut recv) = connection.accept_bi().await?;
        let asked = tokio::time::timeout(ASK_LIMIT, stream::read(&mut recv, Kind::Join)).await;
        let Ok(request) = asked else { return Ok(()) };
        let request: JoinRequest = request?;
        let answer = match enrol(context, &request, &connection).await {
            Ok(welcome) => welcome,
            Err(reason) => {
                let address = connection.remote_address();
                let node = Some(request.node.clone());
                let told = format!("node {} at {address} may not join: {reason}", request.node);
                let report = Report::Rejected { node, address, reason: told };
                // Fails only when the whole link part has been stopped.
                let _ = context.reports.send(report).await;
                JoinAnswer::Refused { reason }
            }
        };
        stream::write_last(&mut send, Kind::Join, &answer).await
    };
    if let Err(error) = conversation.await {
        tracing::debug!(%error, "join not served");
    }
    // The new node closes when it has read the answer.
    let _ = tokio::time::timeout(GOODBYE_LIMIT, connection.closed()).await;
    connection.close(close::DONE, b"");
}

async fn enrol(
    context: &Arc<Context>,
    request: &JoinRequest,
    connection: &Connection,
) -> Result<JoinAnswer, String> {
    let too_many = || {
        "too many wrong tokens were tried in the last minute; wait a minute and try again"
            .to_owned()
    };
    if wrong_tokens(context, false) >= WRONG_MAX {
        return Err(too_many());
    }
    let tokens = TokenStore::new(context.pki.dir());
    if let Err(error) = tokens.check(&request.secret) {
        wrong_tokens(context, true);
        return Err(error.to_string());
    }
    let _changing = context.changing.lock().await;
    let current = context.cluster.borrow().clone();
    let authority = Authority::load(&context.pki).map_err(|e| e.to_string())?;
    let known = authority.has_certified(&request.node).map_err(|e| e.to_string())?;
    if known && !request.replace {
        return Err(format!(
            "node {0} has joined already: join under another name (--node NAME), or with \
             --replace if this machine takes the place of {0} for good",
            request.node
        ));
    }
    let lans = place(context, &current, request, connection)?;
    let path = context.paths.cluster_xml();
    let text = std::fs::read_to_string(&path)
        .map_err(|e| format!("the first node cannot read {}: {e}", path.display()))?;
    let next = cluster::with_node(&text, &request.node, &lans)
        .map_err(|e| format!("the first node cannot change its {}: {e}", path.display()))?;
    let authority_pem = authority.certificate_pem().to_owned();
    let certificate = certify(tokens, authority, request).await.map_err(|e| e.to_string())?;
    cluster::apply_locked(context, next.clone(), &context.node).await.map_err(|e| e.to_string())?;
    spread(context, &request.node, next.clone());
    Ok(JoinAnswer::Welcome { certificate, authority: authority_pem, cluster_xml: next })
}

/// Uses the token up, then signs: in this order, so that no crash gives two certificates for it.
async fn certify(
    tokens: TokenStore,
    authority: Authority,
    request: &JoinRequest,
) -> Result<String, PeerError> {
    let (secret, node, der) = (request.secret, request.node.clone(), request.request.clone());
    cluster::blocking(move || {
        tokens.redeem(&secret)?;
        Ok(authority.sign(&der, &node)?)
    })
    .await
}

/// Hands the new file to the members that are linked; one that is not gets it by `-G` later, and
/// `cluster state` shows its digest until then.
fn spread(context: &Arc<Context>, new: &NodeName, text: String) {
    let context = context.clone();
    let nodes = context.cluster.borrow().nodes();
    let others: Vec<NodeName> =
        nodes.into_iter().filter(|node| node != new && *node != context.node).collect();
    tokio::spawn(async move {
        for (node, result) in handle::push(&context, &others, &text).await {
            if let Err(error) = result {
                tracing::warn!(%node, %error, "the new cluster.xml did not reach a member");
            }
        }
    });
}

/// Address of the new node on every lan where it has none in `cluster.xml`, or was told another:
/// as it was told, else, on the lan it came by, the address it came from, else the one of its
/// interfaces in the subnet of this node's address.
fn place(
    context: &Context,
    cluster: &ClusterConfig,
    request: &JoinRequest,
    connection: &Connection,
) -> Result<Vec<(String, IpAddr)>, String> {
    let node = &request.node;
    if *node == context.node {
        return Err(format!(
            "{node} is the name of the first node itself: join under another name (--node NAME)"
        ));
    }
    if let Some((lan, _)) = request.addresses.iter().find(|(lan, _)| cluster.lan(lan).is_none()) {
        let known: Vec<&str> = cluster.lans.iter().map(|lan| lan.name.as_str()).collect();
        return Err(format!("there is no lan {lan:?}; lans are: {}", known.join(", ")));
    }
    let came = (connection.local_ip(), connection.remote_address().ip());
    let mut placed = Vec::new();
    for lan in &cluster.lans {
        let told = request.addresses.iter().find(|(name, _)| *name == lan.name);
        let current = lan.address_of(node);
        if current.is_some() && told.is_none_or(|(_, address)| Some(*address) == current) {
            continue;
        }
        let found = told.map(|(_, address)| *address);
        let found = found.or_else(|| address_on(lan, &context.node, request, came));
        let address = found.ok_or_else(|| {
            format!(
                "no address of {node} on lan {} is known: give it with --addr {}=ADDRESS",
                lan.name, lan.name
            )
        })?;
        let taken = lan.addresses.iter().find(|(other, ip)| *ip == address && other != node);
        if let Some((other, _)) = taken {
            return Err(format!(
                "{address} on lan {} is the address of node {other}: give the right one with \
                 --addr {}=ADDRESS",
                lan.name, lan.name
            ));
        }
        placed.push((lan.name.clone(), address));
    }
    Ok(placed)
}

fn address_on(
    lan: &Lan,
    me: &NodeName,
    request: &JoinRequest,
    (local, remote): (Option<IpAddr>, IpAddr),
) -> Option<IpAddr> {
    let own = lan.local_address_of(me)?;
    if local == Some(own) {
        return Some(remote);
    }
    request
        .interfaces
        .iter()
        .find(|(address, prefix)| {
            *address != own && *prefix > 0 && same_subnet(*address, *prefix, own)
        })
        .map(|(address, _)| *address)
}

/// Wrong tokens in the last minute; counts one more if `another`.
fn wrong_tokens(context: &Context, another: bool) -> usize {
    let mut wrong = context.wrong_tokens.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    wrong.retain(|at| now.duration_since(*at) < WRONG_WINDOW);
    if another && wrong.len() < WRONG_MAX {
        wrong.push_back(now);
    }
    wrong.len()
}
