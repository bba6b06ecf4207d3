//! Object numbers to inodes of the backing directories.
//!
//! An object remembers a file handle, so that millions of them need no descriptor each; a bounded
//! number of descriptors stays open, oldest use first out. Where the file system has no handles an
//! O_PATH descriptor is kept instead. Both ends of the link use this table: the primary draws
//! numbers, the secondary is told them.
use super::{Errno, Selection, sys};
use crate::history::ObjectKey;
use crate::wire::ObjId;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// One replicated directory, held by a descriptor opened before the cover was mounted.
pub struct Root {
    pub fd: OwnedFd,
    device: u64,
    handles: bool,
    selection: Selection,
}

pub struct Object {
    pub key: ObjectKey,
    /// Type bits of the mode (`S_IFMT`).
    pub kind: u32,
    handle: Option<sys::FileHandle>,
    path: Option<OwnedFd>,
    data: Option<OwnedFd>,
    /// Used since the eviction clock last came by.
    used: bool,
    /// Must not lose its descriptor: nothing else leads to the inode (unlinked, or no handles).
    pinned: bool,
    /// Where it was last seen; for the root its own number and an empty name.
    pub parent: ObjId,
    pub name: Bytes,
    /// References of the kernel (primary only).
    pub lookups: u64,
    /// No name leads to it any more: its changes concern nobody else.
    pub orphan: bool,
    /// Seen last under a name that is not replicated.
    pub left_out: bool,
    /// Session in which the peer was told this number, and by which operation.
    pub bound: u64,
    pub bound_by: u64,
    /// The engine's count of operations when it was last changed (primary only).
    pub changed: u64,
}

pub struct Objects {
    roots: Vec<Root>,
    map: HashMap<ObjId, Object>,
    by_ino: HashMap<(u16, u64), ObjId>,
    clock: VecDeque<ObjId>,
    open_max: usize,
    next: u64,
    /// An application may hold files open: an unlinked one stays reachable (primary).
    pub serves: bool,
}

impl Object {
    /// The other copy has it, or is to have it.
    pub fn is_replicated(&self) -> bool {
        !self.orphan && !self.left_out
    }
}

impl Objects {
    /// Takes a descriptor of every directory beneath its covers; `open` makes one from a path.
    pub fn open(
        dirs: &[std::path::PathBuf],
        open: impl Fn(&Path) -> Result<OwnedFd, Errno>,
    ) -> Result<Objects, (std::path::PathBuf, Errno)> {
        let mut objects = Objects {
            roots: Vec::new(),
            map: HashMap::new(),
            by_ino: HashMap::new(),
            clock: VecDeque::new(),
            open_max: descriptor_budget(),
            next: ObjId::FIRST,
            serves: false,
        };
        for (index, dir) in dirs.iter().enumerate() {
            let opened = open(dir).and_then(|fd| objects.add_root(index, fd));
            opened.map_err(|errno| (dir.clone(), errno))?;
        }
        Ok(objects)
    }

    fn add_root(&mut self, index: usize, fd: OwnedFd) -> Result<(), Errno> {
        let stat = sys::fstat(fd.as_raw_fd())?;
        let handle = sys::FileHandle::of(fd.as_raw_fd(), c"").ok();
        // A handle is of use only if it can be opened again (it needs CAP_DAC_READ_SEARCH).
        let handles =
            handle.is_some_and(|handle| handle.open(fd.as_raw_fd(), libc::O_PATH).is_ok());
        let id = ObjId::root(index);
        let key = key(index as u16, &stat, handle);
        let path = Some(fd.try_clone()?);
        self.by_ino.insert((index as u16, stat.st_ino), id);
        let object = Object {
            key,
            kind: libc::S_IFDIR,
            handle: handle.filter(|_| handles),
            path,
            data: None,
            used: true,
            pinned: true,
            parent: id,
            name: Bytes::new(),
            lookups: 1,
            orphan: false,
            left_out: false,
            bound: 0,
            bound_by: 0,
            changed: 0,
        };
        self.map.insert(id, object);
        let selection = Selection::default();
        self.roots.push(Root { fd, device: stat.st_dev, handles, selection });
        Ok(())
    }

    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The directories for another thread.
    pub fn share_roots(&self) -> Result<Vec<OwnedFd>, Errno> {
        self.roots.iter().map(|root| Ok(root.fd.try_clone()?)).collect()
    }

