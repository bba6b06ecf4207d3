//! The modules of this project: each folder under `modules/` is an archive without a mistake, and
//! `demo`, the one that needs no package, lives through a swap and a power cut. What needs a
//! package is tried by `bin-scripts/try-module`; `modules/README.md` says how each one was.
use crate::fixture::alone;
use crate::programs::{check_copies, lines, lockstep, packed, wait_more, wait_state};
use crate::support::Lab;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

const MODULE: &str = "demo";
/// Longer than a take-over's part in which an answer is held, shorter than the patience of a test.
const PATIENCE: Duration = Duration::from_secs(1);

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn shipped() -> Vec<String> {
    let folders = fs::read_dir(project("modules")).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn check(archive: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command.args(["module", "check", archive]).output().unwrap()
}

#[test]
fn every_folder_is_an_archive_without_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let table = fs::read_to_string(project("modules/README.md")).unwrap();
    for name in shipped() {
        let output = check(&packed(dir.path(), &name, &name, &[]));
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("no mistakes"), "{name}: {said}");
        assert!(
            table.contains(&format!("| `{name}` |")),
            "modules/README.md has no line of {name}"
        );
        // The template is a general one; the others shall do nothing that is not acted on.
        assert!(name == "mirror" || !said.contains("not acted on"), "{name}: {said}");
        for script in ["prestart", "start_prim", "stop_prim"] {
            let file = project("modules").join(&name).join("bin").join(script);
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o755, "{}", file.display());
        }
    }
}

/// Asks the page for numbers, one after the other, and writes down what it answered.
struct Visitor {
    child: Child,
}

impl Visitor {
    fn start(lab: &Lab, vip: &str, record: &Path) -> Visitor {
        let mut command = lab.command(["exec", "client", "--", "env"]);
        command.arg(format!("DEMO_AT={vip}:8080"));
        command.arg(format!("DEMO_RECORD={}", record.display()));
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", "shipped::visit", "--ignored", "--nocapture"]);
        Visitor { child: command.stdout(Stdio::null()).spawn().unwrap() }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Body of the answer to one request.
fn http(to: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{request} HTTP/1.0\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(head.to_owned())),
    }
}

/// Not a test: the visitor, run outside the nodes until it is killed.
#[test]
#[ignore = "the visitor, run outside the nodes"]
fn visit() {
    let (Ok(at), Some(path)) = (std::env::var("DEMO_AT"), std::env::var_os("DEMO_RECORD")) else {
        return;
    };
    let at: SocketAddr = at.parse().unwrap();
    let mut record = OpenOptions::new().append(true).create(true).open(path).unwrap();
    loop {
        match http(at, "POST /count") {
            Ok(number) => record.write_all(number.as_bytes()).unwrap(),
            Err(_) => sleep(Duration::from_millis(20)),
        }
    }
}

/// All numbers of the page's file, in each copy of it.
fn visits(lab: &Lab, node: &str) -> BTreeSet<u64> {
    let text = fs::read_to_string(lab.path(node, "/srv/demo/visits")).unwrap();
    text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn demo_loses_no_number() {
    let _alone = alone();
    let Some(lab) = Lab::cluster("demo", &["--disk-mb", "256"]) else { return };
    let outside = tempfile::tempdir().unwrap();
    let vip = lab.variable("LAB_VIP");
    let edits = [format!("s|\\(<macro name=\"VIP\" value=\\)\"[^\"]*\"|\\1\"{vip}\"|")];
    let archive = packed(outside.path(), MODULE, MODULE, &edits);
    for node in ["n1", "n2"] {
        lab.sh(node, "mkdir -p /srv/demo");
    }
    lockstep(&lab, "n1", &["module", "install", "-m", MODULE, &archive]);
    lockstep(&lab, "n1", &["-H", "*", "-E", MODULE]);
    let again = outside.path().join("again.safe").display().to_string();
    lockstep(&lab, "n1", &["module", "package", "-m", MODULE, &again]);
    assert!(check(&again).status.success(), "what was packed again has mistakes");
    lockstep(&lab, "n1", &["prim", "-m", MODULE, "--wait=ALONE", "--timeout", "60"]);
    lockstep(&lab, "n2", &["second", "-m", MODULE, "--wait=SECOND", "--timeout", "60"]);
    let record = outside.path().join("record");
    let visitor = Visitor::start(&lab, &vip, &record);
    wait_more(&record, 30);
    lockstep(&lab, "n2", &["swap", "-m", MODULE, "--wait", "--timeout", "60"]);
    wait_more(&record, 30);
    // The program dies: it is started again where it was.
    lab.sh("n2", "kill -KILL $(pgrep -x demo_server)");
    wait_more(&record, 30);
    wait_state(&lab, "n2", MODULE, "PRIM");
    lab.run(["kill", "n2"]);
    wait_state(&lab, "n1", MODULE, "ALONE");
    wait_more(&record, 30);
    lab.run(["boot", "n2"]);
    wait_state(&lab, "n2", MODULE, "SECOND");
    wait_more(&record, 30);
    drop(visitor);
    check_copies(&lab, "/srv/demo");
    let answered = lines(&record);
    let noted = fs::read_to_string(&record).unwrap().lines().count();
    assert_eq!(answered.len(), noted, "a number was answered twice");
    for node in ["n1", "n2"] {
        let there = visits(&lab, node);
        let missing: Vec<&u64> = answered.difference(&there).collect();
        assert!(missing.is_empty(), "answered and not on {node}: {missing:?}");
    }
    lockstep(&lab, "n2", &["stop", "-m", MODULE]);
    lockstep(&lab, "n1", &["stop", "-m", MODULE]);
}
