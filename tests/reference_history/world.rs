//! Two nodes, a link between them, an operator, and what the application was promised.
use super::node::{Mode, Node, Op, Target, Tree, mark_recent};
use lockstep::history::{DirtyRecord, Memory, Portion};
use lockstep::model::{EpochId, Lineage, Position};
use std::collections::BTreeMap;

/// The peer of `leader` follows it over a link that works.
pub struct Session {
    pub leader: usize,
    /// `None`: in sync. Otherwise the way there.
    pub back: Option<Return>,
}

pub struct Return {
    pub cursor: Option<Portion>,
    /// Operations to send again.
    pub window: Vec<Op>,
}

struct Snapshot {
    disk: Tree,
    memory: Memory,
    lineage: Lineage,
    file: Option<(Position, Vec<DirtyRecord>)>,
}

/// What an answer promised, and in which epoch.
pub struct Promise {
    pub epoch: Option<EpochId>,
    pub tree: Tree,
    /// Whose page cache must survive for it; a barrier needs none.
    held_by: [bool; 2],
    barrier: bool,
}

pub struct World {
    pub nodes: [Node; 2],
    pub link: bool,
    pub session: Option<Session>,
    pub promises: Vec<Promise>,
    /// A node went on while the other may have done so as well (policy `both-alone`).
    pub split: bool,
    snapshot: [Option<Snapshot>; 2],
    pub plans: BTreeMap<String, u64>,
}

impl World {
    pub fn new() -> World {
        World {
            nodes: [Node::new("n1", 10), Node::new("n2", 11)],
            link: true,
            session: None,
            promises: Vec::new(),
            split: false,
            snapshot: [None, None],
            plans: BTreeMap::new(),
        }
    }

    pub fn leads(&self, i: usize) -> bool {
        self.nodes[i].mode() == Some(Mode::Leading)
    }

    pub fn promise(&mut self, i: usize, barrier: bool) {
        let node = &self.nodes[i];
        let epoch = node.lineage.last().map(|epoch| epoch.id);
        let held_by = std::array::from_fn(|holder| holder == i || self.is_in_sync());
        self.promises.push(Promise { epoch, tree: node.cache, held_by, barrier });
    }

    /// What a power cut may take with it, by the rules: all that was not synced if the node was
    /// the only member, else only what nobody else holds.
    fn forget_unsynced(&mut self, i: usize) {
        let sole = self.nodes[i].memory.sole;
        self.promises.retain_mut(|promise| {
            promise.held_by[i] = false;
            promise.barrier || (!sole && promise.held_by.contains(&true))
        });
    }

    /// One operation of the application on node `i`. `stop`: where it is cut off by the end of
    /// the session (if there is one), more: nowhere.
    pub fn write(&mut self, i: usize, target: Target, stop: u8) {
        if !self.leads(i) {
            return;
        }
        match &self.session {
            Some(Session { back: None, .. }) => self.write_in_sync(i, target, stop),
            Some(Session { back: Some(_), .. }) => self.write_returning(i, target, stop),
            None => self.write_alone(i, target),
        }
    }

    fn write_in_sync(&mut self, i: usize, target: Target, stop: u8) {
        let [leader, follower] = self.pair(i);
        leader.open_epoch_if_due();
        let (ours, theirs) = (leader.engine.as_mut().unwrap(), follower.engine.as_mut().unwrap());
        ours.seq += 1;
        let op = Op { seq: ours.seq, target };
        mark_recent(&mut ours.recent, target);
        ours.window.iter_mut().for_each(|window| window.push(op));
        ours.in_flight = Some(op);
        if stop == 0 {
            return self.cut_session();
        }
        mark_recent(&mut theirs.recent, target);
        theirs.seq = op.seq;
        target.write(&mut follower.cache, op.seq);
        if stop == 1 {
            return self.cut_session();
        }
        ours.in_flight = None;
        target.write(&mut leader.cache, op.seq);
        self.promise(i, false);
    }

    fn write_returning(&mut self, i: usize, target: Target, stop: u8) {
        let engine = self.nodes[i].engine.as_ref().unwrap();
        let waits = self.session.as_ref().is_some_and(|session| {
            session.back.as_ref().is_some_and(|back| !back.window.is_empty())
        });
        if target.is_dirty(&engine.dirty) || waits {
            if waits {
                // The stream is ordered: behind the operations that are sent again.
                let seq = engine.seq + 1;
                let back = self.session.as_mut().and_then(|session| session.back.as_mut());
                back.unwrap().window.push(Op { seq, target });
            }
            return self.write_alone(i, target);
        }
        self.nodes[i].record(target, false);
        let [leader, follower] = self.pair(i);
        let (ours, theirs) = (leader.engine.as_mut().unwrap(), follower.engine.as_mut().unwrap());
        ours.seq += 1;
        mark_recent(&mut ours.recent, target);
        ours.window = None;
        if stop != 0 {
            mark_recent(&mut theirs.recent, target);
            theirs.seq = ours.seq;
            target.write(&mut follower.cache, ours.seq);
        }
        target.write(&mut leader.cache, ours.seq);
        if stop <= 1 {
            self.cut_session();
        }
        self.promise(i, false);
    }

    fn write_alone(&mut self, i: usize, target: Target) {
        let node = &mut self.nodes[i];
        if node.engine.as_ref().is_some_and(|engine| engine.member) {
            return; // Held: nobody decided yet.
        }
        node.record(target, true);
        node.open_epoch_if_due();
        let engine = node.engine.as_mut().unwrap();
        engine.seq += 1;
        let op = Op { seq: engine.seq, target };
        engine.window.iter_mut().for_each(|window| window.push(op));
        target.write(&mut node.cache, op.seq);
        self.promise(i, false);
    }

