//! Numbers and layouts of the kernel's FUSE protocol (`include/uapi/linux/fuse.h`, 7.31 … 7.45).
//! Everything is read and written at fixed offsets of byte slices: no struct is ever cast.
use bytes::Bytes;

pub const KERNEL_MAJOR: u32 = 7;
/// Minor version that we speak; older kernels down to 7.31 (Linux 5.4) are accepted.
pub const KERNEL_MINOR: u32 = 41;
pub const KERNEL_MINOR_MIN: u32 = 31;
pub const ROOT_NODE: u64 = 1;
pub const IN_HEADER_BYTES: usize = 40;
pub const OUT_HEADER_BYTES: usize = 16;
/// Largest write and read of one request.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

pub mod init_flag {
    pub const ASYNC_READ: u64 = 1 << 0;
    pub const BIG_WRITES: u64 = 1 << 5;
    pub const DONT_MASK: u64 = 1 << 6;
    pub const DO_READDIRPLUS: u64 = 1 << 13;
    pub const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub const ASYNC_DIO: u64 = 1 << 15;
    pub const NO_OPEN_SUPPORT: u64 = 1 << 17;
    pub const PARALLEL_DIROPS: u64 = 1 << 18;
    pub const POSIX_ACL: u64 = 1 << 20;
    pub const ABORT_ERROR: u64 = 1 << 21;
    pub const MAX_PAGES: u64 = 1 << 22;
    pub const CACHE_SYMLINKS: u64 = 1 << 23;
    pub const NO_OPENDIR_SUPPORT: u64 = 1 << 24;
    pub const EXPLICIT_INVAL_DATA: u64 = 1 << 25;
    pub const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    pub const SETXATTR_EXT: u64 = 1 << 29;
    pub const INIT_EXT: u64 = 1 << 30;
    pub const OVER_IO_URING: u64 = 1 << 41;
}

pub mod fattr {
    pub const MODE: u32 = 1 << 0;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const ATIME_NOW: u32 = 1 << 7;
    pub const MTIME_NOW: u32 = 1 << 8;
    pub const KILL_SUIDGID: u32 = 1 << 11;
}

pub const WRITE_KILL_SUIDGID: u32 = 1 << 2;
pub const FSYNC_DATA_ONLY: u32 = 1 << 0;
pub const SETXATTR_ACL_KILL_SGID: u32 = 1 << 0;

/// Takes fixed-size values from the front of a request.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    /// 0 where the request is shorter than the layout: the kernel never sends that, and a zero is
    /// refused like any other wrong value.
    pub fn u32(self, at: usize) -> u32 {
        self.0.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
    }

    pub fn u64(self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }

    pub fn i64(self, at: usize) -> i64 {
        self.u64(at) as i64
    }
}

/// Builds a reply of fixed layout.
#[derive(Default)]
pub struct Out {
    pub bytes: Vec<u8>,
}

impl Out {
    pub fn u16(mut self, value: u16) -> Self {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
        self
    }
    pub fn u32(mut self, value: u32) -> Self {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
        self
    }
    pub fn u64(mut self, value: u64) -> Self {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
        self
    }
    pub fn zeros(mut self, count: usize) -> Self {
        self.bytes.resize(self.bytes.len() + count, 0);
        self
    }

    /// `struct fuse_attr`, 88 bytes.
    pub fn attr(self, stat: &libc::stat) -> Self {
        self.u64(stat.st_ino)
            .u64(stat.st_size as u64)
            .u64(stat.st_blocks as u64)
            .u64(stat.st_atime as u64)
            .u64(stat.st_mtime as u64)
            .u64(stat.st_ctime as u64)
            .u32(stat.st_atime_nsec as u32)
            .u32(stat.st_mtime_nsec as u32)
            .u32(stat.st_ctime_nsec as u32)
            .u32(stat.st_mode)
            .u32(stat.st_nlink as u32)
            .u32(stat.st_uid)
            .u32(stat.st_gid)
            .u32(crate::disk::sys::rdev_of(stat.st_rdev))
            .u32(stat.st_blksize as u32)
            .u32(0)
    }

    /// `struct fuse_entry_out`, 128 bytes. Time-outs are for ever: nobody else changes anything.
    pub fn entry(self, node: u64, stat: &libc::stat) -> Self {
        self.u64(node).u64(0).u64(FOR_EVER).u64(FOR_EVER).u32(0).u32(0).attr(stat)
    }
}

/// Seconds of a cache time-out: a year, and well inside the kernel's arithmetic.
pub const FOR_EVER: u64 = 365 * 86_400;

/// A time to set: given, or the moment at which the operation is ordered.
#[derive(Clone, Copy, Debug)]
pub enum Time {
    Now,
    At(i64, u32),
}

#[derive(Clone, Copy, Debug)]
pub struct SetAttrCall {
    pub size: Option<u64>,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub atime: Option<Time>,
    pub mtime: Option<Time>,
    pub kill_suidgid: bool,
}

