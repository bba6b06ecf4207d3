//! Return of a node: draining what it may lack through the same ordered stream, while the
//! application goes on.
//!
//! ```text
//! directories whose names changed: ask for its list -> compare -> create, rename away, remove
//! files known page by page:        send the pages
//! files known by zone, or moved:   ask for digests -> send the pages that differ
//! attributes:                      send them
//! ```
//!
//! A part is called clean at the moment it is put into the stream: what the application changes
//! afterwards follows behind it in the same order. Until the next checkpoint it stays in `Recent`,
//! so a session that breaks forgets nothing. When nothing is dirty both disks are synced (rule A3),
//! the membership is recorded here, then there, and the return is over.
use super::leader::Session;
use super::run::{Engine, SyncTag};
use crate::disk::{Errno, sys};
use crate::history::{DirtyRecord, ObjectKey, PageMap, Part, Portion};
use crate::model::{EngineEvent, EngineMode, Plan, Progress, Verdict};
use crate::wire::{
    Answer, AnswerBody, Entry, Frame, ObjId, Op, Question, QuestionBody, SetAttr, Times,
};
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

pub const ZONE_BYTES: u64 = 1 << 20;
pub const PAGE_BYTES: u64 = 4096;
/// Questions under way at once.
const QUESTIONS_MAX: usize = 32;
/// Bytes of the return that wait in the stream: live operations wait behind no more than this.
const BACKLOG_BYTES_MAX: usize = 512 << 10;
/// Operations of the return that are not acknowledged.
const IN_FLIGHT_MAX: usize = 2048;
/// Time the return may take in one round of the loop.
const ROUND: Duration = Duration::from_millis(2);
/// Largest piece of content in one operation.
const PIECE_BYTES: u64 = 256 << 10;

enum Asked {
    List { dir: ObjId, entries: Vec<Entry> },
    Stat { obj: ObjId },
    Digests { obj: ObjId, zone: u32, pages: PageMap },
    Xattrs { obj: ObjId },
}

/// A directory whose names are being compared.
struct Listing {
    dir: ObjId,
    key: ObjectKey,
    /// What is called clean at the end, unless it was marked again.
    portions: Vec<Portion>,
    gone: Vec<Bytes>,
    own: Vec<Vec<u8>>,
    there: HashMap<Bytes, Entry>,
    deep: bool,
    /// Not in slices: it changed too often.
    whole: bool,
}

/// Passes over one directory before it is dealt with in one go.
const PASSES_IN_SLICES: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Admission {
    Draining,
    /// Both disks are being synced behind operation `seq`.
    Syncing {
        seq: u64,
        remote: bool,
        own: bool,
    },
}

pub struct Return {
    pub plan: Plan,
    started: Instant,
    window: Option<u64>,
    pub cursor: Option<Portion>,
    asked: HashMap<u64, (ObjectKey, Asked)>,
    asking: HashSet<ObjectKey>,
    next_question: u64,
    /// Objects that this return made: nothing of theirs needs a comparison.
    pub fresh: HashSet<ObjId>,
    answers: VecDeque<Answer>,
    /// Inodes of the peer, to tell hard links.
    pub theirs: HashMap<ObjId, u64>,
    /// The same the other way round, with the number of the directory.
    pub claimed: HashMap<(u16, u64), ObjId>,
    /// All names of inodes that a walk looked for.
    pub names: HashMap<ObjId, Vec<(ObjId, Bytes)>>,
    listings: VecDeque<Listing>,
    passes: HashMap<ObjectKey, u32>,
    admission: Admission,
    /// Busy objects that the return waits for.
    awaited: HashSet<ObjId>,
    pub locating: bool,
    pub progress_this_round: bool,
    objects_done: u64,
    bytes_done: u64,
    last_told: Instant,
    /// What the link had sent before this return.
    sent_before: u64,
}

impl Return {
    /// `sent`: what the link has sent so far, in bytes.
    pub fn new(verdict: &Verdict, now: Instant, sent: u64) -> Return {
        Return {
            plan: verdict.plan.clone(),
            started: now,
            window: None,
            cursor: None,
            asked: HashMap::new(),
            asking: HashSet::new(),
            next_question: 1,
            fresh: HashSet::new(),
            theirs: HashMap::new(),
            answers: VecDeque::new(),
            claimed: HashMap::new(),
            names: HashMap::new(),
            listings: VecDeque::new(),
            passes: HashMap::new(),
            admission: Admission::Draining,
            awaited: HashSet::new(),
            locating: false,
            progress_this_round: false,
            objects_done: 0,
            bytes_done: 0,
            last_told: now,
            sent_before: sent,
        }
    }

