//! The data loop: one thread owns requests, order, link and objects. It takes in everything that
//! is ready, acts, sends once, and waits.
use super::control::Control;
use super::follower::Follower;
use super::leader::Leader;
use super::pool::Pool;
use super::reactor::Reactor;
use super::requests::{Intent, Slot, intent};
use super::stats::Stats;
use super::store::Store;
use super::unguarded::Unguarded;
use crate::capture::abi::{self, Call, Out, init_flag};
use crate::capture::device::{Device, Read};
use crate::capture::ring::Wake;
use crate::disk::{Behind, Errno, Objects};
use crate::link::{Lane, Link, LinkEvent};
use crate::model::{BootId, EngineConfig, EngineEvent, EngineMode};
use crate::wire::Frame;
use std::time::{Duration, Instant};

/// One mounted directory of a leading engine. Its place in the list is the directory's number.
pub struct Capture {
    pub device: Device,
    /// Requests come through the ring.
    pub ring: bool,
    /// INIT was answered.
    pub ready: bool,
    pub gone: bool,
}

/// What the pool's threads bring back.
pub enum Done {
    /// A barrier on the own disk.
    Synced { seq: u64, result: Result<(), Errno> },
    /// Records of the dirty file are durable.
    DirtySaved(Result<(), Errno>),
    /// A syncfs over all directories.
    AllSynced { tag: SyncTag, result: Result<(), Errno> },
    /// A chunk of a long stream left the page cache.
    WrittenOut(Result<(), Errno>),
    /// A cold read, to be answered.
    Read { slot: Slot, result: Result<Vec<u8>, Errno> },
    /// What a return asked this secondary.
    Answered { id: u64, dir: u16, bodies: Vec<crate::wire::AnswerBody> },
    /// Where objects are that are known by inode number only.
    Located {
        walk: (u64, u64),
        wanted: Vec<crate::history::ObjectKey>,
        found: Result<Vec<super::locate::Found>, Errno>,
    },
    /// What only this copy has, for the person who decides.
    Forked { verdict: Box<crate::model::Verdict>, text: String },
    /// Names of what only this copy changed.
    Named(String),
    /// Something that was changed past the engine.
    Looked(Result<Option<std::path::PathBuf>, Errno>),
}

impl Done {
    /// True whatever part this node has meanwhile. Everything else speaks of numbers, records or
    /// questions of the part in which it was begun.
    fn outlives_a_part(&self) -> bool {
        matches!(
            self,
            Done::WrittenOut(_)
                | Done::Read { .. }
                | Done::Looked(_)
                | Done::Forked { .. }
                | Done::Named(_)
        )
    }
}

/// Why everything was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncTag {
    /// Background checkpoint up to this operation.
    Checkpoint(u64),
    /// Alone: everything up to this operation, so that a crash knows where it was.
    Alone(u64),
    /// Level `disk` on the secondary: everything up to this operation.
    Durable(u64),
    /// The end of a return, on the leader.
    Admit,
    /// `EngineCommand::Flush`.
    Flush,
}

const WATCH_LINK: u32 = 1;
const WATCH_POOL: u32 = 2;
const WATCH_LISTENER: u32 = 3;
const WATCH_DAEMON: u32 = 4;
const WATCH_CAPTURE: u32 = 16;

/// Rounds of housekeeping (status, dialling, checkpoints) come this often.
const TICK: Duration = Duration::from_millis(50);

pub struct Engine {
    pub config: EngineConfig,
    pub boot: BootId,
    /// Tells this process from an earlier one.
    pub life: u64,
    pub reactor: Reactor,
    pub pool: Pool<(u64, Done)>,
    pub control: Control,
    pub link: Link,
    pub objects: Objects,
    pub store: Store,
    pub mode: EngineMode,
    pub captures: Vec<Capture>,
    /// Counts the times that mounts were given back.
    pub mount_number: u32,
    /// Devices of mounts that were given back, while the ring has entries of them.
    pub leaving: Vec<Device>,
    /// Wakes that came while a mount was taken away.
    pub late: Vec<Wake>,
    /// Counts changes of the part, and a secondary's returns: what a thread brings back for an
    /// earlier one is not for this one.
    pub part: u64,
    pub leader: Leader,
    pub follower: Follower,
    pub behind: Behind,
    pub unguarded: Unguarded,
    /// Leader: last number drawn. Follower: last operation applied.
    pub seq: u64,
    /// This copy holds everything up to `seq` and nothing else. A crash leaves more than was
    /// remembered, a return a mixture.
    pub exact: bool,
    pub stats: Stats,
    pub now: Instant,
    pub exit: bool,
    next_tick: Instant,
    pub next_status: Option<Instant>,
    jobs: Vec<Box<dyn FnOnce() -> Done + Send>>,
    wakes: Vec<Wake>,
    /// More may wait in the socket.
    link_waits: bool,
}

