//! The end of a return: both disks have everything, the membership is recorded here, then there.
use super::leader::Session;
use super::reintegrate::Admission;
use super::run::{Engine, SyncTag};
use crate::model::{EngineEvent, EngineMode};
use crate::wire::{Frame, Op};
use std::time::Instant;

impl Engine {
    /// Rule A3: in sync only after both disks have everything before this point.
    pub fn begin_admission(&mut self) {
        self.flush_times_now();
        let position = self.store.position(self.seq);
        if let Some(recent) = &mut self.leader.recent {
            recent.begin_checkpoint(position);
        }
        self.leader.checkpoint_wait = None;
        let seq = self.send_barrier(Op::SyncAll);
        if let Some(ret) = &mut self.leader.ret {
            ret.admission = Admission::Syncing { seq, remote: false, own: false };
        }
        self.sync_everything(SyncTag::Admit);
    }

    /// The peer has done a part of a return: `bytes` of the stream, sent at `sent`.
    pub fn return_applied(&mut self, bytes: u64, sent: Instant) {
        if let Some(ret) = &mut self.leader.ret {
            ret.progress_this_round = true;
            ret.pace.answered(bytes, sent, self.now);
        }
    }

    pub fn return_durable(&mut self, seq: u64) {
        if let Some(ret) = &mut self.leader.ret
            && let Admission::Syncing { seq: wanted, remote, .. } = &mut ret.admission
            && *wanted == seq
        {
            *remote = true;
            self.admit_if_ready();
        }
    }

    pub fn own_disk_ready(&mut self) {
        if let Some(ret) = &mut self.leader.ret
            && let Admission::Syncing { own, .. } = &mut ret.admission
        {
            *own = true;
            self.admit_if_ready();
        }
    }

    fn admit_if_ready(&mut self) {
        let settled = self.leader.dirty.is_empty() && self.marks_settled();
        let Some(ret) = &mut self.leader.ret else { return };
        let Admission::Syncing { remote: true, own: true, .. } = ret.admission else { return };
        ret.admission = Admission::Draining;
        if !settled {
            ret.cursor = None;
            ret.progress_this_round = true;
            return;
        }
        if let Some(recent) = &mut self.leader.recent {
            recent.checkpoint_done();
        }
        let Some(peer) = self.leader.peer.clone() else { return };
        // From here on this node asks before it goes on alone, whatever the peer has heard.
        if let Err(error) = self.store.admit(&peer, self.seq) {
            return self.tell(EngineEvent::Fault { reason: error.to_string() });
        }
        crate::engine::failpoint("after-leader-admit");
        self.leader.member = true;
        self.leader.session = Session::Admitting;
        let (seq, side) = (self.seq, Box::new(self.side()));
        self.send(&Frame::InSync { seq, side });
    }

    pub fn admitted_peer(&mut self) {
        let Some(peer) = self.leader.peer.clone() else { return };
        self.leader.session = Session::InSync;
        self.mode = EngineMode::LeadingMirror;
        self.compared();
        self.tell_progress(true);
        self.leader.ret = None;
        self.leader.idle = self.objects.idle();
        self.leader.dirty.unrecorded();
        if let Err(error) = self.store.drop_dirty_file() {
            self.log('W', format!("an old dirty file stays: {error}"));
        }
        self.tell(EngineEvent::PeerReady { peer });
        self.status();
    }

    /// The session broke before the peer was in sync: nothing that was sent counts until a
    /// checkpoint had it.
    pub fn abort_return(&mut self) {
        self.leader.ret = None;
        self.leader.idle = self.objects.idle();
        if let Some(recent) = self.leader.recent.take() {
            let records = self.leader.dirty.union(&recent.initial_dirty_set());
            if self.store.dirty_file.is_some() {
                self.add_unsaved(records);
            }
        }
        self.leader.touched.clear();
        self.leader.checkpoint_wait = None;
        self.apply_in_flight();
    }
}
