//! Reading the directory in which an administrator edits a module.
//!
//! The directory belongs to root and people work in it: what editors leave behind is passed over,
//! links and special files are refused by name.
use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub(super) fn read(root: &Path) -> Result<Tree, ArchiveError> {
    let mut walk = Walk { root, entries: Vec::new(), total: 0 };
    walk.folder(root, "")?;
    Tree::new(walk.entries)
        .map_err(|reason| ArchiveError::Folder { path: root.to_path_buf(), reason })
}

struct Walk<'a> {
    root: &'a Path,
    entries: Vec<Entry>,
    total: u64,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, prefix: &str) -> Result<(), ArchiveError> {
        let failed = |source| ArchiveError::Read { path: path.to_path_buf(), source };
        for found in fs::read_dir(path).map_err(failed)? {
            let found = found.map_err(failed)?;
            let path = found.path();
            let Some(last) = found.file_name().to_str().map(str::to_owned) else {
                return Err(refuse(&path, "the name is not UTF-8: rename it"));
            };
            if left_by_an_editor(&last) {
                continue;
            }
            let name = format!("{prefix}{last}");
            if [MODULE_RECORD, APPLIED_RECORD, EXPANDED].contains(&name.as_str()) {
                continue;
            }
            let name = checked_name(&name).map_err(|reason| refuse(&path, &reason))?;
            self.one(&path, name)?;
        }
        Ok(())
    }

    fn one(&mut self, path: &Path, name: String) -> Result<(), ArchiveError> {
        let failed = |source| ArchiveError::Read { path: path.to_path_buf(), source };
        let meta = fs::symlink_metadata(path).map_err(failed)?;
        if meta.is_dir() {
            return self.folder(path, &format!("{name}/"));
        }
        if meta.is_symlink() {
            return Err(refuse(path, "is a link: put the file itself here"));
        }
        if !meta.is_file() {
            return Err(refuse(path, "is neither a file nor a directory: remove it"));
        }
        if meta.len() > FILE_BYTES_MAX {
            let reason = format!("is larger than {} MiB", FILE_BYTES_MAX >> 20);
            return Err(refuse(path, &reason));
        }
        self.total += meta.len();
        if self.entries.len() >= ENTRIES_MAX || self.total > TOTAL_BYTES_MAX {
            let reason = format!(
                "holds more than {ENTRIES_MAX} files or {} MiB: keep data outside the module",
                TOTAL_BYTES_MAX >> 20
            );
            return Err(refuse(self.root, &reason));
        }
        let bytes = fs::read(path).map_err(failed)?;
        let mode = (meta.permissions().mode() & 0o777) | 0o600;
        self.entries.push(Entry { name, mode, bytes });
        Ok(())
    }
}

fn refuse(path: &Path, reason: &str) -> ArchiveError {
    ArchiveError::Folder { path: path.to_path_buf(), reason: reason.to_owned() }
}

fn left_by_an_editor(name: &str) -> bool {
    name.ends_with('~')
        || name.starts_with(".#")
        || (name.starts_with('.') && (name.ends_with(".swp") || name.ends_with(".swo")))
}
