//! The dirty set: what the peer may lack, per object, exact to the page.
//!
//! Pure: it never writes. Each mark answers with a `#[must_use]` [`Mark`]: either the dirty file
//! already says as much, or a record that must be durable **before** the change is made (once per
//! object part, once per 1 MiB zone, however often it is written afterwards).
//!
//! ```text
//! mark_…    the peer will lack this change            dirty, recorded
//! touch_…   this change is sent, but the peer is not  recorded only: a crash of this node would
//!           in sync yet                               otherwise lose what nobody remembers
//! clear     the peer applied a drained portion        no longer dirty, still recorded, recent
//! settle    both disks are past it                    forgotten
//! ```
//!
//! A portion that was marked again after it was taken for the drain stays dirty.
mod drain;
mod object;
mod pages;
#[cfg(test)]
mod tests;

pub use drain::{Cleared, Part, Portion};
pub use pages::{PAGE, PageMap, ZONE};

use object::{ATTRIBUTES, NAMES, Object, WHOLE};
use pages::zones_of;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// An object of a replicated directory. The generation tells a new object from an old one that
/// had the same inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Number of the replicated directory.
    pub dir: u16,
    pub ino: u64,
    pub generation: u32,
}

/// A change of more zones at once is remembered as a change of the whole object (4 GiB), so that
/// no single mark takes long.
pub const ZONES_PER_MARK_MAX: usize = 4096;

/// What must be durable before the first change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a new mark must be durable in the dirty file before the change is made"]
pub enum Mark {
    /// The dirty file says it already.
    Known,
    /// Append this, and wait for it.
    New(DirtyRecord),
}

/// One line of the dirty file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyRecord {
    /// Entries of a directory.
    Names { key: ObjectKey },
    /// Size, mode, owner, times, extended attributes.
    Attributes { key: ObjectKey },
    /// Content and attributes of a file.
    Whole { key: ObjectKey },
    /// Zones `first ..= last`, any page of them.
    Zones { key: ObjectKey, first: u32, last: u32 },
    /// Exactly these pages of a zone, as long as no `Zones` record follows.
    Pages { key: ObjectKey, zone: u32, pages: PageMap },
    /// Nothing of the object is dirty any more, durably on both nodes.
    Clear { key: ObjectKey },
}

/// How much is dirty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Objects with anything dirty.
    pub objects: u64,
    pub names: u64,
    pub attributes: u64,
    pub whole: u64,
    pub pages: u64,
}

impl Counts {
    /// Bytes in dirty pages; the content of `whole` objects is not in it.
    pub fn bytes(&self) -> u64 {
        self.pages * PAGE
    }
}

/// What the peer may lack. See the top of this file.
#[derive(Clone, Debug, Default)]
pub struct DirtySet {
    objects: HashMap<ObjectKey, Object>,
    /// Keys with dirty names, and with anything else dirty: the order of a drain.
    names: BTreeSet<ObjectKey>,
    content: BTreeSet<ObjectKey>,
    counts: Counts,
    /// Counts portions taken: a mark with a later stamp came after the portion.
    clock: u32,
}

impl DirtySet {
    pub fn new() -> DirtySet {
        DirtySet::default()
    }

