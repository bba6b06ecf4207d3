//! The secondary's side: receive, check, apply in order, acknowledge.
//!
//! An acknowledgement says "applied in the page cache"; it would be a lie if the operation were
//! not applied, or applied out of order, or under an older right to write. Each of these is
//! refused before anything is touched; an error of the own disk ends the part instead of being
//! skipped.
use super::run::{Done, Engine, SyncTag};
use super::touch::{made, touches};
use super::unguarded::Unguarded;
use crate::disk::perform::make_room;
use crate::disk::{Errno, perform, sys};
use crate::history::Recent;
use crate::model::{CopyState, EngineEvent, EngineMode, NodeName, Plan, ReplicatedDir, Side};
use crate::wire::{
    Durability, Frame, Hello, HelloReply, Op, OpRecord, WIRE_VERSION, WIRE_VERSION_MIN,
};
use std::collections::{BTreeSet, VecDeque};
use std::os::fd::AsRawFd;

#[derive(Default)]
pub struct Follower {
    pub leader: Option<NodeName>,
    /// Whom the daemon wants to follow may discard what only this node has.
    pub discard: bool,
    pub full: bool,
    /// A decision is being put into words; any command of the daemon overtakes it.
    pub asks: bool,
    leader_side: Option<Box<Side>>,
    /// Operations may come.
    pub open: bool,
    /// An acknowledgement is owed.
    owed: bool,
    /// Barriers under way or done, by number; kept a while because a link may break before the
    /// answer arrives.
    running: BTreeSet<u64>,
    recently_durable: VecDeque<u64>,
    /// Level `disk`: operations that wait for a syncfs.
    batch: BTreeSet<u64>,
    batch_running: bool,
    /// What the leader's disk may lack: the initial dirty set of a take-over (rule A4).
    pub recent: Option<Recent>,
    /// The leader's engine process that drew the numbers we know.
    leader_life: u64,
    /// Questions of a return that came before the operations they follow.
    pub questions: VecDeque<crate::wire::Question>,
}

/// Answers kept for a link that broke: more barriers than can be in flight.
const DURABLE_KEPT: usize = 4096;

impl Engine {
    pub fn follower_connected(&mut self, peer: &NodeName) {
        let known = self.config.peers.iter().any(|address| address.node == *peer);
        let looking = self.unguarded == Unguarded::Looking;
        if !known {
            let reason = format!("node {peer} has no part in module {}", self.config.module);
            self.send(&Frame::Reply(Box::new(HelloReply::Refuse { reason })));
            self.link.flush(self.now);
        } else if self.mode == EngineMode::Idle || looking {
            // No refusal: it is asked again soon.
            self.link.close(self.now, "not ready to follow yet");
        }
    }

    pub fn follower_frame(&mut self, frame: Frame) {
        if self.mode == EngineMode::Idle {
            return;
        }
        match frame {
            Frame::Hello(hello) => self.greeted(*hello),
            Frame::Reply(reply) => self.planned(*reply),
            Frame::Op(record) if self.follower.open => self.take_op(record),
            Frame::Checkpoint { seq } => self.begin_checkpoint(seq),
            Frame::Durable { .. } => {
                if let Some(recent) = &mut self.follower.recent {
                    recent.checkpoint_done();
                }
            }
            Frame::InSync { seq, side } if self.follower.open => self.admitted(seq, &side),
            Frame::Question(question) => self.question(&question),
            Frame::Leave { reason, .. } => self.break_following(&reason),
            _ => self.break_following("a message that does not belong here"),
        }
    }

    fn greeted(&mut self, hello: Hello) {
        let dirs: Vec<String> = self.config.dirs.iter().map(ReplicatedDir::agreement).collect();
        let known = WIRE_VERSION_MIN..=WIRE_VERSION + 1;
        let refusal = if !known.contains(&hello.version) {
            Some(format!(
                "{} speaks version {WIRE_VERSION} of the data link and {} version {}; install \
                 neighbouring versions of lockstep on both",
                self.config.node, hello.side.node, hello.version
            ))
        } else if hello.module != self.config.module.as_str() {
            Some(format!("this is module {}, not {}", self.config.module, hello.module))
        } else if hello.dirs != dirs {
            Some(format!(
                "the replicated directories differ: {} has {dirs:?}, {} has {:?}; apply the same \
                 configuration on both nodes",
                self.config.node, hello.side.node, hello.dirs
            ))
        } else {
            None
        };
        if let Some(reason) = refusal {
            self.log('E', format!("the primary was refused: {reason}"));
            self.send(&Frame::Reply(Box::new(HelloReply::Refuse { reason })));
            return;
        }
        self.follower.leader = Some(hello.side.node.clone());
        if hello.life != self.follower.leader_life {
            self.follower.open = false;
        }
        self.follower.leader_life = hello.life;
        self.follower.leader_side = Some(Box::new(hello.side));
        let reply = HelloReply::Here {
            version: WIRE_VERSION,
            life: self.life,
            knows: self.follower.open,
            side: self.side(),
            discard: self.follower.discard,
            full: self.follower.full || self.unguarded == Unguarded::Changed,
        };
        self.send(&Frame::Reply(Box::new(reply)));
    }

