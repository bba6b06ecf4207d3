//! The loop's one place to wait: an io_uring that holds FUSE requests, polls of every other
//! descriptor, and the time limit.
//!
//! A FUSE entry is a pair of buffers that the kernel fills with a request of one CPU's queue;
//! committing a reply fetches the next request into the same buffers
//! (`Documentation/filesystems/fuse/fuse-io-uring.rst`). Where the kernel lacks this transport the
//! ring only polls; where it lacks io_uring, [`super::device`] is polled by poll(2).
use super::abi::{self, Caller};
use crate::disk::Errno;
use io_uring::squeue::Entry128;
use io_uring::{IoUring, opcode, types};
use std::os::fd::RawFd;
use std::time::Duration;

/// `struct fuse_uring_req_header`: in/out header, the operation's own header, the entry's state.
const HEADER_BYTES: usize = 128 + 128 + 32;
const OP_AT: usize = 128;
const ENTRY_AT: usize = 256;
const CMD_REGISTER: u32 = 1;
const CMD_COMMIT_AND_FETCH: u32 = 2;

/// What woke the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A descriptor watched under this number may be read.
    Readable(u32),
    /// Entry `slot` of capture `capture` holds a request (or an error: the mount is gone).
    Request { slot: u32, result: i32 },
}

/// One pair of buffers. Boxed memory that never moves while the kernel may write to it.
struct Entry {
    header: Box<[u8; HEADER_BYTES]>,
    payload: Box<[u8]>,
    /// `[header, payload]` as the kernel wants to be told at registration, kept until it has read
    /// them.
    _parts: Box<[libc::iovec; 2]>,
    capture: u32,
    /// The caller's number of the mount.
    mount: u32,
    device: RawFd,
    queue: u16,
    commit: u64,
}

pub struct Ring {
    ring: IoUring<Entry128>,
    entries: Vec<Entry>,
    /// Polls that ended by themselves and must be armed again.
    ended: Vec<u32>,
}

const KIND_POLL: u64 = 1 << 32;
const KIND_ENTRY: u64 = 2 << 32;

impl Ring {
    /// Fails where the kernel or an administrator forbids io_uring.
    pub fn new() -> std::io::Result<Ring> {
        let ring = IoUring::<Entry128>::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(4096)
            .build(512)?;
        Ok(Ring { ring, entries: Vec::new(), ended: Vec::new() })
    }

