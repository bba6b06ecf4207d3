//! Messages between two engines and their bytes. Nothing here touches a socket.
//!
//! One QUIC connection a module: stream 0 carries the handshake and then operations one way and
//! acknowledgements the other; stream 1 carries questions and answers of a return.
pub mod codec;
pub mod message;
pub mod op;
#[cfg(test)]
mod tests;

pub use codec::{DecodeError, FRAME_BYTES_MAX, FrameReader, WIRE_VERSION, WIRE_VERSION_MIN};
pub use message::{Answer, AnswerBody, Entry, Frame, Hello, HelloReply, Question, QuestionBody};
pub use op::{Access, Durability, FALLOCATE_KILL_SUIDGID, ObjId, Op, OpRecord, SetAttr, Times};
