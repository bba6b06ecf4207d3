//! What the daemon asks of the link.
use super::context::{Context, Report, Route};
use super::dial;
use super::frame::{Kind, PAYLOAD_MAX};
use super::message::{Answer, Request, RequestBody};
use super::stream;
use super::transport::close;
use super::{CALL_LIMIT, LanStatus, PULSE_MAX, PULSE_MIN, PeerError, SEND_LIMIT, cluster};
use crate::api;
use crate::model::{NodeName, PeerMessage, PeerReply};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// A lan that has not answered for so long gets company: the same request over the next one.
const NEXT_LAN_AFTER: Duration = Duration::from_millis(200);
/// A node without a link is given up after so long; links are dialled three times in it.
const NO_LINK_LIMIT: Duration = Duration::from_millis(1200);
/// Archives larger than this travel on a connection of their own, bytes.
const BULK_MIN: usize = 64 * 1024;
/// How long the others have to take a new `cluster.xml`.
const PUSH_LIMIT: Duration = Duration::from_secs(5);

/// What became of a push on one node: the digest it uses now.
pub type PushResult = (NodeName, Result<String, PeerError>);

/// The daemon's hold on the link. Clones are equal; when the last is gone the link ends.
#[derive(Clone)]
pub struct PeersHandle {
    stop: mpsc::Sender<oneshot::Sender<()>>,
    context: Arc<Context>,
}

impl PeersHandle {
    pub(super) fn new(
        stop: mpsc::Sender<oneshot::Sender<()>>,
        context: Arc<Context>,
    ) -> PeersHandle {
        PeersHandle { stop, context }
    }

    /// Sends a message about a module and waits for its reply, at most [`SEND_LIMIT`].
    pub async fn send(
        &self,
        node: &NodeName,
        message: PeerMessage,
    ) -> Result<PeerReply, PeerError> {
        self.send_within(node, message, SEND_LIMIT).await
    }

    /// As [`PeersHandle::send`] with another limit. Tried over every lan; carried out at most once.
    pub async fn send_within(
        &self,
        node: &NodeName,
        message: PeerMessage,
        limit: Duration,
    ) -> Result<PeerReply, PeerError> {
        let delivery = Delivery::new(&self.context, node, RequestBody::Module { message }, limit);
        match delivery.run().await? {
            Answer::Module { reply } => Ok(reply),
            other => Err(unexpected(node, other)),
        }
    }

    /// Has another node's daemon answer a request of the local socket, at most [`CALL_LIMIT`].
    pub async fn call(
        &self,
        node: &NodeName,
        request: api::Request,
    ) -> Result<api::Response, PeerError> {
        let body = RequestBody::Call { call: Box::new(request) };
        match Delivery::new(&self.context, node, body, CALL_LIMIT).run().await? {
            Answer::Call { response } => Ok(*response),
            other => Err(unexpected(node, other)),
        }
    }

    /// Gap between heartbeats over every lan: the smallest pulse of the running modules. Kept
    /// within [`PULSE_MIN`] and [`PULSE_MAX`].
    pub fn set_pulse(&self, pulse: Duration) {
        let pulse = pulse.clamp(PULSE_MIN, PULSE_MAX);
        self.context.pulse.send_if_modified(|current| {
            let changed = *current != pulse;
            *current = pulse;
            changed
        });
    }

    /// Every other node over every lan, sorted by node and lan.
    pub async fn status(&self) -> Vec<LanStatus> {
        let (answer, status) = oneshot::channel();
        if self.context.reports.send(Report::Status { answer }).await.is_err() {
            return Vec::new();
        }
        status.await.unwrap_or_default()
    }

    /// Digest of the `cluster.xml` in use here; [`LanStatus::cluster_digest`] is the peer's.
    pub fn cluster_digest(&self) -> String {
        self.context.digest.borrow().clone()
    }

    /// Checks `text`, makes it this node's `cluster.xml` and lets the links follow it. Links that
    /// it does not change stay up. Returns its digest.
    pub async fn apply_cluster(&self, text: String) -> Result<String, PeerError> {
        cluster::apply(&self.context, text, &self.context.node).await
    }

