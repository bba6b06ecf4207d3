//! Writing a zip file: no time, no user, one order, so that equal modules are equal archives.
use super::Tree;
use std::collections::BTreeSet;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

pub(super) fn to_bytes(tree: &Tree) -> zip::result::ZipResult<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = |mode| {
        SimpleFileOptions::default()
            .system(System::Unix)
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(6))
            .last_modified_time(DateTime::default())
            .unix_permissions(mode)
    };
    let mut folders: BTreeSet<&str> = BTreeSet::new();
    for entry in tree.entries() {
        for (end, _) in entry.name.match_indices('/') {
            if folders.insert(&entry.name[..end]) {
                writer.add_directory(&entry.name[..end], options(0o755))?;
            }
        }
        writer.start_file(entry.name.as_str(), options(entry.mode))?;
        writer.write_all(&entry.bytes)?;
    }
    Ok(writer.finish()?.into_inner())
}