/// What the kernel asks, with owned payload where it outlives the request.
#[derive(Debug)]
pub enum Call<'a> {
    Lookup {
        name: &'a [u8],
    },
    Forget {
        count: u64,
    },
    BatchForget {
        list: Vec<(u64, u64)>,
    },
    GetAttr,
    SetAttr(SetAttrCall),
    ReadLink,
    Symlink {
        name: &'a [u8],
        target: &'a [u8],
    },
    MkNod {
        name: &'a [u8],
        mode: u32,
        rdev: u32,
        umask: u32,
    },
    MkDir {
        name: &'a [u8],
        mode: u32,
        umask: u32,
    },
    Unlink {
        name: &'a [u8],
    },
    RmDir {
        name: &'a [u8],
    },
    Rename {
        name: &'a [u8],
        new_dir: u64,
        new_name: &'a [u8],
        flags: u32,
    },
    Link {
        node: u64,
        name: &'a [u8],
    },
    Read {
        offset: u64,
        size: u32,
    },
    Write {
        offset: u64,
        data: &'a [u8],
        open_flags: u32,
        write_flags: u32,
    },
    StatFs,
    Fsync {
        data_only: bool,
    },
    SetXattr {
        name: &'a [u8],
        value: &'a [u8],
        flags: u32,
        kill_sgid: bool,
    },
    GetXattr {
        name: &'a [u8],
        size: u32,
    },
    ListXattr {
        size: u32,
    },
    RemoveXattr {
        name: &'a [u8],
    },
    ReadDir {
        offset: u64,
        size: u32,
        plus: bool,
    },
    Fallocate {
        offset: u64,
        length: u64,
        mode: u32,
    },
    Seek {
        offset: u64,
        whence: u32,
    },
    CopyRange {
        offset: u64,
        target: u64,
        target_offset: u64,
        length: u64,
    },
    TmpFile {
        mode: u32,
        umask: u32,
    },
    SyncFs,
    /// RELEASE, RELEASEDIR, FLUSH: nothing waits for them.
    Done,
    Init {
        minor: u32,
        readahead: u32,
        flags: u64,
    },
    Interrupt,
    Destroy,
    /// Answered ENOSYS on purpose: the kernel then does without the request for good.
    Without,
    /// IOCTL: flags and project ids are not mirrored.
    Ioctl,
    Unknown(u32),
}

/// Header of every request.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub opcode: u32,
    pub unique: u64,
    pub node: u64,
    pub uid: u32,
    pub gid: u32,
    /// Number of the calling thread; 0 where it is not visible from the mount's PID namespace.
    pub thread: u32,
}

impl Caller {
    pub fn parse(header: &[u8]) -> Caller {
        let f = Fields(header);
        Caller {
            opcode: f.u32(4),
            unique: f.u64(8),
            node: f.u64(16),
            uid: f.u32(24),
            gid: f.u32(28),
            thread: f.u32(32),
        }
    }
}

/// Bytes of the fixed part that precedes names and data, by operation code.
pub fn fixed_bytes(opcode: u32) -> usize {
    match opcode {
        2 | 50 => 8,             // FORGET, SYNCFS
        3 => 16,                 // GETATTR
        4 => 88,                 // SETATTR
        8 => 16,                 // MKNOD
        9 => 8,                  // MKDIR
        12 | 13 => 8,            // RENAME, LINK
        14 | 27 => 8,            // OPEN, OPENDIR
        15 | 16 | 28 | 44 => 40, // READ, WRITE, READDIR, READDIRPLUS
        18 | 25 | 29 => 24,      // RELEASE, FLUSH, RELEASEDIR
        20 | 30 => 16,           // FSYNC, FSYNCDIR
        21 => 16,                // SETXATTR (extended form)
        22 | 23 => 8,            // GETXATTR, LISTXATTR
        26 => 64,                // INIT
        34 => 8,                 // ACCESS
        35 | 51 => 16,           // CREATE, TMPFILE
        36 => 8,                 // INTERRUPT
        39 => 32,                // IOCTL
        42 => 8,                 // BATCH_FORGET
        43 => 32,                // FALLOCATE
        45 => 16,                // RENAME2
        46 => 24,                // LSEEK
        47 | 53 => 56,           // COPY_FILE_RANGE
        _ => 0,
    }
}

fn cut(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|b| *b == 0) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

