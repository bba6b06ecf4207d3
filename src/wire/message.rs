//! Frames of the data link: handshake, operations, acknowledgements, questions of a return.
use super::codec::{DecodeError, Reader, WIRE_VERSION, Writer};
use super::op::{Access, Durability, ObjId, Op, OpRecord, SetAttr, Times};
use crate::model::{Side, Verdict};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// First frame of the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u16,
    /// Tells the primary's engine process from an earlier one.
    pub life: u64,
    pub module: String,
    /// The replicated directories in order; both nodes must name the same ones.
    pub dirs: Vec<String>,
    pub side: Side,
}

/// What the secondary answers, and the primary's conclusion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply")]
pub enum HelloReply {
    /// The secondary's own view; `discard`: an operator allowed losing what only it has; `full`:
    /// an operator asked for a comparison of everything.
    /// `life` tells its process; `knows`: it still has the objects of this primary's process.
    Here { version: u16, life: u64, knows: bool, side: Side, discard: bool, full: bool },
    /// The primary's plan; operations follow.
    Plan { verdict: Verdict, side: Side },
    /// The plan was recorded durably, operations may come.
    Go,
    /// One sentence why not; the connection ends.
    Refuse { reason: String },
}

/// One name in a directory, as a return compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Bytes,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
    pub nlink: u32,
    pub size: u64,
    pub mtime: (i64, u32),
    /// The inode on the answering node, with its life: equal ones are one object.
    pub ino: u64,
    pub generation: u32,
    /// The number by which the answering node was told of this inode; 0: none.
    pub obj: ObjId,
    /// First 16 bytes of blake3 over extended attributes and symlink target.
    pub extra: [u8; 16],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuestionBody {
    /// All names in a directory.
    List { obj: ObjId },
    /// Attributes of the object itself, as an entry without a name.
    Stat { obj: ObjId },
    /// Digests (16 bytes of blake3) of `block`-sized pieces of a range; absent pieces are empty.
    Digests { obj: ObjId, offset: u64, length: u64, block: u32 },
    /// Names and values of extended attributes.
    Xattrs { obj: ObjId },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub id: u64,
    /// Answer only after this operation was applied.
    pub after: u64,
    pub body: QuestionBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerBody {
    /// `last`: no further part follows.
    List {
        entries: Vec<Entry>,
        last: bool,
    },
    Stat(Option<Entry>),
    Digests(Bytes),
    Xattrs(Vec<(Bytes, Bytes)>),
    Failed {
        errno: i32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub id: u64,
    pub body: AnswerBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Hello(Box<Hello>),
    Reply(Box<HelloReply>),
    Op(OpRecord),
    /// Everything up to `seq` is applied. Free bytes and inodes of the secondary ride along.
    Applied {
        seq: u64,
        free_bytes: u64,
        free_inodes: u64,
    },
    /// Operation `seq` failed on the secondary with `errno`; those before it are applied.
    Failed {
        seq: u64,
        errno: i32,
    },
    /// Barrier `seq` is on the secondary's disk.
    Durable {
        seq: u64,
    },
    /// Everything up to `seq` is on the sender's disk (background syncfs).
    Checkpoint {
        seq: u64,
    },
    /// Primary to secondary: you are in the in-sync set from `seq` on; answered by the same frame.
    InSync {
        seq: u64,
        side: Box<Side>,
    },
    /// The sender leaves in order; it has recorded durably whether it may lead.
    Leave {
        outdated: bool,
        reason: String,
    },
    Question(Question),
    Answer(Answer),
}

fn json<T: Serialize>(w: &mut Writer, value: &T) {
    // Serialising our own values to memory cannot fail: no map with keys that are not strings.
    w.blob(&serde_json::to_vec(value).unwrap_or_default());
}

fn from_json<T: for<'a> Deserialize<'a>>(r: &mut Reader) -> Result<T, DecodeError> {
    let bytes = r.blob("JSON")?;
    serde_json::from_slice(&bytes).map_err(|_| DecodeError::Short("JSON value"))
}

impl Frame {
    /// Head and payload of the frame; the payload of a write is not copied.
    pub fn encode(&self) -> (Bytes, Bytes) {
        let mut w = Writer::default();
        let mut tail = Bytes::new();
        match self {
            Frame::Hello(hello) => {
                w.u8(1);
                w.u16(WIRE_VERSION);
                json(&mut w, hello);
            }
            Frame::Reply(reply) => {
                w.u8(2);
                json(&mut w, reply);
            }
            Frame::Op(record) => {
                w.u8(3);
                tail = put_op(&mut w, record);
            }
            Frame::Applied { seq, free_bytes, free_inodes } => {
                w.u8(4);
                w.u64(*seq);
                w.u64(*free_bytes);
                w.u64(*free_inodes);
            }
            Frame::Failed { seq, errno } => {
                w.u8(5);
                w.u64(*seq);
                w.u32(*errno as u32);
            }
            Frame::Durable { seq } => {
                w.u8(6);
                w.u64(*seq);
            }
            Frame::Checkpoint { seq } => {
                w.u8(7);
                w.u64(*seq);
            }
            Frame::InSync { seq, side } => {
                w.u8(8);
                w.u64(*seq);
                json(&mut w, side);
            }
            Frame::Leave { outdated, reason } => {
                w.u8(9);
                w.bool(*outdated);
                w.blob(reason.as_bytes());
            }
            Frame::Question(question) => {
                w.u8(10);
                put_question(&mut w, question);
            }
            Frame::Answer(answer) => {
                w.u8(11);
                put_answer(&mut w, answer);
            }
        }
        w.frame(tail)
    }

    pub fn decode(body: Bytes) -> Result<Frame, DecodeError> {
        let mut r = Reader::new(body);
        let frame = match r.u8("frame kind")? {
            1 => {
                let _version = r.u16("wire version")?;
                Frame::Hello(Box::new(from_json(&mut r)?))
            }
            2 => Frame::Reply(Box::new(from_json(&mut r)?)),
            3 => Frame::Op(take_op(&mut r)?),
            4 => Frame::Applied {
                seq: r.u64("seq")?,
                free_bytes: r.u64("free bytes")?,
                free_inodes: r.u64("free inodes")?,
            },
            5 => Frame::Failed { seq: r.u64("seq")?, errno: r.u32("errno")? as i32 },
            6 => Frame::Durable { seq: r.u64("seq")? },
            7 => Frame::Checkpoint { seq: r.u64("seq")? },
            8 => Frame::InSync { seq: r.u64("seq")?, side: Box::new(from_json(&mut r)?) },
            9 => Frame::Leave {
                outdated: r.bool("outdated")?,
                reason: String::from_utf8_lossy(&r.blob("reason")?).into_owned(),
            },
            10 => Frame::Question(take_question(&mut r)?),
            11 => Frame::Answer(take_answer(&mut r)?),
            value => return Err(DecodeError::Unknown { what: "frame kind", value: value.into() }),
        };
        r.end()?;
        Ok(frame)
    }
}

fn put_access(w: &mut Writer, access: &Access) {
    w.u32(access.uid);
    w.u32(access.gid);
    w.u32(access.mode);
    w.u32(access.umask);
}

fn take_access(r: &mut Reader) -> Result<Access, DecodeError> {
    Ok(Access {
        uid: r.u32("uid")?,
        gid: r.u32("gid")?,
        mode: r.u32("mode")?,
        umask: r.u32("umask")?,
    })
}

fn put_time(w: &mut Writer, time: Option<(i64, u32)>) {
    w.option(time, |w, (s, ns)| {
        w.u64(s as u64);
        w.u32(ns);
    });
}

fn take_time(r: &mut Reader) -> Result<Option<(i64, u32)>, DecodeError> {
    r.option("time", |r| Ok((r.u64("seconds")? as i64, r.u32("nanoseconds")?)))
}

/// Writes an operation; returns the payload that follows it.
fn put_op(w: &mut Writer, record: &OpRecord) -> Bytes {
    w.u64(record.seq);
    w.u64(record.generation);
    w.u8(record.durable as u8);
    match &record.op {
        Op::Nop => w.u8(0),
        Op::Write { obj, offset, data, kill_suidgid } => {
            w.u8(1);
            w.u64(obj.0);
            w.u64(*offset);
            w.bool(*kill_suidgid);
            return data.clone();
        }
        Op::Create { parent, name, obj, access } => put_new(w, 2, *parent, name, *obj, access),
        Op::Mkdir { parent, name, obj, access } => put_new(w, 3, *parent, name, *obj, access),
        Op::Mknod { parent, name, obj, access, rdev } => {
            put_new(w, 4, *parent, name, *obj, access);
            w.u32(*rdev);
        }
        Op::Symlink { parent, name, obj, access, target } => {
            put_new(w, 5, *parent, name, *obj, access);
            w.blob(target);
        }
        Op::Tmpfile { parent, obj, access } => put_new(w, 6, *parent, b"", *obj, access),
        Op::Link { obj, parent, name } => put_name(w, 7, *parent, name, Some(*obj)),
        Op::Unlink { parent, name } => put_name(w, 8, *parent, name, None),
        Op::Rmdir { parent, name } => put_name(w, 9, *parent, name, None),
        Op::Rename { parent, name, new_parent, new_name, flags } => {
            put_name(w, 10, *parent, name, Some(*new_parent));
            w.blob(new_name);
            w.u32(*flags);
        }
        Op::SetAttr { obj, set } => {
            w.u8(11);
            w.u64(obj.0);
            w.option(set.mode, Writer::u32);
            w.option(set.uid, Writer::u32);
            w.option(set.gid, Writer::u32);
            w.option(set.size, Writer::u64);
            put_time(w, set.times.atime);
            put_time(w, set.times.mtime);
            w.bool(set.kill_suidgid);
        }
        Op::SetXattr { obj, name, value, flags, kill_sgid } => {
            w.u8(12);
            w.u64(obj.0);
            w.blob(name);
            w.blob(value);
            w.u32(*flags);
            w.bool(*kill_sgid);
        }
        Op::RemoveXattr { obj, name } => put_name(w, 13, *obj, name, None),
        Op::Fallocate { obj, mode, offset, length } => {
            w.u8(14);
            w.u64(obj.0);
            w.u32(*mode);
            w.u64(*offset);
            w.u64(*length);
        }
        Op::CopyRange { source, source_offset, target, target_offset, length } => {
            w.u8(15);
            for value in [source.0, *source_offset, target.0, *target_offset, *length] {
                w.u64(value);
            }
        }
        Op::Fsync { obj, data_only } => {
            w.u8(16);
            w.u64(obj.0);
            w.bool(*data_only);
        }
        Op::SyncAll => w.u8(17),
        Op::Bind { obj, parent, name } => put_name(w, 18, *parent, name, Some(*obj)),
        Op::Forget { obj } => {
            w.u8(19);
            w.u64(obj.0);
        }
        Op::RemoveTree { parent, name } => put_name(w, 20, *parent, name, None),
        Op::Replace { obj, parent, name } => put_name(w, 21, *parent, name, Some(*obj)),
    }
    Bytes::new()
}

fn put_new(w: &mut Writer, kind: u8, parent: ObjId, name: &[u8], obj: ObjId, access: &Access) {
    put_name(w, kind, parent, name, Some(obj));
    put_access(w, access);
}

fn put_name(w: &mut Writer, kind: u8, parent: ObjId, name: &[u8], obj: Option<ObjId>) {
    w.u8(kind);
    w.u64(parent.0);
    w.blob(name);
    if let Some(obj) = obj {
        w.u64(obj.0);
    }
}

fn obj(r: &mut Reader) -> Result<ObjId, DecodeError> {
    r.u64("object").map(ObjId)
}

fn take_op(r: &mut Reader) -> Result<OpRecord, DecodeError> {
    let (seq, generation) = (r.u64("seq")?, r.u64("generation")?);
    let durable = match r.u8("durability")? {
        0 => Durability::Cached,
        1 => Durability::Data,
        2 => Durability::Full,
        value => {
            return Err(DecodeError::Unknown { what: "durability", value: u64::from(value) });
        }
    };
    let op = take_op_body(r)?;
    Ok(OpRecord { seq, generation, durable, op })
}

fn take_op_body(r: &mut Reader) -> Result<Op, DecodeError> {
    Ok(match r.u8("operation kind")? {
        0 => Op::Nop,
        1 => Op::Write {
            obj: obj(r)?,
            offset: r.u64("offset")?,
            kill_suidgid: r.bool("kill")?,
            data: r.rest(),
        },
        kind @ 2..=6 => take_new(r, kind)?,
        7 => {
            let (parent, name) = (obj(r)?, r.blob("name")?);
            Op::Link { obj: obj(r)?, parent, name }
        }
        8 => Op::Unlink { parent: obj(r)?, name: r.blob("name")? },
        9 => Op::Rmdir { parent: obj(r)?, name: r.blob("name")? },
        10 => Op::Rename {
            parent: obj(r)?,
            name: r.blob("name")?,
            new_parent: obj(r)?,
            new_name: r.blob("new name")?,
            flags: r.u32("flags")?,
        },
        11 => Op::SetAttr { obj: obj(r)?, set: take_set_attr(r)? },
        12 => Op::SetXattr {
            obj: obj(r)?,
            name: r.blob("name")?,
            value: r.blob("value")?,
            flags: r.u32("flags")?,
            kill_sgid: r.bool("kill")?,
        },
        13 => Op::RemoveXattr { obj: obj(r)?, name: r.blob("name")? },
        14 => Op::Fallocate {
            obj: obj(r)?,
            mode: r.u32("mode")?,
            offset: r.u64("offset")?,
            length: r.u64("length")?,
        },
        15 => Op::CopyRange {
            source: obj(r)?,
            source_offset: r.u64("offset")?,
            target: obj(r)?,
            target_offset: r.u64("offset")?,
            length: r.u64("length")?,
        },
        16 => Op::Fsync { obj: obj(r)?, data_only: r.bool("data only")? },
        17 => Op::SyncAll,
        18 => {
            let (parent, name) = (obj(r)?, r.blob("name")?);
            Op::Bind { obj: obj(r)?, parent, name }
        }
        19 => Op::Forget { obj: obj(r)? },
        20 => Op::RemoveTree { parent: obj(r)?, name: r.blob("name")? },
        21 => {
            let (parent, name) = (obj(r)?, r.blob("name")?);
            Op::Replace { obj: obj(r)?, parent, name }
        }
        value => {
            return Err(DecodeError::Unknown { what: "operation kind", value: value.into() });
        }
    })
}

fn take_new(r: &mut Reader, kind: u8) -> Result<Op, DecodeError> {
    let (parent, name) = (obj(r)?, r.blob("name")?);
    let obj = obj(r)?;
    let access = take_access(r)?;
    Ok(match kind {
        2 => Op::Create { parent, name, obj, access },
        3 => Op::Mkdir { parent, name, obj, access },
        4 => Op::Mknod { parent, name, obj, access, rdev: r.u32("rdev")? },
        5 => Op::Symlink { parent, name, obj, access, target: r.blob("target")? },
        _ => Op::Tmpfile { parent, obj, access },
    })
}

fn take_set_attr(r: &mut Reader) -> Result<SetAttr, DecodeError> {
    Ok(SetAttr {
        mode: r.option("mode", |r| r.u32("mode"))?,
        uid: r.option("uid", |r| r.u32("uid"))?,
        gid: r.option("gid", |r| r.u32("gid"))?,
        size: r.option("size", |r| r.u64("size"))?,
        times: Times { atime: take_time(r)?, mtime: take_time(r)? },
        kill_suidgid: r.bool("kill")?,
    })
}

fn put_question(w: &mut Writer, question: &Question) {
    w.u64(question.id);
    w.u64(question.after);
    match &question.body {
        QuestionBody::List { obj } => {
            w.u8(1);
            w.u64(obj.0);
        }
        QuestionBody::Stat { obj } => {
            w.u8(2);
            w.u64(obj.0);
        }
        QuestionBody::Digests { obj, offset, length, block } => {
            w.u8(3);
            w.u64(obj.0);
            w.u64(*offset);
            w.u64(*length);
            w.u32(*block);
        }
        QuestionBody::Xattrs { obj } => {
            w.u8(4);
            w.u64(obj.0);
        }
    }
}

fn take_question(r: &mut Reader) -> Result<Question, DecodeError> {
    let (id, after) = (r.u64("question")?, r.u64("seq")?);
    let body = match r.u8("question kind")? {
        1 => QuestionBody::List { obj: obj(r)? },
        2 => QuestionBody::Stat { obj: obj(r)? },
        3 => QuestionBody::Digests {
            obj: obj(r)?,
            offset: r.u64("offset")?,
            length: r.u64("length")?,
            block: r.u32("block")?,
        },
        4 => QuestionBody::Xattrs { obj: obj(r)? },
        value => return Err(DecodeError::Unknown { what: "question kind", value: value.into() }),
    };
    Ok(Question { id, after, body })
}

fn put_entry(w: &mut Writer, entry: &Entry) {
    w.blob(&entry.name);
    let words = [entry.mode, entry.uid, entry.gid, entry.rdev, entry.nlink, entry.mtime.1];
    for value in words.into_iter().chain([entry.generation]) {
        w.u32(value);
    }
    for value in [entry.size, entry.mtime.0 as u64, entry.ino, entry.obj.0] {
        w.u64(value);
    }
    for byte in entry.extra {
        w.u8(byte);
    }
}

fn take_entry(r: &mut Reader) -> Result<Entry, DecodeError> {
    let name = r.blob("name")?;
    let mut words = [0; 7];
    for word in &mut words {
        *word = r.u32("attribute")?;
    }
    let (size, seconds, ino) = (r.u64("size")?, r.u64("mtime")? as i64, r.u64("ino")?);
    let obj = ObjId(r.u64("object")?);
    let mut extra = [0; 16];
    for byte in &mut extra {
        *byte = r.u8("digest")?;
    }
    let [mode, uid, gid, rdev, nlink, ns, generation] = words;
    let mtime = (seconds, ns);
    Ok(Entry { name, mode, uid, gid, rdev, nlink, size, mtime, ino, generation, obj, extra })
}

fn put_answer(w: &mut Writer, answer: &Answer) {
    w.u64(answer.id);
    match &answer.body {
        AnswerBody::List { entries, last } => {
            w.u8(1);
            w.bool(*last);
            w.u32(entries.len() as u32);
            entries.iter().for_each(|entry| put_entry(w, entry));
        }
        AnswerBody::Stat(entry) => {
            w.u8(2);
            w.option(entry.as_ref(), put_entry);
        }
        AnswerBody::Digests(digests) => {
            w.u8(3);
            w.blob(digests);
        }
        AnswerBody::Xattrs(list) => {
            w.u8(4);
            w.u32(list.len() as u32);
            for (name, value) in list {
                w.blob(name);
                w.blob(value);
            }
        }
        AnswerBody::Failed { errno } => {
            w.u8(6);
            w.u32(*errno as u32);
        }
    }
}

/// Takes `count` values; a lying count ends at the first short value, before memory is used.
fn take_many<T>(
    r: &mut Reader,
    take: impl Fn(&mut Reader) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = r.u32("count")?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(take(r)?);
    }
    Ok(list)
}

fn take_answer(r: &mut Reader) -> Result<Answer, DecodeError> {
    let id = r.u64("question")?;
    let body = match r.u8("answer kind")? {
        1 => {
            let last = r.bool("last")?;
            AnswerBody::List { entries: take_many(r, take_entry)?, last }
        }
        2 => AnswerBody::Stat(r.option("entry", take_entry)?),
        3 => AnswerBody::Digests(r.blob("digests")?),
        4 => AnswerBody::Xattrs(take_many(r, |r| Ok((r.blob("name")?, r.blob("value")?)))?),
        6 => AnswerBody::Failed { errno: r.u32("errno")? as i32 },
        value => return Err(DecodeError::Unknown { what: "answer kind", value: value.into() }),
    };
    Ok(Answer { id, body })
}
