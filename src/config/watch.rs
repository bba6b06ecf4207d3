//! `watch.xml`: who is told how the node and its modules stand. Without it, nobody is.
use super::findings::{Findings, quoted};
use super::grammar::{self, Node, watch::WATCH};
use super::mistake::{Mistakes, Note};
use super::xml;
use hyper::Uri;
use lettre::Address;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More receivers than this belong behind one of them.
const RECEIVERS_MAX: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchConfig {
    /// `<metrics listen=>`: where metrics and readiness are served.
    pub metrics: Option<SocketAddr>,
    /// Who gets events, in the order of the file.
    pub receivers: Vec<ReceiverConfig>,
    pub notes: Vec<Note>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverConfig {
    Mail(MailConfig),
    Webhook(WebhookConfig),
    Command(CommandConfig),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailConfig {
    pub server: String,
    pub port: u16,
    pub tls: MailTls,
    pub from: Address,
    pub to: Vec<Address>,
    /// Name, and the file that holds the password.
    pub credentials: Option<(String, PathBuf)>,
    /// Trusted in place of the system's authorities.
    pub ca: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    None,
    StartTls,
    Tls,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// `http` or `https`, with a host.
    pub url: Uri,
    /// Holds the value of the header `Authorization`.
    pub authorization_file: Option<PathBuf>,
    pub ca: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandConfig {
    pub path: PathBuf,
    pub timeout: Duration,
}

impl WatchConfig {
    /// Reads and checks the file. All mistakes at once.
    pub fn load(path: &Path) -> Result<WatchConfig, Mistakes> {
        WatchConfig::parse(path, &xml::read_text(path)?)
    }

    /// The same for text that is already here; `file` is only a name for messages.
    pub fn parse(file: &Path, text: &str) -> Result<WatchConfig, Mistakes> {
        let mut findings = Findings::new(file, text);
        let tree = xml::parse(text, "watch", &mut findings);
        let mut config = WatchConfig::default();
        if let Some(tree) = &tree {
            grammar::check(tree, &WATCH, &WATCH, &mut findings);
            let root = Node { element: tree, rule: &WATCH };
            config.metrics = root.child("metrics").and_then(|node| listen(node, &mut findings));
            config.receivers = receivers(root, &mut findings);
        }
        config.notes = findings.finish()?;
        Ok(config)
    }
}

/// An address of this node with a port: whoever listens everywhere has written so.
fn listen(node: Node<'_>, findings: &mut Findings) -> Option<SocketAddr> {
    let text = node.given("listen")?;
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Some(address),
        _ => {
            let expected = "listen= to be an IP address with a port";
            let remedy = "write it as 127.0.0.1:9184 or [::1]:9184";
            findings.mistake(node.at("listen"), "metrics", expected, quoted(text), remedy);
            None
        }
    }
}

fn receivers(root: Node<'_>, findings: &mut Findings) -> Vec<ReceiverConfig> {
    let mut receivers: Vec<(usize, ReceiverConfig)> = Vec::new();
    for node in root.children("mail") {
        receivers.extend(
            mail(node, findings).map(|receiver| (node.element.at, ReceiverConfig::Mail(receiver))),
        );
    }
    for node in root.children("webhook") {
        let receiver = webhook(node, findings);
        receivers
            .extend(receiver.map(|receiver| (node.element.at, ReceiverConfig::Webhook(receiver))));
    }
    for node in root.children("command") {
        // A refused path is a mistake already.
        let path = node.given("path").map(PathBuf::from).unwrap_or_default();
        let receiver = CommandConfig { path, timeout: node.time("timeout") };
        receivers.push((node.element.at, ReceiverConfig::Command(receiver)));
    }
    if receivers.len() > RECEIVERS_MAX {
        let (expected, found) =
            (format!("at most {RECEIVERS_MAX} receivers"), receivers.len().to_string());
        findings.mistake(root.element.at, "watch", expected, found, "let one pass events on");
    }
    receivers.sort_by_key(|(at, _)| *at);
    receivers.into_iter().map(|(_, receiver)| receiver).collect()
}

fn mail(node: Node<'_>, findings: &mut Findings) -> Option<MailConfig> {
    let (tls, usual_port) = match node.text("tls") {
        "none" => (MailTls::None, 25),
        "tls" => (MailTls::Tls, 465),
        _ => (MailTls::StartTls, 587),
    };
    let port = node.given("port").map_or(usual_port, |_| node.count("port") as u16);
    let credentials = match (node.given("user"), node.given("password_file")) {
        (Some(user), Some(file)) => Some((user.to_owned(), PathBuf::from(file))),
        (None, None) => None,
        (user, _) => {
            let (given, missing) = match user {
                Some(_) => ("user", "password_file"),
                None => ("password_file", "user"),
            };
            let (expected, remedy) = (format!("{missing}= beside {given}="), "give both or none");
            findings.mistake(node.element.at, "mail", expected, "none", remedy);
            None
        }
    };
    if credentials.is_some() && tls == MailTls::None {
        let expected = "tls= to be starttls or tls where a password is sent";
        let remedy = "leave user= and password_file= away, or protect the connection";
        findings.mistake(node.at("tls"), "mail", expected, quoted("none"), remedy);
    }
    let from = addresses(node, "from", findings);
    let to = addresses(node, "to", findings);
    if from.len() > 1 {
        let found = from.len().to_string();
        findings.mistake(node.at("from"), "mail", "one sender", found, "leave one");
    }
    Some(MailConfig {
        server: node.text("server").trim_matches(['[', ']']).to_owned(),
        port,
        tls,
        from: from.into_iter().next()?,
        to,
        credentials,
        ca: node.given("ca").map(PathBuf::from),
    })
}

/// Mail addresses with commas between them.
fn addresses(node: Node<'_>, name: &str, findings: &mut Findings) -> Vec<Address> {
    let Some(text) = node.given(name) else { return Vec::new() };
    let mut addresses = Vec::new();
    for part in text.split(',').map(str::trim) {
        match part.parse::<Address>() {
            Ok(address) => addresses.push(address),
            Err(_) => {
                let expected = format!("{name}= to be mail addresses");
                let remedy = "write them as ops@example.org, with commas between them";
                findings.mistake(node.at(name), "mail", expected, quoted(part), remedy);
            }
        }
    }
    addresses
}

fn webhook(node: Node<'_>, findings: &mut Findings) -> Option<WebhookConfig> {
    let text = node.given("url")?;
    let uri = text.parse::<Uri>().ok().filter(|uri| {
        let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && !user
    });
    let Some(url) = uri else {
        let expected = "url= to be an address of http or https, without user and password";
        let remedy = "write it as https://host/path; a password belongs into authorization_file=";
        findings.mistake(node.at("url"), "webhook", expected, quoted(text), remedy);
        return None;
    };
    let plain = url.scheme_str() == Some("http");
    for name in ["authorization_file", "ca"] {
        if plain && node.given(name).is_some() {
            let expected = format!("https in url= beside {name}=");
            let remedy = format!("use https, or leave {name}= away");
            findings.mistake(node.at(name), "webhook", expected, "http", remedy);
        }
    }
    let path = |name| node.given(name).map(PathBuf::from);
    Some(WebhookConfig { authorization_file: path("authorization_file"), ca: path("ca"), url })
}

#[cfg(test)]
mod tests;
