//! A daemon made of fixed answers, and a way to run command lines.
use crate::api::{
    Command, Data, Fanout, Handler, ModuleView, ProcessView, Refusal, Remote, Replies, Request,
    ResourceView, Response,
};
use crate::cli::{Output, run};
use crate::config::paths::Paths;
use crate::model::{EngineMode, ModuleName, NodeName, Progress, Readiness, Role, State};
use futures_util::future::BoxFuture;
use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub struct Ran {
    pub code: u8,
    pub out: String,
    pub err: String,
}

pub fn run_as(program: &str, line: &str, paths: &Paths) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = line.split(' ').map(OsString::from);
    let output = Output { out: &mut out, err: &mut err };
    let code = run(&OsString::from(program), words, paths.clone(), output);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code, out: text(out), err: text(err) }
}

pub fn lockstep(line: &str, paths: &Paths) -> Ran {
    run_as("/usr/bin/lockstep", line, paths)
}

/// Words that may have spaces in them.
pub fn lockstep_words(words: &[&str], paths: &Paths) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let output = Output { out: &mut out, err: &mut err };
    let words = words.iter().map(OsString::from);
    let code = run(&OsString::from("/usr/bin/lockstep"), words, paths.clone(), output);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code, out: text(out), err: text(err) }
}

pub fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub fn module() -> ModuleName {
    ModuleName::new("web").unwrap()
}

pub fn view(state: State) -> ModuleView {
    let progress = Progress {
        plan: "zones".into(),
        objects_done: 12,
        objects_todo: 28,
        bytes_done: 1 << 20,
        bytes_todo: 3 << 20,
        bytes_sent: 1_100_000,
        bytes_per_second: 2 << 20,
        elapsed_ms: 2500,
        remaining_ms: Some(1500),
        finished: false,
    };
    let transient = state.readiness == Readiness::Transient;
    let mut view = ModuleView::sample("n2", "n1");
    view.state = state;
    view.reason = "return from n1 is under way".into();
    view.needs_decision = state == State::new(Role::Wait, Readiness::NotReady);
    view.peers[0].state = Some(PRIM);
    let replication = view.replication.as_mut().unwrap();
    (replication.up_to_date, replication.in_sync) = (!transient, !transient);
    let status = replication.status.as_mut().unwrap();
    status.mode = EngineMode::FollowingReturn;
    status.progress = transient.then_some(progress);
    view
}

fn processes() -> Vec<ProcessView> {
    let nginx = ProcessView {
        name: "nginx".into(),
        service: true,
        class: "prim".into(),
        action: "restart".into(),
        at_least: 1,
        at_most: None,
        watched: true,
        value: Some("up".into()),
    };
    let dump = ProcessView {
        name: "dump".into(),
        service: false,
        class: "backup".into(),
        action: "repair.sh".into(),
        at_most: Some(2),
        watched: false,
        value: None,
        ..nginx.clone()
    };
    vec![nginx, dump]
}

fn resources() -> Vec<ResourceView> {
    let (since, by) = (Some("2026-02-03T04:05:06Z".into()), Some("rfs".into()));
    vec![
        ResourceView { name: "rfs.uptodate".into(), value: "up".into(), since, by },
        ResourceView { name: "custom.x".into(), value: "init".into(), since: None, by: None },
    ]
}

/// Answers `State` with the next of `states` (the last one for ever), refuses what is listed.
pub struct Canned {
    pub states: Vec<State>,
    pub asked: AtomicUsize,
    pub refuse: Option<Refusal>,
    pub seen: Mutex<Vec<Request>>,
}

impl Handler for Canned {
    fn handle(&self, request: Request, _: Replies) -> BoxFuture<'_, Response> {
        let response = match (&request.command, &self.refuse) {
            (Command::State, _) => {
                let asked = self.asked.fetch_add(1, Ordering::Relaxed);
                let asked = asked.min(self.states.len() - 1);
                let changes = self.states[..=asked].windows(2).filter(|pair| pair[0] != pair[1]);
                let mut view = view(self.states[asked]);
                match changes.count() {
                    0 => {}
                    count => view.since = Some(count.to_string()),
                }
                match request.module {
                    Some(_) => Response::data(Data::Module(Box::new(view))),
                    None => Response::data(Data::Modules(vec![view])),
                }
            }
            (Command::Processes, None) => Response::data(Data::Processes(processes())),
            (Command::ResourceGet { .. }, None) => Response::data(Data::Resources(resources())),
            (Command::Metrics, None) => {
                Response::data(Data::Metrics("lockstep_up 1\n# EOF\n".to_owned()))
            }
            (_, Some(refusal)) => Response::Refused(refusal.clone()),
            _ => Response::ok(),
        };
        self.seen.lock().unwrap().push(request);
        Box::pin(async { response })
    }
}

/// n1 is not reachable, n2 is here.
pub struct Others;

impl Remote for Others {
    fn me(&self) -> Option<NodeName> {
        Some(node("n2"))
    }
    fn nodes(&self) -> Vec<NodeName> {
        vec![node("n1"), node("n2")]
    }
    fn call(&self, node: NodeName, request: Request) -> BoxFuture<'_, Result<Response, String>> {
        let answer = match request.command {
            Command::Stop | Command::Shutdown | Command::Preflight => {
                Err("no connection".to_owned())
            }
            _ => Ok(Response::ok_with(format!("hello from {node}"))),
        };
        Box::pin(async { answer })
    }
}

pub struct Daemon {
    pub paths: Paths,
    pub canned: Arc<Canned>,
    pub _dir: tempfile::TempDir,
    pub _runtime: tokio::runtime::Runtime,
}

pub fn daemon(states: &[State], refuse: Option<Refusal>) -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let canned = Arc::new(Canned {
        states: states.to_vec(),
        asked: AtomicUsize::new(0),
        refuse,
        seen: Mutex::new(Vec::new()),
    });
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    let door = Arc::new(Fanout::new(canned.clone(), Arc::new(Others)));
    let socket = paths.daemon_socket();
    runtime.block_on(async {
        let listener = crate::api::server::listen(&socket).unwrap();
        tokio::spawn(crate::api::server::serve(listener, door));
    });
    Daemon { paths, canned, _dir: dir, _runtime: runtime }
}

pub const PRIM: State = State { role: Role::Prim, readiness: Readiness::Ready };
pub const SECOND: State = State { role: Role::Second, readiness: Readiness::Ready };
pub const RETURNING: State = State { role: Role::Second, readiness: Readiness::Transient };
