//! One node of the reference model: a disk with a page cache, durable memory, a mortal engine.
//! Everything that decides is the real code; only the disk, the link and the files are pretended
//! (files have tests of their own).
use lockstep::history::Memory;
use lockstep::history::{DirtyRecord, DirtySet, Mark, ObjectKey, Part, Portion, Recent};
use lockstep::model::{
    BootId, CopyState, EpochId, EpochKind, EpochRecord, Lineage, ModuleName, NodeName, Position,
    Seq, Side,
};

pub const OBJECTS: usize = 3;
/// Of each object: pages 0 and 1 of the first zone, page 0 of the second, the attributes.
pub const CELLS: usize = 4;
const OFFSETS: [u64; 3] = [0, 4096, 1 << 20];
/// Numbers left free after a crash (rule A5).
const JUMP: u64 = 1000;

/// What an object holds: for each cell the number of the operation that wrote it.
pub type Tree = [[u64; CELLS]; OBJECTS];

/// One operation: some cells of one object.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    Cell(usize, usize),
    /// A file replaced as a whole.
    Whole(usize),
}

#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub seq: u64,
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Idle,
    Leading,
    Following,
}

/// What dies with the engine.
pub struct Engine {
    pub mode: Mode,
    pub seq: u64,
    pub dirty: DirtySet,
    /// What a member that stopped in order kept.
    pub kept: Option<(Position, DirtySet)>,
    pub recent: Option<Recent>,
    /// Leader: the peer is in the in-sync set and must acknowledge.
    pub member: bool,
    pub epoch_due: bool,
    /// Leader: sent, not acknowledged.
    pub in_flight: Option<Op>,
    /// Leader: every operation since the peer was last in sync, as far as it is in memory.
    pub window: Option<Vec<Op>>,
    /// Leader: marks were taken off since the base was set.
    pub drained: bool,
    /// Follower: it applied everything up to `seq`, nothing else.
    pub whole: bool,
}

pub struct Node {
    pub name: NodeName,
    pub boot: u128,
    pub durable: Tree,
    pub cache: Tree,
    pub memory: Memory,
    pub lineage: Lineage,
    pub file: Option<(Position, Vec<DirtyRecord>)>,
    pub engine: Option<Engine>,
}

pub fn key(object: usize) -> ObjectKey {
    ObjectKey { dir: 0, ino: object as u64, generation: 0 }
}

impl Target {
    pub fn write(self, tree: &mut Tree, seq: u64) {
        match self {
            Target::Cell(object, cell) => tree[object][cell] = seq,
            Target::Whole(object) => tree[object] = [seq; CELLS],
        }
    }

    pub fn is_dirty(self, set: &DirtySet) -> bool {
        match self {
            Target::Cell(object, 3) => set.is_dirty_attributes(key(object)),
            Target::Cell(object, page) => set.contains_any(key(object), bytes(page)),
            Target::Whole(object) => !set.is_clean(key(object)),
        }
    }

    fn mark(self, set: &mut DirtySet) -> Mark {
        match self {
            Target::Cell(object, 3) => set.mark_attributes(key(object)),
            Target::Cell(object, page) => set.mark_pages(key(object), bytes(page)),
            Target::Whole(object) => set.mark_whole(key(object)),
        }
    }

    fn touch(self, set: &mut DirtySet) -> Mark {
        match self {
            Target::Cell(object, 3) => set.touch_attributes(key(object)),
            Target::Cell(object, page) => set.touch_pages(key(object), bytes(page)),
            Target::Whole(object) => set.touch_whole(key(object)),
        }
    }
}

fn bytes(page: usize) -> std::ops::Range<u64> {
    OFFSETS[page]..OFFSETS[page] + 1
}

pub fn mark_recent(recent: &mut Option<Recent>, target: Target) {
    let Some(recent) = recent else { return };
    match target {
        Target::Cell(object, 3) => recent.mark_attributes(key(object)),
        Target::Cell(object, page) => recent.mark_pages(key(object), bytes(page)),
        Target::Whole(object) => recent.mark_whole(key(object)),
    }
}

/// Copies what a portion stands for.
pub fn copy(portion: &Portion, from: &Tree, to: &mut Tree) {
    let object = portion.key.ino as usize;
    match portion.part {
        Part::Names => {}
        Part::Whole => to[object] = from[object],
        Part::Attributes => to[object][3] = from[object][3],
        Part::Pages { zone, pages, .. } => {
            for (page, offset) in OFFSETS.into_iter().enumerate() {
                let inside = pages.contains((offset / 4096 % 256) as u32);
                if offset >> 20 == u64::from(zone) && inside {
                    to[object][page] = from[object][page];
                }
            }
        }
    }
}

