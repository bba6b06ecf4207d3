//! POST of a batch as JSON; an answer 2xx means received. Redirects are not followed.
use super::message::document;
use super::outbox::Batch;
use super::secret;
use crate::config::watch::WebhookConfig;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub struct Webhook {
    uri: Uri,
    authorization: Option<HeaderValue>,
    /// `None`: plain HTTP.
    tls: Option<TlsConnector>,
}

impl Webhook {
    pub(super) fn prepare(config: &WebhookConfig) -> Result<Webhook, String> {
        let authorization = config.authorization_file.as_ref().map(|file| {
            let line = secret::read(file)?;
            let value = HeaderValue::from_str(&line);
            let mut value =
                value.map_err(|_| format!("{} holds no header value", file.display()))?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let secure = config.url.scheme_str() == Some("https");
        Ok(Webhook {
            uri: config.url.clone(),
            authorization: authorization.transpose()?,
            tls: if secure { Some(connector(config)?) } else { None },
        })
    }

    pub(super) async fn send(&self, batch: &Batch) -> Result<(), String> {
        let host = self.uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((bare, port)).await;
        let stream = stream.map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
        let request = self.request(batch)?;
        let Some(tls) = &self.tls else { return post(TokioIo::new(stream), request).await };
        let name = ServerName::try_from(bare.to_owned());
        let name = name.map_err(|_| format!("{bare:?} is no name that a certificate can have"))?;
        let stream = tls.connect(name, stream).await;
        let stream = stream.map_err(|error| format!("no TLS with {host}:{port}: {error}"))?;
        post(TokioIo::new(stream), request).await
    }

    fn request(&self, batch: &Batch) -> Result<Request<Full<Bytes>>, String> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::post(path)
            .header(HOST, host)
            .header(USER_AGENT, concat!("lockstep/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = document(batch).to_string();
        request.body(Full::new(body.into())).map_err(|error| format!("no request: {error}"))
    }
}

async fn post<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(), String>
where
    S: Read + Write + Unpin + Send + 'static,
{
    let wrong = |error: hyper::Error| format!("the receiver speaks no HTTP: {error}");
    let (mut sender, connection) = http1::handshake(stream).await.map_err(wrong)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(wrong)?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the receiver answers {status}")),
        }
    };
    // The connection has to be driven, and ends with this future. One that breaks off may have
    // brought the answer before: the exchange knows.
    tokio::pin!(exchange);
    tokio::select! {
        done = &mut exchange => done,
        _ = connection => exchange.await,
    }
}

/// Trusts the authority that is named, else those of the system.
fn connector(config: &WebhookConfig) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match &config.ca {
        Some(path) => {
            let wrong = || format!("{} holds no certificate in PEM form", path.display());
            for certificate in CertificateDer::pem_slice_iter(&secret::authority(path)?) {
                let certificate = certificate.map_err(|_| wrong())?;
                roots.add(certificate).map_err(|_| wrong())?;
            }
            if roots.is_empty() {
                return Err(wrong());
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this system has no authorities for TLS (package ca-certificates): \
                            install it, or name one with ca="
                    .to_owned());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("no TLS: {error}"))?;
    let tls = builder.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(tls)))
}