    /// The peer only lost the link.
    pub fn window(applied: u64) -> Return {
        let verdict = Verdict {
            plan: Plan::Window { from: crate::model::Seq(applied + 1) },
            rule: String::new(),
        };
        let mut ret = Return::new(&verdict, Instant::now(), 0);
        ret.window = Some(applied);
        ret
    }

    pub fn window_applied(&self) -> Option<u64> {
        self.window
    }
}

impl Engine {
    pub fn begin_drain(&mut self) {
        let digests = self.leader.ret.as_ref().is_some_and(|ret| ret.plan == Plan::Digests);
        if digests {
            for root in 0..self.config.dirs.len() {
                if let Ok(object) = self.objects.get(ObjId::root(root)) {
                    let key = object.key;
                    let marks =
                        [self.leader.dirty.mark_names(key), self.leader.dirty.mark_whole(key)];
                    self.note(marks);
                }
            }
        }
    }

    /// Marks made by the return itself are recorded like any other.
    fn note(&mut self, marks: impl IntoIterator<Item = crate::history::Mark>) {
        if self.store.dirty_file.is_none() {
            return;
        }
        let records: Vec<DirtyRecord> = marks
            .into_iter()
            .filter_map(|mark| match mark {
                crate::history::Mark::New(record) => Some(record),
                crate::history::Mark::Known => None,
            })
            .collect();
        self.add_unsaved(records);
    }

    /// There is work that needs no answer: the loop does not sleep.
    pub fn return_is_eager(&self) -> bool {
        self.leader.session == Session::Returning
            && self.leader.ret.as_ref().is_some_and(|ret| ret.progress_this_round)
            && self.may_send()
    }

    fn may_send(&self) -> bool {
        self.link.backlog(crate::link::Lane::Ops) < BACKLOG_BYTES_MAX
            && self.leader.order.len() < IN_FLIGHT_MAX
            && self.return_allowance() > 0
    }

    /// Bytes that a configured limit still allows.
    fn return_allowance(&self) -> u64 {
        let (Some(limit), Some(ret)) = (self.config.return_bytes_per_second, &self.leader.ret)
        else {
            return u64::MAX;
        };
        let allowed = (self.now - ret.started).as_millis() as u64 * limit / 1000 + (64 << 10);
        allowed.saturating_sub(ret.bytes_done)
    }

    /// One round of the return: a bounded slice of work between two looks at the application.
    pub fn drive_return(&mut self) {
        if self.leader.session != Session::Returning {
            return;
        }
        let began = Instant::now();
        let until = began + ROUND;
        let mut worked = self.take_answers(until) | self.reconcile_slice(until);
        while self.may_send() && began.elapsed() < ROUND {
            let Some(ret) = &self.leader.ret else { return };
            if ret.locating || ret.asked.len() >= QUESTIONS_MAX {
                break;
            }
            let cursor = ret.cursor;
            let Some(portion) = self.leader.dirty.next(cursor.as_ref()) else {
                self.round_ended();
                break;
            };
            if let Some(ret) = &mut self.leader.ret {
                ret.cursor = Some(portion);
            }
            worked |= self.drain(&portion);
        }
        if let Some(ret) = &mut self.leader.ret {
            ret.progress_this_round = worked;
        }
        self.tell_progress(false);
    }

    fn round_ended(&mut self) {
        let clean = self.leader.dirty.is_empty() && self.marks_settled();
        let (dirty, objects) = (&self.leader.dirty, &self.objects);
        let Some(ret) = &mut self.leader.ret else { return };
        ret.awaited.retain(|id| objects.get(*id).is_ok_and(|object| !dirty.is_clean(object.key)));
        ret.cursor = None;
        let busy = !ret.asked.is_empty() || !ret.listings.is_empty();
        if busy || ret.admission != Admission::Draining {
            return;
        }
        if clean {
            self.begin_admission();
        } else if !self.leader.dirty.is_empty() {
            self.begin_locating(Vec::new());
        }
    }

