//! Connections of virtual addresses, counted while the module serves: `connections.<addr>`.
use super::module::Control;
use super::watching::{Seen, forward};
use crate::checkers::Running;
use crate::checkers::connections::{self, Count};
use std::collections::BTreeMap;

/// Who sets the resources.
const BY: &str = "vip";

#[derive(Debug, Default)]
pub struct Counting {
    running: BTreeMap<String, Running>,
}

impl Control {
    /// The right addresses are counted now.
    pub(super) fn keep_counting(&mut self) {
        if !self.machine.serves() {
            for name in std::mem::take(&mut self.watching.counting.running).into_keys() {
                self.resources.unset(&name);
            }
            return;
        }
        for vip in self.site.active.config.vips.iter().filter(|vip| vip.connections) {
            let name = connections::resource(vip.addr);
            if !self.watching.counting.running.contains_key(&name) {
                let to = forward(self.watching.seen.clone(), Seen::Count);
                let running = connections::count(vip.addr, to);
                self.watching.counting.running.insert(name, running);
            }
        }
    }

    /// What was counted after the end counts no more. Without a line in the log: clients come and
    /// go.
    pub(super) fn counted(&mut self, count: &Count) {
        if self.watching.counting.running.contains_key(&count.resource) {
            self.resources.set(&count.resource, &count.number.to_string(), BY);
        }
    }
}
