//! The data link: one QUIC connection between two engines of a module, driven by the data loop.
//!
//! quinn-proto is the protocol core; this part owns the socket and moves bytes between the two. It
//! has no thread, no queue and no clock: the loop calls it with the time. Two streams: operations
//! and acknowledgements (first), questions and answers of a return (second, lower priority).
pub mod session;
mod socket;

pub use session::{Lane, Link, LinkEvent};

/// Protocol name in the TLS handshake.
pub const ALPN: &[u8] = b"lockstep-data/1";
