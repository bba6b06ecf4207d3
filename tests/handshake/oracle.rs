//! The slow second opinion: histories as sets of operations, no ranks, no prefixes.
use lockstep::history::Leads;
use lockstep::model::{CopyState, EpochId, Lineage, Plan, Position, Seq, Side};
use std::collections::BTreeSet;

/// A set of operations: one bit for each operation 1 to 14 of each epoch a case may have.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Ops(u128);

/// More operations than any case has.
const FAR: u64 = 13;

impl Ops {
    fn of(ops: impl IntoIterator<Item = (EpochId, u64)>) -> Ops {
        let slot = |id: EpochId| id.0 / 10 * 3 + id.0 % 10;
        Ops(ops.into_iter().fold(0, |set, (id, seq)| set | 1 << (slot(id) * 14 + u128::from(seq))))
    }
    fn iter(self) -> impl DoubleEndedIterator<Item = (EpochId, u64)> {
        let op = |bit: u128| (EpochId(bit / 14 / 3 * 10 + bit / 14 % 3), (bit % 14) as u64);
        (0..128).filter(move |bit| self.0 >> bit & 1 == 1).map(op)
    }
    fn is_subset(self, other: Ops) -> bool {
        self.0 & !other.0 == 0
    }
    fn and(self, other: Ops) -> Ops {
        Ops(self.0 & other.0)
    }
    fn without(self, other: Ops) -> Ops {
        Ops(self.0 & !other.0)
    }
}

/// Which epoch each operation up to `seq` belongs to, among the epochs up to `newest`.
fn history(lineage: &Lineage, newest: Option<EpochId>, seq: Seq) -> Ops {
    let mut known = Vec::new();
    for epoch in &lineage.epochs {
        known.push(epoch);
        if Some(epoch.id) == newest {
            break;
        }
    }
    let owner = |seq: u64| known.iter().rev().find(|epoch| epoch.first_seq.0 <= seq);
    Ops::of((1..=seq.0.min(FAR)).filter_map(|seq| owner(seq).map(|epoch| (epoch.id, seq))))
}

fn all(lineage: &Lineage) -> Ops {
    history(lineage, lineage.last().map(|epoch| epoch.id), Seq(FAR))
}

/// The operations that a position claims, if `lineage` can have led there.
fn held(lineage: &Lineage, at: Position) -> Option<Ops> {
    let Some(id) = at.epoch else { return (at.seq == Seq(0)).then(Ops::default) };
    let epoch = lineage.epochs.iter().find(|epoch| epoch.id == id)?;
    (at.seq.0 + 1 >= epoch.first_seq.0).then(|| history(lineage, Some(id), at.seq))
}

/// As `held`, and nothing in it is outside the lineage.
fn sound(lineage: &Lineage, at: Position) -> Option<Ops> {
    held(lineage, at).filter(|ops| ops.is_subset(all(lineage)))
}

fn copy(side: &Side) -> CopyState {
    match side.copy {
        CopyState::Incomplete => CopyState::Incomplete,
        copy if sound(&side.lineage, side.position).is_some() => copy,
        _ => CopyState::Unknown,
    }
}

pub fn may_lead(side: &Side) -> bool {
    copy(side) == CopyState::Current
}

fn ids(side: &Side) -> BTreeSet<EpochId> {
    side.lineage.epochs.iter().map(|epoch| epoch.id).collect()
}

fn is_chain(lineage: &Lineage) -> bool {
    let epochs = &lineage.epochs;
    let linked = epochs.iter().enumerate().all(|(i, epoch)| {
        let before = i.checked_sub(1).map(|i| &epochs[i]);
        epoch.parent == before.map(|b| b.id)
            && before.is_none_or(|b| b.number < epoch.number && b.first_seq <= epoch.first_seq)
    });
    let unique = epochs.iter().map(|epoch| epoch.id).collect::<BTreeSet<_>>().len();
    linked && unique == epochs.len()
}

/// Every epoch that both know is told alike, and stands at the same place.
fn agree(a: &Side, b: &Side) -> bool {
    a.lineage.epochs.iter().enumerate().all(|(i, epoch)| {
        match b.lineage.epochs.iter().position(|other| other.id == epoch.id) {
            Some(j) => i == j && *epoch == b.lineage.epochs[j],
            None => true,
        }
    })
}

/// Operations that the side wrote itself in its newest epoch, and may have acknowledged.
fn returned(side: &Side) -> Ops {
    let last = side.lineage.last();
    let Some(last) = last.filter(|last| last.node == side.node) else { return Ops::default() };
    if side.copy == CopyState::Incomplete || side.position.epoch != Some(last.id) {
        return Ops::default();
    }
    let ops = history(&side.lineage, Some(last.id), side.position.seq);
    Ops::of(ops.iter().filter(|(id, _)| *id == last.id))
}

/// The newest common epoch, and the last operation that both histories give to a common epoch.
fn fork(a: &Side, b: &Side) -> Leads {
    let last = all(&a.lineage).and(all(&b.lineage)).iter().map(|(_, seq)| seq).max();
    let shared = a.lineage.epochs.iter().rfind(|epoch| ids(b).contains(&epoch.id)).unwrap();
    let seq = last.unwrap_or(0).max(shared.first_seq.0 - 1);
    person(Plan::Fork { common: Some(Position { epoch: Some(shared.id), seq: Seq(seq) }) })
}

fn person(plan: Plan) -> Leads {
    Leads::Person(plan)
}

