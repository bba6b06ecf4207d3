//! What is measured: small programs that do to a directory what applications do.
//!
//! Each runs for a time, or over a fixed amount where the disk would fill. What a workload left in
//! the page cache is written out, unmeasured, before the next one begins.
use super::content::{BLOCK, Noise, PAGE, Pages, lay};
use super::interrupt;
use super::measure::{Histogram, Sample};
use crate::cli::args::BenchGroup;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The sequential file, and that of the return, is so many times the size of a test file.
pub const LARGE: u64 = 4;
pub const WRITERS: u64 = 4;
/// Reads that are timed together: one alone takes not much longer than looking at the clock.
const READS: u64 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    Write1,
    Write4,
    Sequential,
    Fdatasync,
    Osync,
    Create,
    Stat,
    Unlink,
    Read,
}

/// Workloads that are repeated together, round by round. Unlinking comes after all creating:
/// some file systems are slow to create where they have just removed.
pub const BLOCKS: [&[Workload]; 8] = [
    &[Workload::Write1],
    &[Workload::Write4],
    &[Workload::Sequential],
    &[Workload::Fdatasync],
    &[Workload::Osync],
    &[Workload::Create, Workload::Stat],
    &[Workload::Unlink],
    &[Workload::Read],
];

impl Workload {
    pub fn group(self) -> BenchGroup {
        match self {
            Workload::Write1 | Workload::Write4 | Workload::Sequential => BenchGroup::Write,
            Workload::Fdatasync | Workload::Osync => BenchGroup::Barrier,
            Workload::Create | Workload::Stat | Workload::Unlink => BenchGroup::Files,
            Workload::Read => BenchGroup::Read,
        }
    }

    /// Name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Write1 => "write-4k-1",
            Workload::Write4 => "write-4k-4",
            Workload::Sequential => "sequential-1m",
            Workload::Fdatasync => "fdatasync-4k",
            Workload::Osync => "osync-4k",
            Workload::Create => "create-4k",
            Workload::Stat => "stat",
            Workload::Unlink => "unlink",
            Workload::Read => "read-4k-cached",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Workload::Write1 => "random write 4 KiB, 1 writer",
            Workload::Write4 => "random write 4 KiB, 4 writers",
            Workload::Sequential => "sequential write 1 MiB, one fsync",
            Workload::Fdatasync => "random write 4 KiB + fdatasync",
            Workload::Osync => "random write 4 KiB, O_SYNC",
            Workload::Create => "create + write 4 KiB + close",
            Workload::Stat => "stat",
            Workload::Unlink => "unlink",
            Workload::Read => "random read 4 KiB, cached",
        }
    }

    pub fn unit(self) -> &'static str {
        match self {
            Workload::Sequential => "MB/s",
            Workload::Create | Workload::Stat | Workload::Unlink => "files/s",
            _ => "ops/s",
        }
    }
}

/// Why a workload gave no figures.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    #[error("interrupted")]
    Interrupted,
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

/// Says what was done to which file when it failed.
pub fn at<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Halt + 'a {
    move |source| Halt::Io { what, path: path.to_owned(), source }
}

/// One directory in which workloads run, and what earlier ones left for later ones.
pub struct Ground {
    pub dir: PathBuf,
    pub span: Duration,
    pub file_bytes: u64,
    /// Small files that were made in each round.
    made: Vec<u64>,
}

impl Ground {
    pub fn new(dir: PathBuf, span: Duration, file_bytes: u64) -> Ground {
        Ground { dir, span, file_bytes, made: Vec::new() }
    }

    /// Small files of one round at most.
    pub fn files_max(file_bytes: u64) -> u64 {
        (file_bytes / PAGE / 4).clamp(16, 4096)
    }

    pub fn run(&mut self, workload: Workload, round: usize) -> Result<Sample, Halt> {
        match workload {
            Workload::Write1 => self.overwrite(1, 0, false),
            Workload::Write4 => self.overwrite(WRITERS, 0, false),
            Workload::Fdatasync => self.overwrite(1, 0, true),
            Workload::Osync => self.overwrite(1, libc::O_SYNC, false),
            Workload::Sequential => self.sequential(),
            Workload::Create => self.create(round),
            Workload::Stat => self.stat(round),
            Workload::Unlink => self.unlink(round),
            Workload::Read => self.read(),
        }
    }

