//! `-H`: one request, many nodes. The daemon that was asked sends the request on to the others,
//! all at the same time, and answers one line per node in the order that was asked for.
use super::request::{Nodes, Request};
use super::response::{Exit, Reply, Response};
use super::server::{Handler, Replies};
use crate::model::NodeName;
use futures_util::future::{BoxFuture, join_all};
use std::sync::Arc;

/// The other daemons, as far as this needs them.
pub trait Remote: Send + Sync + 'static {
    /// This node; `None` before the node belongs to a cluster.
    fn me(&self) -> Option<NodeName>;
    /// Every node of the cluster, this one included, in the order of `cluster.xml`.
    fn nodes(&self) -> Vec<NodeName>;
    /// Asks the daemon of another node; the error is one sentence for people.
    fn call(&self, node: NodeName, request: Request) -> BoxFuture<'_, Result<Response, String>>;
}

/// Knows the other nodes: local requests go to the local handler, all others are spread.
pub struct Fanout {
    local: Arc<dyn Handler>,
    remote: Arc<dyn Remote>,
}

impl Fanout {
    pub fn new(local: Arc<dyn Handler>, remote: Arc<dyn Remote>) -> Fanout {
        Fanout { local, remote }
    }

    /// The nodes that are meant, or the sentence why one of them cannot be.
    fn targets(&self, nodes: &Nodes) -> Result<Vec<NodeName>, Response> {
        let known = self.remote.nodes();
        let targets = match nodes {
            Nodes::Local => Vec::new(),
            Nodes::All => known.clone(),
            Nodes::Named(named) => named.clone(),
        };
        if let Some(unknown) = targets.iter().find(|node| !known.contains(node)) {
            let names: Vec<&str> = known.iter().map(NodeName::as_str).collect();
            return Err(Response::refused(
                "unknown-node",
                format!("node {unknown} is not in cluster.xml; nodes are: {}", names.join(", ")),
                Exit::Usage,
            ));
        }
        if targets.is_empty() {
            return Err(Response::refused(
                "no-cluster",
                "no node is meant: this node belongs to no cluster yet; \
                 run `lockstep cluster init` or `lockstep cluster join` first",
                Exit::Usage,
            ));
        }
        Ok(targets)
    }

    async fn one(&self, node: NodeName, request: Request) -> Reply {
        if self.remote.me().as_ref() == Some(&node) {
            let response = self.local.handle(request, Replies::none()).await;
            return Reply { node: Some(node), last: false, response };
        }
        let response = match self.remote.call(node.clone(), request).await {
            Ok(response) => response,
            Err(error) => Response::refused(
                "node-unreachable",
                format!("node {node} did not answer: {error}; see `lockstep cluster state`"),
                Exit::NoPeer,
            ),
        };
        Reply { node: Some(node), last: false, response }
    }

    /// Answers one request, for this node or spread; the last line is returned.
    pub async fn answer(&self, mut request: Request, replies: Replies) -> Reply {
        if request.nodes == Nodes::Local {
            let response = self.local.handle(request, replies).await;
            return Reply { node: self.remote.me(), last: true, response };
        }
        let targets = match self.targets(&request.nodes) {
            Ok(targets) => targets,
            Err(response) => return Reply { node: self.remote.me(), last: true, response },
        };
        request.nodes = Nodes::Local;
        request.origin.node = request.origin.node.or_else(|| self.remote.me());
        let calls = targets.into_iter().map(|node| self.one(node, request.clone()));
        let mut answers = join_all(calls).await;
        // `targets` is never empty, so there is a last one.
        let last = answers.pop().unwrap_or_else(|| Reply {
            node: self.remote.me(),
            last: true,
            response: Response::ok(),
        });
        for answer in answers {
            replies.send(answer).await;
        }
        last
    }
}
