//! Every format against a fixture, every byte cut and flipped, every step of going alone and back
//! cut by a power failure. What is read back is never less dirty than the truth.
mod crash;
mod formats;

use super::*;
use crate::history::dirty::{DirtySet, ObjectKey, ZONE};
use crate::model::{
    BootId, CopyState, EpochId, EpochKind, EpochRecord, Lineage, ModuleName, NodeName, Position,
    Seq,
};

/// In memory where that exists: what is tested is not the speed of a disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn key(ino: u64) -> ObjectKey {
    ObjectKey { dir: 1, ino, generation: 7 }
}

fn at(epoch: u128, seq: u64) -> Position {
    Position { epoch: Some(EpochId(epoch)), seq: Seq(seq) }
}

fn epoch(id: u128, first_seq: u64, before: &Lineage) -> EpochRecord {
    EpochRecord {
        id: EpochId(id),
        number: before.generation() + 1,
        parent: before.last().map(|epoch| epoch.id),
        first_seq: Seq(first_seq),
        node: node("n1"),
        kind: EpochKind::Alone,
        reason: "start: prim".to_owned(),
        wall_ms: 1_767_225_600_000,
    }
}

fn lineage(epochs: u64) -> Lineage {
    let mut lineage = Lineage::default();
    for number in 0..epochs {
        lineage.epochs.push(epoch(u128::from(number) + 1, 1 + 8 * number, &lineage));
    }
    lineage
}

fn memory() -> Memory {
    Memory {
        module: ModuleName::new("postgresql").unwrap(),
        cluster: "5f1d".to_owned(),
        node: node("n1"),
        boot: BootId(11),
        copy: CopyState::Current,
        sole: false,
        in_sync_with: Some(node("n2")),
        position: at(1, 5),
        exact: false,
        lost_volatile: false,
        dirty_base: None,
        made_unmarked: false,
        left_out: Vec::new(),
    }
}

fn set() -> DirtySet {
    let mut set = DirtySet::new();
    let _ = set.mark_names(key(1));
    let _ = set.mark_attributes(key(2));
    let _ = set.mark_whole(key(3));
    let _ = set.mark_pages(key(4), 0..2 * ZONE + 1);
    set
}
