//! What the peer could not do while it is being brought level.
//!
//! A return rebuilds names there by numbers that this node believes the peer knows. The application
//! goes on renaming and removing meanwhile, some of it here alone, so a belief may be out of date:
//! a directory that was removed there took a file along which lives on here under another name. The
//! peer forgets a number with the last name of its inode, so such an operation fails instead of
//! changing the wrong thing. Then the number counts as unknown, and what was touched is marked and
//! compared again. Only a peer that is in sync has to succeed.
use super::barrier::{Barrier, syncs_here};
use super::in_flight::InFlight;
use super::leader::Session;
use super::operands::{directories, numbered, subject};
use super::pieces::Pieces;
use super::run::Engine;
use super::touch::{made, touches};
use crate::disk::Errno;
use crate::wire::{Durability, ObjId, Op};

/// A return that fails more often than this, and than it brings objects level, is begun again.
const FAILURES_MAX: u64 = 1000;

impl Engine {
    /// A part of the return failed there.
    pub fn part_failed(&mut self, flight: &InFlight, errno: Errno) {
        let op = &flight.op;
        if !self.may_fail_again() {
            let what: String = format!("{op:?}").chars().take_while(|c| *c != ' ').collect();
            return self.break_session(&format!("{what}, a part of the return: {errno}"));
        }
        self.doubt(flight.seq, op, errno);
        self.return_applied(flight.stream_bytes(), flight.since);
    }

    /// An operation of the application failed there, and now happens here. During a return it is
    /// one that was done alone; in sync the peer's copy is not what it should be, and it must
    /// leave.
    pub fn failed_there(&mut self, flight: InFlight, errno: Errno) {
        let InFlight { seq, op, want, slot, durable, since, pieces, echo, here, .. } = flight;
        let mut touched = touches(&mut self.objects, &op);
        let result = self.perform_here(here.as_ref().unwrap_or(&op), want);
        if result.is_err() {
            self.stay_on_side(&op);
        }
        touched.extend(made(&self.objects, &op));
        // Impossible on both copies alike: that is the answer.
        if result.as_ref().err() != Some(&errno) {
            self.mark_recent(&touched);
            if self.may_fail_again() {
                self.mark(&touched);
                self.doubt(seq, &op, errno);
            } else {
                self.break_session(&format!("the peer could not apply an operation: {errno}"));
            }
        }
        let earlier = pieces.as_ref().and_then(Pieces::error);
        match (result, earlier) {
            (Err(here), _) => {
                if let Some(pieces) = pieces {
                    pieces.fail(here);
                }
                self.answer(slot, Some(here), &[], since);
            }
            (Ok(_), Some(earlier)) => self.fail(slot, earlier),
            (Ok(payload), None) => {
                // A member is waited for until it is out of the in-sync set (rule A2).
                let remote = !self.leader.member;
                let covers = op.is_barrier() || syncs_here(&op, self.level_of(&op));
                let local = durable == Durability::Cached || !covers;
                let barrier = Barrier::new(slot, payload, since);
                let key = self.wait_without_number(Barrier { remote, local, echo, ..barrier });
                if !local {
                    self.sync_here(key, &op, durable);
                }
                self.settle_barrier(key);
            }
        }
    }

    /// A question was not answered; `after`: the last operation that was sent before it.
    pub fn not_answered(&mut self, obj: ObjId, after: u64, errno: Errno) {
        if !self.may_fail_again() {
            return self.break_session(&format!("the peer could not read its copy: {errno}"));
        }
        // Otherwise something vanished while it was read: the marks ask again.
        if errno == Errno(libc::ESTALE) {
            self.unbind(obj, after);
        }
    }

    fn may_fail_again(&mut self) -> bool {
        let Some(ret) = &mut self.leader.ret else { return false };
        ret.failures += 1;
        self.leader.session == Session::Returning && ret.failures <= FAILURES_MAX + ret.objects_done
    }

    /// What the operation took for granted is compared again.
    fn doubt(&mut self, seq: u64, op: &Op, errno: Errno) {
        if let Some(obj) = numbered(op) {
            self.unbind(obj, seq);
        }
        if let (true, Some(obj)) = (directories(op).is_empty(), subject(op)) {
            self.unbind(obj, seq);
        }
        for dir in directories(op) {
            if errno == Errno(libc::ESTALE) {
                self.unbind(dir, seq);
            }
            self.doubt_names(dir);
        }
    }

    pub fn doubt_names(&mut self, dir: ObjId) {
        if let Ok(object) = self.objects.get(dir)
            && object.is_replicated()
        {
            let mark = self.leader.dirty.mark_names(object.key);
            self.note([mark]);
        }
    }

    /// The peer does not know the object by its number, unless it was told after operation `seq`.
    fn unbind(&mut self, id: ObjId, seq: u64) {
        let Ok(object) = self.objects.get_mut(id) else { return };
        if id.is_root() || object.bound_by > seq {
            return;
        }
        object.bound = 0;
        let (key, parent) = (object.key, object.parent);
        if !object.is_replicated() {
            return;
        }
        if object.kind == libc::S_IFDIR {
            self.doubt_names(id);
        }
        let mark = self.leader.dirty.mark_whole(key);
        self.note([mark]);
        self.doubt_names(parent);
    }
}