    /// Sends or asks; `true` if something moved.
    fn drain(&mut self, portion: &Portion) -> bool {
        // An inode that nobody looked up since the start: a walk at the end of the round finds it.
        let Some(obj) = self.objects.by_key(portion.key) else { return false };
        if self.objects.get(obj).is_ok_and(|object| object.orphan) {
            self.leader.dirty.forget(portion.key);
            return true;
        }
        let waits = self.is_asking(portion.key) || self.must_wait_for(obj, &portion.part);
        if waits || !self.is_reachable(obj) || !self.ensure_bound(obj) {
            return false;
        }
        let kind = self.objects.get(obj).map_or(0, |object| object.kind);
        match portion.part {
            Part::Names => self.ask(portion.key, Asked::List { dir: obj, entries: Vec::new() }),
            Part::Whole if kind == libc::S_IFDIR => {
                self.ask(portion.key, Asked::List { dir: obj, entries: Vec::new() })
            }
            Part::Whole if kind == libc::S_IFREG => self.drain_file(obj, portion),
            Part::Whole | Part::Attributes => {
                self.send_attributes(obj);
                self.settle(portion);
                self.ask(portion.key, Asked::Xattrs { obj })
            }
            Part::Pages { zone, pages, compare: true } => {
                self.ask(portion.key, Asked::Digests { obj, zone, pages })
            }
            Part::Pages { zone, pages, compare: false } => {
                self.settle(portion);
                self.send_pages(obj, zone, pages);
                true
            }
        }
    }

    /// Something on its way to the peer forbids to send this part now. A busy file always has a
    /// write under way: from now on its operations are done here and marked, until none is left and
    /// the part is sent, or the return would wait for ever. Pages inside a file wait for nothing:
    /// what is on its way touches none that is marked.
    fn must_wait_for(&mut self, obj: ObjId, part: &Part) -> bool {
        let waits = match part {
            Part::Pages { .. } => {
                let size = self.size_of(obj);
                let order = &self.leader.order;
                reaches(part, size) && order.iter().any(|flight| flight.resizes(obj, size))
            }
            _ => self.is_in_flight(obj),
        };
        if waits && let Some(ret) = &mut self.leader.ret {
            ret.awaited.insert(obj);
        }
        waits
    }

    /// The return waits for this object to come to rest.
    pub fn is_awaited(&self, obj: ObjId) -> bool {
        self.leader.ret.as_ref().is_some_and(|ret| ret.awaited.contains(&obj))
    }

    fn is_asking(&self, key: ObjectKey) -> bool {
        self.leader.ret.as_ref().is_some_and(|ret| ret.asking.contains(&key))
    }

    /// In the stream, hence clean; remembered until both disks have it.
    fn settle(&mut self, portion: &Portion) {
        if let Some(recent) = &mut self.leader.recent {
            recent.mark_portion(portion);
        }
        let _ = self.leader.dirty.clear(portion);
        let rested = self.objects.by_key(portion.key).filter(|obj| self.is_awaited(*obj));
        let rested = rested.filter(|obj| reaches(&portion.part, self.size_of(*obj)));
        if let Some(ret) = &mut self.leader.ret {
            ret.objects_done += 1;
            if let Some(obj) = rested {
                ret.awaited.remove(&obj);
            }
        }
    }

    /// Clears a part as it is now; marks that came while an answer travelled included, because
    /// what is compared is the present content.
    fn settle_part(&mut self, key: ObjectKey, wanted: impl Fn(&Part) -> bool) {
        for portion in self.leader.dirty.portions_of(key, None) {
            if wanted(&portion.part) {
                self.settle(&portion);
            }
        }
    }

    fn ask(&mut self, key: ObjectKey, asked: Asked) -> bool {
        // Not the last number drawn: one that was not sent would be waited for in vain.
        let after = self.leader.sent;
        let Some(ret) = &mut self.leader.ret else { return false };
        let id = ret.next_question;
        ret.next_question += 1;
        let body = match &asked {
            Asked::List { dir, .. } => QuestionBody::List { obj: *dir },
            Asked::Stat { obj } => QuestionBody::Stat { obj: *obj },
            Asked::Digests { obj, zone, .. } => QuestionBody::Digests {
                obj: *obj,
                offset: u64::from(*zone) * ZONE_BYTES,
                length: ZONE_BYTES,
                block: PAGE_BYTES as u32,
            },
            Asked::Xattrs { obj } => QuestionBody::Xattrs { obj: *obj },
        };
        ret.asked.insert(id, (key, asked));
        ret.asking.insert(key);
        let question = Question { id, after, body };
        self.link.send(crate::link::Lane::Questions, &Frame::Question(question));
        true
    }

    /// An answer arrived: looked at in the return's own slice of time.
    pub fn answered(&mut self, answer: Answer) {
        if let Some(ret) = &mut self.leader.ret {
            ret.answers.push_back(answer);
            ret.progress_this_round = true;
        }
    }

