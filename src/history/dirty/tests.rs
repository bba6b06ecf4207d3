//! The dirty set against a naive one: a list of (object, page) with times. And against the file it
//! asks for: whatever is dirty or touched must be in the records it handed out.
mod model;

use super::*;
use crate::history::Recent;
use crate::model::{Position, Seq};
use model::Model;
use proptest::prelude::*;

pub(super) fn key(ino: u64) -> ObjectKey {
    ObjectKey { dir: 1, ino, generation: 7 }
}

#[derive(Clone, Debug)]
enum Op {
    Names(u64),
    Attributes(u64),
    Whole(u64),
    Pages(u64, u64, u64),
    TouchNames(u64),
    TouchAttributes(u64),
    TouchWhole(u64),
    TouchPages(u64, u64, u64),
    Forget(u64),
    /// Take the next portion of the round.
    Next,
    /// Take what one object needs clean.
    PortionsOf(u64, u64, u64),
    /// The peer applied one of the portions under way.
    Clear(usize),
    /// The link is gone: portions under way are dropped.
    Drop,
    Rewrite(bool),
    /// The engine is started again.
    Reload,
    BeginCheckpoint,
    CheckpointDone,
    Abandon,
    Settle,
}

/// Edges of pages, words and zones, and bytes beside them.
fn offset() -> impl Strategy<Value = u64> {
    let pages = prop::sample::select(vec![0u64, 1, 2, 31, 32, 33, 100, 254, 255, 256]);
    let byte = prop::sample::select(vec![0u64, 1, 4095]);
    (0..3u64, pages, byte).prop_map(|(zone, page, byte)| zone * ZONE + page * PAGE + byte)
}

fn op() -> impl Strategy<Value = Op> {
    let k = || 1..4u64;
    prop_oneof![
        2 => k().prop_map(Op::Names),
        2 => k().prop_map(Op::Attributes),
        1 => k().prop_map(Op::Whole),
        6 => (k(), offset(), offset()).prop_map(|(k, a, b)| Op::Pages(k, a.min(b), a.max(b))),
        1 => k().prop_map(Op::TouchNames),
        1 => k().prop_map(Op::TouchAttributes),
        1 => k().prop_map(Op::TouchWhole),
        2 => (k(), offset(), offset()).prop_map(|(k, a, b)| Op::TouchPages(k, a.min(b), a.max(b))),
        1 => k().prop_map(Op::Forget),
        6 => Just(Op::Next),
        1 => (k(), offset(), offset()).prop_map(|(k, a, b)| Op::PortionsOf(k, a.min(b), a.max(b))),
        6 => (0..4usize).prop_map(Op::Clear),
        1 => Just(Op::Drop),
        1 => any::<bool>().prop_map(Op::Rewrite),
        1 => Just(Op::Reload),
        1 => Just(Op::BeginCheckpoint),
        1 => Just(Op::CheckpointDone),
        1 => Just(Op::Abandon),
        1 => Just(Op::Settle),
    ]
}

struct Run {
    set: DirtySet,
    recent: Recent,
    file: Vec<DirtyRecord>,
    model: Model,
    under_way: Vec<(Portion, u64)>,
    last: Option<Portion>,
}

impl Run {
    fn new() -> Run {
        Run {
            set: DirtySet::new(),
            recent: Recent::new(Position { epoch: None, seq: Seq(0) }),
            file: Vec::new(),
            model: Model::default(),
            under_way: Vec::new(),
            last: None,
        }
    }

    fn append(&mut self, mark: Mark) {
        if let Mark::New(record) = mark {
            self.file.push(record);
        }
    }

