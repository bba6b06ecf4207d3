//! Writes long streams out while they grow, on a thread of the pool; see [`crate::disk::behind`].
use super::run::{Done, Engine};
use crate::disk::{Chunk, Errno};
use crate::wire::Op;

impl Engine {
    /// `op` was carried out on this copy.
    pub fn write_behind(&mut self, op: &Op) {
        let Op::Write { obj, offset, data, .. } = op else { return };
        let Some(range) = self.behind.wrote(*obj, *offset, data.len() as u64) else { return };
        let Ok(file) = self.objects.share(*obj) else { return self.behind.finished() };
        let chunk = Chunk { file, range };
        self.run_beside(move || Done::WrittenOut(chunk.write_out()));
    }

    /// An error here is that of a page that was acknowledged: the next fsync would not hear it
    /// again.
    pub fn written_out(&mut self, result: Result<(), Errno>) {
        self.behind.finished();
        let Err(errno) = result else { return };
        let reason = format!("the disk did not take what was written: {errno}");
        if self.is_leading() {
            self.tell(crate::model::EngineEvent::Fault { reason });
        } else {
            self.follower_fault(&reason);
        }
    }
}