    /// Random pages of files that exist, a file for each writer.
    fn overwrite(&self, writers: u64, flags: i32, barrier: bool) -> Result<Sample, Halt> {
        let mut files = Vec::new();
        for index in 0..writers {
            let path = self.dir.join(format!("pages-{index}"));
            lay(&path, self.file_bytes)?;
            let open = OpenOptions::new().write(true).custom_flags(flags).open(&path);
            files.push((open.map_err(at("open", &path))?, path));
        }
        let began = Instant::now();
        let end = began + self.span;
        let results: Vec<Result<Histogram, Halt>> = std::thread::scope(|scope| {
            let workers: Vec<_> = files
                .iter()
                .enumerate()
                .map(|(seed, (file, path))| {
                    scope.spawn(move || {
                        let mut pages = Pages::new(seed as u64, self.file_bytes);
                        repeat(end, || {
                            let (offset, page) = pages.next();
                            file.write_all_at(page, offset)?;
                            if barrier { file.sync_data() } else { Ok(()) }
                        })
                        .map_err(at("write to", path))
                    })
                })
                .collect();
            // A worker does nothing that panics; if one did, its panic goes on here.
            let joined = workers.into_iter().map(|worker| worker.join());
            joined.map(|r| r.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let took = began.elapsed();
        let mut all = Histogram::default();
        for result in results {
            all.merge(&result?);
        }
        for (file, path) in &files {
            file.sync_all().map_err(at("sync", path))?;
        }
        sample(&all, took, 1.0)
    }

    fn sequential(&self) -> Result<Sample, Halt> {
        let path = self.dir.join("sequential");
        let file = File::create(&path).map_err(at("create", &path))?;
        let (mut noise, mut block) = (Noise(7), vec![0; BLOCK]);
        noise.fill(&mut block);
        let (blocks, mut written) = (LARGE * self.file_bytes / BLOCK as u64, 0u64);
        let began = Instant::now();
        let all = repeat_at_most(blocks, began + self.span, || {
            block[..8].copy_from_slice(&noise.next().to_le_bytes());
            file.write_all_at(&block, written * BLOCK as u64)?;
            written += 1;
            Ok(())
        })
        .map_err(at("write to", &path))?;
        file.sync_all().map_err(at("sync", &path))?;
        let took = began.elapsed();
        fs::remove_file(&path).map_err(at("remove", &path))?;
        sample(&all, took, BLOCK as f64 / 1e6)
    }

    fn create(&mut self, round: usize) -> Result<Sample, Halt> {
        let dir = self.dir.join(format!("files-{round}"));
        fs::create_dir(&dir).map_err(at("create", &dir))?;
        let mut pages = Pages::new(round as u64, self.file_bytes);
        let (most, mut made) = (Ground::files_max(self.file_bytes), 0);
        let began = Instant::now();
        let all = repeat_at_most(most, began + self.span, || {
            fs::write(file_name(&dir, made), pages.next().1)?;
            made += 1;
            Ok(())
        })
        .map_err(at("create files in", &dir))?;
        let took = began.elapsed();
        self.made.resize(round + 1, 0);
        self.made[round] = made;
        sync(&dir)?;
        sample(&all, took, 1.0)
    }

    /// The files of the round again and again, in an order of no pattern.
    fn stat(&self, round: usize) -> Result<Sample, Halt> {
        let dir = self.dir.join(format!("files-{round}"));
        let mut noise = Noise(round as u64);
        let made = self.made_in(round);
        let began = Instant::now();
        let all = repeat(began + self.span, || {
            fs::symlink_metadata(file_name(&dir, noise.next() % made)).map(drop)
        })
        .map_err(at("look at files in", &dir))?;
        sample(&all, began.elapsed(), 1.0)
    }

    fn unlink(&self, round: usize) -> Result<Sample, Halt> {
        let dir = self.dir.join(format!("files-{round}"));
        let mut index = 0;
        let began = Instant::now();
        let all = repeat_at_most(self.made_in(round), began + self.span, || {
            index += 1;
            fs::remove_file(file_name(&dir, index - 1))
        })
        .map_err(at("remove files in", &dir))?;
        let took = began.elapsed();
        sync(&dir)?;
        fs::remove_dir_all(&dir).map_err(at("remove", &dir))?;
        sample(&all, took, 1.0)
    }

    /// Files are made before they are looked at: [`BLOCKS`].
    fn made_in(&self, round: usize) -> u64 {
        self.made.get(round).copied().unwrap_or(0).max(1)
    }

    fn read(&self) -> Result<Sample, Halt> {
        let path = self.dir.join("pages-0");
        lay(&path, self.file_bytes)?;
        let file = File::open(&path).map_err(at("open", &path))?;
        let mut block = vec![0; BLOCK];
        for index in 0..self.file_bytes / BLOCK as u64 {
            file.read_exact_at(&mut block, index * BLOCK as u64).map_err(at("read", &path))?;
        }
        let (mut noise, pages) = (Noise(11), self.file_bytes / PAGE);
        let page = &mut block[..PAGE as usize];
        let began = Instant::now();
        let all = repeat(began + self.span, || {
            (0..READS).try_for_each(|_| file.read_exact_at(page, noise.next() % pages * PAGE))
        })
        .map_err(at("read", &path))?;
        let timed = sample(&all, began.elapsed(), READS as f64)?;
        // Of many together a percentile would not be one of single reads.
        Ok(Sample { p50_us: None, p99_us: None, ..timed })
    }
}

fn file_name(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("file-{index}"))
}

fn sync(dir: &Path) -> Result<(), Halt> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at("sync", dir))
}