    fn step(&mut self, op: &Op) {
        self.model.now += 1;
        match *op {
            Op::Names(k) => {
                let mark = self.set.mark_names(key(k));
                self.append(mark);
                self.model.mark_names(k);
            }
            Op::Attributes(k) => {
                let mark = self.set.mark_attributes(key(k));
                self.append(mark);
                self.model.mark_attributes(k);
            }
            Op::Whole(k) => {
                let mark = self.set.mark_whole(key(k));
                self.append(mark);
                self.model.mark_whole(k);
            }
            Op::Pages(k, from, to) => {
                let mark = self.set.mark_pages(key(k), from..to);
                self.append(mark);
                self.model.mark_pages(k, from..to);
            }
            Op::TouchNames(k) => {
                self.recent.mark_names(key(k));
                let mark = self.set.touch_names(key(k));
                self.append(mark);
                self.model.touch(k, &[model::Item::Names]);
            }
            Op::TouchAttributes(k) => {
                self.recent.mark_attributes(key(k));
                let mark = self.set.touch_attributes(key(k));
                self.append(mark);
                self.model.touch(k, &[model::Item::Attributes]);
            }
            Op::TouchWhole(k) => {
                self.recent.mark_whole(key(k));
                let mark = self.set.touch_whole(key(k));
                self.append(mark);
                self.model.touch(k, &model::whole());
            }
            Op::TouchPages(k, from, to) => {
                self.recent.mark_pages(key(k), from..to);
                let mark = self.set.touch_pages(key(k), from..to);
                self.append(mark);
                self.model.touch(k, &model::pages(&(from..to)));
            }
            Op::Forget(k) => {
                self.recent.mark_whole(key(k));
                self.model.forget(k);
                self.set.forget(key(k));
            }
            _ => self.drain_step(op),
        }
    }

    fn drain_step(&mut self, op: &Op) {
        match *op {
            Op::Next => {
                self.last = self.set.next(self.last.as_ref());
                let (last, now) = (self.last, self.model.now);
                self.under_way.extend(last.map(|portion| (portion, now)));
                self.model.taken(last.as_slice());
            }
            Op::PortionsOf(k, from, to) => {
                let portions = self.set.portions_of(key(k), Some(from..to));
                self.model.check_portions(k, &(from..to), &portions);
                self.model.taken(&portions);
                let now = self.model.now;
                self.under_way.extend(portions.into_iter().map(|portion| (portion, now)));
            }
            Op::Clear(index) if index < self.under_way.len() => {
                let (portion, taken) = self.under_way.remove(index);
                self.recent.mark_portion(&portion);
                // A settled object is gone on both disks: a late answer says nothing of it.
                let known = self.set.objects.contains_key(&portion.key);
                let cleared = self.set.clear(&portion);
                self.model.clear(&portion, taken, cleared, known);
            }
            Op::Drop => self.under_way.clear(),
            Op::Rewrite(exact) => {
                self.file = self.set.records(exact);
                self.set.written(exact);
            }
            Op::Reload => {
                // Only what the file says survives; whatever was under way is gone.
                self.set = load(&self.file);
                (self.under_way, self.last) = (Vec::new(), None);
                self.model.reload(&self.set);
            }
            Op::BeginCheckpoint => {
                self.recent.begin_checkpoint(Position { epoch: None, seq: Seq(self.model.now) });
                self.model.begin_checkpoint();
            }
            Op::CheckpointDone => {
                let done = self.recent.checkpoint_done();
                assert_eq!(done, self.model.checkpoint_done());
            }
            Op::Abandon => {
                self.recent.abandon();
                self.model.abandon();
            }
            Op::Settle => {
                let cleared = self.set.settle(&self.recent);
                self.file.extend(cleared);
            }
            _ => {}
        }
    }

    fn check(&self) {
        self.model.check(&self.set);
        let file = load(&self.file);
        self.model.check_recorded(&file);
        self.model.check_recent(&self.recent.initial_dirty_set());
        for k in 1..4 {
            assert_eq!(self.recent.contains(key(k)), self.model.is_recent(k), "recent {k}");
        }
    }
}

fn load(records: &[DirtyRecord]) -> DirtySet {
    let mut set = DirtySet::new();
    records.iter().for_each(|record| set.apply(record));
    set
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn never_less_dirty_than_true(ops in prop::collection::vec(op(), 1..60)) {
        let mut run = Run::new();
        for op in &ops {
            run.step(op);
            run.check();
        }
        // A drain that nobody disturbs ends, and leaves nothing.
        run.under_way.clear();
        let mut rounds = 0;
        while let Some(portion) = run.set.next(None) {
            prop_assert_eq!(run.set.clear(&portion), Cleared::Clean);
            rounds += 1;
            prop_assert!(rounds < 100);
        }
        prop_assert!(run.set.is_empty());
        prop_assert_eq!(run.set.counts(), Counts::default());
    }

    #[test]
    fn a_union_holds_both(
        left in prop::collection::vec(op(), 1..20),
        right in prop::collection::vec(op(), 1..20),
    ) {
        let [mut a, mut b] = [Run::new(), Run::new()];
        left.iter().for_each(|op| a.step(op));
        right.iter().for_each(|op| b.step(op));
        let new = a.set.union(&b.set);
        a.file.extend(new);
        let file = load(&a.file);
        for set in [&a.set, &file] {
            a.model.check_held_by(set);
            b.model.check_held_by(set);
        }
    }
}

