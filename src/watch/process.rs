//! The end of a process, told by the kernel through a pidfd.
//!
//! A pidfd names one process for good: the number may be reused, the descriptor never means
//! somebody else. So the daemon can adopt an engine it did not start, wait for its end without
//! polling, and signal it without the danger of hitting a stranger.
use super::async_fd;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One process, held by its pidfd.
#[derive(Debug)]
pub struct ProcessWatch {
    pid: u32,
    fd: AsyncFd<OwnedFd>,
}

impl ProcessWatch {
    /// Holds the process `pid`. `NotFound` if there is none: it ended before.
    /// Must be called within a tokio runtime.
    pub fn open(pid: u32) -> io::Result<ProcessWatch> {
        let number = i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
        // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, number, 0) };
        if raw < 0 {
            let error = io::Error::last_os_error();
            return Err(match error.raw_os_error() {
                Some(libc::ESRCH) => io::Error::from(io::ErrorKind::NotFound),
                _ => error,
            });
        }
        // SAFETY: the kernel has just given this descriptor to us alone; it fits in an i32.
        let fd = unsafe { OwnedFd::from_raw_fd(raw as i32) };
        Ok(ProcessWatch { pid, fd: async_fd(fd, Interest::READABLE)? })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Resolves when the process has ended (it may still be unreaped). Cancel safe; a process
    /// that has ended resolves at once, each time.
    pub async fn exited(&self) -> io::Result<()> {
        // The descriptor stays readable for ever once the process is dead: nothing to clear.
        self.fd.readable().await.map(|_| ())
    }

    /// Sends a signal to this very process. `NotFound` if it has been reaped.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let fd = self.fd.get_ref().as_raw_fd();
        // SAFETY: a valid pidfd, no siginfo, no flags.
        let done = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<u8>(), 0)
        };
        if done == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        Err(match error.raw_os_error() {
            Some(libc::ESRCH) => io::Error::from(io::ErrorKind::NotFound),
            _ => error,
        })
    }
}

/// Resolves when the process `pid` has ended; at once if there is none.
pub async fn exited(pid: u32) -> io::Result<()> {
    match ProcessWatch::open(pid) {
        Ok(watch) => watch.exited().await,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Duration;
    use tokio::time::timeout;

    fn sleeper() -> std::process::Child {
        Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap()
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_told_and_not_before() {
        let mut child = sleeper();
        let watch = ProcessWatch::open(child.id()).unwrap();
        assert!(timeout(Duration::from_millis(30), watch.exited()).await.is_err());
        watch.signal(libc::SIGKILL).unwrap();
        timeout(Duration::from_secs(5), watch.exited()).await.unwrap().unwrap();
        timeout(Duration::from_secs(5), watch.exited()).await.unwrap().unwrap();
        child.wait().unwrap();
        assert_eq!(watch.signal(0).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_process_that_never_was_has_ended() {
        let mut child = sleeper();
        let pid = child.id();
        child.kill().unwrap();
        child.wait().unwrap();
        timeout(Duration::from_secs(5), exited(pid)).await.unwrap().unwrap();
        assert_eq!(ProcessWatch::open(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
