//! The return of a node in the words of the module's log: begin, megabytes, end with statistics.
use super::journal::Journal;
use crate::logbook::texts;
use crate::model::Progress;

/// The plan that compares everything, not only what is known to differ.
const WHOLE: &str = "digests";
const MEGABYTE: u64 = 1024 * 1024;

/// One return under way, on either side.
#[derive(Debug, Default)]
pub struct Returns {
    /// Milliseconds since the begin of the one that was last told of; `None`: none is under way.
    elapsed: Option<u64>,
    megabytes: u64,
}

impl Returns {
    /// `dirs`: what is replicated, for the first line.
    pub fn went(&mut self, progress: &Progress, dirs: &[String], journal: &Journal) {
        // Time went back: the former one broke and another has begun.
        if self.elapsed.is_some_and(|before| progress.elapsed_ms < before) {
            *self = Returns::default();
        }
        if self.elapsed.is_none() && !progress.finished {
            for dir in dirs {
                journal.write("rfs", texts::updating_tree(dir));
            }
        }
        self.elapsed = Some(progress.elapsed_ms);
        let megabytes = progress.bytes_done / MEGABYTE;
        // Every megabyte in the beginning, then ever rarer: a terabyte is not a million lines.
        if megabytes >= self.megabytes + (self.megabytes / 10).max(1) {
            self.megabytes = megabytes;
            journal.write("rfs", texts::megabytes_copied(megabytes));
        }
        if progress.finished {
            let took = progress.elapsed_ms;
            journal.write("rfs", texts::copied(progress.bytes_sent, progress.objects_done, took));
            let how = if progress.plan == WHOLE { "default" } else { "synchronize" };
            journal.write("rfs", texts::reintegration_ended(how));
            *self = Returns::default();
        }
    }
}
