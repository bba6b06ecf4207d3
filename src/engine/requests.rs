//! A request of the kernel becomes an intent: something to look up, or an operation to order.
use crate::capture::abi::{Call, Caller, ROOT_NODE, SetAttrCall, Time, WRITE_KILL_SUIDGID};
use crate::disk::Errno;
use crate::wire::{Access, Durability, FALLOCATE_KILL_SUIDGID, ObjId, Op, SetAttr, Times};
use bytes::Bytes;

/// Where a request came from and how to answer it.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub capture: u32,
    /// The mount that it belongs to: an answer for an earlier one must not reach a later one.
    pub mount: u32,
    /// Entry of the ring; `None`: the classic device.
    pub entry: Option<u32>,
    pub unique: u64,
}

/// What the answer carries when the operation succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Nothing,
    /// Attributes and a number: the new or linked object.
    Entry(ObjId),
    /// As `Entry`, and an open file.
    Opened(ObjId),
    Attr,
    Written(u32),
    Copied,
}

/// An operation before it is ordered.
#[derive(Clone, Debug)]
pub struct Draft {
    pub op: Op,
    /// What is done here, where the peer is told another thing.
    pub here: Option<Op>,
    pub want: Want,
    /// Barriers, `O_SYNC`, `O_DSYNC`: on both disks before it returns.
    pub durable: Durability,
    /// The calling thread, as [`Caller::thread`].
    pub thread: u32,
}

#[derive(Debug)]
pub enum Intent {
    Lookup { parent: ObjId, name: Bytes },
    Forget(Vec<(ObjId, u64)>),
    GetAttr { obj: ObjId },
    ReadLink { obj: ObjId },
    Read { obj: ObjId, offset: u64, size: u32 },
    StatFs { obj: ObjId },
    GetXattr { obj: ObjId, name: Bytes, size: u32 },
    ListXattr { obj: ObjId, size: u32, trusted: bool },
    ReadDir { obj: ObjId, offset: u64, size: u32, plus: bool },
    Seek { obj: ObjId, offset: u64, whence: u32 },
    Mutate(Box<Draft>),
    Init { minor: u32, readahead: u32, flags: u64 },
    Answer(Option<Errno>),
    Silent,
}

/// Number of an object from the kernel's number in mount `capture`.
pub fn obj_of(capture: u32, node: u64) -> ObjId {
    if node == ROOT_NODE { ObjId::root(capture as usize) } else { ObjId(node) }
}

/// Placeholder of an object that gets its number when the operation is ordered.
pub const NEW: ObjId = ObjId(0);

