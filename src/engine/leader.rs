//! The primary's side of an operation: order, send, wait, apply, answer.
//!
//! ```text
//!                 +- peer may lack what it touches, or no peer -> mark, durable -> apply -> reply
//! order -> route -+
//!                 +- clean -> bind, number, send -> applied there -> apply here -> reply
//!                                                        barriers: both disks in parallel -> reply
//! ```
//!
//! The loop is the only order there is: what is sent first is applied first on both copies. No
//! operation needs a lock of ours, because the kernel holds the inode and directory locks of
//! conflicting requests until we answer.
use super::barrier::{Barrier, Barriers, Echo, syncs_here};
use super::pieces::Pieces;
use super::reintegrate::Return;
use super::requests::{Draft, Slot, Want};
use super::run::{Done, Engine};
use super::touch::{Touch, made, touches};
use crate::capture::abi::{FOR_EVER, Out};
use crate::disk::{Errno, Performed, perform, sys};
use crate::history::{DirtyRecord, DirtySet, Recent};
use crate::model::{EngineEvent, EngineMode, EpochKind, Level, NodeName};
use crate::wire::{Durability, Frame, ObjId, Op, OpRecord, SetAttr, Times};
use bytes::Bytes;
use std::collections::{HashSet, VecDeque};
use std::os::fd::AsRawFd;
use std::time::Instant;

/// How far the peer's session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    #[default]
    None,
    /// Hello was sent.
    Greeting,
    /// The plan was sent; the peer records it.
    Planned,
    /// Operations flow; the peer is being brought level.
    Returning,
    /// It was told that it is in sync; its answer is awaited. From here on it must be asked.
    Admitting,
    InSync,
}

/// An operation that was sent and not yet acknowledged.
pub struct InFlight {
    pub seq: u64,
    op: Op,
    want: Want,
    slot: Option<Slot>,
    /// Answer only when it is on both disks.
    durable: Durability,
    /// Apply here once the peer has it; a part of a return is here already.
    pub local: bool,
    head: Bytes,
    tail: Bytes,
    since: Instant,
    echo: Option<Echo>,
    /// The write of which this is a piece; the last one has the slot.
    pub pieces: Option<Pieces>,
}

impl InFlight {
    /// Not yet applied here, and `id` is what it changes.
    pub fn concerns(&self, id: ObjId) -> bool {
        self.local && !self.op.is_barrier() && named(&self.op).contains(&id)
    }

    /// As [`InFlight::concerns`], and it changes owner, mode or extended attributes.
    pub fn changes_attributes(&self, id: ObjId) -> bool {
        !matches!(self.op, Op::Write { kill_suidgid: false, .. }) && self.concerns(id)
    }

    /// As [`InFlight::concerns`], and the file, of `size` bytes here, gets another size by it.
    pub fn resizes(&self, id: ObjId, size: u64) -> bool {
        let other_size = match &self.op {
            Op::Write { offset, data, .. } => offset + data.len() as u64 > size,
            Op::Fallocate { mode, .. } => mode & libc::FALLOC_FL_KEEP_SIZE as u32 == 0,
            Op::CopyRange { target_offset, length, .. } => target_offset + length > size,
            Op::SetAttr { set, .. } => set.size.is_some(),
            _ => false,
        };
        other_size && self.concerns(id)
    }
}

/// Waits until what it touches is durably marked.
struct Deferred {
    draft: Draft,
    slot: Option<Slot>,
    since: Instant,
    echo: Option<Echo>,
}

