//! Goal: a script sees exactly what the contract promises, and nothing that it does or leaves
//! behind can hold the daemon up.
use super::*;
use crate::model::BootId;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const LIMIT: Duration = Duration::from_secs(10);

/// A module in a directory of its own; its group is emptied and removed at the end.
struct Module {
    root: tempfile::TempDir,
    runner: ScriptRunner,
}

impl Module {
    fn new() -> Module {
        Module::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ScriptSetup)) -> Module {
        let root = tempfile::tempdir().unwrap();
        let node = NodeName::new(&format!("t{:08x}", rand::random::<u32>())).unwrap();
        let module = ModuleName::new("mod").unwrap();
        let mut setup = ScriptSetup {
            group: ModuleGroup::create(&node, BootId::random(), &module),
            module,
            node,
            peer: Some(NodeName::new("other").unwrap()),
            active_dir: root.path().join("active"),
            log_dir: root.path().join("log/modules/mod"),
            safe_dir: root.path().join("safe"),
            var_dir: root.path().join("log"),
            vips: vec!["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()],
            vars: Vec::new(),
            hosts: Default::default(),
            enabled: true,
            logging: true,
            log_kib_max: 2048,
        };
        change(&mut setup);
        fs::create_dir_all(setup.active_dir.join("bin")).unwrap();
        Module { root, runner: ScriptRunner::new(setup) }
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.runner.setup.active_dir.join("bin").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs `start_prim` with the given text.
    async fn run(&self, text: &str, limit: Option<Duration>, overrun: Overrun) -> ScriptResult {
        self.script("start_prim", text);
        let mut call =
            ScriptCall::new(Script::StartPrim, &["WAIT", "ALONE"], Role::Alone, "a test");
        call.limit = limit;
        call.overrun = overrun;
        call.grace = Duration::from_millis(200);
        tokio::time::timeout(LIMIT, self.runner.run(call)).await.unwrap()
    }

    fn logs(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.runner.setup.log_dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let group = self.runner.setup.group.clone();
        let emptied = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(group.kill(Duration::from_secs(5)));
            let _ = group.remove();
        });
        let _ = emptied.join();
    }
}

fn end(result: &ScriptResult) -> ScriptEnd {
    match result {
        ScriptResult::Ended { end, .. } => *end,
        other => panic!("{other:?}"),
    }
}

