//! What is on both disks when an application's call returns.
use crate::pair::Pair;
use lockstep::model::Level;
use std::time::{Duration, Instant};

const ROUNDS: u64 = 200;

/// Runs a script on the primary that makes `requests` changes and barriers; returns how many
/// operations the secondary was sent for them.
fn operations_of(pair: &Pair, script: &str, requests: u64) -> u64 {
    let status = || pair.n1.status.lock().unwrap().clone().unwrap();
    let before = status();
    let file = pair.dir.join("file").display().to_string();
    pair.n1.run(&format!("/usr/bin/python3 -c '{script}' {file}"));
    let begin = Instant::now();
    while status().operations < before.operations + requests {
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", status());
        std::thread::sleep(Duration::from_millis(50));
    }
    status().acknowledged.0 - before.acknowledged.0
}

/// Linux follows a synchronous write by a barrier of its own: the disks were asked already.
#[test]
fn a_synchronous_write_asks_the_disks_once() {
    let pair = Pair::mirrored(Level::Mirror);
    pair.n1.run(&format!("head -c 64K /dev/zero > {}", pair.dir.join("file").display()));
    let write = format!(
        "import os, sys; f = os.open(sys.argv[1], os.O_WRONLY | os.O_SYNC)\n\
         for i in range({ROUNDS}): os.pwrite(f, b\"x\", i)"
    );
    let sent = operations_of(&pair, &write, 2 * ROUNDS);
    assert!((ROUNDS..ROUNDS + ROUNDS / 2).contains(&sent), "{sent} operations");
}

/// A barrier that the application asks for covers what changed behind a synchronous write.
#[test]
fn a_barrier_behind_another_change_is_a_barrier() {
    let pair = Pair::mirrored(Level::Mirror);
    pair.n1.run(&format!("head -c 64K /dev/zero > {}", pair.dir.join("file").display()));
    let write = format!(
        "import os, sys; s = os.open(sys.argv[1], os.O_WRONLY | os.O_SYNC)\n\
         f = os.open(sys.argv[1], os.O_WRONLY)\n\
         for i in range({ROUNDS}): os.pwrite(s, b\"x\", i); os.pwrite(f, b\"y\", i); os.fsync(f)"
    );
    let sent = operations_of(&pair, &write, 4 * ROUNDS);
    assert!((3 * ROUNDS..3 * ROUNDS + ROUNDS / 2).contains(&sent), "{sent} operations");
}