    /// [`PeersHandle::apply_cluster`] on every other node (`-G`); the others before this one, over
    /// the links that exist. The results are in the order of the new file, this node's with them.
    pub async fn push_cluster(&self, text: String) -> Result<Vec<PushResult>, PeerError> {
        let next = cluster::check(&self.context, &text).await?;
        let me = &self.context.node;
        let others: Vec<NodeName> = next.nodes().into_iter().filter(|n| n != me).collect();
        let first = push(&self.context, &others, &text).await;
        let own = self.apply_cluster(text.clone()).await?;
        let mut results = Vec::new();
        for (node, result) in first {
            let result = match result {
                Ok(digest) => Ok(digest),
                // Linked only by the new file, or the new file cut the answer off.
                Err(error) if may_be_linked_now(&error) => {
                    push_one(&self.context, &node, &text).await
                }
                Err(error) => Err(error),
            };
            results.push((node, result));
        }
        let at = next.nodes().iter().position(|node| node == me).unwrap_or(0);
        results.insert(at.min(results.len()), (me.clone(), Ok(own)));
        Ok(results)
    }

    /// Says good-bye to all peers and ends the link.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.stop.send(done).await.is_ok() {
            // An error says that it has ended already.
            let _ = stopped.await;
        }
    }
}

fn may_be_linked_now(error: &PeerError) -> bool {
    matches!(
        error,
        PeerError::Unknown { .. } | PeerError::Unreachable { .. } | PeerError::TimedOut { .. }
    )
}

/// Hands `text` to `nodes`, all at the same time.
pub(super) async fn push(
    context: &Arc<Context>,
    nodes: &[NodeName],
    text: &str,
) -> Vec<PushResult> {
    let pushes =
        nodes.iter().map(|node| async move { (node.clone(), push_one(context, node, text).await) });
    join_all(pushes).await
}

async fn push_one(
    context: &Arc<Context>,
    node: &NodeName,
    text: &str,
) -> Result<String, PeerError> {
    let body = RequestBody::Cluster { text: text.to_owned() };
    match Delivery::new(context, node, body, PUSH_LIMIT).run().await? {
        Answer::Cluster { digest } => Ok(digest),
        other => Err(unexpected(node, other)),
    }
}

fn unexpected(node: &NodeName, answer: Answer) -> PeerError {
    let reason = match answer {
        Answer::Failed { reason } => reason,
        _ => "it gave an answer to another question; install the same release of Lockstep on \
              both nodes"
            .to_owned(),
    };
    PeerError::Refused { node: node.clone(), reason }
}

/// One request on its way, over one lan after the other until one answers.
struct Delivery<'a> {
    context: &'a Arc<Context>,
    node: &'a NodeName,
    request: Request,
    limit: Duration,
    /// Life of the peer that may have begun to carry the request out.
    begun: Option<u64>,
    /// Why the last attempt failed.
    problem: Option<String>,
}

/// How one attempt ended.
type Attempt = Result<Answer, String>;

