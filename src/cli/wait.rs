//! Waiting for a state: asking again until it is there, a person must act, or time is up.
use super::args::Wait;
use super::context::{Context, failed};
use crate::api::client::{ClientError, call_within};
use crate::api::response::code;
use crate::api::{Command, Data, Exit, ModuleView, Nodes, Refusal, Reply, Response};
use crate::model::{Readiness, Role, State};
use std::time::{Duration, Instant};

/// Between two questions.
const PERIOD: Duration = Duration::from_millis(50);
/// A daemon that is started again meanwhile is waited for this long.
const DAEMON_ABSENT_MAX: Duration = Duration::from_secs(30);
/// Between two progress lines that differ only in numbers.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// This role, Ready; `STOP` and `WAIT` have no Ready and count as they are.
    Role(Role),
    /// Ready in whatever role.
    Started,
    /// Ready in the other role than this one (swap).
    NotRole(Role),
}

/// What the one who waits did before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing: somebody may start the module later.
    Nothing,
    /// An action: a module that stops has failed.
    Action,
    /// A swap, on a node that was in this role since then: if it is Ready in it again, the swap was
    /// given up.
    Swap { role: Role, since: Option<String> },
}

impl After {
    /// A stop needs no decision, and who did nothing waits for whatever others do.
    fn waits_for_ready(&self, goal: Goal) -> bool {
        let ready = !matches!(goal, Goal::Role(Role::Stop | Role::Wait));
        ready && *self != After::Nothing
    }
}

impl Goal {
    pub fn is_met(self, state: State) -> bool {
        let ready = state.readiness == Readiness::Ready;
        match self {
            Goal::Role(role @ (Role::Stop | Role::Wait)) => state.role == role,
            Goal::Role(role) => state.role == role && ready,
            Goal::Started => ready,
            Goal::NotRole(role) => state.role != role && ready,
        }
    }

    /// A module that stopped does not get there by itself any more.
    fn is_lost(self, state: State) -> bool {
        state.role == Role::Stop && self != Goal::Role(Role::Stop)
    }

    fn shown(self) -> String {
        match self {
            Goal::Role(role @ (Role::Stop | Role::Wait)) => role.to_string(),
            Goal::Role(role) => format!("{role} Ready"),
            Goal::Started => "Ready".to_owned(),
            Goal::NotRole(role) => format!("Ready in another role than {role}"),
        }
    }
}

impl Context<'_> {
    /// After an action that was accepted: waits if the caller asked for it.
    pub fn wait_after(&mut self, wait: &Wait, usual: Goal, after: &After) -> Result<u8, Refusal> {
        match &wait.wait {
            None => Ok(0),
            Some(target) => {
                let goal = target.map_or(usual, |target| Goal::Role(target.0));
                self.wait_for(goal, wait.timeout, after)
            }
        }
    }

    /// Waits for `goal` on every node that is meant.
    pub fn wait_for(
        &mut self,
        goal: Goal,
        timeout: Option<f64>,
        after: &After,
    ) -> Result<u8, Refusal> {
        self.needed_module()?;
        let mut asking = Asking::new(timeout, false);
        let mut shown = Shown::default();
        loop {
            let views = self.states(&mut asking)?.unwrap_or_default();
            if !views.is_empty() {
                if views.iter().all(|view| goal.is_met(view.state)) {
                    return Ok(0);
                }
                if let Some(line) = shown.line(&views) {
                    self.say(&line);
                }
                if let (After::Swap { role, since }, [view]) = (after, &views[..])
                    && Goal::Role(*role).is_met(view.state)
                    && view.since != *since
                {
                    return Err(failed(format!(
                        "the swap was given up, module {} is {} on {} again: {}",
                        view.module, view.state, view.node, view.reason
                    )));
                }
                let asks = views.iter().find(|view| view.needs_decision);
                if let Some(view) = asks.filter(|_| after.waits_for_ready(goal)) {
                    return Err(undecided(view));
                }
                let lost = views.iter().find(|view| goal.is_lost(view.state));
                if let Some(view) = lost.filter(|_| *after != After::Nothing) {
                    return Err(failed(format!(
                        "module {} stopped on {}: {}; see `lockstep log -m {}`",
                        view.module, view.node, view.reason, view.module
                    )));
                }
            }
            asking.again(goal, &views)?;
        }
    }

    /// Waits until no module runs on any node that is meant. Its daemon has answered before.
    pub fn wait_all_stopped(&mut self, timeout: Option<f64>) -> Result<u8, Refusal> {
        let mut asking = Asking::new(timeout, true);
        let mut shown = Shown::default();
        loop {
            let mut running = Vec::new();
            if let Some(views) = self.states(&mut asking)? {
                running = views;
                running.retain(|view| view.state.role != Role::Stop);
                if running.is_empty() {
                    return Ok(0);
                }
                if let Some(line) = shown.line(&running) {
                    self.say(&line);
                }
            }
            asking.again(Goal::Role(Role::Stop), &running)?;
        }
    }

    /// The states as the daemons tell them; `None`: not now, and it is to be asked again.
    fn states(&self, asking: &mut Asking) -> Result<Option<Vec<ModuleView>>, Refusal> {
        let request = self.request(Command::State);
        match call_within(&self.paths, &request, asking.patience()) {
            Ok(replies) => {
                let views = views(replies)?;
                (asking.heard, asking.absent) = (true, None);
                Ok(Some(views))
            }
            Err(error) if asking.forgives(&error) => Ok(None),
            Err(error) => Err(super::ask::refusal(&error)),
        }
    }

    /// The module here, before a swap is asked for.
    pub fn view_now(&mut self) -> Result<ModuleView, Refusal> {
        let mut request = self.request(Command::State);
        request.nodes = Nodes::Local;
        let replies = self.send(&request).map_err(|error| super::ask::refusal(&error))?;
        let view = views(replies)?.pop();
        view.ok_or_else(|| failed("the daemon did not tell a state"))
    }
}

