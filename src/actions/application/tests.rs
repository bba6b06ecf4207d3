//! Goal: an agent is told what the OCF API promises and judged by its codes; a start ends when the
//! application is up, a stop when it is down. The agent is a real one, written for the test: a
//! shell script with a state file, a process of its own, and ways to fail. systemd is one too.
use super::*;
use crate::actions::cgroup::ModuleGroup;
use crate::actions::script::ScriptSetup;
use crate::fixture;
use crate::model::{Agent, BootId, ModuleName, NodeName};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// `dir`: where it keeps its state. There, `fail_ACTION` holds the code that ACTION ends with
/// before it does anything, and `hang_ACTION` makes it wait.
const AGENT: &str = r#"#!/bin/sh
action=$1
[ "$action" = meta-data ] && {
    echo '<?xml version="1.0"?><resource-agent name="app"><parameters>
        <parameter name="dir" required="1"/></parameters><actions>
        <action name="start" timeout="9s"/><action name="stop" timeout="8s"/>
        <action name="monitor" timeout="7s" interval="6s"/>
        <action name="monitor" depth="10" timeout="5s"/></actions></resource-agent>'
    exit 0
}
dir=$OCF_RESKEY_dir
echo "$OCF_RESOURCE_INSTANCE $action" >>"$dir/calls"
env >"$dir/env_$action"
echo "the agent was told to $action"
[ ! -e "$dir/hang_$action" ] || sleep 600
[ ! -e "$dir/fail_$action" ] || exit "$(cat "$dir/fail_$action")"
runs() {
    [ -e "$dir/pid" ] || return 1
    grep -q '^State:.[^ZX]' "/proc/$(cat "$dir/pid")/status" 2>/dev/null
}
case $action in
start)
    runs && exit 0
    setsid sleep 600 </dev/null >/dev/null 2>&1 &
    echo $! >"$dir/pid" ;;
stop)
    runs && kill "$(cat "$dir/pid")"
    while runs; do sleep 0.01; done
    rm -f "$dir/pid" ;;
monitor) runs || exit 7 ;;
*) exit 3 ;;
esac
"#;

/// `DIR/unit` holds the state of the unit; every call is written to `DIR/calls`.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >>"$DIR/calls"
case "$*" in
"start -- web.service")
    [ ! -e "$DIR/broken" ] || exit 1
    [ -e "$DIR/dies" ] || echo active >"$DIR/unit" ;;
"stop -- web.service") [ -e "$DIR/stuck" ] || rm -f "$DIR/unit" ;;
"stop --no-block -- web.service") ;;
"kill --signal=SIGKILL -- web.service") rm -f "$DIR/stuck" ;;
"is-active -- web.service") [ -e "$DIR/unit" ] || exit 3 ;;
*) exit 5 ;;
esac
"#;

struct Module {
    root: tempfile::TempDir,
    runner: ScriptRunner,
    words: Arc<Mutex<Vec<Word>>>,
}

impl Module {
    fn new() -> Module {
        let root = tempfile::tempdir().unwrap();
        let provider = root.path().join("ocf/resource.d/test");
        fs::create_dir_all(&provider).unwrap();
        fixture::program(&provider.join("app"), AGENT.as_bytes());
        let node = NodeName::new(&format!("t{:08x}", rand::random::<u32>())).unwrap();
        let module = ModuleName::new("mod").unwrap();
        let bin = root.path().join("fake");
        fs::create_dir_all(&bin).unwrap();
        fixture::program(&bin.join("systemctl"), SYSTEMCTL.as_bytes());
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let setup = ScriptSetup {
            group: ModuleGroup::create(&node, BootId::random(), &module),
            module,
            node,
            peer: None,
            active_dir: root.path().join("active"),
            log_dir: root.path().join("log"),
            safe_dir: root.path().join("safe"),
            var_dir: root.path().join("log"),
            vips: Vec::new(),
            vars: vec![
                ("PATH".into(), path),
                ("DIR".into(), root.path().display().to_string()),
                ("OCF_RESKEY_dir".into(), "/forged".into()),
            ],
            hosts: Default::default(),
            enabled: true,
            logging: true,
            log_kib_max: 2048,
        };
        // As a module without a single script has it.
        fs::create_dir_all(&setup.active_dir).unwrap();
        Module { root, runner: ScriptRunner::new(setup), words: Arc::default() }
    }

