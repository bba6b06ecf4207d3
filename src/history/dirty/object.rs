//! One object of the dirty set: which parts are dirty, which the dirty file knows of.
use super::pages::{PageMap, Zones};
use super::{Counts, DirtyRecord, Mark, ObjectKey, ZONES_PER_MARK_MAX};

pub(super) const NAMES: u8 = 1;
pub(super) const ATTRIBUTES: u8 = 2;
pub(super) const WHOLE: u8 = 4;
const PARTS: [u8; 3] = [NAMES, ATTRIBUTES, WHOLE];

#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    /// Parts that the peer may lack.
    dirty: u8,
    /// Parts that the dirty file names. `WHOLE` there stands for attributes and pages as well.
    recorded: u8,
    /// The whole was taken for a drain: what changes from now on is marked by itself again.
    whole_taken: bool,
    /// When each part was last marked.
    stamps: [u32; 3],
    pub(super) dirty_pages: u64,
    pub(super) zones: Zones,
}

impl Object {
    pub(super) fn is_dirty(&self, parts: u8) -> bool {
        self.dirty & parts != 0
    }

    pub(super) fn is_any_dirty(&self) -> bool {
        self.dirty != 0 || self.dirty_pages > 0
    }

    /// Neither dirty nor recorded: need not be remembered.
    pub(super) fn is_nothing(&self) -> bool {
        self.dirty == 0 && self.recorded == 0 && matches!(self.zones, Zones::None)
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            objects: u64::from(self.is_any_dirty()),
            names: u64::from(self.is_dirty(NAMES)),
            attributes: u64::from(self.is_dirty(ATTRIBUTES)),
            whole: u64::from(self.is_dirty(WHOLE)),
            pages: self.dirty_pages,
        }
    }

    pub(super) fn stamp(&self, part: u8) -> u32 {
        self.stamps[part.trailing_zeros() as usize % 3]
    }

    pub(super) fn mark_part(&mut self, key: ObjectKey, part: u8, clock: u32) -> Mark {
        if part == ATTRIBUTES && self.whole_waits() {
            return Mark::Known;
        }
        self.set_dirty(part, clock);
        self.record_part(key, part)
    }

    /// The dirty file must name `part`; the answer says whether it does.
    pub(super) fn record_part(&mut self, key: ObjectKey, part: u8) -> Mark {
        let enough = if part == NAMES { NAMES } else { part | WHOLE };
        if self.recorded & enough != 0 {
            return Mark::Known;
        }
        self.recorded |= part;
        Mark::New(match part {
            NAMES => DirtyRecord::Names { key },
            ATTRIBUTES => DirtyRecord::Attributes { key },
            _ => DirtyRecord::Whole { key },
        })
    }

    pub(super) fn mark_pages(
        &mut self,
        key: ObjectKey,
        zones: impl Iterator<Item = (u32, PageMap)> + Clone,
        clock: u32,
    ) -> Mark {
        if self.whole_waits() {
            return Mark::Known;
        }
        let mark = self.cover(key, zones.clone());
        for (zone, pages) in zones {
            self.add_pages(zone, pages, clock);
        }
        mark
    }

    /// The dirty file must name these pages, by their zone if not page by page.
    pub(super) fn cover(
        &mut self,
        key: ObjectKey,
        zones: impl Iterator<Item = (u32, PageMap)>,
    ) -> Mark {
        if self.recorded & WHOLE != 0 {
            return Mark::Known;
        }
        let mut new: Option<(u32, u32)> = None;
        for (number, pages) in zones {
            let known = self.zones.find(number);
            if !known.is_some_and(|zone| zone.covered() || zone.pages.covers(pages)) {
                self.zones.entry(number).set_covered(true);
                new = Some((new.map_or(number, |(first, _)| first), number));
            }
        }
        match new {
            Some((first, last)) => Mark::New(DirtyRecord::Zones { key, first, last }),
            None => Mark::Known,
        }
    }

    /// As `cover`, for pages that are not going to be dirty.
    pub(super) fn touch(
        &mut self,
        key: ObjectKey,
        zones: impl Iterator<Item = (u32, PageMap)> + Clone,
    ) -> Mark {
        let mark = self.cover(key, zones.clone());
        if self.recorded & WHOLE == 0 {
            zones.for_each(|(zone, _)| self.zones.entry(zone).set_wider());
        }
        mark
    }

    pub(super) fn contains_any(&self, zones: impl Iterator<Item = (u32, PageMap)>) -> bool {
        let dirty =
            |(zone, pages)| self.zones.find(zone).is_some_and(|z| z.pages.intersects(pages));
        self.dirty_pages > 0 && { zones }.any(dirty)
    }

    /// Nothing is dirty any more; what is recorded stays recorded.
    pub(super) fn clean(&mut self) {
        self.dirty = 0;
        self.whole_taken = false;
        self.dirty_pages = 0;
        self.zones.retain(|_, zone| {
            zone.pages = PageMap::EMPTY;
            zone.set_compare(false);
            zone.set_wider();
            true
        });
    }

    pub(super) fn clear_part(&mut self, part: u8) {
        self.dirty &= !part;
        if part == WHOLE {
            self.whole_taken = false;
        }
    }

    /// The pages are clean. The zone stays remembered until it is settled: the file names it.
    pub(super) fn clear_pages(&mut self, number: u32, pages: PageMap) {
        if self.zones.find(number).is_none() {
            return;
        }
        let zone = self.zones.entry(number);
        let left = zone.pages.without(pages);
        self.dirty_pages -= zone.pages.count() - left.count();
        zone.pages = left;
        zone.set_wider();
        if left.is_empty() {
            zone.set_compare(false);
        }
    }

    pub(super) fn take_whole(&mut self) {
        self.whole_taken = true;
    }

    pub(super) fn union(
        &mut self,
        key: ObjectKey,
        other: &Object,
        clock: u32,
        new: &mut Vec<DirtyRecord>,
    ) {
        let mut note = |mark| {
            if let Mark::New(record) = mark {
                new.push(record);
            }
        };
        for part in PARTS.into_iter().filter(|part| other.is_dirty(*part)) {
            note(self.mark_part(key, part, clock));
        }
        for (number, theirs) in other.zones.from(0).filter(|(_, zone)| !zone.pages.is_empty()) {
            note(self.mark_pages(key, std::iter::once((number, theirs.pages)), clock));
            if theirs.compare() && !self.whole_waits() {
                self.zones.entry(number).set_compare(true);
            }
        }
    }

    pub(super) fn apply(&mut self, record: &DirtyRecord, clock: u32) {
        match *record {
            DirtyRecord::Names { .. } => self.apply_part(NAMES, clock),
            DirtyRecord::Attributes { .. } => self.apply_part(ATTRIBUTES, clock),
            DirtyRecord::Whole { .. } => self.apply_part(WHOLE, clock),
            DirtyRecord::Zones { first, last, .. } => {
                if last.saturating_sub(first) as usize > ZONES_PER_MARK_MAX {
                    return self.apply_part(WHOLE, clock);
                }
                for number in first..=last {
                    self.add_pages(number, PageMap::FULL, clock);
                    let zone = self.zones.entry(number);
                    zone.set_compare(true);
                    zone.set_covered(true);
                }
            }
            DirtyRecord::Pages { zone, pages, .. } => self.add_pages(zone, pages, clock),
            DirtyRecord::Clear { .. } => *self = Object::default(),
        }
    }

    pub(super) fn records(&self, key: ObjectKey, exact: bool, records: &mut Vec<DirtyRecord>) {
        let parts = self.dirty | self.recorded;
        for part in PARTS.into_iter().filter(|part| parts & part != 0) {
            records.push(match part {
                NAMES => DirtyRecord::Names { key },
                ATTRIBUTES => DirtyRecord::Attributes { key },
                _ => DirtyRecord::Whole { key },
            });
        }
        if parts & WHOLE != 0 {
            return;
        }
        for (zone, known) in self.zones.from(0) {
            if exact && known.is_exact() {
                records.push(DirtyRecord::Pages { key, zone, pages: known.pages });
            } else {
                push_zone(records, key, zone);
            }
        }
    }

    pub(super) fn written(&mut self, exact: bool) {
        self.recorded |= self.dirty;
        self.zones.retain(|_, zone| {
            zone.set_covered(!(exact && zone.is_exact()));
            true
        });
    }

    pub(super) fn unrecorded(&mut self) {
        self.recorded = 0;
        self.zones.retain(|_, zone| {
            zone.set_covered(false);
            !zone.pages.is_empty()
        });
    }

    /// All of it is dirty and no drain has taken it yet: further marks say nothing new.
    fn whole_waits(&self) -> bool {
        self.is_dirty(WHOLE) && !self.whole_taken
    }

    fn apply_part(&mut self, part: u8, clock: u32) {
        self.set_dirty(part, clock);
        self.recorded |= part;
    }

    fn set_dirty(&mut self, part: u8, clock: u32) {
        self.dirty |= part;
        self.stamps[part.trailing_zeros() as usize % 3] = clock;
        if part == WHOLE {
            // The whole holds everything that was marked before.
            self.whole_taken = false;
            self.dirty &= !ATTRIBUTES;
            self.dirty_pages = 0;
            self.zones = Zones::None;
        }
    }

    fn add_pages(&mut self, number: u32, pages: PageMap, clock: u32) {
        let zone = self.zones.entry(number);
        let sum = zone.pages.or(pages);
        self.dirty_pages += sum.count() - zone.pages.count();
        zone.pages = sum;
        zone.set_stamp(clock);
    }
}

/// Adds `zone` to the run at the end of `records` if it continues it.
fn push_zone(records: &mut Vec<DirtyRecord>, key: ObjectKey, zone: u32) {
    if let Some(DirtyRecord::Zones { key: same, first, last }) = records.last_mut()
        && *same == key
        && last.checked_add(1) == Some(zone)
        && zone - *first < ZONES_PER_MARK_MAX as u32
    {
        *last = zone;
        return;
    }
    records.push(DirtyRecord::Zones { key, first: zone, last: zone });
}
