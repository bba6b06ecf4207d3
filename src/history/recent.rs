//! What changed since both nodes last had everything on disk (rule A4).
//!
//! While two copies are in sync nothing is dirty, yet either node may lose what only its page cache
//! holds. So each keeps, in memory, the marks since the last **checkpoint**: a point that both
//! nodes' `syncfs` have passed. The node that goes on alone makes these marks durable as its
//! initial dirty set. The *older* of the two checkpoints counts: the survivor may crash as well,
//! and would then lack, on its own disk, what the peer may have kept.
//!
//! ```text
//!      base                begin(at)            now
//!   ----|-----------------------|----------------|---->  operations
//!        old (until both did it)       young
//! ```
use super::dirty::{DirtySet, ObjectKey, Part, Portion};
use crate::model::Position;
use std::ops::Range;

/// Marks in two generations, so that a checkpoint can end while writing goes on.
#[derive(Clone, Debug)]
pub struct Recent {
    base: Position,
    /// Marks before the checkpoint under way; empty while there is none.
    old: DirtySet,
    young: DirtySet,
    under_way: Option<Position>,
}

impl Recent {
    /// Both nodes have everything up to `base` on disk (rule A3: a peer is in sync only then).
    pub fn new(base: Position) -> Recent {
        Recent { base, old: DirtySet::new(), young: DirtySet::new(), under_way: None }
    }

    /// Where both nodes' disks are known to stand: the base of [`Recent::initial_dirty_set`].
    pub fn base(&self) -> Position {
        self.base
    }

    /// Mark *before* an operation is sent or applied, so that a tail in doubt is in it.
    pub fn mark_names(&mut self, key: ObjectKey) {
        let _ = self.young.mark_names(key);
    }

    pub fn mark_attributes(&mut self, key: ObjectKey) {
        let _ = self.young.mark_attributes(key);
    }

    pub fn mark_whole(&mut self, key: ObjectKey) {
        let _ = self.young.mark_whole(key);
    }

    pub fn mark_pages(&mut self, key: ObjectKey, range: Range<u64>) {
        let _ = self.young.mark_pages(key, range);
    }

    /// A drained portion that the peer applied: it may lose it until its next checkpoint.
    pub fn mark_portion(&mut self, portion: &Portion) {
        match portion.part {
            Part::Names => self.mark_names(portion.key),
            Part::Attributes => self.mark_attributes(portion.key),
            Part::Whole => self.mark_whole(portion.key),
            Part::Pages { zone, pages, .. } => {
                pages.ranges(zone).for_each(|range| self.mark_pages(portion.key, range));
            }
        }
    }

    /// A checkpoint begins at `at`: both nodes start a `syncfs` after they applied everything up
    /// to there. One that is still under way is given up.
    pub fn begin_checkpoint(&mut self, at: Position) {
        let young = std::mem::take(&mut self.young);
        let _ = self.old.union(&young);
        self.under_way = Some(at);
    }

    /// Both `syncfs` of the checkpoint have returned. `false`: none was under way.
    pub fn checkpoint_done(&mut self) -> bool {
        let Some(at) = self.under_way.take() else { return false };
        self.base = at;
        self.old = DirtySet::new();
        true
    }

    /// A `syncfs` failed, or the peer is gone: nothing is forgotten.
    pub fn abandon(&mut self) {
        self.under_way = None;
    }

    /// Anything of the object changed since the base.
    pub fn contains(&self, key: ObjectKey) -> bool {
        !self.young.is_clean(key) || !self.old.is_clean(key)
    }

    pub fn is_empty(&self) -> bool {
        self.old.is_empty() && self.young.is_empty()
    }

    /// All marks since [`Recent::base`], for `DirtyFile::create` (rule A4).
    pub fn initial_dirty_set(&self) -> DirtySet {
        let mut set = self.old.clone();
        let _ = set.union(&self.young);
        set.unrecorded();
        set
    }
}
