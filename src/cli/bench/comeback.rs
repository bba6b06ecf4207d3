//! What a return costs: the secondary goes, a file changes in random pages, it comes back.
use super::content::{self, PAGE};
use super::interrupt;
use super::pair;
use super::workload::{Halt, LARGE};
use crate::api::{Command, Exit, ModuleView, Refusal};
use crate::cli::context::Context;
use crate::model::{NodeName, Readiness, Role, State};
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two questions.
const PERIOD: Duration = Duration::from_millis(20);
/// Stop scripts of the secondary, and its return, may take this long.
const LIMIT: Duration = Duration::from_secs(600);
/// Both disks are brought to one point every few seconds; the laid file is waited for that long.
const DURABLE_LIMIT: Duration = Duration::from_secs(20);
/// One page in so many changes.
const SHARE: u64 = 100;

/// One return.
#[derive(Clone, Debug, PartialEq)]
pub struct Comeback {
    pub file_bytes: u64,
    /// Bytes of the benchmark's file that changed while the secondary was away.
    pub changed_bytes: u64,
    /// From the order to start until the secondary was Ready, seconds.
    pub seconds: f64,
    /// What the data link sent for it; `None` if the engine did not tell.
    pub sent_bytes: Option<u64>,
    /// How the return was done, e.g. `zones`.
    pub plan: Option<String>,
}

impl Comeback {
    pub fn ratio(&self) -> Option<f64> {
        Some(self.sent_bytes? as f64 / self.changed_bytes.max(1) as f64)
    }
}

/// Stops the secondary, changes 1 % of a file in `folder`, starts it and waits for it. Whatever
/// fails in between, the secondary is told to start again.
pub fn measure(
    context: &mut Context<'_>,
    peer: &NodeName,
    folder: &Path,
    file_bytes: u64,
) -> Result<Comeback, Refusal> {
    let path = folder.join("return");
    let file_bytes = file_bytes * LARGE;
    let file = content::lay(&path, file_bytes).map_err(refusal)?;
    wait_durable(context)?;
    context.say(&format!("return: stopping {peer}"));
    if let Err(refused) = pair::order(context, peer, Command::Stop) {
        // Refused, or the answer is lost: then it may stop all the same.
        let _ = pair::order(context, peer, Command::Start);
        return Err(refused);
    }
    let pages = file_bytes / PAGE;
    let changed = wait(context, "the secondary to stop", is_away, true).and_then(|_| {
        content::scatter(&file, &path, pages, pages.div_ceil(SHARE)).map_err(refusal)
    });
    context.say(&format!("return: starting {peer}"));
    if changed.is_err() {
        // A start is lost on a module that is still stopping; now nothing else counts.
        let _ = wait(context, "the secondary to stop", is_away, false);
    }
    let begin = Instant::now();
    let started = pair::order(context, peer, Command::Start);
    let changed_bytes = match (changed, started) {
        (Ok(changed), Ok(())) => changed,
        (Err(refused), Ok(())) => return Err(refused),
        (_, Err(mut refused)) => {
            refused.text += &format!("; {peer} is stopped: type `lockstep start` for it there");
            return Err(refused);
        }
    };
    let view = wait(context, "the secondary to come back", is_back, true)?;
    let seconds = begin.elapsed().as_secs_f64();
    let view = told(context, view)?;
    let status = view.replication.and_then(|replication| replication.status);
    let progress = status.and_then(|status| status.progress).filter(|p| p.finished);
    Ok(Comeback {
        file_bytes,
        changed_bytes,
        seconds,
        sent_bytes: progress.as_ref().map(|progress| progress.bytes_sent),
        plan: progress.map(|progress| progress.plan),
    })
}

/// Until what was laid is on both disks and remembered so: else the return would, rightly, look
/// at it again.
fn wait_durable(context: &mut Context<'_>) -> Result<(), Refusal> {
    let positions = |view: &ModuleView| {
        view.engine_status().map(|status| (status.acknowledged, status.durable))
    };
    let begin = Instant::now();
    // The status is a second old at most: of the first one nothing is known yet.
    let mut wanted = None;
    while begin.elapsed() < DURABLE_LIMIT && !interrupt::asked() {
        let now = positions(&pair::look(context)?);
        if begin.elapsed() > Duration::from_millis(1_500) {
            wanted = wanted.or(now.map(|(acknowledged, _)| acknowledged));
        }
        if let (Some(wanted), Some((_, durable))) = (wanted, now)
            && durable >= wanted
        {
            return Ok(());
        }
        std::thread::sleep(PERIOD);
    }
    Ok(())
}

fn peer_state(view: &ModuleView) -> Option<State> {
    view.peers.first().and_then(|peer| peer.state)
}

fn is_away(view: &ModuleView) -> bool {
    view.state == State::new(Role::Alone, Readiness::Ready)
        && peer_state(view).is_none_or(|state| state.role == Role::Stop)
}

fn is_back(view: &ModuleView) -> bool {
    view.state == State::new(Role::Prim, Readiness::Ready)
        && peer_state(view) == Some(State::new(Role::Second, Readiness::Ready))
}

/// The last words about the return may come a moment after it.
fn told(context: &mut Context<'_>, mut view: ModuleView) -> Result<ModuleView, Refusal> {
    let begin = Instant::now();
    let finished = |view: &ModuleView| {
        let progress = view.engine_status().and_then(|status| status.progress.as_ref());
        progress.is_some_and(|progress| progress.finished)
    };
    while !finished(&view) && begin.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(PERIOD);
        view = pair::look(context)?;
    }
    Ok(view)
}

fn wait(
    context: &mut Context<'_>,
    what: &str,
    holds: fn(&ModuleView) -> bool,
    interruptible: bool,
) -> Result<ModuleView, Refusal> {
    let begin = Instant::now();
    loop {
        let view = pair::look(context)?;
        if holds(&view) {
            return Ok(view);
        }
        if interruptible && interrupt::asked() {
            return Err(refusal(Halt::Interrupted));
        }
        if begin.elapsed() > LIMIT {
            let peer = peer_state(&view).map_or("unknown".to_owned(), |state| state.to_string());
            let text = format!(
                "waited {} s for {what}: module {} is {} here ({}) and {peer} there; see \
                 `lockstep log -m {1}` on both nodes",
                LIMIT.as_secs(),
                view.module,
                view.state,
                view.reason
            );
            return Err(Refusal { code: "timed-out".into(), text, exit: Exit::TimedOut });
        }
        std::thread::sleep(PERIOD);
    }
}

pub fn refusal(halt: Halt) -> Refusal {
    let code = match &halt {
        Halt::Interrupted => "interrupted",
        Halt::Io { .. } => "failed",
    };
    let text = match &halt {
        Halt::Interrupted => "interrupted: no figures".into(),
        Halt::Io { .. } => format!("{halt}; nothing of the application was touched"),
    };
    Refusal { code: code.to_owned(), text, exit: Exit::Failed }
}