    fn agent(&self, ident: &str) -> Application {
        let dir = self.dir(ident);
        fs::create_dir_all(&dir).unwrap();
        let params = vec![("dir".to_owned(), dir.display().to_string())];
        let agent = Agent { provider: "test".into(), name: "app".into(), params, depth: None };
        application(ident, RunBy::Agent(agent))
    }

    fn with(&self, all: Vec<Application>) -> Applications {
        let words = self.words.clone();
        let tell: Tell = Arc::new(move |word| words.lock().unwrap().push(word));
        let all = Applications::new(self.runner.clone(), all, LIMIT, LIMIT, tell);
        all.with_agents(&self.root.path().join("ocf")).with_systemd(self.root.path())
    }

    fn dir(&self, ident: &str) -> PathBuf {
        self.root.path().join(ident)
    }

    fn put(&self, file: &str, text: &str) {
        fs::write(self.root.path().join(file), text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.path().join(file)).unwrap_or_default()
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.root.path().join(file)).unwrap();
    }

    fn logs(&self) -> usize {
        fs::read_dir(self.root.path().join("log")).map_or(0, Iterator::count)
    }

    fn failures(&self) -> Vec<String> {
        let words = self.words.lock().unwrap();
        let how = |word: &Word| match word {
            Word::Failed { resource, action, how, .. } => {
                Some(format!("{resource} {action} {how}"))
            }
            Word::Called { .. } => None,
        };
        words.iter().filter_map(how).collect()
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let group = self.runner.setup().group.clone();
        let emptied = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(group.kill(Duration::from_secs(5)));
            let _ = group.remove();
        });
        let _ = emptied.join();
    }
}

/// One that has ended may wait for whoever reaps it.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn application(ident: &str, by: RunBy) -> Application {
    Application {
        ident: ident.to_owned(),
        by,
        start_limit: None,
        stop_limit: None,
        monitor_limit: None,
        interval: None,
    }
}

fn web() -> Application {
    application("web", RunBy::Unit("web.service".into()))
}

async fn start(all: &Applications) -> Result<(), String> {
    timeout(LIMIT, all.start(Role::Alone, "a test")).await.unwrap()
}

async fn stop(all: &Applications, how: Stop) -> Result<(), String> {
    timeout(LIMIT, all.stop(how, Role::Wait, "a test")).await.unwrap()
}

#[tokio::test]
async fn they_start_in_order_and_stop_in_reverse_with_what_the_api_promises() {
    let module = Module::new();
    let all = module.with(vec![module.agent("one"), module.agent("two")]);
    start(&all).await.unwrap();
    stop(&all, Stop::Nice).await.unwrap();
    let calls = |ident: &str| module.read(&format!("{ident}/calls"));
    assert_eq!(calls("one"), "mod.one start\nmod.one monitor\nmod.one stop\nmod.one monitor\n");
    let words = module.words.lock().unwrap().clone();
    let order: Vec<String> = words
        .iter()
        .map(|word| match word {
            Word::Called { resource, action, .. } => format!("{resource} {action}"),
            Word::Failed { .. } => panic!("{word:?}"),
        })
        .collect();
    assert_eq!(order, ["ocf.one start", "ocf.two start", "ocf.two stop", "ocf.one stop"]);
    let env = module.read("one/env_start");
    for line in [
        "OCF_RA_VERSION_MAJOR=1",
        "OCF_RA_VERSION_MINOR=1",
        "OCF_RESOURCE_INSTANCE=mod.one",
        "OCF_RESOURCE_TYPE=app",
        "OCF_RESKEY_CRM_meta_timeout=9000",
        &format!("OCF_RESKEY_dir={}", module.dir("one").display()),
        "SAFEMODULE=mod",
        "LOCKSTEP_ROLE=ALONE",
        "LOCKSTEP_REASON=a test",
    ] {
        assert!(env.lines().any(|found| found == line), "{line} is missing in\n{env}");
    }
    let Word::Called { log: Some(log), .. } = &words[0] else { panic!("{words:?}") };
    let text = fs::read_to_string(log).unwrap();
    assert!(text.contains("ocf.one start") && text.ends_with("told to start\n"), "{text}");
    assert!(log.to_str().unwrap().ends_with("_ocf.one.ulog"), "{log:?}");
    assert!(module.root.path().join("ocf/state").is_dir(), "agents keep their state there");
    assert_eq!(module.logs(), 4, "a look that could be taken leaves no log");
}

