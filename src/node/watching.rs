//! What is watched of a module while it runs here, and what its failover rules make of it.
//!
//! ```text
//! state of the module ──▶ which checkers and process watches run
//! readings, `set -r`, states ──▶ resources ──▶ rules ──▶ a wish, as a script would have it
//!                                                └─────▶ in STOP and WAIT: the gate of a start
//! a process that is gone (errd) ──▶ its action, at once
//! ```
//! Decides nothing: rules and automaton do. A resource exists while somebody looks after it; before
//! a start those of the class `pre` are `init`, so that no start runs ahead of its checkers.
use super::clock;
use super::counting::Counting;
use super::module::Control;
use super::site::Site;
use crate::actions::script::{Script, ScriptCall, ScriptRunner};
use crate::checkers::connections::Count;
use crate::checkers::{self, Around, Neighbour, Reading, Running, errd::ProcReading};
use crate::config::userconfig::{
    Checker, CheckerKind, Errd, ErrorAction, UserConfig, VirtualAddress, When,
};
use crate::decide::{Caller, Event, Gate, Wish};
use crate::logbook::{Level, texts};
use crate::model::Role;
use crate::rules::{Action, Blocked, RuleSet, Rules, Table, Verdict};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::mpsc;

/// Readings on their way.
const QUEUE: usize = 64;
/// How often a virtual address is looked for when the kernel announces nothing.
const ADDRESS_POLL: Duration = Duration::from_secs(10);
/// Who acts when a watched process is gone.
const ERRD: &str = "errd";

/// What the module's task is told by its watches.
pub enum Seen {
    /// With the number of the watch that says it: what an ended one saw counts no more.
    Reading(u64, Reading),
    Process(u64, ProcReading),
    Count(Count),
    /// A program of `errd` has ended; one sentence if it did not cure anything.
    Cured(Result<(), String>),
}

pub struct Watching {
    checkers: Vec<Checker>,
    errd: Option<Errd>,
    set: RuleSet,
    timing: (Duration, Duration),
    rules: Rules,
    neighbour: Neighbour,
    /// By resource, each with its number.
    running: BTreeMap<String, (u64, Running)>,
    /// Classes of watched processes.
    classes: Vec<(When, u64, Running)>,
    /// Number of the newest watch.
    newest: u64,
    /// Nothing has been started or stopped since this daemon began: what it adopts has long started.
    adopts: bool,
    /// Why a resource is down, as its checker says.
    whys: BTreeMap<String, String>,
    pub(super) counting: Counting,
    pub(super) seen: mpsc::Sender<Seen>,
}

impl Watching {
    pub fn new(site: &Site, neighbour: Neighbour) -> (Watching, mpsc::Receiver<Seen>) {
        let config = &site.active.config;
        let implied = implied(config);
        let (set, timing) = (config.rules(&implied), config.rules_timing());
        let (seen, seen_in) = mpsc::channel(QUEUE);
        let watched = |checker: &Checker| !matches!(checker.kind, CheckerKind::SplitBrain { .. });
        let checkers = config.checkers.iter().filter(|checker| watched(checker)).cloned();
        let watching = Watching {
            checkers: checkers.chain(implied).collect(),
            errd: config.errd.clone(),
            rules: Rules::new(set.rules.clone(), timing.0, timing.1),
            set,
            timing,
            neighbour,
            running: BTreeMap::new(),
            classes: Vec::new(),
            newest: 0,
            adopts: true,
            whys: BTreeMap::new(),
            counting: Counting::default(),
            seen,
        };
        (watching, seen_in)
    }

    /// Rules of a new start know nothing of the last one.
    pub fn begin(&mut self) {
        self.rules = Rules::new(self.set.rules.clone(), self.timing.0, self.timing.1);
    }

    /// Processes of this class are being watched.
    pub fn watches(&self, class: &When) -> bool {
        self.classes.iter().any(|(known, ..)| known == class)
    }

    /// What a person is told about a rule: what its resources say.
    fn why(&self, label: &str) -> String {
        let rule = self.set.rules.iter().find(|rule| rule.label == label);
        let text = rule.map(ToString::to_string).unwrap_or_default();
        let concerns = |resource: &str| {
            resource.split_once('.').is_some_and(|(class, _)| text.contains(&format!("{class}.")))
        };
        let whys: Vec<&str> = self
            .whys
            .iter()
            .filter(|(resource, _)| concerns(resource))
            .map(|(_, why)| why.as_str())
            .collect();
        if whys.is_empty() { text } else { whys.join("; ") }
    }
}

