//! Two and three daemons' links in one process, over loopback addresses of their own.
//!
//! Goal: every promise of the link is seen from outside, through handles and events only; cuts are
//! made by a proxy that drops packets, deaths by taking a node's runtime away.
mod joining;
mod links;
mod proxy;
mod pushing;
mod refusing;

use super::{PeerError, PeerEvent, PeerSetup, Peers, PeersHandle, cluster};
use crate::config::cluster::ClusterConfig;
use crate::config::paths::Paths;
use crate::model::{BootId, NodeName};
use crate::trust::{self, Authority, Pki, SigningRequest};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// A condition that is not met by now will not be met. Generous: the machine may be busy.
const LIMIT: Duration = Duration::from_secs(20);

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

/// A part of 127/8 and a port that no other test uses.
struct Net {
    base: [u8; 2],
    port: u16,
}

impl Net {
    fn new() -> Net {
        let random: [u8; 4] = rand::random();
        let base = [random[0] % 250 + 1, random[1]];
        Net { base, port: 20_000 + u16::from_le_bytes([random[2], random[3]]) % 10_000 }
    }

    fn ip(&self, last: u8) -> IpAddr {
        Ipv4Addr::new(127, self.base[0], self.base[1], last).into()
    }

    /// `cluster.xml` with `(lan, [(node, last byte of the address)])`.
    fn xml(&self, lans: &[(&str, &[(&str, u8)])]) -> String {
        let mut text = format!("<cluster><lans port=\"{}\" pulse=\"100\">", self.port);
        for (lan, nodes) in lans {
            text += &format!("<lan name=\"{lan}\">");
            for (node, last) in *nodes {
                text += &format!("<node name=\"{node}\" addr=\"{}\"/>", self.ip(*last));
            }
            text += "</lan>";
        }
        text + "</lans></cluster>"
    }
}

/// Keys of a cluster whose first node is `n1`.
struct Cluster {
    dir: tempfile::TempDir,
    net: Net,
}

impl Cluster {
    fn new() -> Cluster {
        let cluster = Cluster { dir: tempfile::tempdir().unwrap(), net: Net::new() };
        trust::init(&cluster.paths("n1").pki(), &node("n1"), false).unwrap();
        cluster
    }

    fn paths(&self, name: &str) -> Paths {
        Paths::below(&self.dir.path().join(name))
    }

    fn pki(&self, name: &str) -> Pki {
        Pki::load(&self.paths(name).pki()).unwrap()
    }

    /// Gives `name` keys and the cluster's file, and starts its link.
    async fn start(&self, name: &str, xml: &str) -> Running {
        let paths = self.paths(name);
        if !paths.pki().exists() {
            let authority = Authority::load(&self.pki("n1")).unwrap();
            let request = SigningRequest::new(&node(name)).unwrap();
            let certificate = authority.sign(request.der(), &node(name)).unwrap();
            let ca = authority.certificate_pem();
            trust::install(&paths.pki(), &request, &certificate, ca, false).unwrap();
        }
        cluster::install(&paths.cluster_xml(), xml, &node(name)).unwrap();
        start(&paths, BootId(1)).await
    }
}

struct Running {
    handle: PeersHandle,
    events: mpsc::Receiver<PeerEvent>,
}

/// Starts the link of the node whose files are below `paths`.
async fn start(paths: &Paths, boot: BootId) -> Running {
    try_start(paths, boot).await.unwrap()
}

async fn try_start(paths: &Paths, boot: BootId) -> Result<Running, PeerError> {
    let pki = Pki::load(&paths.pki()).unwrap();
    let setup = PeerSetup {
        node: pki.node().clone(),
        boot,
        cluster: ClusterConfig::load(&paths.cluster_xml()).unwrap(),
        pki,
        paths: paths.clone(),
        version: "test".to_owned(),
    };
    let (handle, events) = Peers::start(setup).await?;
    Ok(Running { handle, events })
}

impl Running {
    /// The first event that `wanted` accepts; others are passed over.
    async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(PeerEvent) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the link ended");
                let text = format!("{event:?}");
                match wanted(event) {
                    Some(found) => return found,
                    None if text.starts_with("Heard") => {}
                    None => seen.push(text),
                }
            }
        };
        let found = tokio::time::timeout(LIMIT, search).await;
        found.unwrap_or_else(|_| panic!("{what} did not happen; seen: {seen:#?}"))
    }

    async fn connected(&mut self, name: &str, on: &str) {
        self.until(&format!("link to {name} on {on}"), |event| match event {
            PeerEvent::Connected { node, lan, .. } => {
                (node.as_str() == name && lan == on).then_some(())
            }
            _ => None,
        })
        .await
    }

    async fn disconnected(&mut self, name: &str, on: &str) -> String {
        self.until(&format!("end of the link to {name} on {on}"), |event| match event {
            PeerEvent::Disconnected { node, lan, reason, .. } => {
                (node.as_str() == name && lan == on).then_some(reason)
            }
            _ => None,
        })
        .await
    }

    async fn heard(&mut self, name: &str, on: &str) {
        self.until(&format!("heartbeat of {name} on {on}"), |event| match event {
            PeerEvent::Heard { node, lan, .. } => {
                (node.as_str() == name && lan == on).then_some(())
            }
            _ => None,
        })
        .await
    }

    async fn rejected(&mut self) -> String {
        self.until("a refusal", |event| match event {
            PeerEvent::Rejected { reason, .. } => Some(reason),
            _ => None,
        })
        .await
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
