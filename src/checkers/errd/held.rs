//! The processes that were counted, each held by its pidfd, so that the kernel tells their end.
use crate::watch::process::ProcessWatch;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::collections::HashSet;
use std::io;

/// Descriptors for one `<proc>`. Of more processes the end is noticed at the next poll.
const HELD_MAX: usize = 256;

#[derive(Default)]
pub(super) struct Held {
    pids: HashSet<u32>,
    ends: FuturesUnordered<BoxFuture<'static, u32>>,
}

impl Held {
    /// Holds those that are not held yet, and forgets those that do not match any more. `false`:
    /// one has gone since it was counted.
    pub(super) fn hold(&mut self, found: &HashSet<u32>) -> bool {
        self.pids.retain(|pid| found.contains(pid));
        for pid in found {
            if self.pids.len() >= HELD_MAX || self.pids.contains(pid) {
                continue;
            }
            match ProcessWatch::open(*pid) {
                Ok(process) => {
                    self.pids.insert(*pid);
                    self.ends.push(Box::pin(async move {
                        // Not to be waited for counts as ended: there is a look, nothing more.
                        let _ = process.exited().await;
                        process.pid()
                    }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
                Err(error) => tracing::warn!(pid, %error, "process is polled only"),
            }
        }
        true
    }

    /// Resolves when one has ended and fewer than `enough` are left. Cancel safe.
    pub(super) async fn fewer_than(&mut self, enough: usize) {
        while let Some(pid) = self.ends.next().await {
            if self.pids.remove(&pid) && self.pids.len() < enough {
                return;
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{LIMIT, QUIET};
    use super::*;
    use std::process::{Command, Stdio};
    use tokio::time::timeout;

    #[tokio::test]
    async fn one_that_does_not_match_any_more_hides_no_death() {
        let sleep = || Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
        let mut both = [sleep(), sleep()];
        let pids = [both[0].id(), both[1].id()];
        let mut held = Held::default();
        assert!(held.hold(&HashSet::from([pids[0], pids[1]])));
        assert!(held.hold(&HashSet::from([pids[0]])), "the second has another name now");
        both[0].kill().unwrap();
        timeout(LIMIT, held.fewer_than(1)).await.unwrap();
        both[1].kill().unwrap();
        assert!(timeout(QUIET, held.fewer_than(1)).await.is_err(), "not one of ours");
        for child in &mut both {
            child.wait().unwrap();
        }
        assert!(!held.hold(&HashSet::from([pids[0]])), "gone since it was counted");
    }
}
