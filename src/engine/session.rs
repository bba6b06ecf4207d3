//! The primary's side of a session: dial, compare, plan, keep time.
use super::barrier::sync_all;
use super::leader::Session;
use super::reintegrate::Return;
use super::run::{Done, Engine, SyncTag};
use super::unguarded::Unguarded;
use crate::disk::Errno;
use crate::history::{Recent, discard, handshake};
use crate::model::{EngineEvent, EngineMode, NodeName, Plan, ReplicatedDir, Seq, Side, Verdict};
use crate::wire::{Frame, Hello, HelloReply, WIRE_VERSION};
use std::time::Duration;

/// Between two attempts to reach the peer.
const DIAL_EVERY: Duration = Duration::from_millis(200);
/// After a comparison that only a person can decide, or a refusal.
const DIAL_AFTER_REFUSAL: Duration = Duration::from_secs(2);
/// Both disks are brought to the same point this often, or after this much.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
const ALONE_EVERY: Duration = Duration::from_secs(10);
const CHECKPOINT_BYTES: u64 = 256 << 20;

impl Engine {
    /// What this engine tells of itself.
    pub fn side(&self) -> Side {
        let counts = match &self.store.loaded {
            Some(kept) if !self.is_leading() => kept.counts(),
            _ => self.leader.dirty.counts(),
        };
        let mut side = self.store.side(self.seq, self.exact, (counts.objects, counts.bytes()));
        if self.is_leading() {
            side.dirty_base = match (&self.leader.recent, self.leader.member) {
                (Some(recent), true) => Some(recent.base()),
                _ => side.dirty_base,
            };
            let first = self.leader.acked + 1;
            side.window = self.leader.member.then_some((Seq(first), Seq(self.seq.max(first))));
        }
        side
    }

    pub fn dial(&mut self) {
        let looking = self.unguarded == Unguarded::Looking;
        if !self.is_leading() || self.link.is_busy() || looking {
            return;
        }
        if self.leader.next_dial.is_some_and(|at| at > self.now) {
            return;
        }
        let Some(peer) = self.config.peers.first().cloned() else { return };
        self.leader.next_dial = Some(self.now + DIAL_EVERY);
        self.link.connect(self.now, &peer.node, peer.data);
    }

    pub fn greet(&mut self, peer: &NodeName) {
        if self.config.peers.first().is_none_or(|address| address.node != *peer) {
            let text = format!("{peer} is not the peer of this module");
            return self.refuse_session(&text);
        }
        self.leader.session = Session::Greeting;
        let dirs = self.config.dirs.iter().map(ReplicatedDir::agreement).collect();
        let hello = Hello {
            version: WIRE_VERSION,
            life: self.life,
            module: self.config.module.to_string(),
            dirs,
            side: self.side(),
        };
        self.send(&Frame::Hello(Box::new(hello)));
    }

    fn refuse_session(&mut self, reason: &str) {
        self.link.close(self.now, reason);
        self.leader_lost(reason);
        self.leader.next_dial = Some(self.now + DIAL_AFTER_REFUSAL);
    }

    pub fn leader_frame(&mut self, frame: Frame) {
        match frame {
            Frame::Reply(reply) => self.peer_replied(*reply),
            Frame::Applied { seq, free_bytes, free_inodes } => {
                self.leader.peer_free = Some((free_bytes, free_inodes));
                self.peer_applied(seq);
            }
            Frame::Failed { seq, errno } => self.peer_failed(seq, Errno(errno)),
            Frame::Durable { seq } => self.peer_durable(seq),
            Frame::Checkpoint { seq } => self.checkpoint_part(seq, true),
            Frame::InSync { .. } if self.leader.session == Session::Admitting => {
                self.admitted_peer()
            }
            Frame::Leave { outdated, reason } => self.peer_leaves(outdated, &reason),
            Frame::Answer(answer) => self.answered(answer),
            _ => self.break_session("a message that does not belong here"),
        }
    }

