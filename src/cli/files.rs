//! Files that a command writes for people and programs.
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Readers see the old bytes or the new ones. The draft beside the file is made anew, so a link
/// that somebody has put there is not followed; it does not end as the file does, which is what
/// collectors look for.
pub fn replace(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let _ = fs::remove_file(&draft);
    let mut made = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
    // Whatever the umask is.
    let written = made
        .set_permissions(fs::Permissions::from_mode(mode))
        .and_then(|()| made.write_all(bytes))
        .and_then(|()| fs::rename(&draft, file));
    written.inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_place_of_the_draft_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, victim) = (dir.path().join("x.zip"), dir.path().join("victim"));
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join("x.zip.new")).unwrap();
        for bytes in ["one", "two"] {
            replace(&file, bytes.as_bytes(), 0o640).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), bytes);
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        let folder = dir.path().join("folder");
        fs::create_dir_all(folder.join("in it")).unwrap();
        assert!(replace(&folder, b"x", 0o600).is_err());
        assert!(!dir.path().join("folder.new").exists(), "no draft is left");
    }
}