fn printed(result: &ScriptResult) -> String {
    match result {
        ScriptResult::Ended { log: Some(log), .. } => fs::read_to_string(log).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < limit, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn a_script_sees_what_the_contract_promises() {
    let module = Module::with(|setup| {
        setup.vars = vec![
            ("SERVICES".into(), "a, b c".into()),
            ("SAFEMODULE".into(), "forged".into()),
            ("BAD=NAME".into(), "x".into()),
        ];
    });
    // A descriptor that somebody forgot to mark must not reach the script.
    let leak = fs::File::open("/dev/zero").unwrap();
    let leak = nix::unistd::dup(&leak).unwrap();
    let script = "#!/bin/sh\nenv\necho \"args=$# $1 $2\"\npwd\ncat\nls -l /proc/$$/fd\n\
                  echo \"session=$(cut -d' ' -f6 /proc/$$/stat) $$\"\ncat /proc/$$/cgroup\necho to-stderr >&2\n";
    let result = module.run(script, Some(LIMIT), Overrun::Script).await;
    drop(leak);
    assert_eq!(end(&result), ScriptEnd::Exit(0));
    let text = printed(&result);
    let root = module.root.path().display();
    for line in [
        format!("SAFE={root}/safe"),
        "SAFEMODULE=mod".into(),
        format!("SAFEBIN={root}/safe"),
        format!("SAFEUSERBIN={root}/active/bin"),
        format!("SAFEUSERCONF={root}/active/conf"),
        format!("SAFEVAR={root}/log"),
        format!("SAFEUSERVAR={root}/log/modules/mod"),
        "SERVICES=a, b c".into(),
        "LOCKSTEP_MODULE=mod".into(),
        "LOCKSTEP_PEER=other".into(),
        "LOCKSTEP_ROLE=ALONE".into(),
        "LOCKSTEP_VIP=10.0.0.9 fd00::9".into(),
        "LOCKSTEP_REASON=a test".into(),
        "args=2 WAIT ALONE".into(),
        format!("{root}/active/bin"),
        "to-stderr".into(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is missing in\n{text}");
    }
    assert!(text.contains(&format!("PATH={root}/safe:/usr/local/sbin:")), "{text}");
    assert!(!text.contains("CARGO") && !text.contains("forged") && !text.contains("BAD"), "{text}");
    // Nothing but /dev/null, its log, and the script itself, which the shell keeps open.
    let fds = text.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, target)| target);
    let known =
        |fd: &str| fd == "/dev/null" || fd.ends_with(".ulog") || fd.ends_with("/start_prim");
    let fds: Vec<&str> = fds.collect();
    assert!(fds.len() >= 3 && fds.iter().all(|fd| known(fd)), "{fds:?}");
    let session = text.lines().find_map(|line| line.strip_prefix("session=")).unwrap();
    let (session, pid) = session.split_once(' ').unwrap();
    assert_eq!(session, pid, "it leads its session");
    if module.runner.setup.group.unavailable().is_none() {
        let group = format!("lockstep-{}-", module.runner.setup.node);
        assert!(text.contains(&group), "not in its group: {text}");
    }
    let banner = text.lines().next().unwrap();
    assert!(banner.starts_with("-----") && banner.contains("start_prim WAIT ALONE"), "{banner}");
    let name = module.logs().remove(0);
    assert!(name.starts_with("userlog_20") && name.ends_with("_start_prim.ulog"), "{name}");
}

#[tokio::test]
async fn ends_are_told_apart() {
    let module = Module::new();
    let call = ScriptCall::new(Script::StopSec, &[], Role::Wait, "");
    assert_eq!(module.runner.run(call).await, ScriptResult::Absent);
    assert!(!module.runner.exists(&Script::StopSec));
    let result = module.run("#!/bin/sh\nexit 3\n", None, Overrun::Script).await;
    assert_eq!(end(&result), ScriptEnd::Exit(3));
    assert!(!result.is_success() && result.describe().contains("code 3"));
    let result = module.run("#!/bin/sh\nkill -9 $$\n", None, Overrun::Script).await;
    assert_eq!(end(&result), ScriptEnd::Signal(9));
    // No first line: a shell would run it, so do we.
    let result = module.run("exit 4\n", None, Overrun::Script).await;
    assert_eq!(end(&result), ScriptEnd::Exit(4));
    let result = module.run("#!/no/such/interpreter\n", None, Overrun::Script).await;
    assert!(
        matches!(&result, ScriptResult::NotStarted { reason } if reason.contains("interpreter"))
    );
    assert_eq!(module.logs().len(), 4, "one file a call, four calls in one second");
}

#[tokio::test]
async fn the_log_is_named_before_the_script_begins() {
    let module = Module::new();
    module.script("stop_sec", "#!/bin/sh\nwhile [ ! -e told ]; do sleep 0.01; done\n");
    let call =
        ScriptCall::new(Script::StopSec, &[], Role::Alone, "").within(LIMIT, Overrun::Script);
    let mark = module.runner.setup.active_dir.join("bin/told");
    let result = module.runner.run_told(call, move |log| {
        fs::write(mark, log.unwrap().as_os_str().as_encoded_bytes()).unwrap();
    });
    let result = result.await;
    assert_eq!(end(&result), ScriptEnd::Exit(0));
    let told = fs::read_to_string(module.runner.setup.active_dir.join("bin/told")).unwrap();
    assert!(printed(&result).starts_with("-----") && told.ends_with("_stop_sec.ulog"), "{told}");
}

#[tokio::test]
async fn a_file_that_is_not_executable_is_named() {
    let module = Module::new();
    module.script("prestart", "#!/bin/sh\n");
    let path = module.runner.path(&Script::Prestart);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let call = ScriptCall::new(Script::Prestart, &["start"], Role::Wait, "");
    let result = module.runner.run(call).await;
    assert!(result.describe().contains("chmod +x"), "{result:?}");
}

#[tokio::test]
async fn without_a_user_block_nothing_runs_and_without_logging_nothing_is_kept() {
    let silent = Module::with(|setup| setup.logging = false);
    let result = silent.run("#!/bin/sh\necho words\n", None, Overrun::Script).await;
    assert!(matches!(result, ScriptResult::Ended { log: None, .. }) && silent.logs().is_empty());
    let disabled = Module::with(|setup| setup.enabled = false);
    let result = disabled.run("#!/bin/sh\n", None, Overrun::Script).await;
    assert_eq!(result, ScriptResult::Absent);
}

#[tokio::test]
async fn a_daemon_that_keeps_the_output_open_holds_nobody_up() {
    let module = Module::new();
    let script = "#!/bin/sh\nsetsid sh -c 'read x </dev/zero; sleep 600; echo later' &\n\
                  setsid sleep 600 & echo $! > pid\nsleep 600 &\nexit 0\n";
    let result = module.run(script, Some(LIMIT), Overrun::Script).await;
    assert_eq!(end(&result), ScriptEnd::Exit(0));
    let pid = fs::read_to_string(module.runner.setup.active_dir.join("bin/pid")).unwrap();
    assert!(lives(&pid), "the application goes on");
    assert!(module.runner.setup.group.members().unwrap().len() >= 3);
}

#[tokio::test]
async fn the_limit_ends_the_script_and_spares_the_application() {
    let module = Module::new();
    let pid_file = module.runner.setup.active_dir.join("bin/pid");
    let pid = || fs::read_to_string(&pid_file).unwrap_or_default();
    // Politely: TERM is enough.
    let script = "#!/bin/sh\nsetsid sleep 600 & echo $! > pid\necho $$ > own\nexec sleep 600\n";
    let begin = Instant::now();
    let limit = Some(Duration::from_millis(300));
    let result = module.run(script, limit, Overrun::Script).await;
    assert_eq!(end(&result), ScriptEnd::TimedOut { gone: true });
    assert!(begin.elapsed() < Duration::from_secs(5));
    let own = fs::read_to_string(module.runner.setup.active_dir.join("bin/own")).unwrap();
    assert!(!lives(&own) && lives(&pid()));
    // By force: TERM is ignored, and so by its children; the daemon is in another session.
    let script = "#!/bin/sh\ntrap '' TERM\nsetsid sleep 600 & echo $! > pid\nsleep 600 & \
                  echo $! > child\nwhile :; do sleep 1; done\n";
    let result = module.run(script, limit, Overrun::Script).await;
    assert_eq!(end(&result), ScriptEnd::TimedOut { gone: true });
    let child = fs::read_to_string(module.runner.setup.active_dir.join("bin/child")).unwrap();
    until("the child in the script's process group ends", || !lives(&child)).await;
    assert!(lives(&pid()));
    // Everything, when the caller says so.
    let result = module.run(script, limit, Overrun::WholeModule).await;
    assert_eq!(end(&result), ScriptEnd::TimedOut { gone: true });
    assert!(!lives(&pid()) && module.runner.setup.group.members().unwrap().is_empty());
}

#[tokio::test]
async fn an_interruption_ends_what_runs_now_only() {
    let module = Module::new();
    module.script("stop_prim", "#!/bin/sh\necho > started\nexec sleep 600\n");
    let runner = module.runner.clone();
    let call = ScriptCall::new(Script::StopPrim, &["force"], Role::Wait, "");
    let running = tokio::spawn(async move { runner.run(call).await });
    let mark = module.runner.setup.active_dir.join("bin/started");
    until("the script runs", || mark.exists()).await;
    module.runner.interrupt();
    let result = tokio::time::timeout(LIMIT, running).await.unwrap().unwrap();
    assert_eq!(end(&result), ScriptEnd::Interrupted { gone: true });
    let result = module.run("#!/bin/sh\n", None, Overrun::Script).await;
    assert_eq!(end(&result), ScriptEnd::Exit(0), "a later call is not interrupted");
}

#[tokio::test]
async fn the_limit_holds_when_nobody_waits_any_more() {
    let module = Module::new();
    module.script("stop_prim", "#!/bin/sh\necho $$ > own\nexec sleep 600\n");
    let call = ScriptCall::new(Script::StopPrim, &[], Role::Wait, "")
        .within(Duration::from_millis(300), Overrun::Script);
    let own = module.runner.setup.active_dir.join("bin/own");
    let read = || fs::read_to_string(&own).unwrap_or_default();
    {
        let mut run = std::pin::pin!(module.runner.run(call));
        let started = until("the script runs", || !read().is_empty());
        tokio::select! {
            _ = &mut run => panic!("it ended by itself"),
            () = started => {}
        }
    }
    assert!(lives(&read()));
    until("the forgotten script is ended", || !lives(&read())).await;
}

#[test]
fn logs_are_cut_to_their_newest_lines_and_old_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for number in 0..userlog::FILES_MAX + 5 {
        fs::write(path(&format!("userlog_2026-01-01T{number:06}_x.ulog")), "short\n").unwrap();
    }
    fs::write(path("log.jsonl"), vec![b'x'; 9000]).unwrap();
    let long: String = (0..1000).map(|number| format!("line {number}\n")).collect();
    let newest = path("userlog_2026-01-02T000000_y.ulog");
    fs::write(&newest, &long).unwrap();
    let mut writer = fs::OpenOptions::new().append(true).open(&newest).unwrap();
    userlog::tidy(dir.path(), 2);
    let text = fs::read_to_string(&newest).unwrap();
    assert!(text.len() <= 2048 && text.starts_with("line 7") && text.ends_with("line 999\n"));
    // Whoever still writes goes on at the end.
    std::io::Write::write_all(&mut writer, b"later\n").unwrap();
    assert!(fs::read_to_string(&newest).unwrap().ends_with("line 999\nlater\n"));
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, userlog::FILES_MAX + 1);
    assert!(!path("userlog_2026-01-01T000005_x.ulog").exists());
    assert!(path("userlog_2026-01-01T000006_x.ulog").exists());
    assert_eq!(fs::metadata(path("log.jsonl")).unwrap().len(), 9000);
    userlog::tidy(Path::new("/no/such/directory"), 1);
}