    fn take_answers(&mut self, until: Instant) -> bool {
        let mut worked = false;
        while Instant::now() < until && self.may_send() {
            let Some(answer) = self.leader.ret.as_mut().and_then(|ret| ret.answers.pop_front())
            else {
                break;
            };
            self.take_answer(answer);
            worked = true;
        }
        worked
    }

    fn take_answer(&mut self, answer: Answer) {
        let Some(ret) = &mut self.leader.ret else { return };
        let Some((key, mut asked)) = ret.asked.remove(&answer.id) else { return };
        if let (Asked::List { entries, .. }, AnswerBody::List { entries: more, last }) =
            (&mut asked, &answer.body)
        {
            entries.extend(more.iter().cloned());
            if !last {
                ret.asked.insert(answer.id, (key, asked));
                return;
            }
        }
        ret.asking.remove(&key);
        ret.progress_this_round = true;
        match (asked, answer.body) {
            (_, AnswerBody::Failed { errno }) => {
                let error = Errno(errno);
                self.break_session(&format!("the peer could not read its copy: {error}"));
            }
            (Asked::List { dir, entries }, _) => self.reconcile(dir, key, entries),
            (Asked::Stat { obj }, AnswerBody::Stat(entry)) => self.compare_file(obj, key, entry),
            (Asked::Digests { obj, zone, pages }, AnswerBody::Digests(digests)) => {
                self.compare_zone(obj, key, zone, pages, &digests);
            }
            (Asked::Xattrs { obj }, AnswerBody::Xattrs(_)) if self.attributes_in_flight(obj) => {
                let mark = self.leader.dirty.mark_attributes(key);
                self.note([mark]);
            }
            (Asked::Xattrs { obj }, AnswerBody::Xattrs(theirs)) => self.send_xattrs(obj, &theirs),
            _ => self.break_session("an answer to another question"),
        }
    }

    // ---- directories -------------------------------------------------------------------------

    /// Both lists of a directory are there: what follows is done in slices between two looks at
    /// the application.
    fn reconcile(&mut self, dir: ObjId, key: ObjectKey, theirs: Vec<Entry>) {
        if self.is_in_flight(dir) {
            return;
        }
        let deep = self.leader.dirty.is_dirty_whole(key);
        let own = match self.objects.path_fd(dir).and_then(sys::list_dir) {
            Ok(own) => own.into_iter().map(|(name, _, _)| name).collect::<Vec<_>>(),
            Err(Errno(libc::ESTALE)) => return,
            Err(errno) => {
                let reason = format!("a replicated directory cannot be read: {errno}");
                return self.tell(EngineEvent::Fault { reason });
            }
        };
        let parts = |part: &Part| matches!(part, Part::Names | Part::Whole);
        let portions = self.leader.dirty.portions_of(key, None);
        let portions = portions.into_iter().filter(|portion| parts(&portion.part)).collect();
        let there: HashMap<Bytes, Entry> =
            theirs.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        // Removals last: a file that got another name is linked there before the old one goes.
        let known: HashSet<&[u8]> = own.iter().map(Vec::as_slice).collect();
        let gone = there.keys().filter(|name| !known.contains(name.as_ref())).cloned().collect();
        let Some(ret) = &mut self.leader.ret else { return };
        let passes = ret.passes.entry(key).or_insert(0);
        *passes += 1;
        let whole = *passes > PASSES_IN_SLICES;
        ret.asking.insert(key);
        ret.listings.push_back(Listing { dir, key, portions, gone, own, there, deep, whole });
    }

    /// Goes on with the first directory; `true` if something was done. A directory that changed
    /// meanwhile is listed again, and after a few times dealt with in one go.
    fn reconcile_slice(&mut self, until: Instant) -> bool {
        let Some(ret) = self.leader.ret.as_mut().filter(|ret| !ret.locating) else { return false };
        let Some(mut listing) = ret.listings.pop_front() else { return false };
        let dir = listing.dir;
        while listing.whole || Instant::now() < until && self.may_send() {
            if let Some(name) = listing.own.pop() {
                if self.names_are_unknown(dir, &name, &listing.there) {
                    listing.own.push(name);
                    let links = self.unknown_links(dir, &listing.own, &listing.there);
                    self.begin_locating(links);
                    break;
                }
                let entry = listing.there.remove(name.as_slice());
                self.reconcile_name(dir, &name, entry, listing.deep);
            } else if let Some(name) = listing.gone.pop() {
                self.send_only(Op::RemoveTree { parent: dir, name });
            } else {
                self.listing_done(&listing);
                return true;
            }
        }
        if let Some(ret) = &mut self.leader.ret {
            ret.listings.push_front(listing);
        }
        true
    }

