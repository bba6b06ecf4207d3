//! What connects the two nodes: messages between the daemons, the data link between the engines.
use super::{Item, World};
use crate::decide::tests::engine::ModelEngine;
use crate::decide::*;
use crate::history::handshake;
use crate::model::*;

impl World {
    pub(super) fn tell(&mut self, index: usize, token: Option<u64>, message: PeerMessage) {
        let to = 1 - index;
        let (life, own) = (self.nodes[to].life, self.nodes[index].life);
        if self.hearts && self.nodes[to].machine.is_some() {
            // One ordered stream: the same delay for all.
            self.at(5, Item::Message { to, life, token, message });
        } else if let Some(token) = token {
            let outcome = Outcome::Failed("not connected".to_owned());
            self.at(50, Item::Event(index, own, Event::Did { token, outcome }));
        }
    }

    pub(super) fn arrive(
        &mut self,
        to: usize,
        life: u32,
        token: Option<u64>,
        message: PeerMessage,
    ) {
        let from = 1 - to;
        let lost = !self.hearts || self.nodes[to].life != life || self.nodes[to].machine.is_none();
        if lost {
            if let Some(token) = token {
                let outcome = Outcome::Failed("lost".to_owned());
                let life = self.nodes[from].life;
                self.at(400, Item::Event(from, life, Event::Did { token, outcome }));
            }
            return;
        }
        let ticket = self.nodes[to].next_ticket;
        self.nodes[to].next_ticket += 1;
        if let Some(token) = token {
            let life = self.nodes[from].life;
            self.nodes[to].tickets.insert(ticket, (from, life, token));
        }
        self.event(to, Event::Peer { ticket, message });
    }

    /// The data link between the engines carries something.
    pub(super) fn linked(&self) -> bool {
        let [a, b] = [&self.nodes[0].engine, &self.nodes[1].engine];
        let pair = |leader: &ModelEngine, follower: &ModelEngine| {
            leader.mode == EngineMode::LeadingMirror && follower.mode == EngineMode::FollowingReady
        };
        let answer = |engine: &ModelEngine| engine.up && !engine.hangs;
        self.link && answer(a) && answer(b) && (pair(a, b) || pair(b, a))
    }

    /// After anything that may break the link: both ends notice.
    pub(in crate::decide::tests) fn noticed(&mut self, was: bool, left: bool) {
        if !was || self.linked() {
            return;
        }
        for index in 0..2 {
            let peer = self.nodes[1 - index].name.clone();
            let node = &mut self.nodes[index];
            if !node.engine.up || node.engine.hangs {
                continue;
            }
            let reason = "data link lost".to_owned();
            let event = match node.engine.mode {
                EngineMode::LeadingMirror => {
                    node.engine.mode = EngineMode::Holding;
                    EngineEvent::PeerLost { peer, left, reason }
                }
                EngineMode::FollowingReady => {
                    node.engine.mode = EngineMode::FollowingDetached;
                    EngineEvent::PrimaryLost { reason }
                }
                _ => continue,
            };
            let life = node.life;
            self.at(2, Item::Event(index, life, Event::Engine(event)));
        }
    }

    /// A follower meets its leader: the return begins, ends a little later.
    pub(super) fn exchange(&mut self) {
        for follower in 0..2 {
            let leader = 1 - follower;
            let meets = self.link
                && self.nodes[leader].engine.leads()
                && self.nodes[follower].engine.mode == EngineMode::FollowingDetached
                && self.nodes[follower].engine.up;
            if !meets || self.nodes[follower].link_seen {
                continue;
            }
            let theirs = self.nodes[follower].engine.side();
            let verdict = handshake(&self.nodes[leader].engine.side(), &theirs);
            let person =
                matches!(verdict.plan, Plan::Fork { .. } | Plan::Unrelated | Plan::Reverse);
            let life = self.nodes[follower].life;
            if person && !self.nodes[follower].engine.discard {
                self.nodes[follower].link_seen = true;
                let event = EngineEvent::NeedsDecision { verdict, text: "ask".to_owned() };
                self.at(1, Item::Event(follower, life, Event::Engine(event)));
                self.nodes[follower].engine.mode = EngineMode::FollowingDetached;
                continue;
            }
            if self.nodes[leader].engine.mode == EngineMode::Holding {
                // The same pair again, nothing was decided: the mirror goes on.
                let whole = theirs.copy == CopyState::Current;
                if !whole {
                    continue;
                }
            }
            self.nodes[follower].engine.mode = EngineMode::FollowingReturn;
            let status = self.nodes[follower].engine.status(true);
            self.at(1, Item::Event(follower, life, Event::Engine(status)));
            let delay = 10 + self.random(400);
            self.at(delay, Item::Return(follower));
        }
        for node in &mut self.nodes {
            if node.engine.mode != EngineMode::FollowingDetached {
                node.link_seen = false;
            }
        }
    }

