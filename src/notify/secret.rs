//! Files that a receiver needs: secrets, which nobody else may read, and authorities for TLS.
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Longer secrets are mistakes.
const BYTES_MAX: u64 = 4096;

/// The first line of a file that only its owner may read.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let file = File::open(path).map_err(cannot)?;
    let meta = file.metadata().map_err(cannot)?;
    if meta.mode() & 0o077 != 0 {
        return Err(format!("{shown} can be read by others: run `chmod 600 {shown}`"));
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(cannot)?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(format!("{shown} is empty: write the secret into its first line")),
    }
}

pub(super) fn authority(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}
