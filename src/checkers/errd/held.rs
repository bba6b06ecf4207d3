//! The processes that were counted, each held by its pidfd, so that the kernel tells their end.
use crate::watch::process::ProcessWatch;
use futures_util::future::BoxFuture;
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::io;
use std::task::Poll;

/// Descriptors for one `<proc>`. Of more processes the end is noticed at the next poll.
const HELD_MAX: usize = 256;

/// Each by its number, with its end.
#[derive(Default)]
pub(super) struct Held(HashMap<u32, BoxFuture<'static, ()>>);

impl Held {
    /// Holds those that are not held yet, and lets go of those that do not match any more. Returns
    /// how many of `found` are there: one may have gone since it was seen.
    pub(super) fn hold(&mut self, found: &HashSet<u32>) -> usize {
        self.0.retain(|pid, _| found.contains(pid));
        let mut count = found.len();
        for pid in found {
            if self.0.len() >= HELD_MAX || self.0.contains_key(pid) {
                continue;
            }
            match ProcessWatch::open(*pid) {
                Ok(process) => {
                    // Not to be waited for counts as ended: there is a look, nothing more.
                    let end = async move { drop(process.exited().await) };
                    self.0.insert(*pid, Box::pin(end));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => count -= 1,
                Err(error) => tracing::warn!(pid, %error, "process is polled only"),
            }
        }
        count
    }

    /// Resolves when one has ended and fewer than `enough` are left. Cancel safe.
    pub(super) async fn fewer_than(&mut self, enough: usize) {
        poll_fn(|context| {
            let before = self.0.len();
            self.0.retain(|_, end| end.as_mut().poll(context).is_pending());
            match self.0.len() < before.min(enough) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{LIMIT, QUIET};
    use super::*;
    use std::fs;
    use std::process::{Child, Command, Stdio};
    use tokio::time::timeout;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap()
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Descriptors of this process that hold that one.
    fn descriptors(pid: u32) -> usize {
        let entries = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
        // One that belongs to another test may be closed meanwhile.
        let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let line = format!("Pid:\t{pid}");
        texts.filter(|text| text.lines().any(|found| found == line)).count()
    }

    #[tokio::test]
    async fn one_that_does_not_match_any_more_hides_no_death() {
        let (first, second) = (sleeper(), sleeper());
        let pids = [first.id(), second.id()];
        let mut held = Held::default();
        assert_eq!(held.hold(&HashSet::from(pids)), 2);
        assert_eq!(held.hold(&HashSet::from([pids[0]])), 1, "the second has another name now");
        end(first);
        timeout(LIMIT, held.fewer_than(1)).await.unwrap();
        end(second);
        assert!(timeout(QUIET, held.fewer_than(1)).await.is_err(), "not one of ours");
    }

    /// Among many that come and go there is always one: it must not keep the others from being
    /// counted and held.
    #[tokio::test]
    async fn one_that_has_gone_since_it_was_seen_is_not_counted() {
        let gone = sleeper();
        let number = gone.id();
        end(gone);
        let there: Vec<Child> = (0..8).map(|_| sleeper()).collect();
        let mut held = Held::default();
        let seen = there.iter().map(Child::id).chain([number]).collect();
        assert_eq!(held.hold(&seen), 8);
        for (left, child) in (0..8).rev().zip(there) {
            end(child);
            timeout(LIMIT, held.fewer_than(left + 1)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn one_whose_title_comes_and_goes_has_one_descriptor() {
        let child = sleeper();
        let mut held = Held::default();
        for _ in 0..4 {
            held.hold(&HashSet::from([child.id()]));
            assert_eq!(descriptors(child.id()), 1);
            held.hold(&HashSet::new());
        }
        assert_eq!(descriptors(child.id()), 0);
        held.hold(&HashSet::from([child.id()]));
        end(child);
        timeout(LIMIT, held.fewer_than(1)).await.unwrap();
    }
}
