//! How much of a return may be on its way to the peer: live operations share the stream, and each
//! waits for what was sent before it.
//!
//! The window grows while the peer answers soon and shrinks when answers come late, after the idea
//! of LEDBAT (RFC 6817): what the answer takes longer than the quickest one is time in a queue, of
//! the network, of this node's own connection or of the peer's disk. A fast network is filled; on a
//! slow one the queue stays short.
use std::time::{Duration, Instant};

/// Time in queues that a return may cost a live operation.
const QUEUE: Duration = Duration::from_millis(40);
/// In flight whatever the answers say; one more part may lie beyond, of a compared zone up to 1
/// MiB.
const WINDOW_MIN: u64 = 256 << 10;
const WINDOW_FIRST: u64 = 512 << 10;
const WINDOW_MAX: u64 = 16 << 20;

/// Bytes of a return that the peer has not answered, and how many that may be.
#[derive(Debug)]
pub struct Pace {
    unanswered: u64,
    window: u64,
    /// Quickest answer so far.
    quickest: Duration,
    /// The window shrank: what was sent before says nothing about the new one.
    shrunk: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { unanswered: 0, window: WINDOW_FIRST, quickest: Duration::MAX, shrunk: None }
    }
}

impl Pace {
    /// One more part may be sent.
    pub fn allows(&self) -> bool {
        self.unanswered < self.window
    }

    pub fn sent(&mut self, bytes: u64) {
        self.unanswered += bytes;
    }

    /// The peer has applied `bytes` that were sent at `sent`.
    pub fn answered(&mut self, bytes: u64, sent: Instant, now: Instant) {
        let filled = self.unanswered >= self.window / 2;
        self.unanswered = self.unanswered.saturating_sub(bytes);
        let took = now.saturating_duration_since(sent);
        self.quickest = self.quickest.min(took);
        let queued = took - self.quickest;
        let anew = self.shrunk.is_none_or(|shrunk| sent >= shrunk);
        if queued <= QUEUE / 2 && filled {
            self.window = (self.window + bytes).min(WINDOW_MAX);
        } else if queued > QUEUE && anew {
            self.window = (self.window / 2).max(WINDOW_MIN);
            self.shrunk = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A network of so many bytes a millisecond and a queue without end, parts of 256 KiB: what
    /// arrived in ten seconds, and the longest time in the queue after the first second.
    fn run(rate: u64, delay_ms: u64) -> (u64, Duration) {
        const PART: u64 = 256 << 10;
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let mut pace = Pace::default();
        let (mut queue, mut answers) = (VecDeque::new(), VecDeque::new());
        let (mut left, mut arrived, mut longest) = (0, 0, 0);
        for ms in 0..10_000 {
            while pace.allows() {
                pace.sent(PART);
                queue.push_back((PART, ms));
                left += PART;
            }
            if ms > 1_000 {
                longest = longest.max(left / rate);
            }
            let mut budget = rate;
            while let Some((bytes, sent)) = queue.front_mut() {
                let part = budget.min(*bytes);
                (*bytes, budget, left) = (*bytes - part, budget - part, left - part);
                arrived += part;
                if *bytes > 0 {
                    break;
                }
                answers.push_back((*sent, ms + delay_ms));
                queue.pop_front();
            }
            while let Some((sent, _)) = answers.front().filter(|(_, due)| *due <= ms) {
                pace.answered(PART, at(*sent), at(ms));
                answers.pop_front();
            }
        }
        (arrived, Duration::from_millis(longest))
    }

    #[test]
    fn a_slow_network_has_a_short_queue_and_is_full() {
        // 100 Mbit/s: a part takes 21 ms.
        let (arrived, queue) = run(12_500, 1);
        assert!(arrived >= 12_500 * 9_500, "{arrived} bytes in ten seconds");
        assert!(queue <= Duration::from_millis(150), "{queue:?} in the queue");
    }

    #[test]
    fn a_fast_network_is_filled() {
        for (rate, delay_ms) in [(1_250_000, 1), (125_000, 20)] {
            let (arrived, queue) = run(rate, delay_ms);
            assert!(arrived >= rate * 9_000, "{arrived} bytes in ten seconds at {rate}");
            assert!(queue <= Duration::from_millis(120), "{queue:?} in the queue");
        }
    }

    #[test]
    fn answers_that_come_late_leave_something_on_its_way() {
        let mut pace = Pace::default();
        let began = Instant::now();
        for second in 0..100 {
            let sent = began + Duration::from_secs(second);
            pace.sent(1 << 20);
            let delay = if second == 0 { 1 } else { 900 };
            pace.answered(1 << 20, sent, sent + Duration::from_millis(delay));
        }
        assert!(pace.allows());
        pace.sent(WINDOW_MIN);
        assert!(!pace.allows());
    }
}
