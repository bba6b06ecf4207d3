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
use super::compare_dirs::Listing;
use super::detail::Detail;
use super::leader::Session;
use super::pace::Pace;
use super::run::Engine;
use crate::disk::Errno;
use crate::history::{DirtyRecord, ObjectKey, PageMap, Part, Portion};
use crate::model::{EngineEvent, Plan, Progress, Verdict};
use crate::wire::{Answer, AnswerBody, Entry, Frame, ObjId, Question, QuestionBody};
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
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

pub enum Asked {
    List { dir: ObjId, entries: Vec<Entry> },
    Stat { obj: ObjId },
    Digests { obj: ObjId, zone: u32, pages: PageMap },
    Xattrs { obj: ObjId },
}

/// A question that was not answered yet.
pub struct Pending {
    key: ObjectKey,
    /// The last operation that was sent before it.
    after: u64,
    asked: Asked,
}

impl Asked {
    fn obj(&self) -> ObjId {
        match self {
            Asked::List { dir: obj, .. }
            | Asked::Stat { obj }
            | Asked::Digests { obj, .. }
            | Asked::Xattrs { obj } => *obj,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Admission {
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
    pub started: Instant,
    pub window: Option<u64>,
    pub cursor: Option<Portion>,
    /// By number of the question.
    pub asked: HashMap<u64, Pending>,
    pub asking: HashSet<ObjectKey>,
    pub next_question: u64,
    /// Objects that this return made: nothing of theirs needs a comparison.
    pub fresh: HashSet<ObjId>,
    pub answers: VecDeque<Answer>,
    /// Inodes of the peer that were given a number by this return, by which operation.
    pub claimed: HashMap<ObjectKey, (ObjId, u64)>,
    /// All names of inodes that a walk looked for.
    pub names: HashMap<ObjId, Vec<(ObjId, Bytes)>>,
    pub incomplete_walks: u32,
    /// Directories that were moved so far: a walk that saw this change may have missed something.
    pub dirs_moved: u64,
    /// Got another name since the walk began.
    pub renamed: HashSet<ObjId>,
    pub listings: VecDeque<Listing>,
    /// Compared; the peer has not yet done all parts.
    pub sent_listings: VecDeque<Listing>,
    /// Directories in which changes wait for that.
    pub closing: HashSet<ObjId>,
    pub passes: HashMap<ObjectKey, u32>,
    /// Parts and operations that the peer could not do.
    pub failures: u64,
    pub admission: Admission,
    /// Busy objects that the return waits for.
    pub awaited: HashSet<ObjId>,
    pub locating: bool,
    pub progress_this_round: bool,
    pub objects_done: u64,
    pub bytes_done: u64,
    pub pace: Pace,
    pub last_told: Instant,
    /// What the link had sent before this return.
    pub sent_before: u64,
    /// `reidetail`.
    pub detail: Option<Detail>,
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
            answers: VecDeque::new(),
            claimed: HashMap::new(),
            names: HashMap::new(),
            incomplete_walks: 0,
            dirs_moved: 0,
            renamed: HashSet::new(),
            listings: VecDeque::new(),
            sent_listings: VecDeque::new(),
            closing: HashSet::new(),
            passes: HashMap::new(),
            failures: 0,
            admission: Admission::Draining,
            awaited: HashSet::new(),
            locating: false,
            progress_this_round: false,
            objects_done: 0,
            bytes_done: 0,
            pace: Pace::default(),
            last_told: now,
            sent_before: sent,
            detail: None,
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
        if let Some(ret) = &mut self.leader.ret {
            ret.detail = self.config.return_detail.then(Detail::default);
        }
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
    pub fn note(&mut self, marks: impl IntoIterator<Item = crate::history::Mark>) {
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

    pub fn may_send(&self) -> bool {
        self.link.backlog(crate::link::Lane::Ops) < BACKLOG_BYTES_MAX
            && self.leader.order.len() < IN_FLIGHT_MAX
            && self.leader.ret.as_ref().is_none_or(|ret| ret.pace.allows())
            && self.limit_allows()
    }

    /// A configured limit allows one more part now. A zone goes as a whole, so time must have paid
    /// for it before; where that takes longer than a second, for a second of it.
    fn limit_allows(&self) -> bool {
        let (Some(limit), Some(ret)) = (self.config.return_bytes_per_second, &self.leader.ret)
        else {
            return true;
        };
        let elapsed_ms = (self.now - ret.started).as_millis() as u64;
        elapsed_ms.saturating_mul(limit) / 1000 >= ret.bytes_done + ZONE_BYTES.min(limit)
    }

    /// One round of the return: a bounded slice of work between two looks at the application.
    pub fn drive_return(&mut self) {
        if self.leader.session != Session::Returning {
            return;
        }
        let began = Instant::now();
        let until = began + ROUND;
        self.end_listings();
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
            // A live operation waits behind no more than that and the window.
            let part = portion.short();
            let moved = self.drain(&part);
            worked |= moved;
            // The rest of a zone comes next.
            if let Some(ret) = self.leader.ret.as_mut().filter(|_| !moved || part == portion) {
                ret.cursor = Some(portion);
            }
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
        let listings = ret.listings.len() + ret.sent_listings.len();
        let busy = !ret.asked.is_empty() || listings > 0;
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
        if self.objects.get(obj).is_ok_and(|object| !object.is_replicated()) {
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
            Part::Pages { zone, pages, compare: true } if !self.is_hole(obj, zone) => {
                self.ask(portion.key, Asked::Digests { obj, zone, pages })
            }
            Part::Pages { zone, pages, .. } => {
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
    pub fn must_wait_for(&mut self, obj: ObjId, part: &Part) -> bool {
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
        waits || self.may_be_gone_there(obj)
    }

    /// The return waits for this object to come to rest.
    pub fn is_awaited(&self, obj: ObjId) -> bool {
        self.leader.ret.as_ref().is_some_and(|ret| ret.awaited.contains(&obj))
    }

    fn is_asking(&self, key: ObjectKey) -> bool {
        self.leader.ret.as_ref().is_some_and(|ret| ret.asking.contains(&key))
    }

    /// In the stream, hence clean; remembered until both disks have it.
    pub fn settle(&mut self, portion: &Portion) {
        if let Some(recent) = &mut self.leader.recent {
            recent.mark_portion(portion);
        }
        let _ = self.leader.dirty.clear(portion);
        self.detail_settled(portion.key);
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
    pub fn settle_part(&mut self, key: ObjectKey, wanted: impl Fn(&Part) -> bool) {
        for portion in self.leader.dirty.portions_of(key, None) {
            if wanted(&portion.part) {
                self.settle(&portion);
            }
        }
    }

    pub fn ask(&mut self, key: ObjectKey, asked: Asked) -> bool {
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
        ret.asked.insert(id, Pending { key, after, asked });
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
        let Some(pending) = ret.asked.remove(&answer.id) else { return };
        let Pending { key, after, mut asked } = pending;
        if let (Asked::List { entries, .. }, AnswerBody::List { entries: more, last }) =
            (&mut asked, &answer.body)
        {
            entries.extend(more.iter().cloned());
            if !last {
                ret.asked.insert(answer.id, Pending { key, after, asked });
                return;
            }
        }
        ret.asking.remove(&key);
        ret.progress_this_round = true;
        if !self.is_bound(asked.obj()) {
            return;
        }
        match (asked, answer.body) {
            (asked, AnswerBody::Failed { errno }) => {
                self.not_answered(asked.obj(), after, Errno(errno))
            }
            (Asked::List { dir, entries }, _) => self.reconcile(dir, key, after, entries),
            (Asked::Stat { obj }, AnswerBody::Stat(entry)) => self.compare_file(obj, key, entry),
            (Asked::Digests { obj, zone, pages }, AnswerBody::Digests(digests)) => {
                self.compare_zone(obj, key, zone, pages, &digests);
            }
            (Asked::Xattrs { obj }, AnswerBody::Xattrs(_))
                if self.attributes_in_flight(obj) || self.may_be_gone_there(obj) =>
            {
                let mark = self.leader.dirty.mark_attributes(key);
                self.note([mark]);
            }
            (Asked::Xattrs { obj }, AnswerBody::Xattrs(theirs)) => self.send_xattrs(obj, &theirs),
            _ => self.break_session("an answer to another question"),
        }
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
            elapsed_ms: elapsed,
            remaining_ms: (todo * 1000).checked_div(rate),
            finished: false,
        })
    }

    pub fn tell_progress(&mut self, finished: bool) {
        let due =
            self.leader.ret.as_ref().is_some_and(|ret| {
                finished || self.now - ret.last_told > Duration::from_millis(500)
            });
        if !due {
            return;
        }
        self.tell_detail(finished);
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
pub fn reaches(part: &Part, size: u64) -> bool {
    match part {
        Part::Pages { zone, pages, .. } => {
            pages.ranges(*zone).last().is_some_and(|range| range.end >= size)
        }
        _ => true,
    }
}
