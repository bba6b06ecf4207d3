//! Goal: a group holds all that was started in it, daemons included, with a cgroup and without.
use super::*;
use std::process::{Child, Command, Stdio};
use std::thread;

const LIMIT: Duration = Duration::from_secs(5);

fn names() -> (NodeName, BootId, ModuleName) {
    let unique = format!("t{:08x}", rand::random::<u32>());
    (NodeName::new(&unique).unwrap(), BootId::random(), ModuleName::new("mod").unwrap())
}

/// Both kinds; the second as on a machine without cgroup v2. Removed when dropped.
struct Groups(Vec<(ModuleGroup, NodeName)>);

impl Groups {
    fn both() -> Groups {
        let (node, boot, module) = names();
        let first = ModuleGroup::create(&node, boot, &module);
        if let Some(why) = first.unavailable() {
            eprintln!("only the process tree is tested: {why}");
        }
        let (other, ..) = names();
        let tree = ProcessTree::new(&other, &module);
        let second = ModuleGroup::of(Inner::Tree { tree, why: "a test".into() });
        Groups(vec![(first, node), (second, other)])
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for (group, _) in &self.0 {
            for pid in group.members().unwrap_or_default() {
                tree::signal_pid(pid, libc::SIGKILL);
            }
            let until = std::time::Instant::now() + LIMIT;
            while group.remove().is_err() && std::time::Instant::now() < until {
                thread::yield_now();
            }
        }
    }
}

/// A script that leaves a daemon in a session of its own behind and waits.
fn start(group: &ModuleGroup, node: &NodeName) -> Child {
    let child = Command::new("sh")
        .args(["-c", "read go; setsid sleep 601 & exec sleep 602"])
        .env("LOCKSTEP_MODULE", "mod")
        .env("LOCKSTEP_NODE", node.as_str())
        .stdin(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    group.add(child.id()).unwrap();
    io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    child
}

async fn until_members(group: &ModuleGroup, count: usize) -> Vec<u32> {
    let until = Instant::now() + LIMIT;
    loop {
        let members = group.members().unwrap();
        let sleeps = |pid: &u32| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            comm.trim() == "sleep"
        };
        if members.len() == count && members.iter().all(sleeps) {
            return members;
        }
        assert!(Instant::now() < until, "{count} members wanted, {members:?} found");
        sleep(LOOK_AGAIN).await;
    }
}

fn state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
}

#[tokio::test]
async fn everything_started_is_frozen_thawed_and_killed() {
    let groups = Groups::both();
    for (group, node) in &groups.0 {
        assert!(!group.populated().unwrap());
        let mut child = start(group, node);
        let members = until_members(group, 2).await;
        assert!(members.contains(&child.id()) && group.populated().unwrap());
        assert_eq!(group.freeze(LIMIT).await.unwrap(), Freeze::Frozen);
        if group.unavailable().is_some() {
            assert!(members.iter().all(|pid| state(*pid) == 'T'));
        }
        group.thaw().unwrap();
        group.thaw().unwrap();
        assert_eq!(group.freeze(LIMIT).await.unwrap(), Freeze::Frozen);
        let reaped = thread::spawn(move || child.wait().unwrap());
        assert_eq!(group.kill(LIMIT).await.unwrap(), Kill::Gone);
        reaped.join().unwrap();
        assert!(!group.populated().unwrap() && group.members().unwrap().is_empty());
        let killed = group.take_killed();
        assert!(members.iter().all(|pid| killed.iter().any(|k| k.pid == *pid)), "{killed:?}");
        assert!(killed.iter().all(|k| k.name == "sleep"), "{killed:?}");
        assert_eq!(group.kill(LIMIT).await.unwrap(), Kill::Gone);
        assert_eq!(group.take_killed(), [], "nobody was there");
    }
}

#[tokio::test]
async fn a_group_is_found_again_and_removed_only_when_empty() {
    let (node, boot, module) = names();
    let group = ModuleGroup::create(&node, boot, &module);
    if let Some(why) = group.unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut child = start(&group, &node);
    until_members(&group, 2).await;
    // A daemon that was started again makes it a second time.
    let again = ModuleGroup::create(&node, boot, &module);
    assert_eq!(again.members().unwrap().len(), 2);
    assert!(again.remove().is_err());
    let reaped = thread::spawn(move || child.wait().unwrap());
    assert_eq!(again.kill(LIMIT).await.unwrap(), Kill::Gone);
    reaped.join().unwrap();
    again.remove().unwrap();
    again.remove().unwrap();
    assert!(group.members().unwrap().is_empty() && !group.populated().unwrap());
    // Removed by somebody while empty: made again by the next start.
    assert!(group.join_file().unwrap().is_some());
    group.remove().unwrap();
}

/// A process that waits for an answer of a FUSE server which never comes cannot be stopped
/// there; the freeze must say so instead of pretending, and killing must still work.
#[test]
fn a_task_that_waits_in_fuse_is_reported_as_not_frozen() {
    if !nix::unistd::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        eprintln!("skipped: needs root and /dev/fuse");
        return;
    }
    let ran = thread::spawn(|| {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};
        let none: Option<&str> = None;
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // A mount whose server never answers anything, not even the first greeting.
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&device);
        let options = format!("fd={fd},rootmode=40000,user_id=0,group_id=0");
        mount(Some("test"), dir.path(), Some("fuse"), MsFlags::empty(), Some(options.as_str()))
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(freeze_a_waiting_stat(dir.path()));
        umount2(dir.path(), MntFlags::MNT_DETACH).unwrap();
        drop(device);
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

async fn freeze_a_waiting_stat(dir: &Path) {
    let (node, boot, module) = names();
    let group = ModuleGroup::create(&node, boot, &module);
    let _removed = Groups(vec![(group.clone(), node.clone())]);
    let mut command = Command::new("sh");
    command.args(["-c", "read go; exec stat \"$0\""]).arg(dir);
    command.env("LOCKSTEP_MODULE", "mod").env("LOCKSTEP_NODE", node.as_str());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    group.add(pid).unwrap();
    io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    let until = Instant::now() + LIMIT;
    let waits = || fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    // The wait for a server that never greeted can be ended by SIGKILL only.
    while !(waits().contains("fuse") && state(pid) == 'D') {
        assert!(Instant::now() < until, "stat does not wait: {} {}", state(pid), waits());
        sleep(LOOK_AGAIN).await;
    }
    let frozen = group.freeze(Duration::from_millis(100)).await.unwrap();
    assert_eq!(frozen, Freeze::Pending { pids: vec![pid] });
    let reaped = thread::spawn(move || child.wait().unwrap());
    assert_eq!(group.kill(LIMIT).await.unwrap(), Kill::Gone);
    reaped.join().unwrap();
}
