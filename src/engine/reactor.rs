//! The one place where the data loop waits: an io_uring, or poll(2) where there is none.
//!
//! Most of what a strict write costs is not work but waking: each of its four hops finds a thread
//! asleep on a CPU that went idle, which costs tens of microseconds on many machines. So before it
//! sleeps the loop looks again for a moment, as long as that was worth it lately, and gives the CPU
//! to whoever else wants it in between. An idle engine sleeps at once.
use crate::capture::ring::{Ring, Wake};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// Longest time of looking before a sleep: a round trip between two machines of one room.
const LOOK: Duration = Duration::from_micros(100);
/// What a run of good luck is worth, in waits without luck.
const CREDIT_MAX: u32 = 16;

enum Source {
    Ring(Box<Ring>),
    Poll { watched: Vec<(RawFd, u32)> },
}

pub struct Reactor {
    source: Source,
    looking: Looking,
}

/// Whether to look again before sleeping.
struct Looking {
    credit: u32,
    /// Not where there is one CPU: what is waited for could not run meanwhile.
    allowed: bool,
}

impl Looking {
    /// Something came after `waited`.
    fn learn(&mut self, waited: Duration) {
        self.credit = match waited <= LOOK {
            true => (self.credit + 2).min(CREDIT_MAX),
            false => self.credit.saturating_sub(1),
        };
    }

    fn is_worth_it(&self) -> bool {
        self.allowed && self.credit > 0
    }
}

impl Reactor {
    pub fn new() -> Reactor {
        let source = match Ring::new() {
            Ok(ring) => Source::Ring(Box::new(ring)),
            Err(_) => Source::Poll { watched: Vec::new() },
        };
        let allowed = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1);
        Reactor { source, looking: Looking { credit: 0, allowed } }
    }

    pub fn ring(&mut self) -> Option<&mut Ring> {
        match &mut self.source {
            Source::Ring(ring) => Some(ring),
            Source::Poll { .. } => None,
        }
    }

    /// Wakes with `number` when the descriptor is readable. Numbers are the caller's.
    pub fn watch(&mut self, fd: RawFd, number: u32) -> std::io::Result<()> {
        match &mut self.source {
            Source::Ring(ring) => ring.watch(fd, number),
            Source::Poll { watched } => {
                watched.push((fd, number));
                Ok(())
            }
        }
    }

    pub fn unwatch(&mut self, number: u32) -> std::io::Result<()> {
        match &mut self.source {
            Source::Ring(ring) => ring.unwatch(number),
            Source::Poll { watched } => {
                watched.retain(|(_, n)| *n != number);
                Ok(())
            }
        }
    }

    /// Waits at most `limit`.
    pub fn wait(&mut self, limit: Duration, wakes: &mut Vec<Wake>) -> std::io::Result<()> {
        let began = Instant::now();
        if self.looking.is_worth_it() {
            let until = began + LOOK.min(limit);
            loop {
                self.look(wakes)?;
                let now = Instant::now();
                if !wakes.is_empty() {
                    self.looking.learn(now - began);
                    return Ok(());
                }
                if now >= until {
                    break;
                }
                std::thread::yield_now();
            }
        }
        let rest = limit.saturating_sub(began.elapsed());
        match &mut self.source {
            Source::Ring(ring) => ring.wait(Some(rest), wakes)?,
            Source::Poll { watched } => poll(watched, Some(rest), wakes)?,
        }
        // A long wait without anything is bad luck too, or an idle loop would look at every tick.
        if !wakes.is_empty() || limit > LOOK {
            self.looking.learn(began.elapsed());
        }
        Ok(())
    }

    /// Takes what is there.
    fn look(&mut self, wakes: &mut Vec<Wake>) -> std::io::Result<()> {
        match &mut self.source {
            Source::Ring(ring) => ring.look(wakes),
            Source::Poll { watched } => poll(watched, Some(Duration::ZERO), wakes),
        }
    }
}

impl Default for Reactor {
    fn default() -> Self {
        Self::new()
    }
}

fn poll(
    watched: &[(RawFd, u32)],
    limit: Option<Duration>,
    wakes: &mut Vec<Wake>,
) -> std::io::Result<()> {
    let mut list: Vec<libc::pollfd> = watched
        .iter()
        .map(|(fd, _)| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 })
        .collect();
    let spec = limit.map(|limit| libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: i64::from(limit.subsec_nanos()),
    });
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the list is valid for its length, the time limit is valid or null.
    let result = unsafe {
        libc::ppoll(list.as_mut_ptr(), list.len() as libc::nfds_t, spec, std::ptr::null())
    };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        return if error.kind() == std::io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
    }
    let ready = list.iter().zip(watched).filter(|(entry, _)| entry.revents != 0);
    wakes.extend(ready.map(|(_, (_, number))| Wake::Readable(*number)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_loop_stops_looking() {
        let mut reactor = Reactor::new();
        reactor.looking = Looking { credit: CREDIT_MAX, allowed: true };
        let mut wakes = Vec::new();
        for _ in 0..CREDIT_MAX {
            reactor.wait(LOOK * 2, &mut wakes).unwrap();
        }
        assert!(wakes.is_empty() && !reactor.looking.is_worth_it());
    }

    #[test]
    fn looking_pays_for_itself_or_ends() {
        let mut looking = Looking { credit: 0, allowed: true };
        assert!(!looking.is_worth_it());
        looking.learn(LOOK / 2);
        assert!(looking.is_worth_it());
        looking.learn(LOOK * 2);
        looking.learn(LOOK * 2);
        assert!(!looking.is_worth_it());
        for _ in 0..1000 {
            looking.learn(LOOK / 2);
        }
        for _ in 0..CREDIT_MAX {
            looking.learn(LOOK * 2);
        }
        assert!(!looking.is_worth_it());
    }
}
