//! The lab keeps its promises: nodes are apart, a power cut loses exactly what was not synced, a
//! pause pauses, a cut cuts, the outside sees what a node sees, and nothing is left behind. Nodes
//! run without daemon in all tests but the last; what the program does is tested in
//! `tests/cluster`.
#[path = "support/lab.rs"]
mod support;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use support::{Lab, wait_for};

/// Everything that a lab could leave behind, by its name.
fn traces(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for file in ["/proc/self/mountinfo", "/proc/self/cgroup"] {
        let text = fs::read_to_string(file).expect("proc is readable");
        found.extend(text.lines().filter(|l| l.contains(name)).map(str::to_owned));
    }
    for dir in ["/run/netns", "/var/lib/lockstep-lab", "/var/lib/lockstep-lab/.cgroup/lockstep-lab"]
    {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.path().display().to_string());
        found.extend(names.filter(|path| path.contains(name)));
    }
    for device in fs::read_dir("/sys/block").expect("sysfs is readable").flatten() {
        let file = fs::read_to_string(device.path().join("loop/backing_file"));
        found.extend(file.ok().filter(|file| file.contains(name)));
    }
    found
}

#[test]
fn nodes_are_apart_where_they_must_be_and_share_the_rest() {
    let Some(lab) = Lab::bare("apart", &["--nodes", "3", "--lans", "2", "--witness"]) else {
        return;
    };
    let mut boots = std::collections::BTreeSet::new();
    for node in ["n1", "n2", "n3", "w1"] {
        assert_eq!(lab.sh(node, "hostname"), node);
        boots.insert(lab.sh(node, "cat /proc/sys/kernel/random/boot_id"));
        lab.sh(
            node,
            &format!("echo {node} | tee /srv/who /run/who /dev/shm/who /etc/lockstep/who"),
        );
        assert!(lab.holds(node, "[ -c /dev/fuse ] && [ $(cat /proc/1/comm) = bash ]"));
        assert!(lab.holds(
            node,
            "ls /sys/class/net | grep -qx lan2 && [ -e /sys/fs/cgroup/cgroup.freeze ]"
        ));
    }
    assert_eq!(boots.len(), 4, "each node has a boot of its own");
    for node in ["n1", "n2", "n3"] {
        for file in ["/srv/who", "/run/who", "/dev/shm/who", "/etc/lockstep/who"] {
            assert_eq!(lab.sh(node, &format!("cat {file}")), node, "{file}");
        }
    }
    assert!(!fs::exists("/srv/who").expect("stat"), "a node's files are not the machine's");
    let shared = format!("/tmp/{}", lab.name);
    lab.sh("n1", &format!("echo here >{shared}"));
    assert_eq!(lab.sh("n2", &format!("cat {shared}; rm {shared}")), "here");
    for address in ["LAB_ADDR_n2", "LAB_ADDR_n2_lan2", "LAB_ADDR6_n2", "LAB_ADDR_w1"] {
        let address = lab.variable(address);
        assert!(lab.holds("n1", &format!("ping -c1 -W2 {address}")), "n1 reaches {address}");
    }
    assert!(lab.holds("client", &format!("ping -c1 -W2 {}", lab.variable("LAB_ADDR_n3"))));
    let (vip, prefix) = (lab.variable("LAB_VIP"), lab.variable("LAB_PREFIX"));
    lab.sh("n2", &format!("ip addr add {vip}/{prefix} dev lan1"));
    assert!(
        lab.holds("client", &format!("ping -c1 -W2 {vip}")),
        "the client reaches a module's address"
    );
}

