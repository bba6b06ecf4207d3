//! The naive dirty set: every page by itself, with the time of its last mark.
use super::super::*;
use super::key;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Names,
    Attributes,
    Page(u64),
}

/// Pages that are looked at: both sides of each edge.
fn watched() -> impl Iterator<Item = u64> {
    let pages = [0, 1, 2, 30, 31, 32, 33, 99, 100, 101, 253, 254, 255];
    (0..4).flat_map(move |zone| pages.map(|page| zone * 256 + page))
}

pub(super) fn pages(range: &Range<u64>) -> Vec<Item> {
    let inside = |page: &u64| page * PAGE < range.end && range.start < (page + 1) * PAGE;
    watched().filter(|page| !range.is_empty() && inside(page)).map(Item::Page).collect()
}

pub(super) fn whole() -> Vec<Item> {
    let mut items = pages(&(0..4 * ZONE));
    items.push(Item::Attributes);
    items
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) now: u64,
    dirty: BTreeMap<(u64, Item), u64>,
    /// When the whole was marked, and when it was first taken after that.
    whole: BTreeMap<u64, (u64, Option<u64>)>,
    /// Sent or cleared, and when.
    recent: Vec<((u64, Item), u64)>,
    /// A checkpoint under way began then; the marks before it.
    begun: Option<u64>,
    /// Must be in the file although not dirty.
    recorded: BTreeSet<(u64, Item)>,
}

impl Model {
    fn absorbed(&self, k: u64) -> bool {
        matches!(self.whole.get(&k), Some((_, None)))
    }

    fn mark(&mut self, k: u64, item: Item) {
        self.dirty.insert((k, item), self.now);
    }

    pub(super) fn mark_names(&mut self, k: u64) {
        self.mark(k, Item::Names);
    }

    pub(super) fn mark_attributes(&mut self, k: u64) {
        if !self.absorbed(k) {
            self.mark(k, Item::Attributes);
        }
    }

    pub(super) fn mark_pages(&mut self, k: u64, range: Range<u64>) {
        if !self.absorbed(k) {
            pages(&range).into_iter().for_each(|item| self.mark(k, item));
        }
    }

    pub(super) fn mark_whole(&mut self, k: u64) {
        self.dirty.retain(|(other, item), _| *other != k || *item == Item::Names);
        self.whole.insert(k, (self.now, None));
    }

    pub(super) fn touch(&mut self, k: u64, items: &[Item]) {
        for item in items {
            self.recent.push(((k, *item), self.now));
            self.recorded.insert((k, *item));
        }
    }

    pub(super) fn forget(&mut self, k: u64) {
        for item in self.items_of(k) {
            self.recorded.insert((k, item));
        }
        whole().into_iter().for_each(|item| self.recent.push(((k, item), self.now)));
        self.dirty.retain(|(other, _), _| *other != k);
        self.whole.remove(&k);
    }

    fn items_of(&self, k: u64) -> Vec<Item> {
        let single = self.dirty.keys().filter(|(other, _)| *other == k).map(|(_, item)| *item);
        let rest = if self.whole.contains_key(&k) { whole() } else { Vec::new() };
        single.chain(rest).collect()
    }

    pub(super) fn taken(&mut self, portions: &[Portion]) {
        for portion in portions {
            if let (Part::Whole, Some((_, taken))) =
                (portion.part, self.whole.get_mut(&portion.key.ino))
            {
                taken.get_or_insert(self.now);
            }
        }
    }

    /// Everything dirty in `range`, the whole and the attributes are among `portions`.
    pub(super) fn check_portions(&self, k: u64, range: &Range<u64>, portions: &[Portion]) {
        let mut held = BTreeSet::new();
        for portion in portions {
            held.extend(items(portion));
        }
        let needed = |item: &Item| !matches!(item, Item::Page(_)) || pages(range).contains(item);
        for item in self.items_of(k).into_iter().filter(needed) {
            assert!(held.contains(&item), "{item:?} of {k} is missing in {portions:?}");
        }
    }

    pub(super) fn clear(&mut self, portion: &Portion, taken: u64, cleared: Cleared, known: bool) {
        let k = portion.key.ino;
        for item in items(portion) {
            self.recent.push(((k, item), self.now));
            if known {
                self.recorded.insert((k, item));
            }
        }
        let again = self.marked_since(portion, taken);
        if cleared == Cleared::MarkedAgain {
            assert!(again, "{portion:?} was not marked again");
            return;
        }
        if portion.part == Part::Whole {
            if let Some((marked, _)) = self.whole.get(&k) {
                assert!(*marked <= taken, "a whole was lost");
            }
            self.whole.remove(&k);
            return;
        }
        for item in items(portion) {
            if let Some(marked) = self.dirty.get(&(k, item)) {
                assert!(*marked <= taken, "{item:?} of {k} was lost");
            }
            self.dirty.remove(&(k, item));
        }
    }