impl Node {
    pub fn new(name: &str, boot: u128) -> Node {
        let name = NodeName::new(name).unwrap();
        let memory = Memory {
            module: ModuleName::new("m").unwrap(),
            cluster: "c".to_owned(),
            node: name.clone(),
            boot: BootId(boot),
            copy: CopyState::Unknown,
            sole: false,
            in_sync_with: None,
            position: Position { epoch: None, seq: Seq(0) },
            exact: false,
            lost_volatile: false,
            dirty_base: None,
            made_unmarked: false,
            left_out: Vec::new(),
        };
        let tree = [[0; CELLS]; OBJECTS];
        let (lineage, file) = (Lineage::default(), None);
        let mut node =
            Node { name, boot, durable: tree, cache: tree, memory, lineage, file, engine: None };
        node.start();
        node
    }

    /// As `Remembered::load` and the engine's start.
    pub fn start(&mut self) {
        let rebooted = self.memory.boot != BootId(self.boot);
        let lost = rebooted && self.memory.in_sync_with.is_some() && !self.memory.exact;
        self.memory.lost_volatile |= lost;
        self.memory.boot = BootId(self.boot);
        let counts = |file: &&(Position, _)| Some(file.0) == self.memory.dirty_base;
        let mut dirty = DirtySet::new();
        let mut kept = None;
        match self.file.as_ref().filter(counts) {
            Some((base, records)) => {
                records.iter().for_each(|record| dirty.apply(record));
                if self.memory.in_sync_with.is_some() {
                    kept = Some((*base, std::mem::take(&mut dirty)));
                }
            }
            None => self.file = None,
        }
        let seq = self.memory.position.seq.0;
        self.engine = Some(Engine {
            mode: Mode::Idle,
            seq,
            dirty,
            kept,
            recent: None,
            member: false,
            epoch_due: false,
            in_flight: None,
            window: None,
            drained: false,
            whole: false,
        });
    }

    /// `power`: which of the cells that were not synced reached the disk all the same.
    pub fn die(&mut self, power: Option<u64>) {
        self.engine = None;
        let Some(bits) = power else { return };
        self.boot += 2;
        for (at, cell) in self.durable.as_flattened_mut().iter_mut().enumerate() {
            if bits >> (at % 64) & 1 == 1 {
                *cell = self.cache.as_flattened()[at];
            }
        }
        self.cache = self.durable;
    }

    pub fn mode(&self) -> Option<Mode> {
        self.engine.as_ref().map(|engine| engine.mode)
    }

    pub fn sync(&mut self) {
        self.durable = self.cache;
    }

    pub fn position(&self, seq: u64) -> Position {
        let begun = |epoch: &&EpochRecord| epoch.first_seq.0 <= seq + 1;
        let epoch = self.lineage.epochs.iter().rev().find(begun).map(|epoch| epoch.id);
        Position { epoch, seq: Seq(seq) }
    }

    pub fn side(&self) -> Side {
        let engine = self.engine.as_ref().unwrap();
        let leading = engine.mode == Mode::Leading;
        let exact = match engine.mode {
            Mode::Idle => self.memory.exact,
            Mode::Leading => true,
            Mode::Following => engine.whole,
        };
        let base = match (&engine.recent, leading && engine.member) {
            (Some(recent), true) => Some(recent.base()),
            _ if self.memory.in_sync_with.is_some() => None,
            _ => self.memory.dirty_base.filter(|_| self.file.is_some()),
        };
        let window = engine.window.as_ref().filter(|_| leading).map(|ops| {
            let first = ops.first().map_or(engine.seq + 1, |op| op.seq);
            (Seq(first), Seq(engine.seq))
        });
        Side {
            node: self.name.clone(),
            boot: BootId(self.boot),
            lineage: self.lineage.clone(),
            position: self.position(engine.seq),
            exact,
            copy: self.memory.copy,
            lost_volatile: self.memory.lost_volatile,
            sole: self.memory.sole,
            dirty_base: base,
            dirty_objects: engine.dirty.counts().objects,
            dirty_bytes: 0,
            window,
        }
    }

    /// The mark is durable before anything happens under it.
    pub fn record(&mut self, target: Target, dirty: bool) {
        let engine = self.engine.as_mut().unwrap();
        let mark = match dirty {
            true => target.mark(&mut engine.dirty),
            false => target.touch(&mut engine.dirty),
        };
        if let (Mark::New(record), Some((_, file))) = (mark, &mut self.file) {
            file.push(record);
        }
    }

