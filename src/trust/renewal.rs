//! What a person does about a node's certificate that ends: the same words wherever it is told.
use super::authority::CERTIFIED;
use super::pki::CA_KEY;
use crate::model::NodeName;
use jiff::Timestamp;

/// Days before the end from which on somebody is told.
pub const CERTIFICATE_DAYS: i64 = 30;

/// Whole days until the end, rounded down: below 0 from the moment of the end.
pub fn days_left(expires: Timestamp, now: Timestamp) -> i64 {
    (expires.as_second() - now.as_second()).div_euclid(86_400)
}

/// The commands for a new certificate. `keeps_key`: the authority's key is on this node, and only
/// there; a node does not let itself in.
pub fn renewal(node: &NodeName, keeps_key: bool) -> String {
    let (first, holder) = match keeps_key {
        // Whom it has certified goes along, or the other would let anybody in under a known name.
        true => (
            format!(
                "this node keeps the authority's key and does not let itself in: copy {CA_KEY} and \
                 {CERTIFIED} beside the ca.crt of another node (/etc/lockstep/pki, mode 600); "
            ),
            "that node".to_owned(),
        ),
        false => (String::new(), format!("the node that keeps {CA_KEY}")),
    };
    format!(
        "{first}lockstep cluster token on {holder}, then here lockstep cluster join ADDRESS --token \
         CODE --node {node} --replace --force, and restart the daemon"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_has_ended_has_less_than_no_days_left() {
        let at = |second: i64| Timestamp::from_second(1_000_000_000 + second).unwrap();
        let left = |second: i64| days_left(at(0), at(second));
        assert_eq!([left(-86_400), left(-86_399), left(0), left(1)], [1, 0, 0, -1]);
    }
}
