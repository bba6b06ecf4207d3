//! The one place where the data loop waits: an io_uring, or poll(2) where there is none.
use crate::capture::ring::{Ring, Wake};
use std::os::fd::RawFd;
use std::time::Duration;

pub enum Reactor {
    Ring(Box<Ring>),
    Poll { watched: Vec<(RawFd, u32)> },
}

impl Reactor {
    pub fn new() -> Reactor {
        match Ring::new() {
            Ok(ring) => Reactor::Ring(Box::new(ring)),
            Err(_) => Reactor::Poll { watched: Vec::new() },
        }
    }

    pub fn ring(&mut self) -> Option<&mut Ring> {
        match self {
            Reactor::Ring(ring) => Some(ring),
            Reactor::Poll { .. } => None,
        }
    }

    /// Wakes with `number` when the descriptor is readable. Numbers are the caller's.
    pub fn watch(&mut self, fd: RawFd, number: u32) -> std::io::Result<()> {
        match self {
            Reactor::Ring(ring) => ring.watch(fd, number),
            Reactor::Poll { watched } => {
                watched.push((fd, number));
                Ok(())
            }
        }
    }

    pub fn unwatch(&mut self, number: u32) -> std::io::Result<()> {
        match self {
            Reactor::Ring(ring) => ring.unwatch(number),
            Reactor::Poll { watched } => {
                watched.retain(|(_, n)| *n != number);
                Ok(())
            }
        }
    }

    /// Waits at most `limit`; with `None` until something happens.
    pub fn wait(&mut self, limit: Option<Duration>, wakes: &mut Vec<Wake>) -> std::io::Result<()> {
        match self {
            Reactor::Ring(ring) => ring.wait(limit, wakes),
            Reactor::Poll { watched } => poll(watched, limit, wakes),
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
