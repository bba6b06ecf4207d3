//! The history of the right to write, and what a node knows of its own copy.
//!
//! An epoch is opened at the first change after the right to write was gained, never earlier: a
//! node that gained the right but changed nothing has no epoch of its own and therefore no fork.
//! Histories are compared; wall clocks never decide anything.
use super::ids::{BootId, EpochId, NodeName, Seq};
use serde::{Deserialize, Serialize};

/// How an epoch's operations were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpochKind {
    /// The node was the only in-sync member when the epoch began.
    Alone,
    /// The epoch began with an in-sync secondary (planned swap, take-over with three nodes).
    Mirror,
}

/// One line of the lineage file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    pub id: EpochId,
    /// Counts changes of the right to write; the fencing generation until a register exists.
    pub number: u64,
    pub parent: Option<EpochId>,
    /// First operation of the epoch. The parent's last operation is the one before.
    pub first_seq: Seq,
    pub node: NodeName,
    pub kind: EpochKind,
    /// Why the right to write changed hands, one sentence for people.
    pub reason: String,
    /// Milliseconds since 1970, for people only.
    pub wall_ms: i64,
}

/// Epochs, oldest first; each one's parent is the one before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    pub epochs: Vec<EpochRecord>,
}

impl Lineage {
    pub fn last(&self) -> Option<&EpochRecord> {
        self.epochs.last()
    }

    /// Number of the newest epoch, 0 before the first.
    pub fn generation(&self) -> u64 {
        self.last().map_or(0, |epoch| epoch.number)
    }

    pub fn contains(&self, id: EpochId) -> bool {
        self.epochs.iter().any(|epoch| epoch.id == id)
    }
}

/// How far a copy is: the newest epoch it knows and the last operation it applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub epoch: Option<EpochId>,
    pub seq: Seq,
}

/// What a node durably remembers of its own copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    /// Never mirrored, or its memory is lost: nobody can say which side is right.
    Unknown,
    /// In the in-sync set (with or without a peer): may lead.
    Current,
    /// The peer went on without this copy: may only follow.
    Outdated,
    /// A return was interrupted: mixed old and new, may only follow.
    Incomplete,
}

/// Everything one node tells the other before any plan is made (rule A12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    pub node: NodeName,
    pub boot: BootId,
    pub lineage: Lineage,
    pub position: Position,
    /// `false`: the position is only a lower bound (checkpoint before a crash).
    pub exact: bool,
    pub copy: CopyState,
    /// A1: acknowledged volatile state may be lost, the boot changed while a peer was in sync.
    pub lost_volatile: bool,
    /// Recorded as the only in-sync member: goes on without a peer.
    pub sole: bool,
    /// Where the peer stood when this node began to remember what differs; the dirty set is
    /// complete relative to that position. `None`: no complete dirty set.
    pub dirty_base: Option<Position>,
    /// Dirty objects and bytes as far as known, for people and progress.
    pub dirty_objects: u64,
    pub dirty_bytes: u64,
    /// Operations still in memory, `(first, last)`: a peer of the same boot at `first - 1` or
    /// later can be brought level by sending them again.
    pub window: Option<(Seq, Seq)>,
}

impl Side {
    /// A current copy that nothing was written to.
    #[cfg(test)]
    pub(crate) fn sample(node: &str) -> Side {
        Side {
            node: NodeName::new(node).unwrap(),
            boot: BootId(1),
            lineage: Lineage::default(),
            position: Position { epoch: None, seq: Seq(0) },
            exact: true,
            copy: CopyState::Current,
            lost_volatile: false,
            sole: false,
            dirty_base: None,
            dirty_objects: 0,
            dirty_bytes: 0,
            window: None,
        }
    }

    /// How much differs from the other copy by this side's doing, for people. A node that was told
    /// to lead a copy of which it did not know what the other one has does not count.
    pub fn changed_alone(&self) -> String {
        let (objects, bytes) = (self.dirty_objects, self.dirty_bytes);
        match (self.dirty_base, objects) {
            (Some(_), _) => format!("{objects} objects, {bytes} bytes changed alone"),
            (None, 0) => "its changes were not counted".to_owned(),
            (None, _) => format!("at least {objects} objects, {bytes} bytes changed alone"),
        }
    }
}

/// What the leader will do to bring the follower level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "plan")]
pub enum Plan {
    /// Equal already: only the in-sync record is missing.
    Nothing,
    /// Send operations again from this one.
    Window { from: Seq },
    /// Drain the leader's dirty set. `theirs`: the follower's own marks since its last
    /// checkpoint, or since the fork, belong into it as well.
    Zones { theirs: bool },
    /// Compare everything by digests, send what differs.
    Digests,
    /// The follower holds what the leader lacks and must lead instead.
    Reverse,
    /// Both wrote since the last common point: a person decides.
    Fork { common: Option<Position> },
    /// Nothing in common: a person decides.
    Unrelated,
}

/// A plan and the name of the rule that chose it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    #[serde(flatten)]
    pub plan: Plan,
    /// Stable name of the rule, shown in log and status.
    pub rule: String,
}
