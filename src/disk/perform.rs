//! Performs one operation on the backing directories. Both copies are made by this code.
use super::{Errno, Objects, sys};
use crate::wire::{Access, FALLOCATE_KILL_SUIDGID, ObjId, Op, SetAttr};
use std::os::fd::{AsRawFd, RawFd};

/// What the caller may need of the result.
pub enum Performed {
    Done,
    /// Attributes of the new or changed object.
    Stat(Box<libc::stat>),
    /// Bytes that a copy moved.
    Copied(u64),
}

/// Carries `op` out. Barriers do nothing here: they are slow and belong to a thread of their own.
pub fn perform(objects: &mut Objects, op: &Op) -> Result<Performed, Errno> {
    match op {
        Op::Nop | Op::Fsync { .. } | Op::SyncAll => Ok(Performed::Done),
        Op::Write { obj, offset, data, kill_suidgid } => {
            let fd = objects.data_fd(*obj)?;
            sys::pwrite_all(fd, data, *offset)?;
            if *kill_suidgid {
                strip_suidgid(fd)?;
            }
            Ok(Performed::Done)
        }
        Op::Create { .. } | Op::Mkdir { .. } | Op::Mknod { .. } | Op::Symlink { .. } => {
            create(objects, op)
        }
        Op::Tmpfile { parent, obj, access } => tmpfile(objects, *parent, *obj, access),
        Op::Link { obj, parent, name } => link(objects, *obj, *parent, name),
        Op::Unlink { parent, name } => remove(objects, *parent, name, false),
        Op::Rmdir { parent, name } => remove(objects, *parent, name, true),
        Op::Rename { parent, name, new_parent, new_name, flags } => {
            rename(objects, (*parent, name), (*new_parent, new_name), *flags)
        }
        Op::SetAttr { obj, set } => set_attr(objects, *obj, set),
        Op::SetXattr { obj, name, value, flags, kill_sgid } => {
            let fd = objects.path_fd(*obj)?;
            sys::set_xattr(fd, name, value, *flags)?;
            if *kill_sgid {
                let mode = sys::fstat(fd)?.st_mode;
                sys::chmod_fd(fd, mode & 0o5777)?;
            }
            Ok(Performed::Done)
        }
        Op::RemoveXattr { obj, name } => {
            sys::remove_xattr(objects.path_fd(*obj)?, name)?;
            Ok(Performed::Done)
        }
        Op::Fallocate { obj, mode, offset, length } => {
            let fd = objects.data_fd(*obj)?;
            sys::fallocate(fd, *mode & !FALLOCATE_KILL_SUIDGID, *offset, *length)?;
            if *mode & FALLOCATE_KILL_SUIDGID != 0 {
                strip_suidgid(fd)?;
            }
            Ok(Performed::Done)
        }
        Op::CopyRange { source, source_offset, target, target_offset, length } => {
            let from = objects.data_fd(*source)?;
            let to = objects.data_fd(*target)?;
            let copied = sys::copy_range(from, *source_offset, to, *target_offset, *length)?;
            Ok(Performed::Copied(copied))
        }
        Op::Bind { obj, parent, name } => {
            let stat = objects.bind(*obj, *parent, name)?;
            Ok(Performed::Stat(Box::new(stat)))
        }
        Op::Forget { obj } => {
            objects.forget(*obj);
            Ok(Performed::Done)
        }
        Op::RemoveTree { parent, name } => {
            let dir = objects.get(*parent)?.key.dir;
            let fd = objects.path_fd(*parent)?;
            remove_tree(objects, dir, fd, name)?;
            Ok(Performed::Done)
        }
        Op::Replace { obj, parent, name } => replace(objects, *obj, *parent, name),
    }
}

/// New inodes belong to the caller from their first moment: the thread takes the caller's file
/// system ids and umask on, while its capabilities stay (see [`keep_capabilities`]).
struct Impersonation {
    uid: u32,
    gid: u32,
}

