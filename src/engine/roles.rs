//! Commands of the daemon: take a part, give it back, remember, report.
use super::barrier::sync_all;
use super::run::{Capture, Engine, SyncTag};
use crate::actions::busy;
use crate::capture::device::Device;
use crate::capture::{mount, unguarded};
use crate::history::Recent;
use crate::model::{CopyState, EngineCommand, EngineEvent, EngineMode, EngineStatus, Seq};
use crate::wire::Op;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Numbers left free after a crash, so that none is used twice (rule A5): more than any window.
const NUMBERS_LEFT_FREE: u64 = 1 << 32;
/// Limit of the search for processes in a directory: one may be stuck in a call that this loop has
/// to answer.
const SEARCH: Duration = Duration::from_secs(2);

impl Engine {
    pub fn hello(&mut self) {
        let side = self.side();
        let event = EngineEvent::Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            boot: self.boot,
            mode: self.mode,
            side,
        };
        self.tell(event);
        for note in std::mem::take(&mut self.store.notes) {
            self.log('W', note);
        }
        self.status();
    }

    pub fn command(&mut self, command: EngineCommand) {
        let name = command.name();
        self.follower.asks = false;
        let result = match command {
            EngineCommand::Lead { reason, forced } => self.lead(&reason, forced),
            EngineCommand::Follow { discard, full } => self.follow(discard, full),
            EngineCommand::GoAlone { reason } => self.go_alone_command(&reason),
            EngineCommand::Outdate { reason } => self.outdate_command(&reason),
            EngineCommand::Flush => {
                self.flush_all();
                Ok(())
            }
            EngineCommand::Fence => {
                self.leader.fenced = true;
                // Before the answer: who gives way decides by it.
                self.status();
                self.tell(EngineEvent::Fenced);
                return;
            }
            EngineCommand::FailHeld => {
                self.leader.fenced = true;
                self.fail_held();
                Ok(())
            }
            EngineCommand::NameChanges => {
                self.name_changes();
                Ok(())
            }
            EngineCommand::Release { detach } => self.release_part(detach),
            EngineCommand::Shutdown => self.shut_down(),
        };
        if let Err(reason) = result {
            self.tell(EngineEvent::Refused { command: name.to_owned(), reason });
        }
        self.status();
    }

    // ---- primary -----------------------------------------------------------------------------

    fn lead(&mut self, reason: &str, forced: bool) -> Result<(), String> {
        if self.is_leading() {
            self.leader.fenced = false;
            self.tell(EngineEvent::Leading);
            return Ok(());
        }
        let copy = self.store.memory.copy;
        if copy != CopyState::Current && !forced {
            return Err(format!(
                "the copy of module {} on {} is {}; start the other node, or force with \
                 `lockstep prim -m {0}`",
                self.config.module,
                self.config.node,
                word(copy)
            ));
        }
        let recent = match self.mode {
            EngineMode::Idle => None,
            _ => self.follower.recent.take(),
        };
        self.link.close(self.now, "this node leads now");
        self.cover_all()?;
        if self.mode == EngineMode::Idle {
            self.look_for_changes()?;
        }
        self.take_over_memory(recent, forced).map_err(|error| error.to_string())?;
        crate::engine::failpoint("after-lead-durable");
        self.mount_all()?;
        self.leader.peer = self.config.peers.first().map(|peer| peer.node.clone());
        self.leader.session_number += 1;
        self.leader.epoch_reason = Some(reason.to_owned());
        self.leader.acked = self.seq;
        self.leader.next_dial = None;
        // A first start: without an epoch a position would mean nothing to the other node.
        if self.store.lineage().epochs.is_empty() && !self.open_epoch_if_due() {
            return Err("the first epoch could not be recorded".to_owned());
        }
        self.part += 1;
        self.exact = true;
        self.objects.serves = true;
        self.leader.fenced = false;
        self.mode = EngineMode::LeadingAlone;
        self.tell(EngineEvent::Leading);
        Ok(())
    }

    /// Rule A4 for a secondary that takes over: what the old primary's disk may lack is durable
    /// before the first change, and that this node is the only member.
    fn take_over_memory(
        &mut self,
        recent: Option<Recent>,
        forced: bool,
    ) -> Result<(), crate::history::FileError> {
        if !self.exact && !self.store.lineage().epochs.is_empty() {
            // The newest epoch may have begun behind the position that was remembered.
            let begun = self.store.lineage().last().map_or(0, |epoch| epoch.first_seq.0);
            self.seq = (self.seq.max(begun) / NUMBERS_LEFT_FREE + 1) * NUMBERS_LEFT_FREE;
        }
        let memory = &self.store.memory;
        let unknown = memory.copy != CopyState::Current;
        let sole = memory.sole && !unknown;
        let peer = memory.in_sync_with.clone();
        if sole {
            return self.lead_again();
        }
        let since = match recent {
            Some(recent) => Some((recent.base(), recent.initial_dirty_set())),
            None => self.store.take_kept(),
        };
        if let (Some((base, set)), Some(peer), false) = (since, peer, unknown) {
            self.leader.dirty = self.store.go_alone(&peer, base, set, self.seq)?;
            return Ok(());
        }
        // Nothing is known of what the peer may lack: it will be compared by digests.
        let _ = forced;
        let position = self.store.position(self.seq);
        self.store.drop_dirty_file()?;
        self.store.remember(|memory| {
            memory.copy = CopyState::Current;
            memory.sole = true;
            memory.in_sync_with = None;
            memory.position = position;
            memory.exact = false;
            memory.lost_volatile = false;
            memory.dirty_base = None;
            memory.made_unmarked = false;
        })
    }

    /// The only member starts again, and its marks name all that the peer may lack: inodes, whose
    /// names a walk finds when the peer returns. They were on disk before the changes. After a
    /// crash only the newest inodes may lack theirs, in directories that are marked.
    fn lead_again(&mut self) -> Result<(), crate::history::FileError> {
        let kept = self.store.loaded.take().filter(|_| self.store.dirty_file.is_some());
        let base = self.store.memory.dirty_base.filter(|_| kept.is_some());
        self.store.remember(|memory| {
            memory.made_unmarked |= !memory.exact;
            memory.exact = false;
            memory.dirty_base = base;
        })?;
        match kept {
            Some(kept) => self.leader.dirty = kept,
            None => self.store.drop_dirty_file()?,
        }
        Ok(())
    }

    fn mount_all(&mut self) -> Result<(), String> {
        let dirs: Vec<PathBuf> = self.config.dirs.iter().map(|dir| dir.path.clone()).collect();
        self.captures.clear();
        for (index, dir) in dirs.iter().enumerate() {
            let mounted = mount::cover_fuse(dir).map_err(|errno| {
                format!("cannot mount over {}: {errno}; is /dev/fuse there?", dir.display())
            });
            let watched = mounted.and_then(|fd| {
                let device = Device::new(fd);
                self.captures.push(Capture { device, ring: false, ready: false, gone: false });
                self.watch_capture(index).map_err(|error| error.to_string())
            });
            if let Err(reason) = watched {
                self.unmount_all(true);
                return Err(reason);
            }
        }
        Ok(())
    }

    fn go_alone_command(&mut self, reason: &str) -> Result<(), String> {
        if !self.is_leading() {
            return Err("this engine does not lead".to_owned());
        }
        self.go_alone(reason)?;
        self.tell(EngineEvent::Alone { generation: self.store.lineage().generation() });
        Ok(())
    }

    // ---- secondary ---------------------------------------------------------------------------

    fn follow(&mut self, discard: bool, full: bool) -> Result<(), String> {
        if self.is_leading() {
            return Err("this engine leads; release it first".to_owned());
        }
        self.follower.discard = discard;
        self.follower.full = full;
        self.objects.serves = false;
        if self.mode == EngineMode::Idle {
            self.cover_all()?;
            self.look_for_changes()?;
            self.mode = EngineMode::FollowingDetached;
        }
        self.tell(EngineEvent::Following);
        Ok(())
    }

    /// A read-only cover over every directory, unless it is there already (rule A7).
    fn cover_all(&mut self) -> Result<(), String> {
        for dir in self.config.dirs.clone() {
            let path = &dir.path;
            if mount::covers(path).is_ok_and(|covers| !covers.is_empty()) {
                continue;
            }
            self.check_free(path)?;
            mount::cover_read_only(path)
                .map_err(|errno| format!("cannot cover {}: {errno}", path.display()))?;
        }
        Ok(())
    }

    /// Nobody may hold anything below: it would write past the mirror.
    fn check_free(&self, dir: &Path) -> Result<(), String> {
        let nested = mount::nested(dir).map_err(|error| error.to_string())?;
        if let Some(point) = nested.first() {
            return Err(format!(
                "{point} is mounted below the replicated directory {}; what lies there would not \
                 be mirrored: unmount it, or replicate it as a directory of its own",
                dir.display()
            ));
        }
        let own = [std::process::id()];
        let users = busy::users_of_limited(dir, &own, SEARCH).map_err(|error| error.to_string())?;
        let Some(first) = users.first() else { return Ok(()) };
        Err(format!(
            "{} is in use: process {} ({}) holds {}{}; end it and start the module again",
            dir.display(),
            first.pid,
            first.comm,
            first.path.display(),
            match users.len() - 1 {
                0 => String::new(),
                more => format!(", and {more} more"),
            }
        ))
    }

    fn outdate_command(&mut self, reason: &str) -> Result<(), String> {
        if self.is_leading() {
            return Err("a primary is not outdated by anybody".to_owned());
        }
        self.outdate()?;
        crate::engine::failpoint("after-outdate");
        if matches!(self.mode, EngineMode::FollowingReady | EngineMode::FollowingReturn) {
            self.mode = EngineMode::FollowingDetached;
            self.follower.open = false;
        }
        self.send(&crate::wire::Frame::Leave { outdated: true, reason: reason.to_owned() });
        self.link.flush(self.now);
        self.link.close(self.now, reason);
        self.tell(EngineEvent::Outdated);
        Ok(())
    }

    // ---- both --------------------------------------------------------------------------------

    fn flush_all(&mut self) {
        self.leader.flush_parts = (!self.has_session(), false);
        if self.is_leading() && self.has_session() {
            self.flush_times_now();
            self.leader.flush_seq = self.send_barrier(Op::SyncAll);
        }
        self.sync_everything(SyncTag::Flush);
    }

    pub fn flushed_here(&mut self) {
        self.leader.flush_parts.1 = true;
        self.flush_done();
    }

    pub fn flushed_there(&mut self, seq: u64) -> bool {
        let wanted = seq == self.leader.flush_seq && seq != 0;
        if wanted {
            self.leader.flush_seq = 0;
            self.leader.flush_parts.0 = true;
            self.flush_done();
        }
        wanted
    }

    pub fn flush_done(&mut self) {
        if self.leader.flush_parts == (true, true) {
            self.leader.flush_parts = (false, false);
            self.tell(EngineEvent::Flushed);
        }
    }

    /// Rule A11: everything under the old right to write is durable before it is given up. The
    /// read-only cover stays until the engine ends, so that the directory is never bare while the
    /// module runs here.
    fn release_part(&mut self, detach: bool) -> Result<(), String> {
        match self.mode {
            EngineMode::Idle => {}
            EngineMode::LeadingAlone | EngineMode::LeadingMirror | EngineMode::Holding => {
                self.release_lead(detach)?;
            }
            EngineMode::FollowingDetached
            | EngineMode::FollowingReturn
            | EngineMode::FollowingReady => self.release_follow()?,
        }
        self.mode = EngineMode::Idle;
        self.part += 1;
        self.tell(EngineEvent::Released);
        Ok(())
    }

    fn release_lead(&mut self, detach: bool) -> Result<(), String> {
        if !detach {
            self.must_be_free()?;
        }
        self.flush_times_now();
        self.link.flush(self.now);
        self.drain_order();
        // What the peer did not acknowledge in time was never applied here.
        self.exact = self.leader.order.is_empty() && self.leader.touched.is_empty();
        self.give_up_times();
        let applied = self.seq_here();
        self.seq = applied;
        self.fail_held();
        if detach {
            self.name_who_stays();
        }
        self.unmount_all(detach);
        if let Err(reason) = self.remember_release(applied, self.exact) {
            // As after a crash: what was remembered last holds, and the window covers the rest.
            self.log('C', format!("{reason}; this stop counts as a crash"));
        }
        crate::engine::failpoint("after-release-durable");
        self.store.loaded = Some(std::mem::take(&mut self.leader.dirty));
        let text = "the primary gave its part back";
        self.send(&crate::wire::Frame::Leave { outdated: false, reason: text.to_owned() });
        self.link.flush(self.now);
        self.link.close(self.now, text);
        let session_number = self.leader.session_number;
        self.leader = Default::default();
        self.leader.session_number = session_number;
        self.objects.clear();
        Ok(())
    }

    /// A mount goes back only when nobody needs it.
    fn must_be_free(&self) -> Result<(), String> {
        for dir in &self.config.dirs {
            let shown = dir.path.display();
            if let Some(point) = mount::nested(&dir.path).unwrap_or_default().first() {
                return Err(format!(
                    "something is mounted at {point}, below {shown}; unmount it, then try again"
                ));
            }
            let users = self.users_of(&dir.path).map_err(|error| {
                format!("who uses {shown} cannot be seen ({error}); try again, or force the stop")
            })?;
            if let Some(user) = users.first() {
                return Err(format!("{user}; end it, then try again"));
            }
        }
        Ok(())
    }

    fn users_of(&self, dir: &Path) -> std::io::Result<Vec<busy::OpenUser>> {
        busy::users_of_limited(dir, &[std::process::id()], SEARCH)
    }

    /// The directories are taken away beneath whoever still uses them.
    fn name_who_stays(&mut self) {
        for dir in self.config.dirs.clone() {
            for point in mount::nested(&dir.path).unwrap_or_default() {
                let text = format!("what is mounted at {point} is unmounted with the directory");
                self.log('W', text);
            }
            if let Some(user) = self.users_of(&dir.path).unwrap_or_default().first() {
                let text = format!(
                    "{user}, which does not belong to the module; the directory is taken away \
                     beneath it, and each of its calls there fails from now on"
                );
                self.log('W', text);
            }
        }
    }

    fn remember_release(&mut self, applied: u64, exact: bool) -> Result<(), String> {
        self.sync_now()?;
        let position = self.store.position(applied);
        let recent = self.leader.recent.take();
        if let (true, Some(recent), Some(peer)) = (self.leader.member, &recent, &self.leader.peer) {
            let kept = self.store.keep(peer, recent, position, exact);
            return kept.map_err(|error| error.to_string());
        }
        // What a return had sent does not count until the peer's disk had it.
        if let (false, Some(recent)) = (self.leader.member, recent) {
            let _ = self.leader.dirty.union(&recent.initial_dirty_set());
        }
        if let Some(file) = &mut self.store.dirty_file {
            file.checkpoint(&mut self.leader.dirty).map_err(|error| error.to_string())?;
        }
        let remembered = self.store.remember(|memory| {
            memory.position = position;
            memory.exact = exact;
        });
        remembered.map_err(|error| error.to_string())
    }

    /// Waits, with a limit, for what the peer has not acknowledged yet.
    fn drain_order(&mut self) {
        let deadline = std::time::Instant::now() + Duration::from_millis(1500);
        while self.has_session() && !self.leader.order.is_empty() {
            self.now = std::time::Instant::now();
            if self.now >= deadline {
                break;
            }
            let mut poll = libc::pollfd { fd: self.link.raw(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd; a short wait bounds the loop.
            unsafe {
                libc::poll(&mut poll, 1, 5);
            }
            while self.link.receive(self.now) {}
            self.link.tick(self.now);
            while let Some(event) = self.link.next_event() {
                match event {
                    crate::link::LinkEvent::Frame { frame, .. } => self.leader_frame(frame),
                    crate::link::LinkEvent::Lost { reason } => self.leader_lost(&reason),
                    crate::link::LinkEvent::Connected { .. }
                    | crate::link::LinkEvent::Refused { .. } => {}
                }
            }
            self.link.flush(self.now);
        }
    }

    fn release_follow(&mut self) -> Result<(), String> {
        self.link.close(self.now, "the secondary stops");
        self.follower.open = false;
        if let Err(reason) = self.remember_follow() {
            // What was remembered last is what a crash would have left, and true.
            self.log('W', format!("{reason}; the next return starts from an older position"));
        }
        self.objects.clear();
        self.follower = Default::default();
        Ok(())
    }

    fn remember_follow(&mut self) -> Result<(), String> {
        self.sync_now()?;
        let position = self.store.position(self.seq);
        let memory = &self.store.memory;
        let exact = self.exact;
        let kept = match (self.follower.recent.take(), memory.in_sync_with.clone()) {
            (Some(recent), Some(peer)) if memory.copy == CopyState::Current => {
                self.store.keep(&peer, &recent, position, exact)
            }
            _ => self.store.remember(|memory| {
                memory.position = position;
                memory.exact = exact;
            }),
        };
        kept.map_err(|error| error.to_string())
    }

    fn sync_now(&self) -> Result<(), String> {
        let synced = sync_all(self.objects.roots().iter().map(|root| &root.fd));
        synced.map_err(|errno| format!("the disk did not take everything: {errno}"))
    }

    fn shut_down(&mut self) -> Result<(), String> {
        if self.mode != EngineMode::Idle {
            self.release_part(false)?;
        }
        unguarded::leave(&self.config.state_dir).map_err(|error| {
            format!("cannot mark the end in {}: {error}", self.config.state_dir.display())
        })?;
        for dir in self.config.dirs.clone() {
            mount::uncover_all(&dir.path)
                .map_err(|errno| format!("cannot uncover {}: {errno}", dir.path.display()))?;
        }
        self.exit = true;
        Ok(())
    }

    // ---- status ------------------------------------------------------------------------------

    pub fn report_if_due(&mut self) {
        let due = self.next_status.is_none_or(|at| at <= self.now);
        if due {
            self.status();
        }
    }

    pub fn status(&mut self) {
        self.next_status = Some(self.now + Duration::from_secs(1));
        if !self.control.is_connected() {
            return;
        }
        let (latency_p50_us, latency_p99_us) = self.stats.latency(self.now);
        let leading = self.is_leading();
        let side = self.side();
        let status = EngineStatus {
            mode: self.mode,
            side,
            peer: if leading { self.leader.peer.clone() } else { self.follower.leader.clone() },
            link_up: match leading {
                true => self.has_session(),
                false => self.link.is_connected() && self.follower.open,
            },
            applied: Seq(if leading { self.leader.acked.max(self.seq_here()) } else { self.seq }),
            acknowledged: Seq(self.leader.acked),
            durable: Seq(self.leader.durable),
            operations: self.stats.operations,
            bytes: self.stats.bytes,
            latency_p50_us,
            latency_p99_us,
            held: if self.mode == EngineMode::Holding { self.held_count() } else { 0 },
            progress: self.progress(),
            features: self.features(),
        };
        self.tell(EngineEvent::Status(Box::new(status)));
    }

    fn seq_here(&self) -> u64 {
        self.leader.order.front().map_or(self.seq, |flight| flight.seq - 1)
    }

    fn features(&mut self) -> Vec<String> {
        let mut list = Vec::new();
        list.push(match self.reactor.ring() {
            Some(_) => "io_uring",
            None => "poll",
        });
        if self.is_leading() {
            let ring = self.captures.iter().all(|capture| capture.ring);
            list.push(if ring { "fuse-io_uring" } else { "fuse-classic" });
        }
        list.into_iter().map(str::to_owned).collect()
    }
}

fn word(copy: CopyState) -> &'static str {
    match copy {
        CopyState::Unknown => "unknown (it was never mirrored)",
        CopyState::Current => "current",
        CopyState::Outdated => "outdated (the peer went on without it)",
        CopyState::Incomplete => "incomplete (stopped during reintegration)",
    }
}
