//! What one operation costs on a mirrored directory, beside the same on the plain file system.
//!
//! Expected (back of the envelope): a strict 4 KiB write is one request of the kernel (two
//! wake-ups with the io_uring transport), one round trip, two writes into page caches; a barrier
//! adds the slower of two `fdatasync` in parallel.
//!
//! `cargo bench --bench write_path [-- WORKLOAD …]`; both nodes run on this machine, on the disk of
//! the temporary directory. Ratios of one run count, absolute figures do not.
#![allow(clippy::unwrap_used)]
#[path = "../tests/support/pair.rs"]
mod pair;

use lockstep::model::Level;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const WORKLOADS: [&str; 7] =
    ["write4k", "write4k-4", "osync4k", "fsync4k", "seq1m", "create", "read4k"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == "--inside") {
        return inside(&args[1], Path::new(&args[2]));
    }
    let wanted: Vec<&str> = match args.is_empty() {
        true => WORKLOADS.to_vec(),
        false => WORKLOADS.iter().copied().filter(|w| args.iter().any(|a| a == w)).collect(),
    };
    let pair = pair::Pair::mirrored(Level::Mirror);
    let plain = tempfile::tempdir().unwrap();
    let me = std::env::current_exe().unwrap();
    println!(
        "{:<12} {:<8} {:>12} {:>10} {:>10}",
        "workload", "where", "per second", "p50 µs", "p99 µs"
    );
    for round in 0..3 {
        for workload in &wanted {
            let run = |place: &str, mut command: Command| {
                let output = command.output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                println!("{workload:<12} {place:<8} {} (round {round})", text.trim());
            };
            let mut direct = Command::new(&me);
            direct.args(["--inside", workload]).arg(plain.path());
            run("plain", direct);
            let mut mirrored = pair.n1.enter();
            mirrored.arg(&me);
            mirrored.args(["--inside", workload]).arg(&pair.dir);
            run("mirror", mirrored);
        }
    }
}

/// Runs one workload in `dir` and prints rate and latency.
fn inside(workload: &str, dir: &Path) {
    let mut latencies = match workload {
        "write4k" => random_writes(dir, 1, false, false),
        "write4k-4" => random_writes(dir, 4, false, false),
        "osync4k" => random_writes(dir, 1, true, false),
        "fsync4k" => random_writes(dir, 1, false, true),
        "seq1m" => sequential(dir),
        "create" => create(dir),
        _ => reads(dir),
    };
    let total: Duration = latencies.1;
    latencies.0.sort_unstable();
    let at = |share: usize| latencies.0[latencies.0.len() * share / 100].as_nanos() as f64 / 1000.0;
    let rate = latencies.0.len() as f64 / total.as_secs_f64();
    println!("{rate:>12.0} {:>10.1} {:>10.1}", at(50), at(99));
}

type Measured = (Vec<Duration>, Duration);
const SPAN: Duration = Duration::from_secs(2);
const FILE_BYTES: u64 = 64 << 20;

fn layout(path: &Path) -> std::fs::File {
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    if file.metadata().unwrap().len() < FILE_BYTES {
        let block = vec![b'z'; 1 << 20];
        for index in 0..FILE_BYTES >> 20 {
            file.write_all_at(&block, index << 20).unwrap();
        }
        file.sync_all().unwrap();
    }
    file
}

fn random_writes(dir: &Path, threads: usize, osync: bool, fsync: bool) -> Measured {
    let workers: Vec<_> = (0..threads)
        .map(|index| {
            let path = dir.join(format!("random-{index}"));
            drop(layout(&path));
            std::thread::spawn(move || {
                use std::os::unix::fs::OpenOptionsExt;
                let flags = if osync { libc::O_SYNC } else { 0 };
                let file =
                    std::fs::File::options().write(true).custom_flags(flags).open(path).unwrap();
                let (block, mut latencies) = (vec![b'q'; 4096], Vec::new());
                let end = Instant::now() + SPAN;
                let mut seed = 0x9E37_79B9_7F4A_7C15u64;
                while Instant::now() < end {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let offset = (seed >> 33) % (FILE_BYTES / 4096) * 4096;
                    let start = Instant::now();
                    file.write_all_at(&block, offset).unwrap();
                    if fsync {
                        file.sync_data().unwrap();
                    }
                    latencies.push(start.elapsed());
                }
                latencies
            })
        })
        .collect();
    let all = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    (all, SPAN)
}

fn sequential(dir: &Path) -> Measured {
    let mut file = std::fs::File::create(dir.join("sequential")).unwrap();
    let (block, mut latencies) = (vec![b's'; 1 << 20], Vec::new());
    let began = Instant::now();
    for _ in 0..512 {
        let start = Instant::now();
        file.write_all(&block).unwrap();
        latencies.push(start.elapsed());
    }
    file.sync_all().unwrap();
    let total = began.elapsed();
    std::fs::remove_file(dir.join("sequential")).unwrap();
    (latencies, total)
}

fn create(dir: &Path) -> Measured {
    let sub = dir.join("create");
    std::fs::create_dir(&sub).unwrap();
    let (block, mut latencies) = (vec![b'c'; 4096], Vec::new());
    let began = Instant::now();
    for index in 0..3000 {
        let start = Instant::now();
        std::fs::write(sub.join(format!("file-{index}")), &block).unwrap();
        latencies.push(start.elapsed());
    }
    let total = began.elapsed();
    std::fs::remove_dir_all(sub).unwrap();
    (latencies, total)
}

fn reads(dir: &Path) -> Measured {
    let file = layout(&dir.join("random-0"));
    let (mut block, mut latencies) = (vec![0; 4096], Vec::new());
    for index in 0..FILE_BYTES / 4096 {
        file.read_exact_at(&mut block, index * 4096).unwrap();
    }
    let (end, mut seed) = (Instant::now() + SPAN, 0x9E37_79B9_7F4A_7C15u64);
    while Instant::now() < end {
        let start = Instant::now();
        for _ in 0..16 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let offset = (seed >> 33) % (FILE_BYTES / 4096) * 4096;
            file.read_exact_at(&mut block, offset).unwrap();
        }
        latencies.push(start.elapsed() / 16);
    }
    (latencies, SPAN)
}
