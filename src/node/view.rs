//! How a module stands, for people and programs: derived from what holds now.
use super::clock;
use super::copy::{self, Copy, Remembered};
use super::module::Control;
use super::site::Site;
use crate::api::{
    MaintenanceView, ModuleView, PeerView, ReplicationView, ResourceView, SettingsView,
};
use crate::config::store::ActiveModule;
use crate::config::userconfig::{Boot, Dir};
use crate::decide::Engine;
use crate::model::{CopyState, EngineMode, ModuleReport, NodeName, State};

/// What two nodes do that do not see each other; a permanent mark in the status.
const BOTH_ALONE: &str = "both-alone";
const WITNESS: &str = "witness";

/// Before the module's task has looked at anything.
pub fn first(site: &Site) -> ModuleView {
    unfit(&site.node, &site.active)
}

fn policy(active: &ActiveModule) -> &'static str {
    if active.config.witness().is_some() { WITNESS } else { BOTH_ALONE }
}

/// A module that has no task.
pub fn unfit(node: &NodeName, active: &ActiveModule) -> ModuleView {
    ModuleView {
        node: node.clone(),
        module: active.name.clone(),
        id: active.id,
        state: State::STOP,
        since: None,
        reason: String::new(),
        needs_decision: false,
        maintenance: None,
        epoch: 0,
        policy: Some(policy(active).to_owned()),
        peers: Vec::new(),
        replication: None,
        addresses: Vec::new(),
        config_digest: active.digest.clone(),
        config_date: date(active.date_ms),
        settings: SettingsView::default(),
        resources: Vec::new(),
        loops: 0,
        loops_max: active.config.maxloop,
    }
}

pub(super) fn of(control: &Control) -> ModuleView {
    let machine = &control.machine;
    let facts = machine.facts();
    let state = machine.state();
    let config = &control.site.active.config;
    let mode = facts.engine.mode();
    let in_sync = matches!(mode, Some(EngineMode::LeadingMirror | EngineMode::FollowingReady));
    let side = facts.engine.side();
    let now = clock::now();
    let alive = control.hearts.alive();
    let known = peer(control);
    let copy = copy(control, known);
    let peer = PeerView {
        node: control.site.peer.clone(),
        state: known.map(|report| report.state),
        alive,
        config_digest: known.map(|report| report.config_digest.clone()),
        heartbeats: control.hearts.views(now),
    };
    let replication = config.rfs.as_ref().map(|rfs| ReplicationView {
        level: rfs.level,
        dirs: rfs.dirs.iter().map(Dir::replicated).collect(),
        engine_pid: control.engine_pid.filter(|_| matches!(facts.engine, Engine::Up(_))),
        status: control.status.clone(),
        up_to_date: copy == Copy::UpToDate,
        in_doubt: copy == Copy::InDoubt,
        in_sync,
    });
    let settings = settings(control);
    ModuleView {
        state,
        since: Some(format!("{:.6}", control.since)),
        reason: control.shown_reason(),
        needs_decision: machine.needs_decision(),
        maintenance: machine.memory().maintenance.window().map(|window| MaintenanceView {
            owner: window.owner().to_owned(),
            reason: window.reason().to_owned(),
            until: clock::date_in(window.remaining_ms(now)),
        }),
        epoch: side.map_or(0, |side| side.lineage.generation()),
        peers: vec![peer],
        replication,
        addresses: control
            .hands
            .addresses
            .try_lock()
            .map(|addresses| addresses.held().iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        settings,
        resources: control.resources.all(),
        loops: u32::try_from(machine.memory().loops.len()).unwrap_or(u32::MAX),
        ..first(&control.site)
    }
}

/// What the peer said last, while it is heard.
pub(super) fn peer(control: &Control) -> Option<&ModuleReport> {
    let peer = &control.machine.facts().peer;
    peer.report.as_ref().filter(|_| control.hearts.alive() || peer.connected)
}

pub(super) fn settings(control: &Control) -> SettingsView {
    let (machine, config) = (&control.machine, &control.site.active.config);
    let boot = match config.boot {
        Boot::On => true,
        Boot::Off => false,
        Boot::Auto => machine.memory().running,
        Boot::Ignore => control.settings.boot.unwrap_or(false),
    };
    SettingsView {
        boot,
        failover: machine.memory().failover.unwrap_or(config.failover),
        errd: control.settings.errd.unwrap_or(true),
        checker: control.settings.checker.unwrap_or(true),
    }
}

/// `peer`: its report, while it is heard.
pub(super) fn copy(control: &Control, peer: Option<&ModuleReport>) -> Copy {
    let facts = control.machine.facts();
    let side = facts.engine.side();
    let remembered = side.map(Remembered::of).or(control.copy_at_rest);
    let Some(own) = remembered else { return Copy::InDoubt };
    let takes_part =
        facts.engine.leads() || facts.engine.mode() == Some(EngineMode::FollowingReady);
    if takes_part && own.copy == CopyState::Current {
        return Copy::UpToDate;
    }
    let theirs = peer.and_then(|report| report.engine.as_ref()).map(|engine| &engine.side);
    copy::at_rest(own, side.zip(theirs), peer.is_some() && facts.peer.leads())
}

/// One resource by its name, or all.
pub fn resources(view: &ModuleView, name: Option<&str>) -> Vec<ResourceView> {
    let wanted = |resource: &&ResourceView| name.is_none_or(|name| resource.name == name);
    view.resources.iter().filter(wanted).cloned().collect()
}

fn date(ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms).ok().map(|time| time.to_string())
}