#[derive(Default)]
pub struct Leader {
    pub session: Session,
    /// Counts sessions; objects remember in which one the peer was told their number.
    pub session_number: u64,
    pub peer: Option<NodeName>,
    /// The peer's engine process.
    pub peer_life: u64,
    /// Durably recorded as in sync: nothing returns without it.
    pub member: bool,
    pub order: VecDeque<InFlight>,
    pub barriers: Barriers,
    held: VecDeque<Deferred>,
    deferred: Vec<Deferred>,
    saving: Option<Vec<Deferred>>,
    unsaved: Vec<DirtyRecord>,
    pub dirty: DirtySet,
    pub recent: Option<Recent>,
    pub ret: Option<Return>,
    pub touched: HashSet<ObjId>,
    /// What a return looked at and nobody uses: forgotten bit by bit.
    pub idle: Vec<ObjId>,
    pub times_due: Option<Instant>,
    /// Why the right to write changed hands; taken when the epoch is opened.
    pub epoch_reason: Option<String>,
    pub acked: u64,
    /// Last operation that was sent in this session. Others have numbers too: what the peer is known
    /// to lack is marked, not sent.
    pub sent: u64,
    pub durable: u64,
    pub peer_free: Option<(u64, u64)>,
    pub next_dial: Option<Instant>,
    pub checkpoint_started: Option<Instant>,
    /// Checkpoint under way: its last operation, and whether the own disk was told.
    pub checkpoint_wait: Option<(u64, bool)>,
    /// The peer's disk and the own one have it.
    pub checkpoint_parts: (bool, bool),
    pub checkpoint_bytes: u64,
    /// When the position was last remembered without a peer.
    pub alone_synced: Option<Instant>,
    /// Changes are refused: the part is about to be given up to another primary.
    pub fenced: bool,
    /// `Flush` under way: there, here.
    pub flush_parts: (bool, bool),
    pub flush_seq: u64,
}

enum Route {
    /// Only here; nothing to remember.
    Orphan,
    /// Only here; the peer lacks it.
    Local,
    Send,
}

/// Objects forgotten in one round after a return.
const IDLE_AT_ONCE: usize = 4096;

/// Keys of barriers that have no number in the sequence.
pub const LOCAL_KEY: u64 = 1 << 63;

impl Engine {
    /// A mutating request arrived.
    pub fn order(&mut self, mut draft: Draft, slot: Option<Slot>) {
        if draft.makes_object() {
            let id = self.objects.draw();
            draft.number(id);
        }
        self.stats.operations += 1;
        self.stats.bytes += draft.op.payload_bytes() as u64;
        let since = self.now;
        if self.is_echo(&draft) {
            return self.answer(slot, None, &[], since);
        }
        let echo = self.expect_echo(&draft);
        self.order_again(Deferred { draft, slot, since, echo });
    }

    fn order_again(&mut self, deferred: Deferred) {
        if self.leader.fenced && !deferred.draft.op.is_barrier() {
            return self.fail(deferred.slot, Errno(libc::EROFS));
        }
        if self.mode == EngineMode::Holding {
            self.leader.held.push_back(deferred);
            return;
        }
        match self.route(&deferred.draft.op) {
            Route::Orphan => self.apply_here(deferred),
            Route::Local => self.order_local(deferred),
            Route::Send => self.order_send(deferred),
        }
    }

    fn route(&mut self, op: &Op) -> Route {
        if matches!(op, Op::Tmpfile { .. }) {
            return Route::Orphan;
        }
        if let Some(obj) = subject(op)
            && self.objects.get(obj).is_ok_and(|object| object.orphan)
        {
            return Route::Orphan;
        }
        match self.leader.session {
            Session::Returning | Session::Admitting | Session::InSync => {}
            Session::None | Session::Greeting | Session::Planned => return Route::Local,
        }
        if self.leader.dirty.is_empty() {
            return Route::Send;
        }
        if subject(op).is_some_and(|obj| self.is_awaited(obj)) {
            return Route::Local;
        }
        let touches = touches(&mut self.objects, op);
        let dirty = touches.iter().any(|touch| touch.is_dirty(&self.leader.dirty));
        if dirty || !named(op).into_iter().all(|id| self.is_reachable(id)) {
            return Route::Local;
        }
        Route::Send
    }

