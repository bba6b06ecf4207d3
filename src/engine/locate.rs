//! Names of inodes that are known by number only: after a restart the dirty set names objects by
//! inode, and an object may have lost the name under which it was seen. A walk reads directory
//! entries and nothing else.
use crate::disk::{Objects, sys};
use crate::history::ObjectKey;
use crate::wire::ObjId;
use bytes::Bytes;
use std::collections::HashSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

/// An inode and the names that lead to it from the root of its directory.
#[derive(Clone, Debug)]
pub struct Found {
    pub key: ObjectKey,
    pub path: Vec<Vec<u8>>,
}

/// Walks the directories below `roots` and finds the wanted inodes, until it is over or `until` has
/// passed. Runs on the pool.
pub fn walk(roots: Vec<OwnedFd>, wanted: &[ObjectKey], until: Option<Instant>) -> Vec<Found> {
    let mut found = Vec::new();
    for (dir, root) in roots.iter().enumerate() {
        let dir = dir as u16;
        let inos: HashSet<u64> =
            wanted.iter().filter(|key| key.dir == dir).map(|key| key.ino).collect();
        if inos.is_empty() {
            continue;
        }
        let mut stack = vec![(root.try_clone().ok(), Vec::<Vec<u8>>::new())];
        while let Some((fd, path)) = stack.pop() {
            if until.is_some_and(|until| Instant::now() >= until) {
                return found;
            }
            // Removed meanwhile: what was in it is found elsewhere or gone.
            let Some(fd) = fd else { continue };
            let Ok(entries) = sys::list_dir(fd.as_raw_fd()) else { continue };
            for (name, ino, kind) in entries {
                let mut child = path.clone();
                child.push(name);
                if inos.contains(&ino) {
                    let keys = wanted.iter().filter(|key| key.dir == dir && key.ino == ino);
                    found.extend(keys.map(|key| Found { key: *key, path: child.clone() }));
                }
                if kind == libc::DT_DIR
                    && let Some(Ok(name)) = child.last().map(|name| sys::name(name))
                {
                    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
                    stack.push((sys::open_at(fd.as_raw_fd(), &name, flags, 0).ok(), child));
                }
            }
        }
    }
    found
}

/// Makes the objects on the way to a found inode known; number, parent and name of what is there
/// now, which may be another inode of that number.
pub fn adopt(objects: &mut Objects, found: &Found) -> Option<(ObjId, ObjId, Bytes)> {
    let (name, dirs) = found.path.split_last()?;
    let mut parent = ObjId::root(usize::from(found.key.dir));
    for dir in dirs {
        parent = objects.look_up(parent, dir).ok()?.0;
    }
    let id = objects.look_up(parent, name).ok()?.0;
    Some((id, parent, Bytes::copy_from_slice(name)))
}

/// Another name of an object whose remembered one is gone (an old hard link).
pub fn find_name(objects: &mut Objects, id: ObjId) -> Option<(ObjId, Bytes)> {
    let key = objects.get(id).ok()?.key;
    let root = objects.roots().get(usize::from(key.dir))?.fd.try_clone().ok()?;
    let mut roots: Vec<OwnedFd> = Vec::new();
    for other in objects.roots() {
        roots.push(other.fd.try_clone().ok()?);
    }
    drop(root);
    let found = walk(roots, &[key], None).into_iter().next()?;
    let mut parent = ObjId::root(usize::from(key.dir));
    let (name, dirs) = found.path.split_last()?;
    for dir in dirs {
        parent = objects.look_up(parent, dir).ok()?.0;
    }
    let name = Bytes::copy_from_slice(name);
    let object = objects.get_mut(id).ok()?;
    (object.parent, object.name) = (parent, name.clone());
    Some((parent, name))
}