/// `units`: what one operation counts for in the rate.
fn sample(all: &Histogram, took: Duration, units: f64) -> Result<Sample, Halt> {
    if interrupt::asked() {
        return Err(Halt::Interrupted);
    }
    Ok(Sample {
        rate: all.count() as f64 * units / took.as_secs_f64().max(1e-9),
        p50_us: all.percentile_us(50),
        p99_us: all.percentile_us(99),
    })
}

fn repeat(end: Instant, operation: impl FnMut() -> io::Result<()>) -> io::Result<Histogram> {
    repeat_at_most(u64::MAX, end, operation)
}

/// At least once, until `end`, or until somebody interrupts. One look at the clock for each.
fn repeat_at_most(
    count: u64,
    end: Instant,
    mut operation: impl FnMut() -> io::Result<()>,
) -> io::Result<Histogram> {
    let mut all = Histogram::default();
    let mut last = Instant::now();
    while all.count() < count && (last < end || all.count() == 0) && !interrupt::asked() {
        operation()?;
        let now = Instant::now();
        all.add(now - last);
        last = now;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_gives_figures_and_leaves_only_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let span = Duration::from_millis(5);
        let mut ground = Ground::new(dir.path().to_owned(), span, BLOCK as u64);
        for round in 0..2 {
            for workload in BLOCKS[..6].iter().copied().flatten() {
                let sample = ground.run(*workload, round).unwrap();
                assert!(sample.rate > 0.0, "{workload:?}");
                assert!(sample.p50_us <= sample.p99_us && sample.p50_us.is_some(), "{workload:?}");
            }
        }
        assert!(dir.path().join("files-1/file-0").exists());
        for round in 0..2 {
            assert!(ground.run(Workload::Unlink, round).unwrap().rate > 0.0);
        }
        let read = ground.run(Workload::Read, 0).unwrap();
        assert!(read.rate > 0.0 && read.p50_us.is_none());
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["pages-0", "pages-1", "pages-2", "pages-3"]);
        for name in left {
            assert_eq!(fs::metadata(dir.path().join(name)).unwrap().len(), BLOCK as u64);
        }
    }

    #[test]
    fn errors_name_the_file() {
        let mut ground = Ground::new("/nonexistent".into(), Duration::ZERO, BLOCK as u64);
        let error = ground.run(Workload::Write1, 0).unwrap_err().to_string();
        assert!(error.starts_with("cannot create /nonexistent/pages-0: No such file"), "{error}");
    }
}
