//! S7: what a return reads and sends. Only what changed travels, only zones that were touched are
//! read, and a limit of the bandwidth holds.
use crate::pair::{Node, Pair};
use lockstep::model::{EngineCommand, EngineEvent, Level, Plan, Progress};

const MIB: u64 = 1 << 20;
const BIG_MIB: u64 = 256;

/// A file whose pages are on both disks, and remembered as being there.
fn big_file(pair: &mut Pair) -> String {
    let file = pair.dir.join("big").display().to_string();
    pair.n1.run(&format!("head -c {BIG_MIB}M /dev/urandom > {file} && sync {file}"));
    pair.n1.command(&EngineCommand::Flush);
    pair.n1.wait(|event| matches!(event, EngineEvent::Flushed));
    // What was written since the last checkpoint would be compared as well.
    std::thread::sleep(std::time::Duration::from_secs(6));
    file
}

/// Rewrites 1 % of the file in random pages; how many bytes that are.
fn change_pages(node: &Node, file: &str, seed: u64) -> u64 {
    change_pages_below(node, file, seed, BIG_MIB)
}

/// As [`change_pages`], in the first `mib` of it.
fn change_pages_below(node: &Node, file: &str, seed: u64, mib: u64) -> u64 {
    let changed = BIG_MIB * MIB / 100 / 4096;
    node.run(&format!(
        "/usr/bin/python3 -c 'import os, random\nr = random.Random({seed})\n\
         fd = os.open(\"{file}\", os.O_RDWR)\n\
         for p in r.sample(range({}), {changed}): os.pwrite(fd, r.randbytes(4096), p * 4096)'",
        mib * MIB / 4096
    ));
    changed * 4096
}

/// `follower` returns to `leader`: the plan, and the bytes that travelled as the leader counts
/// them.
pub fn return_bytes(leader: &mut Node, follower: &mut Node) -> (Plan, u64) {
    follower.start();
    follower.follow(false);
    follower.wait(|event| matches!(event, EngineEvent::Ready));
    let (mut plan, mut bytes) = (None, 0);
    leader.wait(|event| {
        match event {
            EngineEvent::Return(progress) => bytes = bytes.max(progress.bytes_sent),
            EngineEvent::Handshake { verdict, .. } => plan = Some(verdict.plan.clone()),
            _ => {}
        }
        matches!(event, EngineEvent::PeerReady { .. })
    });
    (plan.expect("a plan was told"), bytes)
}

/// `reiallowedbw`: what a return sends is spread over time, from its beginning.
#[test]
fn a_return_keeps_to_its_bandwidth() {
    const LIMIT: u64 = 1_024_000;
    let mut pair = Pair::new(Level::Mirror);
    pair.n1.limit_return(LIMIT);
    pair.begin();
    pair.lose_n2();
    for file in 0..10 {
        let path = pair.dir.join(format!("big-{file}"));
        pair.n1.run(&format!("head -c {LIMIT} /dev/urandom >{}", path.display()));
    }
    let told = return_told(&mut pair);
    let last = told.last().unwrap();
    assert!(last.bytes_done >= 10 * LIMIT, "{} bytes", last.bytes_done);
    assert!(last.elapsed_ms >= 8_000, "over after {} ms", last.elapsed_ms);
    for progress in &told {
        let rate = progress.bytes_done * 1000 / progress.elapsed_ms.max(1);
        assert!(rate <= LIMIT * 12 / 10, "{rate} bytes a second: {progress:?}");
    }
    pair.assert_equal();
}

/// n2 returns to n1: what n1 told of it.
fn return_told(pair: &mut Pair) -> Vec<Progress> {
    let mut told = Vec::new();
    pair.n2.start();
    pair.n2.follow(false);
    pair.n2.wait(|event| matches!(event, EngineEvent::Ready));
    pair.n1.wait(|event| {
        if let EngineEvent::Return(progress) = event {
            told.push(progress.clone());
        }
        matches!(event, EngineEvent::PeerReady { .. })
    });
    assert!(told.len() > 1, "a return that takes seconds is told more than once");
    told
}

/// After an outage without a crash only the changed pages travel: at most 1.2 × their bytes. And
/// nothing else is read, on either node.
#[test]
fn only_changed_pages_travel() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let file = big_file(&mut pair);
    pair.lose_n2();
    let changed = change_pages(&pair.n1, &file, 1);
    let before = pair.n1.bytes_read();
    let (plan, bytes) = return_bytes(&mut pair.n1, &mut pair.n2);
    assert_eq!(plan, Plan::Zones { theirs: false });
    let read = [pair.n1.bytes_read() - before, pair.n2.bytes_read()];
    assert!(read[0] <= changed + MIB && read[1] <= MIB, "{read:?} bytes read, {changed} changed");
    pair.assert_equal();
    let limit = changed * 12 / 10;
    assert!(bytes > 0 && bytes <= limit, "{bytes} bytes travelled, at most {limit} are promised");
}

