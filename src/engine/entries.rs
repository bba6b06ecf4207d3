//! Directory entries that operations on their way will change.
//!
//! The peer applies what it is sent before this node does. In between an object has another name
//! there than here, or none: a number that it is told by the old name, or a part of a return for a
//! removed file, would fail there. Whatever needs the object waits until the operation is done here
//! too. The kernel keeps most requests apart by its own locks; writes of mapped pages, requests in
//! a renamed directory and a return know no such lock.
use super::leader::{Deferred, InFlight};
use super::run::Engine;
use crate::wire::{ObjId, Op};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};

/// The entries whose inode `op` changes or removes.
fn entries(op: &Op) -> Vec<(ObjId, &Bytes)> {
    match op {
        Op::Unlink { parent, name } | Op::Rmdir { parent, name } => vec![(*parent, name)],
        Op::Rename { parent, name, new_parent, new_name, .. } => {
            vec![(*parent, name), (*new_parent, new_name)]
        }
        _ => Vec::new(),
    }
}

impl InFlight {
    fn entries(&self) -> Vec<(ObjId, &Bytes)> {
        if self.local { entries(&self.op) } else { Vec::new() }
    }
}

impl Engine {
    /// The name under which the object is remembered is being changed.
    pub fn is_name_in_flight(&self, id: ObjId) -> bool {
        let Ok(object) = self.objects.get(id) else { return false };
        self.is_entry_in_flight(object.parent, &object.name)
    }

    pub fn are_names_in_flight(&self) -> bool {
        self.leader.order.iter().any(|flight| !flight.entries().is_empty())
    }

    /// As [`Engine::is_name_in_flight`], for any of its names.
    pub fn is_any_name_in_flight(&mut self, id: ObjId) -> bool {
        let (order, objects) = (&self.leader.order, &mut self.objects);
        let mut entries = order.iter().flat_map(InFlight::entries);
        entries.any(|(parent, name)| objects.child(parent, name) == Some(id))
    }

    /// What is sent about the object now may find nothing there.
    pub fn may_be_gone_there(&mut self, id: ObjId) -> bool {
        let linked = self.objects.get(id).is_ok_and(|object| !object.orphan);
        !linked || self.is_any_name_in_flight(id)
    }

    /// What loses a name is another thing there: a directory with other names in it, or a file that
    /// has got its other names only here.
    pub fn removes_unequal(&mut self, op: &Op) -> bool {
        let (parent, name) = match op {
            Op::Unlink { parent, name } | Op::Rmdir { parent, name } => (*parent, name),
            Op::Rename { new_parent, new_name, .. } => (*new_parent, new_name),
            _ => return false,
        };
        let Some((child, stat)) = self.objects.child_stat(parent, name) else { return false };
        let Ok(object) = self.objects.get(child) else { return false };
        let (dirty, key) = (&self.leader.dirty, object.key);
        match object.kind {
            libc::S_IFDIR => dirty.is_dirty_names(key) || dirty.is_dirty_whole(key),
            _ => stat.st_nlink > 1 && dirty.is_dirty_whole(key),
        }
    }

    /// The peer's copy of what is read differs.
    pub fn reads_unequal(&self, op: &Op) -> bool {
        let Op::CopyRange { source, source_offset, length, .. } = op else { return false };
        let range = *source_offset..source_offset.saturating_add(*length);
        let source = self.objects.get(*source);
        source.is_ok_and(|object| self.leader.dirty.contains_any(object.key, range))
    }

    /// The peer does not have a source without a name: the kernel reads and writes instead.
    pub fn copies_from_nowhere(&self, op: &Op) -> bool {
        let Op::CopyRange { source, target, .. } = op else { return false };
        let orphan = |id: &ObjId| self.objects.get(*id).is_ok_and(|object| object.orphan);
        orphan(source) && !orphan(target)
    }

    pub fn is_entry_in_flight(&self, parent: ObjId, name: &Bytes) -> bool {
        self.leader.order.iter().any(|flight| flight.entries().contains(&(parent, name)))
    }

    /// Names that were waited for may have arrived.
    pub fn retry_behind_names(&mut self) {
        let waiting: Vec<Deferred> = std::mem::take(&mut self.leader.behind_names);
        waiting.into_iter().for_each(|deferred| self.order_again(deferred));
    }
}

/// Entries of the peer that still lead to objects which have left them here. With such an entry the
/// inode may go, and what the peer was told of the object's number is worth nothing.
#[derive(Default)]
pub struct Left {
    entries: HashMap<(ObjId, Bytes), ObjId>,
    /// Directories that were moved with what is in them.
    dirs: HashSet<ObjId>,
}

impl Engine {
    /// `op` is about to be done here and not there.
    pub fn remember_left(&mut self, op: &Op) {
        if self.leader.ret.is_none() {
            return;
        }
        for (parent, name) in entries(op) {
            let Some(id) = self.objects.child(parent, name) else { continue };
            let is_dir = self.objects.get(id).is_ok_and(|object| object.kind == libc::S_IFDIR);
            if !self.is_bound(id) {
                continue;
            }
            let Some(ret) = &mut self.leader.ret else { return };
            if is_dir {
                ret.left.dirs.insert(id);
            } else {
                ret.left.entries.entry((parent, name.clone())).or_insert(id);
            }
        }
    }

    /// The peer has the object under an entry that it has here.
    pub fn is_home(&mut self, id: ObjId) {
        if let Some(ret) = &mut self.leader.ret {
            ret.left.entries.retain(|_, left| *left != id);
        }
    }

    /// Removes an entry there, with all beneath it.
    pub fn send_removal(&mut self, dir: ObjId, name: Bytes, is_dir: bool) {
        self.entry_goes(dir, &name, is_dir);
        self.send_only(Op::RemoveTree { parent: dir, name });
    }

    /// An entry there is removed or replaced.
    pub fn entry_goes(&mut self, dir: ObjId, name: &Bytes, is_dir: bool) {
        let Some(ret) = &mut self.leader.ret else { return };
        if !is_dir {
            if let Some(id) = ret.left.entries.remove(&(dir, name.clone())) {
                self.unbind(id);
            }
            return;
        }
        // What lay beneath there is not known: all that left some place, and all that went along.
        let Left { entries, dirs } = std::mem::take(&mut ret.left);
        entries.into_values().for_each(|id| self.unbind(id));
        if dirs.is_empty() {
            return;
        }
        let beneath: Vec<ObjId> =
            self.objects.ids().filter(|id| self.objects.is_beneath(*id, &dirs)).collect();
        beneath.into_iter().for_each(|id| self.unbind(id));
    }

    /// The peer may have nothing of it any more.
    fn unbind(&mut self, id: ObjId) {
        let Ok(object) = self.objects.get_mut(id) else { return };
        if object.kind == libc::S_IFDIR {
            return;
        }
        object.bound = 0;
        let key = object.key;
        let mark = self.leader.dirty.mark_whole(key);
        self.note([mark]);
    }
}
