//! What is shown of a node in one moment.
use crate::api::ModuleView;
use crate::model::{ModuleName, NodeName, Readiness};
use jiff::Timestamp;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    pub version: String,
    /// `None`: the node belongs to no cluster yet.
    pub node: Option<NodeName>,
    /// End of the node's own certificate.
    pub certificate_expires: Option<Timestamp>,
    /// The key of the cluster's authority is on this node.
    pub keeps_key: bool,
    /// The other nodes, and whether their daemons are linked with this one.
    pub nodes: Vec<(NodeName, bool)>,
    pub modules: Vec<ModulePicture>,
    pub receivers: Vec<ReceiverPicture>,
}

/// How telling one receiver of `watch.xml` goes; events since it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverPicture {
    /// `mail-1`, `webhook-1` …
    pub name: String,
    pub delivered: u64,
    /// Attempts.
    pub failures: u64,
    pub dropped: u64,
    pub waiting: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModulePicture {
    pub view: ModuleView,
    /// Since when no other node could take over; `None`: one could, or nothing runs here.
    pub redundancy_lost: Option<Timestamp>,
}

impl Picture {
    /// What a load balancer wants to know: does the application answer here.
    pub fn is_ready(&self, module: &str) -> bool {
        let named = |known: &ModuleName| known.as_str() == module;
        self.modules.iter().any(|shown| {
            let state = shown.view.state;
            named(&shown.view.module)
                && state.role.is_primary()
                && state.readiness == Readiness::Ready
        })
    }
}