    /// The peer can be told this object's number: every name on the way is the same there.
    pub fn is_reachable(&self, mut id: ObjId) -> bool {
        loop {
            let Ok(object) = self.objects.get(id) else { return false };
            if id.is_root() || object.bound == self.leader.session_number {
                return true;
            }
            let Ok(parent) = self.objects.get(object.parent) else { return false };
            let dirty = &self.leader.dirty;
            if object.orphan || dirty.is_dirty_names(parent.key) || dirty.is_dirty_whole(parent.key)
            {
                return false;
            }
            id = object.parent;
        }
    }

    // ---- without the peer ------------------------------------------------------------------

    fn order_local(&mut self, deferred: Deferred) {
        if !deferred.draft.op.is_barrier() && !self.open_epoch_if_due() {
            return self.fail(deferred.slot, Errno::IO);
        }
        let mut records = Vec::new();
        if self.must_mark() {
            for touch in touches(&mut self.objects, &deferred.draft.op) {
                touch.mark(&mut self.leader.dirty, &mut records);
            }
        }
        if records.is_empty() || self.store.dirty_file.is_none() {
            return self.apply_here(deferred);
        }
        self.leader.unsaved.extend(records);
        self.leader.deferred.push(deferred);
    }

    /// Without a base there is nothing to be relative to: the next return compares everything.
    fn must_mark(&self) -> bool {
        self.store.dirty_file.is_some() || self.leader.session != Session::None
    }

