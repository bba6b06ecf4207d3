//! Goal: processes that come and go are told rightly and in time. Real processes: copies of
//! `sleep` and scripts, each with a name that only its test uses.
use super::super::tests::{LIMIT, QUIET, proc, until};
use super::*;
use crate::config::userconfig::ErrorAction;
use crate::fixture;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tokio::time::timeout;

/// Longer than any test: what is told earlier was not found by polling.
const RARELY: Duration = Duration::from_secs(600);

/// A program with a name of its own, and the processes that run it.
struct Named {
    name: String,
    dir: tempfile::TempDir,
    children: Vec<Child>,
}

impl Named {
    fn sleep() -> Named {
        let which = Command::new("sh").args(["-c", "command -v sleep"]).output().unwrap();
        let sleep = PathBuf::from(String::from_utf8(which.stdout).unwrap().trim());
        Named::program(&fs::read(sleep).unwrap())
    }

    fn script(text: &str) -> Named {
        Named::program(text.as_bytes())
    }

    fn program(bytes: &[u8]) -> Named {
        let name = format!("lk{:08x}", rand::random::<u32>());
        let named = Named { name, dir: tempfile::tempdir().unwrap(), children: Vec::new() };
        fixture::program(&named.path(), bytes);
        named
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    fn run(&mut self, args: &[&str]) -> u32 {
        let mut command = Command::new(self.path());
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let pid = child.id();
        self.children.push(child);
        pid
    }

    fn end(&mut self, pid: u32) {
        let at = self.children.iter().position(|child| child.id() == pid).unwrap();
        let mut child = self.children.swap_remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn watch(&self, poll: Duration, change: impl FnOnce(&mut Proc)) -> Watch {
        let mut proc = proc(&self.name);
        change(&mut proc);
        let errd = Errd { poll, procs: vec![proc] };
        let (to, from) = mpsc::channel(16);
        Watch { _running: watch(&errd, |_| true, true, to).unwrap(), from }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Watch {
    _running: Running,
    from: mpsc::Receiver<ProcReading>,
}

impl Watch {
    async fn next(&mut self) -> Reading {
        let next = timeout(LIMIT, self.from.recv()).await.expect("no reading in time");
        next.expect("the watch goes on").reading
    }

    async fn is_quiet(&mut self) -> bool {
        timeout(QUIET, self.from.recv()).await.is_err()
    }
}

#[tokio::test]
async fn a_process_that_dies_is_told_long_before_the_next_look() {
    let mut named = Named::sleep();
    let pid = named.run(&["600"]);
    let mut watch = named.watch(RARELY, |_| {});
    let first = watch.next().await;
    assert_eq!(first.resource, format!("proc.{}", named.name));
    assert!(first.up && first.why.is_empty() && first.by == "errd", "{first:?}");
    let begin = Instant::now();
    // Not reaped yet: a zombie is dead.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid as i32),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let second = watch.next().await;
    println!("told after {:?} (promised 20 ms)", begin.elapsed());
    assert!(!second.up, "{second:?}");
    assert_eq!(second.why, format!("Process {} not running", named.name));
    named.end(pid);
}

#[tokio::test]
async fn enough_is_a_number_with_two_ends() {
    let mut named = Named::sleep();
    let poll = Duration::from_millis(20);
    let first = named.run(&["600"]);
    named.run(&["600"]);
    let mut watch = named.watch(poll, |proc| (proc.at_least, proc.at_most) = (2, Some(2)));
    assert!(watch.next().await.up);
    let third = named.run(&["600"]);
    let reading = watch.next().await;
    assert!(reading.why.contains("running 3 times, at most 2"), "{reading:?}");
    named.end(third);
    assert!(watch.next().await.up);
    named.end(first);
    let reading = watch.next().await;
    assert!(reading.why.contains("running 1 times, at least 2"), "{reading:?}");
}

#[tokio::test]
async fn a_process_that_must_not_run() {
    let mut named = Named::sleep();
    let poll = Duration::from_millis(20);
    let mut watch = named.watch(poll, |proc| (proc.at_least, proc.at_most) = (0, Some(0)));
    assert!(watch.next().await.up);
    let pid = named.run(&["600"]);
    assert!(watch.next().await.why.contains("it must not"));
    named.end(pid);
    assert!(watch.next().await.up);
}

#[tokio::test]
async fn arguments_tell_processes_of_one_name_apart() {
    let mut named = Named::sleep();
    named.run(&["600"]);
    let pid = named.run(&["700"]);
    // The resource has the name, the process is found by expressions.
    let pattern = format!("^{}$", named.name);
    let mut watch = named.watch(RARELY, |proc| {
        proc.name = "label".into();
        proc.name_pattern = Some(pattern);
        proc.argument_pattern = Some("/lk[^ ]* [67]00$".into());
        proc.at_least = 2;
    });
    let first = watch.next().await;
    assert!(first.up && first.resource == "proc.label", "{first:?}");
    let mut other = named.watch(RARELY, |proc| proc.argument_pattern = Some(" 700$".into()));
    assert!(other.next().await.up);
    named.end(pid);
    assert!(!watch.next().await.up && !other.next().await.up);
}

#[tokio::test]
async fn a_daemon_whose_parent_ends_goes_on() {
    // A subshell keeps the name of the script. It ends when the first line comes.
    let text = "#!/bin/sh\n(read x <\"$1\"; :) &\nread y\n";
    let mut named = Named::script(text);
    let fifo = named.dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let parent = named.run(&[fifo.to_str().unwrap()]);
    let mut watch = named.watch(RARELY, |proc| proc.at_least = 2);
    assert!(watch.next().await.up, "parent and child");
    let mut watch = named.watch(RARELY, |_| {});
    assert!(watch.next().await.up);
    named.end(parent);
    assert!(watch.is_quiet().await, "the child is there");
    // Both ends open at once, or this open would wait for the reader for ever.
    let mut end = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    std::io::Write::write_all(&mut end, b"now\n").unwrap();
    assert!(!watch.next().await.up);
}

#[tokio::test]
async fn a_program_that_executes_itself_again_has_not_ended() {
    let text = "#!/bin/sh\ntest \"$1\" = again && read y\nread x\nexec \"$0\" again\n";
    let mut named = Named::script(text);
    let pid = named.run(&[]);
    let mut watch = named.watch(RARELY, |_| {});
    assert!(watch.next().await.up);
    let child = named.children.first_mut().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    let line = format!("/proc/{pid}/cmdline");
    until("it runs again", || fs::read(&line).unwrap().ends_with(b"again\0")).await;
    assert!(watch.is_quiet().await);
    named.end(pid);
    assert!(!watch.next().await.up);
}

#[tokio::test]
async fn what_comes_after_its_script_is_waited_for_and_then_missed() {
    let mut named = Named::sleep();
    let mut watch = named.watch(RARELY, |_| {});
    assert!(watch.is_quiet().await, "one poll of patience");
    named.run(&["600"]);
    assert!(watch.next().await.up);
    let never = Named::sleep();
    let mut watch = never.watch(Duration::from_millis(100), |_| {});
    assert!(!watch.next().await.up);
}

#[tokio::test]
async fn the_first_look_waits_for_start_after_polls() {
    let mut named = Named::sleep();
    named.run(&["600"]);
    let begin = Instant::now();
    let mut watch = named.watch(Duration::from_millis(100), |proc| proc.start_after = 4);
    assert!(watch.next().await.up);
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn only_admitted_classes_are_watched_and_dropping_ends_it() {
    let mut named = Named::sleep();
    named.run(&["600"]);
    let both = Proc { class: When::Both, ..proc(&named.name) };
    let own = Proc {
        class: When::Named("mine".into()),
        action: ErrorAction::Program("repair".into()),
        ..both.clone()
    };
    let errd = Errd { poll: RARELY, procs: vec![both, own.clone()] };
    let (to, mut from) = mpsc::channel(16);
    let active = |class: &When| *class == When::Named("mine".into());
    let running = watch(&errd, active, true, to).unwrap();
    let first = timeout(LIMIT, from.recv()).await.unwrap().unwrap();
    assert!(first.reading.up && *first.proc == own, "{first:?}");
    drop(running);
    assert!(timeout(LIMIT, from.recv()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_process_inside_a_container_is_not_of_this_node() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root for a pid namespace");
        return;
    }
    let mut named = Named::sleep();
    let path = named.path();
    let mut inside = Command::new("unshare");
    inside.args(["--pid", "--fork", "--kill-child", path.to_str().unwrap(), "600"]);
    named.children.push(inside.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let running = || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let mut names = entries.map(|entry| fs::read_to_string(entry.path().join("comm")));
        names.any(|name| name.is_ok_and(|name| name.trim() == named.name))
    };
    until("it runs inside", running).await;
    let mut watch = named.watch(Duration::from_millis(50), |_| {});
    assert!(!watch.next().await.up);
}

#[tokio::test]
async fn services_are_asked_of_systemd() {
    let dir = tempfile::tempdir().unwrap();
    let active = dir.path().join("active");
    let program = dir.path().join("systemctl");
    let text = format!("#!/bin/sh\ntest -e {} || exit 3\n", active.display());
    fixture::program(&program, text.as_bytes());
    fs::write(&active, "").unwrap();
    let wanted = Proc { service: true, ..proc("web.service") };
    let (to, mut from) = mpsc::channel(16);
    let watched = Watched {
        begun: true,
        pattern: Arc::new(Pattern::of(&wanted).unwrap()),
        proc: Arc::new(wanted),
        manager: Manager::at(dir.path(), &program),
        poll: Duration::from_millis(20),
        to,
    };
    let _task = tokio::spawn(watched.follow());
    let mut next = async || timeout(LIMIT, from.recv()).await.unwrap().unwrap().reading;
    assert!(next().await.up);
    fs::remove_file(&active).unwrap();
    assert_eq!(next().await.why, "Service web.service not running");
    fs::write(&active, "").unwrap();
    assert!(next().await.up);
}
