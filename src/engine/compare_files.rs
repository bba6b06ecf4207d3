//! A return compares files: digests of pages, then the pages that differ; attributes as they are.
use super::reintegrate::{Asked, PAGE_BYTES, ZONE_BYTES};
use super::run::Engine;
use crate::disk::{Errno, sys};
use crate::history::{DirtyRecord, Mark, ObjectKey, PageMap, Part, Portion, ZONES_PER_MARK_MAX};
use crate::model::EngineEvent;
use crate::wire::{Entry, ObjId, Op, SetAttr, Times};
use bytes::Bytes;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Largest piece of content in one operation.
const PIECE_BYTES: u64 = 256 << 10;
/// Marked at once; more would be remembered as a change of the whole file.
const STEP_BYTES: u64 = ZONES_PER_MARK_MAX as u64 / 4 * ZONE_BYTES;

impl Engine {
    pub fn drain_file(&mut self, obj: ObjId, portion: &Portion) -> bool {
        let fresh = self.leader.ret.as_ref().is_some_and(|ret| ret.fresh.contains(&obj));
        if !fresh {
            return self.ask(portion.key, Asked::Stat { obj });
        }
        let size = self.size_of(obj);
        self.settle(portion);
        let mut marks = self.mark_data(obj, portion.key, 0..size);
        marks.push(self.leader.dirty.mark_attributes(portion.key));
        self.note(marks);
        true
    }

    /// Marks what is data of a range that the peer's file does not have: holes come with its size.
    /// A mark of too many zones would be one of the whole file, and never end.
    fn mark_data(&mut self, obj: ObjId, key: ObjectKey, range: Range<u64>) -> Vec<Mark> {
        let mut marks = Vec::new();
        let Ok(fd) = self.objects.data_fd(obj) else { return marks };
        let mut at = range.start;
        while let Some(data) = next_data(fd, at).filter(|data| *data < range.end) {
            let hole = sys::seek(fd, data, libc::SEEK_HOLE).unwrap_or(range.end);
            // Of a file in shreds one look a zone is enough.
            let end = hole.next_multiple_of(ZONE_BYTES).min(data + STEP_BYTES).min(range.end);
            marks.push(self.leader.dirty.mark_pages(key, data..end));
            at = end;
        }
        marks
    }

    pub fn size_of(&mut self, obj: ObjId) -> u64 {
        let stat = self.objects.path_fd(obj).and_then(sys::fstat);
        stat.map_or(0, |stat| stat.st_size as u64)
    }

    /// All of a file may differ: every zone gets compared, beyond the peer's end it is sent.
    pub fn compare_file(&mut self, obj: ObjId, key: ObjectKey, theirs: Option<Entry>) {
        if self.must_wait_for(obj, &Part::Whole) {
            return;
        }
        let size = self.size_of(obj);
        let theirs = theirs.map_or(0, |entry| entry.size);
        self.settle_part(key, |part| *part == Part::Whole);
        let mut marks = vec![self.leader.dirty.mark_attributes(key)];
        let common = size.min(theirs);
        for from in (0..common).step_by(STEP_BYTES as usize) {
            let last = (common.min(from + STEP_BYTES) - 1) / ZONE_BYTES;
            let first = (from / ZONE_BYTES) as u32;
            let record = DirtyRecord::Zones { key, first, last: last as u32 };
            self.leader.dirty.apply(&record);
            self.add_unsaved(vec![record]);
        }
        if size > common {
            let from = common.next_multiple_of(ZONE_BYTES).min(size);
            marks.extend(self.mark_data(obj, key, from..size));
        }
        self.note(marks);
        self.send_size(obj, size);
    }

    fn send_size(&mut self, obj: ObjId, size: u64) {
        let set = SetAttr { size: Some(size), ..SetAttr::default() };
        self.send_only(Op::SetAttr { obj, set });
    }

    pub fn compare_zone(
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

    /// Nothing of the zone is data: the peer is told to have none, and neither reads it.
    pub fn is_hole(&mut self, obj: ObjId, zone: u32) -> bool {
        let from = u64::from(zone) * ZONE_BYTES;
        let Ok(fd) = self.objects.data_fd(obj) else { return false };
        next_data(fd, from).is_none_or(|data| data >= from + ZONE_BYTES)
    }

    pub fn send_pages(&mut self, obj: ObjId, zone: u32, pages: PageMap) {
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
            self.detail_sent(obj, length as u64);
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
    let handle = sys::FileHandle::of(fd, c"").ok();
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
        generation: handle.map_or(0, |handle| handle.generation()),
        obj: ObjId(0),
        extra: extra(fd),
    })
}
