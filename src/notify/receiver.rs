//! One who is told. Secrets and authorities are read when it is made ready.
use super::command;
use super::mail::Mail;
use super::outbox::Batch;
use super::webhook::Webhook;
use crate::config::watch::{CommandConfig, ReceiverConfig};
use std::time::Duration;

/// A mail or a webhook is not waited for longer; a command has its own limit.
const SEND_LIMIT: Duration = Duration::from_secs(30);

pub struct Receiver {
    /// `mail-1`, `webhook-2` …: the kind and its number in the file.
    pub name: String,
    /// Where it goes, for people.
    pub target: String,
    kind: Kind,
}

enum Kind {
    Mail(Box<Mail>),
    Webhook(Webhook),
    Command(CommandConfig),
}

/// Makes each receiver ready, or says why it cannot be used. In the order of the file.
pub fn prepare(configs: &[ReceiverConfig]) -> Vec<(String, Result<Receiver, String>)> {
    let ready = |(name, config): (String, ReceiverConfig)| {
        let receiver = Receiver::prepare(name.clone(), &config);
        (name, receiver)
    };
    named(configs).into_iter().map(ready).collect()
}

/// What each is called. In the order of the file.
pub fn named(configs: &[ReceiverConfig]) -> Vec<(String, ReceiverConfig)> {
    let mut numbers = [0; 3];
    let named = configs.iter().map(|config| {
        let (index, word) = match config {
            ReceiverConfig::Mail(_) => (0, "mail"),
            ReceiverConfig::Webhook(_) => (1, "webhook"),
            ReceiverConfig::Command(_) => (2, "command"),
        };
        numbers[index] += 1;
        (format!("{word}-{}", numbers[index]), config.clone())
    });
    named.collect()
}

impl Receiver {
    /// Reads the files that it needs.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn prepare(name: String, config: &ReceiverConfig) -> Result<Receiver, String> {
        let (target, kind) = match config {
            ReceiverConfig::Mail(mail) => {
                let to: Vec<String> = mail.to.iter().map(ToString::to_string).collect();
                let target = format!("{} through {}:{}", to.join(", "), mail.server, mail.port);
                (target, Kind::Mail(Box::new(Mail::prepare(mail)?)))
            }
            // Without the query: it may hold a key.
            ReceiverConfig::Webhook(webhook) => {
                let scheme = webhook.url.scheme_str().unwrap_or_default();
                let host = webhook.url.authority().map_or("", |authority| authority.as_str());
                let target = format!("{scheme}://{host}{}", webhook.url.path());
                (target, Kind::Webhook(Webhook::prepare(webhook)?))
            }
            ReceiverConfig::Command(command) => {
                (command.path.display().to_string(), Kind::Command(command.clone()))
            }
        };
        Ok(Receiver { name, target, kind })
    }

    /// # Errors
    /// Nobody has confirmed the batch; one sentence.
    pub async fn send(&self, batch: &Batch) -> Result<(), String> {
        let sending = async {
            match &self.kind {
                Kind::Mail(mail) => mail.send(batch).await,
                Kind::Webhook(webhook) => webhook.send(batch).await,
                Kind::Command(config) => return command::send(config, batch).await,
            }
        };
        if matches!(self.kind, Kind::Command(_)) {
            return sending.await;
        }
        let late = || Err(format!("no answer within {SEND_LIMIT:?}"));
        tokio::time::timeout(SEND_LIMIT, sending).await.unwrap_or_else(|_| late())
    }
}
