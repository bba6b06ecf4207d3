//! `rfs locktimeout`: how long the application waits for a secondary whose link is up and which
//! acknowledges nothing, because its disk or its file system hangs.
//!
//! ```text
//! what hangs there             who notices                            after
//! the node, its network        the link, silent                       link time-out, 2.5 s at most
//! the engine as a whole        the link, silent                       the same
//! the disk alone               this: the oldest operation sent stays
//!                              unacknowledged, or not on that disk    locktimeout
//! ```
//! Then the session is broken as if the link were down: what waits is held, the daemon settles that
//! nobody can be promoted with an older copy (rule A2), and this node goes on alone. That node is
//! dialled again only after the same time: each new session would make the application wait again.
use super::leader::LOCAL_KEY;
use super::run::Engine;
use std::time::{Duration, Instant};

/// More time than this between two looks was a pause of this process; it says nothing of the peer.
const GAP_MAX: Duration = Duration::from_millis(500);

/// How long one and the same operation has been the oldest that waits for the peer.
#[derive(Debug, Default)]
pub struct Patience {
    oldest: Option<u64>,
    waited: Duration,
    looked: Option<Instant>,
}

impl Patience {
    /// `oldest`: number of the oldest operation that waits now. How long it has.
    pub fn look(&mut self, oldest: Option<u64>, now: Instant) -> Duration {
        let passed = self.looked.map_or(Duration::ZERO, |looked| now - looked).min(GAP_MAX);
        self.waited = match oldest.is_some() && oldest == self.oldest {
            true => self.waited + passed,
            false => Duration::ZERO,
        };
        (self.oldest, self.looked) = (oldest, Some(now));
        self.waited
    }
}

impl Engine {
    /// Gives a secondary up that has kept the application waiting for too long.
    pub fn give_up_stuck_peer(&mut self) {
        let Some(limit) = self.config.ack_limit_ms.map(Duration::from_millis) else { return };
        let oldest = if self.has_session() { self.oldest_waiting() } else { None };
        let now = self.now;
        if self.leader.patience.look(oldest, now) < limit {
            return;
        }
        let peer = self.leader.peer.as_ref().map_or_else(String::new, ToString::to_string);
        let reason = format!(
            "{peer} has not acknowledged operation {} for {} s (rfs locktimeout), its disk hangs: \
             see `dmesg` there; it is asked again after the same time",
            oldest.unwrap_or_default(),
            limit.as_secs_f64()
        );
        self.break_session(&reason);
        self.leader.next_dial = Some(now + limit);
    }

    /// Sent and not acknowledged, or acknowledged and not yet on the disk that a barrier waits for.
    fn oldest_waiting(&self) -> Option<u64> {
        let sent = self.leader.order.front().map(|flight| flight.seq);
        let waiting = self.leader.barriers.waiting.iter();
        let barriers = waiting.filter(|(key, barrier)| **key < LOCAL_KEY && !barrier.remote);
        barriers.map(|(key, _)| *key).chain(sent).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every `step` at what `oldest` says.
    fn waited(step: u64, oldest: &[Option<u64>]) -> u64 {
        let (mut patience, begin) = (Patience::default(), Instant::now());
        let looks = oldest.iter().enumerate().map(|(turn, oldest)| {
            patience.look(*oldest, begin + Duration::from_millis(step * turn as u64))
        });
        looks.last().unwrap().as_millis() as u64
    }

    #[test]
    fn only_one_and_the_same_operation_counts() {
        assert_eq!(waited(50, &[Some(1); 21]), 1000);
        assert_eq!(waited(50, &[Some(1), Some(1), Some(2), Some(2), Some(2)]), 100);
        assert_eq!(waited(50, &[Some(1), Some(1), None, Some(1)]), 0);
        assert_eq!(waited(50, &[None; 9]), 0);
    }

    #[test]
    fn a_pause_of_this_process_is_no_patience() {
        assert_eq!(waited(60_000, &[Some(1), Some(1)]), GAP_MAX.as_millis() as u64);
    }
}
