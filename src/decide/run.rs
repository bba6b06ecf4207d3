//! How a walk goes: takes the next step, recognises its answer, and says what an unexpected answer
//! means. What the end of a walk means is decided by the role that holds then.
use super::admit::{Heal, heal};
use super::answers::{Answer, ordered};
use super::context::Following;
use super::facts::Engine;
use super::limits;
use super::walk::{Kind, Step, Walk};
use super::words::{Action, Ending, Event, Job, Outcome, SERVICES, Script};
use super::{Machine, Part, aged, alone, prim, second, stop, table, wait};
use crate::model::{EngineCommand, EngineEvent, PeerMessage, PeerReply, Role};

impl Machine {
    /// Looks whether `event` ends the running step.
    pub(super) fn feed_walk(&mut self, event: &Event) {
        let Some(answer) = self.answer(event) else { return };
        let Some(walk) = &mut self.cx.walk else { return };
        let Some(step) = walk.running.take() else { return };
        walk.limit = None;
        match answer {
            Answer::Good => {}
            Answer::Bad(reason) => self.step_failed(step, reason),
        }
        self.run_walk();
    }

    fn answer(&self, event: &Event) -> Option<Answer> {
        let walk = self.cx.walk.as_ref()?;
        let step = walk.running.as_ref()?;
        match (step, event) {
            (_, Event::Did { token, outcome }) if *token == walk.token => {
                Some(self.judge(step, outcome))
            }
            (Step::Order(command), Event::Engine(event)) => ordered(command, event),
            (Step::StartEngine, Event::Engine(EngineEvent::Hello { .. })) => Some(Answer::Good),
            (Step::StartEngine | Step::Order(_), Event::EngineGone { reason }) => {
                Some(Answer::Bad(reason.clone()))
            }
            (Step::StopEngine, Event::EngineGone { .. }) => Some(Answer::Good),
            (_, Event::Tick) if walk.limit.is_some_and(|limit| limit <= self.cx.now) => {
                Some(Answer::Bad("no answer within the limit".to_owned()))
            }
            _ => None,
        }
    }

    fn judge(&self, step: &Step, outcome: &Outcome) -> Answer {
        match (step, outcome) {
            (Step::Script { script: Script::StartPrim, .. }, Outcome::Exit(code))
                if *code != 0 && self.cx.policy.start_checked =>
            {
                Answer::Bad(format!("start_prim ended with exit code {code}"))
            }
            (Step::Script { script, .. }, Outcome::Exit(code))
                if *code != 0 && script.callback().is_some() =>
            {
                Answer::Bad(format!("ended with exit code {code}"))
            }
            (_, Outcome::Done | Outcome::Exit(_) | Outcome::Reply(PeerReply::Done)) => Answer::Good,
            (_, Outcome::Reply(PeerReply::Refused { reason }) | Outcome::Failed(reason)) => {
                Answer::Bad(reason.clone())
            }
        }
    }

