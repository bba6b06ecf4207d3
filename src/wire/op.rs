//! One captured change: what it does, to which objects.
//!
//! Objects are named by numbers that the primary draws and never reuses while it lives. A number
//! is bound once a session, by parent and name ([`Op::Bind`]) or by the operation that makes the
//! object; paths never travel.
use bytes::Bytes;
use std::fmt;

/// Number of an object. `1 … 63` are the roots of the replicated directories, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjId(pub u64);

impl ObjId {
    /// First number that is not a root.
    pub const FIRST: u64 = 64;

    pub fn root(dir: usize) -> ObjId {
        ObjId(dir as u64 + 1)
    }

    pub fn is_root(self) -> bool {
        self.0 < Self::FIRST
    }
}

impl fmt::Debug for ObjId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Who makes an object and with which bits: owner of the new inode, mode with type bits, and the
/// caller's umask (which the backing file system applies unless a default ACL replaces it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub umask: u32,
}

/// Seconds and nanoseconds; `None` leaves a time as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub atime: Option<(i64, u32)>,
    pub mtime: Option<(i64, u32)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub times: Times,
    /// Strip set-user-id and set-group-id as the kernel asks on chown and truncate.
    pub kill_suidgid: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing happens; the number is acknowledged (canary, checkpoint marker).
    Nop,
    Write {
        obj: ObjId,
        offset: u64,
        data: Bytes,
        kill_suidgid: bool,
    },
    /// Regular file. `obj` is its new number.
    Create {
        parent: ObjId,
        name: Bytes,
        obj: ObjId,
        access: Access,
    },
    Mkdir {
        parent: ObjId,
        name: Bytes,
        obj: ObjId,
        access: Access,
    },
    Mknod {
        parent: ObjId,
        name: Bytes,
        obj: ObjId,
        access: Access,
        rdev: u32,
    },
    Symlink {
        parent: ObjId,
        name: Bytes,
        obj: ObjId,
        access: Access,
        target: Bytes,
    },
    /// File without a name (`O_TMPFILE`), held open under its number until it is linked.
    Tmpfile {
        parent: ObjId,
        obj: ObjId,
        access: Access,
    },
    Link {
        obj: ObjId,
        parent: ObjId,
        name: Bytes,
    },
    Unlink {
        parent: ObjId,
        name: Bytes,
    },
    Rmdir {
        parent: ObjId,
        name: Bytes,
    },
    Rename {
        parent: ObjId,
        name: Bytes,
        new_parent: ObjId,
        new_name: Bytes,
        flags: u32,
    },
    SetAttr {
        obj: ObjId,
        set: SetAttr,
    },
    SetXattr {
        obj: ObjId,
        name: Bytes,
        value: Bytes,
        flags: u32,
        kill_sgid: bool,
    },
    RemoveXattr {
        obj: ObjId,
        name: Bytes,
    },
    /// `mode` is that of fallocate(2), and [`FALLOCATE_KILL_SUIDGID`].
    Fallocate {
        obj: ObjId,
        mode: u32,
        offset: u64,
        length: u64,
    },
    CopyRange {
        source: ObjId,
        source_offset: u64,
        target: ObjId,
        target_offset: u64,
        length: u64,
    },
    /// Barrier on one object; `data_only` is fdatasync.
    Fsync {
        obj: ObjId,
        data_only: bool,
    },
    /// Barrier on everything: syncfs.
    SyncAll,
    /// Give `obj` its number: the child `name` of `parent`.
    Bind {
        obj: ObjId,
        parent: ObjId,
        name: Bytes,
    },
    /// The primary will not name `obj` again.
    Forget {
        obj: ObjId,
    },
    /// Return only: remove a name and everything beneath it.
    RemoveTree {
        parent: ObjId,
        name: Bytes,
    },
    /// The name leads to `obj` from now on, whatever file it led to before, at one moment.
    Replace {
        obj: ObjId,
        parent: ObjId,
        name: Bytes,
    },
}

/// In the mode of `Op::Fallocate`: the caller loses the file's set-id bits, as when it writes.
pub const FALLOCATE_KILL_SUIDGID: u32 = 1 << 31;

impl Op {
    /// The operation is complete only when it is on disk.
    pub fn is_barrier(&self) -> bool {
        matches!(self, Op::Fsync { .. } | Op::SyncAll)
    }

    /// Bytes of payload, for flow control and figures.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Op::Write { data, .. } => data.len(),
            Op::SetXattr { value, .. } => value.len(),
            Op::Symlink { target, .. } => target.len(),
            _ => 0,
        }
    }
}

/// What must be true of the disks before an operation is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: the page caches have it.
    #[default]
    Cached,
    /// They have the content, as after `fdatasync(2)`.
    Data,
    /// They have content and attributes, as after `fsync(2)`.
    Full,
}

/// An operation with its number, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpRecord {
    pub seq: u64,
    /// Fencing number: the generation of the lineage under which it was ordered.
    pub generation: u64,
    /// Acknowledged once more when it is on disk (barriers, `O_SYNC` writes, level `disk`).
    pub durable: Durability,
    pub op: Op,
}
