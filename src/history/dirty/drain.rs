//! Draining: the order in which dirty parts are sent, and the proof that one may be called clean.
use super::object::{ATTRIBUTES, NAMES, WHOLE};
use super::pages::STAMP_MASK;
use super::{DirtySet, ObjectKey, PageMap, bounded};
use std::ops::{Bound, Range};

/// What of an object is to be brought level. The order is that of the drain: content before
/// attributes, because writing changes size and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Entries of a directory.
    Names,
    /// Content and attributes of a file.
    Whole,
    /// These pages. `compare`: which of them changed is not known, so digests come first.
    Pages {
        zone: u32,
        pages: PageMap,
        compare: bool,
    },
    Attributes,
}

/// One step of a drain, taken under the lock of its object and given back to
/// [`DirtySet::clear`] when the peer has applied it. Dropping it is harmless: it stays dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Portion {
    pub key: ObjectKey,
    pub part: Part,
    stamp: u32,
}

impl Portion {
    /// Of exact pages not more than a quarter of a zone, the first that has any.
    pub fn short(self) -> Portion {
        let part = match self.part {
            Part::Pages { zone, pages, compare: false } => {
                Part::Pages { zone, pages: pages.first_quarter(), compare: false }
            }
            part => part,
        };
        Portion { part, ..self }
    }
}

/// What became of a portion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what was marked again must be sent again"]
pub enum Cleared {
    Clean,
    /// Still dirty: marked again since it was taken, or part of a whole that is.
    MarkedAgain,
}

/// Place of a part within its object.
fn rank(part: &Part) -> (u8, u32) {
    match part {
        Part::Names | Part::Whole => (0, 0),
        Part::Pages { zone, .. } => (1, *zone),
        Part::Attributes => (2, 0),
    }
}

impl DirtySet {
    /// The first dirty portion after `after` (`None`: the first of all): all directories whose
    /// entries changed, then the other objects by directory and inode number, each from its first
    /// zone to its last, its attributes at the end. `None` at the end of the round; what was
    /// marked again meanwhile comes in the next one.
    pub fn next(&mut self, after: Option<&Portion>) -> Option<Portion> {
        self.tick();
        let names = match after {
            None => self.names.first().copied(),
            Some(Portion { key, part: Part::Names, .. }) => {
                self.names.range((Bound::Excluded(*key), Bound::Unbounded)).next().copied()
            }
            Some(_) => None,
        };
        if let Some(key) = names {
            let stamp = self.objects.get(&key)?.stamp(NAMES);
            return Some(Portion { key, part: Part::Names, stamp });
        }
        if let Some(last) = after.filter(|last| last.part != Part::Names)
            && let Some(portion) = self.content_portion(last.key, Some(rank(&last.part)))
        {
            return Some(portion);
        }
        let from = match after {
            Some(last) if last.part != Part::Names => Bound::Excluded(last.key),
            _ => Bound::Unbounded,
        };
        let key = self.content.range((from, Bound::Unbounded)).next().copied()?;
        self.content_portion(key, None)
    }

    /// The dirty portions that an operation on `key` needs clean first (rule A9): all of them, or
    /// those that hold bytes of `range`.
    pub fn portions_of(&mut self, key: ObjectKey, range: Option<Range<u64>>) -> Vec<Portion> {
        self.tick();
        let mut portions = Vec::new();
        let Some(object) = self.objects.get(&key) else { return portions };
        if object.is_dirty(NAMES) {
            portions.push(Portion { key, part: Part::Names, stamp: object.stamp(NAMES) });
        }
        let mut last = None;
        while let Some(portion) = self.content_portion(key, last) {
            last = Some(rank(&portion.part));
            if needs(&portion.part, range.as_ref()) {
                portions.push(portion);
            }
        }
        portions
    }

    /// The peer has applied `portion`: it is clean, unless it was marked again since it was
    /// taken. Mark it in `Recent` first, because the peer may still lose it.
    pub fn clear(&mut self, portion: &Portion) -> Cleared {
        let Portion { key, part, stamp } = *portion;
        let Some(object) = self.objects.get(&key) else { return Cleared::Clean };
        let marked = match part {
            Part::Names => object.is_dirty(NAMES) && object.stamp(NAMES) != stamp,
            Part::Attributes => object.is_dirty(ATTRIBUTES) && object.stamp(ATTRIBUTES) != stamp,
            Part::Whole => object.is_dirty(WHOLE) && object.stamp(WHOLE) != stamp,
            Part::Pages { zone, pages, .. } => object
                .zones
                .find(zone)
                .is_some_and(|known| known.stamp() != stamp && known.pages.intersects(pages)),
        };
        // The whole holds this part as well, and is still to be sent.
        let waits = part != Part::Names && part != Part::Whole && object.is_dirty(WHOLE);
        if marked || waits {
            return Cleared::MarkedAgain;
        }
        self.change(key, |object, _| match part {
            Part::Names => object.clear_part(NAMES),
            Part::Attributes => object.clear_part(ATTRIBUTES),
            Part::Whole => object.clear_part(WHOLE),
            Part::Pages { zone, pages, .. } => object.clear_pages(zone, pages),
        });
        Cleared::Clean
    }

    /// First content part of `key` behind `after`.
    fn content_portion(&mut self, key: ObjectKey, after: Option<(u8, u32)>) -> Option<Portion> {
        let object = self.objects.get_mut(&key)?;
        if after.is_none() && object.is_dirty(WHOLE) {
            object.take_whole();
            return Some(Portion { key, part: Part::Whole, stamp: object.stamp(WHOLE) });
        }
        let first = match after {
            None | Some((0, _)) => Some(0),
            Some((1, zone)) => zone.checked_add(1),
            Some(_) => return None,
        };
        let zones = first.into_iter().flat_map(|first| object.zones.from(first));
        if let Some((zone, known)) = { zones }.find(|(_, known)| !known.pages.is_empty()) {
            let part = Part::Pages { zone, pages: known.pages, compare: known.compare() };
            return Some(Portion { key, part, stamp: known.stamp() });
        }
        let stamp = object.stamp(ATTRIBUTES);
        object.is_dirty(ATTRIBUTES).then_some(Portion { key, part: Part::Attributes, stamp })
    }

    /// Marks from now on are later than every portion taken so far.
    fn tick(&mut self) {
        self.clock = self.clock.wrapping_add(1) & STAMP_MASK;
    }
}

fn needs(part: &Part, range: Option<&Range<u64>>) -> bool {
    let (Part::Pages { zone, pages, .. }, Some(range)) = (part, range) else { return true };
    match bounded(range) {
        Some(mut zones) => {
            zones.any(|(number, wanted)| number == *zone && wanted.intersects(*pages))
        }
        None => true,
    }
}
