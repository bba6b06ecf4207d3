//! Two nodes in one event queue: machines, model engines, a control link, a data link, scripts that
//! take time. After every event the promises are checked.
mod net;
mod power;

use super::engine::ModelEngine;
use crate::decide::*;
use crate::model::*;
use std::collections::BTreeMap;

pub(super) const SILENCE_MS: u64 = 2_000;

/// What comes when.
#[derive(Clone, Debug)]
enum Item {
    Event(usize, u32, Event),
    /// A message arrives at this node; its answer goes back to the other's token.
    Message {
        to: usize,
        life: u32,
        token: Option<u64>,
        message: PeerMessage,
    },
    Pulse(usize),
    Status(usize),
    Rules(usize),
    Return(usize),
    EngineUp(usize, u32),
}

pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) machine: Option<Machine>,
    /// What is on the disk of this node.
    memory: Memory,
    pub(super) engine: ModelEngine,
    pub(super) powered: bool,
    /// Counts lives of the daemon: what was asked for in an older one is not answered.
    life: u32,
    pub(super) address: bool,
    pub(super) application: bool,
    tickets: BTreeMap<u64, (usize, u32, u64)>,
    next_ticket: u64,
    report: u64,
    pub(super) answers: Vec<Result<String, Refusal>>,
    pub(super) scripts: Vec<String>,
    link_seen: bool,
    /// The daemon dies in the middle of its actions, after so many more things were remembered.
    pub(super) dies_in: Option<u64>,
    /// A power cut took writes from its memory.
    cut_short: bool,
    /// A wait rule is true on this node.
    pub(super) gate: bool,
    /// The witness did not answer; until heartbeats return or the module is stopped.
    cut_off: bool,
    /// Scripts that end with this code.
    pub(super) exits: BTreeMap<Script, i32>,
    /// How often the server was to boot. A test carries it out.
    pub(super) reboots: u32,
}

pub(super) struct World {
    pub(super) nodes: [Node; 2],
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Item>,
    order: u64,
    pub(super) hearts: bool,
    pub(super) link: bool,
    pub(super) acked: Vec<u64>,
    next_write: u64,
    random: u64,
    /// Both nodes lost power at some time: what was only in memory may be gone.
    pub(super) blackout: bool,
    /// An operator chose (`prim`, `--discard`): what the other side had may be gone.
    pub(super) chosen: bool,
    pub(super) partitioned: bool,
    /// Whom a witness answers; `None`: no witness is configured.
    pub(super) witness: Option<[bool; 2]>,
    pub(super) log: Vec<String>,
}