impl Impersonation {
    fn of(access: &Access) -> Impersonation {
        // SAFETY: these calls change only the calling thread, whose umask is its own
        // (CLONE_FS was given up in `keep_capabilities`).
        unsafe {
            libc::umask(access.umask & 0o777);
            if access.gid != 0 {
                libc::setfsgid(access.gid);
            }
            if access.uid != 0 {
                libc::setfsuid(access.uid);
            }
        }
        Impersonation { uid: access.uid, gid: access.gid }
    }
}

impl Drop for Impersonation {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            if self.uid != 0 {
                libc::setfsuid(0);
            }
            if self.gid != 0 {
                libc::setfsgid(0);
            }
            libc::umask(0o077);
        }
    }
}

/// Once per thread that performs operations: umask becomes the thread's own, and changing the
/// file system user id no longer drops capabilities (SECBIT_NO_SETUID_FIXUP, capabilities(7)).
pub fn keep_capabilities() -> Result<(), Errno> {
    const SECBIT_NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;
    // SAFETY: plain calls on the calling thread.
    unsafe {
        if libc::unshare(libc::CLONE_FS) != 0 {
            return Err(Errno::last());
        }
        let bits = libc::prctl(libc::PR_GET_SECUREBITS);
        if bits < 0 {
            return Err(Errno::last());
        }
        let wish = bits as libc::c_ulong | SECBIT_NO_SETUID_FIXUP;
        if libc::prctl(libc::PR_SET_SECUREBITS, wish) != 0 {
            return Err(Errno::last());
        }
        libc::umask(0o077);
    }
    Ok(())
}

fn create(objects: &mut Objects, op: &Op) -> Result<Performed, Errno> {
    let (Op::Create { parent, name, obj, access }
    | Op::Mkdir { parent, name, obj, access }
    | Op::Mknod { parent, name, obj, access, .. }
    | Op::Symlink { parent, name, obj, access, .. }) = op
    else {
        return Err(Errno(libc::EINVAL));
    };
    let c_name = sys::name(name)?;
    let dir = objects.path_fd(*parent)?;
    let as_caller = Impersonation::of(access);
    let data = match op {
        Op::Create { .. } => {
            let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            let flags = flags | libc::O_NOATIME;
            Some(sys::open_at(dir, &c_name, flags, access.mode & 0o7777)?)
        }
        Op::Mkdir { .. } => {
            sys::mkdir_at(dir, &c_name, access.mode & 0o7777)?;
            None
        }
        Op::Mknod { rdev, .. } => {
            sys::mknod_at(dir, &c_name, access.mode, *rdev)?;
            None
        }
        Op::Symlink { target, .. } => {
            sys::symlink_at(target, dir, &c_name)?;
            None
        }
        _ => None,
    };
    drop(as_caller);
    let stat = match &data {
        Some(fd) => sys::fstat(fd.as_raw_fd())?,
        None => sys::stat_at(dir, &c_name)?,
    };
    objects.insert(*obj, *parent, name, dir, &c_name, &stat, data)?;
    Ok(Performed::Stat(Box::new(stat)))
}

fn tmpfile(
    objects: &mut Objects,
    parent: ObjId,
    obj: ObjId,
    access: &Access,
) -> Result<Performed, Errno> {
    let dir = objects.path_fd(parent)?;
    let as_caller = Impersonation::of(access);
    let fd = sys::open_at(dir, c".", libc::O_RDWR | libc::O_TMPFILE, access.mode & 0o7777)?;
    drop(as_caller);
    let stat = sys::fstat(fd.as_raw_fd())?;
    objects.insert(obj, parent, b"", dir, c"", &stat, Some(fd))?;
    objects.pin(obj)?;
    objects.mark_orphan(obj);
    Ok(Performed::Stat(Box::new(stat)))
}

fn link(objects: &mut Objects, obj: ObjId, parent: ObjId, name: &[u8]) -> Result<Performed, Errno> {
    let c_name = sys::name(name)?;
    let orphan = objects.get(obj)?.orphan;
    // An O_TMPFILE inode can be linked only through the descriptor that made it.
    let fd = if orphan { objects.data_fd(obj)? } else { objects.path_fd(obj)? };
    let dir = objects.path_fd(parent)?;
    sys::link_fd(fd, dir, &c_name)?;
    objects.mark_linked(obj, parent, name);
    if orphan {
        // Its handle leads to it from now on.
        objects.unpin(obj);
    }
    Ok(Performed::Stat(Box::new(sys::fstat(fd)?)))
}

