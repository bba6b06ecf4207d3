//! The secondary answers what a return asks: lists, digests, attributes. Never before the
//! operations that the question follows.
use super::reintegrate::{digest, entry_of, entry_of_fd};
use super::run::Engine;
use crate::disk::{Errno, sys};
use crate::link::Lane;
use crate::wire::{Answer, AnswerBody, Entry, Frame, ObjId, Question, QuestionBody};
use bytes::Bytes;

/// Entries of a list in one answer: well below the limit of a frame.
const ENTRIES_MAX: usize = 4096;

impl Engine {
    pub fn question(&mut self, question: &Question) {
        if question.after > self.seq {
            self.follower.questions.push_back(question.clone());
            return;
        }
        let result = match &question.body {
            QuestionBody::List { obj } => return self.list(question.id, *obj),
            QuestionBody::Stat { obj } => self.entry(*obj).map(|e| AnswerBody::Stat(Some(e))),
            QuestionBody::Digests { obj, offset, length, block } => {
                self.digests(*obj, *offset, *length, *block).map(AnswerBody::Digests)
            }
            QuestionBody::Xattrs { obj } => self.xattrs(*obj).map(AnswerBody::Xattrs),
            // This node's marks are not asked for by any plan of this version.
            QuestionBody::Marks => Err(Errno(libc::EOPNOTSUPP)),
        };
        let body = result.unwrap_or_else(|errno| AnswerBody::Failed { errno: errno.0 });
        self.tell_answer(question.id, body);
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

    fn tell_answer(&mut self, id: u64, body: AnswerBody) {
        self.link.send(Lane::Questions, &Frame::Answer(Answer { id, body }));
    }

    fn entry(&mut self, obj: ObjId) -> Result<Entry, Errno> {
        entry_of_fd(self.objects.path_fd(obj)?, Bytes::new())
    }

    fn list(&mut self, id: u64, obj: ObjId) {
        let listed = self.objects.share(obj).and_then(|dir| {
            let names = sys::list_dir(self.objects.path_fd(obj)?)?;
            names.iter().map(|(name, _, _)| entry_of(&dir, name)).collect::<Result<Vec<_>, _>>()
        });
        let entries = match listed {
            Ok(entries) => entries,
            Err(errno) => return self.tell_answer(id, AnswerBody::Failed { errno: errno.0 }),
        };
        let mut parts = entries.chunks(ENTRIES_MAX).peekable();
        if parts.peek().is_none() {
            self.tell_answer(id, AnswerBody::List { entries: Vec::new(), last: true });
        }
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            self.tell_answer(id, AnswerBody::List { entries: part.to_vec(), last });
        }
    }

    fn digests(&mut self, obj: ObjId, at: u64, length: u64, block: u32) -> Result<Bytes, Errno> {
        if block == 0 || length > (16 << 20) {
            return Err(Errno(libc::EINVAL));
        }
        let fd = self.objects.data_fd(obj)?;
        let mut content = vec![0; length as usize];
        let read = sys::pread_full(fd, &mut content, at, false)?;
        let pieces = content[..read].chunks(block as usize);
        Ok(pieces.flat_map(|piece| digest(piece)).collect::<Vec<u8>>().into())
    }

    fn xattrs(&mut self, obj: ObjId) -> Result<Vec<(Bytes, Bytes)>, Errno> {
        let list = sys::all_xattrs(self.objects.path_fd(obj)?)?;
        Ok(list.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
