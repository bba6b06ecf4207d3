//! Goal: each checker says what is so, once, against real sockets, links and processes.
mod custom;
pub(super) mod network;
mod sockets;

use super::*;
use crate::actions::cgroup::ModuleGroup;
use crate::actions::script::ScriptSetup;
use crate::config::userconfig::{ErrorAction, Proc, When};
use crate::fixture;
use crate::model::{BootId, ModuleName, NodeName};
use std::fs;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// As long as nothing should happen.
pub(super) const QUIET: Duration = Duration::from_millis(300);
const OFTEN: Duration = Duration::from_millis(20);

/// `<proc name="…"/>`
pub(super) fn proc(name: &str) -> Proc {
    Proc {
        name: name.into(),
        service: false,
        name_pattern: None,
        argument_pattern: None,
        at_least: 1,
        at_most: None,
        action: ErrorAction::StopStart,
        class: When::Prim,
        start_after: 0,
        restart_services: None,
    }
}

/// A module with a directory and a group of its own.
struct Module {
    root: tempfile::TempDir,
    around: Around,
}

impl Module {
    fn new() -> Module {
        let root = tempfile::tempdir().unwrap();
        let node = NodeName::new(&format!("t{:08x}", rand::random::<u32>())).unwrap();
        let module = ModuleName::new("mod").unwrap();
        let setup = ScriptSetup {
            group: ModuleGroup::create(&node, BootId::random(), &module),
            module,
            node,
            peer: None,
            active_dir: root.path().join("active"),
            log_dir: root.path().join("log/modules/mod"),
            safe_dir: root.path().join("safe"),
            var_dir: root.path().join("log"),
            vips: Vec::new(),
            vars: Vec::new(),
            hosts: Default::default(),
            enabled: true,
            logging: true,
            log_kib_max: 2048,
        };
        fs::create_dir_all(setup.active_dir.join("bin")).unwrap();
        let runner = ScriptRunner::new(setup);
        let neighbour: Neighbour = Arc::new(|_| None);
        let applications =
            Applications::new(runner.clone(), Vec::new(), LIMIT, LIMIT, Arc::new(|_| {}));
        Module { root, around: Around { runner, role: Role::Alone, neighbour, applications } }
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.around.runner.setup().active_dir.join("bin").join(name);
        fixture::program(&path, text.as_bytes());
    }

    fn start(&self, kind: CheckerKind) -> (Running, mpsc::Receiver<Reading>) {
        let (to, from) = mpsc::channel(16);
        (start(&checker(kind), &self.around, to).unwrap(), from)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let group = self.around.runner.setup().group.clone();
        let emptied = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(group.kill(Duration::from_secs(5)));
            let _ = group.remove();
        });
        let _ = emptied.join();
    }
}

fn checker(kind: CheckerKind) -> Checker {
    Checker { ident: "x".into(), when: When::Prim, action: ErrorAction::Nothing, kind }
}

async fn next(from: &mut mpsc::Receiver<Reading>) -> Reading {
    timeout(LIMIT, from.recv()).await.expect("no reading in time").expect("the checker goes on")
}

async fn next_up(from: &mut mpsc::Receiver<Reading>) {
    let reading = next(from).await;
    assert!(reading.up && reading.why.is_empty(), "{reading:?}");
}

/// The next reading must be down; returns why.
async fn next_down(from: &mut mpsc::Receiver<Reading>) -> String {
    let reading = next(from).await;
    assert!(!reading.up && !reading.why.is_empty(), "{reading:?}");
    reading.why
}

pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < limit, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
