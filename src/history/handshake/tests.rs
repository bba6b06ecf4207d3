//! Stories from the field, one a test: what happened, and what must be said.
use super::{discard, handshake};
use crate::model::{
    CopyState, EpochId, EpochKind, EpochRecord, Lineage, NodeName, Plan, Position, Seq, Side,
};

fn epoch(id: u128, node: &str, first_seq: u64, before: &Lineage) -> EpochRecord {
    EpochRecord {
        id: EpochId(id),
        number: before.generation() + 1,
        parent: before.last().map(|epoch| epoch.id),
        first_seq: Seq(first_seq),
        node: NodeName::new(node).unwrap(),
        kind: EpochKind::Alone,
        reason: String::new(),
        wall_ms: 0,
    }
}

fn side(node: &str, lineage: Lineage) -> Side {
    Side { lineage, ..Side::sample(node) }
}

fn at(epoch: u128, seq: u64) -> Position {
    Position { epoch: Some(EpochId(epoch)), seq: Seq(seq) }
}

/// `n1` wrote epoch 1 (operations 1 to 8) with `n2` in sync.
fn pair() -> (Side, Side) {
    let mut lineage = Lineage::default();
    lineage.epochs.push(epoch(1, "n1", 1, &lineage));
    let [n1, n2] =
        ["n1", "n2"].map(|node| Side { position: at(1, 8), ..side(node, lineage.clone()) });
    (n1, n2)
}

/// `alone` went on from operation 9 and stands at 20; its peer's disk stood at 5.
fn went_on(alone: &mut Side, id: u128) {
    let node = alone.node.as_str().to_owned();
    alone.lineage.epochs.push(epoch(id, &node, 9, &alone.lineage));
    (alone.position, alone.dirty_base) = (at(id, 20), Some(at(1, 5)));
    (alone.dirty_objects, alone.sole) = (3, true);
}

fn plan(leader: &Side, follower: &Side) -> Plan {
    handshake(leader, follower).plan
}

#[test]
fn equal_copies_need_nothing_unless_something_is_marked() {
    let (mut n1, n2) = pair();
    assert_eq!(plan(&n1, &n2), Plan::Nothing);
    n1.dirty_objects = 1;
    assert_eq!(plan(&n1, &n2), Plan::Digests, "equal position, marks, no base");
    n1.dirty_base = Some(at(1, 8));
    assert_eq!(plan(&n1, &n2), Plan::Zones { theirs: false });
}

#[test]
fn a_short_cut_is_mended_from_the_window() {
    let (mut n1, n2) = pair();
    went_on(&mut n1, 2);
    n1.window = Some((Seq(3), Seq(20)));
    assert_eq!(plan(&n1, &n2), Plan::Window { from: Seq(9) });
    let reset = Side { exact: false, lost_volatile: true, ..n2 };
    assert_eq!(plan(&n1, &reset), Plan::Zones { theirs: false }, "its page cache is gone");
}

#[test]
fn a_crashed_secondary_returns_by_zones_from_its_checkpoint() {
    let (mut n1, mut n2) = pair();
    went_on(&mut n1, 2);
    (n2.exact, n2.lost_volatile, n2.position.seq) = (false, true, Seq(6));
    assert_eq!(plan(&n1, &n2), Plan::Zones { theirs: false });
    n2.position.seq = Seq(4);
    assert_eq!(handshake(&n1, &n2).rule, "base-mismatch", "an old snapshot of its disk");
}

#[test]
fn a_crashed_primary_follows_the_one_that_took_over() {
    let (mut n1, mut n2) = pair();
    went_on(&mut n2, 2);
    (n1.exact, n1.lost_volatile, n1.position.seq) = (false, true, Seq(5));
    assert_eq!(plan(&n2, &n1), Plan::Zones { theirs: false });
    assert_eq!(plan(&n1, &n2), Plan::Reverse);
}

