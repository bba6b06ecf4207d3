//! `rfs checktime= checkintv=`: each replicated directory answers a null request in time.
//!
//! The request is `statfs`: the kernel keeps no answer of it, so it goes through the mount to the
//! engine and back, touches no file and takes no lock. It has a thread of its own, because nothing
//! can end a request that is never answered; while one hangs no other is begun. An error is an
//! answer too: that an engine has died is seen elsewhere, and sooner.
use super::steady::{Check, Look};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Asks a directory; returns with the answer.
pub(super) type Ask = Arc<dyn Fn(&PathBuf) + Send + Sync>;

pub(super) struct Mounted {
    dirs: Vec<PathBuf>,
    /// `checktime`, for all of them.
    limit: Duration,
    ask: Ask,
    /// A request that had no answer in time; the directory that it asks.
    hanging: Option<Receiver<PathBuf>>,
    asked: PathBuf,
}

impl Mounted {
    pub(super) fn new(dirs: Vec<PathBuf>, limit: Duration) -> Mounted {
        let ask = |dir: &PathBuf| {
            let _ = nix::sys::statvfs::statvfs(dir);
        };
        Mounted::asking(dirs, limit, Arc::new(ask))
    }

    pub(super) fn asking(dirs: Vec<PathBuf>, limit: Duration, ask: Ask) -> Mounted {
        let asked = dirs.first().cloned().unwrap_or_default();
        Mounted { dirs, limit, ask, hanging: None, asked }
    }

    /// What the request that hangs has answered meanwhile; `true`: all of it.
    fn take_answers(&mut self) -> bool {
        let Some(progress) = &self.hanging else { return true };
        loop {
            match progress.try_recv() {
                Ok(dir) => self.asked = dir,
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => {
                    self.hanging = None;
                    return true;
                }
            }
        }
    }

    fn silent(&self) -> Look {
        let (dir, limit) = (self.asked.display(), self.limit.as_secs_f64());
        Look::Down(format!(
            "{dir} does not answer: a null request hangs for more than {limit} s (rfs checktime=); \
             the mount or the disk below it is stuck, see `dmesg` and engine.log of the module"
        ))
    }
}

impl Check for Mounted {
    async fn look(&mut self) -> Look {
        if !self.take_answers() {
            return self.silent();
        }
        let (told, progress) = channel();
        let (done, answered) = oneshot::channel();
        let (dirs, ask) = (self.dirs.clone(), self.ask.clone());
        let asking = std::thread::Builder::new().name("rfscheck".to_owned()).spawn(move || {
            for dir in dirs {
                let _ = told.send(dir.clone());
                ask(&dir);
            }
            let _ = done.send(());
        });
        if let Err(error) = asking {
            return Look::Unknown(format!("cannot ask the replicated directories: {error}"));
        }
        self.hanging = Some(progress);
        match timeout(self.limit, answered).await {
            Ok(_) => {
                self.hanging = None;
                Look::Up
            }
            Err(_) => {
                self.take_answers();
                self.silent()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::tests::{LIMIT, until};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_directory_that_does_not_answer_is_down_until_it_does() {
        let (release, released) = channel::<()>();
        let released = Mutex::new(released);
        let stuck = Arc::new(AtomicBool::new(false));
        let asks = Arc::new(AtomicUsize::new(0));
        let (counted, hangs) = (asks.clone(), stuck.clone());
        let ask: Ask = Arc::new(move |dir| {
            counted.fetch_add(1, Ordering::Relaxed);
            if dir.ends_with("b") && hangs.load(Ordering::Relaxed) {
                let _ = released.lock().unwrap().recv();
            }
        });
        let dirs = vec![PathBuf::from("/a"), PathBuf::from("/b"), PathBuf::from("/c")];
        let mut probe = Mounted::asking(dirs.clone(), LIMIT, ask.clone());
        assert_eq!(probe.look().await, Look::Up);
        assert_eq!(asks.swap(0, Ordering::Relaxed), 3);
        stuck.store(true, Ordering::Relaxed);
        let mut probe = Mounted::asking(dirs, Duration::from_millis(50), ask);
        for _ in 0..3 {
            let Look::Down(why) = probe.look().await else { panic!("it hangs") };
            assert!(why.starts_with("/b does not answer"), "{why}");
        }
        assert_eq!(asks.load(Ordering::Relaxed), 2, "one request at a time");
        drop(release);
        until("the request ends", || asks.load(Ordering::Relaxed) == 3).await;
        probe.limit = LIMIT;
        while !probe.take_answers() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(probe.look().await, Look::Up);
    }

    #[tokio::test]
    async fn an_error_is_an_answer() {
        let mut probe = Mounted::new(vec!["/no/such/dir".into(), "/proc".into()], LIMIT);
        assert_eq!(probe.look().await, Look::Up);
    }
}