    /// Anything in the same part, or the same zone, was marked after `taken`.
    fn marked_since(&self, portion: &Portion, taken: u64) -> bool {
        let k = portion.key.ino;
        let later = |item: &Item| self.dirty.get(&(k, *item)).is_some_and(|at| *at > taken);
        let whole_later = self.whole.get(&k).is_some_and(|(at, _)| *at > taken);
        // While the whole is dirty no part of it can be called clean.
        let whole_waits = self.whole.contains_key(&k);
        match portion.part {
            Part::Whole => whole_later,
            Part::Names => later(&Item::Names),
            Part::Attributes => later(&Item::Attributes) || whole_waits,
            Part::Pages { zone, .. } => {
                let zone = u64::from(zone);
                pages(&(zone * ZONE..(zone + 1) * ZONE)).iter().any(later) || whole_waits
            }
        }
    }

    /// A restart: dirty is what the file says.
    pub(super) fn reload(&mut self, set: &DirtySet) {
        (self.dirty, self.whole) = (BTreeMap::new(), BTreeMap::new());
        for k in 1..4 {
            if set.is_dirty_names(key(k)) {
                self.mark_names(k);
            }
            let object = set.objects.get(&key(k));
            if object.is_some_and(|object| object.is_dirty(WHOLE)) {
                self.mark_whole(k);
            }
            // Marks beside a whole are in the file only if they came after it: as the set says.
            if object.is_some_and(|object| object.is_dirty(ATTRIBUTES)) {
                self.mark(k, Item::Attributes);
            }
            let zones = object.into_iter().flat_map(|object| object.zones.from(0));
            for (zone, known) in zones {
                for page in watched().filter(|page| page / 256 == u64::from(zone)) {
                    if known.pages.contains((page % 256) as u32) {
                        self.mark(k, Item::Page(page));
                    }
                }
            }
        }
    }

    pub(super) fn begin_checkpoint(&mut self) {
        self.begun = Some(self.now);
    }

    pub(super) fn checkpoint_done(&mut self) -> bool {
        let Some(begun) = self.begun.take() else { return false };
        self.recent.retain(|(_, at)| *at > begun);
        // Settling may drop what is neither dirty nor recent, object by object.
        let recent: BTreeSet<u64> = self.recent.iter().map(|((k, _), _)| *k).collect();
        self.recorded.retain(|(k, _)| recent.contains(k));
        true
    }

    pub(super) fn abandon(&mut self) {
        self.begun = None;
    }

    pub(super) fn is_recent(&self, k: u64) -> bool {
        self.recent.iter().any(|((other, _), _)| *other == k)
    }

    pub(super) fn check(&self, set: &DirtySet) {
        for k in 1..4 {
            let items: BTreeSet<Item> = self.items_of(k).into_iter().collect();
            assert_eq!(set.is_clean(key(k)), items.is_empty(), "clean {k}");
            assert_eq!(set.is_dirty_names(key(k)), items.contains(&Item::Names), "names {k}");
            let attributes = items.contains(&Item::Attributes);
            assert_eq!(set.is_dirty_attributes(key(k)), attributes, "attributes {k}");
            for page in watched() {
                let dirty = set.contains_any(key(k), page * PAGE..page * PAGE + 1);
                assert_eq!(dirty, items.contains(&Item::Page(page)), "page {page} of {k}");
            }
        }
        let count = |wanted: &dyn Fn(&Item) -> bool| {
            self.dirty.keys().filter(|(_, item)| wanted(item)).count() as u64
        };
        let counts = set.counts();
        let objects = (1..4).filter(|k| !self.items_of(*k).is_empty()).count() as u64;
        assert_eq!(counts.objects, objects);
        assert_eq!(counts.names, count(&|item| *item == Item::Names));
        assert_eq!(counts.attributes, count(&|item| *item == Item::Attributes));
        assert_eq!(counts.whole, self.whole.len() as u64);
        assert_eq!(set.keys().count() as u64, objects);
        assert_eq!(set.is_empty(), objects == 0);
    }

    /// What is dirty is in the file, and what is recorded only as well.
    pub(super) fn check_recorded(&self, file: &DirtySet) {
        self.check_held_by(file);
        for (k, item) in &self.recorded {
            assert!(holds(file, *k, *item), "{item:?} of {k} is not in the file");
        }
    }

    pub(super) fn check_held_by(&self, set: &DirtySet) {
        for k in 1..4 {
            for item in self.items_of(k) {
                assert!(holds(set, k, item), "{item:?} of {k} is missing");
            }
        }
    }

    pub(super) fn check_recent(&self, initial: &DirtySet) {
        for ((k, item), _) in &self.recent {
            assert!(holds(initial, *k, *item), "{item:?} of {k} is recent");
        }
    }
}

fn holds(set: &DirtySet, k: u64, item: Item) -> bool {
    match item {
        Item::Names => set.is_dirty_names(key(k)),
        Item::Attributes => set.is_dirty_attributes(key(k)),
        Item::Page(page) => set.contains_any(key(k), page * PAGE..page * PAGE + 1),
    }
}

fn items(portion: &Portion) -> Vec<Item> {
    match portion.part {
        Part::Names => vec![Item::Names],
        Part::Attributes => vec![Item::Attributes],
        Part::Whole => whole(),
        Part::Pages { zone, pages, .. } => {
            pages.ranges(zone).flat_map(|range| super::model::pages(&range)).collect()
        }
    }
}
