//! The zip file of a snapshot, made in memory. What looks like a key does not get in.
use super::secrets::Mask;
use crate::config::archive::EXPANDED;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The end of a longer file; its beginning is older.
const FILE_BYTES_MAX: u64 = 16 << 20;
const KEY_NAMES: [&str; 6] = [".key", ".p12", ".pfx", ".pem", ".jks", "modulekey.dat"];
/// What every PEM key has, also an encrypted one.
const KEY_MARK: &[u8] = b"PRIVATE KEY";

pub struct Archive {
    zip: ZipWriter<Cursor<Vec<u8>>>,
    taken: BTreeSet<String>,
    error: Option<String>,
    mask: Mask,
}

impl Archive {
    pub fn new(mask: Mask) -> Archive {
        let zip = ZipWriter::new(Cursor::new(Vec::new()));
        Archive { zip, taken: BTreeSet::new(), error: None, mask }
    }

    pub fn text(&mut self, name: &str, text: &str) {
        self.bytes(name, text.as_bytes());
    }

    /// A file; that it cannot be read stands in its place.
    pub fn file(&mut self, name: &str, path: &Path) {
        match read(path) {
            Ok(bytes) => self.bytes(name, &bytes),
            Err(error) => self.text(name, &format!("cannot read {}: {error}\n", path.display())),
        }
    }

    /// The files of a folder, without its folders; of more than `max` the newest.
    pub fn folder(&mut self, name: &str, dir: &Path, max: usize) {
        let mut files: Vec<(std::time::SystemTime, PathBuf)> = entries(dir)
            .into_iter()
            .filter_map(|path| {
                let meta = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
                Some((meta.modified().ok()?, path))
            })
            .collect();
        files.sort();
        for (_, path) in files.iter().rev().take(max) {
            self.file(&format!("{name}/{}", base(path)), path);
        }
    }

    /// Everything below a folder; links are not followed.
    pub fn tree(&mut self, name: &str, dir: &Path) {
        for path in entries(dir) {
            let name = format!("{name}/{}", base(&path));
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => self.tree(&name, &path),
                Ok(meta) if meta.is_file() => self.file(&name, &path),
                _ => {}
            }
        }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        let is_key = KEY_NAMES.iter().any(|end| name.ends_with(end))
            || bytes.windows(KEY_MARK.len()).any(|window| window == KEY_MARK);
        let shown = match is_key {
            true => b"left out: this is a key\n".to_vec(),
            // It has every macro in its place, and says nothing that its source does not.
            false if name.ends_with(EXPANDED) => {
                b"left out: it is made of userconfig.xml\n".to_vec()
            }
            false => self.mask.hide(bytes, name.ends_with(".xml")),
        };
        if !self.taken.insert(name.to_owned()) {
            return;
        }
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        let written = self
            .zip
            .start_file(name, options)
            .map_err(|error| error.to_string())
            .and_then(|()| self.zip.write_all(&shown).map_err(|error| error.to_string()));
        if let Err(error) = written {
            self.error.get_or_insert(format!("cannot pack {name}: {error}"));
        }
    }

    pub fn finish(self) -> Result<Vec<u8>, String> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.zip.finish().map_err(|error| error.to_string())?.into_inner()),
        }
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(FILE_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn base(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
