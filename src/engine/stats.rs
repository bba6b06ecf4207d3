//! Figures of the data path for people: counters since start, latencies of the last second.
use std::time::{Duration, Instant};

/// Samples kept of one second; more are thinned by replacing old ones.
const SAMPLES_MAX: usize = 4096;

#[derive(Default)]
pub struct Stats {
    pub operations: u64,
    pub bytes: u64,
    samples: Vec<u32>,
    next: usize,
    p50_us: u64,
    p99_us: u64,
    settled: Option<Instant>,
}

impl Stats {
    /// One mutating operation was answered.
    pub fn answered(&mut self, since: Instant, now: Instant) {
        let us = now.saturating_duration_since(since).as_micros().min(u128::from(u32::MAX)) as u32;
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(us);
        } else {
            self.samples[self.next % SAMPLES_MAX] = us;
        }
        self.next += 1;
    }

    /// Median and 99th percentile of the last whole second, microseconds.
    pub fn latency(&mut self, now: Instant) -> (u64, u64) {
        let due = self.settled.is_none_or(|at| now - at >= Duration::from_secs(1));
        if due {
            self.settled = Some(now);
            self.next = 0;
            let mut samples = std::mem::take(&mut self.samples);
            samples.sort_unstable();
            let at = |share: usize| {
                let last = samples.len().saturating_sub(1);
                samples.get((samples.len() * share / 100).min(last)).copied().map_or(0, u64::from)
            };
            (self.p50_us, self.p99_us) = (at(50), at(99));
        }
        (self.p50_us, self.p99_us)
    }
}
