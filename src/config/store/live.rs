//! Applying a configuration while the module runs.
//!
//! What watches (checkers, `errd`, rules, limits of errors) is taken up at once and restarts
//! nothing. What the running application, its addresses or its directories were started with needs
//! a stop, and is named. What this file does not know counts as needing one.
use super::*;
use crate::config::archive::Tree;
use crate::config::userconfig::{Checker, CheckerKind, ErrorAction};
use std::collections::BTreeSet;

/// The file that says what a module is.
const USERCONFIG: &str = "conf/userconfig.xml";

/// What an edited copy would change of the applied one. It has no mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Elements and files that a running module cannot be given; empty: all can be applied.
    pub needs_stop: Vec<String>,
    /// The applied copy is the same already.
    pub nothing: bool,
}

impl ModuleStore {
    /// What `configure` would change; changes nothing itself.
    ///
    /// # Errors
    /// Mistakes in the edited copy, or it was never configured.
    pub fn change(&self, name: &ModuleName) -> Result<Change, StoreError> {
        self.record(name)?;
        self.change_to(name, &self.edited_tree(name)?)
    }

    /// What a module from another node would change here, with its name.
    ///
    /// # Errors
    /// As [`Self::change`], with the mistakes that this node sees in it.
    pub fn change_by(&self, package: &[u8]) -> Result<(ModuleName, Change), StoreError> {
        let (name, id, tree) = carry::parts(package)?;
        let mut change = self.change_to(&name, &tree)?;
        if self.record(&name)?.id != id {
            change.needs_stop.push(format!("module id {id}"));
        }
        Ok((name, change))
    }

    fn change_to(&self, name: &ModuleName, tree: &Tree) -> Result<Change, StoreError> {
        let reading = self.read_edited(name, tree)?;
        let active = self.active(name)?;
        let mut needs_stop = elements(&active.config, &reading.config);
        if let Err(blank) = reading.config.startable() {
            needs_stop.push(blank);
        }
        let before = self.applied_tree(name, &active.digest)?;
        needs_stop.extend(files(&before, tree, &programs(&active.config, &reading.config)));
        Ok(Change { needs_stop, nothing: active.digest == tree.digest() })
    }

    /// Applies the edited copy to a module that runs. The directories stay the same ones: the
    /// application may stand in them. `safeconf.xml`, which acts, changes in one step.
    ///
    /// # Errors
    /// Mistakes; something that needs a stop; the disk.
    pub fn configure_live(&self, name: &ModuleName) -> Result<Applied, StoreError> {
        let _lock = self.lock()?;
        let tree = self.edited_tree(name)?;
        let change = self.change_to(name, &tree)?;
        if !change.needs_stop.is_empty() {
            return Err(StoreError::Refused(format!(
                "these changes of module {name} need a stop: {}; nothing was changed",
                change.needs_stop.join(", ")
            )));
        }
        let reading = self.read_edited(name, &tree)?;
        let before = self.applied_tree(name, &self.active(name)?.digest)?;
        let (mark, active) = self.to_apply(name, &tree, &reading)?;
        let dir = self.paths.module_active(name);
        let differs = |entry: &&Entry| before.get(&entry.name) != Some(entry);
        let last = |entry: &Entry| [EXPANDED, APPLIED_RECORD].contains(&entry.name.as_str());
        let mut changed: Vec<&Entry> =
            active.entries().iter().filter(|entry| last(entry) || differs(entry)).collect();
        changed.sort_by_key(|entry| (last(entry), entry.name == APPLIED_RECORD));
        let new: Vec<_> = changed
            .iter()
            .map(|entry| (dir.join(&entry.name), entry.mode, entry.bytes.as_slice()))
            .collect();
        let drafts = durable::Drafts::write(&new)?;
        self.keep_version(name, &tree, mark.date_ms)?;
        drafts.put()?;
        for gone in before.entries().iter().filter(|entry| active.get(&entry.name).is_none()) {
            let path = dir.join(&gone.name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.map_err(failed("remove", &path))?,
            }
        }
        let AppliedMark { digest, date_ms } = mark;
        Ok(Applied { digest, date_ms, notes: reading.config.notes })
    }

