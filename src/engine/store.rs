//! What the engine durably remembers, and the order in which it does: every step here returns
//! when its bytes are on disk (rules A2 … A4; the order is that of `history::files`).
use crate::history::{
    DirtyFile, DirtyRecord, DirtySet, FileError, LineageFile, Memory, MemoryFile, Recent,
    Remembered,
};
use crate::model::{
    BootId, CopyState, EngineConfig, EpochId, EpochKind, EpochRecord, Lineage, NodeName, Position,
    Seq, Side,
};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The kernel may hold the descriptors of a killed engine for a moment longer than its process.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// Empty; locked as long as an engine of the module lives.
const LOCK: &str = "lock";

/// Makes this engine the only one that writes below `dir` and the replicated directories, until
/// its last thread is gone: one that was killed while it waits for a disk still holds it.
///
/// # Errors
/// A sentence: another engine holds it, or the file cannot be made.
pub fn lock_alone(dir: &Path) -> Result<File, String> {
    let path = dir.join(LOCK);
    let failed = |error: std::io::Error| format!("cannot lock {}: {error}", path.display());
    std::fs::create_dir_all(dir).map_err(failed)?;
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(failed)?;
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "an earlier engine of this module has not ended ({} is locked): it may wait \
                     for a disk that does not answer; repair the disk or restart the node",
                    path.display()
                ));
            }
        }
    }
}

pub struct Store {
    /// Held, never read: see [`lock_alone`].
    _lock: File,
    dir: PathBuf,
    memory_file: MemoryFile,
    pub memory: Memory,
    lineage: LineageFile,
    pub dirty_file: Option<DirtyFile>,
    /// Marks read back at start, until the engine leads.
    pub loaded: Option<DirtySet>,
    /// Of a member that stopped in order: what may not have been on both disks, and since when.
    kept: Option<(Position, DirtySet)>,
    pub notes: Vec<String>,
    boot: BootId,
}

impl Store {
    pub fn open(
        config: &EngineConfig,
        lock: File,
        cluster: &str,
        boot: BootId,
    ) -> Result<Store, FileError> {
        let dir = config.state_dir.clone();
        let remembered = Remembered::load(&dir, boot)?;
        let ours = remembered
            .memory
            .filter(|memory| memory.cluster == cluster && memory.node == config.node);
        let memory = ours.unwrap_or_else(|| Memory {
            module: config.module.clone(),
            cluster: cluster.to_owned(),
            node: config.node.clone(),
            boot,
            copy: CopyState::Unknown,
            sole: false,
            in_sync_with: None,
            position: Position { epoch: None, seq: Seq(0) },
            exact: false,
            lost_volatile: false,
            dirty_base: None,
            made_unmarked: false,
            left_out: Vec::new(),
        });
        let (loaded, dirty_file) = match remembered.dirty {
            Some(loaded) => (Some(loaded.set), Some(loaded.file)),
            None => (None, None),
        };
        let kept = remembered.kept.map(|kept| (kept.base, kept.set));
        Ok(Store {
            _lock: lock,
            memory_file: MemoryFile::new(&dir),
            dir,
            memory,
            lineage: remembered.lineage,
            dirty_file,
            loaded,
            kept,
            notes: remembered.notes,
            boot,
        })
    }

    pub fn lineage(&self) -> &Lineage {
        self.lineage.lineage()
    }

    /// An operation's place in the history: the newest epoch that had begun by then.
    pub fn position(&self, seq: u64) -> Position {
        let begun = |epoch: &&EpochRecord| epoch.first_seq.0 <= seq + 1;
        let epoch = self.lineage().epochs.iter().rev().find(begun).map(|epoch| epoch.id);
        Position { epoch, seq: Seq(seq) }
    }

    /// Changes the memory and makes it durable.
    pub fn remember(&mut self, change: impl FnOnce(&mut Memory)) -> Result<(), FileError> {
        let mut memory = self.memory.clone();
        change(&mut memory);
        memory.boot = self.boot;
        self.memory_file.store(&memory)?;
        self.memory = memory;
        Ok(())
    }