    pub fn barrier(&mut self, i: usize) {
        if !self.leads(i) || self.held(i) {
            return;
        }
        // What a barrier promises under a new right to write must show in the history.
        self.nodes[i].open_epoch_if_due();
        self.nodes[i].sync();
        if matches!(self.session, Some(Session { back: None, .. })) {
            self.nodes[1 - i].sync();
        }
        self.promise(i, true);
    }

    pub fn held(&self, i: usize) -> bool {
        self.session.is_none() && self.nodes[i].engine.as_ref().is_some_and(|e| e.member)
    }

    /// `done`: both disks made it before something else happens.
    pub fn checkpoint(&mut self, done: bool) {
        let Some(Session { leader, back }) = &self.session else { return };
        let (i, in_sync) = (*leader, back.is_none());
        for node in &mut self.nodes {
            let position = node.position(node.engine.as_ref().unwrap().seq);
            let recent = node.engine.as_mut().unwrap().recent.as_mut();
            recent.unwrap().begin_checkpoint(position);
            if done {
                node.sync();
                node.engine.as_mut().unwrap().recent.as_mut().unwrap().checkpoint_done();
            }
            if done && in_sync {
                node.memory.position = position;
            }
        }
        if done {
            let engine = self.nodes[i].engine.as_mut().unwrap();
            if let (Some(recent), true) = (&engine.recent, in_sync) {
                let _ = engine.dirty.settle(recent);
            }
        }
    }

    // ---- failures ----------------------------------------------------------------------------

    /// The link breaks, or one end died.
    pub fn cut_session(&mut self) {
        let Some(session) = self.session.take() else { return };
        let node = &mut self.nodes[session.leader];
        let (Some(engine), Some(_)) = (&mut node.engine, session.back) else { return };
        if engine.member {
            return;
        }
        // Nothing that was sent counts until a checkpoint had it.
        if let Some(recent) = engine.recent.take() {
            let records = engine.dirty.union(&recent.initial_dirty_set());
            if let Some((_, file)) = &mut node.file {
                file.extend(records);
            }
        }
    }

    pub fn die(&mut self, i: usize, power: Option<u64>) {
        if self.nodes[i].engine.is_none() {
            return;
        }
        if power.is_some() {
            self.forget_unsynced(i);
        }
        self.cut_session();
        self.nodes[i].die(power);
    }

    pub fn start(&mut self, i: usize) {
        if self.nodes[i].engine.is_none() {
            self.nodes[i].start();
        }
    }

    pub fn stop(&mut self, i: usize) {
        if self.nodes[i].engine.is_some() {
            self.cut_session();
            self.nodes[i].release();
            self.nodes[i].engine = None;
        }
    }

    /// An image of the disk of node `i`, as a backup or a snapshot of its machine takes it.
    pub fn take_snapshot(&mut self, i: usize) {
        let node = &self.nodes[i];
        self.snapshot[i] = Some(Snapshot {
            disk: node.durable,
            memory: node.memory.clone(),
            lineage: node.lineage.clone(),
            file: node.file.clone(),
        });
    }

    /// Somebody puts the image back while the node is off and the other one goes on alone.
    pub fn restore_snapshot(&mut self, i: usize) {
        let [node, other] = two(&mut self.nodes, i);
        // Not in the middle of a return: such an image looks like the copy that the return began
        // with, and what was drained since then is no longer marked.
        let undrained = other.engine.as_ref().is_some_and(|engine| !engine.drained);
        let leads = other.mode() == Some(Mode::Leading) && other.memory.sole;
        let goes_on = leads && undrained && !self.split;
        if node.engine.is_some() || !goes_on {
            return;
        }
        let Some(snapshot) = &self.snapshot[i] else { return };
        // What was the only member then would lead now: nothing can tell, a person must not do it.
        if snapshot.memory.sole {
            return;
        }
        (node.durable, node.cache) = (snapshot.disk, snapshot.disk);
        (node.memory, node.lineage) = (snapshot.memory.clone(), snapshot.lineage.clone());
        node.file = snapshot.file.clone();
        self.promises.iter_mut().for_each(|promise| promise.held_by[i] = false);
        self.promises.retain(|promise| promise.barrier || promise.held_by.contains(&true));
    }

    /// In sync: both trees are equal and hold what was promised.
    pub fn check(&self, i: usize) {
        let [leader, follower] = [&self.nodes[i], &self.nodes[1 - i]];
        assert_eq!(leader.cache, follower.cache, "in sync, and not equal");
        for promise in &self.promises {
            assert!(
                holds(&leader.cache, &promise.tree),
                "{:?} lost {:?}",
                leader.cache,
                promise.tree
            );
        }
    }

    pub fn is_in_sync(&self) -> bool {
        matches!(self.session, Some(Session { back: None, .. }))
    }

    pub fn pair(&mut self, i: usize) -> [&mut Node; 2] {
        two(&mut self.nodes, i)
    }
}

pub fn two(nodes: &mut [Node; 2], first: usize) -> [&mut Node; 2] {
    let [a, b] = nodes;
    if first == 0 { [a, b] } else { [b, a] }
}

/// No cell is older than promised.
pub fn holds(tree: &Tree, promised: &Tree) -> bool {
    tree.as_flattened().iter().zip(promised.as_flattened()).all(|(now, then)| now >= then)
}