    fn apply_here(&mut self, deferred: Deferred) {
        let Deferred { draft, slot, since, echo } = deferred;
        // Marked again: a part of a return may have taken the mark while this waited.
        if self.must_mark() && subject_is_linked(&self.objects, &draft.op) {
            let mut records = Vec::new();
            for touch in touches(&mut self.objects, &draft.op) {
                touch.mark(&mut self.leader.dirty, &mut records);
            }
            self.leader.unsaved.extend(records);
        }
        if !draft.op.is_barrier() {
            self.seq += 1;
        }
        let result = self.perform_here(&draft.op, draft.want);
        if let Some(touch) = made(&self.objects, &draft.op)
            && self.must_mark()
        {
            let mut records = Vec::new();
            touch.mark(&mut self.leader.dirty, &mut records);
            self.leader.unsaved.extend(records);
        }
        match result {
            Err(errno) => {
                self.report_fault(errno);
                self.fail(slot, errno);
            }
            Ok(payload) if draft.durable != Durability::Cached => {
                let (applied, remote, local) = (true, true, false);
                let error = None;
                let key = self.wait_without_number(Barrier {
                    slot,
                    payload,
                    applied,
                    remote,
                    local,
                    error,
                    since,
                    echo,
                });
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
        let records = std::mem::take(&mut self.leader.unsaved);
        let waiting = std::mem::take(&mut self.leader.deferred);
        if let Err(error) = self.store.append_dirty(&records) {
            return self.marks_failed(&error.to_string(), waiting);
        }
        match self.store.dirty_file.as_ref().map(|file| file.sync_handle()) {
            None => waiting.into_iter().for_each(|deferred| self.apply_here(deferred)),
            Some(Err(error)) => self.marks_failed(&error.to_string(), waiting),
            Some(Ok(file)) => {
                self.leader.saving = Some(waiting);
                self.pool.run(move || Done::DirtySaved(sys::sync_file(file.as_raw_fd(), true)));
            }
        }
    }

    pub fn marks_saved(&mut self, result: Result<(), Errno>) {
        let waiting = self.leader.saving.take().unwrap_or_default();
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
        self.leader.unsaved.extend(records);
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
            Ok(()) => true,
            Err(error) => {
                self.leader.epoch_reason = Some(reason);
                self.tell(EngineEvent::Fault { reason: error.to_string() });
                false
            }
        }
    }

    // ---- with the peer ---------------------------------------------------------------------

    fn order_send(&mut self, deferred: Deferred) {
        let touched = touches(&mut self.objects, &deferred.draft.op);
        if !self.leader.member {
            let mut records = Vec::new();
            for touch in &touched {
                touch.record(&mut self.leader.dirty, &mut records);
            }
            if !records.is_empty() && self.store.dirty_file.is_some() {
                self.leader.unsaved.extend(records);
                self.leader.deferred.push(deferred);
                return;
            }
        }
        if let Op::Link { obj, parent, .. } = deferred.draft.op
            && self.objects.get(obj).is_ok_and(|object| object.orphan)
        {
            self.send_orphan(obj, parent);
        }
        let told = named(&deferred.draft.op).into_iter().all(|id| self.ensure_bound(id));
        if !told && !self.leader.member {
            return self.order_local(deferred);
        }
        let Deferred { draft, slot, since, echo } = deferred;
        if !told {
            return self.fail(slot, Errno(libc::ESTALE));
        }
        self.mark_recent(&touched);
        let durable = match self.config.level {
            Level::Disk => draft.durable.max(Durability::Data),
            _ => draft.durable,
        };
        let is_fsync = draft.op.is_barrier();
        let mut op = draft.op;
        let pieces = self.send_first_pieces(&mut op, since);
        let seq = self.push(op, draft.want, slot, durable, Some(since));
        if let Some(flight) = self.leader.order.back_mut() {
            (flight.echo, flight.pieces) = (echo, pieces);
        }
        if is_fsync {
            // The own disk works while the request travels: all it covers is applied here.
            let barrier = Barrier {
                slot,
                payload: Vec::new(),
                applied: false,
                remote: self.config.level == Level::Memory,
                local: false,
                error: None,
                since,
                echo: None,
            };
            self.leader.barriers.waiting.insert(seq, barrier);
            let op = self.leader.order.back().map(|flight| flight.op.clone());
            if let Some(op) = op {
                self.sync_here(seq, &op, durable);
            }
        }
    }

    pub fn mark_recent(&mut self, touched: &[Touch]) {
        if let Some(recent) = &mut self.leader.recent {
            touched.iter().for_each(|touch| touch.mark_recent(recent));
        }
    }

    /// Numbers, encodes, queues. `asked`: when the kernel asked for it; `None`: it is done here
    /// already.
    pub fn push(
        &mut self,
        op: Op,
        want: Want,
        slot: Option<Slot>,
        durable: Durability,
        asked: Option<Instant>,
    ) -> u64 {
        self.seq += 1;
        let seq = self.seq;
        let generation = self.store.lineage().generation();
        let record = OpRecord { seq, generation, durable, op };
        let frame = Frame::Op(record);
        let (head, tail) = frame.encode();
        self.link.send_bytes(crate::link::Lane::Ops, head.clone(), tail.clone());
        self.leader.sent = seq;
        if let Frame::Op(OpRecord { op, .. }) = frame {
            let (local, since) = (asked.is_some(), asked.unwrap_or(self.now));
            let flight = InFlight {
                seq,
                op,
                want,
                slot,
                durable,
                local,
                head,
                tail,
                since,
                echo: None,
                pieces: None,
            };
            self.leader.order.push_back(flight);
        }
        seq
    }

    /// An operation for the peer alone: it brings the peer to what is here already.
    pub fn send_only(&mut self, op: Op) -> u64 {
        self.push(op, Want::Nothing, None, Durability::Cached, None)
    }

    /// As [`Engine::send_only`]; the peer answers again when it is on its disk.
    pub fn send_barrier(&mut self, op: Op) -> u64 {
        self.push(op, Want::Nothing, None, Durability::Full, None)
    }

    /// Tells the peer an object's number, its parents' first.
    pub fn ensure_bound(&mut self, id: ObjId) -> bool {
        let session = self.leader.session_number;
        let Ok(object) = self.objects.get(id) else { return false };
        if id.is_root() || object.bound == session {
            return true;
        }
        let (parent, name) = match self.name_of(id) {
            Some(place) => place,
            None => return false,
        };
        // A name that was found just now may be one that the peer does not have.
        let Ok(key) = self.objects.get(parent).map(|object| object.key) else { return false };
        let dirty = &self.leader.dirty;
        if dirty.is_dirty_names(key) || dirty.is_dirty_whole(key) || !self.ensure_bound(parent) {
            return false;
        }
        self.send_only(Op::Bind { obj: id, parent, name });
        self.set_bound(id);
        true
    }

    pub fn set_bound(&mut self, id: ObjId) {
        let session = self.leader.session_number;
        if let Ok(object) = self.objects.get_mut(id) {
            object.bound = session;
        }
    }

    /// A name that leads to the object now; the remembered one may be an old hard link.
    fn name_of(&mut self, id: ObjId) -> Option<(ObjId, Bytes)> {
        let object = self.objects.get(id).ok()?;
        let (parent, name, ino) = (object.parent, object.name.clone(), object.key.ino);
        let orphan = object.orphan;
        let dir = self.objects.path_fd(parent).ok()?;
        let same = sys::name(&name)
            .and_then(|c_name| sys::stat_at(dir, &c_name))
            .is_ok_and(|stat| stat.st_ino == ino);
        if same {
            return Some((parent, name));
        }
        if orphan {
            return None;
        }
        super::locate::find_name(&mut self.objects, id)
    }

    /// An O_TMPFILE inode gets a name: the peer is given its content under its number first.
    fn send_orphan(&mut self, obj: ObjId, parent: ObjId) {
        if !self.ensure_bound(parent) {
            return;
        }
        let Ok(stat) = self.objects.data_fd(obj).and_then(sys::fstat) else { return };
        let access = crate::wire::Access {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode,
            umask: 0,
        };
        self.send_only(Op::Tmpfile { parent, obj, access });
        self.set_bound(obj);
        self.send_content(obj, 0..stat.st_size as u64);
        // Attributes last: they end with the owner and the mode.
        self.send_xattrs(obj, &[]);
    }

    /// The peer has applied everything up to `seq`.
    pub fn peer_applied(&mut self, seq: u64) {
        while self.leader.order.front().is_some_and(|flight| flight.seq <= seq) {
            if let Some(flight) = self.leader.order.pop_front() {
                self.leader.acked = flight.seq;
                self.complete(flight);
            }
        }
    }

    /// Applies here what the peer has, and answers.
    fn complete(&mut self, flight: InFlight) {
        let InFlight { seq, op, want, slot, durable, local, since, echo, pieces, .. } = flight;
        if !local {
            self.return_applied(seq);
            return;
        }
        if op.is_barrier() {
            if let Some(barrier) = self.leader.barriers.waiting.get_mut(&seq) {
                barrier.applied = true;
            }
            return self.settle_barrier(seq);
        }
        let result = self.perform_here(&op, want);
        if let Some(touch) = made(&self.objects, &op) {
            self.mark_recent(std::slice::from_ref(&touch));
        }
        match result {
            Err(errno) => {
                if let Some(pieces) = pieces {
                    pieces.fail(errno);
                }
                self.diverged(&op, slot, errno);
            }
            Ok(_) if let Some(errno) = pieces.and_then(|pieces| pieces.error()) => {
                self.fail(slot, errno);
            }
            Ok(payload) if durable != Durability::Cached => {
                let needs_local = syncs_here(&op, self.config.level);
                let remote = self.leader.barriers.early.remove(&seq)
                    || self.config.level == Level::Memory
                    || !self.has_session();
                let barrier = Barrier {
                    slot,
                    payload,
                    applied: true,
                    remote,
                    local: !needs_local,
                    error: None,
                    since,
                    echo,
                };
                self.leader.barriers.waiting.insert(seq, barrier);
                if needs_local {
                    self.sync_here(seq, &op, durable);
                }
                self.settle_barrier(seq);
            }
            Ok(payload) => self.answer(slot, None, &payload, since),
        }
    }

    pub fn has_session(&self) -> bool {
        matches!(self.leader.session, Session::Returning | Session::Admitting | Session::InSync)
    }

    /// The peer has it and this node has not: this node's copy is the one that must not be
    /// trusted for the object. It is marked, and the peer goes through a return.
    fn diverged(&mut self, op: &Op, slot: Option<Slot>, errno: Errno) {
        self.report_fault(errno);
        let touched = touches(&mut self.objects, op);
        self.mark_recent(&touched);
        self.fail(slot, errno);
        let reason = format!("the peer applied an operation that failed here: {errno}");
        self.break_session(&reason);
    }

    pub fn report_fault(&mut self, errno: Errno) {
        if errno.is_fault() {
            let reason = format!("the disk below the replicated directories failed: {errno}");
            self.tell(EngineEvent::Fault { reason });
        }
    }

    /// The peer could not do what it was sent.
    pub fn peer_failed(&mut self, seq: u64, errno: Errno) {
        self.peer_applied(seq - 1);
        let Some(flight) = self.leader.order.pop_front() else { return };
        if flight.seq != seq {
            self.leader.order.push_front(flight);
            return self.break_session("the peer answered for an operation that was not sent");
        }
        self.leader.acked = seq;
        let InFlight { op, want, slot, local, since, pieces, .. } = flight;
        if let Some(pieces) = pieces {
            pieces.fail(errno);
        }
        self.leader.barriers.waiting.remove(&seq);
        if !local {
            return self.break_session(&format!("a part of the return failed there: {errno}"));
        }
        match self.perform_here(&op, want) {
            // Impossible on both copies alike: that is the answer.
            Err(here) if here == errno => self.answer(slot, Some(errno), &[], since),
            Err(here) => {
                self.fail(slot, here);
                self.break_session(&format!("an operation failed here ({here}), there ({errno})"));
            }
            Ok(payload) => {
                let mut touched = touches(&mut self.objects, &op);
                touched.extend(made(&self.objects, &op));
                self.mark_recent(&touched);
                self.break_session(&format!("the peer could not apply an operation: {errno}"));
                // Returned once the peer is out of the in-sync set (rule A2).
                let (applied, remote, local) = (true, !self.leader.member, true);
                let (error, echo) = (None, None);
                let key = self.wait_without_number(Barrier {
                    slot,
                    payload,
                    applied,
                    remote,
                    local,
                    error,
                    since,
                    echo,
                });
                self.settle_barrier(key);
            }
        }
    }

    /// The session cannot go on; the peer comes back through a handshake.
    pub fn break_session(&mut self, reason: &str) {
        self.link.close(self.now, reason);
        self.leader_lost(reason);
    }

    // ---- loss of the peer ------------------------------------------------------------------

    /// The link is down. An in-sync peer: hold everything until the daemon decides (rule A2).
    pub fn leader_lost(&mut self, reason: &str) {
        let before = std::mem::take(&mut self.leader.session);
        let Some(peer) = self.leader.peer.clone() else { return };
        match before {
            Session::None => {}
            Session::Greeting | Session::Planned => self.leader.ret = None,
            Session::Returning => {
                self.abort_return();
                self.tell(EngineEvent::PeerGone { peer, reason: reason.to_owned() });
            }
            Session::Admitting | Session::InSync => {
                self.leader.ret = None;
                self.mode = EngineMode::Holding;
                let reason = reason.to_owned();
                self.tell(EngineEvent::PeerLost { peer, left: false, reason });
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
                .go_alone(&peer, &recent, set, acked)
                .map_err(|error| error.to_string())?;
            crate::engine::failpoint("after-go-alone-durable");
            self.leader.member = false;
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
            if self.must_mark() {
                let mut records = Vec::new();
                for touch in touches(&mut self.objects, &flight.op) {
                    touch.mark(&mut self.leader.dirty, &mut records);
                }
                self.leader.unsaved.extend(records);
            }
            self.complete(flight);
        }
        self.settle_without_peer();
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
        for deferred in std::mem::take(&mut self.leader.held) {
            self.fail(deferred.slot, Errno::IO);
        }
        let slots: Vec<Slot> =
            self.leader.order.iter_mut().filter_map(|flight| flight.slot.take()).collect();
        let barriers = self.leader.barriers.waiting.values_mut();
        let barriers: Vec<Slot> = barriers.filter_map(|barrier| barrier.slot.take()).collect();
        for slot in slots.into_iter().chain(barriers) {
            self.fail(Some(slot), Errno::IO);
        }
    }

    pub fn held_count(&self) -> u64 {
        let leader = &self.leader;
        (leader.held.len() + leader.order.len() + leader.barriers.waiting.len()) as u64
    }

    // ---- carrying out and answering ----------------------------------------------------------

    fn perform_here(&mut self, op: &Op, want: Want) -> Result<Vec<u8>, Errno> {
        let performed = perform(&mut self.objects, op)?;
        self.remember_times(op);
        let out = Out::default();
        Ok(match (want, performed) {
            (Want::Entry(id), Performed::Stat(stat)) => {
                self.objects.get_mut(id)?.lookups += 1;
                out.entry(id.0, &stat).bytes
            }
            (Want::Opened(id), Performed::Stat(stat)) => {
                self.objects.get_mut(id)?.lookups += 1;
                out.entry(id.0, &stat).zeros(16).bytes
            }
            (Want::Attr, Performed::Stat(stat)) => {
                out.u64(FOR_EVER).u32(0).u32(0).attr(&stat).bytes
            }
            (Want::Written(size), _) => out.u32(size).u32(0).bytes,
            (Want::Copied, Performed::Copied(length)) => out.u32(length as u32).u32(0).bytes,
            _ => out.bytes,
        })
    }

    pub fn answer(
        &mut self,
        slot: Option<Slot>,
        error: Option<Errno>,
        payload: &[u8],
        since: Instant,
    ) {
        let Some(slot) = slot else { return };
        self.stats.answered(since, self.now);
        self.reply(slot, error, if error.is_some() { &[] } else { payload });
    }

    fn fail(&mut self, slot: Option<Slot>, errno: Errno) {
        if let Some(slot) = slot {
            self.reply(slot, Some(errno), &[]);
        }
    }

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
    fn remember_times(&mut self, op: &Op) {
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
            Op::Link { parent, .. } | Op::Unlink { parent, .. } | Op::Rmdir { parent, .. } => {
                self.leader.touched.insert(*parent);
            }
            // Set by the application: the same on both copies already.
            Op::SetAttr { obj, set } if set.times.mtime.is_some() => {
                self.leader.touched.remove(obj);
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
            let (orphan, idle) = (object.orphan, object.lookups == 0 && !id.is_root());
            if !orphan && self.is_reachable(id) {
                self.send_times(id);
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
        let mtime = Some((stat.st_mtime, stat.st_mtime_nsec as u32));
        let times = Times { atime: None, mtime };
        self.send_only(Op::SetAttr { obj: id, set: SetAttr { times, ..SetAttr::default() } });
    }

    pub fn peer_free(&self) -> (u64, u64) {
        match self.leader.peer_free {
            Some(free) if self.leader.member => free,
            _ => (u64::MAX, u64::MAX),
        }
    }
}

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
        | Op::RemoveTree { parent, .. } => Some(*parent),
        Op::Nop | Op::SyncAll | Op::Bind { .. } | Op::Forget { .. } => None,
    }
}

fn subject_is_linked(objects: &crate::disk::Objects, op: &Op) -> bool {
    subject(op).is_none_or(|id| objects.get(id).is_ok_and(|object| !object.orphan))
}

/// Existing objects that the peer must know before it can perform the operation.
fn named(op: &Op) -> Vec<ObjId> {
    match op {
        Op::CopyRange { source, target, .. } => vec![*source, *target],
        Op::Rename { parent, new_parent, .. } => vec![*parent, *new_parent],
        Op::Link { obj, parent, .. } => vec![*obj, *parent],
        other => subject(other).into_iter().collect(),
    }
}