    pub fn open_epoch_if_due(&mut self) {
        let engine = self.engine.as_mut().unwrap();
        if !std::mem::take(&mut engine.epoch_due) {
            return;
        }
        let first = engine.in_flight.map_or(engine.seq + 1, |op| op.seq);
        let record = EpochRecord {
            id: EpochId::random(),
            number: self.lineage.generation() + 1,
            parent: self.lineage.last().map(|epoch| epoch.id),
            first_seq: Seq(first),
            node: self.name.clone(),
            kind: EpochKind::Alone,
            reason: String::new(),
            wall_ms: 0,
        };
        self.lineage.check_next(&record).unwrap();
        self.lineage.epochs.push(record);
    }

    /// Rule A4. `crash_after`: 0 the file, 1 the memory, more: none.
    pub fn go_alone(&mut self, crash_after: u8) -> bool {
        let recent = self.engine.as_mut().unwrap().recent.take().unwrap();
        self.go_alone_since(recent.base(), &recent.initial_dirty_set(), crash_after)
    }

    fn go_alone_since(&mut self, base: Position, set: &DirtySet, crash_after: u8) -> bool {
        let engine = self.engine.as_mut().unwrap();
        let _ = engine.dirty.union(set);
        engine.dirty.unrecorded();
        self.file = Some((base, engine.dirty.records(true)));
        engine.dirty.written(true);
        if crash_after == 0 {
            return false;
        }
        self.memory = Memory {
            copy: CopyState::Current,
            sole: true,
            in_sync_with: None,
            exact: false,
            lost_volatile: false,
            dirty_base: Some(base),
            ..self.memory.clone()
        };
        (engine.member, engine.drained) = (false, false);
        engine.epoch_due = true;
        crash_after != 1
    }

    /// Takes the right to write. `forced`: an operator's `prim`.
    pub fn lead(&mut self, forced: bool) {
        let engine = self.engine.as_mut().unwrap();
        // A copy under return counts in its leader's numbers, not in those of its own history.
        let known = self.memory.copy == CopyState::Current;
        let exact = known && (engine.mode != Mode::Idle || self.memory.exact);
        if !exact && !self.lineage.epochs.is_empty() {
            // Each life that wrote opened an epoch, so its numbers lie behind the newest one's.
            let begun = self.lineage.last().map_or(0, |epoch| epoch.first_seq.0);
            engine.seq = (engine.seq.max(begun) / JUMP + 1) * JUMP;
        }
        let current = self.memory.copy == CopyState::Current;
        assert!(current || forced, "{} leads with {:?}", self.name, self.memory.copy);
        (engine.mode, engine.window, engine.in_flight) = (Mode::Leading, None, None);
        if current && self.memory.sole {
            self.memory.exact = false;
            engine.epoch_due = true;
            return;
        }
        if current && self.memory.in_sync_with.is_some() && engine.recent.is_some() {
            engine.window = Some(Vec::new());
            self.go_alone(9);
            return;
        }
        let member = current && self.memory.in_sync_with.is_some() && !self.memory.lost_volatile;
        if let (Some((base, set)), true) = (engine.kept.take(), member) {
            self.go_alone_since(base, &set, 9);
            return;
        }
        (engine.recent, engine.member, engine.epoch_due) = (None, false, true);
        self.file = None;
        self.memory = Memory {
            copy: CopyState::Current,
            sole: true,
            in_sync_with: None,
            exact: false,
            lost_volatile: false,
            dirty_base: None,
            ..self.memory.clone()
        };
        if self.lineage.epochs.is_empty() {
            self.open_epoch_if_due();
        }
    }

    /// An orderly stop: everything on disk, and exactly that remembered.
    pub fn release(&mut self) {
        self.sync();
        let mut engine = self.engine.take().unwrap();
        // What was sent and never answered was refused to the application: the peer may have it.
        let applied = engine.in_flight.map_or(engine.seq, |op| op.seq - 1);
        self.memory.position = self.position(applied);
        self.memory.exact = match engine.mode {
            Mode::Leading => engine.in_flight.is_none(),
            Mode::Following => engine.whole && self.memory.copy != CopyState::Incomplete,
            Mode::Idle => self.memory.exact,
        };
        let member = match engine.mode {
            Mode::Leading => engine.member,
            Mode::Following => {
                let memory = &self.memory;
                memory.in_sync_with.is_some() && memory.copy == CopyState::Current
            }
            Mode::Idle => false,
        };
        if let (true, Some(recent)) = (member, &engine.recent) {
            self.file = Some((recent.base(), recent.initial_dirty_set().records(true)));
            self.memory.dirty_base = Some(recent.base());
        } else if let (Mode::Leading, Some((_, file))) = (engine.mode, &mut self.file) {
            *file = engine.dirty.records(true);
            engine.dirty.written(true);
        }
        self.start();
    }
}
