//! The secondary answers what a return asks: lists, digests, attributes. Never before the
//! operations that the question follows; on the pool, because a cold disk must not hold up
//! acknowledgements. What is asked about does not change meanwhile: the primary sends no operation
//! for what it knows to differ.
use super::compare_files::{digest, entry_of, entry_of_fd};
use super::run::{Done, Engine};
use crate::disk::{Errno, sys};
use crate::link::Lane;
use crate::wire::{Answer, AnswerBody, Entry, Frame, ObjId, Question, QuestionBody};
use bytes::Bytes;
use std::os::fd::{AsRawFd, OwnedFd};

/// Entries of a list in one answer: well below the limit of a frame.
const ENTRIES_MAX: usize = 4096;
/// Longest range of one question about digests, bytes.
const DIGEST_BYTES_MAX: u64 = 16 << 20;

impl Engine {
    pub fn question(&mut self, question: &Question) {
        if question.after > self.seq {
            self.follower.questions.push_back(question.clone());
            return;
        }
        let id = question.id;
        let obj = match &question.body {
            QuestionBody::List { obj }
            | QuestionBody::Stat { obj }
            | QuestionBody::Digests { obj, .. }
            | QuestionBody::Xattrs { obj } => *obj,
        };
        let by_data =
            matches!(question.body, QuestionBody::List { .. } | QuestionBody::Digests { .. });
        let file = match by_data {
            true => self.objects.share(obj),
            false => self.objects.share_path(obj),
        };
        match file {
            Err(errno) => self.tell_answers(id, vec![failed(errno)]),
            Ok(file) => {
                let body = question.body.clone();
                let dir = self.objects.get(obj).map_or(0, |object| object.key.dir);
                self.run_beside(move || Done::Answered { id, dir, bodies: answer(&file, &body) });
            }
        }
    }

    /// Questions that waited for operations.
    pub fn ask_again(&mut self) {
        while let Some(question) = self.follower.questions.front().cloned() {
            if question.after > self.seq {
                return;
            }
            self.follower.questions.pop_front();
            self.question(&question);
        }
    }

    /// Adds the numbers by which the primary knows what is listed.
    pub fn number_entries(&self, dir: u16, bodies: &mut [AnswerBody]) {
        for body in bodies {
            let AnswerBody::List { entries, .. } = body else { continue };
            for entry in entries {
                let known = self.objects.by_inode(dir, entry.ino, entry.generation);
                entry.obj = known.unwrap_or(ObjId(0));
            }
        }
    }

    pub fn tell_answers(&mut self, id: u64, bodies: Vec<AnswerBody>) {
        for body in bodies {
            self.link.send(Lane::Questions, &Frame::Answer(Answer { id, body }));
        }
    }
}

fn failed(errno: Errno) -> AnswerBody {
    AnswerBody::Failed { errno: errno.0 }
}

fn answer(file: &OwnedFd, body: &QuestionBody) -> Vec<AnswerBody> {
    let fd = file.as_raw_fd();
    let result = match body {
        QuestionBody::List { .. } => list(file),
        QuestionBody::Stat { .. } => {
            entry_of_fd(fd, Bytes::new()).map(|entry| vec![AnswerBody::Stat(Some(entry))])
        }
        QuestionBody::Digests { offset, length, block, .. } => {
            digests(file, *offset, *length, *block)
        }
        QuestionBody::Xattrs { .. } => sys::all_xattrs(fd).map(|list| {
            let pairs = list.into_iter().map(|(name, value)| (name.into(), value.into()));
            vec![AnswerBody::Xattrs(pairs.collect())]
        }),
    };
    result.unwrap_or_else(|errno| vec![failed(errno)])
}

fn list(dir: &OwnedFd) -> Result<Vec<AnswerBody>, Errno> {
    let names = sys::list_dir(dir.as_raw_fd())?;
    let entries: Vec<Entry> =
        names.iter().map(|(name, _, _)| entry_of(dir, name)).collect::<Result<_, _>>()?;
    let count = entries.len().div_ceil(ENTRIES_MAX).max(1);
    let part = |index: usize| {
        let from = index * ENTRIES_MAX;
        let entries = entries[from..entries.len().min(from + ENTRIES_MAX)].to_vec();
        AnswerBody::List { entries, last: index + 1 == count }
    };
    Ok((0..count).map(part).collect())
}

fn digests(file: &OwnedFd, at: u64, length: u64, block: u32) -> Result<Vec<AnswerBody>, Errno> {
    if block == 0 || length > DIGEST_BYTES_MAX {
        return Err(Errno(libc::EINVAL));
    }
    let mut content = vec![0; length as usize];
    let read = sys::pread_full(file.as_raw_fd(), &mut content, at, false)?;
    let pieces = content[..read].chunks(block as usize);
    let bytes: Vec<u8> = pieces.flat_map(digest).collect();
    Ok(vec![AnswerBody::Digests(bytes.into())])
}