/// A link cannot take a name that there is: a second name takes it.
fn replace(
    objects: &mut Objects,
    obj: ObjId,
    parent: ObjId,
    name: &bytes::Bytes,
) -> Result<Performed, Errno> {
    let between = bytes::Bytes::from(format!(".lockstep-{:x}", obj.0));
    link(objects, obj, parent, &between)?;
    let renamed = rename(objects, (parent, &between), (parent, name), 0);
    // Also where it had the name already: a rename between two names of one inode does nothing.
    let dir = objects.path_fd(parent)?;
    let removed = sys::unlink_at(dir, &sys::name(&between)?, false);
    match removed {
        Err(errno) if errno != Errno(libc::ENOENT) => renamed.and(Err(errno)),
        _ => renamed,
    }
}

/// Removes what is not replicated and stands in the way of `op`: the primary has no such thing
/// there, or a thing of its own that is not replicated either. True: worth another try.
pub fn make_room(objects: &mut Objects, op: &Op, errno: Errno) -> bool {
    let in_the_way = [libc::EEXIST, libc::ENOTEMPTY, libc::ENOTDIR, libc::EISDIR];
    if objects.leaves_nothing_out() || !in_the_way.contains(&errno.0) {
        return false;
    }
    let (parent, name) = match op {
        Op::Create { parent, name, .. }
        | Op::Mkdir { parent, name, .. }
        | Op::Mknod { parent, name, .. }
        | Op::Symlink { parent, name, .. }
        | Op::Link { parent, name, .. }
        | Op::Replace { parent, name, .. }
        | Op::Rmdir { parent, name } => (*parent, name),
        Op::Rename { new_parent, new_name, .. } => (*new_parent, new_name),
        _ => return false,
    };
    clear(objects, parent, name).is_ok_and(|removed| removed)
}

