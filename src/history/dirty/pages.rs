//! Pages and zones: 4 KiB pages are remembered exactly, 256 of them make a zone of 1 MiB.
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a page, the grain of exact marks.
pub const PAGE: u64 = 4096;
/// Bytes of a zone, the grain of durable marks.
pub const ZONE: u64 = 1 << 20;
const PAGES: u32 = (ZONE / PAGE) as u32;
const _: () = assert!(PAGES == 256);

/// Which pages of one zone: page `i` is bit `i % 32` of word `i / 32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PageMap(pub [u32; 8]);

impl PageMap {
    pub const EMPTY: PageMap = PageMap([0; 8]);
    pub const FULL: PageMap = PageMap([u32::MAX; 8]);

    /// Pages `first ..= last` of a zone, both below 256.
    pub fn span(first: u32, last: u32) -> PageMap {
        let mut map = PageMap::EMPTY;
        for (word, bits) in (0u32..).zip(&mut map.0) {
            let (low, high) = (word * 32, word * 32 + 31);
            if first <= high && low <= last {
                let above = u32::MAX << (first.max(low) - low);
                let below = u32::MAX >> (high - last.min(high));
                *bits = above & below;
            }
        }
        map
    }

    /// The pages of the first quarter of the zone that has any.
    pub fn first_quarter(self) -> PageMap {
        let quarters =
            (0..PAGES).step_by(64).map(|first| self.and(PageMap::span(first, first + 63)));
        quarters.into_iter().find(|quarter| !quarter.is_empty()).unwrap_or_default()
    }

    pub fn is_empty(self) -> bool {
        self == PageMap::EMPTY
    }

    /// Number of pages.
    pub fn count(self) -> u64 {
        self.0.iter().map(|bits| u64::from(bits.count_ones())).sum()
    }

    pub fn contains(self, page: u32) -> bool {
        self.0[(page / 32 % 8) as usize] >> (page % 32) & 1 == 1
    }

    pub fn intersects(self, other: PageMap) -> bool {
        !self.and(other).is_empty()
    }

    pub fn covers(self, other: PageMap) -> bool {
        self.and(other) == other
    }

    pub fn and(self, other: PageMap) -> PageMap {
        PageMap(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    pub fn or(self, other: PageMap) -> PageMap {
        PageMap(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    pub fn without(self, other: PageMap) -> PageMap {
        PageMap(std::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    /// The byte ranges of a file that these pages of `zone` are, neighbours joined, ascending.
    pub fn ranges(self, zone: u32) -> impl Iterator<Item = Range<u64>> {
        let start = u64::from(zone) * ZONE;
        let mut page = 0;
        std::iter::from_fn(move || {
            while page < PAGES && !self.contains(page) {
                page += 1;
            }
            let first = page;
            while page < PAGES && self.contains(page) {
                page += 1;
            }
            let bytes = |pages: u32| start + u64::from(pages) * PAGE;
            (first < page).then(|| bytes(first)..bytes(page))
        })
    }
}

/// The zones that `range` touches, with the pages in each; `None` beyond what a zone number can
/// say (4 PiB).
pub(super) fn zones_of(range: &Range<u64>) -> Option<impl Iterator<Item = (u32, PageMap)> + Clone> {
    let (start, last_byte) = (range.start, range.end.saturating_sub(1).max(range.start));
    let first = u32::try_from(start / ZONE).ok()?;
    let last = u32::try_from(last_byte / ZONE).ok()?;
    let page_in_zone = |byte: u64| ((byte % ZONE) / PAGE) as u32;
    let zones = if range.start < range.end { first..last + 1 } else { first..first };
    Some(zones.map(move |zone| {
        let from = if zone == first { page_in_zone(start) } else { 0 };
        let to = if zone == last { page_in_zone(last_byte) } else { PAGES - 1 };
        (zone, PageMap::span(from, to))
    }))
}

/// What is known of one zone: 36 bytes, because a terabyte of changes has a million of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) pages: PageMap,
    word: u32,
}

const COMPARE: u32 = 1 << 31;
const COVERED: u32 = 1 << 30;
const WIDER: u32 = 1 << 29;
/// Stamps count portions of a drain and may wrap: they are only compared for equality.
pub(super) const STAMP_MASK: u32 = WIDER - 1;

impl Zone {
    pub(super) fn stamp(self) -> u32 {
        self.word & STAMP_MASK
    }
    pub(super) fn set_stamp(&mut self, stamp: u32) {
        self.word = self.word & !STAMP_MASK | stamp & STAMP_MASK;
    }
    /// Which pages changed is not known: compare before sending.
    pub(super) fn compare(self) -> bool {
        self.word & COMPARE != 0
    }
    pub(super) fn set_compare(&mut self, on: bool) {
        self.word = if on { self.word | COMPARE } else { self.word & !COMPARE };
    }
    /// The dirty file names the whole zone: any page of it may change without another record.
    pub(super) fn covered(self) -> bool {
        self.word & COVERED != 0
    }
    /// Its dirty pages are all there is to say of it.
    pub(super) fn is_exact(self) -> bool {
        !self.compare() && !self.wider() && !self.pages.is_empty()
    }
    /// More must stay recorded than the pages that are dirty: some were sent or cleared.
    pub(super) fn wider(self) -> bool {
        self.word & WIDER != 0
    }
    pub(super) fn set_wider(&mut self) {
        self.word |= WIDER;
    }
    pub(super) fn set_covered(&mut self, on: bool) {
        self.word = if on { self.word | COVERED } else { self.word & !COVERED };
    }
}

/// The zones of one object, ascending. Most objects have one, so that one needs no allocation.
#[derive(Clone, Debug, Default)]
pub(super) enum Zones {
    #[default]
    None,
    One(u32, Zone),
    // Boxed: most objects have one zone and should be small.
    #[allow(clippy::box_collection)]
    Many(Box<BTreeMap<u32, Zone>>),
}

impl Zones {
    pub(super) fn find(&self, zone: u32) -> Option<&Zone> {
        match self {
            Zones::None => None,
            Zones::One(only, found) => (*only == zone).then_some(found),
            Zones::Many(map) => map.get(&zone),
        }
    }

    pub(super) fn entry(&mut self, zone: u32) -> &mut Zone {
        if let Zones::One(only, found) = self
            && *only != zone
        {
            *self = Zones::Many(Box::new(BTreeMap::from([(*only, *found)])));
        }
        if matches!(self, Zones::None) {
            *self = Zones::One(zone, Zone::default());
        }
        match self {
            Zones::One(_, found) => found,
            Zones::Many(map) => map.entry(zone).or_default(),
            Zones::None => unreachable!("filled three lines above"),
        }
    }

    pub(super) fn from(&self, first: u32) -> impl Iterator<Item = (u32, &Zone)> {
        let one = match self {
            Zones::One(zone, found) if *zone >= first => Some((*zone, found)),
            _ => None,
        };
        let many = match self {
            Zones::Many(map) => Some(map.range(first..).map(|(zone, found)| (*zone, found))),
            _ => None,
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Keeps the zones for which `keep` says so, after it changed them.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(u32, &mut Zone) -> bool) {
        match self {
            Zones::None => {}
            Zones::One(zone, found) => {
                if !keep(*zone, found) {
                    *self = Zones::None;
                }
            }
            Zones::Many(map) => {
                map.retain(|zone, found| keep(*zone, found));
                if map.is_empty() {
                    *self = Zones::None;
                }
            }
        }
    }
}
