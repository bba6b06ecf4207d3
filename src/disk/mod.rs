//! The only place that touches replicated bytes: one set of functions for both copies.
//!
//! Everything happens beneath a directory descriptor that was opened before anything was mounted
//! over it, through object numbers; no path is ever resolved again.
pub mod behind;
pub mod objects;
pub mod perform;
pub mod selection;
pub mod sys;
pub mod walk;

pub use behind::{Behind, Chunk};
pub use objects::{Object, Objects};
pub use perform::{Performed, perform};
pub use selection::Selection;

use std::fmt;

/// An error of the kernel, as an application sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub struct Errno(pub i32);

impl Errno {
    pub const IO: Errno = Errno(libc::EIO);

    /// The calling thread's errno.
    pub fn last() -> Errno {
        Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    /// The device or file system failed, as opposed to a request that could not be.
    pub fn is_fault(self) -> bool {
        matches!(self.0, libc::EIO | libc::EROFS | libc::ENXIO | libc::ENODEV | libc::EUCLEAN)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}, {self})", self.0)
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}
