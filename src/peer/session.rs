//! One connection to one node over one lan, from the first frame to its end.
use super::context::{Context, Link, Report};
use super::frame::{self, Kind};
use super::inbox::{Age, Arrival};
use super::message::{Answer, Heartbeat, Hello, Purpose, Request, RequestBody, RequestId};
use super::stream::{self, StreamError};
use super::transport::close;
use super::{PeerEvent, Reply, cluster};
use crate::model::{NodeName, PeerMessage, PeerReply};
use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

/// How long the frames that introduce two nodes may take.
pub(super) const HELLO_LIMIT: Duration = Duration::from_secs(2);
/// How long a request may take to arrive once its stream is open.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// What this node says of itself.
pub(super) fn own_hello(context: &Context, lan: &str, purpose: Purpose) -> Hello {
    Hello {
        node: context.node.clone(),
        lan: lan.to_owned(),
        purpose,
        boot: context.boot,
        incarnation: context.incarnation,
        version: context.version.clone(),
        cluster_digest: context.digest.borrow().clone(),
    }
}

/// Heartbeats and requests of a link, until it ends. Both sides run the same.
pub(super) async fn run(context: Arc<Context>, connection: Connection, theirs: Hello) {
    let (node, lan) = (theirs.node.clone(), theirs.lan.clone());
    let link = Link::new(connection.clone(), theirs);
    if context.reports.send(Report::Up(Box::new(link))).await.is_err() {
        return;
    }
    let beat = tokio::spawn(send_heartbeats(context.clone(), connection.clone()));
    let broken = tokio::select! {
        broken = hear_heartbeats(&context, &connection, &node, &lan) => broken,
        () = accept_requests(context.clone(), connection.clone(), node.clone()) => None,
    };
    beat.abort();
    if let Some(text) = broken {
        connection.close(close::BROKEN, text.as_bytes());
    }
    let reason = end_of(&connection.closed().await);
    let down = Report::Down { node, lan, connection: connection.stable_id(), reason };
    // Fails only when the whole link part has been stopped.
    let _ = context.reports.send(down).await;
}

async fn send_heartbeats(context: Arc<Context>, connection: Connection) {
    let mut pulse = context.pulse.subscribe();
    let mut counter = 0;
    loop {
        let gap = *pulse.borrow_and_update();
        let mut timer = tokio::time::interval(gap);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = timer.tick() => {}
                changed = pulse.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
            counter += 1;
            let heartbeat = Heartbeat {
                boot: context.boot,
                incarnation: context.incarnation,
                counter,
                cluster_digest: context.digest.borrow().clone(),
            };
            // A heartbeat is far below the limit of a frame, and a link that cannot send one is
            // ending: its end is seen by the other half of the session.
            let Ok(bytes) = frame::encode(Kind::Heartbeat, &heartbeat) else { return };
            if connection.send_datagram(bytes.into()).is_err() {
                return;
            }
        }
    }
}

/// Ends with the connection (`None`) or with what is wrong with the peer's bytes.
async fn hear_heartbeats(
    context: &Context,
    connection: &Connection,
    node: &NodeName,
    lan: &str,
) -> Option<String> {
    while let Ok(bytes) = connection.read_datagram().await {
        let heartbeat: Heartbeat = match frame::decode(Kind::Heartbeat, &bytes) {
            Ok(heartbeat) => heartbeat,
            Err(error) => return Some(format!("the heartbeat cannot be read: {error}")),
        };
        let heard = Report::Heard {
            node: node.clone(),
            lan: lan.to_owned(),
            connection: connection.stable_id(),
            heartbeat,
        };
        // When the hub is behind, one heartbeat less is no loss: the next one says the same.
        if let Err(mpsc::error::TrySendError::Closed(_)) = context.reports.try_send(heard) {
            return None;
        }
    }
    None
}

/// Serves each request on its own task, so that none waits for another.
pub(super) async fn accept_requests(context: Arc<Context>, connection: Connection, node: NodeName) {
    while let Ok((send, recv)) = connection.accept_bi().await {
        let (context, node) = (context.clone(), node.clone());
        tokio::spawn(async move {
            if let Err(error) = serve(context, &node, send, recv).await {
                tracing::debug!(%node, %error, "request not served");
            }
        });
    }
}