    /// What a step that did not succeed means for its walk.
    fn step_failed(&mut self, step: Step, reason: String) {
        let cx = &mut self.cx;
        let Some(walk) = &mut cx.walk else { return };
        if walk.overtaken.is_some() {
            return;
        }
        match step {
            Step::Script { script, .. } | Step::Await { script, .. }
                if script.callback().is_some() =>
            {
                self.callback_failed(script, &reason);
            }
            Step::Script { script: Script::StartPrim, .. } if cx.policy.start_checked => {
                cx.because(format!("stopped: {reason}"));
                cx.memory.running = false;
                cx.log('E', "action-by", "Action stop called by start_prim");
                cx.overtake(Ending::Stop, 0);
            }
            Step::TakeAddress => {
                cx.log('C', "vip-refused", reason.clone());
                cx.because(reason.clone());
                cx.overtake(Ending::Wait { reason, wakeup: true, rule: false }, 0);
            }
            Step::StartEngine => {
                let text = format!("the engine could not be started: {reason}");
                cx.because(text.clone());
                cx.facts.engine = Engine::Off;
                cx.log('C', "engine-start", text.clone());
                cx.overtake(Ending::Wait { reason: text, wakeup: true, rule: false }, 0);
            }
            Step::Order(EngineCommand::Lead { .. } | EngineCommand::Follow { .. }) => {
                // In WAIT the start is only blocked; a role that was held begins anew.
                if let Part::Wait(wait) = &mut self.part {
                    cx.walk = None;
                    wait.block(cx, reason, true, false);
                } else {
                    cx.because(reason);
                    cx.overtake(Ending::StopStart, 0);
                }
            }
            // One that died meanwhile has given its part back.
            Step::Order(EngineCommand::Release { detach: true })
                if cx.facts.engine.summary().is_some() =>
            {
                let text =
                    format!("the engine does not give its part back and is killed: {reason}");
                cx.log('W', "engine-stuck", text);
                cx.actions.push(Action::KillEngine);
            }
            Step::Order(EngineCommand::Release { detach: false }) => self.release_failed(reason),
            Step::Tell(PeerMessage::TakeOver { .. }) => self.hand_over_failed(reason),
            Step::Tell(PeerMessage::Leave { .. }) => {
                if let Part::Prim(prim) = &mut self.part {
                    prim.unheard = true;
                }
                cx.log('W', "peer-unreached", format!("The peer was not told: {reason}"));
            }
            Step::StopEngine => {
                cx.log('W', "engine-stuck", "the engine did not end in time and is killed");
                cx.actions.push(Action::KillEngine);
                cx.facts.engine = Engine::Off;
            }
            Step::Uncover => cx.log('E', "still-covered", reason),
            // Nothing hangs on these: the limit only keeps them from being waited for for ever.
            Step::Order(
                EngineCommand::Flush
                | EngineCommand::NameChanges
                | EngineCommand::Release { .. }
                | EngineCommand::Fence
                | EngineCommand::FailHeld
                | EngineCommand::GoAlone { .. }
                | EngineCommand::Outdate { .. }
                | EngineCommand::Shutdown,
            )
            | Step::Confirm
            | Step::Script { .. }
            | Step::Await { .. }
            | Step::ReleaseAddress
            | Step::KillGroup
            | Step::Tell(_)
            | Step::Enter(_) => {
                cx.log('W', "step-failed", format!("{}: {reason}", step.not_done()));
            }
        }
    }

    /// Directories held open. What can go back does; a peer that takes over is not held up; and in
    /// the end whoever belongs to the module is killed, and who does not loses the directory.
    fn release_failed(&mut self, reason: String) {
        let cx = &mut self.cx;
        cx.because(reason.clone());
        let Some(walk) = &mut cx.walk else { return };
        match walk.kind {
            Kind::SwapOut => cx.walk = Some(table::swap_back()),
            Kind::Down { .. } => cx.log('W', "engine-busy", reason),
            _ => {
                walk.steps.push_front(Step::Order(EngineCommand::Release { detach: true }));
                walk.steps.push_front(Step::KillGroup);
                walk.limit = Some(cx.now.plus(limits::RETRY_MS));
                cx.log('E', "engine-busy", reason);
            }
        }
    }

    /// The other side does not take the role.
    fn hand_over_failed(&mut self, reason: String) {
        let silent = self.cx.peer_silent();
        let leads = self.cx.facts.peer.leads();
        let cx = &mut self.cx;
        let Some(walk) = &mut cx.walk else { return };
        let refused = cx.facts.peer.connected;
        if leads {
            return;
        }
        if silent && !refused {
            // It may have taken over and cannot say so: follow, and let the copies decide.
            cx.log('E', "swap-unheard", format!("The hand-over was not answered: {reason}"));
            return;
        }
        if refused {
            cx.log('E', "swap-refused", format!("Swap given up: {reason}"));
            cx.because(format!("the swap was refused: {reason}"));
            cx.resigned = false;
            cx.walk = Some(table::swap_back());
        } else {
            let reason = "hand-over repeated".to_owned();
            let module = cx.policy.module.clone();
            walk.steps.push_front(Step::Tell(PeerMessage::TakeOver { module, reason }));
            walk.limit = Some(cx.now.plus(limits::RETRY_MS));
        }
    }

    /// Takes steps until one must be waited for.
    pub(super) fn run_walk(&mut self) {
        loop {
            let Some(walk) = &mut self.cx.walk else { return };
            if walk.running.is_some() {
                return;
            }
            if let Some(ending) = walk.overtaken.take() {
                self.overtaken(ending);
                continue;
            }
            if walk.limit.is_some_and(|pause| pause > self.cx.now) {
                return;
            }
            walk.limit = None;
            match walk.steps.pop_front() {
                Some(step) => self.take(step),
                None => self.walk_ended(),
            }
        }
    }