    /// The directories and what of each is replicated, for a walk on another thread.
    pub fn share_trees(&self) -> Result<Vec<(OwnedFd, Selection)>, Errno> {
        let selections = self.roots.iter().map(|root| root.selection.clone());
        Ok(self.share_roots()?.into_iter().zip(selections).collect())
    }

    /// What of root `index` is replicated. To be said before anything in it was looked up.
    pub fn select(&mut self, index: usize, selection: Selection) {
        self.roots[index].selection = selection;
    }

    /// Everything is replicated: no name has to be looked at.
    pub fn leaves_nothing_out(&self) -> bool {
        self.roots.iter().all(|root| root.selection.is_everything())
    }

    /// The entry `name` of `parent` is not replicated, or would not be.
    pub fn leaves_out(&self, parent: ObjId, name: &[u8], is_dir: bool) -> bool {
        let Ok(object) = self.get(parent) else { return false };
        if object.left_out {
            return true;
        }
        let selection = &self.roots[usize::from(object.key.dir)].selection;
        !selection.is_everything() && selection.leaves_out(|| self.path_of(parent), name, is_dir)
    }

    /// As [`Objects::leaves_out`], of an entry of the directory `child` of `parent`, which is
    /// replicated itself.
    pub fn leaves_out_of_child(
        &self,
        parent: ObjId,
        child: &[u8],
        name: &[u8],
        is_dir: bool,
    ) -> bool {
        let Ok(object) = self.get(parent) else { return false };
        let selection = &self.roots[usize::from(object.key.dir)].selection;
        selection.leaves_out(|| self.path_to(parent, child), name, is_dir)
    }

    /// Something below this directory is left out by its path.
    pub fn leaves_out_below(&self, dir: ObjId) -> bool {
        let Ok(object) = self.get(dir) else { return false };
        self.roots[usize::from(object.key.dir)].selection.names_below(&self.path_of(dir))
    }

    /// As [`Objects::leaves_out_below`], if the entry were a directory.
    pub fn would_leave_out_below(&self, parent: ObjId, name: &[u8]) -> bool {
        let Ok(object) = self.get(parent) else { return false };
        let selection = &self.roots[usize::from(object.key.dir)].selection;
        selection.names_below(&self.path_to(parent, name))
    }

    fn path_to(&self, parent: ObjId, name: &[u8]) -> Vec<Vec<u8>> {
        let mut path = self.path_of(parent);
        path.push(name.to_vec());
        path
    }

    /// Names that lead to a directory from its root.
    fn path_of(&self, mut dir: ObjId) -> Vec<Vec<u8>> {
        let mut path = Vec::new();
        while let Ok(object) = self.get(dir)
            && !dir.is_root()
        {
            path.push(object.name.to_vec());
            dir = object.parent;
        }
        path.reverse();
        path
    }

    /// The object was seen under this name.
    pub fn place(&mut self, id: ObjId, parent: ObjId, name: &[u8]) {
        let Ok(kind) = self.get(id).map(|object| object.kind) else { return };
        let left_out = self.leaves_out(parent, name, kind == libc::S_IFDIR);
        if let Some(object) = self.map.get_mut(&id) {
            object.left_out = left_out;
            if left_out {
                // The peer lost the number with the name, if it ever knew it.
                object.bound = 0;
            }
            object.parent = parent;
            if object.name != name {
                object.name = Bytes::copy_from_slice(name);
            }
        }
    }

    /// Draws a number that was never used.
    pub fn draw(&mut self) -> ObjId {
        let id = ObjId(self.next);
        self.next += 1;
        id
    }

    pub fn get(&self, id: ObjId) -> Result<&Object, Errno> {
        self.map.get(&id).ok_or(Errno(libc::ESTALE))
    }

    pub fn get_mut(&mut self, id: ObjId) -> Result<&mut Object, Errno> {
        self.map.get_mut(&id).ok_or(Errno(libc::ESTALE))
    }

    pub fn contains(&self, id: ObjId) -> bool {
        self.map.contains_key(&id)
    }

    /// The live object with this inode, if it is known.
    pub fn by_key(&self, key: ObjectKey) -> Option<ObjId> {
        let id = *self.by_ino.get(&(key.dir, key.ino))?;
        (self.map.get(&id)?.key == key).then_some(id)
    }