/// Removes the entry if it is not replicated, else what is not replicated in it. Numbers are the
/// primary's to draw: nothing is looked up.
fn clear(objects: &mut Objects, parent: ObjId, name: &[u8]) -> Result<bool, Errno> {
    let c_name = sys::name(name)?;
    let dir = objects.get(parent)?.key.dir;
    let above = objects.path_fd(parent)?;
    let is_dir = sys::stat_at(above, &c_name)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
    if objects.leaves_out(parent, name, is_dir) {
        remove_tree(objects, dir, above, name)?;
        return Ok(true);
    }
    if !is_dir {
        return Ok(false);
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let fd = sys::open_at(above, &c_name, flags, 0)?;
    let mut removed = false;
    for (entry, _, kind) in sys::list_dir(fd.as_raw_fd())? {
        if objects.leaves_out_of_child(parent, name, &entry, kind == libc::DT_DIR) {
            remove_tree(objects, dir, fd.as_raw_fd(), &entry)?;
            removed = true;
        }
    }
    Ok(removed)
}

fn remove(
    objects: &mut Objects,
    parent: ObjId,
    name: &[u8],
    directory: bool,
) -> Result<Performed, Errno> {
    let c_name = sys::name(name)?;
    let child = last_name(objects, parent, name)?;
    let dir = objects.path_fd(parent)?;
    let result = sys::unlink_at(dir, &c_name, directory);
    after_unlink(objects, child, &result);
    result?;
    Ok(Performed::Done)
}

/// A known child that is about to lose a name, and whether it is its last.
fn last_name(
    objects: &mut Objects,
    parent: ObjId,
    name: &[u8],
) -> Result<Option<(ObjId, bool)>, Errno> {
    let Some((child, stat)) = objects.child_stat(parent, name) else { return Ok(None) };
    let last = stat.st_nlink <= 1 || stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    if last && objects.serves {
        // Somebody may have it open: nothing but a descriptor will lead to it.
        objects.pin(child)?;
    }
    Ok(Some((child, last)))
}

fn after_unlink(objects: &mut Objects, child: Option<(ObjId, bool)>, result: &Result<(), Errno>) {
    match child {
        Some((child, true)) if result.is_ok() && objects.serves => objects.mark_orphan(child),
        // The primary sends nothing of what has no name. A number that still led to the inode would
        // take what is meant for another one, in silence.
        Some((child, true)) if result.is_ok() => objects.forget(child),
        Some((child, true)) => objects.unpin(child),
        _ => {}
    }
}

fn rename(
    objects: &mut Objects,
    (parent, name): (ObjId, &bytes::Bytes),
    (new_parent, new_name): (ObjId, &bytes::Bytes),
    flags: u32,
) -> Result<Performed, Errno> {
    let (old, new) = (sys::name(name)?, sys::name(new_name)?);
    let moved = objects.child(parent, name);
    let exchange = flags & libc::RENAME_EXCHANGE != 0;
    let swapped = if exchange { objects.child(new_parent, new_name) } else { None };
    let mut replaced = if exchange { None } else { last_name(objects, new_parent, new_name)? };
    // Two names of one inode: rename does nothing and the inode stays.
    replaced = replaced.filter(|(child, _)| Some(*child) != moved);
    let from = objects.path_fd(parent)?;
    let to = objects.path_fd(new_parent)?;
    let result = sys::rename_at(from, &old, to, &new, flags);
    if result.is_err() {
        after_unlink(objects, replaced, &result);
    }
    result?;
    if let Some(moved) = moved {
        objects.place(moved, new_parent, new_name);
    }
    if let Some(other) = swapped {
        objects.place(other, parent, name);
    }
    after_unlink(objects, replaced, &Ok(()));
    Ok(Performed::Done)
}

/// Size, owner, mode, times: in this order, because each may undo what a later one sets.
fn set_attr(objects: &mut Objects, obj: ObjId, set: &SetAttr) -> Result<Performed, Errno> {
    let kind = objects.get(obj)?.kind;
    if let Some(size) = set.size {
        let fd = objects.data_fd(obj)?;
        sys::truncate(fd, size)?;
        if set.kill_suidgid {
            strip_suidgid(fd)?;
        }
    }
    let fd = objects.any_fd(obj)?;
    if set.uid.is_some() || set.gid.is_some() {
        sys::chown_fd(fd, set.uid, set.gid)?;
    }
    if let Some(mode) = set.mode
        && kind != libc::S_IFLNK
    {
        sys::chmod_fd(fd, mode)?;
    }
    if set.times.atime.is_some() || set.times.mtime.is_some() {
        sys::set_times(fd, set.times.atime, set.times.mtime)?;
    }
    Ok(Performed::Stat(Box::new(sys::fstat(fd)?)))
}

/// What the kernel does for an unprivileged writer: set-user-id goes, set-group-id goes when the
/// group may execute.
fn strip_suidgid(fd: RawFd) -> Result<(), Errno> {
    let mode = sys::fstat(fd)?.st_mode;
    let mut kept = mode & !libc::S_ISUID;
    if mode & libc::S_IXGRP != 0 {
        kept &= !libc::S_ISGID;
    }
    if kept != mode { sys::chmod_fd(fd, kept) } else { Ok(()) }
}

/// Depth first, by descriptor; a name that is already gone is no error. What loses its last name
/// loses its number.
fn remove_tree(objects: &mut Objects, dir: u16, parent: RawFd, name: &[u8]) -> Result<(), Errno> {
    let c_name = sys::name(name)?;
    let stat = match sys::stat_at(parent, &c_name) {
        Err(Errno(libc::ENOENT)) => return Ok(()),
        other => other?,
    };
    let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    if is_dir {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let child = sys::open_at(parent, &c_name, flags, 0)?;
        for (entry, _, _) in sys::list_dir(child.as_raw_fd())? {
            remove_tree(objects, dir, child.as_raw_fd(), &entry)?;
        }
    }
    sys::unlink_at(parent, &c_name, is_dir)?;
    if is_dir || stat.st_nlink <= 1 {
        objects.forget_inode(dir, stat.st_ino);
    }
    Ok(())
}