    fn push(&mut self, entry: &Entry128) -> std::io::Result<()> {
        loop {
            // SAFETY: every buffer an entry points to lives in `self.entries` until the ring is
            // dropped, which is the first field to be dropped.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }

    /// Reports [`Wake::Readable`] each time the descriptor becomes readable, until it is closed.
    pub fn watch(&mut self, fd: RawFd, number: u32) -> std::io::Result<()> {
        let poll = opcode::PollAdd::new(types::Fd(fd), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(KIND_POLL | u64::from(number));
        self.push(&poll.into())
    }

    /// Stops watching what was registered under `number`.
    pub fn unwatch(&mut self, number: u32) -> std::io::Result<()> {
        let remove = opcode::PollRemove::new(KIND_POLL | u64::from(number)).build().user_data(0);
        self.push(&remove.into())
    }

    /// Registers `depth` entries for each CPU's queue of a FUSE connection whose INIT was
    /// answered with the io_uring flag. `place`: capture and mount, for [`Ring::place_of`].
    pub fn register(
        &mut self,
        device: RawFd,
        place: (u32, u32),
        depth: usize,
    ) -> std::io::Result<()> {
        for queue in 0..possible_cpus() {
            for _ in 0..depth {
                self.register_entry(device, place, queue as u16)?;
            }
        }
        self.ring.submit().map(drop)
    }

    fn register_entry(
        &mut self,
        device: RawFd,
        (capture, mount): (u32, u32),
        queue: u16,
    ) -> std::io::Result<()> {
        let mut header = Box::new([0u8; HEADER_BYTES]);
        let mut payload = vec![0u8; abi::PAYLOAD_BYTES_MAX].into_boxed_slice();
        let parts = Box::new([
            libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER_BYTES },
            libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() },
        ]);
        let slot = self.entries.len() as u64;
        let command = opcode::UringCmd80::new(types::Fd(device), CMD_REGISTER)
            .cmd(command(0, queue))
            .addr(Some(parts.as_ptr() as u64))
            .build();
        let command = with_length(command, 2).user_data(KIND_ENTRY | slot);
        self.entries.push(Entry {
            header,
            payload,
            _parts: parts,
            capture,
            mount,
            device,
            queue,
            commit: 0,
        });
        self.push(&command)
    }

    /// Submits what is queued and takes what is there, without waiting.
    pub fn look(&mut self, wakes: &mut Vec<Wake>) -> std::io::Result<()> {
        if !self.ring.submission().is_empty() {
            self.submitted(|ring| ring.submit())?;
        }
        if self.ring.submission().taskrun() {
            // Completions of deferred work appear only when they are asked for.
            self.submitted(|ring| ring.submit_and_wait(0))?;
        }
        self.collect(wakes)
    }

    /// Submits what is queued and waits until something happened or `limit` passed.
    pub fn wait(&mut self, limit: Option<Duration>, wakes: &mut Vec<Wake>) -> std::io::Result<()> {
        let there = !self.ring.completion().is_empty();
        self.submitted(|ring| match limit {
            _ if there => ring.submit(),
            Some(limit) => {
                let span = types::Timespec::from(limit);
                let args = types::SubmitArgs::new().timespec(&span);
                ring.submitter().submit_with_args(1, &args)
            }
            None => ring.submit_and_wait(1),
        })?;
        self.collect(wakes)
    }

    /// Nothing happened in time, a signal, or a full queue: no error, the loop comes again.
    fn submitted(
        &mut self,
        submit: impl FnOnce(&IoUring<Entry128>) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        match submit(&self.ring).map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN), _)) => {
                Ok(())
            }
            Err((_, error)) => Err(error),
        }
    }

    fn collect(&mut self, wakes: &mut Vec<Wake>) -> std::io::Result<()> {
        let mut ended = Vec::new();
        for completion in self.ring.completion() {
            let (kind, number) = (completion.user_data() & !0xffff_ffff, completion.user_data());
            let number = number as u32;
            match kind {
                KIND_POLL => {
                    wakes.push(Wake::Readable(number));
                    if !io_uring::cqueue::more(completion.flags()) && completion.result() > 0 {
                        ended.push(number);
                    }
                }
                KIND_ENTRY => {
                    wakes.push(Wake::Request { slot: number, result: completion.result() });
                }
                _ => {}
            }
        }
        self.ended.extend(ended);
        Ok(())
    }

    /// Polls that the kernel ended (a full completion queue does that): watch them again.
    pub fn unwatched(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.ended)
    }

    /// Capture and mount that an entry belongs to.
    pub fn place_of(&self, slot: u32) -> (u32, u32) {
        let entry = &self.entries[slot as usize];
        (entry.capture, entry.mount)
    }

    /// The kernel may still write into an entry of this device.
    pub fn is_used(&self, device: RawFd) -> bool {
        self.entries.iter().any(|entry| entry.device == device && !entry.payload.is_empty())
    }

    /// The request in an entry, valid until [`Ring::reply`] gives the entry back.
    pub fn request(&mut self, slot: u32) -> (Caller, &[u8], &[u8]) {
        let entry = &mut self.entries[slot as usize];
        let state = abi::Fields(&entry.header[ENTRY_AT..]);
        entry.commit = state.u64(8);
        let length = (state.u32(16) as usize).min(entry.payload.len());
        let caller = Caller::parse(&entry.header[..abi::IN_HEADER_BYTES]);
        (caller, &entry.header[OP_AT..ENTRY_AT], &entry.payload[..length])
    }

    /// The entry's payload buffer, to read a file straight into.
    pub fn payload(&mut self, slot: u32) -> &mut [u8] {
        &mut self.entries[slot as usize].payload
    }

    /// Answers with `length` bytes already in the payload buffer and fetches the next request.
    pub fn reply_in_place(
        &mut self,
        slot: u32,
        unique: u64,
        error: Option<Errno>,
        length: usize,
    ) -> std::io::Result<()> {
        let entry = &mut self.entries[slot as usize];
        let bytes = (abi::OUT_HEADER_BYTES + length) as u32;
        entry.header[0..4].copy_from_slice(&bytes.to_ne_bytes());
        let code = error.map_or(0, |errno| -errno.0);
        entry.header[4..8].copy_from_slice(&code.to_ne_bytes());
        entry.header[8..16].copy_from_slice(&unique.to_ne_bytes());
        let size_at = ENTRY_AT + 16;
        entry.header[size_at..size_at + 4].copy_from_slice(&(length as u32).to_ne_bytes());
        let commit = opcode::UringCmd80::new(types::Fd(entry.device), CMD_COMMIT_AND_FETCH)
            .cmd(command(entry.commit, entry.queue))
            .build()
            .user_data(KIND_ENTRY | u64::from(slot));
        self.push(&commit)
    }

    /// Copies `payload` into the entry and answers.
    pub fn reply(
        &mut self,
        slot: u32,
        unique: u64,
        error: Option<Errno>,
        payload: &[u8],
    ) -> std::io::Result<()> {
        let buffer = &mut self.entries[slot as usize].payload;
        let length = payload.len().min(buffer.len());
        buffer[..length].copy_from_slice(&payload[..length]);
        self.reply_in_place(slot, unique, error, length)
    }

    /// A command of the entry ended without a request. Only a connection that is gone gives its
    /// buffers back: after any other error the kernel may still fill them.
    pub fn ended(&mut self, slot: u32, errno: Errno) {
        if matches!(errno.0, libc::ENOTCONN | libc::ECONNABORTED) {
            self.entries[slot as usize].payload = Box::default();
        }
    }
}

/// CPUs that may ever be there: the kernel has a queue for each and uses none until all have an
/// entry.
pub fn possible_cpus() -> usize {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|n| n.parse::<usize>().ok());
    last.map_or(1, |last| last + 1)
}

/// The kernel wants the number of buffers in the `len` field of the request (byte 24 of the
/// submission entry, `io_uring(7)`), which the binding does not expose for commands.
fn with_length(mut entry: Entry128, length: u32) -> Entry128 {
    const _: () = assert!(std::mem::size_of::<Entry128>() == 128);
    // SAFETY: Entry128 is repr(C) and 128 bytes of plain data; `len` is a u32 at offset 24.
    unsafe {
        std::ptr::from_mut(&mut entry).cast::<u8>().add(24).cast::<u32>().write_unaligned(length);
    }
    entry
}

/// `struct fuse_uring_cmd_req`: flags, commit id, queue.
fn command(commit: u64, queue: u16) -> [u8; 80] {
    let mut bytes = [0u8; 80];
    bytes[8..16].copy_from_slice(&commit.to_ne_bytes());
    bytes[16..18].copy_from_slice(&queue.to_ne_bytes());
    bytes
}
