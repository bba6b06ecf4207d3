//! What a person does about a node's certificate that ends: the same words wherever it is told.
use crate::model::NodeName;

/// Days before the end from which on somebody is told.
pub const CERTIFICATE_DAYS: i64 = 30;

/// The commands for a new certificate. `keeps_key`: the authority's key is on this node, and only
/// there; a node does not let itself in.
pub fn renewal(node: &NodeName, keeps_key: bool) -> String {
    let (first, holder) = match keeps_key {
        true => (
            "this node keeps the authority's key and does not let itself in: copy ca.key beside the \
             ca.crt of another node (/etc/lockstep/pki, mode 600); ",
            "that node",
        ),
        false => ("", "the node that keeps ca.key"),
    };
    format!(
        "{first}lockstep cluster token on {holder}, then here lockstep cluster join ADDRESS --token \
         CODE --node {node} --replace --force, and restart the daemon"
    )
}
