//! Which inode of the peer is which of ours, while a return compares a directory.
//!
//! A file with one name on both sides is compared where it stands. With more names a wrong guess
//! would write through a name that nobody compares, or leave two files where there was one. An
//! inode that was neither made nor moved nor linked since the copies were equal is still the one
//! of that name there; any other is found there by a name in a directory whose names did not
//! change, and made anew where there is none.
use super::leader::Session;
use super::locate::{self, Found};
use super::run::{Done, Engine};
use crate::disk::{Errno, Object, sys};
use crate::history::ObjectKey;
use crate::model::Plan;
use crate::wire::{Entry, ObjId, Op};
use bytes::Bytes;
use std::collections::{HashMap, HashSet};

/// Walks in a row that moving directories may spoil; then what they found has to do, and links that
/// were not found are made as files of their own.
const INCOMPLETE_WALKS_MAX: u32 = 20;

impl Engine {
    /// Makes the peer's name the one that it is here. `there`: its entry, behind which operation.
    pub fn reconcile_name(
        &mut self,
        dir: ObjId,
        name: &[u8],
        (there, after): (Option<Entry>, u64),
        deep: bool,
    ) {
        let Ok((id, stat)) = self.objects.look_up(dir, name) else { return };
        let name = Bytes::copy_from_slice(name);
        let kind = stat.st_mode & libc::S_IFMT;
        let same_kind = there.as_ref().is_some_and(|entry| {
            entry.mode & libc::S_IFMT == kind && entry.rdev == sys::rdev_of(stat.st_rdev)
        });
        if kind != libc::S_IFDIR && !self.is_bound(id) && !self.is_comparing() {
            self.bind_by_clean_name(id, (dir, &name));
        }
        let known = there.as_ref().and_then(|entry| self.number_there(dir, entry, after));
        match there {
            Some(entry) if same_kind && kind == libc::S_IFDIR => {
                // Under this number the peer may know the place where it was before.
                let other = self.is_bound(id) && known != Some(id);
                if other {
                    let name = name.clone();
                    self.send_only(Op::Bind { obj: id, parent: dir, name });
                }
                self.same_name(dir, id, &stat, &entry, deep || other);
            }
            Some(entry) if same_kind && self.is_counterpart(id, known, &stat, &entry) => {
                self.same_name(dir, id, &stat, &entry, deep);
            }
            Some(entry) if kind != libc::S_IFDIR && self.is_bound(id) => {
                self.replace_by_link(dir, id, name, entry.mode & libc::S_IFMT == libc::S_IFDIR);
            }
            None if kind != libc::S_IFDIR && self.is_bound(id) => {
                self.send_only(Op::Link { obj: id, parent: dir, name });
            }
            there => {
                if there.is_some() {
                    let name = name.clone();
                    self.send_only(Op::RemoveTree { parent: dir, name });
                }
                self.doubt_other_names(dir, id);
                self.send_new(dir, id, name, &stat);
            }
        }
    }

    /// The object is going to be another inode there. A directory with a name of it may be the same
    /// on both sides and yet out of reach, because one above it is not: its name is made a link
    /// later.
    fn doubt_other_names(&mut self, dir: ObjId, id: ObjId) {
        let names = self.leader.ret.as_ref().and_then(|ret| ret.names.get(&id).cloned());
        for (parent, _) in names.unwrap_or_default().into_iter().filter(|(other, _)| *other != dir)
        {
            self.doubt_names(parent);
        }
    }

    /// An operation on it is on its way and not yet done here: what is read here now is older than
    /// what the peer has, and must not follow it there.
    pub fn is_in_flight(&self, id: ObjId) -> bool {
        self.leader.order.iter().any(|flight| flight.concerns(id))
    }

    /// As [`Engine::is_in_flight`], for owner, mode and extended attributes.
    pub fn attributes_in_flight(&self, id: ObjId) -> bool {
        self.leader.order.iter().any(|flight| flight.changes_attributes(id))
    }

    pub fn is_bound(&self, id: ObjId) -> bool {
        let bound = self.objects.get(id).map(|object| object.bound);
        id.is_root() || bound == Ok(self.leader.session_number)
    }

    /// Made, moved or linked since the copies were equal.
    fn is_new_here(&self, key: ObjectKey) -> bool {
        self.leader.dirty.is_dirty_whole(key)
    }

    /// May have been made since, though no mark says so. A link would be marked, and so would be
    /// the content: what was written in a file, the names in a directory.
    fn may_be_new(&self, stat: &libc::stat) -> bool {
        let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        self.store.memory.made_unmarked && (is_dir || stat.st_nlink == 1)
    }

