//! Facts from the kernel without polling: a process ended, a link went down, an address vanished;
//! and what its own addresses are.
//!
//! Each watch is a future or a stream; none of them has an opinion about what it reports.
pub mod link;
pub mod own;
pub mod process;

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the runtime of the caller.
pub fn async_fd(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names one open descriptor, the same one, for as long as it lives.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(|error| error.into_parts().1)
}