    fn planned(&mut self, reply: HelloReply) {
        match reply {
            HelloReply::Plan { verdict, side } => match verdict.plan {
                Plan::Reverse | Plan::Fork { .. } | Plan::Unrelated => {
                    self.needs_decision(verdict, &side);
                }
                Plan::Window { .. } => self.resume_following(),
                Plan::Nothing | Plan::Zones { .. } | Plan::Digests => {
                    self.begin_return(&side);
                }
            },
            HelloReply::Refuse { reason } => self.break_following(&reason),
            HelloReply::Here { .. } | HelloReply::Go => {
                self.break_following("a message that does not belong here");
            }
        }
    }

    /// Numbers and objects of before the interruption are still good.
    fn resume_following(&mut self) {
        self.send(&Frame::Reply(Box::new(HelloReply::Go)));
        for seq in self.follower.recently_durable.clone() {
            self.send(&Frame::Durable { seq });
        }
        self.mode = EngineMode::FollowingReady;
        self.tell(EngineEvent::Ready);
        self.status();
    }

    /// From the first change on this copy is a mixture, and says so before it is one.
    fn begin_return(&mut self, leader: &Side) {
        let position = self.store.position(self.seq);
        let remembered = self.store.remember(|memory| {
            memory.exact = false;
            memory.sole = false;
            memory.position = position;
            // Also where nothing differs yet: the primary does not wait for this copy.
            memory.copy = CopyState::Incomplete;
        });
        if let Err(error) = remembered {
            return self.follower_fault(&error.to_string());
        }
        self.objects.clear();
        // What was synced for the session before has nothing to say in this one.
        self.part += 1;
        self.exact = false;
        self.seq = leader.position.seq.0;
        self.follower.open = true;
        self.follower.running.clear();
        self.follower.recently_durable.clear();
        self.follower.batch.clear();
        self.follower.batch_running = false;
        self.follower.questions.clear();
        self.follower.recent = Some(Recent::new(leader.position));
        self.mode = EngineMode::FollowingReturn;
        self.send(&Frame::Reply(Box::new(HelloReply::Go)));
        self.status();
    }

    fn take_op(&mut self, record: OpRecord) {
        let OpRecord { seq, generation, durable, op } = record;
        if generation < self.store.lineage().generation() {
            return self.break_following("the primary's right to write is older than this copy");
        }
        if seq <= self.seq {
            self.follower.owed = true;
            return;
        }
        if self.mode == EngineMode::FollowingReady || self.follower.recent.is_some() {
            let touched = touches(&mut self.objects, &op);
            if let Some(recent) = &mut self.follower.recent {
                touched.iter().for_each(|touch| touch.mark_recent(recent));
            }
        }
        crate::engine::failpoint("before-apply");
        let mut result = perform(&mut self.objects, &op);
        if let Err(errno) = result
            && make_room(&mut self.objects, &op, errno)
        {
            result = perform(&mut self.objects, &op);
        }
        match result {
            Ok(_) => self.write_behind(&op),
            Err(errno) if is_own_failure(errno) => {
                return self.follower_fault(&format!("an operation failed here: {errno}"));
            }
            Err(errno) => {
                self.acknowledge();
                self.seq = seq;
                self.send(&Frame::Failed { seq, errno: errno.0 });
                // A question may follow this very operation, and nothing else come.
                return self.ask_again();
            }
        }
        crate::engine::failpoint("after-apply");
        if let (Some(recent), Some(touch)) = (&mut self.follower.recent, made(&self.objects, &op)) {
            touch.mark_recent(recent);
        }
        self.seq = seq;
        self.stats.operations += 1;
        self.stats.bytes += op.payload_bytes() as u64;
        self.follower.owed = true;
        if durable != Durability::Cached {
            self.make_durable(seq, &op, durable);
        }
        self.ask_again();
    }

    /// Barriers and synchronous writes: one file. Everything else (level `disk`): all at once, one
    /// syncfs for as many operations as arrive meanwhile.
    fn make_durable(&mut self, seq: u64, op: &Op, durable: Durability) {
        let data_only = durable == Durability::Data;
        let file = match op {
            Op::Fsync { obj, .. } | Op::Write { obj, .. } => self.objects.share(*obj).ok(),
            _ => None,
        };
        let Some(file) = file else {
            self.follower.batch.insert(seq);
            return self.sync_batch();
        };
        self.follower.running.insert(seq);
        self.run_after_flush(move || Done::Synced {
            seq,
            result: sys::sync_file(file.as_raw_fd(), data_only),
        });
    }

    fn sync_batch(&mut self) {
        let Some(last) = self.follower.batch.last().copied() else { return };
        if !self.follower.batch_running {
            self.follower.batch_running = true;
            self.sync_everything(SyncTag::Durable(last));
        }
    }