#[test]
fn exec_is_transparent_and_leaves_no_wrapper_in_the_node() {
    let Some(lab) = Lab::bare("exec", &["--nodes", "1"]) else { return };
    let output = lab.try_run(["exec", "n1", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    assert_eq!(lab.run(["exec", "n1", "--", "printf", "%s|", "a b", "", "*"]), "a b||*|");
    let seen = lab.sh(
        "n1",
        ": needle-in-arguments; grep -la needle-in-arguments /proc/[0-9]*/cmdline || true; : x",
    );
    assert_eq!(seen.lines().count(), 1, "only the shell carries the command's arguments: {seen}");
    assert_eq!(
        lab.run(["exec", "n1", "--", "sh", "-c", "command -v safekit"]),
        "/run/lab/bin/safekit"
    );
    assert_eq!(lab.try_run(["exec", "n9", "--", "true"]).status.code(), Some(125));
    assert_eq!(lab.try_run(["exec", "n1"]).status.code(), Some(2));
    // A command ends with the `lab exec` that started it, as a remote shell's would.
    let mut child = lab
        .command(["exec", "n1", "--", "sh", "-c", "echo $$; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("lab starts");
    let mut pid = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut pid).expect("a line");
    let alive = format!("kill -0 {}", pid.trim());
    assert!(lab.holds("n1", &alive));
    child.kill().and_then(|()| child.wait()).expect("lab exec ends");
    wait_for("the command's end", || !lab.holds("n1", &alive));
}

#[test]
fn init_reaps_what_others_leave() {
    let Some(lab) = Lab::bare("reap", &["--nodes", "1"]) else { return };
    lab.sh("n1", "for i in 1 2 3; do (sleep 0.05 & exec true) & done; wait");
    wait_for("no zombie", || !lab.holds("n1", "grep -l 'State:.Z' /proc/[0-9]*/status"));
}

#[test]
fn a_power_cut_loses_what_was_not_synced_and_nothing_else() {
    let Some(lab) = Lab::bare("power", &[]) else { return };
    let boot = lab.sh("n1", "cat /proc/sys/kernel/random/boot_id");
    lab.sh("n1", "echo kept >/srv/kept; sync /srv/kept /srv; echo lost >/srv/lost; echo x >/run/x");
    lab.sh("n1", "sleep 4242 >/dev/null 2>&1 &");
    let vip = lab.variable("LAB_VIP");
    lab.sh("n1", &format!("ip addr add {vip}/24 dev lan1"));
    assert!(lab.holds("client", &format!("ping -c1 -W2 {vip}")));
    assert!(lab.holds("n1", "pgrep -x -f 'sleep 4242'"));
    let held = fs::File::open(lab.path("n1", "/srv/kept")).expect("the copy is readable");
    lab.run(["kill", "n1"]);
    assert!(!lab.holds("client", &format!("ping -c1 -W1 {vip}")), "the address is gone at once");
    assert_eq!(fs::read(lab.path("n1", "/srv/kept")).expect("synced before"), b"kept\n");
    assert!(!lab.path("n1", "/srv/lost").exists(), "never synced");
    assert_eq!(lab.try_run(["exec", "n1", "--", "true"]).status.code(), Some(125));
    lab.run(["boot", "n1"]);
    drop(held);
    assert!(
        lab.holds("n1", "[ $(cat /srv/kept) = kept ] && [ ! -e /srv/lost ] && [ ! -e /run/x ]")
    );
    assert!(!lab.holds("n1", "pgrep -x -f 'sleep 4242'"), "no process survives");
    assert_ne!(lab.sh("n1", "cat /proc/sys/kernel/random/boot_id"), boot);
    assert!(
        !lab.holds("client", &format!("ping -c1 -W1 {vip}")),
        "addresses do not survive a boot"
    );
    let n1 = lab.variable("LAB_ADDR_n1");
    wait_for("n1 on the network", || lab.holds("client", &format!("ping -c1 -W1 {n1}")));
    // Off and on again is no error, and cuts in a row leave a sound file system.
    lab.run(["boot", "n1"]);
    for round in 0..5 {
        lab.sh(
            "n1",
            &format!("echo {round} >/srv/round; sync /srv/round; echo 1 >/srv/lost{round}"),
        );
        lab.run(["kill", "n1"]);
        lab.run(["kill", "n1"]);
        lab.run(["boot", "n1"]);
        assert_eq!(
            lab.sh("n1", "cat /srv/round; ls /srv | grep -c lost || true"),
            format!("{round}\n0")
        );
    }
}

#[test]
fn a_shutdown_is_orderly() {
    let Some(lab) = Lab::bare("shutdown", &["--nodes", "1"]) else { return };
    lab.sh("n1", "echo unsynced >/srv/file");
    lab.sh("n1", "(trap 'echo stopped >/srv/stopped; exit' TERM; while :; do sleep 0.05; done) >/dev/null 2>&1 &");
    lab.run(["shutdown", "n1"]);
    assert_eq!(fs::read(lab.path("n1", "/srv/file")).expect("kept"), b"unsynced\n");
    lab.run(["boot", "n1"]);
    assert!(
        lab.holds("n1", "[ -e /srv/file ] && [ -e /srv/stopped ]"),
        "processes were asked to end"
    );
}

#[test]
fn a_frozen_node_is_silent_and_goes_on_where_it_was() {
    let Some(lab) = Lab::bare("freeze", &["--nodes", "2"]) else { return };
    lab.sh(
        "n1",
        "(while :; do date +%N >/srv/tick.new; mv /srv/tick.new /srv/tick; done) >/dev/null 2>&1 &",
    );
    let tick = lab.path("n1", "/srv/tick");
    let n1 = lab.variable("LAB_ADDR_n1");
    wait_for("ticks", || tick.exists());
    lab.run(["freeze", "n1"]);
    assert!(!lab.holds("n2", &format!("ping -c1 -W1 {n1}")), "a frozen node does not answer");
    let before = fs::read(&tick).expect("tick");
    assert!(!lab.holds("n2", &format!("ping -c1 -W1 {n1}")));
    assert_eq!(fs::read(&tick).expect("tick"), before, "nothing runs in a frozen node");
    assert!(lab.run(["status"]).contains("frozen"));
    assert_eq!(lab.try_run(["exec", "n1", "--", "true"]).status.code(), Some(125), "no hang");
    lab.run(["thaw", "n1"]);
    wait_for("ticks again", || fs::read(&tick).expect("tick") != before);
    wait_for("answers again", || lab.holds("n2", &format!("ping -c1 -W1 {n1}")));
    // A frozen node can lose its power too.
    lab.run(["freeze", "n1"]);
    lab.run(["kill", "n1"]);
    lab.run(["boot", "n1"]);
}

#[test]
fn cuts_are_exact_and_heal() {
    let Some(lab) = Lab::bare("cut", &["--nodes", "3", "--lans", "2"]) else { return };
    let reaches = |from: &str, to: &str| {
        let address = lab.variable(&format!("LAB_ADDR_{to}"));
        lab.holds(from, &format!("ping -c1 -W1 {address}"))
    };
    lab.run(["cut", "n1", "n2", "--lan", "1"]);
    assert!(!reaches("n1", "n2") && !reaches("n2", "n1"), "cut both ways");
    assert!(reaches("n1", "n2_lan2"), "the other lan is not cut");
    assert!(reaches("n1", "n3") && reaches("n2", "n3") && reaches("client", "n2"));
    lab.run(["cut", "n1", "n2"]);
    assert!(!reaches("n1", "n2_lan2"));
    lab.run(["kill", "n1"]);
    lab.run(["boot", "n1"]);
    assert!(!reaches("n1", "n2"), "a cut outlives a boot");
    lab.run(["heal"]);
    wait_for("healed", || reaches("n1", "n2") && reaches("n2", "n1_lan2"));
    lab.run(["cut", "n1", "n2", "--one-way"]);
    lab.sh("n1", "grep Icmp: /proc/net/snmp | tail -n1 | cut -d' ' -f2 >/run/before");
    assert!(!reaches("n2", "n1"), "no answer comes back");
    let heard =
        "[ $(grep Icmp: /proc/net/snmp | tail -n1 | cut -d' ' -f2) -gt $(cat /run/before) ]";
    assert!(lab.holds("n1", heard), "but what n2 sends arrives");
    lab.run(["heal"]);
    lab.run(["cut", "client", "n1"]);
    assert!(!reaches("client", "n1") && reaches("n2", "n1"));
    assert_eq!(lab.try_run(["cut", "n1", "n7"]).status.code(), Some(1));
}

#[test]
fn the_outside_sees_both_the_copy_and_what_the_node_sees() {
    let Some(lab) = Lab::bare("view", &["--nodes", "2"]) else { return };
    lab.sh("n1", "mkdir /srv/d; echo beneath >/srv/d/file; mount -t tmpfs cover /srv/d; echo above >/srv/d/file");
    let (copy, seen) = (lab.path("n1", "/srv/d"), lab.view("n1", "/srv/d"));
    assert_eq!(fs::read(copy.join("file")).expect("copy"), b"beneath\n");
    assert_eq!(fs::read(seen.join("file")).expect("view"), b"above\n");
    fs::write(seen.join("from-outside"), "x").expect("the view is writable");
    assert!(lab.holds("n1", "[ -e /srv/d/from-outside ]"));
    assert!(!lab.holds("n2", "[ -e /srv/d ]"));
    lab.sh("n1", "umount /srv/d");
    assert_eq!(
        fs::read(seen.join("file")).expect("view"),
        b"beneath\n",
        "uncovered outside as well"
    );
    // Over the root of the node's own directory, and gone with the node.
    lab.sh("n1", "mount -t tmpfs cover /srv; echo root >/srv/file");
    assert_eq!(fs::read(lab.view("n1", "/srv/file")).expect("view"), b"root\n");
    lab.run(["kill", "n1"]);
    assert!(
        !lab.try_run(["view", "n1", "/srv"]).status.success(),
        "a node that is off sees nothing"
    );
    assert!(traces(&lab.name).iter().all(|mount| !mount.contains("cover")), "its mounts are gone");
    assert_eq!(lab.path("n1", "/tmp/../usr"), std::path::Path::new("/usr"));
}

#[test]
fn a_full_disk_is_really_full() {
    let Some(lab) = Lab::bare("full", &["--nodes", "1", "--disk-mb", "64"]) else { return };
    lab.run(["fill", "n1", "2"]);
    assert!(
        !lab.holds("n1", "head -c 4M /dev/zero >/srv/big && sync /srv/big"),
        "no space for 4 MB"
    );
    lab.sh("n1", "rm -f /srv/big");
    lab.run(["unfill", "n1"]);
    lab.sh("n1", "head -c 4M /dev/zero >/srv/big && sync /srv/big");
}

#[test]
fn rates_limit_both_directions_and_outlive_a_boot() {
    let Some(lab) = Lab::bare("rate", &["--nodes", "1"]) else { return };
    lab.run(["rate", "n1", "8mbit"]);
    let limited = "tc qdisc show dev lan1 | grep -q 'tbf.*rate 8Mbit'";
    assert!(lab.holds("n1", limited));
    lab.run(["kill", "n1"]);
    lab.run(["boot", "n1"]);
    assert!(lab.holds("n1", limited));
    lab.run(["rate", "n1", "off"]);
    assert!(!lab.holds("n1", limited));
}

/// A dead or hung FUSE server, labs side by side, an interrupted `up`: `down` removes all of it.
#[test]
fn down_leaves_nothing_behind() {
    let Some(lab) = Lab::bare("down-a", &[]) else { return };
    let Some(other) = Lab::bare("down-b", &["--disk", "dir"]) else { return };
    assert!(lab.run(["up"]).contains("is up already"));
    assert!(!lab.try_run(["up", "--nodes", "5"]).status.success(), "another shape is refused");
    let hang = "mkdir /srv/h; exec 5<>/dev/fuse; \
                mount -i -t fuse hang /srv/h -o fd=5,rootmode=40000,user_id=0,group_id=0; \
                sleep 1000 >/dev/null 2>&1 & (cat </srv/h/x) >/dev/null 2>&1 &";
    lab.sh("n1", hang);
    lab.sh("n2", "mkdir /srv/m; mount -t tmpfs x /srv/m; cd /srv/m; sleep 1000 >/dev/null 2>&1 &");
    assert!(!traces(&lab.name).is_empty() && !traces(&other.name).is_empty());
    lab.run(["down"]);
    wait_for("no trace of the first lab", || traces(&lab.name).is_empty());
    assert!(other.holds("n1", "echo still >/srv/here"), "the other lab goes on");
    assert!(lab.run(["down"]).contains("there is no lab"));
    // An `up` that is ended in the middle is cleared away by the next one.
    let mut up = lab.command(["up"]).stdout(Stdio::null()).spawn().expect("lab starts");
    let conf = format!("/var/lib/lockstep-lab/{}/n1/disk.img", lab.name);
    wait_for("half a lab", || fs::exists(&conf).expect("stat"));
    up.kill().and_then(|()| up.wait()).expect("up ends");
    lab.run(["up"]);
    assert!(lab.holds("n2", "true"));
    lab.run(["down"]);
    other.run(["down"]);
    wait_for("no trace", || traces(&lab.name).is_empty() && traces(&other.name).is_empty());
}

#[test]
fn up_joins_a_cluster_and_init_keeps_its_daemons() {
    let Some(lab) = Lab::cluster("joined", &["--nodes", "3", "--lans", "2"]) else { return };
    for node in ["n1", "n2", "n3"] {
        let state = lab.sh(node, "lockstep cluster state --json");
        assert_eq!(state.matches("\"reachable\": true").count(), 3, "{node}: {state}");
        assert_eq!(state.matches("\"lan\": \"lan2\"").count(), 3, "{node}: {state}");
    }
    let daemon = "pgrep -x -f 'lockstep daemon'";
    let before = lab.sh("n1", daemon);
    lab.sh("n1", &format!("kill -KILL {before}"));
    let since = std::time::Instant::now();
    wait_for("another daemon", || lab.holds("n1", &format!("{daemon} | grep -qvx {before}")));
    assert!(
        since.elapsed().as_millis() < 1000,
        "init starts it again at once: {:?}",
        since.elapsed()
    );
    lab.run(["kill", "n2"]);
    lab.run(["boot", "n2"]);
    assert!(lab.holds("n2", "lockstep level"), "boot returns when the daemon answers");
    lab.run(["shutdown", "n3"]);
    assert!(lab.path("n3", "/var/log/lockstep/daemon.log").exists(), "its log lies on its disk");
}
