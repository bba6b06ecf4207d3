//! An operation that was sent and not yet acknowledged, and what it is about to change here.
use super::barrier::Echo;
use super::operands::named;
use super::pieces::Pieces;
use super::requests::{Slot, Want};
use crate::wire::{Durability, ObjId, Op};
use bytes::Bytes;
use std::time::Instant;

/// An operation that was sent and not yet acknowledged.
pub struct InFlight {
    pub seq: u64,
    pub op: Op,
    /// What is done here, where the peer was told another thing.
    pub here: Option<Op>,
    pub want: Want,
    pub slot: Option<Slot>,
    /// Answer only when it is on both disks.
    pub durable: Durability,
    /// Apply here once the peer has it; a part of a return is here already.
    pub local: bool,
    pub head: Bytes,
    pub tail: Bytes,
    pub since: Instant,
    pub echo: Option<Echo>,
    /// The write of which this is a piece; the last one has the slot.
    pub pieces: Option<Pieces>,
}

impl InFlight {
    /// Bytes of its record in the stream.
    pub fn stream_bytes(&self) -> u64 {
        (self.head.len() + self.tail.len()) as u64
    }

    /// Not yet applied here, and `id` is what it changes.
    pub fn concerns(&self, id: ObjId) -> bool {
        self.local && !self.op.is_barrier() && named(&self.op).contains(&id)
    }

    /// As [`InFlight::concerns`], and it changes owner, mode or extended attributes.
    pub fn changes_attributes(&self, id: ObjId) -> bool {
        !matches!(self.op, Op::Write { kill_suidgid: false, .. }) && self.concerns(id)
    }

    /// As [`InFlight::concerns`], and the file, of `size` bytes here, gets another size by it.
    pub fn resizes(&self, id: ObjId, size: u64) -> bool {
        let other_size = match &self.op {
            Op::Write { offset, data, .. } => offset + data.len() as u64 > size,
            Op::Fallocate { mode, .. } => mode & libc::FALLOC_FL_KEEP_SIZE as u32 == 0,
            Op::CopyRange { target_offset, length, .. } => target_offset + length > size,
            Op::SetAttr { set, .. } => set.size.is_some(),
            _ => false,
        };
        other_size && self.concerns(id)
    }
}