/// The same question again and again, while a daemon hangs or another one takes its place.
struct Asking {
    begin: Instant,
    limit: Option<Duration>,
    /// A daemon that never was there is not waited for.
    heard: bool,
    absent: Option<Instant>,
}

impl Asking {
    fn new(timeout: Option<f64>, heard: bool) -> Asking {
        let limit = timeout.map(Duration::from_secs_f64);
        Asking { begin: Instant::now(), limit, heard, absent: None }
    }

    /// For one answer.
    fn patience(&self) -> Duration {
        let left = self.limit.map(|limit| limit.saturating_sub(self.begin.elapsed()));
        left.map_or(DAEMON_ABSENT_MAX, |left| left.clamp(PERIOD, DAEMON_ABSENT_MAX))
    }

    fn forgives(&mut self, error: &ClientError) -> bool {
        match error {
            ClientError::TimedOut { .. } => {
                self.absent = None;
                true
            }
            ClientError::NotRunning(_) | ClientError::Cut | ClientError::Io(_) => {
                let absent = self.absent.get_or_insert_with(Instant::now);
                self.heard && absent.elapsed() < DAEMON_ABSENT_MAX
            }
            _ => false,
        }
    }

    /// After a pause; the refusal when time is up.
    fn again(&self, goal: Goal, views: &[ModuleView]) -> Result<(), Refusal> {
        if self.limit.is_some_and(|limit| self.begin.elapsed() >= limit) {
            return Err(timed_out(goal, views, self.begin.elapsed()));
        }
        std::thread::sleep(PERIOD);
        Ok(())
    }
}

fn undecided(view: &ModuleView) -> Refusal {
    Refusal {
        code: code::NEEDS_DECISION.to_owned(),
        text: format!(
            "module {} is {} on {} until a person decides: {}",
            view.module, view.state, view.node, view.reason
        ),
        exit: Exit::Refused,
    }
}

fn timed_out(goal: Goal, views: &[ModuleView], waited: Duration) -> Refusal {
    let now: Vec<String> = views
        .iter()
        .map(|view| format!("{} is {} on {}: {}", view.module, view.state, view.node, view.reason))
        .collect();
    let now = if now.is_empty() { "the daemon does not answer".into() } else { now.join("; ") };
    let waited = waited.as_secs_f64();
    Refusal {
        code: "timed-out".to_owned(),
        text: format!("not {} after {waited:.1} s, it may still come: {now}", goal.shown()),
        exit: Exit::TimedOut,
    }
}

/// The states in the answers; the first refusal if there is one.
fn views(replies: Vec<Reply>) -> Result<Vec<ModuleView>, Refusal> {
    let mut views = Vec::new();
    for reply in replies {
        match reply.response {
            Response::Data { data: Data::Module(view) } => views.push(*view),
            Response::Data { data: Data::Modules(all) } => views.extend(all),
            Response::Refused(refusal) => return Err(refusal),
            _ => {}
        }
    }
    Ok(views)
}

/// Says what has changed since the last line.
#[derive(Default)]
struct Shown {
    words: String,
    line: String,
    at: Option<Instant>,
}

impl Shown {
    fn line(&mut self, views: &[ModuleView]) -> Option<String> {
        let words: Vec<String> = views
            .iter()
            .map(|view| {
                format!("{} on {}: {} ({})", view.module, view.node, view.state, view.reason)
            })
            .collect();
        let words = words.join("; ");
        let mut line = words.clone();
        for progress in views.iter().filter_map(super::state::return_progress) {
            line.push_str(&format!(", {progress}"));
        }
        let due = self.at.is_none_or(|at| at.elapsed() >= PROGRESS_PERIOD);
        if words == self.words && (line == self.line || !due) {
            return None;
        }
        (self.words, self.line, self.at) = (words, line.clone(), Some(Instant::now()));
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_part_of_every_goal_except_stop_and_wait() {
        use Readiness::{NotReady, Ready, Transient};
        let met = |goal: Goal, role, readiness| goal.is_met(State::new(role, readiness));
        assert!(met(Goal::Role(Role::Second), Role::Second, Ready));
        assert!(!met(Goal::Role(Role::Second), Role::Second, Transient));
        assert!(!met(Goal::Role(Role::Alone), Role::Prim, Ready));
        assert!(met(Goal::Role(Role::Stop), Role::Stop, NotReady));
        assert!(met(Goal::Role(Role::Wait), Role::Wait, NotReady));
        assert!(met(Goal::Started, Role::Prim, Ready));
        assert!(!met(Goal::Started, Role::Wait, NotReady));
        assert!(met(Goal::NotRole(Role::Prim), Role::Second, Ready));
        assert!(!met(Goal::NotRole(Role::Prim), Role::Prim, Ready));
        assert!(Goal::Started.is_lost(State::STOP));
        assert!(!Goal::Role(Role::Stop).is_lost(State::STOP));
    }
}
