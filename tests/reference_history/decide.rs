//! Who leads: going alone, taking over, meeting, and what the operator says where a person is
//! asked.
use super::node::{Mode, mark_recent};
use super::world::{Session, World, holds};
use lockstep::history::{Leads, discard, handshake, who_must_lead};
use lockstep::model::{CopyState, Plan};

impl World {
    /// Rule A2: nobody writes alone before the other one, if it can be reached, has recorded that.
    fn outdate(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        if let (true, Some(engine)) = (self.link, &mut node.engine) {
            (engine.recent, engine.mode) = (None, Mode::Idle);
            (node.memory.sole, node.memory.in_sync_with) = (false, None);
            if node.memory.copy == CopyState::Current {
                node.memory.copy = CopyState::Outdated;
            }
        }
    }

    /// The primary's peer does not answer. Rule A2: over a link that works it is outdated first.
    pub fn go_alone(&mut self, i: usize, crash_after: u8) {
        // A primary is not outdated by anybody: two of them that see each other meet.
        if !self.leads(i) || !self.held(i) || (self.link && self.leads(1 - i)) {
            return;
        }
        self.outdate(1 - i);
        self.split |= !self.link && self.nodes[1 - i].engine.is_some();
        let node = &mut self.nodes[i];
        if !node.go_alone(crash_after) {
            return self.die(i, None);
        }
        // What was sent and not acknowledged happens here, and counts as done alone.
        if let Some(op) = node.engine.as_mut().unwrap().in_flight {
            node.open_epoch_if_due();
            node.engine.as_mut().unwrap().in_flight = None;
            assert!(op.target.is_dirty(&node.engine.as_ref().unwrap().dirty), "A4: {op:?}");
            op.target.write(&mut node.cache, op.seq);
            self.promise(i, false);
        }
    }

    /// A ready secondary whose primary is dead, or cut off (policy `both-alone`).
    pub fn take_over(&mut self, i: usize) {
        let node = &self.nodes[i];
        let ready = node.mode() == Some(Mode::Following) && node.memory.copy == CopyState::Current;
        let gone = self.nodes[1 - i].mode() != Some(Mode::Leading) || !self.link;
        if self.session.is_none() && ready && gone {
            self.split |= self.leads(1 - i);
            self.nodes[i].lead(false);
        }
    }

    /// A node that was recorded as the only member needs nobody.
    pub fn go_on(&mut self, i: usize) {
        let node = &self.nodes[i];
        let sole = node.memory.sole && node.memory.copy == CopyState::Current;
        let gone = !self.leads(1 - i) || !self.link;
        if node.mode() == Some(Mode::Idle) && sole && gone {
            self.split |= self.leads(1 - i);
            self.nodes[i].lead(false);
        }
    }

    /// Both engines see each other: a step towards one leader and one follower.
    /// `winner`: the operator's word where a person is asked.
    pub fn meet(&mut self, winner: usize) {
        let up = self.nodes.iter().all(|node| node.engine.is_some());
        if !up || !self.link || self.session.is_some() {
            return;
        }
        match [self.leads(0), self.leads(1)] {
            [true, true] => self.nodes[1 - winner].release(),
            [false, false] => self.elect(winner),
            [first, _] => self.greet(if first { 0 } else { 1 }, winner),
        }
    }

    fn elect(&mut self, winner: usize) {
        let standing = who_must_lead(&self.nodes[0].side(), &self.nodes[1].side());
        let (leader, forced) = match standing.leads {
            Leads::First => (0, false),
            Leads::Second => (1, false),
            Leads::Either => (winner, false),
            Leads::Person(plan) => {
                let asked = self.split || standing.rule == "survivor-outdated";
                assert!(asked || plan == Plan::Unrelated, "a fork out of nothing");
                (winner, true)
            }
        };
        *self.plans.entry(standing.rule.to_owned()).or_insert(0) += 1;
        if forced {
            self.give_up(1 - leader);
        }
        self.nodes[leader].lead(forced);
        self.outdate(1 - leader);
    }

    /// The link came back before anybody decided: go on where it broke, or not at all.
    fn meet_again(&mut self, i: usize) {
        let [leader, follower] = self.pair(i);
        let (ours, theirs) = (leader.engine.as_mut().unwrap(), follower.engine.as_mut().unwrap());
        let member = follower.memory.copy == CopyState::Current && theirs.mode == Mode::Following;
        if !member || !theirs.whole {
            return;
        }
        let in_flight = ours.in_flight.take();
        if let Some(op) = in_flight {
            mark_recent(&mut theirs.recent, op.target);
            theirs.seq = op.seq;
            op.target.write(&mut follower.cache, op.seq);
            op.target.write(&mut leader.cache, op.seq);
        }
        self.session = Some(Session { leader: i, back: None });
        if in_flight.is_some() {
            self.promise(i, false);
        }
        self.check(i);
    }

    fn greet(&mut self, i: usize, winner: usize) {
        if self.held(i) {
            return self.meet_again(i);
        }
        let (ours, theirs) = (self.nodes[i].side(), self.nodes[1 - i].side());
        let mut verdict = handshake(&ours, &theirs);
        if matches!(verdict.plan, Plan::Fork { .. } | Plan::Unrelated) {
            let asked = self.split || verdict.rule == "survivor-outdated";
            assert!(asked || verdict.plan == Plan::Unrelated, "a fork out of nothing");
            if winner != i {
                self.give_up(i);
                self.nodes[i].release();
                self.nodes[winner].lead(true);
                return;
            }
            self.give_up(1 - i);
            verdict = discard(&ours, &theirs);
        }
        *self.plans.entry(verdict.rule.clone()).or_insert(0) += 1;
        match verdict.plan {
            Plan::Reverse => {
                self.nodes[i].release();
                self.nodes[1 - i].lead(false);
            }
            Plan::Fork { .. } | Plan::Unrelated => panic!("asked twice: {verdict:?}"),
            plan => self.begin_return(i, &plan, &theirs),
        }
    }

    /// The operator said that what only this node holds may go.
    fn give_up(&mut self, loser: usize) {
        let lineage = &self.nodes[1 - loser].lineage;
        let tree = self.nodes[1 - loser].cache;
        self.promises.retain(|promise| {
            promise.epoch.is_none_or(|epoch| lineage.contains(epoch)) && holds(&tree, &promise.tree)
        });
    }
}