/// The primary dies, the other node takes over and writes, the dead one returns: neither reads more
/// than the zones that were touched, and what differs travels once.
#[test]
fn only_changed_pages_travel_after_the_primary_died() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let file = big_file(&mut pair);
    let before = change_pages(&pair.n1, &file, 1);
    pair.n1.kill();
    pair.n2.lead(false);
    let after = change_pages(&pair.n2, &file, 2);
    let (plan, bytes) = return_bytes(&mut pair.n2, &mut pair.n1);
    assert_eq!(plan, Plan::Zones { theirs: false });
    pair.assert_equal();
    // What was under way may be on the dead node or not: it is compared, and travels at most once.
    let limit = (before + after) * 12 / 10 + digests(&file, &pair.n2);
    assert!(bytes > 0 && bytes <= limit, "{bytes} bytes travelled, at most {limit} are promised");
}

/// The same when the only member was stopped and started: its marks were on disk before the
/// changes.
#[test]
fn only_changed_pages_travel_after_the_only_member_was_stopped() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let file = big_file(&mut pair);
    pair.lose_n2();
    let mut changed = change_pages(&pair.n1, &file, 1);
    pair.n1.release();
    pair.n1.command(&EngineCommand::Shutdown);
    pair.n1.wait_end();
    pair.n1.start();
    pair.n1.lead(false);
    changed += change_pages(&pair.n1, &file, 2);
    let (plan, bytes) = return_bytes(&mut pair.n1, &mut pair.n2);
    assert_eq!(plan, Plan::Zones { theirs: false });
    pair.assert_equal();
    let limit = changed * 12 / 10;
    assert!(bytes > 0 && bytes <= limit, "{bytes} bytes travelled, at most {limit} are promised");
}

/// The same when both nodes were stopped in order and the one that starts first writes: what
/// stopped in sync is not compared as a whole, whichever node leads.
#[test]
fn only_changed_pages_travel_after_both_were_stopped() {
    for primary_returns_first in [true, false] {
        let mut pair = Pair::mirrored(Level::Mirror);
        let file = big_file(&mut pair);
        pair.n1.release();
        pair.n2.wait(|event| matches!(event, EngineEvent::PrimaryLost { .. }));
        pair.n2.release();
        for node in [&mut pair.n1, &mut pair.n2] {
            node.command(&EngineCommand::Shutdown);
            node.wait_end();
        }
        if !primary_returns_first {
            std::mem::swap(&mut pair.n1, &mut pair.n2);
        }
        pair.n1.start();
        pair.n1.lead(false);
        let changed = change_pages(&pair.n1, &file, 2);
        let (plan, bytes) = return_bytes(&mut pair.n1, &mut pair.n2);
        assert_eq!(plan, Plan::Zones { theirs: false });
        pair.assert_equal();
        let limit = changed * 12 / 10;
        assert!(bytes > 0 && bytes <= limit, "{bytes} bytes travelled, at most {limit} promised");
    }
}

/// What a member had not on both disks when it stopped in order: a power cut of the other node may
/// have taken it there, and nothing else says so.
#[test]
fn what_the_other_disk_may_lack_is_remembered_by_an_orderly_stop() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let file = pair.dir.join("late").display().to_string();
    pair.n1.run(&format!("printf first_ >{file} && sync {file}"));
    pair.n1.run(&format!("printf second | dd of={file} conv=notrunc status=none"));
    pair.n1.release();
    pair.n1.command(&EngineCommand::Shutdown);
    pair.n1.wait_end();
    pair.n2.kill();
    // As a power cut leaves it: neither size nor time tells.
    let copy = pair.n2.backing.join("late");
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), "second");
    let modified = std::fs::metadata(&copy).unwrap().modified().unwrap();
    std::fs::write(&copy, "first_").unwrap();
    std::fs::File::options().write(true).open(&copy).unwrap().set_modified(modified).unwrap();
    pair.n1.start();
    pair.n1.lead(false);
    let (plan, _) = return_bytes(&mut pair.n1, &mut pair.n2);
    assert_eq!(plan, Plan::Zones { theirs: false });
    pair.assert_equal();
}

/// The same when the only member died: the zones that it touched are compared, no others are read.
#[test]
fn only_touched_zones_are_read_after_the_only_member_died() {
    const TOUCHED_MIB: u64 = 32;
    let mut pair = Pair::mirrored(Level::Mirror);
    let file = big_file(&mut pair);
    pair.lose_n2();
    let mut changed = change_pages_below(&pair.n1, &file, 1, TOUCHED_MIB);
    pair.n1.kill();
    pair.n1.start();
    pair.n1.lead(false);
    changed += change_pages_below(&pair.n1, &file, 2, TOUCHED_MIB);
    let before = pair.n1.bytes_read();
    let (plan, bytes) = return_bytes(&mut pair.n1, &mut pair.n2);
    assert_eq!(plan, Plan::Zones { theirs: false });
    let read = [pair.n1.bytes_read() - before, pair.n2.bytes_read()];
    let zones = (TOUCHED_MIB + 2) * MIB + changed;
    assert!(
        read.iter().all(|read| *read <= zones),
        "{read:?} bytes read, {zones} in the zones and sent"
    );
    pair.assert_equal();
    let limit = changed * 12 / 10 + TOUCHED_MIB * MIB / 4096 * 32;
    assert!(bytes > 0 && bytes <= limit, "{bytes} bytes travelled, at most {limit} are promised");
}

/// Bytes of the digests of every page of the file, 32 each.
fn digests(file: &str, node: &Node) -> u64 {
    let size: u64 = node.run(&format!("stat -c %s {file}")).trim().parse().unwrap();
    size / 4096 * 32
}