    fn peer_replied(&mut self, reply: HelloReply) {
        match (reply, self.leader.session) {
            (HelloReply::Refuse { reason }, _) => {
                self.log('W', format!("the peer does not follow: {reason}"));
                self.refuse_session(&reason);
            }
            (HelloReply::Here { life, knows, side, discard, full, .. }, Session::Greeting) => {
                if self.mode == EngineMode::Holding {
                    return self.meet_again(life, knows, &side);
                }
                self.meet(life, &side, discard, full);
            }
            (HelloReply::Go, Session::Planned) => self.go(),
            _ => self.break_session("an answer that does not belong here"),
        }
    }

    /// The link came back before the daemon decided: go on where it broke, or not at all.
    fn meet_again(&mut self, life: u64, knows: bool, theirs: &Side) {
        let applied = theirs.position.seq.0;
        let same = life == self.leader.peer_life && knows && !self.leader.distrusted;
        if !same || applied < self.leader.acked || applied > self.seq {
            let text = "the secondary is not the one that was in sync, or its copy failed";
            self.log('W', format!("{text}; it has to be compared"));
            return self.refuse_session(text);
        }
        let plan = Plan::Window { from: Seq(applied + 1) };
        let verdict = Verdict { plan, rule: "window".to_owned() };
        self.leader.ret = Some(Return::window(applied));
        self.leader.session = Session::Planned;
        let side = self.side();
        self.send(&Frame::Reply(Box::new(HelloReply::Plan { verdict, side })));
    }

    fn meet(&mut self, life: u64, theirs: &Side, discards: bool, full: bool) {
        let own = self.side();
        let mut verdict = match discards {
            true => discard(&own, theirs),
            false => handshake(&own, theirs),
        };
        // The marks of a peer that led are not fetched: everything is compared by digests.
        let changed = self.unguarded == Unguarded::Changed;
        let compare = full
            || changed
            || matches!(verdict.plan, Plan::Zones { theirs: true } | Plan::Window { .. });
        let person = matches!(verdict.plan, Plan::Reverse | Plan::Fork { .. } | Plan::Unrelated);
        if compare && !person {
            verdict.plan = Plan::Digests;
        }
        if matches!(verdict.plan, Plan::Zones { .. } | Plan::Nothing)
            && self.store.dirty_file.is_none()
            && verdict.plan != Plan::Nothing
        {
            verdict.plan = Plan::Digests;
        }
        let peer = theirs.node.clone();
        self.tell(EngineEvent::Handshake { peer, verdict: verdict.clone() });
        self.leader.peer_life = life;
        if person {
            let reply = HelloReply::Plan { verdict, side: own };
            self.send(&Frame::Reply(Box::new(reply)));
            self.link.flush(self.now);
            self.leader.session = Session::None;
            self.leader.next_dial = Some(self.now + DIAL_AFTER_REFUSAL);
            return;
        }
        // The epoch exists before the peer hears of anything under it.
        if !self.open_epoch_if_due() {
            return self.refuse_session("the epoch could not be recorded");
        }
        self.leader.ret = Some(Return::new(&verdict, self.now, self.link.sent_bytes));
        self.leader.session = Session::Planned;
        let side = self.side();
        self.send(&Frame::Reply(Box::new(HelloReply::Plan { verdict, side })));
    }

    /// The peer recorded the plan: operations may flow.
    fn go(&mut self) {
        let Some(ret) = &self.leader.ret else { return self.break_session("there is no plan") };
        if let Some(applied) = ret.window_applied() {
            self.leader.ret = None;
            self.resume(applied);
            if let Some(peer) = self.leader.peer.clone() {
                self.tell(EngineEvent::PeerReady { peer });
            }
            return self.status();
        }
        self.leader.session_number += 1;
        self.leader.session = Session::Returning;
        self.leader.acked = self.seq;
        self.leader.sent = 0;
        let base = self.store.position(self.seq);
        self.leader.recent = Some(Recent::new(base));
        self.leader.checkpoint_started = Some(self.now);
        self.begin_drain();
        self.status();
    }

    fn peer_leaves(&mut self, outdated: bool, reason: &str) {
        self.leader.next_dial = Some(self.now + DIAL_EVERY);
        self.link.close(self.now, "good-bye");
        self.session_ended(reason, outdated);
    }

    // ---- checkpoints -------------------------------------------------------------------------

