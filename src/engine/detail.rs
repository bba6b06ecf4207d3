//! `rfs reidetail="on"`: which files a return looked at and what of them it sent, a line for each
//! in the log of the node that sends.
//!
//! A line is written when nothing of the file is left to be sent; one that the application changes
//! meanwhile may have a second line. After [`LINES_MAX`] lines the rest of the files is counted,
//! and told in one line at the end: a return of a million files must not push everything else out
//! of the log.
use super::run::Engine;
use crate::history::ObjectKey;
use crate::model::EngineEvent;
use crate::wire::ObjId;
use std::collections::HashMap;

/// Lines of one return.
const LINES_MAX: usize = 1000;
/// Files that are begun and not finished; what comes beyond is only counted.
const OPEN_MAX: usize = 4096;

/// Files of one return.
#[derive(Default)]
pub struct Detail {
    /// Bytes of content that were sent of a file so far.
    open: HashMap<ObjId, u64>,
    lines: usize,
    more_files: u64,
    more_bytes: u64,
}

impl Detail {
    fn sent(&mut self, obj: ObjId, bytes: u64) {
        if self.open.len() < OPEN_MAX || self.open.contains_key(&obj) {
            *self.open.entry(obj).or_default() += bytes;
        } else {
            self.more_bytes += bytes;
        }
    }

    /// `None`: there were lines enough.
    fn line(&mut self, path: &str, bytes: u64) -> Option<String> {
        if self.lines >= LINES_MAX {
            self.more_files += 1;
            self.more_bytes += bytes;
            return None;
        }
        self.lines += 1;
        Some(match bytes {
            0 => format!("Updated {path}: its content is equal"),
            bytes => format!("Updated {path}: {bytes} bytes copied"),
        })
    }

    fn rest(&self) -> Option<String> {
        let (files, bytes) = (self.more_files, self.more_bytes);
        (files > 0 || bytes > 0).then(|| {
            format!("Updated {files} more files, {bytes} bytes copied (no line for each any more)")
        })
    }
}

impl Engine {
    /// A part of it was settled; directories and special files are not told.
    pub fn detail_settled(&mut self, key: ObjectKey) {
        if self.leader.ret.as_ref().is_none_or(|ret| ret.detail.is_none()) {
            return;
        }
        if let Some(obj) = self.objects.by_key(key) {
            self.detail_sent(obj, 0);
        }
    }

    /// So much of its content was sent.
    pub fn detail_sent(&mut self, obj: ObjId, bytes: u64) {
        let file = self.objects.get(obj).is_ok_and(|object| object.kind == libc::S_IFREG);
        if let Some(detail) = self.leader.ret.as_mut().and_then(|ret| ret.detail.as_mut())
            && file
        {
            detail.sent(obj, bytes);
        }
    }

    /// Tells of the files of which nothing is left; at the end of the return of all.
    pub fn tell_detail(&mut self, finished: bool) {
        let Some(ret) = &mut self.leader.ret else { return };
        let Some(mut detail) = ret.detail.take() else { return };
        let (objects, dirty) = (&self.objects, &self.leader.dirty);
        let done = |obj: &ObjId| {
            let key = objects.get(*obj).map(|object| object.key);
            finished || key.is_ok_and(|key| dirty.is_clean(key) && !ret.asking.contains(&key))
        };
        let mut whole: Vec<(ObjId, u64)> = Vec::new();
        detail.open.retain(|obj, bytes| {
            let done = done(obj);
            if done {
                whole.push((*obj, *bytes));
            }
            !done
        });
        let mut lines = Vec::new();
        for (obj, bytes) in whole {
            // Removed meanwhile: there is no name to tell.
            let Some(path) = self.place_of(obj) else { continue };
            lines.extend(detail.line(&path, bytes));
        }
        lines.extend(detail.rest().filter(|_| finished));
        if let Some(ret) = &mut self.leader.ret {
            ret.detail = Some(detail).filter(|_| !finished);
        }
        for text in lines {
            self.tell(EngineEvent::Log { level: 'I', text });
        }
    }

    /// Where it was seen last, for people: what cannot be shown in one line is replaced.
    fn place_of(&self, mut obj: ObjId) -> Option<String> {
        let dir = usize::from(self.objects.get(obj).ok()?.key.dir);
        let mut names = Vec::new();
        while !obj.is_root() {
            let object = self.objects.get(obj).ok()?;
            if object.orphan {
                return None;
            }
            names.push(String::from_utf8_lossy(&object.name).replace(char::is_control, "?"));
            obj = object.parent;
        }
        names.push(self.config.dirs.get(dir)?.path.display().to_string());
        names.reverse();
        Some(names.join("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_files_are_a_thousand_lines_and_one() {
        let mut detail = Detail::default();
        let lines = (0..1_000_000).filter_map(|_| detail.line("/d/f", 4096)).count();
        assert_eq!(lines, LINES_MAX);
        let rest = detail.rest().unwrap();
        assert!(rest.starts_with("Updated 999000 more files, 4091904000 bytes"), "{rest}");
        for obj in 0..10_000 {
            detail.sent(ObjId(obj), 1);
        }
        assert_eq!(detail.open.len(), OPEN_MAX);
    }

    #[test]
    fn nothing_is_said_of_the_rest_where_there_is_none() {
        let mut detail = Detail::default();
        assert_eq!(detail.line("/d/f", 0).unwrap(), "Updated /d/f: its content is equal");
        assert_eq!(detail.rest(), None);
    }
}