    /// Its content differs though neither size nor time says so: of an inode that is new without a
    /// mark only what was written is marked, and there the name may lead to an older one.
    pub fn hides_content(&mut self, id: ObjId, key: ObjectKey, stat: &libc::stat) -> bool {
        if !self.may_be_new(stat) {
            return false;
        }
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => self.leader.dirty.contains_any(key, 0..u64::MAX),
            libc::S_IFDIR => {
                let names = self.objects.data_fd(id).and_then(sys::list_dir);
                let left_out = |(name, _, kind): &(Vec<u8>, u64, u8)| {
                    self.objects.leaves_out(id, name, *kind == libc::DT_DIR)
                };
                names.is_ok_and(|names| names.iter().all(left_out))
            }
            _ => false,
        }
    }

    /// The number that the peer knows an entry's inode by, if it is still that inode's.
    fn number_there(&self, dir: ObjId, entry: &Entry, after: u64) -> Option<ObjId> {
        let dir = self.objects.get(dir).ok()?.key.dir;
        let inode = ObjectKey { dir, ino: entry.ino, generation: entry.generation };
        let bound_by = |id: ObjId| self.objects.get(id).map_or(0, |object| object.bound_by);
        let claimed = self.leader.ret.as_ref().and_then(|ret| ret.claimed.get(&inode).copied());
        match claimed {
            Some((id, seq)) if bound_by(id) == seq => Some(id),
            _ => (entry.obj != ObjId(0) && bound_by(entry.obj) <= after).then_some(entry.obj),
        }
    }

    /// The entry, known there as `there`, is this object's inode, or may become it without harm to
    /// another name.
    fn is_counterpart(
        &self,
        id: ObjId,
        there: Option<ObjId>,
        stat: &libc::stat,
        entry: &Entry,
    ) -> bool {
        let Ok(key) = self.objects.get(id).map(|object| object.key) else { return false };
        if there == Some(id) || self.is_bound(id) {
            return there == Some(id);
        }
        let known = |other: ObjId| self.objects.get(other).is_ok_and(Object::is_replicated);
        if there.is_some_and(known) {
            return false;
        }
        let new = self.is_new_here(key) || self.may_be_new(stat);
        self.is_comparing() || stat.st_nlink == 1 && entry.nlink == 1 || !new
    }

    /// The name leads to another inode there. The object may have no other name there, so it gets
    /// the new one before the old one goes.
    fn replace_by_link(&mut self, dir: ObjId, id: ObjId, name: Bytes, tree: bool) {
        if tree {
            self.send_only(Op::RemoveTree { parent: dir, name: name.clone() });
            self.send_only(Op::Link { obj: id, parent: dir, name });
            return;
        }
        self.send_only(Op::Replace { obj: id, parent: dir, name });
    }

    /// A hard link that was made or moved since the copies were equal, or whose name is not there:
    /// its other names are needed before anything is decided.
    pub fn names_are_unknown(
        &mut self,
        dir: ObjId,
        name: &[u8],
        there: &HashMap<Bytes, Entry>,
    ) -> bool {
        let Ok((id, stat)) = self.objects.look_up(dir, name) else { return false };
        let kind = stat.st_mode & libc::S_IFMT;
        if stat.st_nlink < 2 || kind == libc::S_IFDIR || self.is_bound(id) || self.is_comparing() {
            return false;
        }
        let same = there.get(name).is_some_and(|entry| entry.mode & libc::S_IFMT == kind);
        let new = self.objects.get(id).is_ok_and(|object| self.is_new_here(object.key));
        (new || !same) && self.leader.ret.as_ref().is_some_and(|ret| !ret.names.contains_key(&id))
    }

    /// All such links of one directory, for one walk.
    pub fn unknown_links(
        &mut self,
        dir: ObjId,
        own: &[Vec<u8>],
        there: &HashMap<Bytes, Entry>,
    ) -> Vec<ObjectKey> {
        let mut keys = Vec::new();
        for name in own {
            if self.names_are_unknown(dir, name, there)
                && let Ok((id, _)) = self.objects.look_up(dir, name)
                && let Ok(object) = self.objects.get(id)
            {
                keys.push(object.key);
            }
        }
        keys
    }

    /// Everything is listed and compared: what the copies had in common is not known.
    fn is_comparing(&self) -> bool {
        self.leader.ret.as_ref().is_some_and(|ret| ret.plan == Plan::Digests)
    }

    /// Tells the peer the object's number by a name that is surely the same there.
    fn bind_by_clean_name(&mut self, id: ObjId, but: (ObjId, &Bytes)) {
        let Ok(key) = self.objects.get(id).map(|object| object.key) else { return };
        let names = self.leader.ret.as_ref().and_then(|ret| ret.names.get(&id).cloned());
        for (parent, name) in names.unwrap_or_default() {
            let Ok(parent_key) = self.objects.get(parent).map(|object| object.key) else {
                continue;
            };
            let dirty = &self.leader.dirty;
            let changed = dirty.is_dirty_names(parent_key) || dirty.is_dirty_whole(parent_key);
            let same = self.objects.path_fd(parent).and_then(|fd| {
                let stat = sys::stat_at(fd, &sys::name(&name)?)?;
                Ok(stat.st_ino == key.ino)
            });
            let goes = self.is_entry_in_flight(parent, &name);
            if changed || goes || (parent, &name) == but || same != Ok(true) {
                continue;
            }
            if self.is_reachable(parent) && self.ensure_bound(parent) {
                self.send_only(Op::Bind { obj: id, parent, name });
                self.set_bound(id, self.seq);
                return;
            }
        }
    }

    // ---- objects known by number only ----------------------------------------------------------

    /// Looks for objects of which only the inode is known, and for all names of hard links.
    pub fn begin_locating(&mut self, links: Vec<ObjectKey>) {
        let unknown = |key: &ObjectKey| self.objects.by_key(*key).is_none();
        let wanted: Vec<_> = self.leader.dirty.keys().filter(unknown).chain(links).collect();
        let Some(ret) = &mut self.leader.ret else { return };
        if wanted.is_empty() {
            return;
        }
        ret.locating = true;
        ret.renamed.clear();
        let walk = (self.leader.session_number, ret.dirs_moved);
        let roots = self.objects.share_trees();
        self.run_beside(move || {
            let found = roots.and_then(|roots| locate::walk(roots, &wanted, None));
            Done::Located { walk, wanted, found }
        });
    }

    /// A name changed while a walk may be under way, and what an earlier one found is old.
    pub fn count_moved(&mut self, op: &Op) {
        if self.leader.ret.is_none() {
            return;
        }
        let moved = match op {
            Op::Link { obj, .. } => vec![Some(*obj)],
            // An exchange moves both.
            Op::Rename { parent, name, new_parent, new_name, .. } => {
                vec![self.objects.child(*parent, name), self.objects.child(*new_parent, new_name)]
            }
            _ => return,
        };
        for id in moved.into_iter().flatten() {
            let Ok(object) = self.objects.get(id) else { continue };
            if let Some(ret) = &mut self.leader.ret {
                ret.dirs_moved += u64::from(object.kind == libc::S_IFDIR);
                ret.names.remove(&id);
                ret.renamed.insert(id);
            }
        }
    }

    /// `walk`: the session and the count of moved directories when it began.
    pub fn located(
        &mut self,
        walk: (u64, u64),
        wanted: &[ObjectKey],
        found: Result<Vec<Found>, Errno>,
    ) {
        let (session, dirs_moved) = walk;
        let current = session == self.leader.session_number;
        if !current || self.leader.session != Session::Returning || self.leader.ret.is_none() {
            return;
        }
        let found = match found {
            Ok(found) => found,
            Err(errno) => {
                return self.break_session(&format!("the own copy could not be searched: {errno}"));
            }
        };
        let Some(ret) = &mut self.leader.ret else { return };
        // What lay in a directory that moved may have been passed by.
        let complete = dirs_moved == ret.dirs_moved;
        ret.incomplete_walks = if complete { 0 } else { ret.incomplete_walks + 1 };
        let again = (1..=INCOMPLETE_WALKS_MAX).contains(&ret.incomplete_walks);
        let mut names = Vec::new();
        let mut moved = HashSet::new();
        for found in &found {
            match locate::adopt(&mut self.objects, found) {
                Some(name) => names.push(name),
                None => drop(moved.insert(found.key)),
            }
        }
        for key in wanted {
            let Some(ret) = &mut self.leader.ret else { return };
            match self.objects.by_key(*key) {
                Some(id) if again || ret.renamed.contains(&id) => {}
                Some(id) => drop(ret.names.entry(id).or_default()),
                // No name leads to it any more, or its number is another's now: gone for good.
                None if complete && !moved.contains(key) => self.leader.dirty.forget(*key),
                None => {}
            }
        }
        let Some(ret) = &mut self.leader.ret else { return };
        for (id, parent, name) in names {
            if let Some(names) = ret.names.get_mut(&id) {
                names.push((parent, name));
            }
        }
        ret.locating = false;
        ret.cursor = None;
        ret.progress_this_round = true;
    }
}
