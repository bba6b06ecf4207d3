//! What is watched of a module while it runs here.
//!
//! ```text
//! state of the module ──▶ which checkers and process watches run
//! readings, `set -r`, states ──▶ resources ──▶ rules (`ruling`) ──▶ a wish, or the gate of a start
//! a process that is gone (errd) ──▶ its action, at once
//! ```
//! A resource exists while somebody looks after it; before
//! a start those of the class `pre` are `init`, so that no start runs ahead of its checkers.
use super::counting::Counting;
use super::implied::{implied, resource};
use super::module::Control;
use super::site::Site;
use crate::actions::script::{Script, ScriptCall, ScriptRunner};
use crate::checkers::connections::Count;
use crate::checkers::{self, Around, Neighbour, Reading, Running, errd::ProcReading};
use crate::config::userconfig::{Checker, CheckerKind, Errd, ErrorAction, Proc, When};
use crate::decide::{Caller, Wish};
use crate::logbook::{Level, texts};
use crate::model::Role;
use crate::rules::{RuleSet, Rules};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// Readings on their way.
const QUEUE: usize = 64;
/// Who acts when a watched process is gone.
const ERRD: &str = "errd";
/// Who acts when a replicated directory does not answer.
const MOUNTED_BY: &str = "rfscheck";

/// What the module's task is told by its watches.
pub enum Seen {
    /// With the number of the watch that says it: what an ended one saw counts no more.
    Reading(u64, Reading),
    Process(u64, ProcReading),
    Count(Count),
    /// A program of `errd` has ended, with the number of the watch that called it; one sentence if
    /// it did not cure anything.
    Cured(u64, Result<(), String>),
}

pub struct Watching {
    checkers: Vec<Checker>,
    errd: Option<Errd>,
    pub(super) set: RuleSet,
    timing: (Duration, Duration),
    pub(super) rules: Rules,
    neighbour: Neighbour,
    /// By resource, each with its number.
    running: BTreeMap<String, (u64, Running)>,
    /// Classes of watched processes.
    pub(super) classes: Vec<(When, u64, Running)>,
    /// Number of the newest watch.
    newest: u64,
    /// Nothing has been started or stopped since this daemon began: what it adopts has long
    /// started.
    adopts: bool,
    /// Why a resource is down, as its checker says.
    whys: BTreeMap<String, String>,
    pub(super) counting: Counting,
    /// The last minute (since 1970) in which the schedule of `syncat` was looked at.
    pub(super) syncat_looked: Option<i64>,
    pub(super) seen: mpsc::Sender<Seen>,
}

impl Watching {
    pub fn new(site: &Site, neighbour: Neighbour) -> (Watching, mpsc::Receiver<Seen>) {
        let config = &site.active.config;
        let implied = implied(config);
        let (set, timing) = (config.rules(&implied), config.rules_timing());
        let (seen, seen_in) = mpsc::channel(QUEUE);
        let checkers = config.checkers.iter().filter(|checker| runs(checker)).cloned();
        let watching = Watching {
            checkers: checkers.chain(implied).collect(),
            errd: config.errd.clone(),
            rules: Rules::new(set.rules.clone(), timing.0, timing.1).at_once(&set.at_once),
            set,
            timing,
            neighbour,
            running: BTreeMap::new(),
            classes: Vec::new(),
            newest: 0,
            adopts: true,
            whys: BTreeMap::new(),
            counting: Counting::default(),
            syncat_looked: None,
            seen,
        };
        (watching, seen_in)
    }

    /// Rules of a new start know nothing of the last one.
    pub fn begin(&mut self) {
        let rules = Rules::new(self.set.rules.clone(), self.timing.0, self.timing.1);
        self.rules = rules.at_once(&self.set.at_once);
    }

    /// What it looks after, by name.
    pub(super) fn resources(&self) -> Vec<String> {
        let procs = self.errd.iter().flat_map(|errd| &errd.procs);
        let procs = procs.map(|proc| format!("proc.{}", proc.name));
        self.checkers.iter().map(resource).chain(procs).collect()
    }

    /// Processes of this class are being watched.
    pub fn watches(&self, class: &When) -> bool {
        self.classes.iter().any(|(known, ..)| known == class)
    }

    /// This watch of processes has not ended.
    fn has_class(&self, number: u64) -> bool {
        self.classes.iter().any(|(_, known, _)| *known == number)
    }

    /// What a person is told who waits because of this rule.
    pub(super) fn waits(&self, label: &str) -> String {
        format!("waits by failover rule {label}: {}", self.why(label))
    }

    /// What the resources of a rule say, else the rule itself.
    fn why(&self, label: &str) -> String {
        let rule = self.set.rules.iter().find(|rule| rule.label == label);
        let Some(rule) = rule else { return String::new() };
        let seen = self.whys.iter().filter(|(resource, _)| rule.looks_at(resource));
        let whys: Vec<&str> = seen.map(|(_, why)| why.as_str()).collect();
        if whys.is_empty() { rule.to_string() } else { whys.join("; ") }
    }
}

