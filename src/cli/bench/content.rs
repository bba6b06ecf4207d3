//! What is written: random and never the same twice, so that neither a file system that compresses
//! nor one that compares is flattered.
use super::interrupt;
use super::workload::{Halt, at};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

pub const PAGE: u64 = 4096;
/// Large files are written in pieces of this size.
pub const BLOCK: usize = 1 << 20;

/// A file of this size with no pattern in it, on disk when this returns.
pub fn lay(path: &Path, bytes: u64) -> Result<File, Halt> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let file = options.open(path).map_err(at("create", path))?;
    let present = file.metadata().map_err(at("look at", path))?.len();
    let (mut noise, mut block) = (Noise(bytes), vec![0; BLOCK]);
    for index in present / BLOCK as u64..bytes / BLOCK as u64 {
        if interrupt::asked() {
            return Err(Halt::Interrupted);
        }
        noise.fill(&mut block);
        file.write_all_at(&block, index * BLOCK as u64).map_err(at("write to", path))?;
    }
    file.sync_all().map_err(at("sync", path))?;
    Ok(file)
}

/// Rewrites `count` different pages of a file of `pages` pages; bytes that have changed.
pub fn scatter(file: &File, path: &Path, pages: u64, count: u64) -> Result<u64, Halt> {
    let (mut noise, mut page) = (Noise(count), vec![0; PAGE as usize]);
    let mut chosen = std::collections::BTreeSet::new();
    while (chosen.len() as u64) < count.min(pages) {
        chosen.insert(noise.next() % pages);
    }
    for index in &chosen {
        noise.fill(&mut page);
        file.write_all_at(&page, index * PAGE).map_err(at("write to", path))?;
    }
    file.sync_all().map_err(at("sync", path))?;
    Ok(chosen.len() as u64 * PAGE)
}

/// Random pages with contents that do not repeat.
pub struct Pages {
    noise: Noise,
    pages: u64,
    page: Vec<u8>,
}

impl Pages {
    pub fn new(seed: u64, file_bytes: u64) -> Pages {
        let (mut noise, mut page) = (Noise(seed), vec![0; PAGE as usize]);
        noise.fill(&mut page);
        Pages { noise, pages: file_bytes / PAGE, page }
    }

    pub fn next(&mut self) -> (u64, &[u8]) {
        let number = self.noise.next();
        self.page[..8].copy_from_slice(&number.to_le_bytes());
        (number % self.pages * PAGE, &self.page)
    }
}

/// SplitMix64: a few nanoseconds a number, so that making them is not what is measured.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn as_many_pages_change_as_are_said_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = lay(&path, BLOCK as u64).unwrap();
        let before = fs::read(&path).unwrap();
        let changed = scatter(&file, &path, BLOCK as u64 / PAGE, 9).unwrap();
        let after = fs::read(&path).unwrap();
        let pages = before.chunks(PAGE as usize).zip(after.chunks(PAGE as usize));
        assert_eq!(changed, pages.filter(|(old, new)| old != new).count() as u64 * PAGE);
        assert_eq!(changed, 9 * PAGE);
        assert_eq!(scatter(&file, &path, 4, 9).unwrap(), 4 * PAGE, "never more than there are");
    }
}
