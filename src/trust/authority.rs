//! The cluster's authority: made once, kept on the node that made it, signs the nodes' keys.
use super::identity::{self, ClusterId, Identity};
use super::pki::{CA_CERTIFICATE, CA_KEY, NODE_CERTIFICATE, NODE_KEY, Pki, damaged};
use super::pki::{fingerprint, read_certificate};
use super::{TrustError, files};
use crate::model::NodeName;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Validity begins long before any cluster, so that a clock that is behind (no battery, first
/// boot) does not keep a node out.
const NOT_BEFORE_YEAR: i32 = 2000;
/// A mirror that stops because nobody renewed a certificate would be our fault, and nothing renews
/// one yet: the dates are long, and the daemon's log warns in the last year.
const NODE_YEARS: i32 = 10;
const AUTHORITY_YEARS: i32 = 30;
/// Largest signing request, bytes of DER.
const REQUEST_MAX: usize = 8 * 1024;

pub(super) const CERTIFIED: &str = "certified";
const CERTIFIED_MAGIC: &str = "lockstep-certified 1";

/// One certificate that was given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Certified {
    node: NodeName,
    /// Hexadecimal blake3 of the certificate.
    digest: String,
    /// Milliseconds since 1970, for people only.
    wall_ms: i64,
}

/// Begins a cluster: a new cluster id, the authority, and the key of this first node.
/// Never overwrites keys unless `force`; then the old ones stay in `DIR.previous`.
pub fn init(dir: &Path, node: &NodeName, force: bool) -> Result<Pki, TrustError> {
    let cluster = ClusterId::random();
    let authority_key = KeyPair::generate()?;
    let authority = authority_params(cluster)?.self_signed(&authority_key)?;
    let issuer = Issuer::from_ca_cert_der(authority.der(), &authority_key)?;
    let node_key = KeyPair::generate()?;
    let identity = Identity { cluster, node: node.clone() };
    let certificate = node_params(&identity)?.signed_by(&node_key, &issuer)?;
    let files = [
        (CA_CERTIFICATE, authority.pem().into_bytes(), 0o644),
        (CA_KEY, authority_key.serialize_pem().into_bytes(), 0o600),
        (NODE_CERTIFICATE, certificate.pem().into_bytes(), 0o644),
        (NODE_KEY, node_key.serialize_pem().into_bytes(), 0o600),
    ];
    let files = files.each_ref().map(|(name, bytes, mode)| (*name, bytes.as_slice(), *mode));
    files::install_dir(dir, &files, force)?;
    Pki::load(dir)
}

/// A key made on this node and the request to certify it.
pub struct SigningRequest {
    key: KeyPair,
    der: Vec<u8>,
}

impl SigningRequest {
    pub fn new(node: &NodeName) -> Result<SigningRequest, TrustError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(node.as_str());
        let der = params.serialize_request(&key)?.der().to_vec();
        Ok(SigningRequest { key, der })
    }

    /// PKCS #10, DER. The private key is not in it.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// Stores what a join brought: the certificate for `request`'s key and the authority's.
pub fn install(
    dir: &Path,
    request: &SigningRequest,
    certificate_pem: &str,
    authority_pem: &str,
    force: bool,
) -> Result<Pki, TrustError> {
    let key = request.key.serialize_pem();
    let files = [
        (CA_CERTIFICATE, authority_pem.as_bytes(), 0o644),
        (NODE_CERTIFICATE, certificate_pem.as_bytes(), 0o644),
        (NODE_KEY, key.as_bytes(), 0o600),
    ];
    files::install_dir(dir, &files, force)?;
    Pki::load(dir)
}

/// Whether the authority's key lies in this folder of keys.
pub fn keeps_key(dir: &Path) -> bool {
    dir.join(CA_KEY).exists()
}

/// The authority with its key, on the node that holds it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    cluster: ClusterId,
    node: NodeName,
    dir: PathBuf,
}

