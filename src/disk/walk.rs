//! A walk over a directory tree, away from the loop: with `openat`, never by a path, while the tree
//! may change.
use super::{Errno, Selection, sys};
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

/// A directory on its turn.
pub struct Visit<'a> {
    pub fd: RawFd,
    /// Names that lead to it from the root; none for the root itself.
    pub path: &'a [Vec<u8>],
    /// Name, inode and kind (`DT_…`) of what is in it.
    pub entries: Vec<(Vec<u8>, u64, u8)>,
}

/// Visits every directory below `root` that is replicated, itself first, until `visit` breaks. One
/// that moves meanwhile may be missed with all in it; one that was removed is left out.
///
/// # Errors
/// Of reading a directory, and those of `visit`.
pub fn each_directory(
    root: OwnedFd,
    selection: &Selection,
    mut visit: impl FnMut(&Visit<'_>) -> Result<ControlFlow<()>, Errno>,
) -> Result<ControlFlow<()>, Errno> {
    // A directory is opened when its turn comes: no more descriptors than it is deep.
    let mut stack = vec![(Rc::new(root), c".".to_owned(), Vec::<Vec<u8>>::new())];
    while let Some((above, name, path)) = stack.pop() {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let opened = sys::open_at(above.as_raw_fd(), &name, flags, 0);
        let listed = opened.and_then(|fd| Ok((sys::list_dir(fd.as_raw_fd())?, Rc::new(fd))));
        let (entries, fd) = match listed {
            Ok(listed) => listed,
            // Removed, or another thing now.
            Err(Errno(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => continue,
            Err(errno) => return Err(errno),
        };
        let left_out = |(name, _, kind): &(Vec<u8>, u64, u8)| {
            selection.leaves_out(|| path.clone(), name, *kind == libc::DT_DIR)
        };
        let entries = entries.into_iter().filter(|entry| !left_out(entry)).collect();
        let turn = Visit { fd: fd.as_raw_fd(), path: &path, entries };
        if visit(&turn)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        for (bytes, _, _) in turn.entries.iter().filter(|(_, _, kind)| *kind == libc::DT_DIR) {
            let Ok(name) = sys::name(bytes) else { continue };
            let child = [&path[..], std::slice::from_ref(bytes)].concat();
            stack.push((fd.clone(), name, child));
        }
    }
    Ok(ControlFlow::Continue(()))
}