pub(super) fn policy(own: usize, defaultprim: DefaultPrim) -> Policy {
    let name = |index: usize| NodeName::new(["n1", "n2"][index]).unwrap();
    Policy {
        module: ModuleName::new("m").unwrap(),
        own: name(own),
        peer: name(1 - own),
        replicates: true,
        scripts: true,
        callbacks: false,
        failover: true,
        defaultprim,
        maxloop: 1_000,
        loop_interval_ms: 86_400_000,
        silence_ms: SILENCE_MS,
        link_detect_ms: 1_500,
        witness: false,
        start_checked: false,
        automatic_reboot: false,
    }
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World::with(seed, false)
    }

    /// `witness`: one is configured, and answers both.
    pub(super) fn with(seed: u64, witness: bool) -> World {
        let node = |index: usize| {
            let policy = Policy { witness, ..policy(index, DefaultPrim::Alone) };
            let boot = BootId(index as u128 + 1);
            Node {
                name: policy.own.clone(),
                engine: ModelEngine::new(policy.own.clone(), boot),
                machine: Some(Machine::new(policy, Memory::default(), Moment(0))),
                memory: Memory::default(),
                powered: true,
                life: 0,
                address: false,
                application: false,
                tickets: BTreeMap::new(),
                next_ticket: 1,
                report: 0,
                answers: Vec::new(),
                scripts: Vec::new(),
                link_seen: false,
                dies_in: None,
                cut_short: false,
                gate: false,
                cut_off: false,
                exits: BTreeMap::new(),
                reboots: 0,
            }
        };
        let mut world = World {
            nodes: [node(0), node(1)],
            now: 0,
            queue: BTreeMap::new(),
            order: 0,
            hearts: true,
            link: true,
            acked: Vec::new(),
            next_write: 1,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            blackout: false,
            chosen: false,
            partitioned: false,
            witness: witness.then_some([true; 2]),
            log: Vec::new(),
        };
        for index in 0..2 {
            world.at(0, Item::Event(index, 0, Event::Connected));
            world.at(10 + index as u64, Item::Pulse(index));
            world.at(20 + index as u64, Item::Status(index));
            world.at(30 + index as u64, Item::Rules(index));
        }
        world
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn at(&mut self, delay: u64, item: Item) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), item);
    }

    pub(super) fn role(&self, index: usize) -> Option<Role> {
        self.nodes[index].machine.as_ref().map(|machine| machine.state().role)
    }

    pub(super) fn state(&self, index: usize) -> String {
        let machine = self.nodes[index].machine.as_ref();
        machine.map_or("off".to_owned(), |machine| machine.state().to_string())
    }

    pub(super) fn reason(&self, index: usize) -> String {
        self.nodes[index].machine.as_ref().unwrap().reason().to_owned()
    }

    pub(super) fn active(&self, index: usize) -> bool {
        self.nodes[index].address && self.nodes[index].application
    }

    pub(super) fn wish(&mut self, index: usize, wish: Wish) {
        if matches!(
            wish,
            Wish::Start(StartKind::Prim { .. } | StartKind::Second { discard: true, .. })
        ) {
            self.chosen = true;
        }
        let caller = Caller::User("root".to_owned());
        self.event(index, Event::Wish { ticket: 1, wish, caller });
    }

    pub(super) fn start(&mut self, index: usize) {
        self.wish(index, Wish::Start(StartKind::Normal));
    }

    /// Runs until `ms` later.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        let mut ticks = 0;
        while let Some((&(at, order), _)) = self.queue.first_key_value() {
            let deadline = self.deadline();
            if let Some((when, index)) = deadline.filter(|(when, _)| *when < at) {
                if when > end {
                    break;
                }
                // Whoever wants to be woken and then does nothing wants it again at once.
                ticks = if when > self.now { 0 } else { ticks + 1 };
                assert!(ticks < 100, "n{} runs in circles\n{}", index + 1, self.tail());
                self.now = self.now.max(when);
                self.event(index, Event::Tick);
                continue;
            }
            if at > end {
                break;
            }
            self.now = at;
            let Some(item) = self.queue.remove(&(at, order)) else { break };
            self.take(item);
            self.exchange();
        }
        self.now = end;
    }

    fn deadline(&self) -> Option<(u64, usize)> {
        let of = |index: usize| {
            let machine = self.nodes[index].machine.as_ref()?;
            Some((machine.deadline()?.0.max(self.now), index))
        };
        [of(0), of(1)].into_iter().flatten().min()
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Event(index, life, event) => {
                if self.nodes[index].life == life {
                    self.event(index, event);
                }
            }
            Item::Message { to, life, token, message } => self.arrive(to, life, token, message),
            Item::Pulse(index) => {
                self.at(200, Item::Pulse(index));
                let other = 1 - index;
                let alive = self.nodes[index].machine.is_some();
                if self.hearts && alive && self.nodes[other].machine.is_some() {
                    let boot = self.nodes[index].engine.boot;
                    self.event(other, Event::Heard { boot });
                }
            }
            Item::Status(index) => {
                self.at(300, Item::Status(index));
                if self.nodes[index].engine.up {
                    let link_up = self.linked();
                    let status = self.nodes[index].engine.status(link_up);
                    self.event(index, Event::Engine(status));
                }
            }
            Item::Rules(index) => {
                self.at(250, Item::Rules(index));
                self.look_at_rules(index);
            }
            Item::Return(index) => self.returned(index),
            Item::EngineUp(index, life) => {
                let node = &mut self.nodes[index];
                if node.life == life && node.powered && !node.engine.up {
                    node.engine.up = true;
                    node.engine.mode = EngineMode::Idle;
                    let hello = node.engine.hello();
                    self.event(index, Event::Engine(hello));
                }
            }
        }
    }

    /// As the hub looks at a module's failover rules.
    fn look_at_rules(&mut self, index: usize) {
        let reason = "rule x".to_owned();
        let stopped = self.role(index) == Some(Role::Stop);
        let node = &mut self.nodes[index];
        node.cut_off &= !self.hearts && !stopped;
        let closed = node.gate || node.cut_off;
        let gate = closed.then(|| Gate { reason: reason.clone(), failed: true });
        let Some(machine) = &self.nodes[index].machine else { return };
        let (known, closed) = (machine.facts().gate == gate, self.nodes[index].gate);
        if !known {
            self.event(index, Event::Gate(gate));
        }
        let Some(machine) = &self.nodes[index].machine else { return };
        let wish = match closed {
            true if machine.serves() || machine.follows() => Wish::Wait { reason },
            false if machine.sleeps() && machine.facts().gate.is_none() => Wish::Wakeup,
            _ => return,
        };
        let caller = Caller::Rule("x".to_owned());
        self.event(index, Event::Wish { ticket: 2, wish, caller });
    }

    /// Hands an event to a machine and carries its actions out.
    pub(super) fn event(&mut self, index: usize, event: Event) {
        let Some(machine) = &mut self.nodes[index].machine else { return };
        let actions = machine.on(event, Moment(self.now));
        for action in actions {
            let remembers = matches!(action, Action::Remember { .. });
            self.act(index, action);
            let left = &mut self.nodes[index].dies_in;
            if remembers && left.is_some() {
                *left = left.and_then(|left| left.checked_sub(1));
                if left.is_none() {
                    return self.kill_daemon(index);
                }
            }
        }
        self.check();
    }

    fn act(&mut self, index: usize, action: Action) {
        let life = self.nodes[index].life;
        match action {
            Action::Remember { memory, .. } => self.nodes[index].memory = *memory,
            Action::Do { token, job } => self.job(index, token, job),
            Action::Overtake { .. } => {}
            Action::Order(command) => {
                let engine = &self.nodes[index].engine;
                if !engine.up || engine.hangs {
                    return;
                }
                let was = self.linked();
                let events = self.nodes[index].engine.order(&command);
                for event in events {
                    self.at(1, Item::Event(index, life, Event::Engine(event)));
                }
                if command == EngineCommand::Shutdown {
                    let reason = "exit 0".to_owned();
                    self.at(1, Item::Event(index, life, Event::EngineGone { reason }));
                }
                self.noticed(was, matches!(command, EngineCommand::Outdate { .. }));
            }
            Action::StartEngine => {
                let delay = 20 + self.random(50);
                self.at(delay, Item::EngineUp(index, life));
            }
            Action::KillEngine => self.kill_engine(index),
            Action::Reply { ticket, reply } => {
                let Some((to, life, token)) = self.nodes[index].tickets.remove(&ticket) else {
                    return;
                };
                let outcome = if self.hearts {
                    Outcome::Reply(reply)
                } else {
                    Outcome::Failed("link cut".to_owned())
                };
                let delay = 1 + self.random(10);
                self.at(delay, Item::Event(to, life, Event::Did { token, outcome }));
            }
            Action::Answer { answer, .. } => self.nodes[index].answers.push(answer),
            Action::Log { text, .. } => {
                let line = format!("{:>6} {}: {text}", self.now, self.nodes[index].name);
                self.log.push(line);
            }
            Action::Reboot => self.nodes[index].reboots += 1,
            Action::Publish { state, reason } => self.publish(index, state, reason),
        }
    }

    pub(super) fn publish(&mut self, index: usize, state: State, reason: String) {
        let node = &mut self.nodes[index];
        let Some(machine) = &node.machine else { return };
        let name = &node.name;
        assert!(!is_stale(state, &reason), "{name} is {state} because: {reason}\n{:#?}", self.log);
        node.report += 1;
        let report = ModuleReport {
            node: node.name.clone(),
            boot: node.engine.boot,
            module: machine.policy().module.clone(),
            state,
            report: node.report,
            engine: machine.facts().engine.summary().cloned(),
            side: machine.memory().side.clone(),
            was_primary: machine.memory().was_primary,
            took_over: machine.memory().took_over,
            aged: machine.memory().aged,
            asks: false,
            config_digest: String::new(),
            reason,
            resources: None,
            maintenance: Some(machine.memory().maintenance.report(Moment(self.now))),
        };
        let message = PeerMessage::Report(Box::new(report));
        self.tell(index, None, message);
    }

    fn job(&mut self, index: usize, token: u64, job: Job) {
        let life = self.nodes[index].life;
        let mut delay = 1 + self.random(100);
        let outcome = match job {
            Job::Script { script, args, .. } => {
                let node = &mut self.nodes[index];
                node.scripts.push(format!("{} {}", script.file_name(), args.join(" ")));
                match script {
                    Script::StartPrim => node.application = true,
                    Script::StopPrim | Script::Prestart => node.application = false,
                    _ => {}
                }
                Outcome::Exit(node.exits.get(&script).copied().unwrap_or(0))
            }
            Job::Await { .. } => Outcome::Done,
            Job::TakeAddress => {
                self.nodes[index].address = true;
                Outcome::Done
            }
            Job::ReleaseAddress => {
                self.nodes[index].address = false;
                Outcome::Done
            }
            Job::Uncover => Outcome::Done,
            Job::AskWitness => {
                let answers = self.witness.is_some_and(|answers| answers[index]);
                self.nodes[index].cut_off = !answers;
                match answers {
                    true => Outcome::Done,
                    false => Outcome::Failed("no witness answers".to_owned()),
                }
            }
            Job::KillGroup => {
                self.nodes[index].application = false;
                delay = 1;
                Outcome::Done
            }
            Job::Tell(message) => return self.tell(index, Some(token), message),
        };
        self.at(delay, Item::Event(index, life, Event::Did { token, outcome }));
    }

    /// The promises that hold at every moment.
    fn check(&self) {
        if self.active(0) && self.active(1) {
            // One that is cut off holds what it is asked until it notices; that is no fork.
            let excused = self.partitioned || self.chosen || self.witness.is_some();
            assert!(excused, "two primaries\n{}", self.tail());
        }
    }

    /// Every acknowledged write is on a copy that nobody overwrote without a command.
    pub(super) fn check_data(&self) {
        if self.chosen || self.blackout {
            return;
        }
        for write in &self.acked {
            let held = self.nodes.iter().any(|node| node.engine.data.writes.contains(write));
            assert!(held, "write {write} is on no copy\n{}", self.tail());
            if self.partitioned {
                continue;
            }
            for (index, node) in self.nodes.iter().enumerate() {
                let ready = self.state(index).ends_with(" Ready")
                    && self.role(index).is_some_and(Role::is_primary);
                let has = node.engine.data.writes.contains(write);
                assert!(!ready || has, "{} leads without {write}\n{}", node.name, self.tail());
            }
        }
    }

    pub(super) fn tail(&self) -> String {
        let from = self.log.len().saturating_sub(60);
        format!(
            "{}\nn1: {} {:?}\nn2: {} {:?}",
            self.log[from..].join("\n"),
            self.state(0),
            self.nodes[0].machine.as_ref().map(|machine| machine.reason()),
            self.state(1),
            self.nodes[1].machine.as_ref().map(|machine| machine.reason()),
        )
    }
}

/// A reason that belongs to a state before this one.
fn is_stale(state: State, reason: &str) -> bool {
    let of_wait = ["waiting for", "Data may be", " must lead (", " leads (", "it takes over"];
    let waits = of_wait.iter().any(|words| reason.contains(words));
    match (state.role, state.readiness) {
        (Role::Prim, Readiness::Ready) => waits || reason.starts_with("alone: "),
        (Role::Alone, Readiness::Ready) => waits || reason.starts_with("the swap was refused"),
        (Role::Second, Readiness::NotReady) => waits || reason == "secondary",
        (Role::Second, Readiness::Ready) => reason != "secondary",
        (role, _) => waits && role.is_primary(),
    }
}
