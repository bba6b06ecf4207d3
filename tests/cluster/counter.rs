//! The application of the tests and its client: a counter that remembers each number it was given.
//!
//! Both run as this very test program, started again with one of the two ignored tests at the end:
//! so nothing needs to be installed in a node. The client never gives a number twice; what it
//! wrote into its record was acknowledged, and must be in the journal for ever after.
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub const PORT: u16 = 7000;
const BLOCK: u64 = 4096;
const BLOCKS: u64 = 64;
/// A held write may take as long as the nodes need to decide who goes on.
const PATIENCE: Duration = Duration::from_secs(1);
const CONNECT_LIMIT: Duration = Duration::from_millis(200);
const CLIENTS: u64 = 3;
const FAULT_STAYS: Duration = Duration::from_secs(5);

/// Carries out one number on the directory: always a line in the journal, and by its divisors a
/// change of every other kind.
fn carry_out(dir: &Path, journal: &Mutex<File>, number: u64) -> std::io::Result<()> {
    let object = dir.join(format!("objects/{number}"));
    if number.is_multiple_of(5) {
        fs::write(&object, format!("{number} ").repeat((number % 997) as usize))?;
    }
    match number % 60 {
        0 => fs::rename(&object, dir.join(format!("moved/{number}")))?,
        5 => fs::hard_link(&object, dir.join(format!("moved/link-{number}")))?,
        10 => symlink(format!("../objects/{number}"), dir.join(format!("moved/to-{number}")))?,
        15 => fs::set_permissions(&object, fs::Permissions::from_mode(0o640))?,
        20 => OpenOptions::new().write(true).open(&object)?.set_len(number % 8192)?,
        25 => fs::remove_file(&object)?,
        30 => fs::create_dir(dir.join(format!("moved/dir-{number}")))?,
        35 => mark(&object, number)?,
        _ => {}
    }
    if number.is_multiple_of(3) {
        let base = dir.join("base");
        let base = OpenOptions::new().write(true).create(true).truncate(false).open(base)?;
        let block = number.to_be_bytes().repeat(BLOCK as usize / 8);
        base.write_all_at(&block, number / 3 % BLOCKS * BLOCK)?;
    }
    let mut journal = journal.lock().unwrap();
    journal.write_all(format!("{number}\n").as_bytes())?;
    if number.is_multiple_of(20) { journal.sync_data() } else { Ok(()) }
}

fn mark(object: &Path, number: u64) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(object.as_os_str().as_bytes())?;
    let value = number.to_string();
    // SAFETY: two C strings and a buffer with its length, all alive during the call.
    let done = unsafe {
        let name = c"user.counter".as_ptr();
        nix::libc::setxattr(path.as_ptr(), name, value.as_ptr().cast(), value.len(), 0)
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// What a client was told, read back from its record.
pub struct Record {
    pub acknowledged: BTreeSet<u64>,
    /// When each acknowledgement came, nanoseconds of the machine's monotonic clock.
    pub times: Vec<u64>,
}

impl Record {
    pub fn read(path: &Path) -> Record {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut record = Record { acknowledged: BTreeSet::new(), times: Vec::new() };
        // The last line may be torn: the client was killed while it wrote.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let (number, time) = line.trim_end().split_once(' ').unwrap();
            record.acknowledged.insert(number.parse().unwrap());
            record.times.push(time.parse().unwrap());
        }
        record.times.sort_unstable();
        record
    }

    /// Longest time without an acknowledgement.
    pub fn longest_gap(&self) -> Duration {
        let gaps = self.times.windows(2).map(|pair| pair[1] - pair[0]);
        Duration::from_nanos(gaps.max().unwrap_or(0))
    }
}

/// Checks a copy of the directory against what was acknowledged. What is on its way may be seen
/// half done, so a fault counts only if it stays.
pub fn check(copy: &Path, acknowledged: &BTreeSet<u64>) {
    let begin = Instant::now();
    while let Err(fault) = examine(copy, acknowledged) {
        assert!(begin.elapsed() < FAULT_STAYS, "{}: {fault}", copy.display());
        thread::sleep(Duration::from_millis(100));
    }
}

