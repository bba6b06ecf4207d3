//! Two engines of one module on this machine, driven as a daemon would: each in a mount namespace
//! of its own, so that both see the same path with different directories beneath.
#![allow(dead_code, clippy::unwrap_used)]
use lockstep::model::{
    EngineCommand, EngineConfig, EngineEvent, EngineStatus, Level, ModuleName, NodeName,
    NotReplicated, PeerAddress, ReplicatedDir,
};
use lockstep::trust;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for anything in a test.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Longest time that a program on a node may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(60);

pub struct Node {
    pub name: &'static str,
    pub base: PathBuf,
    /// The node's own copy, reached without any cover.
    pub backing: PathBuf,
    pub config: PathBuf,
    socket: PathBuf,
    /// Keeps the node's namespaces, as its machine would: mounts outlive an engine.
    machine: Option<Child>,
    child: Option<Child>,
    /// The engine's number in the node's process namespace.
    engine: u32,
    stream: Option<UnixStream>,
    events: Option<Receiver<EngineEvent>>,
    pub status: Arc<Mutex<Option<EngineStatus>>>,
    mount: PathBuf,
}

pub struct Pair {
    pub n1: Node,
    pub n2: Node,
    /// Where both nodes see the replicated directory.
    pub dir: PathBuf,
    _temp: tempfile::TempDir,
}

