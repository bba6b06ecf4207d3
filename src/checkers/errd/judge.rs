//! What a count means: when it is told, and when to look again. No clock, no process.
use crate::config::userconfig::Proc;
use std::time::Duration;

/// Between the two looks that follow a death. It spans the moment at which a process is between
/// fork and exec, and leaves time to be told within 20 ms.
const AFTER_DEATH: Duration = Duration::from_millis(5);
/// Between the two looks that a poll needs to find something wrong.
const CONFIRM: Duration = Duration::from_secs(1);
/// Between the looks for something that has not been seen yet.
const EAGER: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Judge {
    at_least: usize,
    at_most: Option<usize>,
    poll: Duration,
    told: Option<bool>,
    /// Enough of them have been there since the watch began.
    seen: bool,
    /// The last look found something wrong, which has not been told.
    doubt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub tell: Option<bool>,
    /// Until the next look.
    pub wait: Duration,
}

impl Judge {
    /// `begun`: what is not there yet may still come.
    pub(super) fn new(proc: &Proc, poll: Duration, begun: bool) -> Judge {
        Judge {
            at_least: proc.at_least as usize,
            at_most: proc.at_most.map(|most| most as usize),
            poll,
            told: None,
            seen: !begun,
            doubt: false,
        }
    }

    /// All was well at the last look.
    pub(super) fn content(&self) -> bool {
        self.told == Some(true) && !self.doubt
    }

    /// `died`: one that matched has ended since the last look. `age`: time since the first look.
    pub(super) fn on(&mut self, count: usize, died: bool, age: Duration) -> Next {
        let few = count < self.at_least;
        let many = self.at_most.is_some_and(|most| count > most);
        self.seen |= !few;
        if !few && !many {
            self.doubt = false;
            return self.tell(true);
        }
        if few && !self.seen {
            return match self.poll.saturating_sub(age) {
                Duration::ZERO => self.tell(false),
                left => Next { tell: None, wait: left.min(EAGER) },
            };
        }
        if self.doubt || self.told == Some(false) {
            self.doubt = false;
            return self.tell(false);
        }
        self.doubt = true;
        let wait = if few && died { AFTER_DEATH } else { CONFIRM.min(self.poll) };
        Next { tell: None, wait }
    }

    fn tell(&mut self, up: bool) -> Next {
        let tell = (self.told != Some(up)).then_some(up);
        self.told = Some(up);
        Next { tell, wait: self.poll }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::proc;
    use super::*;

    const POLL: Duration = Duration::from_secs(30);

    fn judge(at_least: u32, at_most: Option<u32>) -> Judge {
        Judge::new(&Proc { at_least, at_most, ..proc("x") }, POLL, true)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_death_is_confirmed_within_milliseconds() {
        let mut judge = judge(1, None);
        assert_eq!(judge.on(1, false, seconds(0)), Next { tell: Some(true), wait: POLL });
        assert!(judge.content());
        assert_eq!(judge.on(0, true, seconds(9)), Next { tell: None, wait: AFTER_DEATH });
        assert!(!judge.content());
        assert_eq!(judge.on(0, false, seconds(9)), Next { tell: Some(false), wait: POLL });
        assert_eq!(judge.on(0, false, seconds(40)), Next { tell: None, wait: POLL });
        assert_eq!(judge.on(1, false, seconds(70)), Next { tell: Some(true), wait: POLL });
    }

    #[test]
    fn a_child_that_matches_replaces_its_parent() {
        let mut judge = judge(1, None);
        judge.on(1, false, seconds(0));
        assert_eq!(judge.on(1, true, seconds(1)), Next { tell: None, wait: POLL });
        judge.on(0, true, seconds(2));
        assert_eq!(judge.on(1, false, seconds(2)), Next { tell: None, wait: POLL });
        // The doubt is over: the next one begins anew.
        assert_eq!(judge.on(0, true, seconds(3)).tell, None);
    }

    #[test]
    fn what_was_begun_long_ago_gets_no_poll() {
        let mut judge = Judge::new(&proc("x"), POLL, false);
        let found = [judge.on(0, false, seconds(0)), judge.on(0, false, seconds(1))];
        assert!(found.iter().any(|next| next.tell == Some(false)), "{found:?}");
    }

    #[test]
    fn what_never_was_there_gets_one_poll() {
        let mut judge = judge(2, None);
        assert_eq!(judge.on(0, false, seconds(0)), Next { tell: None, wait: EAGER });
        assert_eq!(judge.on(1, true, seconds(29)), Next { tell: None, wait: EAGER });
        assert_eq!(judge.on(1, false, POLL), Next { tell: Some(false), wait: POLL });
        assert_eq!(judge.on(2, false, seconds(31)).tell, Some(true));
        assert_eq!(judge.on(1, true, seconds(32)).wait, AFTER_DEATH);
    }

    #[test]
    fn a_process_that_must_not_run_is_confirmed_slowly() {
        let mut judge = judge(0, Some(0));
        assert_eq!(judge.on(0, false, seconds(0)).tell, Some(true));
        assert_eq!(judge.on(1, true, seconds(9)), Next { tell: None, wait: CONFIRM });
        assert_eq!(judge.on(1, false, seconds(9)).tell, Some(false));
        assert_eq!(judge.on(0, true, seconds(10)).tell, Some(true));
    }

    #[test]
    fn a_child_between_fork_and_exec_is_not_one_too_many() {
        let mut judge = judge(1, Some(1));
        judge.on(1, false, seconds(0));
        assert_eq!(judge.on(2, false, seconds(1)).tell, None);
        assert_eq!(judge.on(1, false, seconds(2)), Next { tell: None, wait: POLL });
    }
}
