//! The life of a node that goes alone and takes its peer back, cut by a power failure after each
//! step its files take, with every way in which unsynced bytes and names may have been lost.
use super::*;
use crate::history::files::disk::{STEPS, Step};
use crate::history::{Mark, handshake};
use crate::model::{Plan, Side};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const BOOT: BootId = BootId(11);

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    volatile: Vec<u8>,
}

/// A disk with a page cache.
#[derive(Clone, Default)]
struct Disk {
    inodes: Vec<Inode>,
    durable: BTreeMap<PathBuf, usize>,
    volatile: BTreeMap<PathBuf, usize>,
}

/// What is left of bytes that were not synced.
#[derive(Clone, Copy, Debug)]
enum Loss {
    None,
    All,
    /// The first half of the new bytes.
    Half,
    /// The new length, but zeros.
    Zeros,
}

impl Disk {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Create(path) => match self.volatile.get(path) {
                Some(inode) => self.inodes[*inode].volatile.clear(),
                None => {
                    self.volatile.insert(path.clone(), self.inodes.len());
                    self.inodes.push(Inode::default());
                }
            },
            Step::Write(path, offset, bytes) => {
                let content = &mut self.inode(path).volatile;
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                content.resize(content.len().max(end), 0);
                content[start..end].copy_from_slice(bytes);
            }
            Step::Truncate(path, length) => self.inode(path).volatile.resize(*length as usize, 0),
            Step::Sync(path) => {
                let inode = self.inode(path);
                inode.durable = inode.volatile.clone();
            }
            Step::Rename(from, to) => {
                let inode = self.volatile.remove(from).unwrap();
                self.volatile.insert(to.clone(), inode);
            }
            Step::Remove(path) => {
                self.volatile.remove(path);
            }
            Step::SyncDir(_) => self.durable = self.volatile.clone(),
        }
    }

    fn inode(&mut self, path: &Path) -> &mut Inode {
        let inode = self.volatile[path];
        &mut self.inodes[inode]
    }

    /// Puts what a power cut leaves into `dir`.
    fn crash(&self, dir: &Path, names_kept: bool, loss: Loss) {
        for entry in fs::read_dir(dir).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let names = if names_kept { &self.volatile } else { &self.durable };
        for (path, inode) in names {
            let Inode { durable, volatile } = &self.inodes[*inode];
            let same = durable.iter().zip(volatile).take_while(|(a, b)| a == b).count();
            let content = match loss {
                Loss::None => volatile.clone(),
                Loss::All => durable.clone(),
                Loss::Half => volatile[..same + (volatile.len() - same) / 2].to_vec(),
                Loss::Zeros => {
                    let mut content = volatile[..same].to_vec();
                    content.resize(volatile.len(), 0);
                    content
                }
            };
            fs::write(dir.join(path.file_name().unwrap()), content).unwrap();
        }
    }
}

/// What is true on the replicated directories at a moment: objects that the peer lacks if it also
/// lost its page cache, and whether anything changed since it was last known to be equal.
#[derive(Clone, Debug, Default)]
struct Truth {
    changed: Vec<u64>,
    equal: bool,
    /// May this node lead, as far as it was told durably.
    alone: bool,
}

struct Life {
    dir: tempfile::TempDir,
    /// The truth from each step on.
    truths: Vec<(usize, Truth)>,
}

impl Life {
    fn now(&mut self, changed: &[u64], equal: bool, alone: bool) {
        let at = STEPS.with_borrow(|steps| steps.len());
        self.truths.push((at, Truth { changed: changed.to_vec(), equal, alone }));
    }
}

