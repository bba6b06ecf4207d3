//! Modification times, and objects that nobody needs any more.
//!
//! Times follow an operation by themselves, a little apart on each copy. They are sent once the
//! object is left alone for a moment; until then its number must not be forgotten.
use super::leader::IDLE_AT_ONCE;
use super::operands::subject;
use super::run::Engine;
use crate::disk::sys;
use crate::wire::{ObjId, Op, SetAttr, Times};

impl Engine {
    /// The kernel forgets an object; so may the peer.
    pub fn release(&mut self, id: ObjId, count: u64) {
        let session = self.leader.session_number;
        let bound = self.objects.get(id).is_ok_and(|object| object.bound == session);
        let linked = self.objects.get(id).is_ok_and(|object| !object.orphan);
        // Its times are still to be sent, or a return counts on its number: it goes afterwards.
        let needed = self.leader.touched.contains(&id) || linked && self.leader.ret.is_some();
        if needed && let Ok(object) = self.objects.get_mut(id) {
            object.lookups = object.lookups.saturating_sub(count);
            return;
        }
        if self.objects.release(id, count) && bound && self.has_session() {
            self.send_only(Op::Forget { obj: id });
        }
    }

    /// Times follow an operation by themselves, a little apart on each copy: they are sent once
    /// the object is left alone for a moment.
    pub fn remember_times(&mut self, op: &Op) {
        if !self.has_session() {
            return;
        }
        match op {
            Op::Rename { parent, new_parent, .. } => {
                self.leader.touched.extend([*parent, *new_parent]);
            }
            Op::Create { parent, obj, .. }
            | Op::Mkdir { parent, obj, .. }
            | Op::Mknod { parent, obj, .. }
            | Op::Symlink { parent, obj, .. } => {
                self.leader.touched.extend([*parent, *obj]);
            }
            Op::Link { parent, obj, .. } => self.leader.touched.extend([*parent, *obj]),
            Op::Unlink { parent, .. } | Op::Rmdir { parent, .. } => {
                self.leader.touched.insert(*parent);
            }
            // Set by the application: the same on both copies already.
            Op::SetAttr { obj, set } if set.times.mtime.is_some() => {
                // A part of a return may have been sent behind it and changed the time there.
                if self.leader.ret.is_none() {
                    self.leader.touched.remove(obj);
                } else {
                    self.leader.touched.insert(*obj);
                }
            }
            Op::SetAttr { set, .. } if set.size.is_none() => {}
            Op::Write { .. } | Op::Fallocate { .. } | Op::CopyRange { .. } | Op::SetAttr { .. } => {
                self.leader.touched.extend(subject(op));
            }
            _ => {}
        }
    }

    /// Sends modification times of what changed, every half second, and at the end of a return.
    pub fn flush_times(&mut self) {
        let due = self.leader.times_due.is_none_or(|at| at <= self.now);
        if due {
            self.leader.times_due = Some(self.now + std::time::Duration::from_millis(500));
            self.flush_times_now();
            let from = self.leader.idle.len().saturating_sub(IDLE_AT_ONCE);
            for id in self.leader.idle.split_off(from) {
                self.release(id, 0);
            }
        }
    }

    pub fn flush_times_now(&mut self) {
        if !self.has_session() || self.leader.touched.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.leader.touched) {
            let Ok(object) = self.objects.get(id) else { continue };
            let idle = object.lookups == 0 && !id.is_root();
            // It may be gone there already.
            if self.is_name_in_flight(id) {
                self.leader.touched.insert(id);
                continue;
            }
            if self.is_reachable(id) {
                self.send_times(id);
            }
            if idle {
                self.release(id, 0);
            }
        }
    }

    /// Times that can be sent no more: marks speak for them.
    pub fn give_up_times(&mut self) {
        for id in std::mem::take(&mut self.leader.touched) {
            let Ok(object) = self.objects.get(id) else { continue };
            let idle = object.lookups == 0 && !id.is_root();
            if let (Some(recent), true) = (&mut self.leader.recent, object.is_replicated()) {
                recent.mark_attributes(object.key);
            }
            if idle {
                self.release(id, 0);
            }
        }
    }

    fn send_times(&mut self, id: ObjId) {
        let Ok(stat) = self.objects.any_fd(id).and_then(sys::fstat) else { return };
        if !self.ensure_bound(id) {
            return;
        }
        // They follow behind the checkpoint that covers what changed them, perhaps.
        if let (Some(recent), Ok(object)) = (&mut self.leader.recent, self.objects.get(id)) {
            recent.mark_attributes(object.key);
        }
        let mtime = Some((stat.st_mtime, stat.st_mtime_nsec as u32));
        let times = Times { atime: None, mtime };
        self.send_only(Op::SetAttr { obj: id, set: SetAttr { times, ..SetAttr::default() } });
    }
}
