//! Bytes of the link between daemons.
//!
//! ```text
//! magic "LSPM" | version u16 | kind u16 | length u32 | crc32 u32 | body (length bytes)
//! ```
//!
//! Numbers are big-endian; the checksum covers version, kind, length and body. The body is JSON,
//! except for [`Kind::Payload`], which is the bytes themselves. The same frame travels on streams
//! and, as a heartbeat, in a datagram. TLS already keeps strangers from changing a frame; the
//! checksum catches our own mistakes and a peer's damaged memory before they become a decision.
use serde::{Serialize, de::DeserializeOwned};

/// Version of the frame and of everything in it; belongs to the protocol name `lockstep-peer/1`.
pub const VERSION: u16 = 1;
/// Largest JSON body, bytes.
pub const MESSAGE_MAX: usize = 1 << 20;
/// Largest payload (a module archive) or answer (a long log), bytes.
pub const PAYLOAD_MAX: usize = 64 << 20;
pub const HEADER_LEN: usize = 16;
const MAGIC: [u8; 4] = *b"LSPM";

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// First frame of a connection, and its answer.
    Hello = 1,
    Heartbeat = 2,
    Request = 3,
    Answer = 4,
    /// Bytes that belong to the request before it: a module's archive.
    Payload = 5,
    /// A node without a certificate asks for one, and the answer.
    Join = 6,
}

impl Kind {
    fn from_u16(number: u16) -> Option<Kind> {
        use Kind::*;
        [Hello, Heartbeat, Request, Answer, Payload, Join].into_iter().find(|k| *k as u16 == number)
    }

    fn body_max(self) -> usize {
        match self {
            Kind::Payload | Kind::Answer => PAYLOAD_MAX,
            _ => MESSAGE_MAX,
        }
    }
}

/// Why bytes from a peer are not a frame. The connection they came over is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("it does not begin with LSPM")]
    Magic,
    #[error("frame version {0}, expected {VERSION}")]
    Version(u16),
    #[error("unknown kind {0}")]
    Kind(u16),
    #[error("kind {found:?}, expected {expected:?}")]
    Unexpected { found: Kind, expected: Kind },
    #[error("{length} bytes, at most {max} are allowed")]
    TooLong { length: usize, max: usize },
    #[error("it is cut short")]
    Short,
    #[error("checksum differs")]
    Checksum,
    #[error("body: {0}")]
    Body(String),
}

/// The checked head of a frame: how much follows and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub length: usize,
    checksum: u32,
}

impl Header {
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Header, FrameError> {
        if bytes[..4] != MAGIC {
            return Err(FrameError::Magic);
        }
        let version = u16::from_be_bytes([bytes[4], bytes[5]]);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let number = u16::from_be_bytes([bytes[6], bytes[7]]);
        let kind = Kind::from_u16(number).ok_or(FrameError::Kind(number))?;
        let length = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
        if length > kind.body_max() {
            return Err(FrameError::TooLong { length, max: kind.body_max() });
        }
        let checksum = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        Ok(Header { kind, length, checksum })
    }

    /// Accepts `body` as the one this header announced.
    pub fn check(&self, body: &[u8]) -> Result<(), FrameError> {
        if body.len() != self.length {
            return Err(FrameError::Short);
        }
        if checksum(self.kind, body) == self.checksum { Ok(()) } else { Err(FrameError::Checksum) }
    }
}

/// The head to send before `body`.
pub fn header(kind: Kind, body: &[u8]) -> Result<[u8; HEADER_LEN], FrameError> {
    if body.len() > kind.body_max() {
        return Err(FrameError::TooLong { length: body.len(), max: kind.body_max() });
    }
    let mut bytes = [0; HEADER_LEN];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..12].copy_from_slice(&checked_head(kind, body));
    bytes[12..].copy_from_slice(&checksum(kind, body).to_be_bytes());
    Ok(bytes)
}

/// A whole frame around `value` as JSON.
pub fn encode<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, FrameError> {
    let body = serde_json::to_vec(value).map_err(|e| FrameError::Body(e.to_string()))?;
    let mut frame = header(kind, &body)?.to_vec();
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Reads a whole frame of `kind`, as a datagram holds it.
pub fn decode<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, FrameError> {
    let (head, body) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(FrameError::Short)?;
    decode_body(kind, Header::parse(head)?, body)
}

/// Reads the body of a frame of `kind` whose header has been read.
pub fn decode_body<T: DeserializeOwned>(
    kind: Kind,
    header: Header,
    body: &[u8],
) -> Result<T, FrameError> {
    if header.kind != kind {
        return Err(FrameError::Unexpected { found: header.kind, expected: kind });
    }
    header.check(body)?;
    serde_json::from_slice(body).map_err(|e| FrameError::Body(e.to_string()))
}

fn checked_head(kind: Kind, body: &[u8]) -> [u8; 8] {
    let mut head = [0; 8];
    head[..2].copy_from_slice(&VERSION.to_be_bytes());
    head[2..4].copy_from_slice(&(kind as u16).to_be_bytes());
    head[4..].copy_from_slice(&(body.len() as u32).to_be_bytes());
    head
}

fn checksum(kind: Kind, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&checked_head(kind, body));
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn a_frame_has_fixed_bytes() {
        let frame = encode(Kind::Heartbeat, &json!({ "counter": 7 })).unwrap();
        let text: String = frame.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            text,
            concat!(
                "4c53504d",
                "0001",
                "0002",
                "0000000d",
                "f78d8bba",
                "7b22636f756e746572223a377d"
            )
        );
        assert_eq!(decode::<Value>(Kind::Heartbeat, &frame).unwrap(), json!({ "counter": 7 }));
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_is_read() {
        let mut head = header(Kind::Request, b"{}").unwrap();
        head[8..12].copy_from_slice(&(MESSAGE_MAX as u32 + 1).to_be_bytes());
        assert!(matches!(Header::parse(&head), Err(FrameError::TooLong { .. })));
        assert!(header(Kind::Request, &vec![0; MESSAGE_MAX + 1]).is_err());
        assert!(header(Kind::Payload, &vec![0; MESSAGE_MAX + 1]).is_ok());
    }

    proptest! {
        #[test]
        fn no_changed_byte_goes_unnoticed(at in 0usize..64, flip in 1u8..) {
            let mut frame = encode(Kind::Request, &json!({ "text": "x".repeat(40) })).unwrap();
            let at = at % frame.len();
            frame[at] ^= flip;
            prop_assert!(decode::<Value>(Kind::Request, &frame).is_err());
        }

        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(decode::<Value>(Kind::Request, &bytes).is_err());
        }
    }
}
