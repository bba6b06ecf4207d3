//! Redundancy is lost while a module runs and no other node could take over.
//!
//! | this node | the other node | lost |
//! |---|---|---|
//! | STOP, WAIT, SECOND | any | no: whoever runs the application says it |
//! | ALONE, PRIM | not SECOND Ready, or its heartbeats are missing | yes |
//! | ALONE, PRIM | SECOND Ready, but its copy is not in sync | yes |
//! | ALONE, PRIM | SECOND Ready (and in sync, where something is replicated) | no |
//!
//! `failover off` is not counted: somebody has asked for it, and can still move the application.
use crate::api::ModuleView;
use crate::model::{ModuleName, Readiness, Role, State};
use jiff::Timestamp;
use std::collections::BTreeMap;

pub fn is_lost(view: &ModuleView) -> bool {
    let standby = State::new(Role::Second, Readiness::Ready);
    let stands_by = view.peers.iter().any(|peer| peer.alive && peer.state == Some(standby));
    let in_sync = view.replication.as_ref().is_none_or(|replication| replication.in_sync);
    view.state.role.is_primary() && !(stands_by && in_sync)
}

/// Remembers since when; armed again as soon as another node stands by.
#[derive(Clone, Debug, Default)]
pub struct Redundancy(BTreeMap<ModuleName, Timestamp>);

impl Redundancy {
    pub fn look<'a>(&mut self, views: impl Iterator<Item = &'a ModuleView>, now: Timestamp) {
        let before = std::mem::take(&mut self.0);
        for view in views.filter(|view| is_lost(view)) {
            let since = before.get(&view.module).copied().unwrap_or(now);
            self.0.insert(view.module.clone(), since);
        }
    }

    pub fn lost_since(&self, module: &ModuleName) -> Option<Timestamp> {
        self.0.get(module).copied()
    }
}