/// Which classes are active now.
#[derive(Clone, Copy)]
struct Active {
    role: Role,
    serves: bool,
    follows: bool,
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
    fn active(&self) -> Active {
        let machine = &self.machine;
        let role = machine.state().role;
        Active { role, serves: machine.serves(), follows: machine.follows() }
    }

    /// After whatever happened: the right watches run, and the rules have been asked.
    pub(super) async fn watch_turn(&mut self) {
        self.keep_watches();
        self.keep_witness();
        self.keep_counting();
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

    /// What the witness answered is a resource; the built-in rule on it holds this node in WAIT.
    fn keep_witness(&mut self) {
        let config = &self.site.active.config;
        let kind = |checker: &&Checker| matches!(checker.kind, CheckerKind::SplitBrain { .. });
        let Some(ident) = config.checkers.iter().find(kind).map(|checker| checker.ident.clone())
        else {
            return;
        };
        match self.machine.witness() {
            Some(answers) => {
                let value = if answers { "up" } else { "down" };
                self.set_resource(&format!("splitbrain.{ident}"), value, "splitbraincheck");
                self.set_resource("splitbrain.uptodate", value, "splitbraincheck");
            }
            None => {
                self.resources.unset(&format!("splitbrain.{ident}"));
                self.resources.unset("splitbrain.uptodate");
            }
        }
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

    fn table(&self) -> Table {
        let values = self.resources.all().into_iter();
        let local: BTreeMap<_, _> =
            values.map(|resource| (resource.name, resource.value)).collect();
        let peer = local.get("state.remote").cloned();
        let remote = peer.map(|state| ("state.local".to_owned(), state)).into_iter().collect();
        Table { local, remote }
    }

    /// Before a start, and in WAIT: what keeps the module from running here. Then whether what a
    /// rule put to sleep may go on.
    async fn keep_gate(&mut self) {
        let role = self.machine.state().role;
        let asks = matches!(role, Role::Stop | Role::Wait) && self.settings.checker.unwrap_or(true);
        let blocked = if asks { self.watching.rules.waits(&self.table()) } else { None };
        let gate = blocked.map(|blocked| match blocked {
            Blocked::Failed { label } => {
                let why = self.watching.why(&label);
                Gate { reason: format!("waits by failover rule {label}: {why}"), failed: true }
            }
            Blocked::Unknown { label, resource } => {
                let reason =
                    format!("failover rule {label} waits for the first word on {resource}");
                Gate { reason, failed: false }
            }
        });
        let known = self.machine.facts().gate.clone();
        if known != gate {
            let was = known.is_some_and(|gate| gate.failed);
            if was && gate.is_none() && role == Role::Wait && !self.machine.sleeps() {
                self.hands.journal.write("control", texts::wakeup());
            }
            self.event(Event::Gate(gate.clone())).await;
        }
        if gate.is_none() && asks && self.machine.sleeps() && self.watching.set.implicit_wakeup {
            let label = crate::rules::builtin::IMPLICIT_WAKEUP.to_owned();
            self.wish(Wish::Wakeup, Caller::Rule(label)).await;
        }
    }

    async fn ask_rules(&mut self) {
        let active = self.active();
        let runs = active.serves || active.follows;
        if !runs || self.machine.busy() || !self.settings.checker.unwrap_or(true) {
            return;
        }
        let table = self.table();
        for verdict in self.watching.rules.evaluate(&table, clock::now()) {
            match verdict {
                Verdict::Assign { label, resource, value } => {
                    self.set_resource(&resource, value.as_str(), &format!("rule {label}"));
                }
                Verdict::Act { label, action } => {
                    let reason = self.watching.why(&label);
                    let wish = match action {
                        Action::Stop => Wish::Stop,
                        Action::StopStart => Wish::StopStart,
                        Action::Restart => Wish::Restart,
                        Action::Swap => Wish::Swap,
                        Action::Wakeup => Wish::Wakeup,
                        Action::Wait => {
                            let reason = format!("waits by failover rule {label}: {reason}");
                            Wish::Wait { reason }
                        }
                    };
                    self.wish(wish, Caller::Rule(label)).await;
                    self.watching.rules.rearm(clock::now());
                }
            }
        }
        self.show();
    }

    /// `true`: carried out.
    async fn wish(&mut self, wish: Wish, caller: Caller) -> bool {
        let (answer, mut answered) = tokio::sync::oneshot::channel();
        let ticket = self.ticket();
        self.wishes.insert(ticket, answer);
        self.event(Event::Wish { ticket, wish, caller }).await;
        matches!(answered.try_recv(), Ok(Ok(_)))
    }

    pub(super) async fn saw(&mut self, seen: Seen) {
        match seen {
            Seen::Reading(number, reading) => self.read(number, &reading),
            Seen::Process(number, process) => self.process(number, process).await,
            Seen::Count(count) => self.counted(&count),
            Seen::Cured(Ok(())) => self.watching.classes.clear(),
            Seen::Cured(Err(how)) => {
                self.hands.journal.write(ERRD, texts::other("check", Level::Critical, how));
                self.act_for_process(Wish::StopStart).await;
            }
        }
        self.show();
    }

    fn read(&mut self, number: u64, reading: &Reading) {
        let watch = self.watching.running.get(&reading.resource);
        if watch.is_none_or(|(known, _)| *known != number) {
            return;
        }
        self.note_why(reading);
        let value = if reading.up { "up" } else { "down" };
        self.set_resource(&reading.resource, value, reading.by);
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
        if !self.watching.classes.iter().any(|(_, known, _)| *known == number) {
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
        let wish = match &proc.action {
            ErrorAction::Nothing => return,
            ErrorAction::Restart => Wish::Restart,
            ErrorAction::StopStart => Wish::StopStart,
            ErrorAction::Stop => Wish::Stop,
            ErrorAction::Swap => Wish::Swap,
            ErrorAction::Wait => Wish::Wait { reason: reading.why },
            ErrorAction::Program(exec) => return self.cure(exec.clone(), &reading.resource),
        };
        self.act_for_process(wish).await;
    }

    /// What was refused is looked at anew, and so asked for again if it still holds.
    async fn act_for_process(&mut self, wish: Wish) {
        if !self.wish(wish, Caller::Identity(ERRD.to_owned())).await {
            self.watching.classes.clear();
        }
    }

    /// The module's own program for it: it must not end with an error, or the module is restarted.
    fn cure(&self, exec: String, resource: &str) {
        let (runner, seen) = (self.hands.runner.clone(), self.watching.seen.clone());
        let (role, resource) = (self.machine.state().role, resource.to_owned());
        tokio::spawn(async move {
            let cured = run(&runner, exec, role, &resource).await;
            let _ = seen.send(Seen::Cured(cured)).await;
        });
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

/// The resource of a checker: `class.ident`.
fn resource(checker: &Checker) -> String {
    let class = match &checker.kind {
        CheckerKind::Tcp { .. } => "tcp",
        CheckerKind::Ping { .. } => "ping",
        CheckerKind::Interface { .. } => "intf",
        CheckerKind::Address { .. } => "ip",
        CheckerKind::Custom { .. } => "custom",
        CheckerKind::Module { .. } => "module",
        CheckerKind::SplitBrain { .. } => "splitbrain",
    };
    format!("{class}.{}", checker.ident)
}

/// A channel into the module's own.
fn forward<T: Send + 'static>(
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

/// `interface check=` and `virtual_addr check=` are checkers that nobody has to write.
fn implied(config: &UserConfig) -> Vec<Checker> {
    let mut implied: Vec<Checker> = Vec::new();
    for vip in &config.vips {
        if vip.check_interface {
            let kind = CheckerKind::Interface { local_addr: vip.addr.to_string() };
            let (ident, when) = (network(vip).to_string(), When::Pre);
            implied.push(Checker { ident, when, action: ErrorAction::Wait, kind });
        }
        if vip.check {
            let addr = vip.addr.to_string();
            let kind = CheckerKind::Address { addr: addr.clone(), interval: ADDRESS_POLL };
            let (when, action) = (When::Prim, ErrorAction::StopStart);
            implied.push(Checker { ident: addr, when, action, kind });
        }
    }
    let mut known = std::collections::HashSet::new();
    implied.retain(|checker| {
        let name = resource(checker);
        !config.checkers.iter().any(|other| resource(other) == name) && known.insert(name)
    });
    implied
}

/// The network that an interface checker is called by.
fn network(vip: &VirtualAddress) -> IpAddr {
    match vip.addr {
        IpAddr::V4(addr) => {
            let bits = u32::from(vip.prefix.unwrap_or(24).min(32));
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            IpAddr::V4((u32::from(addr) & mask).into())
        }
        IpAddr::V6(addr) => {
            let bits = u32::from(vip.prefix.unwrap_or(64).min(128));
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            IpAddr::V6((u128::from(addr) & mask).into())
        }
    }
}