/// Runs the whole life once; returns its steps.
fn live() -> (Life, Vec<Step>) {
    let mut life = Life { dir: scratch(), truths: Vec::new() };
    let dir = life.dir.path().to_owned();
    STEPS.with_borrow_mut(Vec::clear);
    // In sync: n2's disk stands at 5, both page caches at 8. Objects 1 to 4 changed since 5.
    let (mut lineage_file, _) = LineageFile::open(&dir).unwrap();
    lineage_file.adopt(&lineage(1)).unwrap();
    let memory_file = MemoryFile::new(&dir);
    memory_file.store(&memory()).unwrap();
    life.now(&[1, 2, 3, 4], true, false);
    // Alone.
    let mut set = set();
    let mut file = DirtyFile::create(&dir, at(1, 5), &node("n2"), &mut set).unwrap();
    let alone = Memory { sole: true, in_sync_with: None, dirty_base: Some(at(1, 5)), ..memory() };
    memory_file.store(&alone).unwrap();
    life.now(&[1, 2, 3, 4], true, true);
    let mut changed = vec![1, 2, 3, 4];
    for ino in 5..8 {
        let Mark::New(record) = set.mark_pages(key(ino), 0..5) else { panic!() };
        file.append(&[record]).unwrap();
        disk::sync(&file.sync_handle().unwrap(), &dir.join("dirty")).unwrap();
        if ino == 5 {
            lineage_file.append(epoch(2, 9, lineage_file.lineage())).unwrap();
        }
        changed.push(ino);
        life.now(&changed, false, true);
    }
    // An orderly stop, then on: exact pages, and new ones asked for again.
    file.checkpoint(&mut set).unwrap();
    memory_file.store(&Memory { position: at(2, 12), exact: true, ..alone.clone() }).unwrap();
    memory_file.store(&Memory { position: at(2, 12), ..alone.clone() }).unwrap();
    let rewrite = file.start_rewrite(&set);
    let Mark::New(record) = set.mark_names(key(8)) else { panic!() };
    file.append(&[record]).unwrap();
    file.sync().unwrap();
    changed.push(8);
    life.now(&changed, false, true);
    file.finish_rewrite(rewrite.run().unwrap()).unwrap();
    // The peer is level and has recorded it; from here on operations wait for it.
    life.now(&changed, true, true);
    let level = Memory { position: at(2, 13), ..memory() };
    memory_file.store(&level).unwrap();
    // In sync again: an operation on object 50 that no file holds. The old file must not count.
    life.now(&[50], true, false);
    DirtyFile::remove(&dir).unwrap();
    memory_file.store(&Memory { exact: true, ..level }).unwrap();
    let steps = STEPS.with_borrow(Clone::clone);
    (life, steps)
}

fn peer(position: Position, exact: bool, epochs: u64, copy: CopyState) -> Side {
    Side {
        node: node("n2"),
        boot: BootId(22),
        lineage: lineage(epochs),
        position,
        exact,
        copy,
        lost_volatile: !exact && copy == CopyState::Current,
        sole: false,
        dirty_base: None,
        dirty_objects: 0,
        dirty_bytes: 0,
        window: None,
    }
}

#[test]
fn cut_anywhere_it_is_never_less_dirty_than_true_and_never_in_sync_by_mistake() {
    let (life, steps) = live();
    let scratch = scratch();
    let mut disk = Disk::default();
    let mut plans = BTreeMap::new();
    for count in 1..=steps.len() {
        disk.apply(&steps[count - 1]);
        // Before the first promise nothing is remembered, and nothing is claimed.
        let truth = life.truths.iter().rfind(|(at, _)| *at <= count).map(|(_, truth)| truth);
        for names_kept in [false, true] {
            for loss in [Loss::None, Loss::All, Loss::Half, Loss::Zeros] {
                disk.crash(scratch.path(), names_kept, loss);
                let context = format!("step {count} {:?} {names_kept} {loss:?}", steps[count - 1]);
                let Some(truth) = truth else {
                    nothing_promised(scratch.path(), &context);
                    continue;
                };
                for boot in [BOOT, BootId(12)] {
                    check(scratch.path(), boot, truth, &context, &mut plans);
                }
            }
        }
    }
    let names: Vec<_> = plans.keys().cloned().collect();
    assert_eq!(
        names,
        ["digests", "nothing", "person", "reverse", "zones"],
        "all of them were met: {plans:?}"
    );
}

fn nothing_promised(dir: &Path, context: &str) {
    let remembered = Remembered::load(dir, BOOT).unwrap_or_else(|e| panic!("{context}: {e}"));
    let side = remembered.side(&node("n1"), BOOT);
    assert!(!side.exact && !side.sole && side.dirty_base.is_none(), "{context}");
}

