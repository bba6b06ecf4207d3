//! Writes the log of one module; what cannot be written goes to the daemon's own log.
use crate::logbook::{Entry, Level, Logbook, Text};
use crate::model::ModuleName;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone)]
pub struct Journal {
    module: ModuleName,
    book: Arc<Logbook>,
    /// Number of the current epoch, for every entry.
    epoch: Arc<AtomicU64>,
}

impl Journal {
    pub fn new(module: &ModuleName, book: Logbook) -> Journal {
        Journal { module: module.clone(), book: Arc::new(book), epoch: Arc::default() }
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
