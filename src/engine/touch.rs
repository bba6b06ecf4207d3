//! What an operation touches, as marks: the same list decides whether the peer can be sent the
//! operation, what must be remembered if it is not, and what a crash of the peer may undo.
use crate::disk::Objects;
use crate::history::{DirtyRecord, DirtySet, Mark, ObjectKey, Recent};
use crate::wire::{ObjId, Op};
use std::ops::Range;

/// One touched thing. Ranges are bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    Names(ObjectKey),
    Attributes(ObjectKey),
    Whole(ObjectKey),
    Pages(ObjectKey, Range<u64>),
}

/// Up to four touches, without a list on the heap for the common case.
pub type Touches = Vec<Touch>;

/// What `op` touches of objects that exist before it. Sizes are read where a range depends on it.
pub fn touches(objects: &mut Objects, op: &Op) -> Touches {
    let mut list = Touches::new();
    let key = |objects: &Objects, id: ObjId| objects.get(id).ok().map(|object| object.key);
    match op {
        Op::Nop | Op::Fsync { .. } | Op::SyncAll | Op::Bind { .. } | Op::Forget { .. } => {}
        Op::Write { obj, offset, data, .. } => {
            if let Some(key) = key(objects, *obj) {
                list.push(Touch::Pages(key, *offset..*offset + data.len() as u64));
            }
        }
        Op::Create { parent, .. }
        | Op::Mkdir { parent, .. }
        | Op::Mknod { parent, .. }
        | Op::Symlink { parent, .. }
        | Op::RemoveTree { parent, .. } => {
            list.extend(key(objects, *parent).map(Touch::Names));
        }
        Op::Tmpfile { .. } => {}
        Op::Link { obj, parent, .. } | Op::Replace { obj, parent, .. } => {
            list.extend(key(objects, *parent).map(Touch::Names));
            // The whole: the name may have been another file's, and the first one may go.
            list.extend(key(objects, *obj).map(Touch::Whole));
        }
        Op::Unlink { parent, .. } | Op::Rmdir { parent, .. } => {
            list.extend(key(objects, *parent).map(Touch::Names));
        }
        Op::Rename { parent, name, new_parent, new_name, flags } => {
            list.extend(key(objects, *parent).map(Touch::Names));
            if parent != new_parent {
                list.extend(key(objects, *new_parent).map(Touch::Names));
            }
            let moved = objects.child(*parent, name);
            list.extend(moved.and_then(|id| key(objects, id)).map(Touch::Whole));
            if flags & libc::RENAME_EXCHANGE != 0 {
                let other = objects.child(*new_parent, new_name);
                list.extend(other.and_then(|id| key(objects, id)).map(Touch::Whole));
            }
        }
        Op::SetAttr { obj, set } => {
            list.extend(key(objects, *obj).map(Touch::Attributes));
            if let (Some(size), Some(key)) = (set.size, key(objects, *obj)) {
                let old = size_of(objects, *obj);
                list.push(Touch::Pages(key, size.min(old)..size.max(old)));
            }
        }
        Op::SetXattr { obj, .. } | Op::RemoveXattr { obj, .. } => {
            list.extend(key(objects, *obj).map(Touch::Attributes));
        }
        Op::Fallocate { obj, mode, offset, length } => {
            const SHIFTS: i32 = libc::FALLOC_FL_COLLAPSE_RANGE | libc::FALLOC_FL_INSERT_RANGE;
            let end = offset.saturating_add(*length);
            let end = match mode & SHIFTS as u32 {
                0 => end,
                _ => end.max(size_of(objects, *obj).saturating_add(*length)),
            };
            if let Some(key) = key(objects, *obj) {
                list.extend([Touch::Attributes(key), Touch::Pages(key, *offset..end)]);
            }
        }
        Op::CopyRange { target, target_offset, length, .. } => {
            if let Some(key) = key(objects, *target) {
                let end = target_offset.saturating_add(*length);
                list.push(Touch::Pages(key, *target_offset..end));
            }
        }
    }
    list
}

/// The object that `op` makes, known only after it was performed.
pub fn made(objects: &Objects, op: &Op) -> Option<Touch> {
    match op {
        Op::Create { obj, .. }
        | Op::Mkdir { obj, .. }
        | Op::Mknod { obj, .. }
        | Op::Symlink { obj, .. } => objects.get(*obj).ok().map(|object| Touch::Whole(object.key)),
        _ => None,
    }
}

fn size_of(objects: &mut Objects, id: ObjId) -> u64 {
    let fd = objects.path_fd(id).ok();
    fd.and_then(|fd| crate::disk::sys::fstat(fd).ok()).map_or(0, |stat| stat.st_size as u64)
}

impl Touch {
    pub fn key(&self) -> ObjectKey {
        match self {
            Touch::Names(key) | Touch::Attributes(key) | Touch::Whole(key) => *key,
            Touch::Pages(key, _) => *key,
        }
    }

    /// The peer may lack what this touches: the operation cannot be sent to it.
    pub fn is_dirty(&self, set: &DirtySet) -> bool {
        match self {
            Touch::Names(key) => set.is_dirty_names(*key),
            // A moved or replaced object keeps its own marks; its name is the parent's affair.
            Touch::Whole(_) => false,
            Touch::Attributes(key) => set.is_dirty_attributes(*key),
            Touch::Pages(key, range) => set.contains_any(*key, range.clone()),
        }
    }

    pub fn mark(&self, set: &mut DirtySet, records: &mut Vec<DirtyRecord>) {
        let mark = match self {
            Touch::Names(key) => set.mark_names(*key),
            Touch::Attributes(key) => set.mark_attributes(*key),
            Touch::Whole(key) => set.mark_whole(*key),
            Touch::Pages(key, range) => set.mark_pages(*key, range.clone()),
        };
        if let Mark::New(record) = mark {
            records.push(record);
        }
    }

    /// Remembered for the case of a crash of this node, not dirty.
    pub fn record(&self, set: &mut DirtySet, records: &mut Vec<DirtyRecord>) {
        let mark = match self {
            Touch::Names(key) => set.touch_names(*key),
            Touch::Attributes(key) => set.touch_attributes(*key),
            Touch::Whole(key) => set.touch_whole(*key),
            Touch::Pages(key, range) => set.touch_pages(*key, range.clone()),
        };
        if let Mark::New(record) = mark {
            records.push(record);
        }
    }

    pub fn mark_recent(&self, recent: &mut Recent) {
        match self {
            Touch::Names(key) => recent.mark_names(*key),
            Touch::Attributes(key) => recent.mark_attributes(*key),
            Touch::Whole(key) => recent.mark_whole(*key),
            Touch::Pages(key, range) => recent.mark_pages(*key, range.clone()),
        }
    }
}
