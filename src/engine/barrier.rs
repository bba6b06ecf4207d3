//! Answers that wait for disks.
//!
//! A barrier is answered when the peer has applied what came before it, and both disks have it:
//! they work side by side. It would be a lie if something that returned before it were on one disk
//! only; the engine's kill tests cut the power of either node right behind an answer.
//!
//! The kernel sends an FSYNC of the same thread behind every write of a file opened with `O_SYNC`
//! or `O_DSYNC` (`generic_write_sync` of Linux). The write was on both disks before it was
//! answered, so this echo is answered at once, unless the file changed in between.
use super::leader::LOCAL_KEY;
use super::operands::subject;
use super::requests::{Draft, Slot};
use super::run::{Done, Engine};
use crate::disk::{Errno, sys};
use crate::model::{Level, ReplicatedDir};
use crate::wire::{Durability, ObjId, Op};
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

/// Threads whose last synchronous write is remembered.
const ECHOES_MAX: usize = 1024;

/// An operation that waits for disks.
pub struct Barrier {
    pub slot: Option<Slot>,
    pub payload: Vec<u8>,
    /// The peer has applied everything up to it.
    pub applied: bool,
    /// The peer's disk has it.
    pub remote: bool,
    /// The own disk has it.
    pub local: bool,
    pub error: Option<Errno>,
    pub since: Instant,
    pub echo: Option<Echo>,
}

impl Barrier {
    /// Done on this node, and on neither disk for sure.
    pub fn new(slot: Option<Slot>, payload: Vec<u8>, since: Instant) -> Barrier {
        let (applied, remote, local) = (true, false, false);
        Barrier { slot, payload, applied, remote, local, error: None, since, echo: None }
    }
}

/// What makes an FSYNC the echo of a synchronous write.
#[derive(Clone, Copy)]
pub struct Echo {
    thread: u32,
    obj: ObjId,
    /// Last change of the object when the write was ordered.
    change: u64,
    durable: Durability,
}

#[derive(Default)]
pub struct Barriers {
    /// By number of the operation, or by a key of our own while alone.
    pub waiting: HashMap<u64, Barrier>,
    /// On the peer's disk before it was acknowledged as applied.
    pub early: HashSet<u64>,
    local_keys: u64,
    /// By thread.
    echoes: HashMap<u32, Echo>,
}

impl Engine {
    /// Counts the change; of a synchronous write, what its echo will look like.
    pub fn expect_echo(&mut self, draft: &Draft) -> Option<Echo> {
        if draft.op.is_barrier() {
            return None;
        }
        let obj = subject(&draft.op)?;
        let change = self.stats.operations;
        self.objects.get_mut(obj).ok()?.changed = change;
        let durable = draft.durable;
        (durable != Durability::Cached).then_some(Echo {
            thread: draft.thread,
            obj,
            change,
            durable,
        })
    }

    /// The barrier asks for no more than the thread's own last write already did.
    pub fn is_echo(&mut self, draft: &Draft) -> bool {
        if self.leader.barriers.echoes.is_empty() {
            return false;
        }
        let Some(echo) = self.leader.barriers.echoes.remove(&draft.thread) else { return false };
        let Op::Fsync { obj, .. } = draft.op else { return false };
        let unchanged = self.objects.get(obj).is_ok_and(|object| object.changed == echo.change);
        echo.obj == obj && draft.durable <= echo.durable && unchanged
    }

    /// Waits under a key that is no number of the sequence.
    pub fn wait_without_number(&mut self, barrier: Barrier) -> u64 {
        let barriers = &mut self.leader.barriers;
        barriers.local_keys += 1;
        let key = LOCAL_KEY | barriers.local_keys;
        barriers.waiting.insert(key, barrier);
        key
    }