    fn listing_done(&mut self, listing: &Listing) {
        for portion in &listing.portions {
            self.settle(portion);
        }
        // The whole of a directory is its names, its attributes and what is beneath.
        if listing.deep || self.is_in_flight(listing.dir) {
            let mark = self.leader.dirty.mark_attributes(listing.key);
            self.note([mark]);
        }
        if let Some(ret) = &mut self.leader.ret {
            ret.asking.remove(&listing.key);
        }
        if !self.is_in_flight(listing.dir) {
            self.send_attributes(listing.dir);
        }
        self.leader.touched.insert(listing.dir);
    }

    pub fn same_name(
        &mut self,
        dir: ObjId,
        id: ObjId,
        stat: &libc::stat,
        entry: &Entry,
        deep: bool,
    ) {
        let bound =
            self.objects.get(id).is_ok_and(|object| object.bound == self.leader.session_number);
        if !bound {
            let name = entry.name.clone();
            self.send_only(Op::Bind { obj: id, parent: dir, name });
            self.set_bound(id);
        }
        if let Some(ret) = &mut self.leader.ret {
            ret.theirs.insert(id, entry.ino);
        }
        let Ok(key) = self.objects.get(id).map(|object| object.key) else { return };
        if let Some(ret) = &mut self.leader.ret {
            ret.claimed.insert((key.dir, entry.ino), id);
        }
        let kind = stat.st_mode & libc::S_IFMT;
        let extra = self.extra_of(id);
        let attributes = (entry.mode, entry.uid, entry.gid, entry.extra)
            != (stat.st_mode, stat.st_uid, stat.st_gid, extra);
        if kind == libc::S_IFLNK && entry.extra != extra {
            // A symbolic link cannot be changed, only replaced.
            let name = entry.name.clone();
            self.send_only(Op::RemoveTree { parent: dir, name: name.clone() });
            return self.send_new(dir, id, name, stat);
        }
        let own_time = (stat.st_mtime, stat.st_mtime_nsec as u32);
        if entry.mtime != own_time {
            self.leader.touched.insert(id);
        }
        let content =
            kind == libc::S_IFREG && (entry.size != stat.st_size as u64 || entry.mtime != own_time);
        let mut marks = Vec::new();
        match kind {
            libc::S_IFDIR if deep => {
                marks
                    .extend([self.leader.dirty.mark_names(key), self.leader.dirty.mark_whole(key)]);
            }
            libc::S_IFREG if deep || content => marks.push(self.leader.dirty.mark_whole(key)),
            _ => {}
        }
        if attributes {
            marks.push(self.leader.dirty.mark_attributes(key));
        }
        self.note(marks);
    }

