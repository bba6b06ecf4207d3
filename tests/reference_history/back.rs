//! The way back: plan, window or drain, admission, each step of it interruptible.
use super::node::{Mode, Node, OBJECTS, Target, copy, key, mark_recent};
use super::world::{Return, Session, World, two};
use lockstep::history::{Mark, Memory, Recent};
use lockstep::model::{CopyState, Plan, Position, Side};

impl World {
    pub fn begin_return(&mut self, i: usize, plan: &Plan, theirs: &Side) {
        let [leader, follower] = self.pair(i);
        leader.open_epoch_if_due();
        let ours = leader.engine.as_mut().unwrap();
        let at = ours.seq;
        ours.drained = true;
        let mut window = Vec::new();
        match plan {
            Plan::Window { from } => {
                let held = ours.window.iter().flatten();
                window.extend(held.filter(|op| op.seq >= from.0).copied());
            }
            Plan::Digests => (0..OBJECTS).for_each(|object| {
                let mark = ours.dirty.mark_whole(key(object));
                if let (Mark::New(record), Some((_, file))) = (mark, &mut leader.file) {
                    file.push(record);
                }
                ours.window = None;
            }),
            Plan::Zones { theirs: true } => {
                let records = ours.dirty.union(&follower.engine.as_ref().unwrap().dirty);
                leader.file.as_mut().unwrap().1.extend(records);
                ours.window = None;
            }
            _ => ours.window = None,
        }
        let position = leader.position(at);
        leader.engine.as_mut().unwrap().recent = Some(Recent::new(position));
        if matches!(plan, Plan::Nothing | Plan::Window { .. }) {
            // It stays a state of the leader's history, and counts in the leader's epochs.
            follower.lineage = leader.lineage.clone();
        }
        begin_following(follower, plan, theirs.position, position);
        self.session = Some(Session { leader: i, back: Some(Return { cursor: None, window }) });
    }

    /// One step of the return: one portion, one operation, or the admission. `stop` cuts the
    /// admission: 0 after the disks, 1 after the leader's memory, 2 after the follower's lineage.
    pub fn step(&mut self, stop: u8) {
        let Some(Session { leader: i, back: Some(back) }) = &mut self.session else { return };
        let i = *i;
        let [leader, follower] = two(&mut self.nodes, i);
        let (ours, theirs) = (leader.engine.as_mut().unwrap(), follower.engine.as_mut().unwrap());
        if !back.window.is_empty() {
            let op = back.window.remove(0);
            mark_recent(&mut ours.recent, op.target);
            mark_recent(&mut theirs.recent, op.target);
            op.target.write(&mut follower.cache, op.seq);
            theirs.seq = op.seq;
            if back.window.is_empty() {
                // Everything that was marked came from operations that the peer has by now, but
                // not on its disk.
                while let Some(portion) = ours.dirty.next(None) {
                    ours.recent.as_mut().unwrap().mark_portion(&portion);
                    let _ = ours.dirty.clear(&portion);
                }
            }
            return;
        }
        back.cursor = ours.dirty.next(back.cursor.as_ref());
        if let Some(portion) = back.cursor {
            copy(&portion, &leader.cache, &mut follower.cache);
            ours.recent.as_mut().unwrap().mark_portion(&portion);
            let cells = [0, 1, 2, 3].map(|cell| Target::Cell(portion.key.ino as usize, cell));
            cells.into_iter().for_each(|cell| mark_recent(&mut theirs.recent, cell));
            let _ = ours.dirty.clear(&portion);
            return;
        }
        if ours.dirty.is_empty() {
            self.admit(i, stop);
        }
    }

    fn admit(&mut self, i: usize, stop: u8) {
        let [leader, follower] = self.pair(i);
        let at = leader.engine.as_ref().unwrap().seq;
        let position = leader.position(at);
        let ours = leader.engine.as_mut().unwrap();
        ours.recent.as_mut().unwrap().begin_checkpoint(position);
        leader.sync();
        follower.sync();
        let ours = leader.engine.as_mut().unwrap();
        ours.recent.as_mut().unwrap().checkpoint_done();
        if stop == 0 {
            return self.cut_session();
        }
        leader.memory = Memory {
            sole: false,
            in_sync_with: Some(follower.name.clone()),
            position,
            dirty_base: None,
            ..leader.memory.clone()
        };
        let ours = leader.engine.as_mut().unwrap();
        (ours.member, ours.window) = (true, Some(Vec::new()));
        if stop == 1 {
            return self.cut_session();
        }
        follower.lineage = leader.lineage.clone();
        if stop == 2 {
            return self.cut_session();
        }
        let theirs = follower.engine.as_mut().unwrap();
        (theirs.seq, theirs.whole) = (at, true);
        follower.memory = Memory {
            copy: CopyState::Current,
            sole: false,
            in_sync_with: Some(leader.name.clone()),
            position,
            exact: false,
            lost_volatile: false,
            dirty_base: None,
            ..follower.memory.clone()
        };
        (leader.file, follower.file) = (None, None);
        leader.engine.as_mut().unwrap().dirty.unrecorded();
        assert_eq!(leader.durable, follower.durable, "in sync, and not equal on disk (A3)");
        self.session.as_mut().unwrap().back = None;
        self.split = false;
        self.check(i);
    }
}

fn begin_following(follower: &mut Node, plan: &Plan, at: Position, leader: Position) {
    // The leader writes without this copy from here on, and it may become a mixture.
    follower.memory.copy = match plan {
        Plan::Nothing | Plan::Window { .. } => CopyState::Outdated,
        _ => CopyState::Incomplete,
    };
    (follower.memory.exact, follower.memory.sole) = (false, false);
    follower.memory.position = at;
    let engine = follower.engine.as_mut().unwrap();
    engine.mode = Mode::Following;
    engine.dirty = Default::default();
    engine.recent = Some(Recent::new(leader));
    engine.whole = matches!(plan, Plan::Nothing | Plan::Window { .. });
    if !matches!(plan, Plan::Window { .. }) {
        engine.seq = leader.seq.0;
    }
}