pub fn leads(a: &Side, b: &Side) -> Leads {
    let unrelated = person(Plan::Unrelated);
    let (ea, eb) = (ids(a), ids(b));
    if !is_chain(&a.lineage) || !is_chain(&b.lineage) || !agree(a, b) {
        return unrelated;
    }
    if !ea.is_empty() && !eb.is_empty() && ea.is_disjoint(&eb) {
        return unrelated;
    }
    match (eb.is_subset(&ea), ea.is_subset(&eb)) {
        (false, false) => fork(a, b),
        (true, true) => same_history(a, b),
        (true, false) => newer(a, b, Leads::First),
        (false, true) => newer(b, a, Leads::Second),
    }
}

fn newer(newer: &Side, older: &Side, answer: Leads) -> Leads {
    let without = older.lineage.epochs.is_empty();
    let content = without && older.sole && may_lead(older);
    if !without && !returned(older).is_subset(all(&newer.lineage)) {
        return fork(newer, older);
    }
    match (may_lead(newer) && !content, without) {
        (true, _) => answer,
        (false, true) => person(Plan::Unrelated),
        (false, false) => fork(newer, older),
    }
}

fn same_history(a: &Side, b: &Side) -> Leads {
    match (may_lead(a), may_lead(b)) {
        (false, false) => return person(Plan::Unrelated),
        (true, false) => return only(a, b, Leads::First),
        (false, true) => return only(b, a, Leads::Second),
        (true, true) => {}
    }
    let tie = match (a.sole, b.sole) {
        (true, false) => Leads::First,
        (false, true) => Leads::Second,
        _ => Leads::Either,
    };
    if a.lineage.epochs.is_empty() {
        return if a.sole && b.sole { person(Plan::Unrelated) } else { tie };
    }
    if a.lost_volatile != b.lost_volatile {
        return if a.lost_volatile { Leads::Second } else { Leads::First };
    }
    let (ha, hb) = (held(&a.lineage, a.position).unwrap(), held(&b.lineage, b.position).unwrap());
    let writer = &a.lineage.last().unwrap().node;
    let knows = |side: &Side| side.exact && !side.lost_volatile && side.node == *writer;
    match (hb.is_subset(ha), ha.is_subset(hb)) {
        (true, true) => tie,
        (true, false) if knows(b) => tie,
        (false, true) if knows(a) => tie,
        (true, false) => Leads::First,
        _ => Leads::Second,
    }
}

fn only(current: &Side, other: &Side, answer: Leads) -> Leads {
    let mine = held(&current.lineage, current.position).unwrap();
    let theirs = held(&other.lineage, other.position);
    let survivor = copy(other) == CopyState::Outdated && !other.lost_volatile;
    let at_most = other.exact && theirs.is_some_and(|theirs| theirs.is_subset(mine));
    let epoch = current.lineage.last().map(|epoch| epoch.id);
    let fork = person(Plan::Fork { common: Some(Position { epoch, ..current.position }) });
    if current.lost_volatile && survivor && !at_most {
        return fork;
    }
    let lacks = returned(other).iter().any(|(_, seq)| seq > current.position.seq.0);
    if !current.exact || !lacks {
        return answer;
    }
    assert!(!returned(other).is_subset(mine));
    fork
}

/// The cheapest plan whose result is provably equal, where `leader` leads.
pub fn plan(leader: &Side, follower: &Side) -> Plan {
    let marks_known = follower.dirty_objects == 0 || follower.dirty_base.is_some();
    let followers = held(&leader.lineage, follower.position);
    let known = copy(follower) != CopyState::Unknown && !follower.lineage.epochs.is_empty();
    let (Some(theirs), true) = (followers, known && marks_known && !leader.lost_volatile) else {
        return Plan::Digests;
    };
    let chain = all(&leader.lineage);
    let ours = held(&leader.lineage, leader.position).unwrap();
    let settled = copy(follower) != CopyState::Incomplete
        && follower.exact
        && leader.exact
        && !follower.lost_volatile
        && follower.dirty_objects == 0;
    if settled && ours == theirs && leader.dirty_objects == 0 {
        return Plan::Nothing;
    }
    if let (true, Some((first, last))) = (settled && theirs.is_subset(chain), leader.window) {
        let until = Ops::of(chain.iter().filter(|(_, seq)| *seq <= last.0));
        let mut missing = until.without(theirs).iter().map(|(_, seq)| seq);
        let reaches = first.0 <= follower.position.seq.0 + 1;
        if reaches && theirs.is_subset(until) && missing.all(|seq| seq >= first.0) {
            return Plan::Window { from: follower.position.seq.next() };
        }
    }
    // What the follower holds and the leader does not is marked only if the leader sent it.
    let wrote = |id: EpochId| {
        leader.lineage.epochs.iter().any(|epoch| epoch.id == id && epoch.node == leader.node)
    };
    let foreign = theirs.without(ours).iter().any(|(id, _)| !wrote(id));
    let base = leader.dirty_base.and_then(|base| sound(&leader.lineage, base));
    let complete = |base: Ops| base.is_subset(theirs) && (leader.exact || base.is_subset(ours));
    match base.is_some_and(complete) && !foreign {
        true => Plan::Zones { theirs: follower.dirty_base.is_some() },
        false => Plan::Digests,
    }
}

/// Both sets of marks begin at operations that both sides had on disk before they parted.
pub fn both_marked(leader: &Side, follower: &Side) -> bool {
    let common = all(&leader.lineage).and(all(&follower.lineage));
    let bases = [leader.dirty_base, follower.dirty_base];
    let on = |side: &Side, base: Option<Position>| {
        let base = base.and_then(|base| sound(&side.lineage, base));
        let own = sound(&side.lineage, side.position);
        !side.lost_volatile
            && base.is_some_and(|base| {
                base.is_subset(common) && own.is_some_and(|own| base.is_subset(own))
            })
    };
    bases.iter().all(|base| on(leader, *base) && on(follower, *base))
}
