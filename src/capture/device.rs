//! The classic transport: requests are read from and replies written to the mount's `/dev/fuse`.
//! It carries INIT and FORGET always, everything where the kernel has no other transport.
use super::abi;
use crate::disk::Errno;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

pub struct Device {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// What a read brought.
pub enum Read {
    /// Length of the request, which lies at the beginning of the buffer.
    Request(usize),
    /// No request waits.
    Empty,
    /// The mount is gone.
    Gone,
}

impl Device {
    pub fn new(fd: OwnedFd) -> Device {
        // The kernel refuses to read into less than the largest request it may send.
        Device { fd, buffer: vec![0; abi::PAYLOAD_BYTES_MAX + 8192] }
    }

    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub fn read(&mut self) -> Read {
        loop {
            // SAFETY: the buffer is valid for its length.
            let length = unsafe {
                let (pointer, size) = (self.buffer.as_mut_ptr().cast(), self.buffer.len());
                libc::read(self.fd.as_raw_fd(), pointer, size)
            };
            if length >= abi::IN_HEADER_BYTES as isize {
                return Read::Request(length as usize);
            }
            match Errno::last().0 {
                // ENOENT: the request was interrupted before we got it.
                libc::EINTR | libc::ENOENT => {}
                libc::EAGAIN => return Read::Empty,
                _ => return Read::Gone,
            }
        }
    }

    /// The request that [`Device::read`] announced: header, fixed part, rest.
    pub fn request(&self, length: usize) -> (abi::Caller, &[u8], &[u8]) {
        let (header, body) = self.buffer[..length].split_at(abi::IN_HEADER_BYTES);
        let caller = abi::Caller::parse(header);
        let fixed = abi::fixed_bytes(caller.opcode).min(body.len());
        let (fixed, rest) = body.split_at(fixed);
        (caller, fixed, rest)
    }

    pub fn reply(&self, unique: u64, error: Option<Errno>, payload: &[u8]) {
        let length = (abi::OUT_HEADER_BYTES + payload.len()) as u32;
        let code = error.map_or(0, |errno| -errno.0);
        let mut header = [0u8; abi::OUT_HEADER_BYTES];
        header[0..4].copy_from_slice(&length.to_ne_bytes());
        header[4..8].copy_from_slice(&code.to_ne_bytes());
        header[8..16].copy_from_slice(&unique.to_ne_bytes());
        let parts = [
            libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header.len() },
            libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() },
        ];
        // SAFETY: both parts are valid for reading. An error means that the caller gave up or
        // the mount is gone: there is nobody left to tell.
        unsafe {
            libc::writev(self.fd.as_raw_fd(), parts.as_ptr(), 2);
        }
    }
}