    /// Nothing is dirty. One comparison.
    pub fn is_empty(&self) -> bool {
        self.counts.objects == 0
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Entries of the directory `key` changed.
    pub fn mark_names(&mut self, key: ObjectKey) -> Mark {
        self.mark_part(key, NAMES)
    }

    /// Size, mode, owner, times or extended attributes of `key` changed.
    pub fn mark_attributes(&mut self, key: ObjectKey) -> Mark {
        self.mark_part(key, ATTRIBUTES)
    }

    /// All of the file `key` changed, or is new.
    pub fn mark_whole(&mut self, key: ObjectKey) -> Mark {
        self.mark_part(key, WHOLE)
    }

    /// Bytes `range` of the file `key` changed. A file that shrinks must be marked from its new
    /// to its old end, or the old bytes come back on the peer when it grows again.
    pub fn mark_pages(&mut self, key: ObjectKey, range: Range<u64>) -> Mark {
        let Some(zones) = bounded(&range) else { return self.mark_whole(key) };
        if range.is_empty() {
            return Mark::Known;
        }
        self.change(key, |object, clock| object.mark_pages(key, zones, clock))
    }

    /// As [`DirtySet::mark_names`] for an operation that is sent to a peer not yet in sync.
    pub fn touch_names(&mut self, key: ObjectKey) -> Mark {
        self.change(key, |object, _| object.record_part(key, NAMES))
    }

    /// As [`DirtySet::mark_attributes`] for an operation that is sent to a peer not yet in sync.
    pub fn touch_attributes(&mut self, key: ObjectKey) -> Mark {
        self.change(key, |object, _| object.record_part(key, ATTRIBUTES))
    }

    /// As [`DirtySet::mark_whole`] for an operation that is sent to a peer not yet in sync.
    pub fn touch_whole(&mut self, key: ObjectKey) -> Mark {
        self.change(key, |object, _| object.record_part(key, WHOLE))
    }

    /// As [`DirtySet::mark_pages`] for an operation that is sent to a peer not yet in sync.
    pub fn touch_pages(&mut self, key: ObjectKey, range: Range<u64>) -> Mark {
        let Some(zones) = bounded(&range) else { return self.touch_whole(key) };
        if range.is_empty() {
            return Mark::Known;
        }
        self.change(key, |object, _| object.touch(key, zones))
    }

    /// Any byte of `range` is dirty.
    pub fn contains_any(&self, key: ObjectKey, range: Range<u64>) -> bool {
        if self.is_empty() {
            return false;
        }
        let Some(object) = self.objects.get(&key) else { return false };
        match bounded(&range) {
            Some(zones) if !object.is_dirty(WHOLE) => object.contains_any(zones),
            Some(_) => !range.is_empty(),
            // A range of many zones: any dirty page of the file is near enough.
            None => object.is_dirty(WHOLE) || object.dirty_pages > 0,
        }
    }

    /// Entries of the directory are dirty.
    pub fn is_dirty_names(&self, key: ObjectKey) -> bool {
        self.part_is_dirty(key, NAMES)
    }

    /// Attributes are dirty, by themselves or with the whole file.
    pub fn is_dirty_attributes(&self, key: ObjectKey) -> bool {
        self.part_is_dirty(key, ATTRIBUTES | WHOLE)
    }

    /// The whole object is dirty: of a directory, everything beneath it.
    pub fn is_dirty_whole(&self, key: ObjectKey) -> bool {
        self.part_is_dirty(key, WHOLE)
    }

    /// Nothing of the object is dirty.
    pub fn is_clean(&self, key: ObjectKey) -> bool {
        self.is_empty() || !self.objects.get(&key).is_some_and(Object::is_any_dirty)
    }

    /// The object is finally gone (no name, no open file): there is nothing left to send. What
    /// the dirty file says of it stays until [`DirtySet::settle`], because a crash may bring the
    /// object back; mark it in `Recent` as well.
    pub fn forget(&mut self, key: ObjectKey) {
        self.change(key, |object, _| object.clean());
    }

    /// Adds all that is dirty in `other`; the records must be durable before anything relies on
    /// the sum.
    #[must_use = "records of the added marks must be appended to the dirty file"]
    pub fn union(&mut self, other: &DirtySet) -> Vec<DirtyRecord> {
        let mut new = Vec::new();
        for key in other.keys() {
            let Some(theirs) = other.objects.get(&key) else { continue };
            self.change(key, |object, clock| object.union(key, theirs, clock, &mut new));
        }
        new
    }

    /// Keys of all dirty objects: directories with changed entries first, then the others.
    pub fn keys(&self) -> impl Iterator<Item = ObjectKey> {
        let others = self.content.iter().filter(|key| !self.names.contains(key));
        self.names.iter().chain(others).copied()
    }

    /// Forgets what is recorded only (not dirty) and no longer `recent`: both disks hold it.
    /// The records may be appended lazily; losing them costs a comparison.
    pub fn settle(&mut self, recent: &super::Recent) -> Vec<DirtyRecord> {
        let mut cleared = Vec::new();
        self.objects.retain(|key, object| {
            let gone = !object.is_any_dirty() && !recent.contains(*key);
            if gone {
                cleared.push(DirtyRecord::Clear { key: *key });
            }
            !gone
        });
        cleared
    }

    /// Takes a record as the dirty file tells it: dirty, and recorded.
    pub fn apply(&mut self, record: &DirtyRecord) {
        let key = record.key();
        self.change(key, |object, clock| object.apply(record, clock));
    }

    /// Everything that is dirty or recorded, as records. `exact`: with page bitmaps; otherwise
    /// whole zones, so that marks made meanwhile need no record of their own.
    pub fn records(&self, exact: bool) -> Vec<DirtyRecord> {
        let mut sorted: Vec<_> = self.objects.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| **key);
        let mut records = Vec::new();
        for (key, object) in sorted {
            object.records(*key, exact, &mut records);
        }
        records
    }