/// The parts an engine is made of, opened by [`super::main`].
pub struct Parts {
    pub config: EngineConfig,
    pub boot: BootId,
    pub control: Control,
    pub link: Link,
    pub objects: Objects,
    pub store: Store,
}

impl Engine {
    pub fn new(parts: Parts) -> std::io::Result<Engine> {
        let Parts { config, boot, control, link, objects, store } = parts;
        let mut reactor = Reactor::new();
        let pool = Pool::new(4)?;
        reactor.watch(link.raw(), WATCH_LINK)?;
        reactor.watch(pool.raw(), WATCH_POOL)?;
        reactor.watch(control.listener(), WATCH_LISTENER)?;
        let now = Instant::now();
        let (seq, exact) = (store.memory.position.seq.0, store.memory.exact);
        Ok(Engine {
            config,
            boot,
            life: rand::random(),
            reactor,
            pool,
            control,
            link,
            objects,
            store,
            mode: EngineMode::Idle,
            captures: Vec::new(),
            mount_number: 0,
            leaving: Vec::new(),
            late: Vec::new(),
            part: 0,
            leader: Leader::default(),
            follower: Follower::default(),
            behind: Behind::default(),
            unguarded: Unguarded::default(),
            seq,
            exact,
            stats: Stats::default(),
            now,
            exit: false,
            next_tick: now,
            next_status: None,
            jobs: Vec::new(),
            wakes: Vec::new(),
            link_waits: false,
        })
    }

    /// Runs until the daemon says `Shutdown`.
    pub fn run(&mut self) -> std::io::Result<()> {
        while !self.exit {
            let limit = self.limit();
            let mut wakes = std::mem::take(&mut self.wakes);
            self.reactor.wait(limit, &mut wakes)?;
            wakes.append(&mut self.late);
            self.now = Instant::now();
            if self.link_waits {
                self.take(Wake::Readable(WATCH_LINK));
            }
            for wake in wakes.drain(..) {
                self.take(wake);
            }
            self.wakes = wakes;
            self.rearm()?;
            self.advance();
        }
        Ok(())
    }