#[test]
fn marks_that_begin_behind_the_leaders_own_disk_do_not_cover_its_crash() {
    let (mut n1, n2) = pair();
    went_on(&mut n1, 2);
    (n1.exact, n1.position) = (false, at(1, 3));
    assert_eq!(handshake(&n1, &n2).rule, "leader-before-base");
    n1.position = at(1, 5);
    assert_eq!(plan(&n1, &n2), Plan::Zones { theirs: false });
}

#[test]
fn the_survivor_leads_after_one_lost_memory_and_both_compare_after_both_did() {
    let (mut n1, mut n2) = pair();
    (n1.exact, n1.lost_volatile, n1.position.seq) = (false, true, Seq(5));
    assert_eq!(handshake(&n1, &n2).rule, "lost-memory");
    assert_eq!(plan(&n1, &n2), Plan::Reverse);
    assert_eq!(plan(&n2, &n1), Plan::Digests);
    (n2.exact, n2.lost_volatile) = (false, true);
    assert_eq!(handshake(&n2, &n1).rule, "both-lost-memory");
    assert_eq!(plan(&n1, &n2), Plan::Reverse, "the disk that is further leads");
}

#[test]
fn both_alone_is_a_fork_until_a_person_decides() {
    let (mut n1, mut n2) = pair();
    went_on(&mut n1, 2);
    went_on(&mut n2, 3);
    let common = Some(at(1, 8));
    assert_eq!(plan(&n1, &n2), Plan::Fork { common });
    assert_eq!(plan(&n2, &n1), Plan::Fork { common });
    assert_eq!(discard(&n1, &n2).plan, Plan::Zones { theirs: true });
    n2.dirty_base = None;
    assert_eq!(discard(&n1, &n2).plan, Plan::Digests);
}

#[test]
fn alone_without_a_change_is_no_fork() {
    let (mut n1, mut n2) = pair();
    n2.sole = true;
    went_on(&mut n1, 2);
    assert_eq!(plan(&n1, &n2), Plan::Zones { theirs: false });
    assert_eq!(plan(&n2, &n1), Plan::Reverse);
}

#[test]
fn a_tail_in_doubt_goes_but_what_the_writer_held_needs_a_person() {
    let (mut n1, mut n2) = pair();
    n2.position.seq = Seq(11);
    went_on(&mut n1, 2);
    assert_eq!(plan(&n1, &n2), Plan::Zones { theirs: false }, "sent, never acknowledged");
    let (mut n1, mut n2) = pair();
    n1.position.seq = Seq(11);
    went_on(&mut n2, 2);
    let common = Some(at(1, 8));
    assert_eq!(plan(&n2, &n1), Plan::Fork { common }, "n1 wrote 9 to 11 and may have said so");
}

#[test]
fn first_start_asks_and_then_compares() {
    let unknown = |node| Side { copy: CopyState::Unknown, ..side(node, Lineage::default()) };
    let (n1, n2) = (unknown("n1"), unknown("n2"));
    assert_eq!(handshake(&n1, &n2).rule, "both-unknown");
    let forced = Side { copy: CopyState::Current, sole: true, ..n1 };
    assert_eq!(plan(&forced, &n2), Plan::Digests);
    assert_eq!(plan(&n2, &forced), Plan::Reverse);
    let other = Side { copy: CopyState::Current, sole: true, ..n2 };
    assert_eq!(handshake(&forced, &other).rule, "two-first-copies", "`prim` on both");
}

#[test]
fn an_interrupted_return_goes_on_where_it_was() {
    let (mut n1, mut n2) = pair();
    went_on(&mut n1, 2);
    (n2.copy, n2.exact) = (CopyState::Incomplete, false);
    assert_eq!(plan(&n1, &n2), Plan::Zones { theirs: false });
    assert_eq!(plan(&n2, &n1), Plan::Reverse, "it may never lead");
    n2.position = at(2, 15);
    assert_eq!(plan(&n1, &n2), Plan::Zones { theirs: false }, "live operations moved it on");
}

#[test]
fn an_outdated_copy_never_leads() {
    let (n1, mut n2) = pair();
    n2.copy = CopyState::Outdated;
    assert_eq!(plan(&n2, &n1), Plan::Reverse);
    assert_eq!(plan(&n1, &n2), Plan::Nothing);
}
