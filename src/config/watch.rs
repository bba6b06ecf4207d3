//! `watch.xml`: who is told how the node and its modules stand. A node without the file tells nobody.
use super::findings::{Findings, quoted};
use super::grammar::{self, Node, notify::WATCH};
use super::mistake::{Mistakes, Note};
use super::xml;
use std::net::SocketAddr;
use std::path::Path;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchConfig {
    /// `<metrics listen=>`: where metrics and readiness are served.
    pub metrics: Option<SocketAddr>,
    pub notes: Vec<Note>,
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

#[cfg(test)]
mod tests;