/// Which classes are active now.
#[derive(Clone, Copy)]
pub(super) struct Active {
    pub(super) role: Role,
    pub(super) serves: bool,
    pub(super) follows: bool,
}

impl Active {
    fn holds(self, when: &When) -> bool {
        match when {
            When::Pre => self.role != Role::Stop,
            When::Prim => self.serves,
            When::Second => self.follows,
            When::Both => self.serves || self.follows,
            When::Sec => self.follows || self.serves && self.role == Role::Alone,
            // Switched on by hand only, see `classes`.
            When::Named(_) => false,
        }
    }
}

impl Control {
    pub(super) fn active(&self) -> Active {
        let machine = &self.machine;
        let role = machine.state().role;
        Active { role, serves: machine.serves(), follows: machine.follows() }
    }

    /// After whatever happened: the right watches run, and the rules have been asked.
    pub(super) async fn watch_turn(&mut self) {
        self.keep_states();
        self.keep_watches();
        self.keep_witness();
        self.keep_counting();
        self.keep_synced().await;
        self.keep_syncat().await;
        self.keep_gate().await;
        self.ask_rules().await;
        // What a rule has just begun is not seen as a death.
        self.keep_watches();
    }

    fn keep_watches(&mut self) {
        let active = self.active();
        let on = self.settings.checker.unwrap_or(true);
        let around = Around {
            runner: self.hands.runner.clone(),
            role: active.role,
            neighbour: self.watching.neighbour.clone(),
            applications: self.hands.applications.clone(),
        };
        for checker in &self.watching.checkers {
            let name = resource(checker);
            let runs = self.watching.running.contains_key(&name);
            match on && active.holds(&checker.when) {
                true if !runs => {
                    self.watching.newest += 1;
                    let (number, seen) = (self.watching.newest, self.watching.seen.clone());
                    let to = forward(seen, move |reading| Seen::Reading(number, reading));
                    match checkers::start(checker, &around, to) {
                        Ok(running) => {
                            self.resources.set(&name, "init", "checker");
                            self.watching.running.insert(name, (number, running));
                        }
                        Err(refused) => {
                            // Said once a start: a resource without a checker is never `init`.
                            self.resources.unset(&name);
                            let text = texts::other("check", Level::Warning, refused.to_string());
                            self.hands.journal.write("checker", text);
                            self.watching.running.insert(name, (number, Running::default()));
                        }
                    }
                }
                false => {
                    self.watching.running.remove(&name);
                    self.watching.whys.remove(&name);
                    match on && checker.when == When::Pre {
                        true => {
                            self.resources.set(&name, "init", "checker");
                        }
                        false if runs => self.resources.unset(&name),
                        false => {}
                    }
                }
                true => {}
            }
        }
        self.keep_processes(active);
    }

    fn keep_processes(&mut self, active: Active) {
        let Some(errd) = self.watching.errd.clone() else { return };
        let on = self.settings.errd.unwrap_or(true);
        let at_rest = active.role != Role::Stop && !self.machine.busy();
        if !at_rest || active.role == Role::Wait {
            self.watching.adopts = false;
        }
        let works = active.serves || active.follows || at_rest;
        for class in errd.procs.iter().map(|proc| &proc.class) {
            let runs = self.watching.watches(class);
            match on && self.switched.holds(class, active.holds(class), works) {
                true if !runs => {
                    self.watching.newest += 1;
                    let (number, seen) = (self.watching.newest, self.watching.seen.clone());
                    let to = forward(seen, move |reading| Seen::Process(number, reading));
                    let begun = !self.watching.adopts;
                    let watch = checkers::errd::watch(&errd, |when| when == class, begun, to);
                    let running = watch.unwrap_or_else(|refused| {
                        let text = texts::other("check", Level::Warning, refused.to_string());
                        self.hands.journal.write(ERRD, text);
                        Running::default()
                    });
                    self.watching.classes.push((class.clone(), number, running));
                }
                false if runs => {
                    self.watching.classes.retain(|(known, ..)| known != class);
                    for proc in errd.procs.iter().filter(|proc| proc.class == *class) {
                        self.resources.unset(&format!("proc.{}", proc.name));
                    }
                }
                true | false => {}
            }
        }
    }

    pub(super) async fn saw(&mut self, seen: Seen) {
        match seen {
            Seen::Reading(number, reading) => self.read(number, &reading).await,
            Seen::Process(number, process) => self.process(number, process).await,
            Seen::Count(count) => self.counted(&count),
            Seen::Cured(number, cured) => self.cured(number, cured).await,
        }
        self.show();
    }

    async fn read(&mut self, number: u64, reading: &Reading) {
        let watch = self.watching.running.get(&reading.resource);
        if watch.is_none_or(|(known, _)| *known != number) {
            return;
        }
        self.note_why(reading);
        let value = if reading.up { "up" } else { "down" };
        self.set_resource(&reading.resource, value, reading.by);
        // The contract has no rule for it: the action is its own, and at once.
        let mounted = reading.by == MOUNTED_BY && !reading.up;
        if mounted && !self.wish(Wish::StopStart, Caller::Identity(reading.by.to_owned())).await {
            // Refused: looked at anew, and asked for again if it still holds.
            self.watching.running.remove(&reading.resource);
        }
    }

