//! A cluster of two nodes with one module, `counter`, and the words in which the tests speak.
use crate::agents;
use crate::copies;
use crate::counter::{self, Record};
use crate::support::{Lab, pack};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub const MODULE: &str = "counter";
pub const DATA: &str = "/srv/counter";
/// Time limit of heartbeats in the test's configuration.
pub const HEART_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a state may take that needs scripts, a return or an election.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Factor on promised times: a debug build on a machine that other work shares.
pub const SLACK: u32 = 3;

/// Two clusters at once would measure each other.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Cluster {
    pub lab: Lab,
    pub vip: String,
    pub vip6: String,
    /// Files outside the nodes: the record of the client, the calls of the scripts.
    outside: tempfile::TempDir,
    client: Option<Child>,
    first_number: u64,
    _alone: MutexGuard<'static, ()>,
}

/// One call of a script, as the script itself wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub node: String,
    pub script: String,
    pub args: String,
}

/// What a test wants different from the usual module.
#[derive(Clone, Copy, Default)]
pub struct Wish {
    /// Attributes of `<service>`, e.g. `failover="off"`.
    pub service: &'static str,
    /// Attributes of `<rfs>`, e.g. `async="none"`.
    pub rfs: &'static str,
    /// Elements of `<service>`, and `check="on"` for the addresses with them. `%CLIENT%` is the
    /// address of the lab's client.
    pub watch: Option<&'static str>,
    /// The application is started by what is named in `<user>`, see `agents`, and not by scripts.
    pub named: bool,
}

impl Cluster {
    /// Nodes joined, module installed and applied on both, nothing started. `None` without root.
    pub fn installed(test: &str, wish: Wish) -> Option<Cluster> {
        let alone = alone();
        let lab = Lab::cluster(test, &["--disk-mb", "512"])?;
        let outside = tempfile::tempdir().unwrap();
        let (vip, vip6) = (lab.variable("LAB_VIP"), lab.variable("LAB_VIP6"));
        let cluster =
            Cluster { lab, vip, vip6, outside, client: None, first_number: 1, _alone: alone };
        for node in ["n1", "n2"] {
            cluster.lab.sh(node, &format!("mkdir -p {DATA}"));
            if wish.named {
                agents::prepare(&cluster.lab, node);
            }
        }
        let archive = cluster.outside.path().join("counter.safe");
        cluster.make_archive(&archive, wish);
        cluster.ok("n1", &["module", "install", "-m", MODULE, archive.to_str().unwrap()]);
        cluster.ok("n1", &["-H", "*", "-E", MODULE]);
        Some(cluster)
    }

    /// As [`Cluster::installed`], then n1 PRIM Ready and n2 SECOND Ready.
    pub fn started(test: &str, wish: Wish) -> Option<Cluster> {
        let cluster = Cluster::installed(test, wish)?;
        cluster.ok("n1", &["prim", "-m", MODULE]);
        cluster.wait("n1", "ALONE Ready");
        cluster.ok("n2", &["second", "-m", MODULE]);
        cluster.wait("n2", "SECOND Ready");
        cluster.wait("n1", "PRIM Ready");
        Some(cluster)
    }

    /// `lockstep WORDS` in a node, whatever comes of it.
    pub fn cli(&self, node: &str, words: &[&str]) -> Output {
        self.lab.try_run([&["exec", node, "--", "lockstep"], words].concat())
    }

    /// `lockstep WORDS` in a node; it must succeed.
    pub fn ok(&self, node: &str, words: &[&str]) -> String {
        self.lab.run([&["exec", node, "--", "lockstep"], words].concat())
    }

