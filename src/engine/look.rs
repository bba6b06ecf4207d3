//! Requests that change nothing: answered from the backing directory at once, cold reads by the
//! pool. Time-outs of caches are for ever, so most of these come once.
use super::requests::{Intent, Slot};
use super::run::{Done, Engine};
use crate::capture::abi::{FOR_EVER, Out, ROOT_NODE};
use crate::disk::{Errno, sys};
use crate::wire::ObjId;
use std::os::fd::AsRawFd;

/// Bytes of directory entries read at a time.
const DIR_BUFFER_BYTES: usize = 32 << 10;

impl Engine {
    pub fn look(&mut self, slot: Slot, intent: Intent) {
        let result = match intent {
            Intent::Lookup { parent, name } => self.look_up(parent, &name),
            Intent::Forget(list) => return self.forget(&list),
            Intent::GetAttr { obj } => self.get_attr(obj),
            Intent::ReadLink { obj } => self.objects.path_fd(obj).and_then(sys::read_link),
            Intent::Read { obj, offset, size } => return self.read(slot, obj, offset, size),
            Intent::StatFs { obj } => self.stat_fs(obj),
            Intent::GetXattr { obj, name, size } => self.get_xattr(obj, &name, size),
            Intent::ListXattr { obj, size, trusted } => self.list_xattr(obj, size, trusted),
            Intent::ReadDir { obj, offset, size, plus } => {
                self.read_dir(obj, offset, size as usize, plus)
            }
            Intent::Seek { obj, offset, whence } => self
                .objects
                .data_fd(obj)
                .and_then(|fd| sys::seek(fd, offset, whence as i32))
                .map(|at| Out::default().u64(at).bytes),
            _ => Err(Errno(libc::EOPNOTSUPP)),
        };
        match result {
            Ok(bytes) => self.reply(slot, None, &bytes),
            Err(errno) => self.reply(slot, Some(errno), &[]),
        }
    }

    fn look_up(&mut self, parent: ObjId, name: &[u8]) -> Result<Vec<u8>, Errno> {
        match self.objects.look_up(parent, name) {
            Ok((id, stat)) => {
                self.objects.get_mut(id)?.lookups += 1;
                Ok(Out::default().entry(id.0, &stat).bytes)
            }
            // Remembered by the kernel as absent until somebody makes the name.
            Err(Errno(libc::ENOENT)) => {
                Ok(Out::default().u64(0).u64(0).u64(FOR_EVER).zeros(104).bytes)
            }
            Err(errno) => Err(errno),
        }
    }

    fn forget(&mut self, list: &[(ObjId, u64)]) {
        for (id, count) in list {
            self.release(*id, *count);
        }
    }

    fn get_attr(&mut self, obj: ObjId) -> Result<Vec<u8>, Errno> {
        let stat = sys::fstat(self.objects.any_fd(obj)?)?;
        Ok(Out::default().u64(FOR_EVER).u32(0).u32(0).attr(&stat).bytes)
    }

    /// Straight into the ring's buffer where the data is in memory; otherwise a pool thread waits
    /// for the disk, because everything else would wait behind it here.
    fn read(&mut self, slot: Slot, obj: ObjId, offset: u64, size: u32) {
        let size = size as usize;
        let fd = match self.objects.data_fd(obj) {
            Ok(fd) => fd,
            Err(errno) => return self.reply(slot, Some(errno), &[]),
        };
        if let (Some(entry), Some(ring)) = (slot.entry, self.reactor.ring()) {
            let buffer = ring.payload(entry);
            let size = size.min(buffer.len());
            if let Ok(length) = sys::pread_full(fd, &mut buffer[..size], offset, true) {
                let _ = ring.reply_in_place(entry, slot.unique, None, length);
                return;
            }
        }
        match self.objects.share(obj) {
            Err(errno) => self.reply(slot, Some(errno), &[]),
            Ok(file) => self.run_beside(move || {
                let mut bytes = vec![0; size];
                let result = sys::pread_full(file.as_raw_fd(), &mut bytes, offset, false);
                let result = result.map(|length| {
                    bytes.truncate(length);
                    bytes
                });
                Done::Read { slot, result }
            }),
        }
    }

