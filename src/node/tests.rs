//! A module's task without its loop: a test calls what the loop would call, and looks. A daemon
//! that belongs to no cluster.
use super::daemon::Daemon;
use super::handler::Door;
use super::journal::Journal;
use super::module::{Control, Ears, Input, ModuleHandle, prepare};
use super::site::Site;
use crate::api::{Command, ModuleView, Origin, Request, Response};
use crate::config::cluster::ClusterConfig;
use crate::config::paths::Paths;
use crate::config::store::ActiveModule;
use crate::config::userconfig::{Surroundings, UserConfig};
use crate::logbook::Logbook;
use crate::model::{BootId, ModuleName, NodeName, Readiness, Role, State};
use crate::peer::{PeerEvent, PeerSetup, Peers};
use crate::trust;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Barrier, mpsc, watch};

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
        let site = site(&paths, inside);
        let pki = trust::init(&paths.pki(), &site.node, false).unwrap();
        let setup = PeerSetup {
            node: site.node.clone(),
            boot: site.boot,
            cluster: site.cluster.clone(),
            pki,
            paths,
            version: "test".to_owned(),
        };
        let (peers, events) = Peers::start(setup).await.unwrap();
        let program = Path::new("/nonexistent/engine");
        let (control, ears, handle) = prepare(site, peers, program, Arc::new(|_| None)).unwrap();
        Fixture { control, _handle: handle, _ears: ears, _peers: events, _dir: dir }
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

fn site(paths: &Paths, inside: &str) -> Site {
    site_of("m", paths, inside)
}

fn site_of(module: &str, paths: &Paths, inside: &str) -> Site {
    let (node, boot) = (NodeName::new("n1").unwrap(), BootId(rand::random()));
    Site::new(paths, &node, boot, active(module, paths, inside), &cluster()).unwrap()
}

/// A module in PRIM whose task is the test's.
fn held(module: &str, paths: &Paths) -> (ModuleHandle, mpsc::Receiver<Input>) {
    let site = Arc::new(site_of(module, paths, ""));
    let state = State::new(Role::Prim, Readiness::Ready);
    let shown = ModuleView { state, ..super::view::first(&site) };
    let book = Logbook::open(paths, &site.active.name).unwrap();
    let journal = Journal::new(&site.active.name, book);
    let (inputs, asked) = mpsc::channel(8);
    let (_, view) = watch::channel(Arc::new(shown));
    (ModuleHandle { site, inputs, view, journal }, asked)
}

/// It accepts every wish, when all of `together` have heard one, and never gets anywhere.
fn stuck(module: &str, paths: &Paths, together: Arc<Barrier>) -> ModuleHandle {
    let (handle, mut asked) = held(module, paths);
    tokio::spawn(async move {
        while let Some(input) = asked.recv().await {
            if let Input::Wish { answer, .. } = input {
                together.wait().await;
                let _ = answer.send(Ok("begins".to_owned()));
            }
        }
    });
    handle
}

/// A script that sets and reads must read what it set; one that speaks once must be heard.
#[tokio::test]
async fn a_resource_is_answered_when_it_holds_and_not_before() {
    let (_dir, daemon) = bare_daemon();
    let (task, mut asked) = held("m", &daemon.paths);
    daemon.modules.put(task);
    let door = Door(daemon.clone());
    let set = Command::ResourceSet { resource: "custom.x".into(), value: "up".into() };
    let request = Request::new(Origin::default(), ModuleName::new("m").ok(), set);
    let mut answer = Box::pin(door.answer(request.clone()));
    let input = tokio::select! {
        answer = &mut answer => panic!("answered before: {answer:?}"),
        input = asked.recv() => input.unwrap(),
    };
    let Input::Resource { answer: done, .. } = input else { panic!("another input") };
    done.send(()).unwrap();
    assert_eq!(answer.await, Response::ok());
    drop(asked);
    assert_eq!(door.answer(request).await, super::handler::ended());
}

/// One that is slow to begin keeps no other from it. Stop scripts have minutes; how many of them
/// the caller waits is the caller's business.
#[tokio::test]
async fn a_shutdown_is_answered_when_the_modules_stop_and_not_when_they_have() {
    let (_dir, daemon) = bare_daemon();
    let all = Arc::new(Barrier::new(2));
    for module in ["a", "b"] {
        daemon.modules.put(stuck(module, &daemon.paths, all.clone()));
    }
    let door = Door(daemon.clone());
    let request = Request::new(Origin::default(), None, Command::Shutdown);
    let answer = tokio::time::timeout(Duration::from_secs(10), door.answer(request)).await;
    let answer = answer.expect("an answer while the module still stops");
    assert_eq!(answer, Response::ok_with("stopping: a, b"));
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

fn active(module: &str, paths: &Paths, inside: &str) -> ActiveModule {
    let name = ModuleName::new(module).unwrap();
    let text = format!(
        "<safe><service mode=\"mirror\"><heart><heartbeat name=\"default\"/></heart>{inside}\
         </service></safe>"
    );
    let around = Surroundings::of(paths);
    let config = UserConfig::parse(Path::new("userconfig.xml"), &text, &around).unwrap().config;
    let dir = paths.module_active(&name);
    ActiveModule { name, id: 1, config, digest: String::new(), date_ms: 0, dir }
}
