//! `errd`: the processes and services that must run (or must not), counted.
//!
//! ```text
//! a matching process ends (pidfd) -> look at once, and again after 5 ms -> still too few: down
//! every polltimer                 -> look; wrong? look again after a second -> still wrong: down
//! not seen since the watch began  -> look twice a second; nothing within a polltimer: down
//! ```
//! What this means for a program that
//!
//! * forks and lets its parent end: the child matches, nothing is told;
//! * executes itself again: its number and pidfd stay, nothing ends; a new name counts from the
//!   next look on;
//! * is started again by a supervisor of its own: down, unless the new process is there within
//!   5 ms. Watch the supervisor, or the unit (`service="yes"`), instead of the process;
//! * is not there yet when its script has ended (`app &`, a slow start): one polltimer of patience,
//!   after `start_after` of them.
//!
//! A service is not held by pidfd: systemd may be starting it again. It is asked for every
//! polltimer. Without systemd a service is a process of that name.
use super::processes::{Pattern, matching};
use super::service::Manager;
use super::{Reading, Refused, Running};
use crate::config::userconfig::{Errd, Proc, When};
use held::Held;
use judge::{Judge, Next};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

mod held;
mod judge;

/// Looks caused by deaths are at least so far apart: a program that dies all the time costs CPU
/// time, not all of it.
const LOOK_GAP: Duration = Duration::from_millis(10);
/// After a look that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is known of a watched process, and what the configuration wants done about it.
#[derive(Clone, Debug)]
pub struct ProcReading {
    /// `proc.NAME`, by `errd`.
    pub reading: Reading,
    /// Action and class, name and kind.
    pub proc: Arc<Proc>,
}

/// Watches the processes whose class `active` admits, from now until [`Running`] is dropped. To be
/// called when a class becomes active (`prim`: after start_prim), once for each class, and again
/// after a restart of the application: the first reading comes anew. `begun`: the application has
/// just been started, and what is not there yet may still come.
pub fn watch(
    errd: &Errd,
    active: impl Fn(&When) -> bool,
    begun: bool,
    to: mpsc::Sender<ProcReading>,
) -> Result<Running, Refused> {
    let mut tasks = JoinSet::new();
    for proc in errd.procs.iter().filter(|proc| active(&proc.class)) {
        let watched = Watched {
            proc: Arc::new(proc.clone()),
            pattern: Arc::new(Pattern::of(proc).map_err(Refused)?),
            manager: Manager::system(),
            poll: errd.poll,
            begun,
            to: to.clone(),
        };
        tasks.spawn(watched.follow());
    }
    Ok(Running { _tasks: tasks })
}

struct Watched {
    proc: Arc<Proc>,
    pattern: Arc<Pattern>,
    manager: Manager,
    poll: Duration,
    begun: bool,
    to: mpsc::Sender<ProcReading>,
}

impl Watched {
    /// Looks until nobody listens any more.
    async fn follow(self) {
        if self.begun {
            sleep(self.poll.saturating_mul(self.proc.start_after.saturating_sub(1))).await;
        }
        let begin = Instant::now();
        let mut judge = Judge::new(&self.proc, self.poll, self.begun);
        let mut held = Held::default();
        let mut died = false;
        while !self.to.is_closed() {
            let wait = match self.count(&mut held, &mut died).await {
                Ok(count) => {
                    let Next { tell, wait } = judge.on(count, died, begin.elapsed());
                    if let Some(up) = tell
                        && !self.tell(up, count).await
                    {
                        return;
                    }
                    wait
                }
                Err(why) => {
                    tracing::warn!(proc = self.proc.name, why, "cannot look, value kept");
                    self.poll.min(LOOK_AGAIN)
                }
            };
            let looked = Instant::now();
            let enough = match judge.content() {
                true => self.proc.at_least as usize,
                // Any change may be the one that is waited for.
                false => usize::MAX,
            };
            died = tokio::select! {
                () = sleep_until(looked + wait) => false,
                () = held.fewer_than(enough) => true,
            };
            if died {
                sleep_until(looked + LOOK_GAP).await;
            }
        }
    }

    /// Counts, and holds what it has counted. `died` also when one ended meanwhile.
    async fn count(&self, held: &mut Held, died: &mut bool) -> Result<usize, String> {
        if self.proc.service && self.manager.runs() {
            *died = false;
            return self.manager.is_active(&self.proc.name).await.map(usize::from);
        }
        let pattern = self.pattern.clone();
        let found = spawn_blocking(move || matching(&pattern)).await;
        let found = found.map_err(std::io::Error::other).and_then(|found| found);
        let found = found.map_err(|error| format!("cannot read /proc: {error}"))?;
        let count = held.hold(&found);
        // Looked at again, as after any death: its child may have come behind the walk.
        *died |= count < found.len();
        Ok(count)
    }

    async fn tell(&self, up: bool, count: usize) -> bool {
        let reading = Reading {
            resource: format!("proc.{}", self.proc.name),
            up,
            why: if up { String::new() } else { why(&self.proc, count) },
            by: "errd",
        };
        self.to.send(ProcReading { reading, proc: self.proc.clone() }).await.is_ok()
    }
}

fn why(proc: &Proc, count: usize) -> String {
    let what = if proc.service { "Service" } else { "Process" };
    let name = &proc.name;
    match proc.at_most {
        Some(0) => format!("{what} {name} running, it must not"),
        Some(most) if count > most as usize => {
            format!("{what} {name} running {count} times, at most {most} allowed")
        }
        _ if count == 0 => format!("{what} {name} not running"),
        _ => format!("{what} {name} running {count} times, at least {} wanted", proc.at_least),
    }
}

#[cfg(test)]
mod tests;
