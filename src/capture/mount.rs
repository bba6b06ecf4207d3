//! Covers over the replicated directories: FUSE on the primary, a read-only bind on the others.
//!
//! A cover is mounted over the directory itself; the directory beneath is reached only through a
//! descriptor opened before. What a crash left behind is recognised by its type and removed.
use crate::disk::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// More covers than any crash leaves.
const COVERS_MAX: usize = 64;

/// Type of our mounts in `/proc/self/mountinfo`.
pub const FUSE_TYPE: &str = "fuse.lockstep";
/// Source that marks a read-only cover as ours (a bind keeps the source of its file system, so
/// the cover is a bind and is recognised by its root instead; see [`covers`]).
const SOURCE: &CStr = c"lockstep";

fn c_path(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno(libc::EINVAL))
}

fn mount(
    source: &CStr,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    data: Option<&CStr>,
) -> Result<(), Errno> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: all arguments are C strings or null, as mount(2) allows.
    let result = unsafe {
        let data = pointer(data).cast();
        libc::mount(source.as_ptr(), target.as_ptr(), pointer(kind), flags, data)
    };
    if result == 0 { Ok(()) } else { Err(Errno::last()) }
}

/// Opens `/dev/fuse` and mounts it over `dir`. Requests wait until the descriptor is served.
pub fn cover_fuse(dir: &Path) -> Result<OwnedFd, Errno> {
    // SAFETY: a C string; a non-negative result is a descriptor that we own.
    let device = unsafe {
        let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK;
        match libc::open(c"/dev/fuse".as_ptr(), flags) {
            fd if fd < 0 => return Err(Errno::last()),
            fd => OwnedFd::from_raw_fd(fd),
        }
    };
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions",
        device.as_raw_fd()
    );
    // Numbers and fixed words hold no NUL.
    let options = CString::new(options).unwrap_or_default();
    mount(SOURCE, &c_path(dir)?, Some(c"fuse.lockstep"), 0, Some(&options))?;
    Ok(device)
}

/// Binds `dir` over itself and makes that mount read-only: everybody gets EROFS, reads go on.
pub fn cover_read_only(dir: &Path) -> Result<(), Errno> {
    let path = c_path(dir)?;
    mount(&path, &path, None, libc::MS_BIND, None)?;
    let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
    mount(c"none", &path, None, flags, None).inspect_err(|_| {
        let _ = uncover(dir, true);
    })
}

/// Opens the directory below a read-only cover for writing, without taking the cover away: a
/// private copy of the mount is made writable (`open_tree`, `mount_setattr`, Linux 5.12).
pub fn open_below_cover(dir: &Path) -> Result<OwnedFd, Errno> {
    const OPEN_TREE_CLONE: libc::c_uint = 1;
    const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;
    #[repr(C)]
    struct MountAttributes {
        set: u64,
        clear: u64,
        propagation: u64,
        userns_fd: u64,
    }
    const MOUNT_ATTR_RDONLY: u64 = 1;
    let path = c_path(dir)?;
    // SAFETY: C strings and a struct of the kernel's layout; a non-negative result of open_tree
    // is a descriptor that we own.
    let tree = unsafe {
        let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
        let fd = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags);
        if fd < 0 {
            return Err(Errno::last());
        }
        let tree = OwnedFd::from_raw_fd(fd as i32);
        let wish =
            MountAttributes { set: 0, clear: MOUNT_ATTR_RDONLY, propagation: 0, userns_fd: 0 };
        let result = libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &wish,
            std::mem::size_of::<MountAttributes>(),
        );
        if result != 0 {
            return Err(Errno::last());
        }
        tree
    };
    crate::disk::sys::open_at(tree.as_raw_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY, 0)
}

/// After a crash: takes FUSE covers away, because nobody serves them, and leaves a read-only one
/// below them in place, so that the directory is not bare meanwhile (rule A7). `true`: one is left.
pub fn uncover_dead(dir: &Path) -> Result<bool, Errno> {
    // Read anew each time: where mounts are shared, taking one away may take its copies with it,
    // and one too many would be the read-only cover.
    for _ in 0..COVERS_MAX {
        match covers(dir)?.last() {
            Some(true) => uncover(dir, true)?,
            below => return Ok(below.is_some()),
        }
    }
    Err(Errno(libc::ELOOP))
}

/// Takes the topmost cover away. `lazily` also with files open (they keep what they have).
pub fn uncover(dir: &Path, lazily: bool) -> Result<(), Errno> {
    unmount(dir, if lazily { libc::MNT_DETACH } else { 0 })
}

/// Takes a FUSE cover away and ends its connection: whoever stays below it gets ENOTCONN or
/// ECONNABORTED for each call, and nothing waits for an answer any more (umount(2), `MNT_FORCE`).
pub fn abort(dir: &Path) -> Result<(), Errno> {
    unmount(dir, libc::MNT_DETACH | libc::MNT_FORCE)
}

fn unmount(dir: &Path, flags: libc::c_int) -> Result<(), Errno> {
    let path = c_path(dir)?;
    // SAFETY: a C string.
    let result = unsafe { libc::umount2(path.as_ptr(), flags | libc::UMOUNT_NOFOLLOW) };
    if result == 0 { Ok(()) } else { Err(Errno::last()) }
}

/// Our covers on exactly this directory, bottom first: `true` for FUSE, `false` for read-only.
/// A read-only cover is a read-only bind whose root is not the root of its file system, or that
/// lies on another mount of the same directory.
pub fn covers(dir: &Path) -> std::io::Result<Vec<bool>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let wanted = escape(dir);
    let mut found = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let Some(dash) = fields.iter().position(|f| *f == "-") else { continue };
        if fields.get(4) != Some(&wanted.as_str()) {
            continue;
        }
        let kind = fields.get(dash + 1).copied().unwrap_or_default();
        let source = fields.get(dash + 2).copied().unwrap_or_default();
        let read_only = fields[5].split(',').any(|option| option == "ro");
        let superblock = fields.get(dash + 3).copied().unwrap_or_default();
        let writable_below = superblock.split(',').any(|option| option == "rw");
        if kind == FUSE_TYPE || (kind == "fuse" && source == "lockstep") {
            found.push(true);
        } else if read_only && writable_below {
            found.push(false);
        }
    }
    Ok(found)
}

/// Removes every cover of ours from `dir`: after a crash, and when a part is given back.
pub fn uncover_all(dir: &Path) -> Result<usize, Errno> {
    // Read anew each time: where mounts are shared, taking one away may take its copies with it.
    let mut count = 0;
    while !covers(dir)?.is_empty() {
        if count == COVERS_MAX {
            return Err(Errno(libc::ELOOP));
        }
        match uncover(dir, true) {
            Ok(()) => {}
            Err(Errno(libc::EINVAL)) if covers(dir)?.is_empty() => {}
            Err(errno) => return Err(errno),
        }
        count += 1;
    }
    Ok(count)
}

/// As mountinfo writes a path: space, tab, newline and backslash in octal.
fn escape(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => text.push_str(&format!("\\{byte:03o}")),
            other => text.push(char::from(*other)),
        }
    }
    text
}

/// Mount points strictly below `dir`: such a directory is refused, the mirror would miss them.
pub fn nested(dir: &Path) -> std::io::Result<Vec<String>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let prefix = format!("{}/", escape(dir));
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    Ok(points.filter(|point| point.starts_with(&prefix)).map(str::to_owned).collect())
}
