//! The primary without a peer that has everything: mark, durably, then do it here.
//!
//! A mark is on disk before the change that it speaks of is (rule A4): a crash in between leaves a
//! mark too many, never one too few. When the peer is lost, what it may lack is remembered first,
//! then everything that was held goes on.
use super::barrier::Barrier;
use super::leader::{Deferred, Session};
use super::requests::Slot;
use super::run::{Done, Engine};
use super::touch::{Touch, made, touches};
use crate::disk::{Errno, sys};
use crate::history::{DirtyRecord, ObjectKey, Recent};
use crate::model::{EngineEvent, EngineMode, EpochKind};
use crate::wire::Durability;
use bytes::Bytes;
use std::collections::HashSet;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A peer that was there and closed the link is about to follow, or waits for a person.
const DIAL_AFTER_GREETING: Duration = Duration::from_millis(400);

/// Records on their way to the disk. What they speak of must not be changed before they are there.
#[derive(Default)]
pub struct Unsaved {
    records: Vec<DirtyRecord>,
    keys: HashSet<ObjectKey>,
    /// Of the records that are being made durable.
    saving: HashSet<ObjectKey>,
}

impl Unsaved {
    pub fn extend(&mut self, records: Vec<DirtyRecord>) {
        self.keys.extend(records.iter().map(DirtyRecord::key));
        self.records.extend(records);
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn holds(&self, key: ObjectKey) -> bool {
        self.keys.contains(&key) || self.saving.contains(&key)
    }

    fn take(&mut self) -> Vec<DirtyRecord> {
        self.saving = std::mem::take(&mut self.keys);
        std::mem::take(&mut self.records)
    }

    fn saved(&mut self) {
        self.saving.clear();
    }
}

impl Engine {
    pub fn order_local(&mut self, deferred: Deferred) {
        if !deferred.draft.op.is_barrier() && !self.open_epoch_if_due() {
            return self.fail(deferred.slot, Errno::IO);
        }
        let touched = touches(&mut self.objects, &deferred.draft.op);
        self.mark(&touched);
        if self.must_wait_for_marks(&touched) {
            self.leader.deferred.push(deferred);
            return;
        }
        self.apply_here(deferred);
    }

    /// Marks what the peer will lack.
    pub fn mark(&mut self, touched: &[Touch]) {
        if !self.must_mark() {
            return;
        }
        let mut records = Vec::new();
        for touch in touched {
            touch.mark(&mut self.leader.dirty, &mut records);
        }
        self.add_unsaved(records);
    }

    /// A mark of something that is touched is not on disk yet: its own, or an earlier one's.
    pub fn must_wait_for_marks(&self, touched: &[Touch]) -> bool {
        let unsaved = &self.leader.unsaved;
        self.store.dirty_file.is_some() && touched.iter().any(|touch| unsaved.holds(touch.key()))
    }

    /// Without a base there is nothing to be relative to: the next return compares everything.
    fn must_mark(&self) -> bool {
        self.store.dirty_file.is_some() || self.leader.session != Session::None
    }

    pub fn apply_here(&mut self, deferred: Deferred) {
        let Deferred { draft, slot, since, echo } = deferred;
        let concerns_peer = !self.is_here_only(&draft.op);
        // Marked again: a part of a return may have taken the mark while this waited.
        if concerns_peer {
            let touched = touches(&mut self.objects, &draft.op);
            self.mark(&touched);
        }
        // What the peer never hears of puts this copy ahead of nobody, and beside a peer only that
        // comes here.
        if concerns_peer && !draft.op.is_barrier() && !self.has_session() {
            self.seq += 1;
        }
        let result = self.perform_here(draft.here.as_ref().unwrap_or(&draft.op), draft.want);
        if let Some(touch) = made(&self.objects, &draft.op).filter(|_| concerns_peer) {
            self.mark(&[touch]);
        }
        match result {
            Err(errno) => {
                self.report_fault(errno);
                self.fail(slot, errno);
            }
            Ok(payload) if draft.durable != Durability::Cached => {
                let barrier = Barrier::new(slot, payload, since);
                let key = self.wait_without_number(Barrier { remote: true, echo, ..barrier });
                self.sync_here(key, &draft.op, draft.durable);
            }
            Ok(payload) => self.answer(slot, None, &payload, since),
        }
    }