    /// The smaller of both nodes' free space: what an application may rely on.
    fn stat_fs(&mut self, obj: ObjId) -> Result<Vec<u8>, Errno> {
        let stat = sys::stat_fs(self.objects.path_fd(obj)?)?;
        let (bytes, inodes) = self.peer_free();
        let blocks = |own: u64| own.min(bytes / stat.f_frsize.max(1));
        Ok(Out::default()
            .u64(stat.f_blocks)
            .u64(blocks(stat.f_bfree))
            .u64(blocks(stat.f_bavail))
            .u64(stat.f_files)
            .u64(stat.f_ffree.min(inodes))
            .u32(stat.f_bsize as u32)
            .u32(255)
            .u32(stat.f_frsize as u32)
            .zeros(28)
            .bytes)
    }

    /// Names of the `trusted` space are shown to the privileged only, as a disk would.
    fn list_xattr(&mut self, obj: ObjId, size: u32, trusted: bool) -> Result<Vec<u8>, Errno> {
        let fd = self.objects.path_fd(obj)?;
        let mut names = vec![0; sys::XATTR_LIST_BYTES_MAX];
        let length = sys::list_xattr(fd, &mut names)?;
        names.truncate(length);
        if !trusted {
            let shown = names.split_inclusive(|b| *b == 0).filter(|n| !n.starts_with(b"trusted."));
            names = shown.flatten().copied().collect();
        }
        match size as usize {
            0 => Ok(Out::default().u32(names.len() as u32).u32(0).bytes),
            room if room < names.len() => Err(Errno(libc::ERANGE)),
            _ => Ok(names),
        }
    }

    fn get_xattr(&mut self, obj: ObjId, name: &[u8], size: u32) -> Result<Vec<u8>, Errno> {
        let fd = self.objects.path_fd(obj)?;
        let mut buffer = vec![0; size as usize];
        let length = sys::get_xattr(fd, name, &mut buffer)?;
        if size == 0 {
            return Ok(Out::default().u32(length as u32).u32(0).bytes);
        }
        buffer.truncate(length);
        Ok(buffer)
    }

    fn read_dir(
        &mut self,
        obj: ObjId,
        offset: u64,
        size: usize,
        plus: bool,
    ) -> Result<Vec<u8>, Errno> {
        let fd = self.objects.data_fd(obj)?;
        sys::seek(fd, offset, libc::SEEK_SET)?;
        let mut buffer = vec![0; DIR_BUFFER_BYTES.min(size.max(1024))];
        let mut out = Vec::with_capacity(size);
        loop {
            let length = sys::read_dir(fd, &mut buffer)?;
            if length == 0 {
                return Ok(out);
            }
            for entry in sys::entries(&buffer[..length]) {
                let fixed = if plus { 152 } else { 24 };
                let record = (fixed + entry.name.len()).next_multiple_of(8);
                if out.len() + record > size {
                    return Ok(out);
                }
                if plus {
                    let head = self.plus_entry(obj, entry.name);
                    out.extend_from_slice(&head);
                }
                let head = Out { bytes: std::mem::take(&mut out) }
                    .u64(entry.ino)
                    .u64(entry.next)
                    .u32(entry.name.len() as u32)
                    .u32(u32::from(entry.kind));
                out = head.bytes;
                out.extend_from_slice(entry.name);
                out.resize(out.len().next_multiple_of(8), 0);
            }
        }
    }

    /// `fuse_entry_out` of a name in a listing; all zero where the kernel should look up itself.
    fn plus_entry(&mut self, parent: ObjId, name: &[u8]) -> Vec<u8> {
        if name != b"."
            && name != b".."
            && let Ok((id, stat)) = self.objects.look_up(parent, name)
            && let Ok(object) = self.objects.get_mut(id)
        {
            debug_assert_ne!(id.0, ROOT_NODE);
            object.lookups += 1;
            return Out::default().entry(id.0, &stat).bytes;
        }
        vec![0; 128]
    }
}
