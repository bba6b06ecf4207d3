//! Long streams leave nothing behind in the page cache.
//!
//! What an application writes stays in the cache of the mount, where it reads it again. A second
//! copy in the cache of the backing file system helps nobody once it is on disk, on the secondary
//! not even that one; and memory that is taken anew for every page of a long file costs more than
//! copying into it. So a file that grows by more than [`STREAM_BYTES`] in one go is written out
//! chunk by chunk while it still grows, and each chunk leaves the cache. The checkpoint and the
//! fsync at its end then find little to do.
use super::{Errno, sys};
use crate::wire::ObjId;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};

/// Contiguous bytes that make a stream. A segment of PostgreSQL's log (16 MiB) is none.
const STREAM_BYTES: u64 = 24 << 20;
/// Written out at once.
const CHUNK_BYTES: u64 = 8 << 20;
/// Files that are looked at side by side; of more the one that was written longest ago is
/// forgotten.
const STREAMS_MAX: usize = 16;
const PAGE: u64 = 4096;

struct Stream {
    obj: ObjId,
    /// Where the next write continues.
    next: u64,
    begun: u64,
    /// Up to here it was written out.
    out: u64,
}

/// Notices streams. Newest first.
#[derive(Default)]
pub struct Behind {
    streams: Vec<Stream>,
    running: bool,
}

/// One chunk to be written out; see [`Chunk::write_out`].
pub struct Chunk {
    pub file: OwnedFd,
    pub range: Range<u64>,
}

impl Behind {
    /// `length` bytes were written. What is to be written out now, if anything; then no other until
    /// [`Behind::finished`].
    pub fn wrote(&mut self, obj: ObjId, offset: u64, length: u64) -> Option<Range<u64>> {
        let end = offset + length;
        let known = self.streams.iter().position(|stream| stream.obj == obj);
        let mut stream = match known {
            Some(0) if self.streams[0].next == offset => {
                self.streams[0].next = end;
                return self.due();
            }
            Some(index) => self.streams.remove(index),
            None => Stream { obj, next: offset, begun: offset, out: offset },
        };
        if stream.next != offset {
            (stream.begun, stream.out) = (offset, offset);
        }
        stream.next = end;
        self.streams.truncate(STREAMS_MAX - 1);
        self.streams.insert(0, stream);
        self.due()
    }

    /// A chunk of the newest stream.
    fn due(&mut self) -> Option<Range<u64>> {
        let stream = self.streams.first_mut()?;
        let long = stream.next - stream.begun >= STREAM_BYTES;
        if self.running || !long || stream.next - stream.out < CHUNK_BYTES {
            return None;
        }
        self.running = true;
        let range = stream.out..stream.next / PAGE * PAGE;
        stream.out = range.end;
        Some(range)
    }

    pub fn finished(&mut self) {
        self.running = false;
    }
}

impl Chunk {
    /// Blocks until the bytes are on the device (not in its own cache: no barrier is sent), then
    /// drops them from the page cache. An error is one of the disk: the kernel tells it once only.
    pub fn write_out(self) -> Result<(), Errno> {
        let fd = self.file.as_raw_fd();
        let length = self.range.end - self.range.start;
        sys::write_out(fd, self.range.start, length)?;
        sys::drop_cached(fd, self.range.start, length);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn stream(behind: &mut Behind, obj: u64, from: u64, mib: u64) -> Vec<Range<u64>> {
        let writes = (0..mib).map(|n| from + n * MIB);
        let chunks: Vec<_> = writes.filter_map(|at| behind.wrote(ObjId(obj), at, MIB)).collect();
        chunks
    }

    #[test]
    fn a_long_file_is_written_out_in_chunks_without_gaps() {
        let mut behind = Behind::default();
        let mut end = 0;
        for n in 0..100 {
            if let Some(range) = behind.wrote(ObjId(9), n * MIB + 100, MIB) {
                assert_eq!(range.start, if end == 0 { 100 } else { end });
                end = range.end;
                behind.finished();
            }
        }
        assert!(end > 90 * MIB, "{end}");
    }

    #[test]
    fn a_log_segment_and_random_writes_are_no_streams() {
        let mut behind = Behind::default();
        assert_eq!(stream(&mut behind, 9, 0, 16), []);
        for n in 0..10_000u64 {
            let at = n * 7919 % 5000;
            assert_eq!(behind.wrote(ObjId(n % 40), at * 8192, 4096), None);
        }
        assert!(behind.streams.len() <= STREAMS_MAX);
    }

    #[test]
    fn one_chunk_at_a_time_and_streams_side_by_side() {
        let mut behind = Behind::default();
        for n in 0..23 {
            assert_eq!(behind.wrote(ObjId(1), n * MIB, MIB), None);
            assert_eq!(behind.wrote(ObjId(2), n * MIB, MIB), None);
        }
        assert_eq!(behind.wrote(ObjId(1), 23 * MIB, MIB), Some(0..24 * MIB));
        assert_eq!(behind.wrote(ObjId(2), 23 * MIB, MIB), None);
        behind.finished();
        assert_eq!(behind.wrote(ObjId(2), 24 * MIB, MIB), Some(0..25 * MIB));
    }
}
