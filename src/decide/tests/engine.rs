//! A model of one node's engine and copy: a list of writes, a lineage, and the state of the copy.
//! It follows the words of `model::engine`; the link between two of them is in `world`.
use crate::model::*;

#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) writes: Vec<u64>,
    /// How many of `writes` survive a power cut.
    pub(super) durable: usize,
    pub(super) lineage: Lineage,
    pub(super) copy: CopyState,
    pub(super) sole: bool,
    pub(super) lost: bool,
}

/// The engine process over a copy.
#[derive(Clone, Debug)]
pub(super) struct ModelEngine {
    pub(super) node: NodeName,
    pub(super) boot: BootId,
    pub(super) up: bool,
    /// Stopped by a signal, or stuck in a call: it answers nobody.
    pub(super) hangs: bool,
    pub(super) mode: EngineMode,
    pub(super) data: Copy,
    /// A write taken and not answered.
    pub(super) held: Option<u64>,
    /// The next write opens an epoch.
    fresh: bool,
    /// Writes are refused until it is told to lead again.
    pub(super) fenced: bool,
    pub(super) discard: bool,
    /// The part was given back, and the disk has everything: a power cut takes nothing.
    released: bool,
}

impl ModelEngine {
    pub(super) fn new(node: NodeName, boot: BootId) -> ModelEngine {
        let data = Copy {
            writes: Vec::new(),
            durable: 0,
            lineage: Lineage::default(),
            copy: CopyState::Unknown,
            sole: false,
            lost: false,
        };
        let mode = EngineMode::Idle;
        ModelEngine {
            node,
            boot,
            up: false,
            hangs: false,
            mode,
            data,
            held: None,
            fresh: true,
            fenced: false,
            discard: false,
            released: true,
        }
    }

    pub(super) fn side(&self) -> Side {
        // What a leader sent and holds has its number already.
        let held = u64::from(self.leads() && self.held.is_some());
        let seq = Seq(self.data.writes.len() as u64 + held);
        let epoch = self.data.lineage.last().map(|epoch| epoch.id);
        Side {
            node: self.node.clone(),
            boot: self.boot,
            lineage: self.data.lineage.clone(),
            position: Position { epoch, seq },
            exact: !self.data.lost,
            copy: self.data.copy,
            lost_volatile: self.data.lost,
            sole: self.data.sole,
            dirty_base: None,
            dirty_objects: 0,
            dirty_bytes: 0,
            window: None,
        }
    }

    pub(super) fn hello(&self) -> EngineEvent {
        EngineEvent::Hello {
            version: "model".to_owned(),
            pid: 1,
            boot: self.boot,
            mode: self.mode,
            side: self.side(),
        }
    }

    pub(super) fn status(&self, link_up: bool) -> EngineEvent {
        EngineEvent::Status(Box::new(EngineStatus {
            mode: self.mode,
            side: self.side(),
            peer: None,
            link_up,
            applied: Seq(0),
            acknowledged: Seq(0),
            durable: Seq(0),
            operations: 0,
            bytes: 0,
            latency_p50_us: 0,
            latency_p99_us: 0,
            held: 0,
            progress: None,
            features: Vec::new(),
        }))
    }

    pub(super) fn leads(&self) -> bool {
        use EngineMode::*;
        self.up && matches!(self.mode, LeadingAlone | LeadingMirror | Holding)
    }

    pub(super) fn follows(&self) -> bool {
        use EngineMode::*;
        self.up && matches!(self.mode, FollowingDetached | FollowingReturn | FollowingReady)
    }