impl<'a> Delivery<'a> {
    fn new(
        context: &'a Arc<Context>,
        node: &'a NodeName,
        body: RequestBody,
        limit: Duration,
    ) -> Delivery<'a> {
        let request = Request { id: context.next_request(), body, payload: false };
        Delivery { context, node, request, limit, begun: None, problem: None }
    }

    async fn run(mut self) -> Result<Answer, PeerError> {
        let payload = self.take_payload()?;
        let began = Instant::now();
        let end = began + self.limit;
        let mut links = self.context.links_changed.subscribe();
        let mut attempts = FuturesUnordered::new();
        let mut tried: Vec<usize> = Vec::new();
        let mut linked = began;
        loop {
            links.borrow_and_update();
            let routes = self.routes().await?;
            if !routes.is_empty() {
                linked = Instant::now();
            }
            tried.retain(|id| routes.iter().any(|route| route.connection.stable_id() == *id));
            let fresh = |r: &&Route| !tried.contains(&r.connection.stable_id());
            // A payload is not sent twice at the same time; a small request may be.
            if (attempts.is_empty() || payload.is_none())
                && let Some(route) = routes.iter().find(fresh)
            {
                self.check_life(route)?;
                tried.push(route.connection.stable_id());
                let context = self.context.clone();
                let (route, request) = (route.clone(), self.request.clone());
                attempts.push(attempt(context, route, request, payload.clone()));
            }
            let next = Instant::now() + NEXT_LAN_AFTER;
            let give_up = if attempts.is_empty() { linked + NO_LINK_LIMIT } else { end };
            tokio::select! {
                Some(attempt) = attempts.next() => match attempt {
                    Ok(answer) => return Ok(answer),
                    Err(problem) => self.problem = Some(problem),
                },
                changed = links.changed() => changed.map_err(|_| PeerError::Stopped)?,
                () = tokio::time::sleep_until(next.min(end)) => {}
            }
            let now = Instant::now();
            if attempts.is_empty() && now >= give_up.min(end) {
                return Err(self.unreachable().await);
            }
            if now >= end {
                return Err(PeerError::TimedOut { node: self.node.clone(), limit: self.limit });
            }
        }
    }

    /// A large archive leaves the request and travels behind it on a connection of its own.
    fn take_payload(&mut self) -> Result<Option<Arc<Vec<u8>>>, PeerError> {
        let Some(archive) = self.request.body.archive() else { return Ok(None) };
        let length = archive.len();
        if length > PAYLOAD_MAX {
            return Err(PeerError::TooLarge { length, max: PAYLOAD_MAX });
        }
        if length < BULK_MIN {
            return Ok(None);
        }
        let payload = std::mem::take(archive);
        self.request.payload = true;
        Ok(Some(Arc::new(payload)))
    }

    /// A request that an earlier life of the peer may have carried out is not given to a new one.
    fn check_life(&mut self, route: &Route) -> Result<(), PeerError> {
        match self.begun {
            Some(life) if life != route.incarnation => {
                Err(PeerError::Restarted { node: self.node.clone() })
            }
            _ => {
                self.begun = Some(route.incarnation);
                Ok(())
            }
        }
    }

    async fn routes(&self) -> Result<Vec<Route>, PeerError> {
        let (answer, routes) = oneshot::channel();
        let ask = Report::Routes { node: self.node.clone(), answer };
        self.context.reports.send(ask).await.map_err(|_| PeerError::Stopped)?;
        routes.await.map_err(|_| PeerError::Stopped)?
    }

    async fn unreachable(&self) -> PeerError {
        let (answer, status) = oneshot::channel();
        // A stopped hub answers nothing: then there is nothing to add to the sentence.
        let _ = self.context.reports.send(Report::Status { answer }).await;
        let status = status.await.unwrap_or_default();
        let of_node = status.iter().filter(|lan| lan.node == *self.node);
        let (mut lans, mut why) = (Vec::new(), self.problem.clone());
        for lan in of_node {
            lans.push(format!("lan {}", lan.lan));
            why = why.or_else(|| lan.problem.clone());
        }
        PeerError::Unreachable {
            node: self.node.clone(),
            lans: if lans.is_empty() { "any lan".to_owned() } else { lans.join(", ") },
            why: why.unwrap_or_else(|| "its daemon does not answer; is the node up?".to_owned()),
        }
    }
}

async fn attempt(
    context: Arc<Context>,
    route: Route,
    request: Request,
    payload: Option<Arc<Vec<u8>>>,
) -> Attempt {
    let Some(payload) = payload else {
        return exchange(&route.connection, &request, None).await;
    };
    let connection = dial::bulk(&context, &route.target).await.map_err(|e| e.to_string())?;
    let answer = exchange(&connection, &request, Some(&payload)).await;
    connection.close(close::DONE, b"");
    answer
}

/// A request that nobody waits for any more is taken back, as far as it has not arrived yet: it
/// must not come out of a slow lan later, after newer ones.
struct Withdrawn(quinn::SendStream);

impl Drop for Withdrawn {
    fn drop(&mut self) {
        // An error says that all of it has arrived.
        let _ = self.0.reset(close::DONE);
    }
}

async fn exchange(
    connection: &quinn::Connection,
    request: &Request,
    payload: Option<&[u8]>,
) -> Attempt {
    let exchange = async {
        let (send, mut recv) = connection.open_bi().await?;
        let mut send = Withdrawn(send);
        stream::write(&mut send.0, Kind::Request, request).await?;
        if let Some(payload) = payload {
            stream::write_payload(&mut send.0, payload).await?;
        }
        // An error says that the stream has ended already: the answer below tells more.
        let _ = send.0.finish();
        stream::read(&mut recv, Kind::Answer).await
    };
    exchange.await.map_err(|error: stream::StreamError| error.to_string())
}
