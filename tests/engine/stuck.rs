//! A secondary that hangs while its link is up, and what is answered meanwhile.
use crate::pair::{LIMIT, Node, Pair};
use lockstep::model::{EngineEvent, Level};
use std::path::Path;
use std::time::{Duration, Instant};

/// Threads of a process that a debugger holds: to everybody else they hang, as on a dead disk.
struct Held(Vec<i32>);

impl Held {
    /// Those of `node`'s engine that work for its loop: all that touches a disk in the background.
    fn pool_of(node: &Node) -> Held {
        let mut held = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", engine_of(node))).unwrap() {
            let task = task.unwrap().path();
            let name = std::fs::read_to_string(task.join("comm")).unwrap();
            if !name.starts_with("pool-") {
                continue;
            }
            let id: i32 = task.file_name().unwrap().to_str().unwrap().parse().unwrap();
            // SAFETY: a thread of our own engine; its stop is waited for, nothing of it is touched.
            unsafe {
                assert_eq!(libc::ptrace(libc::PTRACE_ATTACH, id, 0, 0), 0, "{name}");
                assert_eq!(libc::waitpid(id, std::ptr::null_mut(), libc::__WALL), id, "{name}");
            }
            held.push(id);
        }
        assert!(!held.is_empty());
        Held(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for id in &self.0 {
            // SAFETY: as above; one that is gone is no matter.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, *id, 0, 0) };
        }
    }
}

/// Its number as this process sees it.
fn engine_of(node: &Node) -> u32 {
    let config = node.base.join("engine.json");
    let is_engine = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        words.get(1) == Some(&&b"engine"[..])
            && words.iter().any(|word| *word == config.as_os_str().as_encoded_bytes())
    };
    let numbers = std::fs::read_dir("/proc").unwrap();
    let mut numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.find(is_engine).expect("the engine runs")
}

fn sync(node: &Node, dir: &Path) -> std::process::Child {
    node.spawn(&format!("exec dd if=/dev/zero of={}/f bs=4k count=1 conv=fsync", dir.display()))
}

/// `locktimeout`: without it the barrier below would never return.
#[test]
fn a_secondary_whose_disk_hangs_is_given_up() {
    let mut pair = Pair::new(Level::Mirror);
    pair.n1.configure(|config| config.ack_limit_ms = Some(1_500));
    pair.begin();
    let held = Held::pool_of(&pair.n2);
    let began = Instant::now();
    let mut waits = sync(&pair.n1, &pair.dir);
    let lost = pair.n1.wait(|event| matches!(event, EngineEvent::PeerLost { .. }));
    let took = began.elapsed();
    let EngineEvent::PeerLost { left: false, reason, .. } = lost else { panic!("{lost:?}") };
    assert!(reason.contains("(rfs locktimeout)"), "{reason}");
    assert!(took >= Duration::from_millis(1_500) && took < LIMIT, "{took:?}");
    // What a probe asks is answered while operations are held.
    assert!(waits.try_wait().unwrap().is_none(), "held until the daemon decides");
    pair.n1.run(&format!("timeout 5 stat -f {}", pair.dir.display()));
    pair.n1.go_alone();
    assert!(pair.n1.end_of(&mut waits).success());
    drop(held);
    pair.n2.kill();
    pair.return_n2();
    pair.assert_equal();
}