    /// The dirty file now holds exactly [`DirtySet::records`] of this set: with page bitmaps
    /// (`exact`) the next new page of a zone needs a record again.
    pub fn written(&mut self, exact: bool) {
        self.objects.values_mut().for_each(|object| object.written(exact));
    }

    /// No dirty file knows this set: every next mark answers with a record.
    pub fn unrecorded(&mut self) {
        self.objects.values_mut().for_each(Object::unrecorded);
        self.objects.retain(|_, object| object.is_any_dirty());
    }

    fn part_is_dirty(&self, key: ObjectKey, parts: u8) -> bool {
        !self.is_empty() && self.objects.get(&key).is_some_and(|object| object.is_dirty(parts))
    }

    fn mark_part(&mut self, key: ObjectKey, part: u8) -> Mark {
        self.change(key, |object, clock| object.mark_part(key, part, clock))
    }

    /// Runs `f` on the object and brings counts and order up to date with what it did.
    fn change<R>(&mut self, key: ObjectKey, f: impl FnOnce(&mut Object, u32) -> R) -> R {
        let object = self.objects.entry(key).or_default();
        let before = object.counts();
        let result = f(object, self.clock);
        let (after, empty) = (object.counts(), object.is_nothing());
        if before != after {
            self.recount(key, before, after);
        }
        if empty {
            self.objects.remove(&key);
        }
        result
    }

    fn recount(&mut self, key: ObjectKey, before: Counts, after: Counts) {
        let sum = |total: u64, before: u64, after: u64| total - before + after;
        let total = self.counts;
        self.counts = Counts {
            objects: sum(total.objects, before.objects, after.objects),
            names: sum(total.names, before.names, after.names),
            attributes: sum(total.attributes, before.attributes, after.attributes),
            whole: sum(total.whole, before.whole, after.whole),
            pages: sum(total.pages, before.pages, after.pages),
        };
        if before.names != after.names {
            set_member(&mut self.names, key, after.names > 0);
        }
        let content = |counts: Counts| counts.attributes + counts.whole + counts.pages > 0;
        if content(before) != content(after) {
            set_member(&mut self.content, key, content(after));
        }
    }
}

impl DirtyRecord {
    pub fn key(&self) -> ObjectKey {
        match *self {
            DirtyRecord::Names { key }
            | DirtyRecord::Attributes { key }
            | DirtyRecord::Whole { key }
            | DirtyRecord::Zones { key, .. }
            | DirtyRecord::Pages { key, .. }
            | DirtyRecord::Clear { key } => key,
        }
    }
}

fn bounded(range: &Range<u64>) -> Option<impl Iterator<Item = (u32, PageMap)> + Clone> {
    let few = range.end.saturating_sub(range.start) / ZONE < ZONES_PER_MARK_MAX as u64;
    if few { zones_of(range) } else { None }
}

fn set_member(set: &mut BTreeSet<ObjectKey>, key: ObjectKey, member: bool) {
    match member {
        true => set.insert(key),
        false => set.remove(&key),
    };
}
