//! One task for each receiver: takes from its outbox, sends, waits, sends again.
use super::notification::Notification;
use super::observer::{Look, Observer};
use super::outbox::{Counts, Done, Outbox, Step};
use super::receiver::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// All receivers of a node. Dropping it ends them.
#[derive(Default)]
pub struct Receivers(Vec<Sender>);

struct Sender {
    name: String,
    /// What this receiver has heard of: one that comes later is told what holds by then.
    observer: Observer,
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

impl Receivers {
    /// `id`: makes the ids of this daemon's batches its own.
    pub fn open(receivers: Vec<Receiver>, id: &str) -> Receivers {
        let mut all = Receivers::default();
        all.add(receivers, id);
        all
    }

    /// Those that are there go on as they are.
    pub fn add(&mut self, receivers: Vec<Receiver>, id: &str) {
        let senders = receivers.into_iter().map(|receiver| {
            let outbox = Mutex::new(Outbox::new(&format!("{id}-{}", receiver.name)));
            let shared = Arc::new(Shared { outbox, woken: Notify::new() });
            let name = receiver.name.clone();
            let task = tokio::spawn(work(receiver, shared.clone()));
            Sender { name, observer: Observer::default(), shared, task }
        });
        self.0.extend(senders);
    }

    /// Tells each what has happened since it was told last. Never waits.
    pub fn look(&mut self, look: &Look<'_>) {
        for sender in &mut self.0 {
            let events = sender.observer.look(look);
            sender.tell(&events);
        }
    }

    #[cfg(test)]
    pub(super) fn tell(&self, events: &[Notification]) {
        self.0.iter().for_each(|sender| sender.tell(events));
    }

    pub fn counts(&self) -> Vec<(String, Counts)> {
        self.0.iter().map(|sender| (sender.name.clone(), sender.shared.outbox().counts())).collect()
    }
}

impl Sender {
    fn tell(&self, events: &[Notification]) {
        if !events.is_empty() {
            self.shared.outbox().push(events);
            self.shared.woken.notify_one();
        }
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        for sender in &self.0 {
            sender.task.abort();
        }
    }
}

async fn work(receiver: Receiver, shared: Arc<Shared>) {
    let begin = Instant::now();
    loop {
        let step = shared.outbox().next(begin.elapsed());
        match step {
            Step::Idle => shared.woken.notified().await,
            Step::WaitUntil(at) => sleep_until(begin + at).await,
            Step::Send(batch) => {
                let result = receiver.send(&batch).await;
                let done = shared.outbox().done(result.is_ok(), begin.elapsed());
                say(&receiver, &result, done);
            }
        }
    }
}

fn say(receiver: &Receiver, result: &Result<(), String>, done: Done) {
    let (name, to) = (&receiver.name, &receiver.target);
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