    /// The walk gave way: what it had reached so far is taken down again.
    fn overtaken(&mut self, ending: Ending) {
        let role = self.part.role();
        self.cx.walk = None;
        let dead = matches!(self.cx.facts.engine, Engine::Dead { .. });
        if dead {
            self.cx.facts.engine = Engine::Off;
        }
        let superseded = role == Role::Prim && (prim::is_superseded(&self.cx) || self.cx.cut_off());
        let walk = if (dead && role.is_primary()) || superseded {
            table::resign(&self.cx, role, ending)
        } else {
            table::down(&self.cx, role, ending)
        };
        self.cx.begin(walk);
    }

    fn take(&mut self, step: Step) {
        let job = match &step {
            Step::Script { .. } | Step::Await { .. } if !self.cx.policy.scripts => return,
            Step::Script { script, .. } | Step::Await { script, .. }
                if script.callback().is_some() && !self.cx.policy.callbacks =>
            {
                return;
            }
            Step::Await { script, force } => Job::Await { script: *script, force: *force },
            Step::Script { script, force } => {
                let Some(walk) = &self.cx.walk else { return };
                let mut args = walk.arguments(*force);
                if let Some(last) = args.last_mut() {
                    *last = table::word(walk, *script).as_str().to_owned();
                }
                args.splice(..0, script.callback().map(str::to_owned));
                if let Some(services) = &walk.services {
                    args.extend([SERVICES.to_owned(), services.clone()]);
                }
                Job::Script { script: *script, args, force: *force }
            }
            Step::TakeAddress => Job::TakeAddress,
            Step::ReleaseAddress => Job::ReleaseAddress,
            Step::KillGroup => Job::KillGroup,
            Step::Uncover if !self.cx.policy.replicates => return,
            Step::Uncover => Job::Uncover,
            Step::Tell(message) => {
                if matches!(message, PeerMessage::Leave { .. } | PeerMessage::TakeOver { .. }) {
                    self.cx.resigned = true;
                }
                Job::Tell(message.clone())
            }
            Step::Order(command) => return self.take_order(command.clone(), step),
            Step::StartEngine => return self.take_engine(step),
            Step::StopEngine => {
                if self.cx.facts.engine.summary().is_none() {
                    self.cx.facts.engine = Engine::Off;
                    return;
                }
                self.cx.actions.push(Action::Order(EngineCommand::Shutdown));
                return self.wait_for(step, 0, Some(limits::FLUSH_MS));
            }
            Step::Enter(role) => return self.enter(*role),
            Step::Confirm => return self.confirm(),
        };
        let token = self.cx.job(job);
        self.wait_for(step, token, None);
    }

    fn take_engine(&mut self, step: Step) {
        if !self.cx.policy.replicates || self.cx.facts.engine.summary().is_some() {
            return;
        }
        self.cx.facts.engine = Engine::Starting;
        self.cx.actions.push(Action::StartEngine);
        self.wait_for(step, 0, Some(limits::ORDER_MS));
    }

    fn take_order(&mut self, command: EngineCommand, step: Step) {
        if !self.cx.policy.replicates {
            return;
        }
        let engine = &self.cx.facts.engine;
        let useless = match &command {
            EngineCommand::Flush => !engine.mirrors(),
            EngineCommand::Fence | EngineCommand::FailHeld => !engine.leads(),
            EngineCommand::Release { .. } => engine.mode() == Some(crate::model::EngineMode::Idle),
            EngineCommand::Outdate { .. } => !engine.is_current(),
            // To an engine that leads already it says that nothing is to be refused any more.
            EngineCommand::Lead { .. }
            | EngineCommand::Follow { .. }
            | EngineCommand::GoAlone { .. }
            | EngineCommand::NameChanges
            | EngineCommand::Shutdown => false,
        };
        let optional =
            !matches!(command, EngineCommand::Lead { .. } | EngineCommand::Follow { .. });
        let down = engine.summary().is_none();
        if useless || (down && optional) {
            return;
        }
        if down {
            return self.step_failed(step, "the engine does not run".to_owned());
        }
        let yields = self.cx.walk.as_ref().is_some_and(|walk| walk.kind == Kind::Yield);
        let limit = match command {
            // Only who gives way looks at what the engine says of it.
            EngineCommand::Fence => yields.then_some(limits::FENCE_MS),
            EngineCommand::FailHeld => None,
            EngineCommand::Flush => Some(limits::FLUSH_MS),
            _ => Some(limits::ORDER_MS),
        };
        self.cx.actions.push(Action::Order(command));
        if limit.is_some() {
            self.wait_for(step, 0, limit);
        }
    }