    pub fn follower_synced(&mut self, seq: u64, result: Result<(), Errno>) {
        match result {
            // fsync of something that cannot be synced: both copies agree.
            Ok(()) | Err(Errno(libc::EINVAL)) => self.durable(seq),
            Err(errno) => self.follower_fault(&format!("the disk did not take a barrier: {errno}")),
        }
    }

    fn durable(&mut self, seq: u64) {
        self.follower.running.remove(&seq);
        self.follower.recently_durable.push_back(seq);
        if self.follower.recently_durable.len() > DURABLE_KEPT {
            self.follower.recently_durable.pop_front();
        }
        self.acknowledge();
        self.send(&Frame::Durable { seq });
    }

    pub fn batch_durable(&mut self, last: u64) {
        self.follower.batch_running = false;
        let waiting = self.follower.batch.split_off(&(last + 1));
        for seq in std::mem::replace(&mut self.follower.batch, waiting) {
            self.durable(seq);
        }
        self.sync_batch();
    }

    /// One acknowledgement for all that was applied in this round.
    pub fn acknowledge(&mut self) {
        if !std::mem::take(&mut self.follower.owed) {
            return;
        }
        let (free_bytes, free_inodes) = self.free_space();
        self.send(&Frame::Applied { seq: self.seq, free_bytes, free_inodes });
    }

    fn free_space(&self) -> (u64, u64) {
        let roots = self.objects.roots();
        let stats = roots.iter().filter_map(|root| sys::stat_fs(root.fd.as_raw_fd()).ok());
        stats.fold((u64::MAX, u64::MAX), |(bytes, inodes), stat| {
            (bytes.min(stat.f_bavail * stat.f_frsize), inodes.min(stat.f_ffree))
        })
    }

    fn begin_checkpoint(&mut self, seq: u64) {
        let position = self.store.position(self.seq);
        if let Some(recent) = &mut self.follower.recent {
            recent.begin_checkpoint(position);
        }
        self.sync_everything(SyncTag::Checkpoint(seq));
    }

    /// The primary will count what this copy may lack from here: remembered before it hears so.
    pub fn follower_checkpoint(&mut self, seq: u64) {
        if self.mode == EngineMode::FollowingReady {
            let position = self.store.position(seq);
            if let Err(error) = self.store.remember(|memory| memory.position = position) {
                return self.follower_fault(&error.to_string());
            }
        }
        self.send(&Frame::Checkpoint { seq });
    }

    /// The leader recorded that this copy is in sync; so does this node, then it may take over.
    fn admitted(&mut self, seq: u64, leader: &Side) {
        self.seq = self.seq.max(seq);
        if let Err(error) = self.store.adopt(leader, self.seq) {
            return self.follower_fault(&error.to_string());
        }
        self.exact = true;
        crate::engine::failpoint("after-follower-current");
        self.follower.discard = false;
        self.follower.full = false;
        self.compared();
        self.mode = EngineMode::FollowingReady;
        let side = Box::new(self.side());
        self.send(&Frame::InSync { seq, side });
        self.tell(EngineEvent::Ready);
        self.status();
    }

    /// The own disk failed or is full: this copy ends here, and the primary hears why.
    pub fn follower_fault(&mut self, reason: &str) {
        let reason = format!("{}: {reason}", self.config.node);
        // The operation that failed may be half done.
        self.exact = false;
        let outdated = self.outdate().is_ok();
        self.send(&Frame::Leave { outdated, reason: reason.clone() });
        self.link.flush(self.now);
        self.follower.open = false;
        self.mode = EngineMode::FollowingDetached;
        self.link.close(self.now, &reason);
        self.tell(EngineEvent::Fault { reason });
    }

    /// Rule A2: durably, before anybody relies on it. A copy that is a mixture stays one.
    pub fn outdate(&mut self) -> Result<(), String> {
        let position = self.store.position(self.seq);
        let remembered = self.store.remember(|memory| {
            memory.sole = false;
            if memory.in_sync_with.take().is_some() {
                // Marks that a member kept speak of a copy that it has no more.
                memory.dirty_base = None;
            }
            memory.position = position;
            if memory.copy == CopyState::Current {
                memory.copy = CopyState::Outdated;
            }
        });
        remembered.map_err(|error| error.to_string())
    }

    fn break_following(&mut self, reason: &str) {
        self.link.close(self.now, reason);
        self.follower_lost(reason);
    }

    pub fn follower_lost(&mut self, reason: &str) {
        let was = self.mode;
        if matches!(was, EngineMode::FollowingReady | EngineMode::FollowingReturn) {
            self.mode = EngineMode::FollowingDetached;
            if was == EngineMode::FollowingReturn {
                self.follower.open = false;
            }
            self.tell(EngineEvent::PrimaryLost { reason: reason.to_owned() });
            self.status();
        }
    }
}

/// Errors of this node rather than of the request.
fn is_own_failure(errno: Errno) -> bool {
    let own = [libc::ENOSPC, libc::EDQUOT, libc::ENOMEM, libc::EMFILE, libc::ENFILE];
    errno.is_fault() || own.contains(&errno.0)
}
