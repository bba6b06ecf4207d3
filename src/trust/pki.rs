//! The loaded keys of this node and the TLS configurations made of them.
use super::identity::{self, Identity};
use super::{ClusterId, TrustError, files};
use crate::model::NodeName;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The link between daemons. The number is the version of its frames and messages.
pub const ALPN_PEER: &[u8] = b"lockstep-peer/1";
/// A new node asking for a certificate; the only conversation without a certificate of its own.
pub const ALPN_JOIN: &[u8] = b"lockstep-join/1";

pub(super) const CA_CERTIFICATE: &str = "ca.crt";
pub(super) const CA_KEY: &str = "ca.key";
pub(super) const NODE_CERTIFICATE: &str = "node.crt";
pub(super) const NODE_KEY: &str = "node.key";

/// Keys and certificates of this node. Everything that can be wrong with them was found by
/// [`Pki::load`]; making a configuration cannot fail.
#[derive(Clone)]
pub struct Pki {
    dir: PathBuf,
    identity: Identity,
    authority: CertificateDer<'static>,
    expires: jiff::Timestamp,
    local_secret: [u8; 32],
    client: ClientConfig,
    server_mutual: ServerConfig,
    server_optional: ServerConfig,
}

impl Pki {
    /// Reads `ca.crt`, `node.crt` and `node.key` from `dir` and checks that they belong together. A
    /// certificate whose time is over loads all the same ([`Pki::expires`] tells): peers refuse it.
    pub fn load(dir: &Path) -> Result<Pki, TrustError> {
        let path = dir.join(NODE_CERTIFICATE);
        if !path.exists() {
            return Err(TrustError::NoCluster { path });
        }
        let certificate = read_certificate(&path)?;
        let authority = read_certificate(&dir.join(CA_CERTIFICATE))?;
        let key_path = dir.join(NODE_KEY);
        let key_pem = files::read_key(&key_path)?;
        let key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|e| damaged(&key_path, &format!("it holds no private key ({e})")))?;
        let identity = Identity::of(&certificate).map_err(|e| damaged(&path, &e.to_string()))?;
        let expires = expiry(&certificate).ok_or_else(|| damaged(&path, "it has no end date"))?;
        let parts = Parts { certificate, authority: authority.clone(), key, path };
        let verifier = parts.client_verifier()?;
        parts.check_signed(verifier.as_ref())?;
        Ok(Pki {
            dir: dir.to_owned(),
            identity,
            authority,
            expires,
            local_secret: blake3::derive_key("lockstep 2026-11 local secret", &key_pem),
            client: parts.client_config()?,
            server_mutual: parts.server_config(verifier)?,
            server_optional: parts.server_config(parts.client_verifier_optional()?)?,
        })
    }

    /// Accepts only peers that show a certificate of this cluster's authority. TLS 1.3 only.
    pub fn server_config(&self, alpn: &[u8]) -> Arc<ServerConfig> {
        let mut config = self.server_mutual.clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }

    /// Shows this node's certificate and accepts only a server with one of this cluster's
    /// authority that carries the name dialled ([`Pki::server_name`]). TLS 1.3 only.
    pub fn client_config(&self, alpn: &[u8]) -> Arc<ClientConfig> {
        let mut config = self.client.clone();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }

    /// For the control port, where a new node asks to join before it has a certificate. A
    /// connection with [`ALPN_PEER`] must be closed unless [`Pki::check_peer`] accepts it.
    pub fn control_server_config(&self) -> Arc<ServerConfig> {
        let mut config = self.server_optional.clone();
        config.alpn_protocols = vec![ALPN_PEER.to_vec(), ALPN_JOIN.to_vec()];
        Arc::new(config)
    }

    /// The name to dial for `node`.
    pub fn server_name(&self, node: &NodeName) -> String {
        identity::server_name(node)
    }

    /// Node that showed `certificates`; refuses a certificate of another cluster.
    pub fn check_peer(&self, certificates: &[CertificateDer<'_>]) -> Result<NodeName, TrustError> {
        let none = || TrustError::NoIdentity { why: "none was shown".to_owned() };
        let peer = Identity::of(certificates.first().ok_or_else(none)?)?;
        if peer.cluster == self.identity.cluster {
            return Ok(peer.node);
        }
        Err(TrustError::OtherCluster {
            node: peer.node.to_string(),
            ours: self.identity.cluster,
            theirs: peer.cluster,
        })
    }

    pub fn node(&self) -> &NodeName {
        &self.identity.node
    }

    pub fn cluster(&self) -> ClusterId {
        self.identity.cluster
    }

    /// End of this node's certificate.
    pub fn expires(&self) -> jiff::Timestamp {
        self.expires
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// blake3 of the authority's certificate; a join token carries it.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.authority)
    }

    /// The same in every process of this node and in no other node: keys what a restarted daemon
    /// must be able to repeat (stateless resets of its former life).
    pub fn local_secret(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.local_secret)
    }
}

/// What the configurations are made of.
struct Parts {
    certificate: CertificateDer<'static>,
    authority: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    path: PathBuf,
}

impl Parts {
    fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
        let roots = self.roots()?;
        WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|e| damaged(&self.path, &e.to_string()))
    }

    fn client_verifier_optional(&self) -> Result<Arc<dyn ClientCertVerifier>, TrustError> {
        let roots = self.roots()?;
        WebPkiClientVerifier::builder_with_provider(roots, provider())
            .allow_unauthenticated()
            .build()
            .map_err(|e| damaged(&self.path, &e.to_string()))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, TrustError> {
        roots(&self.authority)
            .map_err(|why| damaged(&self.path.with_file_name(CA_CERTIFICATE), &why))
    }

    /// The own certificate must be one that peers will accept, apart from its dates.
    fn check_signed(&self, verifier: &dyn ClientCertVerifier) -> Result<(), TrustError> {
        match verifier.verify_client_cert(&self.certificate, &[], UnixTime::now()) {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            )) => Ok(()),
            Err(e) => Err(damaged(&self.path, &format!("ca.crt beside it did not sign it ({e})"))),
        }
    }

    /// Own certificate and the authority's: a joining node pins the latter.
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone(), self.authority.clone()]
    }

    fn client_config(&self) -> Result<ClientConfig, TrustError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots()?, provider())
            .build()
            .map_err(|e| damaged(&self.path, &e.to_string()))?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| TrustError::Crypto { why: e.to_string() })?
            .with_webpki_verifier(verifier)
            .with_client_auth_cert(self.chain(), self.key.clone_key())
            .map_err(|e| damaged(&self.path, &e.to_string()))?;
        // A resumed session would not look at the certificate again.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn server_config(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
    ) -> Result<ServerConfig, TrustError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| TrustError::Crypto { why: e.to_string() })?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain(), self.key.clone_key())
            .map_err(|e| damaged(&self.path, &e.to_string()))?;
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// ring, named explicitly: no process-wide default is set or needed.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(super) fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(|e| e.to_string())?;
    Ok(Arc::new(roots))
}

pub(super) fn fingerprint(authority: &CertificateDer<'_>) -> [u8; 32] {
    *blake3::hash(authority).as_bytes()
}

pub(super) fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, TrustError> {
    CertificateDer::from_pem_slice(&files::read(path)?)
        .map_err(|e| damaged(path, &format!("it holds no certificate ({e})")))
}

pub(super) fn damaged(path: &Path, why: &str) -> TrustError {
    TrustError::Damaged { path: path.to_owned(), why: why.to_owned() }
}

fn expiry(certificate: &CertificateDer<'_>) -> Option<jiff::Timestamp> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    jiff::Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