    fn limit(&mut self) -> Duration {
        if self.link_waits
            || !self.late.is_empty()
            || self.link.is_blocked()
            || self.return_is_eager()
        {
            return Duration::ZERO;
        }
        let mut next = self.next_tick;
        if let Some(deadline) = self.link.deadline() {
            next = next.min(deadline);
        }
        next.saturating_duration_since(Instant::now())
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Readable(WATCH_LINK) => self.link_waits = self.link.receive(self.now),
            Wake::Readable(WATCH_POOL) => {
                for (part, done) in self.pool.results() {
                    if part == self.part || done.outlives_a_part() {
                        self.finish(done);
                    }
                }
            }
            Wake::Readable(WATCH_LISTENER) => self.daemon_connects(),
            Wake::Readable(WATCH_DAEMON) => self.daemon_speaks(),
            Wake::Readable(number) => self.read_device(number - WATCH_CAPTURE),
            Wake::Request { slot, result } => self.ring_request(slot, result),
        }
        self.link_events();
    }

    fn rearm(&mut self) -> std::io::Result<()> {
        let Some(ring) = self.reactor.ring() else { return Ok(()) };
        for number in ring.unwatched() {
            let fd = match number {
                WATCH_LINK => Some(self.link.raw()),
                WATCH_POOL => Some(self.pool.raw()),
                WATCH_LISTENER => Some(self.control.listener()),
                WATCH_DAEMON => None,
                number => self
                    .captures
                    .get((number - WATCH_CAPTURE) as usize)
                    .filter(|capture| !capture.gone)
                    .map(|capture| capture.device.raw()),
            };
            if let Some(fd) = fd {
                self.reactor.watch(fd, number)?;
            }
        }
        Ok(())
    }

    /// After everything that was ready: timers, the return, and one transmission.
    fn advance(&mut self) {
        if self.link.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.link.tick(self.now);
            self.link_events();
        }
        if self.next_tick <= self.now {
            self.next_tick = self.now + TICK;
            self.tick();
        }
        self.save_marks();
        self.drive_return();
        self.acknowledge();
        self.link.flush(self.now);
        for job in std::mem::take(&mut self.jobs) {
            self.run_beside(job);
        }
        self.control.flush();
    }

    fn tick(&mut self) {
        self.give_up_stuck_peer();
        self.dial();
        self.flush_times();
        self.checkpoint_if_due();
        self.remember_alone_if_due();
        self.report_if_due();
    }

    fn daemon_connects(&mut self) {
        if self.control.is_connected() {
            let _ = self.reactor.unwatch(WATCH_DAEMON);
        }
        if let Some(fd) = self.control.accept() {
            if self.reactor.watch(fd, WATCH_DAEMON).is_err() {
                self.exit = true;
            }
            self.hello();
        }
    }

    fn daemon_speaks(&mut self) {
        for command in self.control.receive() {
            self.command(command);
        }
        if !self.control.is_connected() {
            let _ = self.reactor.unwatch(WATCH_DAEMON);
        }
    }

    fn link_events(&mut self) {
        while let Some(event) = self.link.next_event() {
            let leading = self.is_leading();
            match event {
                LinkEvent::Connected { peer } if leading => self.greet(&peer),
                LinkEvent::Connected { peer } => self.follower_connected(&peer),
                LinkEvent::Frame { frame, .. } if leading => self.leader_frame(frame),
                LinkEvent::Frame { frame, .. } => self.follower_frame(frame),
                LinkEvent::Lost { reason } if leading => self.leader_lost(&reason),
                LinkEvent::Lost { reason } => self.follower_lost(&reason),
                LinkEvent::Refused { reason } => self.tell(EngineEvent::LinkRefused { reason }),
            }
        }
    }

    pub fn is_leading(&self) -> bool {
        use EngineMode::{Holding, LeadingAlone, LeadingMirror};
        matches!(self.mode, LeadingAlone | LeadingMirror | Holding)
    }

    /// Runs on the pool once this round's messages have left: what a peer waits for goes out before
    /// an own disk is asked, and both disks work side by side.
    pub fn run_after_flush(&mut self, job: impl FnOnce() -> Done + Send + 'static) {
        self.jobs.push(Box::new(job));
    }

    /// Runs on the pool; its result counts for the present part only.
    pub fn run_beside(&self, job: impl FnOnce() -> Done + Send + 'static) {
        let part = self.part;
        self.pool.run(move || (part, job()));
    }

    pub fn send(&mut self, frame: &Frame) {
        self.link.send(Lane::Ops, frame);
    }

    pub fn tell(&mut self, event: EngineEvent) {
        self.control.send(&event);
    }

    pub fn log(&mut self, level: char, text: impl Into<String>) {
        let text = text.into();
        eprintln!("engine {}: {level} {text}", self.config.module);
        self.control.send(&EngineEvent::Log { level, text });
    }

    // ---- requests of the kernel ------------------------------------------------------------

    pub fn watch_capture(&mut self, index: usize) -> std::io::Result<()> {
        let fd = self.captures[index].device.raw();
        self.reactor.watch(fd, WATCH_CAPTURE + index as u32)
    }

    pub fn unwatch_capture(&mut self, index: usize) {
        let _ = self.reactor.unwatch(WATCH_CAPTURE + index as u32);
    }

    fn read_device(&mut self, index: u32) {
        loop {
            let Some(capture) = self.captures.get_mut(index as usize) else { return };
            let length = match capture.device.read() {
                Read::Request(length) => length,
                Read::Empty => return,
                Read::Gone => {
                    capture.gone = true;
                    return;
                }
            };
            let (caller, fixed, rest) = capture.device.request(length);
            let intent = intent(index, &caller, Call::parse(caller.opcode, fixed, rest));
            let mount = self.mount_number;
            let slot = Slot { capture: index, mount, entry: None, unique: caller.unique };
            self.serve(slot, intent);
        }
    }

    pub fn ring_request(&mut self, entry: u32, result: i32) {
        let Some(ring) = self.reactor.ring() else { return };
        let (index, mount) = ring.place_of(entry);
        if result != 0 || mount != self.mount_number {
            return self.turn_away(entry, result);
        }
        let (caller, fixed, rest) = ring.request(entry);
        let intent = intent(index, &caller, Call::parse(caller.opcode, fixed, rest));
        let slot = Slot { capture: index, mount, entry: Some(entry), unique: caller.unique };
        self.serve(slot, intent);
    }

    fn serve(&mut self, slot: Slot, intent: Intent) {
        match intent {
            Intent::Mutate(draft) => self.order(*draft, Some(slot)),
            Intent::Init { minor, readahead, flags } => self.init(slot, minor, readahead, flags),
            Intent::Answer(error) => self.reply(slot, error, &[]),
            Intent::Silent => {}
            other => self.look(slot, other),
        }
    }

    /// The first request of a mount: what both sides can do.
    fn init(&mut self, slot: Slot, minor: u32, readahead: u32, offered: u64) {
        if minor < abi::KERNEL_MINOR_MIN {
            self.log('C', format!("this kernel speaks FUSE 7.{minor}, at least 7.31 is needed"));
            return self.reply(slot, Some(Errno(libc::EPROTO)), &[]);
        }
        let with_ring = self.reactor.ring().is_some();
        let mut wanted = init_flag::ASYNC_READ
            | init_flag::BIG_WRITES
            | init_flag::DONT_MASK
            | init_flag::DO_READDIRPLUS
            | init_flag::READDIRPLUS_AUTO
            | init_flag::ASYNC_DIO
            | init_flag::NO_OPEN_SUPPORT
            | init_flag::PARALLEL_DIROPS
            | init_flag::POSIX_ACL
            | init_flag::ABORT_ERROR
            | init_flag::MAX_PAGES
            | init_flag::CACHE_SYMLINKS
            | init_flag::NO_OPENDIR_SUPPORT
            | init_flag::EXPLICIT_INVAL_DATA
            | init_flag::HANDLE_KILLPRIV_V2
            | init_flag::SETXATTR_EXT
            | init_flag::INIT_EXT;
        if with_ring {
            wanted |= init_flag::OVER_IO_URING;
        }
        let agreed = offered & wanted;
        let pages = (abi::PAYLOAD_BYTES_MAX / 4096) as u16;
        let out = Out::default()
            .u32(abi::KERNEL_MAJOR)
            .u32(abi::KERNEL_MINOR)
            .u32(readahead)
            .u32(agreed as u32)
            .u16(64)
            .u16(48)
            .u32(abi::PAYLOAD_BYTES_MAX as u32)
            .u32(1)
            .u16(pages)
            .u16(0)
            .u32((agreed >> 32) as u32)
            .zeros(28);
        self.reply(slot, None, &out.bytes);
        let index = slot.capture as usize;
        let device = self.captures[index].device.raw();
        self.captures[index].ready = true;
        if agreed & init_flag::OVER_IO_URING != 0
            && let Some(ring) = self.reactor.ring()
        {
            let depth = (64 / crate::capture::ring::possible_cpus()).clamp(2, 16);
            match ring.register(device, (slot.capture, slot.mount), depth) {
                Ok(()) => self.captures[index].ring = true,
                Err(error) => self.log('W', format!("FUSE over io_uring is not used: {error}")),
            }
        }
    }

    pub fn reply(&mut self, slot: Slot, error: Option<Errno>, payload: &[u8]) {
        match (slot.entry, self.reactor.ring()) {
            (Some(entry), Some(ring)) => {
                if let Err(error) = ring.reply(entry, slot.unique, error, payload) {
                    self.log('C', format!("cannot answer the kernel: {error}"));
                }
            }
            _ => {
                let current = slot.mount == self.mount_number;
                if let Some(capture) = self.captures.get(slot.capture as usize).filter(|_| current)
                {
                    capture.device.reply(slot.unique, error, payload);
                }
            }
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Synced { seq, result } if self.is_leading() => self.local_synced(seq, result),
            Done::Synced { seq, result } => self.follower_synced(seq, result),
            Done::DirtySaved(result) => self.marks_saved(result),
            Done::AllSynced { tag, result } => self.all_synced(tag, result),
            Done::WrittenOut(result) => self.written_out(result),
            Done::Read { slot, result: Ok(bytes) } => self.reply(slot, None, &bytes),
            Done::Read { slot, result: Err(errno) } => self.reply(slot, Some(errno), &[]),
            Done::Answered { id, dir, mut bodies } => {
                self.number_entries(dir, &mut bodies);
                self.tell_answers(id, bodies);
            }
            Done::Named(text) => self.tell(EngineEvent::ChangesNamed { text }),
            Done::Forked { verdict, text } => self.tell_decision(*verdict, text),
            Done::Located { walk, wanted, found } => self.located(walk, &wanted, found),
            Done::Looked(found) => self.looked(found),
        }
    }
}