    /// As [`Objects::by_key`], of an inode as a list shows it.
    pub fn by_inode(&self, dir: u16, ino: u64, generation: u32) -> Option<ObjId> {
        // Handles that cannot be opened here are not in the keys.
        let handles = self.roots.get(usize::from(dir))?.handles;
        let generation = if handles { generation } else { 0 };
        self.by_key(ObjectKey { dir, ino, generation })
    }

    pub fn ids(&self) -> impl Iterator<Item = ObjId> + '_ {
        self.map.keys().copied()
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Finds the child and its number, drawing one if the inode is new (primary).
    pub fn look_up(&mut self, parent: ObjId, name: &[u8]) -> Result<(ObjId, libc::stat), Errno> {
        let c_name = sys::name(name)?;
        let dir_fd = self.path_fd(parent)?;
        let stat = sys::stat_at(dir_fd, &c_name)?;
        let dir = self.get(parent)?.key.dir;
        if let Some(id) = self.by_ino.get(&(dir, stat.st_ino)).copied() {
            let object = self.get(id)?;
            if object.parent != parent || object.name != name {
                self.place(id, parent, name);
            }
            return Ok((id, stat));
        }
        let id = self.draw();
        self.insert(id, parent, name, dir_fd, &c_name, &stat, None)?;
        Ok((id, stat))
    }

    /// Gives `id` to the child `name` of `parent` (secondary, and new objects on both).
    pub fn bind(&mut self, id: ObjId, parent: ObjId, name: &[u8]) -> Result<libc::stat, Errno> {
        let c_name = sys::name(name)?;
        let dir_fd = self.path_fd(parent)?;
        let stat = sys::stat_at(dir_fd, &c_name)?;
        self.insert(id, parent, name, dir_fd, &c_name, &stat, None)?;
        Ok(stat)
    }