    /// Collects new records of this round and makes them durable on the pool; what waits for them
    /// goes on in [`Engine::marks_saved`].
    pub fn save_marks(&mut self) {
        if self.leader.saving.is_some() {
            return;
        }
        if self.leader.unsaved.is_empty() {
            // Records that another round saved meanwhile may have been all that was waited for.
            let waiting = std::mem::take(&mut self.leader.deferred);
            waiting.into_iter().for_each(|deferred| self.order_again(deferred));
            if self.leader.unsaved.is_empty() {
                return;
            }
        }
        let records = self.leader.unsaved.take();
        let waiting = std::mem::take(&mut self.leader.deferred);
        if let Err(error) = self.store.append_dirty(&records) {
            self.leader.unsaved.saved();
            return self.marks_failed(&error.to_string(), waiting);
        }
        match self.store.dirty_file.as_ref().map(|file| file.sync_handle()) {
            None => {
                self.leader.unsaved.saved();
                waiting.into_iter().for_each(|deferred| self.apply_here(deferred));
            }
            Some(Err(error)) => {
                self.leader.unsaved.saved();
                self.marks_failed(&error.to_string(), waiting);
            }
            Some(Ok(file)) => {
                self.leader.saving = Some(waiting);
                self.run_beside(move || Done::DirtySaved(sys::sync_file(file.as_raw_fd(), true)));
            }
        }
    }

    pub fn marks_saved(&mut self, result: Result<(), Errno>) {
        let waiting = self.leader.saving.take().unwrap_or_default();
        self.leader.unsaved.saved();
        if let Err(errno) = result {
            return self.marks_failed(&errno.to_string(), waiting);
        }
        waiting.into_iter().for_each(|deferred| self.order_again(deferred));
    }

    fn marks_failed(&mut self, why: &str, waiting: Vec<Deferred>) {
        let reason = format!(
            "what the peer lacks cannot be remembered in {}: {why}; free space or repair the disk",
            self.config.state_dir.display()
        );
        self.tell(EngineEvent::Fault { reason });
        waiting.into_iter().for_each(|deferred| self.fail(deferred.slot, Errno::IO));
    }

    pub fn add_unsaved(&mut self, records: Vec<DirtyRecord>) {
        if self.store.dirty_file.is_some() {
            self.leader.unsaved.extend(records);
        }
    }

    /// Nothing waits for marks: a return may end.
    pub fn marks_settled(&self) -> bool {
        let leader = &self.leader;
        leader.saving.is_none() && leader.unsaved.is_empty() && leader.deferred.is_empty()
    }

    /// The first change under a new right to write opens its epoch, durably.
    pub fn open_epoch_if_due(&mut self) -> bool {
        let Some(reason) = self.leader.epoch_reason.take() else { return true };
        let kind = if self.leader.member { EpochKind::Mirror } else { EpochKind::Alone };
        let in_flight = self.leader.order.front().map(|flight| flight.seq);
        let first = in_flight.unwrap_or(self.seq + 1);
        match self.store.open_epoch(first, kind, &reason) {
            Ok(()) => {
                // The daemon decides by it which of two primaries gives way.
                self.status();
                true
            }
            Err(error) => {
                self.leader.epoch_reason = Some(reason);
                self.tell(EngineEvent::Fault { reason: error.to_string() });
                false
            }
        }
    }

    // ---- loss of the peer ------------------------------------------------------------------

    /// The link is down. An in-sync peer: hold everything until the daemon decides (rule A2).
    pub fn leader_lost(&mut self, reason: &str) {
        self.session_ended(reason, false);
    }

    /// The session is over: the link is down, or (`left`) the secondary said that it is out of date
    /// from here on.
    pub fn session_ended(&mut self, reason: &str, left: bool) {
        let before = std::mem::take(&mut self.leader.session);
        let Some(peer) = self.leader.peer.clone() else { return };
        // A checkpoint under way is answered by nobody.
        self.leader.checkpoint_wait = None;
        if let Some(recent) = &mut self.leader.recent {
            recent.abandon();
        }
        match before {
            Session::None => {}
            Session::Greeting | Session::Planned => {
                self.leader.ret = None;
                self.leader.next_dial = Some(self.now + DIAL_AFTER_GREETING);
            }
            Session::Returning => {
                self.abort_return();
                self.tell(EngineEvent::PeerGone { peer, reason: reason.to_owned() });
            }
            Session::Admitting | Session::InSync => {
                self.leader.ret = None;
                self.mode = EngineMode::Holding;
                let reason = reason.to_owned();
                self.tell(EngineEvent::PeerLost { peer, left, reason });
                // A planned stop goes on with what this disk has.
                if std::mem::take(&mut self.leader.flush_seq) != 0 {
                    self.leader.flush_parts.0 = true;
                    self.flush_done();
                }
                self.status();
            }
        }
    }