/// Without a descriptor left nobody can wait for its end; it is healthy all the same.
#[tokio::test]
async fn a_program_is_not_killed_because_its_end_cannot_be_waited_for() {
    let module = Module::new();
    module.script("looks", "#!/bin/sh\nexec sleep 600\n");
    let call = ScriptCall::new(Script::Other("looks".into()), &[], Role::Alone, "");
    let mut started = module.runner.program("looks", call).await.start().await.unwrap();
    let full = |_| std::future::ready(Err(std::io::Error::from_raw_os_error(libc::EMFILE)));
    let ended = started.ended_after(full);
    let ended = timeout(Duration::from_millis(300), ended).await;
    assert!(ended.is_err(), "{ended:?}");
}

/// The daemon that began a script is gone; the new one knows it by name only.
fn adopted(limit: Option<Duration>) -> ScriptCall {
    let mut call = ScriptCall::new(Script::StartPrim, &[], Role::Wait, "");
    call.limit = limit;
    call.grace = Duration::from_millis(200);
    call
}

#[tokio::test]
async fn a_subshell_that_a_script_left_behind_is_not_the_script() {
    let module = Module::new();
    let script = "#!/bin/sh\n( while :; do sleep 600; done ) & echo $! > pid\nexit 0\n";
    let result = module.run(script, Some(LIMIT), Overrun::Script).await;
    assert_eq!(end(&result), ScriptEnd::Exit(0));
    let pid = fs::read_to_string(module.runner.setup.active_dir.join("bin/pid")).unwrap();
    assert!(lives(&pid));
    let result = module.runner.await_adopted(adopted(None)).await;
    assert_eq!(result, ScriptResult::Absent);
    assert!(lives(&pid), "what the script left behind goes on");
}