    /// Makes an object on the peer; content and attributes follow as marks.
    pub fn send_new(&mut self, dir: ObjId, id: ObjId, name: Bytes, stat: &libc::stat) {
        let Ok(key) = self.objects.get(id).map(|object| object.key) else { return };
        let access = crate::wire::Access {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode,
            umask: 0,
        };
        let (parent, obj) = (dir, id);
        let op = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => Op::Create { parent, name, obj, access },
            libc::S_IFDIR => Op::Mkdir { parent, name, obj, access },
            libc::S_IFLNK => {
                let target = self.objects.path_fd(id).and_then(sys::read_link).unwrap_or_default();
                Op::Symlink { parent, name, obj, access, target: Bytes::from(target) }
            }
            _ => Op::Mknod { parent, name, obj, access, rdev: sys::rdev_of(stat.st_rdev) },
        };
        self.send_only(op);
        self.set_bound(id);
        if let Some(ret) = &mut self.leader.ret {
            ret.fresh.insert(id);
            ret.theirs.remove(&id);
        }
        let mut marks = Vec::new();
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => {
                let size = stat.st_size as u64;
                marks.push(self.leader.dirty.mark_pages(key, 0..size));
                marks.push(self.leader.dirty.mark_attributes(key));
            }
            libc::S_IFDIR => {
                marks.push(self.leader.dirty.mark_names(key));
                marks.push(self.leader.dirty.mark_whole(key));
            }
            _ => marks.push(self.leader.dirty.mark_attributes(key)),
        }
        self.note(marks);
        self.leader.touched.insert(id);
    }

    // ---- files -------------------------------------------------------------------------------

    fn drain_file(&mut self, obj: ObjId, portion: &Portion) -> bool {
        let fresh = self.leader.ret.as_ref().is_some_and(|ret| ret.fresh.contains(&obj));
        if !fresh {
            return self.ask(portion.key, Asked::Stat { obj });
        }
        let size = self.size_of(obj);
        self.settle(portion);
        let marks = [
            self.leader.dirty.mark_pages(portion.key, 0..size),
            self.leader.dirty.mark_attributes(portion.key),
        ];
        self.note(marks);
        true
    }

    fn size_of(&mut self, obj: ObjId) -> u64 {
        let stat = self.objects.path_fd(obj).and_then(sys::fstat);
        stat.map_or(0, |stat| stat.st_size as u64)
    }

    /// All of a file may differ: every zone gets compared, beyond the peer's end it is sent.
    fn compare_file(&mut self, obj: ObjId, key: ObjectKey, theirs: Option<Entry>) {
        if self.must_wait_for(obj, &Part::Whole) {
            return;
        }
        let size = self.size_of(obj);
        let theirs = theirs.map_or(0, |entry| entry.size);
        self.settle_part(key, |part| *part == Part::Whole);
        let mut marks = vec![self.leader.dirty.mark_attributes(key)];
        let common = size.min(theirs);
        if common > 0 {
            let last = ((common - 1) / ZONE_BYTES) as u32;
            let record = DirtyRecord::Zones { key, first: 0, last };
            self.leader.dirty.apply(&record);
            self.add_unsaved(vec![record]);
        }
        if size > common {
            let from = common.next_multiple_of(ZONE_BYTES).min(size);
            marks.push(self.leader.dirty.mark_pages(key, from..size));
        }
        self.note(marks);
        self.send_size(obj, size);
    }

    fn send_size(&mut self, obj: ObjId, size: u64) {
        let set = SetAttr { size: Some(size), ..SetAttr::default() };
        self.send_only(Op::SetAttr { obj, set });
    }

    fn compare_zone(
        &mut self,
        obj: ObjId,
        key: ObjectKey,
        zone: u32,
        pages: PageMap,
        theirs: &[u8],
    ) {
        if self.must_wait_for(obj, &Part::Pages { zone, pages, compare: true }) {
            return;
        }
        let offset = u64::from(zone) * ZONE_BYTES;
        let mut content = vec![0; ZONE_BYTES as usize];
        let read = self
            .objects
            .data_fd(obj)
            .and_then(|fd| sys::pread_full(fd, &mut content, offset, false));
        let length = match read {
            Ok(length) => length,
            Err(errno) => {
                let reason = format!("a replicated file cannot be read: {errno}");
                return self.tell(EngineEvent::Fault { reason });
            }
        };
        // Marks that came meanwhile are of pages in this zone: all of it is settled by what is
        // read now.
        let now = self.leader.dirty.portions_of(key, Some(offset..offset + ZONE_BYTES));
        let mut wanted = pages;
        for portion in now {
            if let Part::Pages { zone: z, pages: more, .. } = portion.part
                && z == zone
            {
                wanted = wanted.or(more);
                self.settle(&portion);
            }
        }
        let mut sent = PageMap::EMPTY;
        for (page, piece) in content[..length].chunks(PAGE_BYTES as usize).enumerate() {
            let page_map = PageMap::span(page as u32, page as u32);
            let differs = theirs.get(page * 16..page * 16 + 16) != Some(&digest(piece)[..]);
            if differs && wanted.intersects(page_map) {
                sent = sent.or(page_map);
            }
        }
        self.send_pages(obj, zone, sent);
    }

    fn send_pages(&mut self, obj: ObjId, zone: u32, pages: PageMap) {
        for range in pages.ranges(zone) {
            self.send_content(obj, range);
        }
    }

    /// Content of a range as it is now; holes travel as holes.
    pub fn send_content(&mut self, obj: ObjId, range: Range<u64>) {
        let Ok(fd) = self.objects.data_fd(obj) else { return };
        let size = self.size_of(obj);
        if range.end > size {
            self.send_size(obj, size);
        }
        let end = range.end.min(size);
        let mut at = range.start;
        while at < end {
            let data = next_data(fd, at).unwrap_or(end).min(end);
            if data > at {
                let mode = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as u32;
                self.send_only(Op::Fallocate { obj, mode, offset: at, length: data - at });
                at = data;
                continue;
            }
            let mut piece = vec![0; (end - at).min(PIECE_BYTES) as usize];
            let length = match sys::pread_full(fd, &mut piece, at, false) {
                Ok(0) => break,
                Ok(length) => length,
                Err(errno) => {
                    let reason = format!("a replicated file cannot be read: {errno}");
                    return self.tell(EngineEvent::Fault { reason });
                }
            };
            piece.truncate(length);
            let data = Bytes::from(piece);
            self.send_only(Op::Write { obj, offset: at, data, kill_suidgid: false });
            at += length as u64;
            if let Some(ret) = &mut self.leader.ret {
                ret.bytes_done += length as u64;
            }
        }
        // A file that ends in a hole has its size from here.
        if end == size && end > range.start {
            self.send_size(obj, size);
        }
        self.leader.touched.insert(obj);
    }

    /// Owner, mode and size as they are here.
    pub fn send_attributes(&mut self, obj: ObjId) {
        self.send_owner_and_mode(obj, true);
    }

    fn send_owner_and_mode(&mut self, obj: ObjId, with_size: bool) {
        let Ok(stat) = self.objects.path_fd(obj).and_then(sys::fstat) else { return };
        let sized = with_size && stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        let set = SetAttr {
            mode: Some(stat.st_mode),
            uid: Some(stat.st_uid),
            gid: Some(stat.st_gid),
            size: sized.then_some(stat.st_size as u64),
            times: Times { atime: None, mtime: None },
            kill_suidgid: false,
        };
        self.send_only(Op::SetAttr { obj, set });
        self.leader.touched.insert(obj);
    }

    /// Sets what differs, removes what is only there.
    pub fn send_xattrs(&mut self, obj: ObjId, theirs: &[(Bytes, Bytes)]) {
        let Ok(own) = self.objects.path_fd(obj).and_then(sys::all_xattrs) else { return };
        for (name, value) in &own {
            let same = theirs.iter().any(|(n, v)| n == name.as_slice() && v == value.as_slice());
            if !same {
                self.send_only(Op::SetXattr {
                    obj,
                    name: Bytes::copy_from_slice(name),
                    value: Bytes::copy_from_slice(value),
                    flags: 0,
                    kill_sgid: false,
                });
            }
        }
        for (name, _) in theirs {
            if !own.iter().any(|(n, _)| n == name.as_ref()) {
                self.send_only(Op::RemoveXattr { obj, name: name.clone() });
            }
        }
        // Setting an ACL changes mode bits. Not the size: a write may be on its way that grows it.
        self.send_owner_and_mode(obj, false);
    }

    fn extra_of(&mut self, id: ObjId) -> [u8; 16] {
        self.objects.path_fd(id).map_or([0; 16], extra)
    }

    // ---- the end -----------------------------------------------------------------------------

    /// Rule A3: in sync only after both disks have everything before this point.
    fn begin_admission(&mut self) {
        self.flush_times_now();
        let position = self.store.position(self.seq);
        if let Some(recent) = &mut self.leader.recent {
            recent.begin_checkpoint(position);
        }
        self.leader.checkpoint_wait = None;
        let seq = self.send_barrier(Op::SyncAll);
        if let Some(ret) = &mut self.leader.ret {
            ret.admission = Admission::Syncing { seq, remote: false, own: false };
        }
        self.sync_everything(SyncTag::Admit);
    }

    pub fn return_applied(&mut self, _seq: u64) {
        if let Some(ret) = &mut self.leader.ret {
            ret.progress_this_round = true;
        }
    }

    pub fn return_durable(&mut self, seq: u64) {
        if let Some(ret) = &mut self.leader.ret
            && let Admission::Syncing { seq: wanted, remote, .. } = &mut ret.admission
            && *wanted == seq
        {
            *remote = true;
            self.admit_if_ready();
        }
    }

    pub fn own_disk_ready(&mut self) {
        if let Some(ret) = &mut self.leader.ret
            && let Admission::Syncing { own, .. } = &mut ret.admission
        {
            *own = true;
            self.admit_if_ready();
        }
    }

    fn admit_if_ready(&mut self) {
        let settled = self.leader.dirty.is_empty() && self.marks_settled();
        let Some(ret) = &mut self.leader.ret else { return };
        let Admission::Syncing { remote: true, own: true, .. } = ret.admission else { return };
        ret.admission = Admission::Draining;
        if !settled {
            ret.cursor = None;
            ret.progress_this_round = true;
            return;
        }
        if let Some(recent) = &mut self.leader.recent {
            recent.checkpoint_done();
        }
        let Some(peer) = self.leader.peer.clone() else { return };
        // From here on this node asks before it goes on alone, whatever the peer has heard.
        if let Err(error) = self.store.admit(&peer, self.seq) {
            return self.tell(EngineEvent::Fault { reason: error.to_string() });
        }
        crate::engine::failpoint("after-leader-admit");
        self.leader.member = true;
        self.leader.session = Session::Admitting;
        let (seq, side) = (self.seq, Box::new(self.side()));
        self.send(&Frame::InSync { seq, side });
    }

    pub fn admitted_peer(&mut self) {
        let Some(peer) = self.leader.peer.clone() else { return };
        self.leader.session = Session::InSync;
        self.mode = EngineMode::LeadingMirror;
        self.tell_progress(true);
        self.leader.ret = None;
        self.leader.idle = self.objects.idle();
        self.leader.dirty.unrecorded();
        if let Err(error) = self.store.drop_dirty_file() {
            self.log('W', format!("an old dirty file stays: {error}"));
        }
        self.tell(EngineEvent::PeerReady { peer });
        self.status();
    }

    /// The session broke before the peer was in sync: nothing that was sent counts until a
    /// checkpoint had it.
    pub fn abort_return(&mut self) {
        self.leader.ret = None;
        if let Some(recent) = self.leader.recent.take() {
            let records = self.leader.dirty.union(&recent.initial_dirty_set());
            if self.store.dirty_file.is_some() {
                self.add_unsaved(records);
            }
        }
        self.leader.touched.clear();
        self.leader.checkpoint_wait = None;
        self.apply_in_flight();
    }

    pub fn progress(&self) -> Option<Progress> {
        let ret = self.leader.ret.as_ref().filter(|ret| ret.window.is_none())?;
        let counts = self.leader.dirty.counts();
        let elapsed = (self.now - ret.started).as_millis().max(1) as u64;
        let rate = ret.bytes_done * 1000 / elapsed;
        let todo = counts.bytes();
        let plan = match ret.plan {
            Plan::Nothing => "nothing",
            Plan::Zones { .. } => "zones",
            Plan::Digests => "digests",
            _ => "window",
        };
        Some(Progress {
            plan: plan.to_owned(),
            objects_done: ret.objects_done,
            objects_todo: counts.objects,
            bytes_done: ret.bytes_done,
            bytes_todo: todo,
            bytes_sent: self.link.sent_bytes - ret.sent_before,
            bytes_per_second: rate,
            remaining_ms: (todo * 1000).checked_div(rate),
            finished: false,
        })
    }

    fn tell_progress(&mut self, finished: bool) {
        let due =
            self.leader.ret.as_ref().is_some_and(|ret| {
                finished || self.now - ret.last_told > Duration::from_millis(500)
            });
        if !due {
            return;
        }
        if let Some(mut progress) = self.progress() {
            progress.finished = finished;
            if let Some(ret) = &mut self.leader.ret {
                ret.last_told = self.now;
            }
            self.tell(EngineEvent::Return(progress));
        }
    }
}