    /// Carries a command out; the events go to the own daemon.
    pub(super) fn order(&mut self, command: &EngineCommand) -> Vec<EngineEvent> {
        let refused = |reason: &str| EngineEvent::Refused {
            command: command.name().to_owned(),
            reason: reason.to_owned(),
        };
        match command {
            EngineCommand::Lead { forced, .. } => {
                let may = self.data.copy == CopyState::Current && !self.data.lost;
                if !may && !forced && !self.data.sole {
                    // The peer has answered (A1): the daemon asks only then.
                    if self.data.copy != CopyState::Current {
                        return vec![refused("this copy may not lead")];
                    }
                }
                self.mode = EngineMode::LeadingAlone;
                self.fenced = false;
                self.released = false;
                self.data.copy = CopyState::Current;
                self.data.lost = false;
                self.data.sole = true;
                self.fresh = true;
                self.data.durable = self.data.writes.len();
                vec![EngineEvent::Leading, self.status(false)]
            }
            EngineCommand::Follow { discard, .. } => {
                self.discard = *discard;
                self.mode = EngineMode::FollowingDetached;
                self.released = false;
                vec![EngineEvent::Following, self.status(false)]
            }
            EngineCommand::GoAlone { .. }
                if matches!(self.mode, EngineMode::Holding | EngineMode::LeadingMirror) =>
            {
                self.mode = EngineMode::LeadingAlone;
                self.data.sole = true;
                self.fresh = true;
                self.held.take().into_iter().for_each(|write| self.write(write));
                // What was only in memory dies with this node now, as on any single machine: the
                // tests look at what fail-over loses, not at that.
                self.data.durable = self.data.writes.len();
                vec![EngineEvent::Alone { generation: self.data.lineage.generation() }]
            }
            EngineCommand::GoAlone { .. } => vec![refused("nothing is held")],
            EngineCommand::Outdate { .. } if self.leads() => vec![refused("this node leads")],
            EngineCommand::Outdate { .. } => {
                self.data.copy = CopyState::Outdated;
                if self.follows() {
                    self.mode = EngineMode::FollowingDetached;
                }
                vec![EngineEvent::Outdated, self.status(false)]
            }
            EngineCommand::Flush => {
                self.data.durable = self.data.writes.len();
                vec![EngineEvent::Flushed]
            }
            EngineCommand::Fence => {
                self.fenced = true;
                self.held = None;
                vec![self.status(false), EngineEvent::Fenced]
            }
            EngineCommand::NameChanges => {
                vec![EngineEvent::ChangesNamed { text: ": /data/changed".to_owned() }]
            }
            EngineCommand::FailHeld => {
                self.fenced = true;
                self.held = None;
                Vec::new()
            }
            EngineCommand::Release { .. } => {
                self.mode = EngineMode::Idle;
                self.released = true;
                self.held = None;
                self.data.durable = self.data.writes.len();
                vec![EngineEvent::Released, self.status(false)]
            }
            EngineCommand::Shutdown => {
                self.up = false;
                self.mode = EngineMode::Idle;
                self.data.durable = self.data.writes.len();
                Vec::new()
            }
        }
    }

    /// Takes a write into the copy of the primary; an epoch is opened at the first one.
    pub(super) fn write(&mut self, write: u64) {
        if std::mem::take(&mut self.fresh) {
            let lineage = &mut self.data.lineage;
            let record = EpochRecord {
                id: EpochId(u128::from(write) + 1),
                number: lineage.generation() + 1,
                parent: lineage.last().map(|epoch| epoch.id),
                first_seq: Seq(self.data.writes.len() as u64 + 1),
                node: self.node.clone(),
                kind: EpochKind::Alone,
                reason: "test".to_owned(),
                wall_ms: 0,
            };
            lineage.epochs.push(record);
        }
        self.data.writes.push(write);
    }

    /// The process ends; the copy stays.
    pub(super) fn die(&mut self) {
        self.up = false;
        self.hangs = false;
        self.mode = EngineMode::Idle;
        self.held = None;
    }

    /// Power off: what was not durable is gone, and so is the boot.
    pub(super) fn power_off(&mut self, boot: BootId) {
        let in_sync = self.data.copy == CopyState::Current && !self.data.sole;
        self.die();
        self.data.writes.truncate(self.data.durable);
        let end = self.data.writes.len() as u64;
        self.data.lineage.epochs.retain(|epoch| epoch.first_seq.0 <= end.max(1));
        self.data.lost |= in_sync && !self.released;
        self.boot = boot;
    }
}
