//! The primary's side of an operation: order, send, wait, apply, answer.
//!
//! ```text
//!                 +- peer may lack what it touches, or no peer -> mark, durable -> apply -> reply
//! order -> route -+
//!                 +- clean -> bind, number, send -> applied there -> apply here -> reply
//!                                                        barriers: both disks in parallel -> reply
//! ```
//!
//! The loop is the only order there is: what is sent first is applied first on both copies. The
//! kernel holds the inode and directory locks of conflicting requests until we answer; what it does
//! not keep apart waits for the names on their way (`entries.rs`).
use super::alone::Unsaved;
use super::barrier::{Barrier, Barriers, Echo, syncs_here};
use super::in_flight::InFlight;
use super::operands::{named, subject};
use super::reintegrate::Return;
use super::requests::{Draft, Slot, Want};
use super::run::Engine;
use super::stuck::Patience;
use super::touch::{Touch, made, touches};
use crate::capture::abi::{FOR_EVER, Out};
use crate::disk::{Errno, Performed, perform, sys};
use crate::history::{DirtySet, Recent};
use crate::model::{EngineEvent, EngineMode, Level, NodeName};
use crate::wire::{Durability, Frame, ObjId, Op, OpRecord};
use bytes::Bytes;
use std::collections::{HashSet, VecDeque};
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

/// Waits until what it touches is durably marked.
pub struct Deferred {
    pub draft: Draft,
    pub slot: Option<Slot>,
    pub since: Instant,
    pub echo: Option<Echo>,
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
    pub held: VecDeque<Deferred>,
    pub deferred: Vec<Deferred>,
    /// The peer is a member and this node broke the session: it has to leave and return.
    pub distrusted: bool,
    /// Waits for a name that is on its way.
    pub behind_names: Vec<Deferred>,
    pub saving: Option<Vec<Deferred>>,
    pub unsaved: Unsaved,
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
    /// Last operation that was sent in this session. Others have numbers too: what the peer is
    /// known to lack is marked, not sent.
    pub sent: u64,
    pub durable: u64,
    pub peer_free: Option<(u64, u64)>,
    pub next_dial: Option<Instant>,
    /// With a secondary that acknowledges nothing.
    pub patience: Patience,
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
    Here,
    /// Only here; the peer lacks it.
    Local,
    Send,
}

/// Objects forgotten in one round after a return.
pub const IDLE_AT_ONCE: usize = 4096;

/// Keys of barriers that have no number in the sequence.
pub const LOCAL_KEY: u64 = 1 << 63;

