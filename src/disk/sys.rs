//! System calls that the standard library lacks, each in a few lines: by descriptor and name,
//! never by path. Errors are plain errno values, because that is what an application gets.
use super::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

type Result<T> = std::result::Result<T, Errno>;

fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

fn check_len(result: isize) -> Result<usize> {
    if result < 0 { Err(Errno::last()) } else { Ok(result as usize) }
}

/// A name as the kernel wants it. One file name of at most 255 bytes without slash or NUL.
pub fn name(bytes: &[u8]) -> Result<CString> {
    if bytes.is_empty() || bytes.contains(&b'/') || bytes == b"." || bytes == b".." {
        return Err(Errno(libc::EINVAL));
    }
    if bytes.len() > 255 {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    CString::new(bytes).map_err(|_| Errno(libc::EINVAL))
}

pub fn open_at(dir: RawFd, name: &CStr, flags: i32, mode: u32) -> Result<OwnedFd> {
    // SAFETY: `name` is a C string; a non-negative result is a new descriptor that we own.
    unsafe {
        let fd = check(libc::openat(dir, name.as_ptr(), flags | libc::O_CLOEXEC, mode))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Opens below `dir` without following any link and without leaving it.
pub fn open_beneath(dir: RawFd, name: &CStr, flags: i32) -> Result<OwnedFd> {
    // SAFETY: open_how is plain data; zero is valid for every field.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
    // SAFETY: arguments are valid for the call; a non-negative result is a descriptor we own.
    unsafe {
        let size = std::mem::size_of::<libc::open_how>();
        let fd = libc::syscall(libc::SYS_openat2, dir, name.as_ptr(), &how, size);
        let fd = check(fd as i32)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

pub fn fstat(fd: RawFd) -> Result<libc::stat> {
    stat_with(fd, c"", libc::AT_EMPTY_PATH)
}

pub fn stat_at(dir: RawFd, name: &CStr) -> Result<libc::stat> {
    stat_with(dir, name, libc::AT_SYMLINK_NOFOLLOW)
}

fn stat_with(dir: RawFd, name: &CStr, flags: i32) -> Result<libc::stat> {
    // SAFETY: stat is plain data, filled by the kernel when the call succeeds.
    unsafe {
        let mut stat = std::mem::zeroed();
        check(libc::fstatat(dir, name.as_ptr(), &mut stat, flags))?;
        Ok(stat)
    }
}

/// Opaque name of an inode that survives renames and restarts (`name_to_handle_at`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FileHandle {
    kind: i32,
    length: u32,
    bytes: [u8; FileHandle::BYTES_MAX],
}

#[repr(C)]
struct RawHandle {
    length: u32,
    kind: i32,
    bytes: [u8; FileHandle::BYTES_MAX],
}

impl FileHandle {
    /// ext4 needs 8, XFS 12, btrfs 20; `MAX_HANDLE_SZ` of the kernel is 128.
    const BYTES_MAX: usize = 40;

    /// `name` below `dir`, or `dir` itself when the name is empty.
    pub fn of(dir: RawFd, name: &CStr) -> Result<FileHandle> {
        let mut raw =
            RawHandle { length: Self::BYTES_MAX as u32, kind: 0, bytes: [0; Self::BYTES_MAX] };
        let mut mount_id: libc::c_int = 0;
        let flags = if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
        // SAFETY: `raw` has the layout of struct file_handle with room for `length` bytes.
        unsafe {
            check(libc::syscall(
                libc::SYS_name_to_handle_at,
                dir,
                name.as_ptr(),
                &mut raw,
                &mut mount_id,
                flags,
            ) as i32)?;
        }
        Ok(FileHandle { kind: raw.kind, length: raw.length, bytes: raw.bytes })
    }

    /// Opens the inode again; `mount` is any descriptor on the same file system.
    pub fn open(&self, mount: RawFd, flags: i32) -> Result<OwnedFd> {
        let mut raw = RawHandle { length: self.length, kind: self.kind, bytes: self.bytes };
        // SAFETY: as above; a non-negative result is a descriptor that we own.
        unsafe {
            let flags = flags | libc::O_CLOEXEC;
            let fd = libc::syscall(libc::SYS_open_by_handle_at, mount, &mut raw, flags);
            let fd = check(fd as i32)?;
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }

    /// Tells an inode number from its earlier life: the inode's generation where the handle is of
    /// the common `ino, generation` form, otherwise a checksum of all its bytes.
    pub fn generation(&self) -> u32 {
        const INO32_GEN: i32 = 1;
        let b = &self.bytes;
        if self.kind == INO32_GEN && self.length == 8 {
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]])
        } else {
            crc32fast::hash(&b[..(self.length as usize).min(Self::BYTES_MAX)])
        }
    }
}

pub fn mkdir_at(dir: RawFd, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: `name` is a C string.
    check(unsafe { libc::mkdirat(dir, name.as_ptr(), mode) }).map(drop)
}

pub fn mknod_at(dir: RawFd, name: &CStr, mode: u32, rdev: u32) -> Result<()> {
    let device = libc::makedev(u32::from((rdev >> 8) as u16 & 0xfff), rdev_minor(rdev));
    // SAFETY: `name` is a C string.
    check(unsafe { libc::mknodat(dir, name.as_ptr(), mode, device) }).map(drop)
}

/// Minor number of the kernel's 32-bit device encoding (`new_encode_dev`).
fn rdev_minor(rdev: u32) -> u32 {
    (rdev & 0xff) | ((rdev >> 12) & 0xfff00)
}

/// A `dev_t` of the C library in the kernel's 32-bit encoding.
pub fn rdev_of(device: libc::dev_t) -> u32 {
    let (major, minor) = (libc::major(device), libc::minor(device));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12)
}

pub fn symlink_at(target: &[u8], dir: RawFd, name: &CStr) -> Result<()> {
    let target = CString::new(target).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: both are C strings.
    check(unsafe { libc::symlinkat(target.as_ptr(), dir, name.as_ptr()) }).map(drop)
}

pub fn link_fd(fd: RawFd, dir: RawFd, name: &CStr) -> Result<()> {
    // SAFETY: both are C strings; the empty one names the descriptor itself.
    check(unsafe { libc::linkat(fd, c"".as_ptr(), dir, name.as_ptr(), libc::AT_EMPTY_PATH) })
        .map(drop)
}

/// `directory` chooses rmdir.
pub fn unlink_at(dir: RawFd, name: &CStr, directory: bool) -> Result<()> {
    let flags = if directory { libc::AT_REMOVEDIR } else { 0 };
    // SAFETY: `name` is a C string.
    check(unsafe { libc::unlinkat(dir, name.as_ptr(), flags) }).map(drop)
}

pub fn rename_at(from: RawFd, old: &CStr, to: RawFd, new: &CStr, flags: u32) -> Result<()> {
    // SAFETY: both are C strings.
    check(unsafe { libc::renameat2(from, old.as_ptr(), to, new.as_ptr(), flags) }).map(drop)
}

/// Target of the symbolic link that `fd` (opened with O_PATH) is.
pub fn read_link(fd: RawFd) -> Result<Vec<u8>> {
    let mut buffer = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is valid for its length.
    let length = check_len(unsafe {
        libc::readlinkat(fd, c"".as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
    })?;
    buffer.truncate(length);
    Ok(buffer)
}

pub fn pwrite_all(fd: RawFd, mut data: &[u8], mut offset: u64) -> Result<()> {
    while !data.is_empty() {
        // SAFETY: `data` is valid for its length.
        let result =
            unsafe { libc::pwrite(fd, data.as_ptr().cast(), data.len(), offset as libc::off_t) };
        match check_len(result) {
            Ok(0) => return Err(Errno(libc::EIO)),
            Ok(written) => {
                data = &data[written..];
                offset += written as u64;
            }
            Err(Errno(libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends; the number of bytes read. With `nowait`
/// answers EAGAIN where the disk would have to be asked.
pub fn pread_full(fd: RawFd, buffer: &mut [u8], offset: u64, nowait: bool) -> Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let rest = &mut buffer[done..];
        let part = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() };
        let flags = if nowait { libc::RWF_NOWAIT } else { 0 };
        let at = (offset + done as u64) as libc::off_t;
        // SAFETY: `part` covers `rest`, which is valid for writing.
        match check_len(unsafe { libc::preadv2(fd, &part, 1, at, flags) }) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(Errno(libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

pub fn truncate(fd: RawFd, size: u64) -> Result<()> {
    // SAFETY: plain call on a descriptor.
    check(unsafe { libc::ftruncate(fd, size as libc::off_t) }).map(drop)
}

pub fn fallocate(fd: RawFd, mode: u32, offset: u64, length: u64) -> Result<()> {
    let (offset, length) = (offset as libc::off_t, length as libc::off_t);
    // SAFETY: plain call on a descriptor.
    check(unsafe { libc::fallocate(fd, mode as i32, offset, length) }).map(drop)
}

/// Starts writing dirty pages of the range out and waits until the device has taken them. Not
/// durable: sync_file_range(2) sends no barrier.
pub fn write_out(fd: RawFd, offset: u64, length: u64) -> Result<()> {
    let (offset, length) = (offset as libc::off64_t, length as libc::off64_t);
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: plain call on a descriptor.
    check(unsafe { libc::sync_file_range(fd, offset, length, flags) }).map(drop)
}

/// Drops clean pages of the range from the page cache. Advice: nothing depends on it.
pub fn drop_cached(fd: RawFd, offset: u64, length: u64) {
    let (offset, length) = (offset as libc::off_t, length as libc::off_t);
    // SAFETY: plain call on a descriptor.
    unsafe {
        libc::posix_fadvise(fd, offset, length, libc::POSIX_FADV_DONTNEED);
    }
}

/// Copies the whole range or fails; both nodes must end with the same bytes.
pub fn copy_range(from: RawFd, at: u64, to: RawFd, to_at: u64, length: u64) -> Result<u64> {
    let (mut source, mut target) = (at as libc::off64_t, to_at as libc::off64_t);
    let mut left = length;
    while left > 0 {
        // SAFETY: offsets are valid pointers for the call.
        let result =
            unsafe { libc::copy_file_range(from, &mut source, to, &mut target, left as usize, 0) };
        match check_len(result)? {
            0 => break,
            copied => left -= copied as u64,
        }
    }
    Ok(length - left)
}

pub fn seek(fd: RawFd, offset: u64, whence: i32) -> Result<u64> {
    // SAFETY: plain call on a descriptor.
    let at = unsafe { libc::lseek(fd, offset as libc::off_t, whence) };
    if at < 0 { Err(Errno::last()) } else { Ok(at as u64) }
}

pub fn sync_file(fd: RawFd, data_only: bool) -> Result<()> {
    // SAFETY: plain calls on a descriptor.
    check(unsafe { if data_only { libc::fdatasync(fd) } else { libc::fsync(fd) } }).map(drop)
}

pub fn sync_fs(fd: RawFd) -> Result<()> {
    // SAFETY: plain call on a descriptor.
    check(unsafe { libc::syncfs(fd) }).map(drop)
}

/// `None` keeps the owner. Works on every kind of inode through an O_PATH descriptor.
pub fn chown_fd(fd: RawFd, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let keep = u32::MAX;
    // SAFETY: the empty C string names the descriptor itself.
    check(unsafe {
        let (uid, gid) = (uid.unwrap_or(keep), gid.unwrap_or(keep));
        libc::fchownat(fd, c"".as_ptr(), uid, gid, libc::AT_EMPTY_PATH)
    })
    .map(drop)
}

/// Descriptor of any kind but a symbolic link.
pub fn chmod_fd(fd: RawFd, mode: u32) -> Result<()> {
    let path = proc_path(fd);
    // SAFETY: `path` is a C string; the magic link leads to the inode of the descriptor.
    check(unsafe { libc::fchmodat(libc::AT_FDCWD, path.as_ptr(), mode & 0o7777, 0) }).map(drop)
}

pub fn set_times(fd: RawFd, atime: Option<(i64, u32)>, mtime: Option<(i64, u32)>) -> Result<()> {
    let spec = |time: Option<(i64, u32)>| match time {
        Some((seconds, ns)) => libc::timespec { tv_sec: seconds, tv_nsec: i64::from(ns) },
        None => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
    };
    let times = [spec(atime), spec(mtime)];
    // SAFETY: `times` has two elements; the empty C string names the descriptor itself.
    check(unsafe { libc::utimensat(fd, c"".as_ptr(), times.as_ptr(), libc::AT_EMPTY_PATH) })
        .map(drop)
}

/// `/proc/self/fd/N`: the only way to extended attributes of an O_PATH descriptor.
fn proc_path(fd: RawFd) -> CString {
    // A number and a fixed text hold no NUL.
    CString::new(format!("/proc/self/fd/{fd}")).unwrap_or_default()
}

fn xattr_name(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Errno(libc::EINVAL))
}

pub fn set_xattr(fd: RawFd, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
    let (path, name) = (proc_path(fd), xattr_name(name)?);
    // SAFETY: C strings and a buffer valid for its length.
    check(unsafe {
        let value_ptr = value.as_ptr().cast();
        libc::setxattr(path.as_ptr(), name.as_ptr(), value_ptr, value.len(), flags as i32)
    })
    .map(drop)
}

pub fn remove_xattr(fd: RawFd, name: &[u8]) -> Result<()> {
    let (path, name) = (proc_path(fd), xattr_name(name)?);
    // SAFETY: both are C strings.
    check(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) }).map(drop)
}

/// Fills the buffer (empty: only asks for the size); the length of the value.
pub fn get_xattr(fd: RawFd, name: &[u8], buffer: &mut [u8]) -> Result<usize> {
    let (path, name) = (proc_path(fd), xattr_name(name)?);
    // SAFETY: C strings and a buffer valid for its length.
    check_len(unsafe {
        let out = buffer.as_mut_ptr().cast();
        libc::getxattr(path.as_ptr(), name.as_ptr(), out, buffer.len())
    })
}

pub fn list_xattr(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    let path = proc_path(fd);
    // SAFETY: a C string and a buffer valid for its length.
    check_len(unsafe { libc::listxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// The kernel's limit of a list of names (`XATTR_LIST_MAX`).
pub const XATTR_LIST_BYTES_MAX: usize = 64 << 10;

/// All extended attributes with their values, sorted by name.
pub fn all_xattrs(fd: RawFd) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0u8; XATTR_LIST_BYTES_MAX];
    let length = match list_xattr(fd, &mut names) {
        Err(Errno(libc::ENOTSUP)) => 0,
        other => other?,
    };
    let mut value = vec![0u8; 64 << 10];
    let mut list = Vec::new();
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        match get_xattr(fd, name, &mut value) {
            Ok(length) => list.push((name.to_vec(), value[..length].to_vec())),
            Err(Errno(libc::ENODATA)) => {}
            Err(error) => return Err(error),
        }
    }
    list.sort();
    Ok(list)
}

pub fn stat_fs(fd: RawFd) -> Result<libc::statvfs> {
    // SAFETY: statvfs is plain data, filled by the kernel when the call succeeds.
    unsafe {
        let mut stat = std::mem::zeroed();
        check(libc::fstatvfs(fd, &mut stat))?;
        Ok(stat)
    }
}

/// One record of getdents64.
pub struct DirEntry<'a> {
    pub ino: u64,
    /// Where the next entry begins, for [`seek`].
    pub next: u64,
    pub kind: u8,
    pub name: &'a [u8],
}

/// Reads raw entries into `buffer` from the descriptor's position; 0 at the end.
pub fn read_dir(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is valid for its length.
    check_len(unsafe {
        libc::syscall(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), buffer.len()) as isize
    })
}

/// Walks what [`read_dir`] filled in.
pub fn entries(mut bytes: &[u8]) -> impl Iterator<Item = DirEntry<'_>> {
    std::iter::from_fn(move || {
        if bytes.len() < 19 {
            return None;
        }
        let word = |at: usize| {
            let mut eight = [0u8; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(eight)
        };
        let length = usize::from(u16::from_ne_bytes([bytes[16], bytes[17]]));
        let record = bytes.get(19..length)?;
        let name = record.split(|b| *b == 0).next().unwrap_or_default();
        let entry = DirEntry { ino: word(0), next: word(8), kind: bytes[18], name };
        bytes = &bytes[length..];
        Some(entry)
    })
}

/// The clock that time stamps of files are taken from: seconds, nanoseconds.
pub fn now_coarse() -> Result<(i64, i64)> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid timespec to write to.
    match unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut time) } {
        0 => Ok((time.tv_sec, time.tv_nsec)),
        _ => Err(Errno::last()),
    }
}

/// Every name in a directory but `.` and `..`.
pub fn list_dir(dir: RawFd) -> Result<Vec<(Vec<u8>, u64, u8)>> {
    let fd = open_at(dir, c".", libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let mut buffer = vec![0u8; 64 << 10];
    let mut list = Vec::new();
    loop {
        let length = read_dir(fd.as_raw_fd(), &mut buffer)?;
        if length == 0 {
            return Ok(list);
        }
        for entry in entries(&buffer[..length]) {
            if entry.name != b"." && entry.name != b".." {
                list.push((entry.name.to_vec(), entry.ino, entry.kind));
            }
        }
    }
}
