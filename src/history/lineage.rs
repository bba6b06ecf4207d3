//! Arithmetic of lineages: where two histories part, and whether one can be trusted at all.
//!
//! A lineage is a chain: each epoch's parent is the epoch before it. Two nodes that ever were in
//! sync share a prefix of it. Ids are random, so a shared id is a shared past; counters are not
//! compared, because two forks count alike.
use crate::model::{EpochId, EpochRecord, Lineage, Position, Seq};
use std::collections::HashSet;

/// Why a list of epochs is no history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineageError {
    #[error("epoch {epoch} stands twice in the lineage")]
    Repeated { epoch: EpochId },
    #[error("epoch {epoch} names {found:?} as its parent, but {expected:?} stands before it")]
    Parent { epoch: EpochId, expected: Option<EpochId>, found: Option<EpochId> },
    #[error("epoch {epoch} has number {found}, its parent has {parent}: numbers must rise")]
    Number { epoch: EpochId, parent: u64, found: u64 },
    #[error(
        "epoch {epoch} begins at operation {found}, its parent at {parent}: time runs backwards"
    )]
    FirstSeq { epoch: EpochId, parent: Seq, found: Seq },
}

/// How two lineages stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They tell different things about the same epoch, or share one behind a fork.
    Contradiction,
    /// Both have epochs, none in common.
    Unrelated,
    /// The first `common` epochs are shared, then `first` and `second` epochs are each one's own.
    Chain { common: usize, first: usize, second: usize },
}

impl Lineage {
    /// Checks that this is a chain: ids unique, parents in order, numbers and sequences rising.
    /// An epoch without an operation (the next one begins at the same number) is allowed.
    pub fn check(&self) -> Result<(), LineageError> {
        let mut before: Option<&EpochRecord> = None;
        for epoch in &self.epochs {
            check_successor(before, epoch)?;
            before = Some(epoch);
        }
        let mut ids: Vec<EpochId> = self.epochs.iter().map(|epoch| epoch.id).collect();
        ids.sort_unstable();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(LineageError::Repeated { epoch: pair[0] }),
            None => Ok(()),
        }
    }

    /// Checks `epoch` as the next one of this lineage.
    pub fn check_next(&self, epoch: &EpochRecord) -> Result<(), LineageError> {
        if self.contains(epoch.id) {
            return Err(LineageError::Repeated { epoch: epoch.id });
        }
        check_successor(self.last(), epoch)
    }

    /// Where `position` lies in this history; `None` when this history cannot have led there: the
    /// epoch is unknown, or the operation is older than the epoch.
    pub fn place(&self, position: Position) -> Option<Place> {
        let rank = match position.epoch {
            None => 0,
            Some(id) => self.epochs.iter().position(|epoch| epoch.id == id)? + 1,
        };
        let begin = rank.checked_sub(1).map_or(Seq(1), |index| self.epochs[index].first_seq);
        let next = self.epochs.get(rank).map(|next| next.first_seq);
        let end = match (rank, next) {
            (0, _) => Seq(0),
            (_, Some(next)) => Seq(next.0.saturating_sub(1)),
            (_, None) => Seq(u64::MAX),
        };
        let reached = begin.0 <= position.seq.0.saturating_add(1);
        reached.then_some(Place { rank, seq: position.seq, end })
    }
}

/// A position as a point of one lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of epochs up to and including the position's own; 0 before the first.
    pub rank: usize,
    pub seq: Seq,
    /// Last operation of that epoch as this lineage tells it.
    pub end: Seq,
}

impl Place {
    /// Whoever stands here holds operations that this history does not have.
    pub fn overruns(self) -> bool {
        self.seq > self.end
    }

    /// Whoever stands here holds everything up to `base`, a place of the same lineage.
    pub fn reaches(self, base: Place) -> bool {
        !base.overruns() && base.seq <= self.seq.min(self.end)
    }
}

fn check_successor(before: Option<&EpochRecord>, epoch: &EpochRecord) -> Result<(), LineageError> {
    let expected = before.map(|parent| parent.id);
    if epoch.parent != expected {
        return Err(LineageError::Parent { epoch: epoch.id, expected, found: epoch.parent });
    }
    let (number, first_seq) = before.map_or((0, Seq(1)), |b| (b.number, b.first_seq));
    if epoch.number <= number {
        return Err(LineageError::Number { epoch: epoch.id, parent: number, found: epoch.number });
    }
    if epoch.first_seq < first_seq {
        let (parent, found) = (first_seq, epoch.first_seq);
        return Err(LineageError::FirstSeq { epoch: epoch.id, parent, found });
    }
    Ok(())
}

/// Compares two lineages that passed [`Lineage::check`].
pub fn relate(first: &Lineage, second: &Lineage) -> Relation {
    let pairs = first.epochs.iter().zip(&second.epochs);
    let common = pairs.clone().take_while(|(a, b)| a.id == b.id).count();
    let contradicts = pairs.take(common).any(|(a, b)| !same_fact(a, b));
    let (own, other) = (&first.epochs[common..], &second.epochs[common..]);
    if contradicts || share_an_epoch(own, other) {
        return Relation::Contradiction;
    }
    if common == 0 && !own.is_empty() && !other.is_empty() {
        return Relation::Unrelated;
    }
    Relation::Chain { common, first: own.len(), second: other.len() }
}

/// The last operation that both histories tell alike; `None` when they share no epoch.
pub fn common_point(first: &Lineage, second: &Lineage) -> Option<Position> {
    let Relation::Chain { common, .. } = relate(first, second) else { return None };
    let epoch = first.epochs.get(common.checked_sub(1)?)?.id;
    let ends = [first, second].map(|lineage| lineage.epochs.get(common).map(|next| next.first_seq));
    let seq = match ends {
        [Some(a), Some(b)] => Seq(a.min(b).0.saturating_sub(1)),
        [Some(a), None] | [None, Some(a)] => Seq(a.0.saturating_sub(1)),
        // Equal lineages part nowhere: the caller's positions say how far both are.
        [None, None] => Seq(u64::MAX),
    };
    Some(Position { epoch: Some(epoch), seq })
}

/// Every epoch of `older` stands in `newer`, in the same order, with nothing in between.
pub fn is_ancestor(older: &Lineage, newer: &Lineage) -> bool {
    matches!(relate(older, newer), Relation::Chain { first: 0, .. })
}

fn share_an_epoch(own: &[EpochRecord], other: &[EpochRecord]) -> bool {
    if own.is_empty() || other.is_empty() {
        return false;
    }
    let ids: HashSet<EpochId> = own.iter().map(|epoch| epoch.id).collect();
    other.iter().any(|epoch| ids.contains(&epoch.id))
}

/// The sentence for people and the time may differ, the facts may not.
fn same_fact(a: &EpochRecord, b: &EpochRecord) -> bool {
    (a.id, a.number, a.parent, a.first_seq, a.kind)
        == (b.id, b.number, b.parent, b.first_seq, b.kind)
        && a.node == b.node
}
