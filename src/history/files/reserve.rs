//! Room on the disk for the few bytes that a node must still be able to write when its disk is
//! full: that its copy is outdated, that it stopped, in which role it is.
//!
//! Beside the file lies `reserve`, a file of zeros. When the disk is full it is given up and the
//! write tried again; with room again it is put back. Whoever writes to the same disk at that
//! moment may take the room first: then the write fails as it did before, and the caller goes by
//! what was remembered last.
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Bytes kept: several times what is written by one stop, with a block for each new file.
const RESERVE_BYTES: usize = 64 * 1024;

/// Runs `write`, which puts files into `dir`; once more with the reserve given up if the disk is
/// full.
pub fn with_reserve<T, E>(
    dir: &Path,
    full: impl Fn(&E) -> bool,
    mut write: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let reserve = dir.join("reserve");
    let result = match write() {
        Err(error) if full(&error) && fs::remove_file(&reserve).is_ok() => write(),
        result => result,
    };
    if result.is_ok() && fs::symlink_metadata(&reserve).is_err() {
        // No error: a disk without room for it is what it was for.
        if fs::write(&reserve, vec![0; RESERVE_BYTES]).is_err() {
            let _ = fs::remove_file(&reserve);
        }
    }
    result
}

/// The disk, or what this user may have of it, is used up.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn full() -> io::Error {
        io::Error::from(ErrorKind::StorageFull)
    }

    #[test]
    fn the_reserve_is_given_up_once_and_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = dir.path().join("reserve");
        with_reserve(dir.path(), is_full, || Ok(())).unwrap();
        assert_eq!(fs::metadata(&reserve).unwrap().len(), RESERVE_BYTES as u64);
        // As a full disk: it goes well only without the reserve.
        let write = || if reserve.exists() { Err(full()) } else { Ok(()) };
        with_reserve(dir.path(), is_full, write).unwrap();
        assert!(reserve.exists());
    }

    #[test]
    fn other_errors_and_a_disk_without_reserve_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut times = 0;
        let failed = with_reserve(dir.path(), is_full, || {
            times += 1;
            Err::<(), _>(full())
        });
        assert!(is_full(&failed.unwrap_err()));
        assert_eq!(times, 1);
        with_reserve(dir.path(), is_full, || Ok(())).unwrap();
        let other = || Err::<(), _>(io::Error::from(ErrorKind::ReadOnlyFilesystem));
        with_reserve(dir.path(), is_full, other).unwrap_err();
        assert!(dir.path().join("reserve").exists());
    }
}