#[tokio::test]
async fn what_an_agent_starts_is_in_the_modules_group() {
    let module = Module::new();
    let all = module.with(vec![module.agent("one")]);
    start(&all).await.unwrap();
    let pid: u32 = module.read("one/pid").trim().parse().unwrap();
    assert!(module.runner.setup().group.members().unwrap().contains(&pid));
}

#[tokio::test]
async fn a_start_that_fails_ends_the_others_and_says_what_to_do() {
    let module = Module::new();
    let all = module.with(vec![module.agent("one"), module.agent("two"), module.agent("three")]);
    for (code, said) in [
        ("1", "read the agent's output"),
        ("2", "compare each <param>"),
        ("3", "the action start"),
        ("4", "lacks a right"),
        ("5", "install it as on the other node"),
        ("6", "correct the <param> lines"),
        ("7", "does not run"),
    ] {
        module.put("two/fail_start", code);
        let sentence = start(&all).await.unwrap_err();
        let begin = format!("ocf.two start ended with code {code} after ");
        assert!(sentence.starts_with(&begin) && sentence.contains(said), "{sentence}");
        assert_eq!(module.failures().last(), Some(&sentence), "it is in the log too");
    }
    assert_eq!(module.read("three/calls"), "", "what comes after it is not started");
}

#[tokio::test]
async fn a_start_is_over_when_the_application_is_up() {
    let module = Module::new();
    let all = module.with(vec![module.agent("one")]);
    module.put("one/fail_start", "0");
    let sentence = start(&all).await.unwrap_err();
    assert!(
        sentence.contains("a look says otherwise: its monitor ended with code 7"),
        "{sentence}"
    );
    module.remove("one/fail_start");
    start(&all).await.unwrap();
    start(&all).await.expect("what runs already may be started again");
}

#[tokio::test]
async fn a_stop_is_over_when_the_application_is_down() {
    let module = Module::new();
    let all = module.with(vec![module.agent("one"), module.agent("two")]);
    start(&all).await.unwrap();
    module.put("two/fail_stop", "0");
    let sentence = stop(&all, Stop::Nice).await.unwrap_err();
    assert!(sentence.contains("ocf.two stop says that all is done, but a look"), "{sentence}");
    assert_eq!(module.read("one/pid"), "", "the others are stopped all the same");
    // By force the module's processes end, and what tells of them is cleared away.
    module.remove("two/fail_stop");
    module.put("two/fail_stop", "1");
    let pid = module.read("two/pid");
    let sentence = stop(&all, Stop::Force).await.unwrap_err();
    assert!(sentence.contains("ocf.two stop ended with code 1"), "{sentence}");
    assert!(!lives(&pid), "it was killed");
    module.remove("two/fail_stop");
    stop(&all, Stop::Force).await.unwrap();
}

#[tokio::test]
async fn leftovers_are_stopped_and_what_is_down_is_left_alone() {
    let module = Module::new();
    let all = module.with(vec![module.agent("one")]);
    stop(&all, Stop::Leftovers).await.unwrap();
    assert_eq!(module.read("one/calls"), "mod.one monitor\n");
    assert!(module.read("one/env_monitor").contains("OCF_RESKEY_CRM_meta_interval=0\n"));
    // What it needs is not on this node: it cannot run here.
    module.put("one/fail_monitor", "5");
    stop(&all, Stop::Leftovers).await.unwrap();
    module.remove("one/fail_monitor");
    start(&all).await.unwrap();
    stop(&all, Stop::Leftovers).await.unwrap();
    assert_eq!(module.read("one/pid"), "");
}