    /// What was written between the last word of the engine and the fence may be the only change
    /// on either side: then the other one gives way.
    fn confirm(&mut self) {
        if !matches!(heal(&self.cx), Heal::Stay { .. }) {
            return;
        }
        let cx = &mut self.cx;
        cx.log('E', "splitbrain-staying", "Split brain recovery: staying alone after all");
        cx.because("primary");
        let reason = "stays primary".to_owned();
        cx.actions.push(Action::Order(EngineCommand::Lead { reason, forced: false }));
        cx.walk = None;
    }

    /// What is under way is remembered before its answer can come; a power cut may lose that (after
    /// one nothing is under way any more), the death of the daemon may not.
    fn wait_for(&mut self, step: Step, token: u64, limit_ms: Option<u64>) {
        let now = self.cx.now;
        let Some(walk) = &mut self.cx.walk else { return };
        walk.running = Some(step);
        walk.token = token;
        walk.limit = limit_ms.map(|ms| now.plus(ms));
        let asked = self.cx.actions.pop();
        self.cx.remember(false);
        self.cx.actions.extend(asked);
    }

    /// Becomes `role`: durable first, then visible.
    fn enter(&mut self, role: Role) {
        let from = self.part.role();
        assert!(
            from == role || table::allowed(from, role).is_some(),
            "module {}: {from} → {role} is not in the table of transitions",
            self.cx.policy.module
        );
        let now = self.cx.now;
        let cx = &mut self.cx;
        let kind = cx.walk.as_ref().map(|walk| walk.kind.clone());
        let memory = &mut cx.memory;
        memory.role = role;
        if role.is_primary() || role == Role::Second {
            let was_primary = memory.was_primary;
            memory.was_primary = role.is_primary();
            memory.took_over = match kind {
                Some(Kind::TakeOver { swap: false }) => true,
                _ => role == Role::Alone && memory.took_over,
            };
            memory.in_sync = false;
            memory.aged &= role != Role::Second;
            cx.facts.forget_latched();
            cx.fork = None;
            cx.resigned = false;
            if kind != Some(Kind::Follow) {
                cx.following = Following::default();
            }
            self.part = match role {
                Role::Alone => Part::Alone(alone::Alone::default()),
                Role::Prim => Part::Prim(prim::Prim::new(kind.as_ref(), now)),
                _ => Part::Second(second::Second::new(was_primary)),
            };
        } else if role == Role::Wait {
            let unheard = matches!(&self.part, Part::Prim(prim) if prim.unheard);
            self.part = Part::Wait(wait::Wait::entered(kind.as_ref(), unheard, now));
        } else {
            self.part = Part::Stop(stop::Stop::ended(kind.as_ref()));
        }
        self.cx.remember(true);
        self.announce(from);
    }

    /// A role is reported while its scripts still run, so that nobody waits for them.
    fn announce(&mut self, from: Role) {
        if from != self.part.role() {
            self.publish();
        }
    }

    /// No step is left: what comes next.
    fn walk_ended(&mut self) {
        let Some(walk) = self.cx.walk.take() else { return };
        let Walk { kind, .. } = walk;
        match kind {
            Kind::Down { ending } | Kind::Resign { ending } => {
                let walk = table::force(&self.cx, ending);
                self.cx.begin(walk);
            }
            Kind::Force { ending: Ending::Wait { reason, wakeup, rule } } => {
                if let Part::Wait(wait) = &mut self.part {
                    wait.block(&mut self.cx, reason, wakeup, rule);
                }
            }
            Kind::Force { ending: Ending::Stop } => {}
            // Remembered with what begins next: a daemon that dies in between has to begin it.
            Kind::Force { ending: Ending::StopStart | Ending::Reboot } => return,
            Kind::Up { start } => {
                if let Part::Wait(wait) = &mut self.part {
                    wait.decide(start, self.cx.now);
                }
            }
            Kind::Lead | Kind::Revive => {
                let aged = self.cx.memory.aged;
                let reason = if aged { aged::reason(&self.cx) } else { "primary".to_owned() };
                self.cx.because(reason);
                self.cx.resigned = false;
            }
            // The reason says why the role was taken, or why the swap was given up.
            Kind::TakeOver { .. } | Kind::SwapBack => self.cx.resigned = false,
            Kind::Follow | Kind::Yield | Kind::SwapOut | Kind::Refollow => {
                self.cx.because(second::FOLLOWS);
            }
            Kind::ToPrim | Kind::ToAlone | Kind::Restart => {}
        }
        self.cx.remember(false);
    }
}