    /// Rule A2 is satisfied: remember what the peer may lack, then let everything go.
    pub fn go_alone(&mut self, reason: &str) -> Result<(), String> {
        let Some(peer) = self.leader.peer.clone() else {
            return Err("no peer is configured".to_owned());
        };
        if self.leader.member {
            self.give_up_times();
            let recent = self
                .leader
                .recent
                .take()
                .unwrap_or_else(|| Recent::new(self.store.memory.position));
            let mut set = std::mem::take(&mut self.leader.dirty);
            let _ = set.union(&recent.initial_dirty_set());
            let acked = self.leader.acked;
            self.leader.dirty = self
                .store
                .go_alone(&peer, recent.base(), set, acked)
                .map_err(|error| error.to_string())?;
            crate::engine::failpoint("after-go-alone-durable");
            self.leader.member = false;
            self.leader.distrusted = false;
            self.leader.epoch_reason = Some(reason.to_owned());
        }
        self.link.close(self.now, "going on alone");
        self.leader.session = Session::None;
        self.mode = EngineMode::LeadingAlone;
        self.apply_in_flight();
        for deferred in std::mem::take(&mut self.leader.held) {
            self.order_again(deferred);
        }
        Ok(())
    }

    /// What was sent and not acknowledged happens here, in order, and counts as done alone.
    pub fn apply_in_flight(&mut self) {
        if self.leader.order.iter().any(|flight| flight.local && !flight.op.is_barrier()) {
            self.open_epoch_if_due();
        }
        let flights = std::mem::take(&mut self.leader.order);
        for flight in flights.into_iter().filter(|flight| flight.local) {
            let touched = touches(&mut self.objects, &flight.op);
            self.mark(&touched);
            self.complete(flight);
        }
        self.settle_without_peer();
        self.retry_behind_names();
    }

    /// Sends again what the peer has not applied: its engine lived on, so did its numbers.
    pub fn resume(&mut self, applied: u64) {
        self.peer_applied(applied);
        let parts: Vec<(Bytes, Bytes)> = self
            .leader
            .order
            .iter()
            .map(|flight| (flight.head.clone(), flight.tail.clone()))
            .collect();
        for (head, tail) in parts {
            self.link.send_bytes(crate::link::Lane::Ops, head, tail);
        }
        self.leader.session = Session::InSync;
        self.mode = EngineMode::LeadingMirror;
        for deferred in std::mem::take(&mut self.leader.held) {
            self.order_again(deferred);
        }
    }

    /// Rule A6: nothing of ours keeps an application from dying.
    pub fn fail_held(&mut self) {
        let leader = &mut self.leader;
        let mut waiting = std::mem::take(&mut leader.behind_names);
        waiting.extend(std::mem::take(&mut leader.held));
        waiting.append(&mut leader.deferred);
        // Their marks go on to the disk; nobody waits for them any more.
        waiting.extend(leader.saving.iter_mut().flat_map(std::mem::take));
        // A barrier's own entry answers for it.
        let flights = leader.order.iter_mut().filter(|flight| !flight.op.is_barrier());
        let mut slots: Vec<Slot> = flights.filter_map(|flight| flight.slot.take()).collect();
        let barriers = leader.barriers.waiting.values_mut();
        slots.extend(barriers.filter_map(|barrier| barrier.slot.take()));
        slots.extend(waiting.into_iter().filter_map(|deferred| deferred.slot));
        for slot in slots {
            self.fail(Some(slot), Errno::IO);
        }
    }

    pub fn held_count(&self) -> u64 {
        let leader = &self.leader;
        (leader.held.len()
            + leader.behind_names.len()
            + leader.order.len()
            + leader.barriers.waiting.len()) as u64
    }
}
