//! Names of inodes that are known by number only: after a restart the dirty set names objects by
//! inode, and an object may have lost the name under which it was seen. A walk reads directory
//! entries and nothing else.
use crate::disk::walk::each_directory;
use crate::disk::{Errno, Objects, Selection};
use crate::history::ObjectKey;
use crate::wire::ObjId;
use bytes::Bytes;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// An inode and the names that lead to it from the root of its directory.
#[derive(Clone, Debug)]
pub struct Found {
    pub key: ObjectKey,
    pub path: Vec<Vec<u8>>,
}

/// Walks the directories below `roots` and finds the wanted inodes, until it is over or `until` has
/// passed; what is not replicated is not looked at. Runs on the pool. A directory that moves
/// meanwhile may be missed with all in it. An error is one of reading; then nothing is known of
/// what was not found.
pub fn walk(
    roots: Vec<(OwnedFd, Selection)>,
    wanted: &[ObjectKey],
    until: Option<Instant>,
) -> Result<Vec<Found>, Errno> {
    let mut found = Vec::new();
    for (dir, (root, selection)) in roots.into_iter().enumerate() {
        let dir = dir as u16;
        let inos: HashSet<u64> =
            wanted.iter().filter(|key| key.dir == dir).map(|key| key.ino).collect();
        if inos.is_empty() {
            continue;
        }
        let walked = each_directory(root, &selection, |turn| {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(ControlFlow::Break(()));
            }
            for (name, ino, _) in turn.entries.iter().filter(|(_, ino, _)| inos.contains(ino)) {
                let path = [turn.path, std::slice::from_ref(name)].concat();
                let keys = wanted.iter().filter(|key| key.dir == dir && key.ino == *ino);
                found.extend(keys.map(|key| Found { key: *key, path: path.clone() }));
            }
            Ok(ControlFlow::Continue(()))
        });
        if walked?.is_break() {
            break;
        }
    }
    Ok(found)
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
    let found = walk(objects.share_trees().ok()?, &[key], None).ok()?.into_iter().next()?;
    let (there, parent, name) = adopt(objects, &found)?;
    (there == id).then_some((parent, name))
}