#[tokio::test]
async fn limits_are_the_configurations_then_the_agents_then_the_defaults() {
    let module = Module::new();
    let of = |application: Application| {
        let all = module.with(vec![application]);
        async move { all.limits(&all.all[0]).await }
    };
    let seconds = |start, stop, monitor, interval| Limits {
        start: SECOND * start,
        stop: SECOND * stop,
        monitor: SECOND * monitor,
        interval: SECOND * interval,
    };
    assert_eq!(of(module.agent("one")).await, seconds(9, 8, 7, 6));
    let mut deep = module.agent("one");
    if let RunBy::Agent(agent) = &mut deep.by {
        agent.depth = Some(10);
    }
    assert_eq!(of(deep).await, seconds(9, 8, 5, 10));
    let mut said = module.agent("one");
    (said.start_limit, said.stop_limit) = (Some(SECOND), Some(SECOND * 2));
    (said.monitor_limit, said.interval) = (Some(SECOND * 3), Some(SECOND * 4));
    assert_eq!(of(said).await, seconds(1, 2, 3, 4));
    let mut gone = module.agent("one");
    if let RunBy::Agent(agent) = &mut gone.by {
        agent.name = "gone".into();
    }
    assert_eq!(of(gone).await, seconds(120, 10, 30, 10));
    assert_eq!(of(web()).await, seconds(300, 10, 10, 10));
}

#[tokio::test]
async fn an_agent_that_hangs_is_ended_at_its_limit() {
    let module = Module::new();
    let mut one = module.agent("one");
    (one.start_limit, one.stop_limit) = (Some(SECOND / 5), Some(SECOND / 5));
    let all = module.with(vec![one]);
    module.put("one/hang_start", "");
    let sentence = start(&all).await.unwrap_err();
    assert!(sentence.contains("was stopped at its time limit"), "{sentence}");
    module.remove("one/hang_start");
    start(&all).await.unwrap();
    module.put("one/hang_stop", "");
    let sentence = stop(&all, Stop::Nice).await.unwrap_err();
    assert!(sentence.contains("was stopped at its time limit"), "{sentence}");
}

/// Its parts have one limit together: who waits for it was told that one.
#[tokio::test]
async fn a_forced_stop_of_what_hangs_keeps_to_its_limit() {
    let module = Module::new();
    let all = module.with(vec![module.agent("one")]);
    start(&all).await.unwrap();
    let all = Applications { force: SECOND * 3, ..all };
    module.put("one/hang_stop", "");
    module.put("one/hang_monitor", "");
    let begin = Instant::now();
    assert!(all.stop(Stop::Force, Role::Wait, "a test").await.is_err());
    assert!(begin.elapsed() < SECOND * 8, "{:?}", begin.elapsed());
    assert!(!lives(&module.read("one/pid")), "and it is killed");
}

#[tokio::test]
async fn a_monitor_tells_down_from_doubtful_and_keeps_one_log() {
    let module = Module::new();
    let mut one = module.agent("one");
    one.monitor_limit = Some(SECOND);
    let all = module.with(vec![one]);
    assert!(all.monitor("ocf.other", Role::Alone).is_none());
    let mut monitor = all.monitor("ocf.one", Role::Alone).unwrap();
    assert_eq!(monitor.interval().await, SECOND * 6);
    start(&all).await.unwrap();
    let logs = module.logs();
    assert_eq!(monitor.look().await.health, Health::Running);
    assert!(module.read("one/env_monitor").contains("OCF_RESKEY_CRM_meta_interval=6000\n"));
    for (code, health) in
        [("8", Health::Running), ("190", Health::Running), ("1", Health::Doubtful)]
    {
        module.put("one/fail_monitor", code);
        assert_eq!(monitor.look().await.health, health, "{code}");
    }
    assert_eq!(monitor.look().await.health, Health::Doubtful);
    assert_eq!(module.logs(), logs + 1, "of several looks that fail the newest is kept");
    module.remove("one/fail_monitor");
    module.put("one/hang_monitor", "");
    let look = monitor.look().await;
    assert_eq!(look.health, Health::Doubtful);
    assert!(look.why.contains("did not answer within 1 s"), "{look:?}");
    module.remove("one/hang_monitor");
    stop(&all, Stop::Nice).await.unwrap();
    let look = monitor.look().await;
    assert_eq!(look.health, Health::Stopped);
    assert!(look.why.contains("code 7: the application does not run"), "{look:?}");
}