#[test]
fn directories_come_first_and_attributes_last() {
    let mut set = DirtySet::new();
    let _ = set.mark_attributes(key(2));
    let _ = set.mark_pages(key(2), ZONE..ZONE + 1);
    let _ = set.mark_pages(key(2), 0..1);
    let _ = set.mark_whole(key(1));
    let _ = set.mark_names(key(9));
    let mut order = Vec::new();
    let mut last = None;
    while let Some(portion) = set.next(last.as_ref()) {
        let zone = if let Part::Pages { zone, .. } = portion.part { zone } else { 9 };
        order.push((portion.key.ino, zone));
        last = Some(portion);
    }
    assert_eq!(order, [(9, 9), (1, 9), (2, 0), (2, 1), (2, 9)]);
}

#[test]
fn one_record_a_zone_however_often_it_is_written() {
    let mut set = DirtySet::new();
    let zones = |first, last| Mark::New(DirtyRecord::Zones { key: key(1), first, last });
    assert_eq!(set.mark_pages(key(1), ZONE - 1..2 * ZONE + 1), zones(0, 2));
    for page in 0..256 {
        assert_eq!(set.mark_pages(key(1), page * PAGE..page * PAGE + 1), Mark::Known);
    }
    assert_eq!(set.mark_pages(key(1), 2 * ZONE..3 * ZONE + 1), zones(3, 3));
    assert_eq!(set.mark_pages(key(1), 5..5), Mark::Known);
    assert_eq!(set.counts().pages, 256 + 256 + 256 + 1);
}

#[test]
fn a_huge_range_is_the_whole_object_and_takes_no_time() {
    let mut set = DirtySet::new();
    let whole = Mark::New(DirtyRecord::Whole { key: key(1) });
    assert_eq!(set.mark_pages(key(1), 0..1 << 60), whole);
    assert!(set.contains_any(key(1), 5 * ZONE..5 * ZONE + 1));
    assert!(set.contains_any(key(1), u64::MAX - 1..u64::MAX));
    let mut set = DirtySet::new();
    let _ = set.mark_pages(key(1), u64::MAX - 1..u64::MAX);
    assert!(set.contains_any(key(1), 0..u64::MAX), "{set:?}");
    assert_eq!(set.counts().whole, 1, "beyond what a zone number can say");
}

#[test]
fn a_zone_costs_less_than_100_bytes() {
    // A B-tree leaf has room for 11 entries and, filled in ascending order, holds 6 of them.
    let leaf = 11 * (size_of::<u32>() + size_of::<pages::Zone>()) + 16;
    let branch = leaf + 12 * size_of::<usize>();
    assert!(leaf / 6 + branch / 36 <= 100, "{} bytes", leaf / 6 + branch / 36);
    assert!(size_of::<object::Object>() <= 80, "{}", size_of::<object::Object>());
}

#[test]
fn page_maps_agree_with_lists() {
    for first in 0..256u32 {
        for last in [first, first + 1, first + 31, first + 40, 255] {
            let last = last.clamp(first, 255);
            let map = PageMap::span(first, last);
            assert!((0..256).all(|page| map.contains(page) == (first <= page && page <= last)));
            assert_eq!(map.count(), u64::from(last - first + 1));
            let bytes = |page: u32| 3 * ZONE + u64::from(page) * PAGE;
            assert_eq!(map.ranges(3).collect::<Vec<_>>(), vec![bytes(first)..bytes(last + 1)]);
            let outside = PageMap::FULL.without(map);
            assert!(!outside.intersects(map) && outside.or(map) == PageMap::FULL);
        }
    }
    assert_eq!(PageMap::FULL.without(PageMap::span(3, 4)).ranges(0).count(), 2);
}
