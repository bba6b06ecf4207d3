//! A batch as one mail, given to an SMTP server.
use super::message::{body, subject};
use super::outbox::Batch;
use super::secret;
use crate::config::watch::{MailConfig, MailTls};
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use std::time::Duration;

/// For each step of the conversation.
const STEP_LIMIT: Duration = Duration::from_secs(10);

pub struct Mail {
    config: MailConfig,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Mail {
    pub(super) fn prepare(config: &MailConfig) -> Result<Mail, String> {
        let tls = match config.tls {
            MailTls::None => Tls::None,
            // Required: one who takes STARTTLS out of the conversation gets nothing.
            MailTls::StartTls => Tls::Required(parameters(config)?),
            MailTls::Tls => Tls::Wrapper(parameters(config)?),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.server)
            .port(config.port)
            .tls(tls)
            .timeout(Some(STEP_LIMIT));
        if let Some((user, file)) = &config.credentials {
            transport = transport.credentials(Credentials::new(user.clone(), secret::read(file)?));
        }
        Ok(Mail { config: config.clone(), transport: transport.build() })
    }

    pub(super) async fn send(&self, batch: &Batch) -> Result<(), String> {
        let host = self.config.from.domain();
        let mut message = Message::builder()
            .from(Mailbox::new(Some("Lockstep".to_owned()), self.config.from.clone()))
            .subject(subject(batch))
            .message_id(Some(format!("<{}@{host}>", batch.id)))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.config.to {
            message = message.to(Mailbox::new(None, to.clone()));
        }
        let message = message.body(body(batch)).map_err(|error| format!("no mail: {error}"))?;
        let sent = self.transport.send(message).await;
        sent.map(drop)
            .map_err(|error| format!("{}:{}: {error}", self.config.server, self.config.port))
    }
}

fn parameters(config: &MailConfig) -> Result<TlsParameters, String> {
    let mut parameters = TlsParameters::builder(config.server.clone());
    if let Some(path) = &config.ca {
        let certificate = Certificate::from_pem(&secret::authority(path)?)
            .map_err(|_| format!("{} holds no certificate in PEM form", path.display()))?;
        parameters =
            parameters.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    parameters.build_rustls().map_err(|error| format!("no TLS for mail: {error}"))
}