impl<'a> Call<'a> {
    /// `fixed` is the operation's own header, `rest` what follows: names, data.
    pub fn parse(opcode: u32, fixed: &'a [u8], rest: &'a [u8]) -> Call<'a> {
        let f = Fields(fixed);
        match opcode {
            1 => Call::Lookup { name: cut(rest).0 },
            2 => Call::Forget { count: f.u64(0) },
            3 => Call::GetAttr,
            4 => Self::set_attr(f),
            5 => Call::ReadLink,
            6 => {
                let (name, target) = cut(rest);
                Call::Symlink { name, target: cut(target).0 }
            }
            8 => {
                let (mode, rdev, umask) = (f.u32(0), f.u32(4), f.u32(8));
                Call::MkNod { name: cut(rest).0, mode, rdev, umask }
            }
            9 => Call::MkDir { name: cut(rest).0, mode: f.u32(0), umask: f.u32(4) },
            10 => Call::Unlink { name: cut(rest).0 },
            11 => Call::RmDir { name: cut(rest).0 },
            12 | 45 => {
                let (name, new_name) = cut(rest);
                let flags = if opcode == 45 { f.u32(8) } else { 0 };
                Call::Rename { name, new_dir: f.u64(0), new_name: cut(new_name).0, flags }
            }
            13 => Call::Link { node: f.u64(0), name: cut(rest).0 },
            15 => Call::Read { offset: f.u64(8), size: f.u32(16) },
            16 => {
                let size = (f.u32(16) as usize).min(rest.len());
                let (write_flags, open_flags) = (f.u32(20), f.u32(32));
                Call::Write { offset: f.u64(8), data: &rest[..size], open_flags, write_flags }
            }
            17 => Call::StatFs,
            20 | 30 => Call::Fsync { data_only: f.u32(8) & FSYNC_DATA_ONLY != 0 },
            18 | 25 | 29 => Call::Done,
            21 => Self::set_xattr(f, rest),
            22 => Call::GetXattr { name: cut(rest).0, size: f.u32(0) },
            23 => Call::ListXattr { size: f.u32(0) },
            24 => Call::RemoveXattr { name: cut(rest).0 },
            26 => {
                let flags = u64::from(f.u32(12)) | u64::from(f.u32(16)) << 32;
                Call::Init { minor: f.u32(4), readahead: f.u32(8), flags }
            }
            28 | 44 => Call::ReadDir { offset: f.u64(8), size: f.u32(16), plus: opcode == 44 },
            36 => Call::Interrupt,
            38 => Call::Destroy,
            39 => Call::Ioctl,
            42 => Self::batch_forget(f, rest),
            43 => Call::Fallocate { offset: f.u64(8), length: f.u64(16), mode: f.u32(24) },
            46 => Call::Seek { offset: f.u64(8), whence: f.u32(16) },
            47 => Call::CopyRange {
                offset: f.u64(8),
                target: f.u64(16),
                target_offset: f.u64(32),
                length: f.u64(40),
            },
            50 => Call::SyncFs,
            51 => Call::TmpFile { mode: f.u32(4), umask: f.u32(8) },
            // OPEN, OPENDIR, ACCESS, CREATE, POLL, BMAP, STATX, COPY_FILE_RANGE_64, locks.
            14 | 27 | 31..=35 | 37 | 40 | 52 | 53 => Call::Without,
            other => Call::Unknown(other),
        }
    }

    fn set_attr(f: Fields<'a>) -> Call<'a> {
        let valid = f.u32(0);
        let has = |bit: u32| valid & bit != 0;
        let time = |bit, now, seconds, ns| {
            has(bit).then(|| if has(now) { Time::Now } else { Time::At(f.i64(seconds), f.u32(ns)) })
        };
        Call::SetAttr(SetAttrCall {
            size: has(fattr::SIZE).then(|| f.u64(16)),
            mode: has(fattr::MODE).then(|| f.u32(68)),
            uid: has(fattr::UID).then(|| f.u32(76)),
            gid: has(fattr::GID).then(|| f.u32(80)),
            atime: time(fattr::ATIME, fattr::ATIME_NOW, 32, 56),
            mtime: time(fattr::MTIME, fattr::MTIME_NOW, 40, 60),
            kill_suidgid: has(fattr::KILL_SUIDGID),
        })
    }

    fn set_xattr(f: Fields<'a>, rest: &'a [u8]) -> Call<'a> {
        let (name, value) = cut(rest);
        let value = &value[..(f.u32(0) as usize).min(value.len())];
        let kill_sgid = f.u32(8) & SETXATTR_ACL_KILL_SGID != 0;
        Call::SetXattr { name, value, flags: f.u32(4), kill_sgid }
    }

    fn batch_forget(f: Fields<'a>, rest: &'a [u8]) -> Call<'a> {
        let count = (f.u32(0) as usize).min(rest.len() / 16);
        let one = |at: usize| (Fields(rest).u64(at * 16), Fields(rest).u64(at * 16 + 8));
        Call::BatchForget { list: (0..count).map(one).collect() }
    }
}

/// A finished request's payload.
#[derive(Debug)]
pub enum Payload {
    Empty,
    Bytes(Vec<u8>),
    Shared(Bytes),
}

impl Payload {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Empty => &[],
            Payload::Bytes(bytes) => bytes,
            Payload::Shared(bytes) => bytes,
        }
    }
}