    /// An orderly stop of a member: what may not be on both disks is kept, so that a start without
    /// the peer needs no comparison of everything. Everything up to `position` is on this disk;
    /// `exact`: and nothing else.
    pub fn keep(
        &mut self,
        peer: &NodeName,
        recent: &Recent,
        position: Position,
        exact: bool,
    ) -> Result<(), FileError> {
        let base = recent.base();
        DirtyFile::create(&self.dir, base, peer, &mut recent.initial_dirty_set())?;
        self.remember(|memory| {
            memory.position = position;
            memory.exact = exact;
            memory.dirty_base = Some(base);
        })?;
        self.kept = Some((base, recent.initial_dirty_set()));
        Ok(())
    }

    /// What [`Store::keep`] kept, once: nobody wrote to this copy since, and nobody else had the
    /// right to.
    pub fn take_kept(&mut self) -> Option<(Position, DirtySet)> {
        let kept = self.kept.take()?;
        let memory = &self.memory;
        let member = memory.copy == CopyState::Current && memory.in_sync_with.is_some();
        (member && !memory.lost_volatile && memory.dirty_base == Some(kept.0)).then_some(kept)
    }

    /// Rule A4: what the peer may lack since `base` is durable, then that this node is the only
    /// member.
    pub fn go_alone(
        &mut self,
        peer: &NodeName,
        base: Position,
        mut set: DirtySet,
        seq: u64,
    ) -> Result<DirtySet, FileError> {
        set.unrecorded();
        let file = DirtyFile::create(&self.dir, base, peer, &mut set)?;
        let position = self.position(seq);
        self.remember(|memory| {
            memory.copy = CopyState::Current;
            memory.sole = true;
            memory.in_sync_with = None;
            memory.position = position;
            memory.exact = false;
            memory.lost_volatile = false;
            memory.dirty_base = Some(base);
            memory.made_unmarked = false;
        })?;
        self.dirty_file = Some(file);
        Ok(set)
    }

    /// A new epoch for the right to write, before the first change under it.
    pub fn open_epoch(&mut self, first: u64, kind: EpochKind, why: &str) -> Result<(), FileError> {
        let wall_ms = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64);
        let record = EpochRecord {
            id: EpochId::random(),
            number: self.lineage().generation() + 1,
            parent: self.lineage().last().map(|epoch| epoch.id),
            first_seq: Seq(first),
            node: self.memory.node.clone(),
            kind,
            reason: why.to_owned(),
            wall_ms,
        };
        self.lineage.append(record)
    }

    /// Follower at the end of a return: the leader's history first, then that the copy is current.
    pub fn adopt(&mut self, leader: &Side, seq: u64) -> Result<(), FileError> {
        if self.lineage.adopt(&leader.lineage).is_err() {
            // A person gave up what only this node had, or its history was lost.
            self.lineage.replace(&leader.lineage)?;
        }
        let position = self.position(seq);
        let leader = leader.node.clone();
        self.remember(|memory| {
            memory.copy = CopyState::Current;
            memory.sole = false;
            memory.in_sync_with = Some(leader);
            memory.position = position;
            memory.exact = false;
            memory.lost_volatile = false;
            memory.dirty_base = None;
            memory.made_unmarked = false;
        })?;
        self.drop_dirty_file()
    }

    /// Leader at the end of a return: from here on the peer must be asked before going on alone.
    pub fn admit(&mut self, peer: &NodeName, seq: u64) -> Result<(), FileError> {
        let position = self.position(seq);
        self.remember(|memory| {
            memory.sole = false;
            memory.in_sync_with = Some(peer.clone());
            memory.position = position;
            memory.dirty_base = None;
            memory.made_unmarked = false;
        })
    }

    pub fn drop_dirty_file(&mut self) -> Result<(), FileError> {
        self.dirty_file = None;
        self.loaded = None;
        self.kept = None;
        DirtyFile::remove(&self.dir)
    }

    pub fn append_dirty(&mut self, records: &[DirtyRecord]) -> Result<(), FileError> {
        match &mut self.dirty_file {
            Some(file) => file.append(records),
            None => Ok(()),
        }
    }

    /// What the peer and the daemon are told.
    pub fn side(&self, seq: u64, exact: bool, counts: (u64, u64)) -> Side {
        Side {
            node: self.memory.node.clone(),
            boot: self.boot,
            lineage: self.lineage().clone(),
            position: self.position(seq),
            exact,
            copy: self.memory.copy,
            lost_volatile: self.memory.lost_volatile,
            sole: self.memory.sole,
            dirty_base: self.memory.dirty_base.filter(|_| self.dirty_file.is_some()),
            dirty_objects: counts.0,
            dirty_bytes: counts.1,
            window: None,
        }
    }
}