pub fn binary() -> PathBuf {
    match std::env::var_os("LOCKSTEP_BIN") {
        Some(path) => path.into(),
        None => option_env!("CARGO_BIN_EXE_lockstep").unwrap_or("target/release/lockstep").into(),
    }
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Pair {
    pub fn new(level: Level) -> Pair {
        Pair::without(level, &[])
    }

    /// As [`Pair::new`]; what is left out of the directory on both nodes.
    pub fn without(level: Level, not_replicated: &[NotReplicated]) -> Pair {
        let temp = tempfile::Builder::new().prefix("lockstep-pair").tempdir().unwrap();
        let dir = temp.path().join("mirrored");
        std::fs::create_dir(&dir).unwrap();
        let pki = [temp.path().join("pki1"), temp.path().join("pki2")];
        make_pki(&pki);
        let ports = [free_port(), free_port()];
        let node = |index: usize, name: &'static str| {
            let base = temp.path().join(name);
            let backing = base.join("backing");
            std::fs::create_dir_all(&backing).unwrap();
            let other = 1 - index;
            let config = EngineConfig {
                module: ModuleName::new("m").unwrap(),
                node: NodeName::new(name).unwrap(),
                listen: ([127, 0, 0, 1], ports[index]).into(),
                peers: vec![PeerAddress {
                    node: NodeName::new(["n1", "n2"][other]).unwrap(),
                    data: ([127, 0, 0, 1], ports[other]).into(),
                }],
                dirs: vec![ReplicatedDir {
                    path: dir.clone(),
                    level: None,
                    not_replicated: not_replicated.to_vec(),
                }],
                level,
                state_dir: base.join("state"),
                control_socket: base.join("engine.sock"),
                pki_dir: pki[index].clone(),
                link_timeout_ms: Some(1000),
                return_bytes_per_second: None,
                return_detail: false,
                ack_limit_ms: None,
            };
            let path = base.join("engine.json");
            std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
            Node {
                name,
                backing,
                config: path,
                socket: config.control_socket,
                base,
                machine: None,
                child: None,
                engine: 0,
                stream: None,
                events: None,
                status: Arc::default(),
                mount: dir.clone(),
            }
        };
        Pair { n1: node(0, "n1"), n2: node(1, "n2"), dir, _temp: temp }
    }

    /// Both started, n1 primary, n2 in sync.
    pub fn mirrored(level: Level) -> Pair {
        let mut pair = Pair::new(level);
        pair.begin();
        pair
    }

    /// n1 primary, n2 in sync.
    pub fn begin(&mut self) {
        self.n1.start();
        self.n2.start();
        self.n1.lead(true);
        self.n2.follow(false);
        self.await_ready();
    }

    /// n2's engine dies and n1 goes on alone.
    pub fn lose_n2(&mut self) {
        self.n2.kill();
        self.n1.wait(|event| matches!(event, EngineEvent::PeerLost { .. }));
        self.n1.go_alone();
    }

    /// n2's engine starts again, follows, and is in sync at the end.
    pub fn return_n2(&mut self) {
        self.n2.start();
        self.n2.follow(false);
        self.await_ready();
    }

    /// n2 follows n1 and is in sync.
    pub fn await_ready(&mut self) {
        self.n2.wait(|event| matches!(event, EngineEvent::Ready));
        self.n1.wait(|event| matches!(event, EngineEvent::PeerReady { .. }));
    }

    /// Both copies as an independent program sees them, once they are equal; fails after a limit.
    pub fn assert_equal(&self) {
        let end = Instant::now() + LIMIT;
        loop {
            let (a, b) = (tree(&self.n1.backing), tree(&self.n2.backing));
            if a == b {
                return;
            }
            if Instant::now() > end {
                eprintln!("n1: {}\nn2: {}", self.n1.log(), self.n2.log());
                assert_same("the copies differ (- n1, + n2)", &a, &b);
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

/// nsenter stops and goes on together with its program.
fn wake(nsenter: &Child) {
    let _ = Command::new("kill").args(["-CONT", &nsenter.id().to_string()]).status();
}

/// Names, kinds, modes, owners, sizes, modification times, contents, attributes, by find,
/// sha256sum and getfattr.
pub fn tree(root: &Path) -> String {
    let output = Command::new("sh").args(["-c", TREE, "sh"]).arg(root).output().expect("sh runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const TREE: &str = "cd \"$1\" && \
    find . -printf '%P|%y|%m|%U|%G|%n|%l|%T@\\0' | LC_ALL=C sort -z | tr '\\0' '\\n'; \
    find . -type f -printf '%P|%s\\0' | LC_ALL=C sort -z | tr '\\0' '\\n'; \
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum; \
    getfattr -R -h -d -m - -e hex . 2>/dev/null | LC_ALL=C sort";

/// As [`tree`] without times, to compare what two runs of one program left.
pub fn tree_without_times(root: &Path) -> String {
    let script = TREE.replace("|%T@", "");
    let output =
        Command::new("sh").args(["-c", &script, "sh"]).arg(root).output().expect("sh runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// At most 40 lines of what differs.
pub fn difference(left: &str, right: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("left"), dir.path().join("right"));
    std::fs::write(&a, left).unwrap();
    std::fs::write(&b, right).unwrap();
    let output = Command::new("diff").arg("-U0").args([a, b]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let short = text.lines().map(|line| line.chars().take(300).collect::<String>());
    short.take(40).collect::<Vec<_>>().join("\n")
}

/// Fails and says what differs.
pub fn assert_same(what: &str, left: &str, right: &str) {
    assert!(left == right, "{what}:\n{}", difference(left, right));
}

fn make_pki(dirs: &[PathBuf; 2]) {
    let names = ["n1", "n2"].map(|name| NodeName::new(name).unwrap());
    let first = trust::init(&dirs[0], &names[0], false).unwrap();
    let authority = trust::Authority::load(&first).unwrap();
    let request = trust::SigningRequest::new(&names[1]).unwrap();
    let certificate = authority.sign(request.der(), &names[1]).unwrap();
    trust::install(&dirs[1], &request, &certificate, authority.certificate_pem(), false).unwrap();
}

impl Node {
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// For engines that start from now on: what a return may send in a second.
    pub fn limit_return(&self, bytes: u64) {
        self.configure(|config| config.return_bytes_per_second = Some(bytes));
    }

    /// For engines that start from now on: what is not replicated.
    pub fn leave_out(&self, rules: &[NotReplicated]) {
        self.configure(|config| config.dirs[0].not_replicated = rules.to_vec());
    }

    /// For engines that start from now on.
    pub fn configure(&self, change: impl FnOnce(&mut EngineConfig)) {
        let text = std::fs::read(&self.config).unwrap();
        let mut config: EngineConfig = serde_json::from_slice(&text).unwrap();
        change(&mut config);
        std::fs::write(&self.config, serde_json::to_vec(&config).unwrap()).unwrap();
    }

    pub fn start_with(&mut self, env: &[(&str, &str)]) {
        self.boot();
        // The kernel may answer for a dead engine until its ring is gone.
        let _ = std::fs::remove_file(&self.socket);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.base.join("engine.log"))
            .unwrap();
        let child = self
            .enter()
            .args([&binary(), Path::new("engine"), Path::new("m"), Path::new("--config")])
            .arg(&self.config)
            .envs(env.iter().copied())
            .env("RUST_BACKTRACE", "1")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        self.connect();
    }

    /// The node's namespaces, in which its own copy lies where both nodes see the directory.
    pub fn boot(&mut self) {
        if self.machine.is_some() {
            return;
        }
        let script = "mount --bind \"$1\" \"$2\" && echo up && exec sleep infinity";
        let mut machine = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"])
            .args(["--mount-proc", "sh", "-c", script, "sh"])
            .args([&self.backing, &self.mount])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(machine.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n", "the namespaces of {} did not come up", self.name);
        self.machine = Some(machine);
    }

    /// A command line that goes on inside the node.
    pub fn enter(&self) -> Command {
        let machine = self.machine.as_ref().unwrap().id();
        let mut command = Command::new("nsenter");
        command.args(["-t", &machine.to_string(), "-m"]);
        command.arg(format!("--pid=/proc/{machine}/ns/pid_for_children"));
        command.arg("--");
        command
    }

    fn connect(&mut self) {
        let end = Instant::now() + LIMIT;
        let stream = loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => break stream,
                Err(_) => {
                    let ended = self.child.as_mut().unwrap().try_wait().unwrap();
                    assert!(ended.is_none(), "engine {} ended: {}", self.name, self.log());
                    assert!(Instant::now() < end, "engine {} does not listen", self.name);
                    std::thread::sleep(Duration::from_millis(3));
                }
            }
        };
        let (send, receive) = channel();
        let (reader, status) = (stream.try_clone().unwrap(), self.status.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let event: EngineEvent = serde_json::from_str(&line).unwrap();
                if let EngineEvent::Status(new) = event {
                    *status.lock().unwrap() = Some(*new);
                } else if send.send(event).is_err() {
                    return;
                }
            }
        });
        self.stream = Some(stream);
        self.events = Some(receive);
        let hello = self.wait(|event| matches!(event, EngineEvent::Hello { .. }));
        if let EngineEvent::Hello { pid, .. } = hello {
            self.engine = pid;
        }
    }

    /// The newest lines of both nodes' logs.
    fn logs(&self) -> String {
        let mut text = String::new();
        for name in ["n1", "n2"] {
            let path = self.base.with_file_name(name).join("engine.log");
            let log = std::fs::read_to_string(path).unwrap_or_default();
            let mut lines: Vec<_> = log.lines().collect();
            // A link that is tried again and again says the same each time.
            lines.dedup();
            text += &format!("-- {name}\n{}\n", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        text
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.base.join("engine.log")).unwrap_or_default()
    }

    pub fn command(&mut self, command: &EngineCommand) {
        let mut line = serde_json::to_vec(command).unwrap();
        line.push(b'\n');
        self.stream.as_mut().unwrap().write_all(&line).unwrap();
    }

    pub fn wait(&mut self, mut wanted: impl FnMut(&EngineEvent) -> bool) -> EngineEvent {
        let end = Instant::now() + LIMIT;
        let mut seen = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.events.as_ref().unwrap().recv_timeout(left) {
                Ok(event) if wanted(&event) => return event,
                Ok(event) => seen.push(event),
                Err(error) => panic!(
                    "{}: what was awaited did not come ({error}); events: {seen:#?}; status \
                     {:?}; log:\n{}",
                    self.name,
                    self.status.lock().unwrap(),
                    self.logs()
                ),
            }
        }
    }

    /// Bytes that the engine has read from files, the kernel's cache included.
    pub fn bytes_read(&self) -> u64 {
        let text = self.run(&format!("cat /proc/{}/io", self.engine));
        let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.expect("the kernel counts").parse().unwrap()
    }

    pub fn lead(&mut self, forced: bool) {
        self.command(&EngineCommand::Lead { reason: "test".into(), forced });
        self.wait(|event| matches!(event, EngineEvent::Leading));
    }

    pub fn follow(&mut self, discard: bool) {
        self.command(&EngineCommand::Follow { discard, full: false });
        self.wait(|event| matches!(event, EngineEvent::Following));
    }

    pub fn go_alone(&mut self) {
        self.command(&EngineCommand::GoAlone { reason: "test".into() });
        self.wait(|event| matches!(event, EngineEvent::Alone { .. }));
    }

    pub fn release(&mut self) {
        self.command(&EngineCommand::Release { detach: false });
        self.wait(|event| matches!(event, EngineEvent::Released));
    }

    /// kill -9 of the engine alone and a new one in the same mount namespace, as its daemon does.
    pub fn restart_in_place(&mut self) {
        self.kill();
        self.start();
    }

    /// Sends the engine a signal by name.
    pub fn signal(&self, name: &str) {
        self.run(&format!("kill -{name} {}", self.engine));
        if name == "CONT" {
            wake(self.child.as_ref().unwrap());
        }
    }

    /// kill -9 of the engine; the node, its mounts and its other processes stay.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let kill = format!("kill -9 {}", self.engine);
            let _ = self.enter().args(["sh", "-c", &kill]).status();
            let end = Instant::now() + LIMIT;
            while child.try_wait().unwrap().is_none() {
                assert!(Instant::now() < end, "{}: the engine lives on\n{}", self.name, self.log());
                wake(&child);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Waits for the end of an engine that ends by itself (failpoint, shutdown).
    pub fn wait_end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let end = Instant::now() + LIMIT;
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "{}: the engine lives on\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Every process of the node at once, as when its power goes; unsynced bytes stay.
    pub fn power_off(&mut self) {
        if let Some(child) = &mut self.child {
            // nsenter; one that was stopped with its program would never reap it.
            child.kill().unwrap();
        }
        if let Some(mut machine) = self.machine.take() {
            machine.kill().unwrap();
            machine.wait().unwrap();
        }
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    /// Runs a shell command as this node sees the file system. A test fails where it does not end,
    /// also where nothing can kill it: what waits for an engine ends with that engine.
    pub fn shell(&self, script: &str) -> Output {
        let (mut stdout, mut stderr) =
            (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut child = self
            .enter()
            .args(["sh", "-c", script])
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap())
            .spawn()
            .unwrap();
        let status = self.end_of(&mut child);
        let read = |file: &mut std::fs::File| {
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        Output { status, stdout: read(&mut stdout), stderr: read(&mut stderr) }
    }

    /// As `shell`, which must succeed; the output.
    pub fn run(&self, script: &str) -> String {
        let output = self.shell(script);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {script}\n{text}{errors}\n{}", self.name, self.log());
        text
    }

    /// [`tree`] as this node sees it, through its covers.
    pub fn tree(&self, root: &Path) -> String {
        let output = self.enter().args(["sh", "-c", TREE, "sh"]).arg(root).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn spawn(&self, script: &str) -> Child {
        self.enter().args(["sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// How a program on this node ends; a test fails where it does not.
    pub fn end_of(&self, program: &mut Child) -> ExitStatus {
        let end = Instant::now() + PROGRAM_LIMIT;
        loop {
            if let Some(status) = program.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < end,
                "{}: a program hangs; events not waited for: {:#?}\n{}",
                self.name,
                self.events.as_ref().map(|events| events.try_iter().collect::<Vec<_>>()),
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.power_off();
    }
}
