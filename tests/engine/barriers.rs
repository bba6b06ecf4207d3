//! What is on both disks when an application's call returns.
use crate::pair::Pair;
use lockstep::model::Level;
use std::os::unix::fs::MetadataExt;
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

/// Writes longer than a piece, of odd lengths and at odd places, plain and synchronous; one goes
/// over the largest size of a file and fails as a whole, on both copies alike.
#[test]
fn a_long_write_is_one_write() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let script = "import errno, os, random, sys\n\
         data = random.Random(7).randbytes(3 << 20)\n\
         for flags in (0, os.O_SYNC):\n\
        \x20 name = sys.argv[1] + str(flags)\n\
        \x20 f = os.open(name, os.O_RDWR | os.O_CREAT | flags)\n\
        \x20 for at, length in ((0, 3 << 20), (4097, 131073), (777, 1 << 20), (1 << 20, 262144)):\n\
        \x20   assert os.pwrite(f, data[at:at + length], at) == length\n\
        \x20 assert os.pread(f, 3 << 20, 0) == data\n\
         f = os.open(sys.argv[1] + \"long\", os.O_RDWR | os.O_CREAT)\n\
         try: os.pwrite(f, data[:1 << 20], (16 << 40) - (300 << 10)); sys.exit(\"no error\")\n\
         except OSError as error: assert error.errno == errno.EFBIG, error";
    let file = pair.dir.join("file").display().to_string();
    pair.n1.run(&format!("/usr/bin/python3 -c '{script}' {file}"));
    // Much too long to be compared byte by byte.
    let long = |node: &crate::pair::Node| std::fs::metadata(node.backing.join("filelong")).unwrap();
    let (here, there) = (long(&pair.n1), long(&pair.n2));
    assert_eq!((here.len(), here.blocks()), (there.len(), there.blocks()));
    pair.n1.run(&format!("rm {file}long"));
    pair.assert_equal();
    pair.lose_n2();
    pair.return_n2();
    pair.assert_equal();
}

/// `level=` of a directory: its plain writes are on the secondary's disk when they return, though
/// the module's level asks for no disk.
#[test]
fn a_directory_may_have_a_level_of_its_own() {
    let mut pair = Pair::new(Level::Memory);
    for node in [&pair.n1, &pair.n2] {
        node.configure(|config| config.dirs[0].level = Some(Level::Disk));
    }
    pair.begin();
    let durable = || pair.n1.status.lock().unwrap().as_ref().map_or(0, |status| status.durable.0);
    let end = Instant::now() + crate::pair::LIMIT;
    let wait = |wanted: u64| {
        while durable() < wanted {
            assert!(Instant::now() < end, "{} of {wanted} on disk", durable());
            std::thread::sleep(Duration::from_millis(3));
        }
    };
    // The end of the return is on both disks.
    wait(1);
    let before = durable();
    for name in ["a", "b", "c"] {
        pair.n1.run(&format!("echo {name} > {}/{name}", pair.dir.display()));
    }
    // Three files are made and written.
    wait(before + 6);
}
