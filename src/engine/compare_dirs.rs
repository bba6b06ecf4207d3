//! A return compares directories: both lists of names, entry by entry, removals last.
use super::compare_files::extra;
use super::operands::directories;
use super::run::Engine;
use crate::disk::{Errno, sys};
use crate::history::{ObjectKey, Part, Portion};
use crate::model::EngineEvent;
use crate::wire::{Entry, ObjId, Op};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// A directory whose names are being compared.
pub struct Listing {
    pub dir: ObjId,
    pub key: ObjectKey,
    /// What is called clean at the end, unless it was marked again.
    pub portions: Vec<Portion>,
    pub gone: Vec<Bytes>,
    pub own: Vec<Vec<u8>>,
    pub there: HashMap<Bytes, Entry>,
    /// Last operation that had been sent when the peer was asked.
    pub after: u64,
    pub deep: bool,
    /// Not in slices: it changed too often.
    pub whole: bool,
    /// The last part of it; until the peer did it, nothing relies on these names.
    pub last_part: u64,
}

/// Passes over one directory before it is dealt with in one go.
const PASSES_IN_SLICES: u32 = 3;

impl Engine {
    /// Both lists of a directory are there: what follows is done in slices between two looks at
    /// the application.
    pub fn reconcile(&mut self, dir: ObjId, key: ObjectKey, after: u64, theirs: Vec<Entry>) {
        if self.is_in_flight(dir) || self.may_be_gone_there(dir) {
            return;
        }
        let deep = self.leader.dirty.is_dirty_whole(key);
        let own = match self.objects.path_fd(dir).and_then(sys::list_dir) {
            Ok(own) => own,
            Err(Errno(libc::ESTALE)) => return,
            Err(errno) => {
                let reason = format!("a replicated directory cannot be read: {errno}");
                return self.tell(EngineEvent::Fault { reason });
            }
        };
        // What is left out is nobody's to compare, on either side.
        let objects = &self.objects;
        let own = own
            .into_iter()
            .filter(|(name, _, kind)| !objects.leaves_out(dir, name, *kind == libc::DT_DIR));
        let own: Vec<Vec<u8>> = own.map(|(name, _, _)| name).collect();
        let theirs = theirs.into_iter().filter(|entry| {
            !objects.leaves_out(dir, &entry.name, entry.mode & libc::S_IFMT == libc::S_IFDIR)
        });
        let parts = |part: &Part| matches!(part, Part::Names | Part::Whole);
        let portions = self.leader.dirty.portions_of(key, None);
        let portions = portions.into_iter().filter(|portion| parts(&portion.part)).collect();
        let there: HashMap<Bytes, Entry> =
            theirs.map(|entry| (entry.name.clone(), entry)).collect();
        // Removals last: a file that got another name is linked there before the old one goes.
        let known: HashSet<&[u8]> = own.iter().map(Vec::as_slice).collect();
        let gone = there.keys().filter(|name| !known.contains(name.as_ref())).cloned().collect();
        let Some(ret) = &mut self.leader.ret else { return };
        let passes = ret.passes.entry(key).or_insert(0);
        *passes += 1;
        let whole = *passes > PASSES_IN_SLICES;
        ret.asking.insert(key);
        ret.listings.push_back(Listing {
            dir,
            key,
            portions,
            gone,
            own,
            there,
            after,
            deep,
            whole,
            last_part: 0,
        });
    }

    /// Goes on with the first directory; `true` if something was done. A directory that changed
    /// meanwhile is listed again, and after a few times dealt with in one go.
    pub fn reconcile_slice(&mut self, until: Instant) -> bool {
        let Some(ret) = self.leader.ret.as_mut().filter(|ret| !ret.locating) else { return false };
        let Some(mut listing) = ret.listings.pop_front() else { return false };
        let dir = listing.dir;
        let mut worked = false;
        while listing.whole || Instant::now() < until && self.may_send() {
            if let Some(name) = listing.own.pop() {
                // Its other name may be going there.
                let known = self.objects.child(dir, &name);
                if known.is_some_and(|id| self.is_name_in_flight(id)) {
                    listing.own.push(name);
                    break;
                }
                worked = true;
                if self.names_are_unknown(dir, &name, &listing.there) {
                    listing.own.push(name);
                    let links = self.unknown_links(dir, &listing.own, &listing.there);
                    self.begin_locating(links);
                    break;
                }
                let entry = listing.there.remove(name.as_slice());
                self.reconcile_name(dir, &name, (entry, listing.after), listing.deep);
            } else if let Some(name) = listing.gone.pop() {
                self.send_only(Op::RemoveTree { parent: dir, name });
                worked = true;
            } else {
                self.listing_sent(listing);
                return true;
            }
        }
        if let Some(ret) = &mut self.leader.ret {
            ret.listings.push_front(listing);
        }
        worked
    }

    /// A part that fails there must not find the directory called clean: what the application
    /// renames out of it meanwhile would be another file there.
    fn listing_sent(&mut self, mut listing: Listing) {
        listing.last_part = self.leader.sent;
        if let Some(ret) = &mut self.leader.ret {
            if listing.whole {
                ret.closing.insert(listing.dir);
            }
            ret.sent_listings.push_back(listing);
        }
        self.end_listings();
    }

    /// Ends the directories of which the peer has done all parts.
    pub fn end_listings(&mut self) {
        let acked = self.leader.acked;
        let mut ended = false;
        while let Some(ret) = &mut self.leader.ret
            && let Some(listing) = ret.sent_listings.pop_front_if(|it| it.last_part <= acked)
        {
            ret.closing.remove(&listing.dir);
            self.listing_done(&listing);
            ended = true;
        }
        if ended {
            self.retry_behind_names();
        }
    }

    /// The operation changes names of a directory that changed too often to be ended beside it.
    pub fn is_closing(&self, op: &Op) -> bool {
        self.leader.ret.as_ref().is_some_and(|ret| {
            !ret.closing.is_empty() && directories(op).iter().any(|dir| ret.closing.contains(dir))
        })
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
        if !self.is_bound(id) {
            let name = entry.name.clone();
            self.send_only(Op::Bind { obj: id, parent: dir, name });
            self.set_bound(id, self.seq);
        }
        let Ok(object) = self.objects.get(id) else { return };
        let (key, bound_by) = (object.key, object.bound_by);
        if let Some(ret) = &mut self.leader.ret {
            let inode = ObjectKey { dir: key.dir, ino: entry.ino, generation: entry.generation };
            ret.claimed.insert(inode, (id, bound_by));
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
        let looks_equal = entry.size == stat.st_size as u64 && entry.mtime == own_time;
        let hidden = self.hides_content(id, key, stat);
        let content = kind == libc::S_IFREG && (hidden || !looks_equal);
        let mut marks = Vec::new();
        match kind {
            libc::S_IFDIR if deep => {
                marks
                    .extend([self.leader.dirty.mark_names(key), self.leader.dirty.mark_whole(key)]);
            }
            libc::S_IFDIR if hidden => marks.push(self.leader.dirty.mark_names(key)),
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
        self.set_bound(id, self.seq);
        if let Some(ret) = &mut self.leader.ret {
            ret.fresh.insert(id);
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

    fn extra_of(&mut self, id: ObjId) -> [u8; 16] {
        self.objects.path_fd(id).map_or([0; 16], extra)
    }
}
