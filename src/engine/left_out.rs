//! What is not replicated (`<notreplicated>`), and the edge to what is.
//!
//! An operation on it is done here and said to nobody. A file may be renamed across the edge. Out
//! of it, the peer loses a name. Into it, the peer is given the content first and the name at the
//! moment at which it changes here: a program that writes a file beside its place and renames it
//! there is answered when both copies have it, though the name that it wrote under is left out.
//! Where the peer would need more than one step (directories, files with several names) the answer
//! is EXDEV, as between two file systems, and `mv` copies.
use super::requests::Draft;
use super::run::Engine;
use crate::disk::{Errno, Object};
use crate::wire::{ObjId, Op};

const CROSSES: Errno = Errno(libc::EXDEV);

impl Engine {
    /// Says what an operation is for the peer where that is another one than here.
    ///
    /// # Errors
    /// EXDEV: it would cross the edge in more than one step.
    pub fn cross(&mut self, draft: &mut Draft) -> Result<(), Errno> {
        if self.objects.leaves_nothing_out() {
            return Ok(());
        }
        match &draft.op {
            Op::Link { obj, parent, name } => {
                let object = self.objects.get(*obj)?;
                let into = self.objects.leaves_out(*parent, name, false);
                // A file without a name is on neither side.
                if !object.orphan && object.left_out != into { Err(CROSSES) } else { Ok(()) }
            }
            Op::Rename { .. } => self.rename_across(draft),
            _ => Ok(()),
        }
    }

    fn rename_across(&mut self, draft: &mut Draft) -> Result<(), Errno> {
        let Op::Rename { parent, name, new_parent, new_name, flags } = draft.op.clone() else {
            return Ok(());
        };
        let (id, stat) = self.objects.look_up(parent, &name)?;
        let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let objects = &self.objects;
        let from = objects.leaves_out(parent, &name, is_dir);
        let to = objects.leaves_out(new_parent, &new_name, is_dir);
        if flags & libc::RENAME_EXCHANGE != 0 {
            let (other, stat) = self.objects.look_up(new_parent, &new_name)?;
            let other_is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
            let back = self.objects.leaves_out(parent, &name, other_is_dir);
            let same = self.objects.get(other)?.left_out == from && from == to && to == back;
            let whole = from
                || !self.moves_the_edge(id, new_parent, &new_name)
                    && !self.moves_the_edge(other, parent, &name);
            return if same && whole { Ok(()) } else { Err(CROSSES) };
        }
        if from == to {
            let moves = !from && is_dir && self.moves_the_edge(id, new_parent, &new_name);
            return if moves { Err(CROSSES) } else { Ok(()) };
        }
        let plain = stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_nlink == 1;
        if is_dir || !plain && from || stat.st_nlink > 1 {
            return Err(CROSSES);
        }
        if flags & libc::RENAME_NOREPLACE != 0
            && self.objects.look_up(new_parent, &new_name).is_ok()
        {
            return Err(Errno(libc::EEXIST));
        }
        let there = match from {
            true => Op::Replace { obj: id, parent: new_parent, name: new_name },
            false => Op::Unlink { parent, name },
        };
        draft.here = Some(std::mem::replace(&mut draft.op, there));
        Ok(())
    }

    /// A directory takes along what is left out by its path, or comes where something is.
    fn moves_the_edge(&self, dir: ObjId, new_parent: ObjId, new_name: &[u8]) -> bool {
        let is_dir = self.objects.get(dir).is_ok_and(|object| object.kind == libc::S_IFDIR);
        let objects = &self.objects;
        is_dir
            && (objects.leaves_out_below(dir)
                || objects.would_leave_out_below(new_parent, new_name))
    }

    /// The peer never hears of it: it changes what is not replicated, or what has no name.
    pub fn is_here_only(&mut self, op: &Op) -> bool {
        let named = match op {
            Op::Tmpfile { .. } => return true,
            Op::Create { parent, name, .. }
            | Op::Mknod { parent, name, .. }
            | Op::Symlink { parent, name, .. }
            | Op::Link { parent, name, .. }
            | Op::Unlink { parent, name } => Some((*parent, name, false)),
            Op::Mkdir { parent, name, .. } | Op::Rmdir { parent, name } => {
                Some((*parent, name, true))
            }
            Op::Rename { parent, name, .. } => {
                let is_dir = |mode: u32| mode & libc::S_IFMT == libc::S_IFDIR;
                let child = (!self.objects.leaves_nothing_out())
                    .then(|| self.objects.child_stat(*parent, name))
                    .flatten();
                Some((*parent, name, child.is_some_and(|(_, stat)| is_dir(stat.st_mode))))
            }
            _ => None,
        };
        let entry = named
            .is_some_and(|(parent, name, is_dir)| self.objects.leaves_out(parent, name, is_dir));
        let subject = super::operands::subject(op);
        let object = subject.and_then(|id| self.objects.get(id).ok());
        entry || object.is_some_and(|object| !object.is_replicated())
    }

    /// The peer is given a file that is left out until now. From here on its writes are sent.
    pub fn send_left_out(&mut self, obj: ObjId, parent: ObjId) {
        self.send_nameless(obj, parent);
        if let Ok(object) = self.objects.get_mut(obj) {
            object.left_out = false;
        }
    }

    /// A rename across the edge failed here: the file is on the side of its name.
    pub fn stay_on_side(&mut self, op: &Op) {
        if let Op::Replace { obj, .. } = op
            && let Ok(Object { parent, name, .. }) = self.objects.get(*obj)
        {
            let (parent, name) = (*parent, name.clone());
            self.objects.place(*obj, parent, &name);
        }
    }
}