    /// The module on a node as `state --json` tells it; `Null` while nobody answers.
    pub fn view(&self, node: &str) -> Value {
        let output = self.cli(node, &["state", "-l", "-m", MODULE, "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        document["answers"][0]["data"].clone()
    }

    /// Role and readiness, e.g. `PRIM Ready`.
    pub fn state(&self, node: &str) -> String {
        let view = self.view(node);
        let word = |name: &str| view[name].as_str().unwrap_or("?").to_owned();
        format!("{} {}", word("role"), word("readiness"))
    }

    /// Waits for a state; returns how long it took.
    pub fn wait(&self, node: &str, wanted: &str) -> Duration {
        let begin = Instant::now();
        loop {
            let state = self.state(node);
            if state == wanted {
                return begin.elapsed();
            }
            assert!(begin.elapsed() < LIMIT, "{node} is {state}, not {wanted}, after {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until one node is PRIM Ready and the other SECOND Ready.
    pub fn wait_whole(&self) {
        let begin = Instant::now();
        loop {
            let mut states = [self.state("n1"), self.state("n2")];
            states.sort();
            if states == ["PRIM Ready", "SECOND Ready"] {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "not PRIM and SECOND again, but {states:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The texts of the module's log on a node, read from its disk.
    pub fn log(&self, node: &str) -> Vec<String> {
        let file = format!("/var/log/lockstep/modules/{MODULE}/log.jsonl");
        let text = fs::read_to_string(self.lab.path(node, &file)).unwrap_or_default();
        let entry = |line: &str| {
            let entry: Value = serde_json::from_str(line).ok()?;
            Some(entry["text"].as_str()?.to_owned())
        };
        text.lines().filter_map(entry).collect()
    }

    /// Size, objects, time and rate of a return, in the log of the node that returned, after its
    /// first `from` entries.
    pub fn wait_statistics(&self, node: &str, from: usize) {
        for words in ["Copied ", "Reintegration ended"] {
            crate::support::wait_for(&format!("{words:?} in the log of {node}"), || {
                self.log(node).iter().skip(from).any(|text| text.contains(words))
            });
        }
    }

    pub fn wait_log(&self, node: &str, words: &str) {
        crate::support::wait_for(&format!("{words:?} in the log of {node}"), || {
            self.log(node).iter().any(|text| text.contains(words))
        });
    }

    /// All script calls so far, in the order in which they began.
    pub fn calls(&self) -> Vec<Call> {
        let text = fs::read_to_string(self.outside.path().join("calls")).unwrap_or_default();
        let call = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let mut next = || words.next().unwrap_or_default().to_owned();
            Call { node: next(), script: next(), args: next().trim_end().to_owned() }
        };
        text.lines().map(call).collect()
    }

    /// Names of the scripts that a node called since `before` calls were made.
    pub fn calls_since(&self, before: usize, node: &str) -> Vec<String> {
        let calls = self.calls().into_iter().skip(before).filter(|call| call.node == node);
        calls.filter(|call| call.script != "transition").map(|call| call.script).collect()
    }

    /// A folder outside the nodes, which they see under the same path.
    pub fn outside(&self) -> &Path {
        self.outside.path()
    }

    /// Where the node's own copy of the data can be read from outside.
    pub fn copy(&self, node: &str) -> PathBuf {
        self.lab.path(node, DATA)
    }

    /// The client begins to give numbers to the virtual address, from outside the nodes.
    pub fn start_client(&mut self) {
        let program = std::env::current_exe().unwrap();
        let mut command = self.lab.command(["exec", "client", "--", "env"]);
        command.arg(format!("COUNTER_TO={}:{}", self.vip, counter::PORT));
        command.arg(format!("COUNTER_RECORD={}", self.record_path().display()));
        command.arg(format!("COUNTER_FIRST={}", self.first_number));
        command.arg(program).args(["--exact", "counter::drive", "--ignored", "--nocapture"]);
        self.client = Some(command.stdout(Stdio::null()).spawn().unwrap());
        self.first_number += 1_000_000;
    }

    /// Waits until the client was told `count` more numbers.
    pub fn wait_acknowledged(&self, count: usize) {
        let before = self.record().acknowledged.len();
        let begin = Instant::now();
        while self.record().acknowledged.len() < before + count {
            assert!(begin.elapsed() < LIMIT, "no answers at {} for {LIMIT:?}", self.vip);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the client and returns all that was acknowledged since the cluster began.
    pub fn stop_client(&mut self) -> Record {
        if let Some(mut client) = self.client.take() {
            client.kill().and_then(|()| client.wait()).unwrap();
        }
        self.record()
    }

    pub fn record(&self) -> Record {
        Record::read(&self.record_path())
    }

    fn record_path(&self) -> PathBuf {
        self.outside.path().join("record")
    }

    /// Both copies hold all that was acknowledged and are equal in every respect. The client must
    /// be stopped, the secondary Ready.
    pub fn check_copies(&self) {
        let acknowledged = self.record().acknowledged;
        for node in ["n1", "n2"] {
            counter::check(&self.copy(node), &acknowledged);
        }
        // What was on its way when the client was stopped may still arrive.
        let begin = Instant::now();
        let mut found = Some(String::new());
        while found.is_some() && begin.elapsed() < Duration::from_secs(10) {
            found = copies::difference(
                &copies::look(&self.copy("n1")),
                &copies::look(&self.copy("n2")),
            );
        }
        assert!(found.is_none(), "the copies differ:\n{}", found.unwrap_or_default());
    }

    /// Process of the application on a node, as its start script noted it.
    pub fn application(&self, node: &str) -> String {
        self.lab.sh(node, "cat /run/counter.pid 2>/dev/null || true")
    }

    /// Process of the module's engine on a node.
    pub fn engine(&self, node: &str) -> String {
        let pid = &self.view(node)["replication"]["engine"]["pid"];
        pid.as_u64().expect("an engine runs").to_string()
    }

    /// Waits for an engine that is not this one.
    pub fn wait_engine_after(&self, node: &str, old: &str) {
        crate::support::wait_for("another engine", || {
            let pid = &self.view(node)["replication"]["engine"]["pid"];
            pid.as_u64().is_some_and(|pid| pid.to_string() != old)
        });
    }

    fn make_archive(&self, file: &Path, wish: Wish) {
        let note = "#!/bin/sh\necho \"$LOCKSTEP_NODE ${0##*/} $*\" >>\"$CALLS\"\n";
        let program = std::env::current_exe().unwrap();
        let start = format!(
            "{note}cd /\nCOUNTER_DIR={DATA} setsid {} --exact counter::serve --ignored --nocapture &\n\
             echo $! >/run/counter.pid\n",
            program.display()
        );
        // Plain: ask the application and wait for its end. Force: make sure.
        let stop = format!(
            "{note}signal=TERM\n[ \"$1\" != force ] || signal=KILL\n\
             pid=$(cat /run/counter.pid 2>/dev/null) || exit 0\n\
             kill -$signal \"$pid\" 2>/dev/null\n\
             while kill -0 \"$pid\" 2>/dev/null; do sleep 0.02; done\nrm -f /run/counter.pid\n"
        );
        let prestart = format!("{note}CALLS=/dev/null \"$SAFEUSERBIN/stop_prim\" force\n");
        let scripts = [
            ("prestart", prestart.as_str()),
            ("start_prim", &start),
            ("stop_prim", &stop),
            ("start_both", note),
            ("stop_both", note),
            ("start_second", note),
            ("stop_second", note),
            ("start_sec", note),
            ("stop_sec", note),
            ("poststop", note),
            ("transition", note),
        ];
        let by_agent = ["prestart", "start_prim", "stop_prim"];
        let kept = scripts.iter().filter(|(name, _)| !wish.named || !by_agent.contains(name));
        let kept: Vec<(&str, &str)> = kept.copied().collect();
        pack(file, &self.userconfig(wish), &kept);
    }

    fn userconfig(&self, wish: Wish) -> String {
        let watch = wish.watch.unwrap_or_default();
        format!(
            r#"<!DOCTYPE safe>
<safe>
  <service mode="mirror" defaultprim="alone" {service}>
    <heart pulse="200ms" timeout="{timeout}ms"><heartbeat name="default"/></heart>
    <vip>
      <interface_list><interface check="{check}"><real_interface>
        <virtual_addr addr="{vip}" where="one_side_alias" check="{check}"/>
        <virtual_addr addr="{vip6}" where="one_side_alias" check="{check}"/>
      </real_interface></interface></interface_list>
    </vip>
    <rfs {rfs}><replicated dir="{DATA}"/></rfs>
    {watch}
    <user nicestoptimeout="20s" forcestoptimeout="10s">
      <var name="CALLS" value="{calls}"/>
      {named}
    </user>
  </service>
</safe>
"#,
            service = wish.service,
            rfs = wish.rfs,
            named = if wish.named { agents::NAMED } else { "" },
            watch = watch.replace("%CLIENT%", &self.lab.variable("LAB_ADDR_client")),
            check = if wish.watch.is_some() { "on" } else { "off" },
            timeout = HEART_TIMEOUT.as_millis(),
            vip = self.vip,
            vip6 = self.vip6,
            calls = self.outside.path().join("calls").display(),
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_client();
        if std::thread::panicking() {
            for node in ["n1", "n2"] {
                eprintln!("--- {node}: {}", self.state(node));
                eprintln!("{node} replication: {}", self.view(node)["replication"]);
                let log = self.log(node);
                for text in log.iter().skip(log.len().saturating_sub(40)) {
                    eprintln!("{node}: {text}");
                }
                let look = "ps -eo pid,stat,args | grep -v '\\['; ip -br addr; ss -tn; tail -n 20 \
                    $(ls -t /var/log/lockstep/modules/counter/userlog_*start_prim* | head -n 1)";
                let look = self.lab.try_run(["exec", node, "--", "sh", "-c", look]);
                eprintln!("{node}: {}", String::from_utf8_lossy(&look.stdout));
                let daemon = self.lab.path(node, "/var/log/lockstep/daemon.log");
                let daemon = fs::read_to_string(daemon).unwrap_or_default();
                // What stands in the module's log is there twice.
                let lines = daemon.lines().filter(|line| !line.contains("node::journal"));
                let lines: Vec<&str> = lines.collect();
                for line in &lines[lines.len().saturating_sub(20)..] {
                    eprintln!("{node} daemon: {line}");
                }
            }
            for call in self.calls() {
                eprintln!("call: {} {} {}", call.node, call.script, call.args);
            }
        }
    }
}