    pub(super) fn returned(&mut self, follower: usize) {
        let leader = 1 - follower;
        let back = self.nodes[follower].engine.mode == EngineMode::FollowingReturn;
        if !back || !self.nodes[follower].engine.up {
            return;
        }
        if !self.link || !self.nodes[leader].engine.leads() {
            let life = self.nodes[follower].life;
            self.nodes[follower].engine.mode = EngineMode::FollowingDetached;
            let reason = "link lost during return".to_owned();
            let event = Event::Engine(EngineEvent::PrimaryLost { reason });
            self.at(1, Item::Event(follower, life, event));
            return;
        }
        let before = self.nodes[follower].engine.data.writes.clone();
        let engine = &mut self.nodes[leader].engine;
        let held = engine.held.take();
        held.into_iter().for_each(|write| engine.write(write));
        self.acked.extend(held);
        let engine = &mut self.nodes[leader].engine;
        let data = engine.data.clone();
        engine.mode = EngineMode::LeadingMirror;
        engine.data.sole = false;
        engine.data.durable = data.writes.len();
        let engine = &mut self.nodes[follower].engine;
        engine.data.writes.clone_from(&data.writes);
        engine.data.lineage = data.lineage;
        engine.data.durable = data.writes.len();
        engine.data.copy = CopyState::Current;
        engine.data.sole = false;
        engine.data.lost = false;
        engine.mode = EngineMode::FollowingReady;
        if !self.chosen && !self.blackout {
            let lost: Vec<_> = before.iter().filter(|w| !data.writes.contains(w)).collect();
            let lost: Vec<_> = lost.into_iter().filter(|w| self.acked.contains(w)).collect();
            assert!(lost.is_empty(), "overwritten without a command: {lost:?}\n{}", self.tail());
        }
        let peer = self.nodes[follower].name.clone();
        let (a, b) = (self.nodes[leader].life, self.nodes[follower].life);
        self.at(1, Item::Event(leader, a, Event::Engine(EngineEvent::PeerReady { peer })));
        self.at(1, Item::Event(follower, b, Event::Engine(EngineEvent::Ready)));
    }

    /// The application on this node writes once, if it runs and can.
    pub(in crate::decide::tests) fn write(&mut self, index: usize) {
        let other = 1 - index;
        let engine = &self.nodes[index].engine;
        if !self.active(index) || engine.held.is_some() || engine.fenced {
            return;
        }
        let write = self.next_write;
        self.next_write += 1;
        let linked = self.linked();
        match self.nodes[index].engine.mode {
            EngineMode::LeadingAlone => {
                let epochs = self.nodes[index].engine.data.lineage.epochs.len();
                self.nodes[index].engine.write(write);
                if self.nodes[index].engine.data.lineage.epochs.len() > epochs {
                    // Its daemon hears of a new epoch at once.
                    let life = self.nodes[index].life;
                    let status = self.nodes[index].engine.status(linked);
                    self.at(2, Item::Event(index, life, Event::Engine(status)));
                }
                // Alone: the own disk, at once, so that a power cut does not blur the picture.
                let engine = &mut self.nodes[index].engine;
                engine.data.durable = engine.data.writes.len();
                self.acked.push(write);
            }
            EngineMode::LeadingMirror if linked => {
                self.nodes[index].engine.write(write);
                let lineage = self.nodes[index].engine.data.lineage.clone();
                let peer = &mut self.nodes[other].engine;
                peer.data.writes.push(write);
                peer.data.lineage = lineage;
                self.acked.push(write);
            }
            EngineMode::LeadingMirror | EngineMode::Holding => {
                self.nodes[index].engine.held = Some(write);
            }
            _ => {}
        }
    }

    pub(in crate::decide::tests) fn set_net(&mut self, hearts: bool, link: bool) {
        let was = self.linked();
        if self.hearts != hearts {
            self.hearts = hearts;
            for index in 0..2 {
                let life = self.nodes[index].life;
                let event = if hearts { Event::Connected } else { Event::Disconnected };
                self.at(3, Item::Event(index, life, event));
                if hearts {
                    self.republish(index);
                }
            }
        }
        self.link = link;
        if let (true, Some(answers)) = (hearts, &mut self.witness) {
            *answers = [true; 2];
        }
        if !hearts && !link && self.witness.is_none_or(|answers| answers == [true; 2]) {
            self.partitioned = true;
        }
        for node in &mut self.nodes {
            node.link_seen = false;
        }
        self.noticed(was, false);
    }

    pub(super) fn republish(&mut self, index: usize) {
        if let Some(machine) = &self.nodes[index].machine {
            let (state, reason) = (machine.state(), machine.reason().to_owned());
            self.publish(index, state, reason);
        }
    }
}
