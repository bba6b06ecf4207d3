//! What may die: an engine, a daemon, a whole node; and how it comes back.
use super::Item;
use super::{World, policy};
use crate::decide::*;
use crate::model::*;

impl World {
    pub(in crate::decide::tests) fn kill_engine(&mut self, index: usize) {
        if !self.nodes[index].engine.up {
            return;
        }
        let was = self.linked();
        self.nodes[index].engine.die();
        let life = self.nodes[index].life;
        let reason = "killed".to_owned();
        self.at(1, Item::Event(index, life, Event::EngineGone { reason }));
        self.noticed(was, false);
    }

    /// The engine answers nobody any more: its peer notices, its own daemon hears nothing.
    pub(in crate::decide::tests) fn hang_engine(&mut self, index: usize) {
        let was = self.linked();
        self.nodes[index].engine.hangs = true;
        self.noticed(was, false);
    }

    /// `kill -9` of the daemon; init starts another at once.
    pub(in crate::decide::tests) fn kill_daemon(&mut self, index: usize) {
        if !self.nodes[index].powered {
            return;
        }
        let node = &mut self.nodes[index];
        node.life += 1;
        node.tickets.clear();
        // The leader dials again and again, so its question comes again too.
        node.link_seen = false;
        let policy =
            Policy { witness: self.witness.is_some(), ..policy(index, DefaultPrim::Alone) };
        node.machine = Some(Machine::new(policy, node.memory.clone(), Moment(self.now)));
        node.report = self.now * 1_000;
        let life = node.life;
        let found = if node.engine.up {
            Event::Engine(node.engine.hello())
        } else {
            Event::EngineGone { reason: "not found".to_owned() }
        };
        self.at(1, Item::Event(index, life, found));
        if self.hearts {
            for index in 0..2 {
                let life = self.nodes[index].life;
                self.at(2, Item::Event(index, life, Event::Disconnected));
                self.at(3, Item::Event(index, life, Event::Connected));
            }
            self.republish(1 - index);
            self.republish(index);
        }
    }

    pub(in crate::decide::tests) fn power_off(&mut self, index: usize) {
        if !self.nodes[index].powered {
            return;
        }
        let was = self.linked();
        let boot = BootId(1_000 + u128::from(self.order));
        let node = &mut self.nodes[index];
        node.powered = false;
        node.machine = None;
        node.life += 1;
        let before = node.engine.data.writes.clone();
        node.engine.power_off(boot);
        node.cut_short |= before.len() > node.engine.data.writes.len();
        // Both lost memory, one after the other: what was on no disk is gone.
        let both = self.nodes.iter().all(|node| node.cut_short);
        let gone = before
            .iter()
            .any(|write| !self.nodes.iter().any(|node| node.engine.data.writes.contains(write)));
        self.blackout |= both && gone;
        let node = &mut self.nodes[index];
        node.address = false;
        node.application = false;
        node.tickets.clear();
        let other = self.nodes[1 - index].life;
        self.at(3, Item::Event(1 - index, other, Event::Disconnected));
        self.noticed(was, false);
    }

    pub(in crate::decide::tests) fn boot(&mut self, index: usize, start: bool) {
        if self.nodes[index].powered {
            return;
        }
        let node = &mut self.nodes[index];
        node.powered = true;
        node.memory = node.memory.clone().after_reboot();
        node.machine = Some(Machine::new(
            Policy { witness: self.witness.is_some(), ..policy(index, DefaultPrim::Alone) },
            node.memory.clone(),
            Moment(self.now),
        ));
        node.report = self.now * 1_000;
        if self.hearts {
            for index in 0..2 {
                let life = self.nodes[index].life;
                self.at(3, Item::Event(index, life, Event::Connected));
            }
            self.republish(1 - index);
        }
        if start {
            self.start(index);
        }
    }
}