    /// Brings both disks to the same point now and then, so that a crash leaves little to compare.
    pub fn checkpoint_if_due(&mut self) {
        if !self.has_session() {
            return;
        }
        if let Some((seq, started)) = self.leader.checkpoint_wait
            && self.leader.acked >= seq
            && !started
        {
            self.leader.checkpoint_wait = Some((seq, true));
            self.sync_everything(SyncTag::Checkpoint(seq));
        }
        let recent = self.leader.recent.as_ref().is_some_and(|recent| !recent.is_empty());
        let since = self.leader.checkpoint_started.map(|at| self.now - at);
        let bytes = self.stats.bytes - self.leader.checkpoint_bytes;
        let due = since.is_none_or(|since| since >= CHECKPOINT_EVERY)
            || bytes >= CHECKPOINT_BYTES && since.is_none_or(|s| s >= Duration::from_millis(500));
        if recent && due && self.leader.checkpoint_wait.is_none() {
            self.begin_leader_checkpoint();
        }
    }

    /// Without a peer the position moves on as well, now and then: people compare positions.
    pub fn remember_alone_if_due(&mut self) {
        let due = self.leader.alone_synced.is_none_or(|at| self.now - at >= ALONE_EVERY);
        let moved = self.seq != self.store.memory.position.seq.0;
        if self.mode == EngineMode::LeadingAlone && !self.has_session() && due && moved {
            self.leader.alone_synced = Some(self.now);
            self.sync_everything(SyncTag::Alone(self.seq));
        }
    }

    fn alone_on_disk(&mut self, seq: u64) {
        if self.mode != EngineMode::LeadingAlone || self.has_session() {
            return;
        }
        let position = self.store.position(seq);
        if let Err(error) = self.store.remember(|memory| memory.position = position) {
            self.tell(EngineEvent::Fault { reason: error.to_string() });
        }
    }

    fn begin_leader_checkpoint(&mut self) {
        self.flush_times_now();
        let seq = self.seq;
        let position = self.store.position(seq);
        if let Some(recent) = &mut self.leader.recent {
            recent.begin_checkpoint(position);
        }
        self.leader.checkpoint_started = Some(self.now);
        self.leader.checkpoint_bytes = self.stats.bytes;
        self.leader.checkpoint_wait = Some((seq, false));
        self.leader.checkpoint_parts = (false, false);
        self.send(&Frame::Checkpoint { seq });
    }

    /// One of both disks has everything up to `seq`. Another number is that of a checkpoint that
    /// was given up.
    pub fn checkpoint_part(&mut self, seq: u64, remote: bool) {
        if self.leader.checkpoint_wait.is_none_or(|(awaited, _)| awaited != seq) {
            return;
        }
        let parts = &mut self.leader.checkpoint_parts;
        if remote {
            parts.0 = true
        } else {
            parts.1 = true
        }
        if *parts != (true, true) {
            return;
        }
        self.leader.checkpoint_wait = None;
        if let Some(recent) = &mut self.leader.recent {
            recent.checkpoint_done();
        }
        // The own position first: a base that the peer counts from must be one that is remembered.
        let position = self.store.position(seq);
        if self.leader.member
            && let Err(error) = self.store.remember(|memory| memory.position = position)
        {
            return self.tell(EngineEvent::Fault { reason: error.to_string() });
        }
        self.send(&Frame::Durable { seq });
    }

    /// `syncfs` on every file system below the module, on the pool.
    pub fn sync_everything(&mut self, tag: SyncTag) {
        let roots = self.objects.share_roots();
        self.run_beside(move || {
            let result = roots.and_then(|roots| sync_all(&roots));
            Done::AllSynced { tag, result }
        });
    }

    pub fn all_synced(&mut self, tag: SyncTag, result: Result<(), Errno>) {
        if let Err(errno) = result {
            let reason = format!("syncfs below the replicated directories failed: {errno}");
            return self.tell(EngineEvent::Fault { reason });
        }
        match tag {
            SyncTag::Checkpoint(seq) if self.is_leading() => self.checkpoint_part(seq, false),
            SyncTag::Checkpoint(seq) => self.follower_checkpoint(seq),
            SyncTag::Alone(seq) => self.alone_on_disk(seq),
            SyncTag::Durable(last) => self.batch_durable(last),
            SyncTag::Admit => self.own_disk_ready(),
            SyncTag::Flush => self.flushed_here(),
        }
    }
}
