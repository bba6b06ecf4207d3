//! Directory entries that operations on their way will change.
//!
//! The peer applies what it is sent before this node does. In between an object has another name
//! there than here, or none: a number that it is told by the old name, or a part of a return for a
//! removed file, would fail there. Whatever needs the object waits until the operation is done here
//! too. The kernel keeps most requests apart by its own locks; writes of mapped pages, requests in
//! a renamed directory and a return know no such lock.
use super::in_flight::InFlight;
use super::leader::Deferred;
use super::operands::entries;
use super::run::Engine;
use crate::disk::Object;
use crate::wire::{ObjId, Op};
use bytes::Bytes;

impl InFlight {
    fn entries(&self) -> Vec<(ObjId, &Bytes)> {
        if self.local { entries(self.here.as_ref().unwrap_or(&self.op)) } else { Vec::new() }
    }
}

impl Engine {
    pub fn is_entry_in_flight(&self, parent: ObjId, name: &Bytes) -> bool {
        self.leader.order.iter().any(|flight| flight.entries().contains(&(parent, name)))
    }

    pub fn are_names_in_flight(&self) -> bool {
        self.leader.order.iter().any(|flight| !flight.entries().is_empty())
    }

    /// A name of the object is being changed: a directory's only one, any of a file's.
    pub fn is_name_in_flight(&mut self, id: ObjId) -> bool {
        let Ok(object) = self.objects.get(id) else { return false };
        if object.kind == libc::S_IFDIR {
            return self.is_entry_in_flight(object.parent, &object.name);
        }
        let (order, objects) = (&self.leader.order, &mut self.objects);
        let mut entries = order.iter().flat_map(InFlight::entries);
        entries.any(|(parent, name)| objects.child(parent, name) == Some(id))
    }

    /// What is sent about the object now may find nothing there.
    pub fn may_be_gone_there(&mut self, id: ObjId) -> bool {
        let known = self.objects.get(id).is_ok_and(Object::is_replicated);
        !known || self.is_name_in_flight(id)
    }

    /// A directory that goes may hold names there that it does not hold here.
    pub fn removes_unequal(&mut self, op: &Op) -> bool {
        let (parent, name) = match op {
            Op::Rmdir { parent, name } => (*parent, name),
            Op::Rename { new_parent, new_name, .. } => (*new_parent, new_name),
            _ => return false,
        };
        let Some(child) = self.objects.child(parent, name) else { return false };
        let dirty = &self.leader.dirty;
        self.objects.get(child).is_ok_and(|object| {
            let unequal = dirty.is_dirty_names(object.key) || dirty.is_dirty_whole(object.key);
            object.kind == libc::S_IFDIR && unequal
        })
    }

    /// The peer's copy of what is read differs.
    pub fn reads_unequal(&self, op: &Op) -> bool {
        let Op::CopyRange { source, source_offset, length, .. } = op else { return false };
        let range = *source_offset..source_offset.saturating_add(*length);
        let source = self.objects.get(*source);
        source.is_ok_and(|object| self.leader.dirty.contains_any(object.key, range))
    }

    /// The peer does not have a source without a replicated name: the kernel reads and writes
    /// instead.
    pub fn copies_from_nowhere(&self, op: &Op) -> bool {
        let Op::CopyRange { source, target, .. } = op else { return false };
        let there = |id: &ObjId| self.objects.get(*id).is_ok_and(Object::is_replicated);
        there(target) && !there(source)
    }

    /// Names that were waited for may have arrived.
    pub fn retry_behind_names(&mut self) {
        let waiting: Vec<Deferred> = std::mem::take(&mut self.leader.behind_names);
        waiting.into_iter().for_each(|deferred| self.order_again(deferred));
    }
}