    /// The peer's disk has operation `seq`.
    pub fn peer_durable(&mut self, seq: u64) {
        self.leader.durable = self.leader.durable.max(seq);
        if self.flushed_there(seq) {
            return;
        }
        match self.leader.barriers.waiting.get_mut(&seq) {
            Some(barrier) => {
                barrier.remote = true;
                self.settle_barrier(seq);
            }
            None if self.leader.order.iter().any(|flight| flight.seq == seq && flight.local) => {
                self.leader.barriers.early.insert(seq);
            }
            None => self.return_durable(seq),
        }
    }

    /// What an operation is answered for: the level of its directory, of all of them the strictest.
    pub fn level_of(&self, op: &Op) -> Level {
        let of = |dir: &ReplicatedDir| dir.level.unwrap_or(self.config.level);
        let object = subject(op).and_then(|id| self.objects.get(id).ok());
        let dir = object.and_then(|object| self.config.dirs.get(usize::from(object.key.dir)));
        let strictest = || self.config.dirs.iter().map(of).max_by_key(|level| level.rank());
        dir.map(of).or_else(strictest).unwrap_or(self.config.level)
    }

    /// Brings to the own disk what `op` covers, after this round's messages have left.
    pub fn sync_here(&mut self, key: u64, op: &Op, durable: Durability) {
        let data_only = durable != Durability::Full;
        let Some(obj) = subject(op) else {
            let roots = self.objects.share_roots();
            return self.run_after_flush(move || {
                let result = roots.and_then(|roots| sync_all(&roots));
                Done::Synced { seq: key, result }
            });
        };
        match self.objects.share(obj) {
            Err(errno) => self.local_synced(key, Err(errno)),
            Ok(file) => self.run_after_flush(move || {
                let result = sys::sync_file(file.as_raw_fd(), data_only);
                Done::Synced { seq: key, result }
            }),
        }
    }

    /// A failed barrier is final: the pages may be gone, so this copy cannot be trusted.
    pub fn local_synced(&mut self, key: u64, result: Result<(), Errno>) {
        if let Err(errno) = result
            && errno.0 != libc::EINVAL
        {
            self.report_fault(errno);
        }
        if let Some(barrier) = self.leader.barriers.waiting.get_mut(&key) {
            barrier.local = true;
            barrier.error = result.err();
            self.settle_barrier(key);
        }
    }

    /// Answers, if nothing is missing any more.
    pub fn settle_barrier(&mut self, key: u64) {
        let barriers = &mut self.leader.barriers;
        let done = |barrier: &Barrier| barrier.applied && barrier.remote && barrier.local;
        if !barriers.waiting.get(&key).is_some_and(done) {
            return;
        }
        let Some(barrier) = barriers.waiting.remove(&key) else { return };
        if let Some(echo) = barrier.echo.filter(|_| barrier.error.is_none()) {
            if barriers.echoes.len() >= ECHOES_MAX {
                barriers.echoes.clear();
            }
            barriers.echoes.insert(echo.thread, echo);
        }
        self.answer(barrier.slot, barrier.error, &barrier.payload, barrier.since);
    }

    /// The peer is out: its disk is waited for no more.
    pub fn settle_without_peer(&mut self) {
        let waiting: Vec<u64> = self.leader.barriers.waiting.keys().copied().collect();
        for key in waiting {
            if let Some(barrier) = self.leader.barriers.waiting.get_mut(&key) {
                barrier.remote = true;
                self.settle_barrier(key);
            }
        }
        self.leader.barriers.early.clear();
    }
}

/// `syncfs` on every file system below the module.
pub fn sync_all<'a>(roots: impl IntoIterator<Item = &'a OwnedFd>) -> Result<(), Errno> {
    roots.into_iter().try_for_each(|root| sys::sync_fs(root.as_raw_fd()))
}

/// Level `disk` makes plain operations durable on the peer only; a barrier means both.
pub fn syncs_here(op: &Op, level: Level) -> bool {
    level != Level::Disk || matches!(op, Op::Write { .. })
}