#[tokio::test]
async fn a_script_of_an_earlier_daemon_is_waited_for_and_can_be_ended() {
    for (interrupts, text) in [(false, "sleep 600"), (true, "sleep 600"), (false, "sleep 0.5")] {
        let module = Module::new();
        let own = module.runner.setup.active_dir.join("bin/own");
        module.script("start_prim", &format!("#!/bin/sh\necho $$ > own\n{text}\nexit 0\n"));
        let earlier = module.runner.clone();
        tokio::spawn(async move { earlier.run(adopted(None)).await });
        until("the script runs", || fs::read_to_string(&own).is_ok_and(|pid| lives(&pid))).await;
        let pid = fs::read_to_string(&own).unwrap();
        let later = ScriptRunner::new((*module.runner.setup).clone());
        let limit = (!interrupts && text == "sleep 600").then(|| Duration::from_millis(300));
        let waits = later.clone();
        let waiting = tokio::spawn(async move { waits.await_adopted(adopted(limit)).await });
        if interrupts {
            // An interruption is for whoever waits already.
            until("somebody waits", || later.interrupts.receiver_count() > 0).await;
            later.interrupt();
        }
        let result = tokio::time::timeout(LIMIT, waiting).await.unwrap().unwrap();
        let wanted = match (interrupts, limit) {
            (true, _) => ScriptEnd::Interrupted { gone: true },
            (false, Some(_)) => ScriptEnd::TimedOut { gone: true },
            (false, None) => ScriptEnd::Exit(0),
        };
        assert_eq!(end(&result), wanted);
        assert!(!lives(&pid));
    }
}

#[tokio::test]
async fn a_script_and_what_it_starts_have_the_virtual_host_name() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root for a UTS namespace");
        return;
    }
    let real = nix::unistd::gethostname().unwrap();
    let module = Module::with(|setup| {
        setup.hosts.prim = Some("virtual.example".to_owned());
    });
    let text = "#!/bin/sh\nuname -n >uname; sh -c hostname >child; env -i uname -n >bare\n";
    let result = module.run(text, None, Overrun::Script).await;
    assert!(result.is_success(), "{}", result.describe());
    let read = |file: &str| {
        let path = module.runner.setup.active_dir.join("bin").join(file);
        fs::read_to_string(path).unwrap().trim().to_owned()
    };
    for file in ["uname", "child", "bare"] {
        assert_eq!(read(file), "virtual.example", "{file}");
    }
    assert_eq!(nix::unistd::gethostname().unwrap(), real, "the node keeps its name");
    module.script("prestart", "#!/bin/sh\nuname -n >before\n");
    let call = ScriptCall::new(Script::Prestart, &[], Role::Wait, "a test");
    assert!(module.runner.run(call).await.is_success());
    assert_eq!(read("before"), real.to_string_lossy());
}
