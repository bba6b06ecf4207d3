//! Writes the log of one module; what cannot be written goes to the daemon's own log.
use crate::logbook::{Entry, Level, Logbook, Text};
use crate::model::ModuleName;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Entries of one event come together.
const SYNC_AFTER: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub struct Journal {
    module: ModuleName,
    book: Arc<Logbook>,
    /// Number of the current epoch, for every entry.
    epoch: Arc<AtomicU64>,
    /// A sync is due.
    syncing: Arc<AtomicBool>,
}

impl Journal {
    pub fn new(module: &ModuleName, book: Logbook) -> Journal {
        Journal {
            module: module.clone(),
            book: Arc::new(book),
            epoch: Arc::default(),
            syncing: Arc::default(),
        }
    }

    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    pub fn write(&self, component: &str, text: Text) {
        self.put(Entry::now(&self.module, component, text));
    }

    /// A decision, with why.
    pub fn decision(&self, level: char, code: &str, text: String, reason: &str) {
        let mut entry = Entry::now(
            &self.module,
            component(code),
            Text { code: "", level: Level::from_letter(level), text },
        );
        code.clone_into(&mut entry.code);
        if !reason.is_empty() {
            entry = entry.because(reason);
        }
        self.put(entry);
    }

    fn put(&self, entry: Entry) {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let entry = if epoch == 0 { entry } else { entry.in_epoch(epoch) };
        tracing::info!(module = %self.module, code = entry.code, "{}", entry.text);
        if let Err(error) = self.book.write(&entry) {
            tracing::warn!(module = %self.module, %error, "the module's log cannot be written");
        }
        if matches!(entry.level, Level::User | Level::Event | Level::Critical) {
            self.sync_soon();
        }
    }

    /// A power cut is when the log is read. Nobody waits for the disk: one sync at a time, on a
    /// thread of its own, takes all that was written until then.
    fn sync_soon(&self) {
        if self.syncing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (book, syncing) = (self.book.clone(), self.syncing.clone());
        tokio::task::spawn_blocking(move || {
            std::thread::sleep(SYNC_AFTER);
            syncing.store(false, Ordering::Release);
            if let Err(error) = book.sync() {
                tracing::warn!(%error, "the module's log is not on disk");
            }
        });
    }
}

/// Which part speaks, from the code of the text.
fn component(code: &str) -> &'static str {
    match code.split('-').next().unwrap_or(code) {
        "remote" | "peer" | "hold" => "heart",
        "engine" | "return" | "link" | "uptodate" | "reintegration" | "disk" => "rfs",
        "vip" => "vip",
        _ => "control",
    }
}