    fn note_why(&mut self, reading: &Reading) {
        if reading.up {
            self.watching.whys.remove(&reading.resource);
            return;
        }
        self.watching.whys.insert(reading.resource.clone(), reading.why.clone());
        let text = texts::other("check", Level::Event, reading.why.clone());
        self.hands.journal.write(reading.by, text);
    }

    pub(super) fn set_resource(&mut self, name: &str, value: &str, by: &str) {
        if self.resources.set(name, value, by) {
            self.hands.journal.write(by, texts::resource_set(name, value, by));
        }
    }

    async fn process(&mut self, number: u64, process: ProcReading) {
        let ProcReading { reading, proc } = process;
        if !self.watching.has_class(number) {
            return;
        }
        let value = if reading.up { "up" } else { "down" };
        if !reading.up {
            self.hands.journal.write(ERRD, texts::process(proc.service, &reading.why));
        }
        self.set_resource(&reading.resource, value, ERRD);
        if reading.up {
            return;
        }
        if !self.machine.acts_by_itself() {
            return self.hands.journal.write(ERRD, texts::only_reported(&reading.resource));
        }
        if let ErrorAction::Program(exec) = &proc.action {
            return self.cure(number, exec.clone(), &reading.resource);
        }
        if let Some(wish) = wish_for(&proc, reading.why) {
            self.act_for_process(wish).await;
        }
    }

    /// What was refused is looked at anew, and so asked for again if it still holds.
    async fn act_for_process(&mut self, wish: Wish) {
        if !self.wish(wish, Caller::Identity(ERRD.to_owned())).await {
            self.watching.classes.clear();
        }
    }

    /// The module's own program for it: it must not end with an error, or the module is restarted.
    fn cure(&self, number: u64, exec: String, resource: &str) {
        let (runner, seen) = (self.hands.runner.clone(), self.watching.seen.clone());
        let (role, resource) = (self.machine.state().role, resource.to_owned());
        tokio::spawn(async move {
            let cured = run(&runner, exec, role, &resource).await;
            let _ = seen.send(Seen::Cured(number, cured)).await;
        });
    }

    /// A program has no time limit and may outlive its watch: what it says after a stop, or after
    /// the class was watched anew, is about an application that is not there any more.
    async fn cured(&mut self, number: u64, cured: Result<(), String>) {
        if !self.watching.has_class(number) {
            return;
        }
        match cured {
            Ok(()) => self.watching.classes.retain(|(_, known, _)| *known != number),
            Err(how) => {
                self.hands.journal.write(ERRD, texts::other("check", Level::Critical, how));
                self.act_for_process(Wish::StopStart).await;
            }
        }
    }
}

/// What is asked for when a watched process is gone; a program of the module is asked for nothing.
fn wish_for(proc: &Proc, why: String) -> Option<Wish> {
    match (&proc.action, &proc.restart_services) {
        (ErrorAction::Nothing | ErrorAction::Program(_), _) => None,
        (ErrorAction::Restart, Some(services)) if proc.service => {
            Some(Wish::RestartServices { services: services.clone() })
        }
        (ErrorAction::Restart, _) => Some(Wish::Restart),
        (ErrorAction::StopStart, _) => Some(Wish::StopStart),
        (ErrorAction::Stop, _) => Some(Wish::Stop),
        (ErrorAction::Swap, _) => Some(Wish::Swap),
        (ErrorAction::Wait, _) => Some(Wish::Wait { reason: why }),
    }
}

async fn run(
    runner: &ScriptRunner,
    exec: String,
    role: Role,
    resource: &str,
) -> Result<(), String> {
    let module = runner.setup().module.clone();
    let reason = format!("{resource} is down");
    let args = [module.as_str(), resource];
    let call = ScriptCall::new(Script::Other(exec.clone()), &args, role, &reason);
    let result = runner.run(call).await;
    match result.is_success() && runner.exists(&Script::Other(exec.clone())) {
        true => Ok(()),
        false => Err(format!("{exec}, the action for {resource}, {}", result.describe())),
    }
}

/// `false`: a witness is asked at a decision; it has no resource that a start could wait for.
fn runs(checker: &Checker) -> bool {
    !matches!(checker.kind, CheckerKind::SplitBrain { .. })
}

/// A channel into the module's own.
pub(super) fn forward<T: Send + 'static>(
    seen: mpsc::Sender<Seen>,
    word: impl Fn(T) -> Seen + Send + 'static,
) -> mpsc::Sender<T> {
    let (to, mut from) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(reading) = from.recv().await {
            let _ = seen.send(word(reading)).await;
        }
    });
    to
}

#[cfg(test)]
mod tests;
