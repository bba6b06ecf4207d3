//! The return of a node in the words of the module's log: begin, megabytes, end with statistics.
use super::clock;
use super::journal::Journal;
use crate::decide::Moment;
use crate::logbook::texts;
use crate::model::Progress;

/// The plan that compares everything, not only what is known to differ.
const WHOLE: &str = "digests";
const MEGABYTE: u64 = 1024 * 1024;

/// One return under way, on either side.
#[derive(Debug, Default)]
pub struct Returns {
    began: Option<Moment>,
    megabytes: u64,
}

impl Returns {
    /// `dirs`: what is replicated, for the first line.
    pub fn went(&mut self, progress: &Progress, dirs: &[String], journal: &Journal) {
        let now = clock::now();
        if self.began.is_none() && !progress.finished {
            for dir in dirs {
                journal.write("rfs", texts::updating_tree(dir));
            }
        }
        let began = *self.began.get_or_insert(now);
        let megabytes = progress.bytes_done / MEGABYTE;
        // Every megabyte in the beginning, then ever rarer: a terabyte is not a million lines.
        if megabytes >= self.megabytes + (self.megabytes / 10).max(1) {
            self.megabytes = megabytes;
            journal.write("rfs", texts::megabytes_copied(megabytes));
        }
        if progress.finished {
            let took = now.since(began);
            journal.write("rfs", texts::copied(progress.bytes_sent, progress.objects_done, took));
            let how = if progress.plan == WHOLE { "default" } else { "synchronize" };
            journal.write("rfs", texts::reintegration_ended(how));
            *self = Returns::default();
        }
    }
}
