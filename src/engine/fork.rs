//! Both copies changed since their last common point: what a person who decides is told.
use super::locate::{self, Found};
use super::run::{Done, Engine};
use crate::history::ObjectKey;
use crate::model::{EngineEvent, EngineMode, Side, Verdict};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

/// Longest time to look for the names of what a decision is about.
const NAMING: Duration = Duration::from_secs(2);
/// Names that a person is told.
const NAMES_TOLD: usize = 20;

impl Engine {
    pub fn needs_decision(&mut self, verdict: Verdict, leader: &Side) {
        let own = self.side();
        let module = &self.config.module;
        let text = format!(
            "{} holds position {} (epoch {}, {}), {} holds position {} \
             (epoch {}, {}), rule {}; nothing was overwritten. Decide: \
             `lockstep second --discard -m {module}` on {} gives up what only this node has",
            own.node,
            own.position.seq,
            own.lineage.generation(),
            own.changed_alone(),
            leader.node,
            leader.position.seq,
            leader.lineage.generation(),
            leader.changed_alone(),
            verdict.rule,
            own.node,
        );
        self.link.close(self.now, "a person has to decide");
        self.mode = EngineMode::FollowingDetached;
        self.follower.asks = true;
        let names = self.names_of_changes();
        self.run_beside(move || Done::Forked { verdict: Box::new(verdict), text: text + &names() });
    }

    /// [`crate::model::EngineCommand::NameChanges`].
    pub fn name_changes(&mut self) {
        let names = self.names_of_changes();
        self.run_beside(move || Done::Named(names()));
    }

    /// Looks on the pool for the names of what only this copy changed. Names are a help: without
    /// them the numbers remain.
    fn names_of_changes(&self) -> impl FnOnce() -> String + Send + use<> {
        let wanted: Vec<ObjectKey> = match &self.store.loaded {
            Some(kept) => kept.keys().collect(),
            None => self.leader.dirty.keys().collect(),
        };
        let roots = self.objects.share_trees();
        let dirs: Vec<PathBuf> = self.config.dirs.iter().map(|dir| dir.path.clone()).collect();
        let until = self.now + NAMING;
        move || {
            let found = roots.and_then(|roots| locate::walk(roots, &wanted, Some(until)));
            named_for_people(&dirs, &found.unwrap_or_default(), wanted.len())
        }
    }

    pub fn tell_decision(&mut self, verdict: Verdict, text: String) {
        if std::mem::take(&mut self.follower.asks) {
            self.tell(EngineEvent::NeedsDecision { verdict, text });
        }
    }
}

/// Names of changed objects for a person, in the order of the alphabet; what was removed shows as
/// the directory that it was removed from.
fn named_for_people(dirs: &[PathBuf], found: &[Found], all: usize) -> String {
    let name = |found: &Found| {
        let dir = dirs.get(usize::from(found.key.dir)).cloned().unwrap_or_default();
        let parts = found.path.iter().map(|part| OsStr::from_bytes(part));
        parts.fold(dir, |path, part| path.join(part)).display().to_string()
    };
    let names: BTreeSet<String> = found.iter().map(name).collect();
    if names.is_empty() {
        return String::new();
    }
    let told: Vec<&str> = names.iter().map(String::as_str).take(NAMES_TOLD).collect();
    let more = match all.saturating_sub(told.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(": {}{more}", told.join(", "))
}