    /// The files that the applied copy was made of. The folder itself is the second choice: scripts
    /// run in it and may leave something there.
    fn applied_tree(&self, name: &ModuleName, digest: &str) -> Result<Tree, StoreError> {
        let folder = self.paths.module_versions(name);
        let versions = self.versions(name)?;
        let kept = versions.iter().find(|version| version.digest.as_deref() == Some(digest));
        match kept {
            Some(version) => Ok(Tree::read_archive(&folder.join(&version.name))?),
            None => Ok(Tree::read_folder(&self.paths.module_active(name))?),
        }
    }
}

/// Elements that differ and that a running module was started with.
fn elements(old: &UserConfig, new: &UserConfig) -> Vec<String> {
    let (old, new) = (started_with(old), started_with(new));
    let mut found = Vec::new();
    let mut differs = |element: &str, differs: bool| {
        if differs {
            found.push(element.to_owned());
        }
    };
    differs("<service mode>", old.mode != new.mode);
    differs("<service defaultprim>", old.defaultprim != new.defaultprim);
    differs("<service start>", old.start_checked != new.start_checked);
    differs("<heart>", old.heart != new.heart || old.heartbeats != new.heartbeats);
    differs("<vip>", old.vips != new.vips || old.tcp_reset != new.tcp_reset);
    differs("<rfs>", old.rfs != new.rfs);
    differs("<splitbrain>", old.checkers != new.checkers);
    differs("<user>", old.user != new.user || old.vars != new.vars);
    differs("<vhost>", old.virtual_hosts != new.virtual_hosts);
    if found.is_empty() && old != new {
        found.push("<service>".to_owned());
    }
    found
}

/// Without what a running module can be given, and without what only tells where it was written.
fn started_with(config: &UserConfig) -> UserConfig {
    let mut config = config.clone();
    config.errd = None;
    config.checkers.retain(|checker| matches!(checker.kind, CheckerKind::SplitBrain { .. }));
    config.failover_rules.clear();
    (config.rules_period, config.rules_handle_time) = Default::default();
    (config.maxloop, config.loop_interval) = Default::default();
    (config.automatic_reboot, config.failover) = (false, true);
    (config.boot, config.boot_delay) = (super::super::userconfig::Boot::Ignore, Default::default());
    for vip in &mut config.vips {
        (vip.check, vip.check_interface, vip.connections) = (false, false, false);
    }
    for dir in config.rfs.iter_mut().flat_map(|rfs| &mut rfs.dirs) {
        dir.line = 0;
    }
    config.macros.clear();
    config.notes.clear();
    config.blanks.clear();
    config
}

/// Files of `bin` that only checkers and `errd` call, by either configuration.
fn programs(old: &UserConfig, new: &UserConfig) -> BTreeSet<String> {
    let of = |config: &UserConfig| {
        let action = |action: &ErrorAction| match action {
            ErrorAction::Program(exec) => Some(exec.clone()),
            _ => None,
        };
        let checks = |checker: &Checker| match &checker.kind {
            CheckerKind::Custom { exec, .. } => Some(exec.clone()),
            _ => None,
        };
        let procs = config.errd.iter().flat_map(|errd| &errd.procs);
        let mut named: Vec<String> = procs.filter_map(|proc| action(&proc.action)).collect();
        named.extend(config.checkers.iter().filter_map(|checker| action(&checker.action)));
        named.extend(config.checkers.iter().filter_map(checks));
        named
    };
    of(old).into_iter().chain(of(new)).map(|exec| format!("bin/{exec}")).collect()
}

/// Files that differ and that a script of the running module may use.
fn files(old: &Tree, new: &Tree, programs: &BTreeSet<String>) -> Vec<String> {
    let entries = old.entries().iter().chain(new.entries());
    let names: BTreeSet<&str> = entries.map(|entry| entry.name.as_str()).collect();
    let needs = |name: &&str| {
        let (before, after) = (old.get(name), new.get(name));
        let free = *name == USERCONFIG || programs.contains(*name) && !is_script(name);
        // What nobody could have used yet.
        let fresh = before.is_none() && !is_script(name);
        before != after && !free && !fresh
    };
    names.into_iter().filter(needs).map(str::to_owned).collect()
}

/// Called by name when the module changes its state.
fn is_script(name: &str) -> bool {
    let Some(name) = name.strip_prefix("bin/") else { return false };
    let stem = name.split('.').next().unwrap_or(name);
    ["prestart", "poststop", "transition"].contains(&stem)
        || stem.starts_with("start_")
        || stem.starts_with("stop_")
}