fn examine(copy: &Path, acknowledged: &BTreeSet<u64>) -> Result<(), String> {
    let journal = fs::read(copy.join("journal")).unwrap_or_default();
    let mut present = BTreeSet::new();
    for (index, line) in journal.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = String::from_utf8_lossy(line);
        let number = text.strip_suffix('\n').and_then(|number| number.parse::<u64>().ok());
        let number = number.ok_or_else(|| format!("line {index} of the journal is {text:?}"))?;
        if !present.insert(number) {
            return Err(format!("{number} was carried out twice, again in line {index}"));
        }
    }
    let missing: Vec<&u64> = acknowledged.difference(&present).take(20).collect();
    if !missing.is_empty() {
        let of = acknowledged.len();
        return Err(format!("acknowledged and not here: {missing:?} of {of}"));
    }
    let base = fs::read(copy.join("base")).unwrap_or_default();
    for (index, block) in base.chunks(BLOCK as usize).enumerate() {
        let newest = u64::from_be_bytes(block[..8].try_into().unwrap());
        let mine =
            |number: &&u64| number.is_multiple_of(3) && **number / 3 % BLOCKS == index as u64;
        // Several clients write at once: the newest number is not always the last writer, but a
        // block is older than what was acknowledged a whole round ago only if a write is lost.
        let last = acknowledged.iter().rev().find(mine).copied().unwrap_or(0);
        if newest + 3 * BLOCKS * CLIENTS < last {
            return Err(format!("block {index} holds {newest}, {last} was acknowledged"));
        }
    }
    Ok(())
}

fn monotonic_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    Duration::from(now).as_nanos() as u64
}

/// One connection of the client: numbers `first`, `first + CLIENTS`, …
fn give_numbers(to: SocketAddr, record: &File, first: u64) {
    let mut number = first;
    loop {
        let Ok(stream) = TcpStream::connect_timeout(&to, CONNECT_LIMIT) else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        loop {
            let asked = number;
            number += CLIENTS;
            let mut answer = String::new();
            let told = (&stream)
                .write_all(format!("{asked}\n").as_bytes())
                .and_then(|()| answers.read_line(&mut answer));
            if told.is_err() || answer != format!("{asked}\n") {
                break;
            }
            let line = format!("{asked} {}\n", monotonic_ns());
            (&*record).write_all(line.as_bytes()).unwrap();
            // A client that thinks for a moment: the machine has two processors for everybody.
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn answer_numbers(stream: TcpStream, dir: &Path, journal: &Mutex<File>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let number = line.parse().map_err(std::io::Error::other)?;
        carry_out(dir, journal, number)?;
        out.write_all(format!("{number}\n").as_bytes())?;
    }
    Ok(())
}

/// Not a test: the application, started by `start_prim`.
#[test]
#[ignore = "the application, started by start_prim in a node"]
fn serve() {
    let Some(dir) = std::env::var_os("COUNTER_DIR").map(PathBuf::from) else { return };
    for part in ["objects", "moved"] {
        fs::create_dir_all(dir.join(part)).unwrap();
    }
    let journal = OpenOptions::new().append(true).create(true).open(dir.join("journal")).unwrap();
    let journal = Arc::new(Mutex::new(journal));
    let listener = TcpListener::bind(("0.0.0.0", PORT)).unwrap();
    println!("counter serves {}", dir.display());
    for stream in listener.incoming().flatten() {
        let (dir, journal) = (dir.clone(), journal.clone());
        thread::spawn(move || {
            if let Err(error) = answer_numbers(stream, &dir, &journal) {
                println!("counter: {error}");
            }
        });
    }
}

/// Not a test: the client, run outside the nodes until it is killed.
#[test]
#[ignore = "the client, run outside the nodes"]
fn drive() {
    let (Ok(to), Some(path)) = (std::env::var("COUNTER_TO"), std::env::var_os("COUNTER_RECORD"))
    else {
        return;
    };
    let to: SocketAddr = to.parse().unwrap();
    let record = OpenOptions::new().append(true).create(true).open(&path).unwrap();
    let begin: u64 = std::env::var("COUNTER_FIRST").unwrap().parse().unwrap();
    thread::scope(|scope| {
        for first in begin..begin + CLIENTS {
            let record = &record;
            scope.spawn(move || give_numbers(to, record, first));
        }
    });
}