impl Authority {
    /// Loads `ca.crt` and `ca.key`; [`TrustError::NoAuthority`] where the key is not kept.
    pub fn load(pki: &Pki) -> Result<Authority, TrustError> {
        let key_path = pki.dir().join(CA_KEY);
        if !key_path.exists() {
            return Err(TrustError::NoAuthority { path: key_path });
        }
        let pem = files::read_key(&key_path)?;
        let pem = std::str::from_utf8(&pem).map_err(|_| damaged(&key_path, "it is not text"))?;
        let key = KeyPair::from_pem(pem).map_err(|e| damaged(&key_path, &e.to_string()))?;
        let path = pki.dir().join(CA_CERTIFICATE);
        let certificate = read_certificate(&path)?;
        if !public_key_matches(&certificate, &key) {
            return Err(damaged(&key_path, "it does not belong to ca.crt"));
        }
        let certificate_pem =
            String::from_utf8(files::read(&path)?).map_err(|_| damaged(&path, "it is not text"))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Authority {
            issuer,
            certificate,
            certificate_pem,
            cluster: pki.cluster(),
            node: pki.node().clone(),
            dir: pki.dir().to_owned(),
        })
    }

    /// Certifies the key of `request_der` (PKCS #10) for `node`, keeps a record of it, and returns
    /// the certificate as PEM. Only the key is taken from the request; every name and right in it
    /// is ours.
    pub fn sign(&self, request_der: &[u8], node: &NodeName) -> Result<String, TrustError> {
        if request_der.len() > REQUEST_MAX {
            return Err(TrustError::Request { why: format!("longer than {REQUEST_MAX} bytes") });
        }
        let mut request = CertificateSigningRequestParams::from_der(&request_der.into())
            .map_err(|e| TrustError::Request { why: e.to_string() })?;
        request.params = node_params(&Identity { cluster: self.cluster, node: node.clone() })?;
        let certificate: Certificate = request.signed_by(&self.issuer)?;
        self.record(node, &certificate)?;
        Ok(certificate.pem())
    }

    /// Whether a certificate for `node` exists already: another machine may be using the name.
    pub fn has_certified(&self, node: &NodeName) -> Result<bool, TrustError> {
        Ok(*node == self.node || self.certified()?.iter().any(|past| past.node == *node))
    }

    fn certified(&self) -> Result<Vec<Certified>, TrustError> {
        files::read_list(&self.dir.join(CERTIFIED), CERTIFIED_MAGIC)
    }

    /// Written down, durably, before a certificate leaves.
    fn record(&self, node: &NodeName, certificate: &Certificate) -> Result<(), TrustError> {
        let mut certified = self.certified()?;
        certified.push(Certified {
            node: node.clone(),
            digest: blake3::hash(certificate.der()).to_hex().to_string(),
            wall_ms: jiff::Timestamp::now().as_millisecond(),
        });
        files::write_list(&self.dir.join(CERTIFIED), CERTIFIED_MAGIC, &certified)
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.certificate)
    }
}

fn authority_params(cluster: ClusterId) -> Result<CertificateParams, TrustError> {
    let mut params = dated(AUTHORITY_YEARS);
    params.distinguished_name = common_name(&format!("Lockstep cluster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn node_params(identity: &Identity) -> Result<CertificateParams, TrustError> {
    let mut params = dated(NODE_YEARS);
    params.distinguished_name = common_name(identity.node.as_str());
    params.subject_alt_names = vec![
        SanType::URI(identity.uri().try_into()?),
        SanType::DnsName(identity::server_name(&identity.node).try_into()?),
    ];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn dated(years: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    // A clock that is wildly behind must not make a certificate that is over already.
    let year = i32::from(today.year()).max(2026) + years;
    params.not_before = rcgen::date_time_ymd(NOT_BEFORE_YEAR, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 12, 31);
    params
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn public_key_matches(certificate: &CertificateDer<'_>, key: &KeyPair) -> bool {
    use x509_parser::prelude::{FromDer, X509Certificate};
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| parsed.public_key().raw == key.subject_public_key_info())
}
