//! What a certificate says: cluster and node, written as one URI in its alternative names.
use super::TrustError;
use crate::model::NodeName;
use rustls::pki_types::CertificateDer;
use std::fmt;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Suffix of the DNS name that is dialled. `.invalid` can never be resolved (RFC 2606).
const DNS_SUFFIX: &str = ".lockstep.invalid";
const URI_SCHEME: &str = "lockstep://";

/// One cluster, drawn at random by `lockstep cluster init`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId(u128);

impl ClusterId {
    pub fn random() -> ClusterId {
        ClusterId(rand::random())
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<ClusterId> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if digits { u128::from_str_radix(text, 16).ok().map(ClusterId) } else { None }
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The pair that a node's certificate proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub node: NodeName,
}

impl Identity {
    /// `lockstep://CLUSTER/NODE`.
    pub fn uri(&self) -> String {
        format!("{URI_SCHEME}{}/{}", self.cluster, self.node)
    }

    fn parse_uri(uri: &str) -> Option<Identity> {
        let (cluster, node) = uri.strip_prefix(URI_SCHEME)?.split_once('/')?;
        Some(Identity { cluster: ClusterId::parse(cluster)?, node: NodeName::new(node).ok()? })
    }

    /// Reads the identity out of a certificate. Says nothing about who signed it.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Identity, TrustError> {
        let no = |why: &str| TrustError::NoIdentity { why: why.to_owned() };
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|_| no("it is not an X.509 certificate"))?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|_| no("its alternative names cannot be read"))?
            .ok_or_else(|| no("it has no alternative names"))?;
        let mut found = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Identity::parse_uri(uri),
            _ => None,
        });
        match (found.next(), found.next()) {
            (Some(identity), None) => Ok(identity),
            (None, _) => Err(no("it names no lockstep://CLUSTER/NODE")),
            (Some(_), Some(_)) => Err(no("it names several nodes")),
        }
    }
}

/// Name of the node that showed `certificates` (its own first, as TLS gives them). The chain has
/// been verified by the handshake; [`super::Pki::check_peer`] compares the cluster as well.
pub fn peer_node(certificates: &[CertificateDer<'_>]) -> Result<NodeName, TrustError> {
    let first = certificates
        .first()
        .ok_or_else(|| TrustError::NoIdentity { why: "none was shown".to_owned() })?;
    Identity::of(first).map(|identity| identity.node)
}

/// DNS name under which `node` is dialled. A node name may hold what a DNS label may not (case,
/// `_.`, 64 bytes), so the label is a digest of it; people read the URI.
pub(super) fn server_name(node: &NodeName) -> String {
    let digest = blake3::hash(node.as_str().as_bytes()).to_hex();
    format!("n{}{DNS_SUFFIX}", &digest.as_str()[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_holds_cluster_and_node() {
        let identity =
            Identity { cluster: ClusterId::random(), node: NodeName::new("n1").unwrap() };
        assert_eq!(Identity::parse_uri(&identity.uri()), Some(identity));
        for bad in ["", "lockstep://", "lockstep://12/n1", "lockstep:///n1", "https://a/b"] {
            assert_eq!(Identity::parse_uri(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_node_name_gives_a_name_that_can_be_dialled() {
        for name in ["n1", "N1", "a_b", "x.", "1", &"y".repeat(64)] {
            let dns = server_name(&NodeName::new(name).unwrap());
            assert!(rustls::pki_types::ServerName::try_from(dns.clone()).is_ok(), "{dns}");
        }
        let name = |text| server_name(&NodeName::new(text).unwrap());
        assert_ne!(name("n1"), name("N1"));
    }
}