async fn serve(
    context: Arc<Context>,
    node: &NodeName,
    mut send: SendStream,
    mut recv: RecvStream,
) -> Result<(), StreamError> {
    let arriving = tokio::time::timeout(REQUEST_LIMIT, read_request(&mut recv));
    let Ok(request) = arriving.await else { return Ok(()) };
    let request = request?;
    let answer = answer_once(context, node, request).await;
    stream::write_last(&mut send, Kind::Answer, &*answer).await
}

async fn read_request(recv: &mut RecvStream) -> Result<Request, StreamError> {
    let mut request: Request = stream::read(recv, Kind::Request).await?;
    if request.payload {
        let payload = stream::read_payload(recv).await?;
        if let Some(archive) = request.body.archive() {
            *archive = payload;
        }
    }
    Ok(request)
}

/// Carries `request` out unless it was here before; the answer is the same either way.
async fn answer_once(context: Arc<Context>, node: &NodeName, request: Request) -> Arc<Answer> {
    let id = request.id;
    let arrival = context.inbox().arrive(id);
    let mut waiting = match arrival {
        Arrival::Repeated(waiting) => waiting,
        Arrival::Forgotten => {
            let reason = "the request was answered long ago".to_owned();
            return Arc::new(Answer::Failed { reason });
        }
        Arrival::Fresh => {
            let node = node.clone();
            // On a task of its own: it goes on although this stream may end, and its answer is
            // there for the next attempt.
            let work = tokio::spawn(async move {
                let answer = Arc::new(carry_out(&context, &node, id, request.body).await);
                context.inbox().answered(id, answer.clone());
                answer
            });
            return work.await.unwrap_or_else(|_| {
                Arc::new(Answer::Failed { reason: "the request was broken off".to_owned() })
            });
        }
    };
    let answer = match waiting.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone(),
        Err(_) => None,
    };
    answer.unwrap_or_else(|| {
        Arc::new(Answer::Failed { reason: "the request is forgotten".to_owned() })
    })
}

async fn carry_out(
    context: &Arc<Context>,
    node: &NodeName,
    id: RequestId,
    body: RequestBody,
) -> Answer {
    let nobody = |_| Answer::Failed { reason: "its daemon gave no answer".to_owned() };
    match body {
        RequestBody::Module { message } => {
            let age = context.inbox().deliver(id, message.module());
            // A report from before a good-bye must not bring the peer back to life.
            if age == Age::Overtaken && matches!(message, PeerMessage::Report(_)) {
                return Answer::Module { reply: PeerReply::Done };
            }
            let (reply, answer) = oneshot::channel();
            let event = PeerEvent::Message { node: node.clone(), message, reply: Reply(reply) };
            context.tell(event).await;
            answer.await.map_or_else(nobody, |reply| Answer::Module { reply })
        }
        RequestBody::Call { call: request } => {
            let (reply, answer) = oneshot::channel();
            let event = PeerEvent::Call { node: node.clone(), request, reply: Reply(reply) };
            context.tell(event).await;
            answer.await.map_or_else(nobody, |r| Answer::Call { response: Box::new(r) })
        }
        RequestBody::Cluster { text } => match cluster::apply(context, text, node).await {
            Ok(digest) => Answer::Cluster { digest },
            Err(error) => Answer::Failed { reason: error.to_string() },
        },
    }
}

/// Why a link ended, for people.
pub(super) fn end_of(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(closed) if closed.error_code == close::STOPPED => {
            "its daemon stops".to_owned()
        }
        ConnectionError::ApplicationClosed(closed) if closed.error_code == close::CHANGED => {
            "cluster.xml changed".to_owned()
        }
        ConnectionError::ApplicationClosed(closed) if closed.error_code == close::REPLACED => {
            "a newer connection took its place".to_owned()
        }
        ConnectionError::ApplicationClosed(closed) => {
            format!("it closed the link: {}", String::from_utf8_lossy(&closed.reason))
        }
        ConnectionError::Reset => "its daemon was restarted".to_owned(),
        ConnectionError::TimedOut => "nothing was heard".to_owned(),
        ConnectionError::LocallyClosed => "closed by this node".to_owned(),
        other => other.to_string(),
    }
}