impl Engine {
    /// A mutating request arrived.
    pub fn order(&mut self, mut draft: Draft, slot: Option<Slot>) {
        if draft.makes_object() {
            let id = self.objects.draw();
            draft.number(id);
        }
        if self.copies_from_nowhere(&draft.op) {
            return self.fail(slot, Errno(libc::EOPNOTSUPP));
        }
        if let Err(errno) = self.cross(&mut draft) {
            return self.fail(slot, errno);
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

    pub fn order_again(&mut self, deferred: Deferred) {
        let holds = self.mode == EngineMode::Holding;
        if self.leader.fenced && (holds || !deferred.draft.op.is_barrier()) {
            return self.fail(deferred.slot, Errno(libc::EROFS));
        }
        if holds {
            self.leader.held.push_back(deferred);
            return;
        }
        if self.is_closing(&deferred.draft.op) {
            return self.leader.behind_names.push(deferred);
        }
        match self.route(&deferred.draft.op) {
            Route::Here => self.apply_here(deferred),
            Route::Local => self.order_local(deferred),
            Route::Send => self.order_send(deferred),
        }
    }

    fn route(&mut self, op: &Op) -> Route {
        if self.is_here_only(op) {
            return Route::Here;
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
        let unreachable = !named(op).into_iter().all(|id| self.is_reachable(id));
        if dirty || unreachable || self.removes_unequal(op) || self.reads_unequal(op) {
            return Route::Local;
        }
        Route::Send
    }

    /// The peer can be told this object's number: every name on the way is the same there.
    pub fn is_reachable(&self, mut id: ObjId) -> bool {
        loop {
            let Ok(object) = self.objects.get(id) else { return false };
            if !object.is_replicated() {
                return false;
            }
            if id.is_root() || object.bound == self.leader.session_number {
                return true;
            }
            let Ok(parent) = self.objects.get(object.parent) else { return false };
            let dirty = &self.leader.dirty;
            let unequal = dirty.is_dirty_names(parent.key) || dirty.is_dirty_whole(parent.key);
            if unequal {
                return false;
            }
            id = object.parent;
        }
    }

    fn order_send(&mut self, deferred: Deferred) {
        let needed = named(&deferred.draft.op);
        if needed.iter().any(|id| self.is_name_in_flight(*id)) {
            return self.leader.behind_names.push(deferred);
        }
        let touched = touches(&mut self.objects, &deferred.draft.op);
        if !self.leader.member {
            let mut records = Vec::new();
            for touch in &touched {
                touch.record(&mut self.leader.dirty, &mut records);
            }
            self.add_unsaved(records);
            if self.must_wait_for_marks(&touched) {
                self.leader.deferred.push(deferred);
                return;
            }
        }
        match deferred.draft.op {
            Op::Link { obj, parent, .. }
                if self.objects.get(obj).is_ok_and(|object| object.orphan) =>
            {
                self.send_nameless(obj, parent);
            }
            Op::Replace { obj, parent, .. } => self.send_left_out(obj, parent),
            _ => {}
        }
        let told = needed.into_iter().all(|id| self.ensure_bound(id));
        if !told && !self.leader.member {
            return self.order_local(deferred);
        }
        if !told && self.are_names_in_flight() {
            return self.leader.behind_names.push(deferred);
        }
        let Deferred { draft, slot, since, echo } = deferred;
        if !told {
            return self.fail(slot, Errno(libc::ESTALE));
        }
        self.mark_recent(&touched);
        let level = self.level_of(&draft.op);
        let durable = match level {
            Level::Disk => draft.durable.max(Durability::Data),
            _ => draft.durable,
        };
        let is_fsync = draft.op.is_barrier();
        let (mut op, here) = (draft.op, draft.here);
        let pieces = self.send_first_pieces(&mut op, since);
        let seq = self.push(op, draft.want, slot, durable, Some(since));
        if let Some(flight) = self.leader.order.back_mut() {
            (flight.echo, flight.pieces, flight.here) = (echo, pieces, here);
        }
        if is_fsync {
            // The own disk works while the request travels: all it covers is applied here.
            let remote = level == Level::Memory;
            let barrier = Barrier::new(slot, Vec::new(), since);
            let barrier = Barrier { applied: false, remote, ..barrier };
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
                here: None,
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
            if let Some(ret) = self.leader.ret.as_mut().filter(|_| !local) {
                ret.pace.sent(flight.stream_bytes());
            }
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
        let differs = dirty.is_dirty_names(key) || dirty.is_dirty_whole(key);
        if differs || self.is_entry_in_flight(parent, &name) || !self.ensure_bound(parent) {
            return false;
        }
        self.send_only(Op::Bind { obj: id, parent, name });
        self.set_bound(id, self.seq);
        true
    }

    /// The peer was told the object's number by operation `seq`.
    pub fn set_bound(&mut self, id: ObjId, seq: u64) {
        let session = self.leader.session_number;
        if let Ok(object) = self.objects.get_mut(id) {
            (object.bound, object.bound_by) = (session, seq);
        }
    }

    /// A name that leads to the object now; the remembered one may be an old hard link.
    fn name_of(&mut self, id: ObjId) -> Option<(ObjId, Bytes)> {
        let object = self.objects.get(id).ok()?;
        let (parent, name, ino) = (object.parent, object.name.clone(), object.key.ino);
        let replicated = object.is_replicated();
        let dir = self.objects.path_fd(parent).ok()?;
        let same = sys::name(&name)
            .and_then(|c_name| sys::stat_at(dir, &c_name))
            .is_ok_and(|stat| stat.st_ino == ino);
        if !replicated {
            return None;
        }
        if same {
            return Some((parent, name));
        }
        super::locate::find_name(&mut self.objects, id)
    }

    /// A file that has no name there gets one: the peer is given its content under its number
    /// first.
    pub fn send_nameless(&mut self, obj: ObjId, parent: ObjId) {
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
        self.set_bound(obj, self.seq);
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
        self.retry_behind_names();
    }

    /// Applies here what the peer has, and answers.
    pub fn complete(&mut self, flight: InFlight) {
        let bytes = flight.stream_bytes();
        let InFlight { seq, op, want, slot, durable, local, since, echo, pieces, here, .. } =
            flight;
        if !local {
            return self.return_applied(bytes, since);
        }
        if op.is_barrier() {
            if let Some(barrier) = self.leader.barriers.waiting.get_mut(&seq) {
                barrier.applied = true;
            }
            return self.settle_barrier(seq);
        }
        let result = self.perform_here(here.as_ref().unwrap_or(&op), want);
        if let Some(touch) = made(&self.objects, &op) {
            self.mark_recent(std::slice::from_ref(&touch));
            // It was made under its number.
            if let (true, Some(id)) = (self.has_session(), self.objects.by_key(touch.key())) {
                self.set_bound(id, seq);
            }
        }
        match result {
            Err(errno) => {
                if let Some(pieces) = pieces {
                    pieces.fail(errno);
                }
                self.stay_on_side(&op);
                self.diverged(&op, slot, errno);
            }
            Ok(_) if let Some(errno) = pieces.and_then(|pieces| pieces.error()) => {
                self.fail(slot, errno);
            }
            Ok(payload) if durable != Durability::Cached => {
                let level = self.level_of(&op);
                let needs_local = syncs_here(&op, level);
                let remote = self.leader.barriers.early.remove(&seq)
                    || level == Level::Memory
                    || !self.has_session();
                let barrier = Barrier::new(slot, payload, since);
                let barrier = Barrier { remote, local: !needs_local, echo, ..barrier };
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
        self.leader.barriers.waiting.remove(&seq);
        match flight.local {
            true => self.failed_there(flight, errno),
            false => self.part_failed(&flight, errno),
        }
        self.retry_behind_names();
    }

    /// The session cannot go on; the peer comes back through a handshake. What it holds is not
    /// trusted: no window leads back into sync.
    pub fn break_session(&mut self, reason: &str) {
        self.leader.distrusted = self.leader.member;
        self.link.close(self.now, reason);
        self.leader_lost(reason);
    }

    // ---- carrying out and answering ----------------------------------------------------------

    pub fn perform_here(&mut self, op: &Op, want: Want) -> Result<Vec<u8>, Errno> {
        let performed = perform(&mut self.objects, op)?;
        self.write_behind(op);
        self.count_moved(op);
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

    pub fn fail(&mut self, slot: Option<Slot>, errno: Errno) {
        if let Some(slot) = slot {
            self.reply(slot, Some(errno), &[]);
        }
    }

    pub fn peer_free(&self) -> (u64, u64) {
        match self.leader.peer_free {
            Some(free) if self.leader.member => free,
            _ => (u64::MAX, u64::MAX),
        }
    }
}
