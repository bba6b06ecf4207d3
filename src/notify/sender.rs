//! One task for each sink: takes from its outbox, sends, waits, sends again.
use super::event::Event;
use super::outbox::{Counts, Done, Outbox, Step};
use super::sink::Sink;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// All sinks of a node. Dropping it ends them.
#[derive(Default)]
pub struct Office(Vec<Desk>);

struct Desk {
    name: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// The lock is held for pushing and taking only, never while something is sent.
struct Shared {
    outbox: Mutex<Outbox>,
    woken: Notify,
}

impl Shared {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Office {
    /// `id`: makes the ids of this daemon's batches its own.
    pub fn open(sinks: Vec<Sink>, id: &str) -> Office {
        let desks = sinks.into_iter().map(|sink| {
            let outbox = Mutex::new(Outbox::new(&format!("{id}-{}", sink.name)));
            let shared = Arc::new(Shared { outbox, woken: Notify::new() });
            let name = sink.name.clone();
            let task = tokio::spawn(work(sink, shared.clone()));
            Desk { name, shared, task }
        });
        Office(desks.collect())
    }

    /// Never waits.
    pub fn tell(&self, events: &[Event]) {
        for desk in self.0.iter().filter(|_| !events.is_empty()) {
            desk.shared.outbox().push(events);
            desk.shared.woken.notify_one();
        }
    }

    pub fn counts(&self) -> Vec<(String, Counts)> {
        self.0.iter().map(|desk| (desk.name.clone(), desk.shared.outbox().counts())).collect()
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        for desk in &self.0 {
            desk.task.abort();
        }
    }
}

async fn work(sink: Sink, shared: Arc<Shared>) {
    let begin = Instant::now();
    loop {
        let step = shared.outbox().next(begin.elapsed());
        match step {
            Step::Idle => shared.woken.notified().await,
            Step::WaitUntil(at) => sleep_until(begin + at).await,
            Step::Send(batch) => {
                let result = sink.send(&batch).await;
                let done = shared.outbox().done(result.is_ok(), begin.elapsed());
                say(&sink, &result, done);
            }
        }
    }
}

fn say(sink: &Sink, result: &Result<(), String>, done: Done) {
    let (name, to) = (&sink.name, &sink.target);
    let reason = result.as_ref().err().map_or("", String::as_str);
    match done {
        Done::Delivered => tracing::info!(name, to, "a notification was delivered"),
        Done::AgainIn(pause) => {
            let again = Duration::as_secs(&pause);
            tracing::warn!(name, to, reason, "a notification failed; again in {again} s");
        }
        Done::GivenUp(events) => {
            tracing::error!(name, to, reason, "a notification of {events} events was given up");
        }
    }
}
