//! What goes into a batch, and when it is sent. No clock: `now` is the time since the daemon began.
//!
//! ```text
//! event ──▶ nothing sent for a minute ──▶ sent at once
//!       └▶ else waits for the end of that minute, then all that waits is one batch
//! batch ──▶ delivered
//!       └▶ failed: again after 5 s, 10 s, 20 s … 10 min; given up after ATTEMPTS_MAX, an hour
//! ```
//! A batch that failed goes out again as it was, with the same `id`, so that a receiver can tell a
//! repetition. What finds no place pushes the oldest out: the newest says how things are.
use super::notification::Notification;
use std::collections::VecDeque;
use std::time::Duration;

/// What follows an event within this time goes out together.
pub const WINDOW: Duration = Duration::from_secs(60);
pub const WAITING_MAX: usize = 300;
pub const BATCH_MAX: usize = 100;
pub const ATTEMPTS_MAX: u32 = 13;
const AGAIN_MIN: Duration = Duration::from_secs(5);
const AGAIN_MAX: Duration = Duration::from_secs(600);

/// Sent as one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The same in every attempt.
    pub id: String,
    pub events: Vec<Notification>,
    /// Events before these that this receiver never got.
    pub dropped: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Send(Batch),
    WaitUntil(Duration),
    /// Until the next event.
    Idle,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Delivered,
    AgainIn(Duration),
    /// So many events are lost to this receiver.
    GivenUp(u64),
}

/// Since `watch.xml` was applied, in events; `failures` in attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub delivered: u64,
    pub failures: u64,
    pub dropped: u64,
    pub waiting: u64,
}

#[derive(Debug)]
pub struct Outbox {
    /// Makes ids that no other outbox makes.
    name: String,
    number: u64,
    waiting: VecDeque<Notification>,
    sending: Option<Sending>,
    window_ends: Duration,
    /// Dropped and not yet told.
    dropped: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Sending {
    batch: Batch,
    attempts: u32,
    not_before: Duration,
}

impl Outbox {
    pub fn new(name: &str) -> Outbox {
        Outbox {
            name: name.to_owned(),
            number: 0,
            waiting: VecDeque::new(),
            sending: None,
            window_ends: Duration::ZERO,
            dropped: 0,
            counts: Counts::default(),
        }
    }

    pub fn push(&mut self, events: &[Notification]) {
        for event in events {
            if self.waiting.len() >= WAITING_MAX {
                self.waiting.pop_front();
                self.drop_events(1);
            }
            self.waiting.push_back(event.clone());
        }
    }

    /// What to do now. A batch that was handed out is handed out again until [`Outbox::done`].
    pub fn next(&mut self, now: Duration) -> Step {
        if self.sending.is_none() {
            if self.waiting.is_empty() {
                return Step::Idle;
            }
            if now < self.window_ends {
                return Step::WaitUntil(self.window_ends);
            }
            self.window_ends = now + WINDOW;
            let count = self.waiting.len().min(BATCH_MAX);
            self.number += 1;
            let batch = Batch {
                id: format!("{}-{}", self.name, self.number),
                events: self.waiting.drain(..count).collect(),
                dropped: std::mem::take(&mut self.dropped),
            };
            self.sending = Some(Sending { batch, attempts: 0, not_before: now });
        }
        match &self.sending {
            Some(sending) if now < sending.not_before => Step::WaitUntil(sending.not_before),
            Some(sending) => Step::Send(sending.batch.clone()),
            None => Step::Idle,
        }
    }

    /// The batch that [`Outbox::next`] handed out was received, or not.
    pub fn done(&mut self, received: bool, now: Duration) -> Done {
        let Some(mut sending) = self.sending.take() else { return Done::Delivered };
        if received {
            self.counts.delivered += sending.batch.events.len() as u64;
            return Done::Delivered;
        }
        self.counts.failures += 1;
        sending.attempts += 1;
        if sending.attempts >= ATTEMPTS_MAX {
            let lost = sending.batch.events.len() as u64;
            self.drop_events(lost);
            // Was counted when it was dropped; only the telling is still to be done.
            self.dropped += sending.batch.dropped;
            return Done::GivenUp(lost);
        }
        let pause = AGAIN_MIN.saturating_mul(1 << (sending.attempts - 1).min(10)).min(AGAIN_MAX);
        sending.not_before = now + pause;
        self.sending = Some(sending);
        Done::AgainIn(pause)
    }

    pub fn counts(&self) -> Counts {
        let sending = self.sending.as_ref().map_or(0, |sending| sending.batch.events.len());
        Counts { waiting: (self.waiting.len() + sending) as u64, ..self.counts }
    }

    fn drop_events(&mut self, count: u64) {
        self.dropped += count;
        self.counts.dropped += count;
    }
}
