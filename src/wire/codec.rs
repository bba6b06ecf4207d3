//! Bytes of a frame: `length u32 | crc32 u32 | body`, little endian; the body begins with a kind.
//!
//! The checksum covers the body from the memory of one process to the memory of the other, beyond
//! what TLS covers. Decoding never panics and never allocates by a peer's word alone: a length is
//! believed only up to [`FRAME_BYTES_MAX`], and only bytes that arrived are copied.
use super::message::Frame;
use bytes::{Buf, Bytes, BytesMut};

/// Version of everything in this folder. Raised with any change.
///
/// 1: first version; in no release. 2: `Op::Replace`.
pub const WIRE_VERSION: u16 = 2;
/// The oldest version that is understood.
pub const WIRE_VERSION_MIN: u16 = 2;
/// Longest body of a frame in bytes: a 1 MiB write and its header, or a page of directory entries.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Length and checksum before each body, in bytes.
pub const HEADER_BYTES: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("frame of {0} bytes is longer than the limit of {FRAME_BYTES_MAX}")]
    TooLong(usize),
    #[error("checksum of a frame does not match: expected {expected:08x}, found {found:08x}")]
    Checksum { expected: u32, found: u32 },
    #[error("frame ends in the middle of {0}")]
    Short(&'static str),
    #[error("unknown {what} {value}")]
    Unknown { what: &'static str, value: u64 },
    #[error("{0} bytes are left over after a frame")]
    TrailingBytes(usize),
}

/// Appends values; the mirror image of [`Reader`].
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }
    pub fn bool(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }
    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
    pub fn blob(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.bytes.extend_from_slice(value);
    }
    pub fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(inner) = value {
            put(self, inner);
        }
    }

    /// Puts length and checksum before what was written. A large payload may follow the written
    /// part without being copied: it is passed as `tail` and returned beside the head.
    pub fn frame(self, tail: Bytes) -> (Bytes, Bytes) {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.bytes);
        hasher.update(&tail);
        let mut head = BytesMut::with_capacity(HEADER_BYTES + self.bytes.len());
        head.extend_from_slice(&((self.bytes.len() + tail.len()) as u32).to_le_bytes());
        head.extend_from_slice(&hasher.finalize().to_le_bytes());
        head.extend_from_slice(&self.bytes);
        (head.freeze(), tail)
    }
}

/// Takes values; every short read is an error that names what was expected.
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes }
    }
    fn need(&self, count: usize, what: &'static str) -> Result<(), DecodeError> {
        if self.bytes.remaining() < count { Err(DecodeError::Short(what)) } else { Ok(()) }
    }
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.need(1, what)?;
        Ok(self.bytes.get_u8())
    }
    pub fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Unknown { what, value: u64::from(value) }),
        }
    }
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.need(2, what)?;
        Ok(self.bytes.get_u16_le())
    }
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.need(4, what)?;
        Ok(self.bytes.get_u32_le())
    }
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.need(8, what)?;
        Ok(self.bytes.get_u64_le())
    }
    pub fn blob(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.u32(what)? as usize;
        self.need(length, what)?;
        Ok(self.bytes.split_to(length))
    }
    pub fn option<T>(
        &mut self,
        what: &'static str,
        take: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.bool(what)? { take(self).map(Some) } else { Ok(None) }
    }
    /// Whatever is left: the payload of a write.
    pub fn rest(&mut self) -> Bytes {
        self.bytes.split_to(self.bytes.len())
    }
    pub fn end(&self) -> Result<(), DecodeError> {
        match self.bytes.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }
}

/// Cuts a byte stream into frames.
#[derive(Default)]
pub struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` until more bytes arrive. After an error the stream is of no
    /// use any more and the connection is closed by the caller.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        if self.buffer.len() < HEADER_BYTES {
            return Ok(None);
        }
        let word = |at: usize| {
            let b = &self.buffer[at..at + 4];
            u32::from_le_bytes([b[0], b[1], b[2], b[3]])
        };
        let (length, expected) = (word(0) as usize, word(4));
        if length > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLong(length));
        }
        if self.buffer.len() < HEADER_BYTES + length {
            self.buffer.reserve(HEADER_BYTES + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEADER_BYTES);
        let body = self.buffer.split_to(length).freeze();
        let found = crc32fast::hash(&body);
        if found != expected {
            return Err(DecodeError::Checksum { expected, found });
        }
        Frame::decode(body).map(Some)
    }
}
