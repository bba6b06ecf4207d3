//! Goal: bytes of a version never change by accident, and nothing a peer sends can hurt.
use super::*;
use bytes::Bytes;
use proptest::prelude::*;

fn whole(frame: &Frame) -> Vec<u8> {
    let (head, tail) = frame.encode();
    [head.as_ref(), tail.as_ref()].concat()
}

fn samples() -> Vec<Frame> {
    let name = || Bytes::from_static(b"a name\n");
    let access = Access { uid: 1, gid: 2, mode: 0o100644, umask: 0o22 };
    let (parent, obj) = (ObjId(1), ObjId(70));
    let set = SetAttr {
        mode: Some(0o600),
        size: Some(9),
        times: Times { atime: None, mtime: Some((-5, 6)) },
        ..SetAttr::default()
    };
    let ops = vec![
        Op::Nop,
        Op::Write { obj, offset: 4096, data: Bytes::from_static(b"data"), kill_suidgid: true },
        Op::Create { parent, name: name(), obj, access },
        Op::Mkdir { parent, name: name(), obj, access },
        Op::Mknod { parent, name: name(), obj, access, rdev: 259 },
        Op::Symlink { parent, name: name(), obj, access, target: Bytes::from_static(b"../x") },
        Op::Tmpfile { parent, obj, access },
        Op::Link { obj, parent, name: name() },
        Op::Unlink { parent, name: name() },
        Op::Rmdir { parent, name: name() },
        Op::Rename { parent, name: name(), new_parent: obj, new_name: name(), flags: 2 },
        Op::SetAttr { obj, set },
        Op::SetXattr { obj, name: name(), value: name(), flags: 1, kill_sgid: false },
        Op::RemoveXattr { obj, name: name() },
        Op::Fallocate { obj, mode: 3, offset: 1, length: 2 },
        Op::CopyRange {
            source: obj,
            source_offset: 1,
            target: parent,
            target_offset: 2,
            length: 3,
        },
        Op::Fsync { obj, data_only: true },
        Op::SyncAll,
        Op::Bind { obj, parent, name: name() },
        Op::Forget { obj },
        Op::RemoveTree { parent, name: name() },
        Op::Replace { obj, parent, name: name() },
    ];
    let mut frames: Vec<Frame> = ops
        .into_iter()
        .map(|op| Frame::Op(OpRecord { seq: 7, generation: 3, durable: Durability::Data, op }))
        .collect();
    let entry = Entry {
        name: name(),
        mode: 0o100600,
        uid: 1,
        gid: 2,
        rdev: 0,
        nlink: 1,
        size: 5,
        mtime: (6, 7),
        ino: 8,
        generation: 10,
        obj,
        extra: [9; 16],
    };
    frames.extend([
        Frame::Applied { seq: 9, free_bytes: 1, free_inodes: 2 },
        Frame::Failed { seq: 9, errno: 28 },
        Frame::Durable { seq: 9 },
        Frame::Checkpoint { seq: 9 },
        Frame::Leave { outdated: true, reason: "stop".into() },
        Frame::Question(Question { id: 1, after: 2, body: QuestionBody::List { obj } }),
        Frame::Question(Question {
            id: 1,
            after: 2,
            body: QuestionBody::Digests { obj, offset: 0, length: 1 << 20, block: 4096 },
        }),
        Frame::Answer(Answer {
            id: 1,
            body: AnswerBody::List { entries: vec![entry.clone()], last: true },
        }),
        Frame::Answer(Answer { id: 1, body: AnswerBody::Stat(Some(entry)) }),
        Frame::Answer(Answer { id: 1, body: AnswerBody::Digests(Bytes::from_static(&[1; 32])) }),
        Frame::Answer(Answer { id: 1, body: AnswerBody::Xattrs(vec![(name(), name())]) }),
        Frame::Answer(Answer { id: 1, body: AnswerBody::Failed { errno: 2 } }),
    ]);
    frames
}

#[test]
fn every_frame_round_trips_also_in_pieces() {
    let mut reader = FrameReader::default();
    for frame in samples() {
        for byte in whole(&frame) {
            assert_eq!(reader.next_frame(), Ok(None));
            reader.push(&[byte]);
        }
        assert_eq!(reader.next_frame(), Ok(Some(frame)));
    }
}

#[test]
fn bytes_of_version_2_stay_as_they_are() {
    let digest = samples().iter().fold(blake3::Hasher::new(), |mut hasher, frame| {
        hasher.update(&whole(frame));
        hasher
    });
    let hex = digest.finalize().to_hex();
    assert_eq!(&hex[..16], "3ad62b0d6bf3a477", "the wire format changed: raise WIRE_VERSION");
}

#[test]
fn a_flipped_bit_is_seen() {
    for frame in samples() {
        let bytes = whole(&frame);
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            let mut reader = FrameReader::default();
            reader.push(&broken);
            assert_ne!(reader.next_frame(), Ok(Some(frame.clone())), "byte {at} of {frame:?}");
        }
    }
}

proptest! {
    #[test]
    fn nothing_a_peer_sends_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Frame::decode(Bytes::from(bytes.clone()));
        let mut reader = FrameReader::default();
        reader.push(&bytes);
        while let Ok(Some(_)) = reader.next_frame() {}
    }
}