pub fn intent(capture: u32, caller: &Caller, call: Call<'_>) -> Intent {
    let obj = obj_of(capture, caller.node);
    let bytes = |slice: &[u8]| Bytes::copy_from_slice(slice);
    let access = |mode: u32, umask: u32| Access { uid: caller.uid, gid: caller.gid, mode, umask };
    let entry = Want::Entry(NEW);
    match call {
        Call::Lookup { name } => Intent::Lookup { parent: obj, name: bytes(name) },
        Call::Forget { count } => Intent::Forget(vec![(obj, count)]),
        Call::BatchForget { list } => {
            let list = list.into_iter().map(|(node, count)| (obj_of(capture, node), count));
            Intent::Forget(list.collect())
        }
        Call::GetAttr => Intent::GetAttr { obj },
        Call::SetAttr(call) => set_attr(obj, &call),
        Call::ReadLink => Intent::ReadLink { obj },
        Call::Symlink { name, target } => {
            let access = access(libc::S_IFLNK | 0o777, 0);
            let (name, target) = (bytes(name), bytes(target));
            mutate(Op::Symlink { parent: obj, name, obj: NEW, access, target }, entry)
        }
        Call::MkNod { name, mode, rdev, umask } => {
            let (name, access) = (bytes(name), access(mode, umask));
            let op = match mode & libc::S_IFMT {
                libc::S_IFREG => Op::Create { parent: obj, name, obj: NEW, access },
                _ => Op::Mknod { parent: obj, name, obj: NEW, access, rdev },
            };
            mutate(op, entry)
        }
        Call::MkDir { name, mode, umask } => {
            let access = access(libc::S_IFDIR | mode, umask);
            mutate(Op::Mkdir { parent: obj, name: bytes(name), obj: NEW, access }, entry)
        }
        Call::TmpFile { mode, umask } => {
            let access = access(libc::S_IFREG | mode, umask);
            mutate(Op::Tmpfile { parent: obj, obj: NEW, access }, Want::Opened(NEW))
        }
        Call::Unlink { name } => {
            mutate(Op::Unlink { parent: obj, name: bytes(name) }, Want::Nothing)
        }
        Call::RmDir { name } => mutate(Op::Rmdir { parent: obj, name: bytes(name) }, Want::Nothing),
        Call::Rename { name, new_dir, new_name, flags } => {
            let new_parent = obj_of(capture, new_dir);
            let (name, new_name) = (bytes(name), bytes(new_name));
            // A whiteout leaves a device node behind: overlay file systems keep their own disk.
            if flags & libc::RENAME_WHITEOUT != 0 {
                return Intent::Answer(Some(Errno(libc::EINVAL)));
            }
            mutate(Op::Rename { parent: obj, name, new_parent, new_name, flags }, Want::Nothing)
        }
        Call::Link { node, name } => {
            let source = obj_of(capture, node);
            let op = Op::Link { obj: source, parent: obj, name: bytes(name) };
            mutate(op, Want::Entry(source))
        }
        Call::Read { offset, size } => Intent::Read { obj, offset, size },
        Call::Write { offset, data, open_flags, write_flags } => {
            let kill_suidgid = write_flags & WRITE_KILL_SUIDGID != 0;
            let op = Op::Write { obj, offset, data: bytes(data), kill_suidgid };
            // O_SYNC includes the bit of O_DSYNC.
            let durable = match open_flags as i32 & libc::O_SYNC {
                0 => Durability::Cached,
                libc::O_SYNC => Durability::Full,
                _ => Durability::Data,
            };
            let want = Want::Written(data.len() as u32);
            Intent::Mutate(Box::new(Draft { op, here: None, want, durable, thread: caller.thread }))
        }
        Call::StatFs => Intent::StatFs { obj },
        Call::Fsync { data_only } => {
            let durable = if data_only { Durability::Data } else { Durability::Full };
            let op = Op::Fsync { obj, data_only };
            let want = Want::Nothing;
            Intent::Mutate(Box::new(Draft { op, here: None, want, durable, thread: caller.thread }))
        }
        Call::SyncFs => mutate(Op::SyncAll, Want::Nothing),
        Call::SetXattr { name, value, flags, kill_sgid } => {
            let (name, value) = (bytes(name), bytes(value));
            mutate(Op::SetXattr { obj, name, value, flags, kill_sgid }, Want::Nothing)
        }
        Call::RemoveXattr { name } => {
            mutate(Op::RemoveXattr { obj, name: bytes(name) }, Want::Nothing)
        }
        Call::GetXattr { name, size } => Intent::GetXattr { obj, name: bytes(name), size },
        Call::ListXattr { size } => Intent::ListXattr { obj, size, trusted: caller.uid == 0 },
        Call::ReadDir { offset, size, plus } => Intent::ReadDir { obj, offset, size, plus },
        Call::Fallocate { offset, length, mode } => {
            // The kernel leaves this to us and does not say what the caller may: root keeps them.
            let kill = if caller.uid != 0 { FALLOCATE_KILL_SUIDGID } else { 0 };
            let mode = mode & !FALLOCATE_KILL_SUIDGID | kill;
            mutate(Op::Fallocate { obj, mode, offset, length }, Want::Nothing)
        }
        Call::Seek { offset, whence } => Intent::Seek { obj, offset, whence },
        Call::CopyRange { offset, target, target_offset, length } => {
            let target = obj_of(capture, target);
            let source_offset = offset;
            let op = Op::CopyRange { source: obj, source_offset, target, target_offset, length };
            mutate(op, Want::Copied)
        }
        Call::Init { minor, readahead, flags } => Intent::Init { minor, readahead, flags },
        Call::Done => Intent::Answer(None),
        Call::Without => Intent::Answer(Some(Errno(libc::ENOSYS))),
        Call::Ioctl => Intent::Answer(Some(Errno(libc::ENOTTY))),
        Call::Interrupt | Call::Destroy => Intent::Silent,
        Call::Unknown(_) => Intent::Answer(Some(Errno(libc::EOPNOTSUPP))),
    }
}

fn mutate(op: Op, want: Want) -> Intent {
    let durable = if op.is_barrier() { Durability::Full } else { Durability::Cached };
    Intent::Mutate(Box::new(Draft { op, here: None, want, durable, thread: 0 }))
}

fn set_attr(obj: ObjId, call: &SetAttrCall) -> Intent {
    let time = |time: Option<Time>| {
        time.map(|time| match time {
            Time::Now => wall_clock(),
            Time::At(seconds, ns) => (seconds, ns),
        })
    };
    let set = SetAttr {
        mode: call.mode,
        uid: call.uid,
        gid: call.gid,
        size: call.size,
        times: Times { atime: time(call.atime), mtime: time(call.mtime) },
        kill_suidgid: call.kill_suidgid,
    };
    mutate(Op::SetAttr { obj, set }, Want::Attr)
}

/// "Now" of `utimensat` is the moment at which the operation is ordered, equal on both copies.
fn wall_clock() -> (i64, u32) {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or((0, 0), |since| (since.as_secs() as i64, since.subsec_nanos()))
}

impl Draft {
    /// Gives a new object its number.
    pub fn number(&mut self, id: ObjId) {
        match &mut self.op {
            Op::Create { obj, .. }
            | Op::Mkdir { obj, .. }
            | Op::Mknod { obj, .. }
            | Op::Symlink { obj, .. }
            | Op::Tmpfile { obj, .. } => *obj = id,
            _ => return,
        }
        self.want = match self.want {
            Want::Opened(_) => Want::Opened(id),
            _ => Want::Entry(id),
        };
    }

    pub fn makes_object(&self) -> bool {
        matches!(self.want, Want::Entry(NEW) | Want::Opened(NEW))
    }
}
