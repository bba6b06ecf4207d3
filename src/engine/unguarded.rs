//! What was changed past the engine while it did not run (`capture::unguarded`): the next meeting
//! with the peer compares everything. A changed file of the primary travels, one of the secondary
//! is put right.
use super::run::{Done, Engine};
use crate::capture::unguarded::{MARKER, find, since};
use crate::disk::{Errno, sys};
use crate::model::ReplicatedDir;
use std::fs;
use std::path::PathBuf;

/// Empty; there while the copies were not compared after a change was found.
const CHANGED: &str = "changed-unguarded";

/// What is known about the time in which nobody guarded the directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unguarded {
    /// Nothing was changed, or it has been compared.
    #[default]
    Unchanged,
    /// A walk is under way: nobody is met before it ends.
    Looking,
    Changed,
}

impl Engine {
    /// The directories are covered: was anything changed while they were not?
    ///
    /// # Errors
    /// What is newly replicated cannot be marked as never sent: without the mark it would be
    /// missed.
    pub fn look_for_changes(&mut self) -> Result<(), String> {
        self.note_left_out().map_err(|error| {
            let state = self.config.state_dir.display();
            format!("what is replicated cannot be remembered in {state}: {error}; free space there")
        })?;
        let state = &self.config.state_dir;
        if state.join(CHANGED).exists() {
            self.unguarded = Unguarded::Changed;
            return Ok(());
        }
        let Some(since) = since(state) else { return Ok(()) };
        let until = sys::now_coarse().unwrap_or((i64::MAX, 0));
        let roots = self.objects.share_trees();
        self.unguarded = Unguarded::Looking;
        self.run_beside(move || Done::Looked(roots.and_then(|roots| find(roots, since, until))));
        Ok(())
    }

    /// What was left out until now and is not any more was never sent: everything is compared.
    fn note_left_out(&mut self) -> Result<(), String> {
        let dirs = self.config.dirs.iter().filter(|dir| !dir.not_replicated.is_empty());
        let now: Vec<String> = dirs.map(ReplicatedDir::agreement).collect();
        if self.store.memory.left_out == now {
            return Ok(());
        }
        if !self.store.memory.left_out.is_empty() {
            let state = &self.config.state_dir;
            let marked = fs::File::create(state.join(CHANGED)).and_then(|file| file.sync_all());
            let marked = marked.and_then(|()| fs::File::open(state)?.sync_all());
            marked.map_err(|error| error.to_string())?;
            self.log('I', "what is replicated was configured anew: the copies are compared");
        }
        let remembered = self.store.remember(|memory| memory.left_out = now);
        remembered.map_err(|error| error.to_string())
    }

    pub fn looked(&mut self, found: Result<Option<PathBuf>, Errno>) {
        let what = match found {
            Ok(None) => {
                let _ = fs::remove_file(self.config.state_dir.join(MARKER));
                self.unguarded = Unguarded::Unchanged;
                return;
            }
            Ok(Some(path)) if path.as_os_str().is_empty() => "a replicated directory".to_owned(),
            Ok(Some(path)) => format!("{}, and perhaps more,", path.display()),
            Err(errno) => format!("what cannot be read ({errno})"),
        };
        self.log(
            'W',
            format!("{what} was changed while the module was stopped: the copies are compared"),
        );
        self.unguarded = Unguarded::Changed;
        let state = &self.config.state_dir;
        if let Err(error) = fs::rename(state.join(MARKER), state.join(CHANGED)) {
            self.log('W', format!("not remembered: {error}"));
        }
    }

    /// Both copies are equal again.
    pub fn compared(&mut self) {
        if std::mem::take(&mut self.unguarded) == Unguarded::Changed {
            let _ = fs::remove_file(self.config.state_dir.join(CHANGED));
        }
    }
}