fn check(
    dir: &Path,
    boot: BootId,
    truth: &Truth,
    context: &str,
    plans: &mut BTreeMap<String, u32>,
) {
    let before = fs::read(dir.join("dirty")).ok();
    let remembered = Remembered::load(dir, boot).unwrap_or_else(|e| panic!("{context}: {e}"));
    let side = remembered.side(&node("n1"), boot);
    assert!(truth.alone || !side.sole || side.dirty_base.is_some(), "{context}");
    let level = [
        peer(at(1, 8), true, 1, CopyState::Current),
        peer(at(1, 5), false, 1, CopyState::Current),
        peer(at(1, 8), true, 1, CopyState::Outdated),
        peer(at(1, 5), false, 1, CopyState::Incomplete),
        peer(at(2, 13), true, 2, CopyState::Current),
        peer(at(2, 13), false, 2, CopyState::Current),
    ];
    for follower in level {
        let verdict = handshake(&side, &follower);
        let context = format!("{context}: {verdict:?}\n{follower:?}\n{side:?}");
        let plan = match verdict.plan {
            Plan::Nothing => {
                assert!(truth.equal && side.exact, "in sync by mistake: {context}");
                "nothing"
            }
            Plan::Window { .. } => panic!("no window after a restart: {context}"),
            Plan::Zones { .. } => {
                let dirty = &remembered.dirty.as_ref().unwrap().set;
                for ino in &truth.changed {
                    assert!(!dirty.is_clean(key(*ino)), "object {ino} is missing: {context}");
                }
                "zones"
            }
            Plan::Digests => "digests",
            Plan::Reverse => "reverse",
            Plan::Fork { .. } | Plan::Unrelated => "person",
        };
        *plans.entry(plan.to_owned()).or_insert(0) += 1;
    }
    // Reading again, after the repairs of the first reading, says the same.
    let again = Remembered::load(dir, boot).unwrap();
    assert_eq!(again.side(&node("n1"), boot), side, "{context}");
    if let Some(before) = before {
        fs::write(dir.join("dirty"), before).unwrap();
    }
}

#[test]
fn a_reboot_loses_memory_only_while_a_peer_was_in_sync_and_nothing_was_flushed() {
    let dir = scratch();
    let dir = dir.path();
    let file = MemoryFile::new(dir);
    let lost = |memory: &Memory, boot| {
        file.store(memory).unwrap();
        Remembered::load(dir, boot).unwrap().side(&node("n1"), boot).lost_volatile
    };
    let (same, other) = (BOOT, BootId(12));
    assert!(!lost(&memory(), same), "the engine died, the page cache did not");
    assert!(lost(&memory(), other));
    assert!(!lost(&Memory { exact: true, ..memory() }, other), "stopped in order");
    assert!(!lost(&Memory { in_sync_with: None, sole: true, ..memory() }, other), "alone");
    let still = Memory { lost_volatile: true, boot: other, ..memory() };
    assert!(lost(&still, other), "until somebody answered");
}

#[test]
fn what_is_lost_is_said_and_never_stops_the_start() {
    let dir = scratch();
    let dir = dir.path();
    let alone = Memory { sole: true, in_sync_with: None, dirty_base: Some(at(1, 5)), ..memory() };
    MemoryFile::new(dir).store(&alone).unwrap();
    let said = |what: &str| {
        let remembered = Remembered::load(dir, BOOT).unwrap();
        assert!(remembered.dirty.is_none());
        assert!(remembered.notes.iter().any(|note| note.contains(what)), "{:?}", remembered.notes);
        remembered
    };
    said("it is missing; the next return compares everything");
    DirtyFile::create(dir, at(1, 4), &node("n2"), &mut set()).unwrap();
    said("it begins at another position");
    fs::write(dir.join("dirty"), "rubbish").unwrap();
    said("its header is cut short");
    fs::write(dir.join("memory"), "rubbish").unwrap();
    let remembered = Remembered::load(dir, BOOT).unwrap();
    let side = remembered.side(&node("n1"), BOOT);
    assert_eq!((side.copy, side.exact), (CopyState::Unknown, false));
    assert!(remembered.notes[0].contains("`prim` or `second`"), "{:?}", remembered.notes);
}
