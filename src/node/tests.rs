//! A module's task without its loop: a test calls what the loop would call, and looks. A daemon
//! that belongs to no cluster.
use super::daemon::Daemon;
use super::module::{Control, Ears, ModuleHandle, prepare};
use super::site::Site;
use crate::config::cluster::ClusterConfig;
use crate::config::paths::Paths;
use crate::config::store::ActiveModule;
use crate::config::userconfig::{Surroundings, UserConfig};
use crate::model::{BootId, ModuleName, NodeName, Role};
use crate::peer::{PeerEvent, PeerSetup, Peers};
use crate::trust;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

pub(super) struct Fixture {
    pub(super) control: Control,
    _handle: ModuleHandle,
    _ears: Ears,
    _peers: mpsc::Receiver<PeerEvent>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    /// Module `m` of node `n1`, stopped; `inside` stands in its `<service>`. Node `n2` is never
    /// there.
    pub(super) async fn new(inside: &str) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let (node, boot) = (NodeName::new("n1").unwrap(), BootId(rand::random()));
        let cluster = cluster();
        let pki = trust::init(&paths.pki(), &node, false).unwrap();
        let setup = PeerSetup {
            node: node.clone(),
            boot,
            cluster: cluster.clone(),
            pki,
            paths: paths.clone(),
            version: "test".to_owned(),
        };
        let (peers, events) = Peers::start(setup).await.unwrap();
        let site = Site::new(&paths, &node, boot, active(&paths, inside), &cluster).unwrap();
        let program = Path::new("/nonexistent/engine");
        let (control, ears, handle) = prepare(site, peers, program, Arc::new(|_| None)).unwrap();
        Fixture { control, _handle: handle, _ears: ears, _peers: events, _dir: dir }
    }

    pub(super) fn role(&self) -> Role {
        self.control.machine.state().role
    }

    /// What the module's log says, newest last.
    pub(super) fn log(&self) -> String {
        let dir = self.control.site.paths.module_log_dir(&self.control.site.active.name);
        let entries = crate::logbook::last(&dir, 1000, true).unwrap();
        entries.into_iter().map(|entry| format!("{}: {}\n", entry.code, entry.text)).collect()
    }
}

/// Its files are below the directory.
pub(super) fn bare_daemon() -> (tempfile::TempDir, Arc<Daemon>) {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let daemon = Daemon::new(paths, BootId(1), "/nonexistent/engine".into(), false);
    (dir, Arc::new(daemon))
}

/// Two nodes on a part of 127/8 and a port that no other test uses.
fn cluster() -> ClusterConfig {
    let [a, b, low, high]: [u8; 4] = rand::random();
    let port = 20_000 + u16::from_le_bytes([low, high]) % 10_000;
    let net = format!("127.{}.{b}", a % 250 + 1);
    let text = format!(
        "<cluster><lans port=\"{port}\"><lan name=\"default\"><node name=\"n1\" addr=\"{net}.1\"/>\
         <node name=\"n2\" addr=\"{net}.2\"/></lan></lans></cluster>"
    );
    ClusterConfig::parse(Path::new("cluster.xml"), &text, |_| None).unwrap()
}

fn active(paths: &Paths, inside: &str) -> ActiveModule {
    let name = ModuleName::new("m").unwrap();
    let text = format!(
        "<safe><service mode=\"mirror\"><heart><heartbeat name=\"default\"/></heart>{inside}\
         </service></safe>"
    );
    let around = Surroundings::of(paths);
    let config = UserConfig::parse(Path::new("userconfig.xml"), &text, &around).unwrap().config;
    let dir = paths.module_active(&name);
    ActiveModule { name, id: 1, config, digest: String::new(), date_ms: 0, dir }
}