    /// Registers a new inode; `data` is an open descriptor of it, if there is one.
    #[allow(clippy::too_many_arguments)]
    pub fn insert(
        &mut self,
        id: ObjId,
        parent: ObjId,
        name: &[u8],
        dir_fd: RawFd,
        c_name: &CStr,
        stat: &libc::stat,
        data: Option<OwnedFd>,
    ) -> Result<(), Errno> {
        let dir = self.get(parent)?.key.dir;
        let root = &self.roots[usize::from(dir)];
        if stat.st_dev != root.device {
            return Err(Errno(libc::EXDEV));
        }
        let handles = root.handles;
        let handle = match (&data, handles) {
            (Some(fd), true) => Some(sys::FileHandle::of(fd.as_raw_fd(), c"")?),
            (None, true) => Some(sys::FileHandle::of(dir_fd, c_name)?),
            (_, false) => None,
        };
        let path = match (&data, handles) {
            (_, true) => None,
            (Some(fd), false) => Some(fd.try_clone()?),
            (None, false) => {
                Some(sys::open_at(dir_fd, c_name, libc::O_PATH | libc::O_NOFOLLOW, 0)?)
            }
        };
        let orphan = stat.st_nlink == 0;
        let left_out = self.leaves_out(parent, name, stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
        let object = Object {
            key: key(dir, stat, handle),
            kind: stat.st_mode & libc::S_IFMT,
            handle,
            path,
            used: true,
            pinned: !handles || orphan,
            parent,
            name: Bytes::copy_from_slice(name),
            lookups: 0,
            orphan,
            left_out,
            bound: 0,
            bound_by: 0,
            changed: 0,
            data: None,
        };
        self.next = self.next.max(id.0 + 1);
        self.by_ino.insert((dir, stat.st_ino), id);
        self.map.insert(id, object);
        if let Some(fd) = data {
            self.keep(id, fd, true)?;
        }
        Ok(())
    }

    /// Drops the kernel's references; forgets the object with the last one. True when it is gone.
    pub fn release(&mut self, id: ObjId, lookups: u64) -> bool {
        let Some(object) = self.map.get_mut(&id) else { return false };
        object.lookups = object.lookups.saturating_sub(lookups);
        if object.lookups > 0 || id.is_root() {
            return false;
        }
        self.forget(id);
        true
    }

    /// Linked objects that the kernel does not know.
    pub fn idle(&self) -> Vec<ObjId> {
        let idle = |object: &Object| object.lookups == 0 && !object.orphan;
        let objects = self.map.iter().filter(|(id, object)| !id.is_root() && idle(object));
        objects.map(|(id, _)| *id).collect()
    }

    pub fn forget(&mut self, id: ObjId) {
        if id.is_root() {
            return;
        }
        if let Some(object) = self.map.remove(&id) {
            let slot = (object.key.dir, object.key.ino);
            if self.by_ino.get(&slot) == Some(&id) {
                self.by_ino.remove(&slot);
            }
        }
    }

    /// Forgets the object with this inode, which is gone.
    pub fn forget_inode(&mut self, dir: u16, ino: u64) {
        if let Some(id) = self.by_ino.get(&(dir, ino)).copied() {
            self.forget(id);
        }
    }

    /// Forgets everything but the roots.
    pub fn clear(&mut self) {
        let ids: Vec<ObjId> = self.map.keys().copied().collect();
        ids.into_iter().for_each(|id| self.forget(id));
        self.clock.clear();
    }

    /// The last name of the inode goes: hold a descriptor, nothing else will lead to it.
    pub fn pin(&mut self, id: ObjId) -> Result<(), Errno> {
        self.path_fd(id)?;
        self.get_mut(id)?.pinned = true;
        Ok(())
    }

    /// The name stays after all: the descriptor may go when others need the room.
    pub fn unpin(&mut self, id: ObjId) {
        if let Some(object) = self.map.get_mut(&id)
            && object.handle.is_some()
            && std::mem::take(&mut object.pinned)
        {
            self.clock.push_back(id);
        }
    }

    /// After an unlink: an inode without names leaves the index, its number may come back.
    pub fn mark_orphan(&mut self, id: ObjId) {
        if let Some(object) = self.map.get_mut(&id) {
            object.orphan = true;
            let slot = (object.key.dir, object.key.ino);
            if self.by_ino.get(&slot) == Some(&id) {
                self.by_ino.remove(&slot);
            }
        }
    }

    /// A name leads to it again (`linkat` of an O_TMPFILE).
    pub fn mark_linked(&mut self, id: ObjId, parent: ObjId, name: &[u8]) {
        if let Some(object) = self.map.get_mut(&id) {
            object.orphan = false;
            self.by_ino.insert((object.key.dir, object.key.ino), id);
        }
        self.place(id, parent, name);
    }

    /// The known child of `parent` by name, without drawing a number for it.
    pub fn child(&mut self, parent: ObjId, name: &[u8]) -> Option<ObjId> {
        self.child_stat(parent, name).map(|(child, _)| child)
    }

    /// As [`Objects::child`], with its attributes.
    pub fn child_stat(&mut self, parent: ObjId, name: &[u8]) -> Option<(ObjId, libc::stat)> {
        let c_name = sys::name(name).ok()?;
        let dir_fd = self.path_fd(parent).ok()?;
        let stat = sys::stat_at(dir_fd, &c_name).ok()?;
        let dir = self.get(parent).ok()?.key.dir;
        Some((*self.by_ino.get(&(dir, stat.st_ino))?, stat))
    }

    /// Any open descriptor of the object, for attributes.
    pub fn any_fd(&mut self, id: ObjId) -> Result<RawFd, Errno> {
        let object = self.map.get_mut(&id).ok_or(Errno(libc::ESTALE))?;
        match (&object.path, &object.data) {
            (None, Some(fd)) => {
                object.used = true;
                Ok(fd.as_raw_fd())
            }
            _ => self.path_fd(id),
        }
    }

    /// O_PATH descriptor: parent of a name, target of attribute calls.
    pub fn path_fd(&mut self, id: ObjId) -> Result<RawFd, Errno> {
        let object = self.map.get_mut(&id).ok_or(Errno(libc::ESTALE))?;
        object.used = true;
        if let Some(fd) = &object.path {
            return Ok(fd.as_raw_fd());
        }
        let handle = object.handle.ok_or(Errno(libc::ESTALE))?;
        let mount = self.roots[usize::from(object.key.dir)].fd.as_raw_fd();
        let fd = handle.open(mount, libc::O_PATH | libc::O_NOFOLLOW)?;
        let raw = fd.as_raw_fd();
        self.keep(id, fd, false)?;
        Ok(raw)
    }

    /// Descriptor for reading and writing a regular file, for reading a directory.
    pub fn data_fd(&mut self, id: ObjId) -> Result<RawFd, Errno> {
        let object = self.map.get_mut(&id).ok_or(Errno(libc::ESTALE))?;
        object.used = true;
        if let Some(fd) = &object.data {
            return Ok(fd.as_raw_fd());
        }
        let mount = self.roots[usize::from(object.key.dir)].fd.as_raw_fd();
        let access = match object.kind {
            libc::S_IFDIR => libc::O_RDONLY | libc::O_DIRECTORY,
            libc::S_IFREG => libc::O_RDWR | libc::O_NOATIME,
            // Never open a device or a pipe.
            _ => return Err(Errno(libc::EINVAL)),
        };
        let flags = access | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        // Without a name a handle leads nowhere, but an open descriptor still does.
        let by_path = object.orphan || object.handle.is_none();
        let open = |flags: i32| match (object.handle, &object.path) {
            (_, Some(path)) if by_path => reopen(path.as_raw_fd(), flags & !libc::O_NOFOLLOW),
            (Some(handle), _) => handle.open(mount, flags),
            (None, _) => Err(Errno(libc::ESTALE)),
        };
        let fd = match open(flags) {
            // Immutable or append-only files can still be read.
            Err(Errno(libc::EPERM | libc::EACCES)) => {
                open((flags & !libc::O_RDWR) | libc::O_RDONLY)?
            }
            other => other?,
        };
        let raw = fd.as_raw_fd();
        self.keep(id, fd, true)?;
        Ok(raw)
    }

    /// A descriptor of its own for another thread: data of files and directories.
    pub fn share(&mut self, id: ObjId) -> Result<OwnedFd, Errno> {
        self.data_fd(id)?;
        let object = self.get(id)?;
        let fd = object.data.as_ref().ok_or(Errno(libc::EBADF))?;
        Ok(fd.try_clone()?)
    }

    /// A descriptor of its own for another thread: attributes of any kind of object.
    pub fn share_path(&mut self, id: ObjId) -> Result<OwnedFd, Errno> {
        self.path_fd(id)?;
        let fd = self.get(id)?.path.as_ref().ok_or(Errno(libc::EBADF))?;
        Ok(fd.try_clone()?)
    }

    fn keep(&mut self, id: ObjId, fd: OwnedFd, data: bool) -> Result<(), Errno> {
        let object = self.map.get_mut(&id).ok_or(Errno(libc::ESTALE))?;
        let slot = if data { &mut object.data } else { &mut object.path };
        *slot = Some(fd);
        self.clock.push_back(id);
        while self.clock.len() > self.open_max {
            self.evict_one();
        }
        Ok(())
    }

    /// Second chance: an object used since the last visit goes to the end of the queue.
    fn evict_one(&mut self) {
        let Some(id) = self.clock.pop_front() else { return };
        let Some(object) = self.map.get_mut(&id) else { return };
        if object.pinned {
            return;
        }
        if std::mem::take(&mut object.used) {
            self.clock.push_back(id);
            return;
        }
        object.data = None;
        if object.handle.is_some() {
            object.path = None;
        }
    }
}

fn reopen(fd: RawFd, flags: i32) -> Result<OwnedFd, Errno> {
    let path = std::ffi::CString::new(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    sys::open_at(libc::AT_FDCWD, &path, flags, 0)
}

fn key(dir: u16, stat: &libc::stat, handle: Option<sys::FileHandle>) -> ObjectKey {
    let generation = handle.map_or(0, |handle| handle.generation());
    ObjectKey { dir, ino: stat.st_ino, generation }
}

/// Raises the limit of open files to what the kernel allows; half of it is for cached objects.
fn descriptor_budget() -> usize {
    // SAFETY: plain calls on a local value.
    let limit = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        let wish = libc::rlimit { rlim_cur: 1 << 18, rlim_max: limit.rlim_max.max(1 << 18) };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &wish) == 0 {
            wish.rlim_cur
        } else {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
            limit.rlim_cur
        }
    };
    (limit as usize / 2).clamp(64, 32 << 10)
}
