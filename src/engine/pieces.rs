//! A long write travels in pieces: the peer applies the first while the last is still being sent,
//! and this node applies the first while the peer is at the second.
//!
//! The application hears of the last piece only. Each piece is an operation like any other, on both
//! copies or on none; if one fails, the whole write has failed.
use super::run::Engine;
use crate::disk::Errno;
use crate::wire::{Durability, Op};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

/// Long enough for the cost of an operation to be small beside that of its bytes.
const PIECE_BYTES: usize = 128 << 10;

/// What became of the pieces of one write so far.
#[derive(Clone, Default)]
pub struct Pieces(Rc<Cell<Option<Errno>>>);

impl Pieces {
    pub fn fail(&self, errno: Errno) {
        self.0.set(Some(errno));
    }

    pub fn error(&self) -> Option<Errno> {
        self.0.get()
    }
}

impl Engine {
    /// Sends all but the last piece of a long write and leaves that in `op`.
    pub fn send_first_pieces(&mut self, op: &mut Op, since: Instant) -> Option<Pieces> {
        let Op::Write { obj, offset, data, kill_suidgid } = op else { return None };
        if data.len() <= PIECE_BYTES {
            return None;
        }
        let pieces = Pieces::default();
        while data.len() > PIECE_BYTES {
            let piece = Op::Write {
                obj: *obj,
                offset: *offset,
                data: data.split_to(PIECE_BYTES),
                kill_suidgid: *kill_suidgid,
            };
            self.push_piece(piece, since, &pieces);
            *offset += PIECE_BYTES as u64;
        }
        Some(pieces)
    }

    fn push_piece(&mut self, op: Op, since: Instant, pieces: &Pieces) {
        // What is durable is the last piece, and with it the file.
        self.push(op, super::requests::Want::Nothing, None, Durability::Cached, Some(since));
        if let Some(flight) = self.leader.order.back_mut() {
            flight.pieces = Some(pieces.clone());
        }
    }
}