/// Sending the part includes the file's size.
fn reaches(part: &Part, size: u64) -> bool {
    match part {
        Part::Pages { zone, pages, .. } => {
            pages.ranges(*zone).last().is_some_and(|range| range.end >= size)
        }
        _ => true,
    }
}

/// First 16 bytes of blake3: enough to tell pages of two honest nodes apart.
pub fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    out
}

/// Digest over extended attributes and, of a symbolic link, its target.
pub fn extra(fd: RawFd) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for (name, value) in sys::all_xattrs(fd).unwrap_or_default() {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(&name);
        hasher.update(&(value.len() as u64).to_le_bytes());
        hasher.update(&value);
    }
    if let Ok(target) = sys::read_link(fd) {
        hasher.update(&target);
    }
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}

/// Where data begins at or behind `at`; `None`: only a hole follows.
fn next_data(fd: RawFd, at: u64) -> Option<u64> {
    match sys::seek(fd, at, libc::SEEK_DATA) {
        Ok(data) => Some(data),
        Err(Errno(libc::ENXIO)) => None,
        // File systems without holes are all data.
        Err(_) => Some(at),
    }
}

/// An entry as a return compares it.
pub fn entry_of(dir: &OwnedFd, name: &[u8]) -> Result<Entry, Errno> {
    let c_name = sys::name(name)?;
    let fd = sys::open_at(dir.as_raw_fd(), &c_name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    entry_of_fd(fd.as_raw_fd(), Bytes::copy_from_slice(name))
}

pub fn entry_of_fd(fd: RawFd, name: Bytes) -> Result<Entry, Errno> {
    let stat = sys::fstat(fd)?;
    Ok(Entry {
        name,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: sys::rdev_of(stat.st_rdev),
        nlink: stat.st_nlink as u32,
        size: stat.st_size as u64,
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        ino: stat.st_ino,
        extra: extra(fd),
    })
}
