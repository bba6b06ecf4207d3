//! Rates from counters that are looked at more often than they change.
//!
//! An engine tells its counters once a second, and the moments in which one is seen to change are
//! those in which it was told: a rate is taken between two of them, not between two looks.
use std::collections::VecDeque;
use std::time::Duration;

/// Over how long a rate is taken.
const WINDOW: Duration = Duration::from_secs(5);
/// Nothing has changed for longer than two words of an engine: it is idle.
const IDLE: Duration = Duration::from_millis(2_500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: Duration,
    operations: u64,
    bytes: u64,
}

/// Per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub operations: f64,
    pub bytes: f64,
}

/// The counters of one engine.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    first: Option<Point>,
    /// Moments in which they changed.
    changes: VecDeque<Point>,
    looked: Duration,
}

impl Meter {
    /// `at`: on a clock that never goes back.
    pub fn look(&mut self, at: Duration, operations: u64, bytes: u64) {
        let point = Point { at, operations, bytes };
        self.looked = at;
        let Some(known) = self.changes.back().or(self.first.as_ref()).copied() else {
            self.first = Some(point);
            return;
        };
        if operations < known.operations || bytes < known.bytes {
            // Another engine, which counts from 0.
            *self = Meter { first: Some(point), changes: VecDeque::new(), looked: at };
            return;
        }
        if (operations, bytes) == (known.operations, known.bytes) {
            return;
        }
        // After a rest the change before it says nothing about now.
        if at.saturating_sub(known.at) > IDLE {
            self.changes.clear();
            self.first = Some(Point { at: at.saturating_sub(Duration::from_secs(1)), ..known });
        }
        self.changes.push_back(point);
        while self.changes.len() > 2 && at.saturating_sub(self.changes[0].at) > WINDOW {
            self.changes.pop_front();
        }
    }

    /// `None`: not looked at for long enough.
    pub fn rate(&self) -> Option<Rate> {
        let first = self.first?;
        let idle = Some(Rate { operations: 0.0, bytes: 0.0 });
        let (from, to) = match (self.changes.front(), self.changes.back()) {
            (None, _) | (_, None) => {
                return idle.filter(|_| self.looked.saturating_sub(first.at) >= IDLE);
            }
            (_, Some(to)) if self.looked.saturating_sub(to.at) > IDLE => return idle,
            (Some(_), Some(to)) if self.changes.len() == 1 => (first, *to),
            (Some(from), Some(to)) => (*from, *to),
        };
        let seconds = to.at.saturating_sub(from.at).as_secs_f64().max(0.2);
        Some(Rate {
            operations: (to.operations - from.operations) as f64 / seconds,
            bytes: (to.bytes - from.bytes) as f64 / seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Told each second, looked at four times as often, at moments that fit nothing.
    #[test]
    fn a_steady_stream_has_a_steady_rate() {
        let mut meter = Meter::default();
        for look in 0u64..60 {
            let at = Duration::from_millis(170 + look * 250);
            let told = at.as_secs();
            meter.look(at, told * 100, told * 4096);
            if at.as_secs() >= 3 {
                let rate = meter.rate().unwrap();
                assert!((80.0..125.0).contains(&rate.operations), "{at:?}: {rate:?}");
            }
        }
    }

    #[test]
    fn an_end_a_pause_and_another_engine() {
        let (mut meter, ms) = (Meter::default(), Duration::from_millis);
        meter.look(ms(0), 10, 10);
        assert_eq!(meter.rate(), None, "one look is no rate");
        meter.look(ms(1_000), 110, 10);
        meter.look(ms(2_000), 210, 10);
        assert_eq!(meter.rate().unwrap().operations, 100.0);
        meter.look(ms(5_000), 210, 10);
        assert_eq!(meter.rate().unwrap().operations, 0.0, "idle");
        meter.look(ms(60_000), 260, 10);
        assert_eq!(meter.rate().unwrap().operations, 50.0, "not spread over the rest");
        meter.look(ms(61_000), 5, 0);
        assert_eq!(meter.rate(), None, "another engine");
    }
}
