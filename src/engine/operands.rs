//! What an operation speaks of: objects, directories, entries.
use crate::wire::{ObjId, Op};
use bytes::Bytes;

/// The object whose content or attributes an operation changes.
pub fn subject(op: &Op) -> Option<ObjId> {
    match op {
        Op::Write { obj, .. }
        | Op::SetAttr { obj, .. }
        | Op::SetXattr { obj, .. }
        | Op::RemoveXattr { obj, .. }
        | Op::Fallocate { obj, .. }
        | Op::Fsync { obj, .. } => Some(*obj),
        Op::CopyRange { target, .. } => Some(*target),
        Op::Create { parent, .. }
        | Op::Mkdir { parent, .. }
        | Op::Mknod { parent, .. }
        | Op::Symlink { parent, .. }
        | Op::Tmpfile { parent, .. }
        | Op::Unlink { parent, .. }
        | Op::Rmdir { parent, .. }
        | Op::Rename { parent, .. }
        | Op::Link { parent, .. }
        | Op::Replace { parent, .. }
        | Op::RemoveTree { parent, .. } => Some(*parent),
        Op::Nop | Op::SyncAll | Op::Bind { .. } | Op::Forget { .. } => None,
    }
}

/// Existing objects that the peer must know before it can perform the operation.
pub fn named(op: &Op) -> Vec<ObjId> {
    match op {
        Op::CopyRange { source, target, .. } => vec![*source, *target],
        Op::Rename { parent, new_parent, .. } => vec![*parent, *new_parent],
        Op::Link { obj, parent, .. } | Op::Replace { obj, parent, .. } => vec![*obj, *parent],
        other => subject(other).into_iter().collect(),
    }
}

/// Directories whose entries it speaks of.
pub fn directories(op: &Op) -> Vec<ObjId> {
    match op {
        Op::Rename { parent, new_parent, .. } => vec![*parent, *new_parent],
        Op::Bind { parent, .. }
        | Op::Link { parent, .. }
        | Op::Create { parent, .. }
        | Op::Mkdir { parent, .. }
        | Op::Mknod { parent, .. }
        | Op::Symlink { parent, .. }
        | Op::Unlink { parent, .. }
        | Op::Rmdir { parent, .. }
        | Op::Replace { parent, .. }
        | Op::RemoveTree { parent, .. } => vec![*parent],
        _ => Vec::new(),
    }
}

/// Entries that lead to another inode afterwards, or to none.
pub fn entries(op: &Op) -> Vec<(ObjId, &Bytes)> {
    match op {
        Op::Unlink { parent, name }
        | Op::Rmdir { parent, name }
        | Op::Replace { parent, name, .. } => vec![(*parent, name)],
        Op::Rename { parent, name, new_parent, new_name, .. } => {
            vec![(*parent, name), (*new_parent, new_name)]
        }
        _ => Vec::new(),
    }
}

/// The object that it gives a number to.
pub fn numbered(op: &Op) -> Option<ObjId> {
    match op {
        Op::Bind { obj, .. }
        | Op::Link { obj, .. }
        | Op::Replace { obj, .. }
        | Op::Create { obj, .. }
        | Op::Mkdir { obj, .. }
        | Op::Mknod { obj, .. }
        | Op::Symlink { obj, .. } => Some(*obj),
        _ => None,
    }
}
