//! Carries the automaton's actions out, in their order, and keeps what outlives the daemon.
use super::classes::Switched;
use super::clock;
use super::memory::{Clocks, Stored, UserSettings};
use super::module::{Control, LoopCount};
use crate::api::UserSetting;
use crate::decide::{Action, Event, Memory};
use crate::logbook::{Level, texts};
use crate::model::State;
use std::sync::Arc;

impl Control {
    /// Carries actions out in their order, then shows how the module stands, then answers.
    pub(super) async fn act(&mut self, actions: Vec<Action>) {
        let mut answers = Vec::new();
        for action in actions {
            match action {
                Action::Remember { memory, durable } => self.remember(*memory, durable).await,
                Action::Do { token, job } => {
                    self.hands.begin(token, job, self.machine.succeeds());
                }
                Action::Overtake { token, grace_ms } => self.hands.overtake(token, grace_ms),
                Action::Order(command) => match &self.engine {
                    Some(engine) => engine.send(command),
                    None => tracing::debug!(?command, "no engine takes this order"),
                },
                Action::StartEngine => self.start_engine(),
                Action::KillEngine => {
                    if let Some(engine) = &self.engine {
                        engine.kill();
                    }
                }
                Action::Reply { ticket, reply } => {
                    if let Some(to) = self.replies.remove(&ticket) {
                        to.send(reply);
                    }
                }
                Action::Answer { ticket, answer } => answers.push((ticket, answer)),
                Action::Log { level, code, text } => {
                    self.hands.journal.decision(level, code, text, self.machine.reason());
                }
                Action::Reboot => self.reboot(),
                Action::Publish { state, reason } => self.publish(state, reason),
            }
        }
        self.show();
        for (ticket, answer) in answers {
            if let Some(to) = self.wishes.remove(&ticket) {
                let _ = to.send(answer);
            }
        }
    }

    /// Whoever is there may know nothing, and positions have moved since the last report.
    pub(super) fn publish_again(&mut self) {
        let (state, reason) = (self.machine.state(), self.machine.reason().to_owned());
        self.publish(state, reason);
    }

    pub(super) fn publish(&mut self, state: State, reason: String) {
        self.keep_states();
        let told = self.told();
        let report = super::report::report(&self.site, &self.machine, state, reason, told);
        self.reporter.publish(report);
    }

    /// What outlives the daemon, as it is now.
    fn stored(&self) -> Stored {
        Stored {
            boot: self.site.boot,
            memory: self.machine.memory().clone(),
            settings: self.settings,
            synced: self.synced,
            clocks: Clocks::now(),
            switched: self.switched.clone(),
        }
    }

    pub(super) async fn remember(&mut self, memory: Memory, durable: bool) {
        let stored = Stored { memory, ..self.stored() };
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || file.store(&stored, durable)).await;
        if let Ok(Err(error)) = written {
            let text = texts::other("memory", Level::Critical, error.to_string());
            self.hands.journal.write("control", text);
        }
    }

    pub(super) fn start_engine(&mut self) {
        self.hands.runner.begin();
        self.ending = false;
        match self.site.engine_config() {
            Ok(Some(config)) => {
                self.engine = Some(self.engine_site.start(&config, self.events.clone()));
            }
            Ok(None) => {}
            Err(reason) => {
                let events = self.events.clone();
                tokio::spawn(async move { events.send(Event::EngineGone { reason }).await });
            }
        }
    }

    pub(super) async fn count_loop(&mut self, count: LoopCount) -> bool {
        let actions = match count {
            LoopCount::Increment => {
                let (over, actions) = self.machine.count_loop(clock::now());
                self.act(actions).await;
                return over;
            }
            LoopCount::Reset => self.machine.reset_loop(),
            LoopCount::Check => Vec::new(),
        };
        self.act(actions).await;
        let counted = self.machine.memory().loops.len() as u64;
        counted >= u64::from(self.machine.policy().maxloop)
    }

    pub(super) async fn set(&mut self, setting: UserSetting, on: bool) -> Result<(), String> {
        let mut settings = self.settings;
        match setting {
            UserSetting::Boot => settings.boot = Some(on),
            UserSetting::Errd => settings.errd = Some(on),
            UserSetting::Checker => settings.checker = Some(on),
            // A wish of the automaton; the handler sends it as one.
            UserSetting::Failover => return Err("failover is decided by the automaton".to_owned()),
        }
        self.switch_to(settings, self.switched.clone()).await
    }

    /// What people have switched is on disk before it counts: what they are told was refused must
    /// not be in force.
    pub(super) async fn switch_to(
        &mut self,
        settings: UserSettings,
        switched: Switched,
    ) -> Result<(), String> {
        let stored = Stored { settings, switched: switched.clone(), ..self.stored() };
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || file.store(&stored, true)).await;
        written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        (self.settings, self.switched) = (settings, switched);
        Ok(())
    }

    pub(super) fn show(&mut self) {
        self.keep_states();
        let view = super::view::of(self);
        self.view.send_if_modified(|known| {
            let changed = **known != view;
            if changed {
                *known = Arc::new(view);
            }
            changed
        });
    }
}