#[tokio::test]
async fn a_look_that_nobody_waits_for_is_killed() {
    let module = Module::new();
    let all = module.with(vec![module.agent("one")]);
    module.put("one/hang_monitor", "");
    let mut monitor = all.monitor("ocf.one", Role::Alone).unwrap();
    let begun = async {
        while module.read("one/env_monitor").is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        look = monitor.look() => panic!("{look:?}"),
        () = begun => {}
    }
    let begin = Instant::now();
    while module.runner.setup().group.populated().unwrap() {
        assert!(begin.elapsed() < LIMIT, "the monitor goes on");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_interruption_ends_the_row() {
    let module = Module::new();
    let all = module.with(vec![module.agent("one"), module.agent("two")]);
    module.put("one/hang_start", "");
    let starting = tokio::spawn({
        let all = all.clone();
        async move { all.start(Role::Alone, "a test").await }
    });
    while module.read("one/env_start").is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    module.runner.interrupt();
    let sentence = timeout(LIMIT, starting).await.unwrap().unwrap().unwrap_err();
    assert!(sentence.contains("was interrupted"), "{sentence}");
    assert_eq!(module.read("two/calls"), "");
}

#[tokio::test]
async fn a_start_that_an_earlier_daemon_began_is_waited_for() {
    let module = Module::new();
    let all = module.with(vec![module.agent("one")]);
    module.put("one/hang_start", "");
    let starting = tokio::spawn({
        let all = all.clone();
        async move { all.start(Role::Alone, "a test").await }
    });
    while module.read("one/env_start").is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    // Another daemon, which knows of no child.
    let setup = module.runner.setup().clone();
    let words: Tell = Arc::new(|_| {});
    let runner = ScriptRunner::new(setup);
    let later = Applications::new(runner, vec![module.agent("one")], LIMIT, LIMIT, words);
    let later = later.with_agents(&module.root.path().join("ocf"));
    assert!(timeout(SECOND / 5, later.await_starts()).await.is_err(), "it goes on");
    module.runner.interrupt();
    timeout(LIMIT, later.await_starts()).await.expect("nothing is left to wait for");
    assert!(starting.await.unwrap().is_err());
}

#[tokio::test]
async fn a_unit_is_told_through_systemctl() {
    let module = Module::new();
    let all = module.with(vec![web()]);
    start(&all).await.unwrap();
    let mut monitor = all.monitor("unit.web", Role::Alone).unwrap();
    assert_eq!(monitor.look().await.health, Health::Running);
    stop(&all, Stop::Nice).await.unwrap();
    let look = monitor.look().await;
    assert_eq!(look.health, Health::Stopped);
    assert!(look.why.contains("`systemctl status web.service`"), "{look:?}");
    let active = "is-active -- web.service\n";
    let (on, off) = ("start -- web.service\n", "stop -- web.service\n");
    assert_eq!(module.read("calls"), format!("{on}{active}{active}{off}{active}{active}"));
    // A job that fails, and a unit that is not there any more when its job has ended.
    module.put("broken", "");
    let sentence = start(&all).await.unwrap_err();
    assert!(sentence.contains("`journalctl -u web.service`"), "{sentence}");
    module.remove("broken");
    module.put("dies", "");
    let sentence = start(&all).await.unwrap_err();
    assert!(sentence.contains("systemd does not call it active"), "{sentence}");
    let other = module.with(vec![application("x", RunBy::Unit("x.service".into()))]);
    let sentence = start(&other).await.unwrap_err();
    assert!(sentence.contains("systemd does not know x.service"), "{sentence}");
}

/// Its processes are not in the module's group, so systemd kills them.
#[tokio::test]
async fn a_unit_that_does_not_stop_is_killed_through_systemd() {
    let module = Module::new();
    let all = module.with(vec![web()]);
    start(&all).await.unwrap();
    module.put("stuck", "");
    assert!(stop(&all, Stop::Nice).await.is_err());
    stop(&all, Stop::Force).await.unwrap();
    assert!(module.read("calls").contains("kill --signal=SIGKILL -- web.service\nstop -- web"));
    start(&all).await.unwrap();
    timeout(LIMIT, all.kill_units()).await.unwrap();
    let calls = module.read("calls");
    let last = "stop --no-block -- web.service\nkill --signal=SIGKILL -- web.service\n";
    assert!(calls.ends_with(last), "{calls}");
}

#[tokio::test]
async fn without_systemd_a_start_says_so_and_nothing_is_to_be_stopped() {
    let module = Module::new();
    let all = module.with(vec![web()]).with_systemd(Path::new("/nonexistent"));
    let sentence = start(&all).await.unwrap_err();
    assert!(sentence.contains("does not run systemd, which <unit> needs"), "{sentence}");
    for how in [Stop::Leftovers, Stop::Nice, Stop::Force] {
        stop(&all, how).await.unwrap();
    }
    all.kill_units().await;
    assert_eq!(module.read("calls"), "");
}
