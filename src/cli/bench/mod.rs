//! `bench`: what replication costs on the user's own pair, beside the plain file system.
//!
//! ```text
//! pair      may it be measured, and was it the same pair all the time
//! place     a folder inside the mirror and one beside it; space on both nodes
//! workload  what is done there, with `content`; measure: histograms, medians, ratios
//! comeback  the secondary goes and returns (only when asked for)
//! report    table and JSON          interrupt  Ctrl-C removes everything too
//! ```
//!
//! Each workload runs in both places round by round, so that both sides of a ratio meet the same
//! machine. Nothing of the application is read or written; it only shares disks and lan.
mod comeback;
mod content;
mod interrupt;
mod measure;
mod pair;
mod place;
mod report;
mod workload;

use super::args::{BenchGroup, BenchOptions};
use super::context::{Context, failed, io_refusal, usage};
use super::json;
use super::state::bytes;
use crate::api::{Exit, ModuleView, Nodes, Refusal};
use comeback::refusal;
use content::PAGE;
use place::{Beneath, Folder, Room};
use report::{Report, Row};
use std::fs::{self, File, TryLockError};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use workload::{BLOCKS, Ground, LARGE, WRITERS};

const ROUNDS: usize = 3;

pub fn bench(context: &mut Context<'_>, options: &BenchOptions) -> Result<u8, Refusal> {
    if context.nodes != Nodes::Local {
        return Err(usage(
            "bench measures the pair of the node on which it is typed; leave -H away",
        ));
    }
    let view = pair::look(context)?;
    let (replication, _) = pair::measurable(&view)?;
    let dirs: Vec<PathBuf> = replication.dirs.iter().map(|dir| dir.path.clone()).collect();
    let (mirror, directory) = directory(&dirs, options.dir.as_deref())?;
    let lib = context.paths.lib.clone();
    let wished: Vec<&Path> = std::iter::once(lib.as_path()).chain(mirror.parent()).collect();
    let beneath = place::beneath(&mirror, &wished)
        .map_err(|error| io_refusal("look beneath", &mirror, &error))?
        .ok_or_else(|| {
            failed(format!(
                "no mirror covers {} here; is this shell in another mount namespace than the \
                 daemon?",
                mirror.display()
            ))
        })?;
    let mut run = Run { view, options, groups: options.groups(), directory, beneath };
    if run.groups == [BenchGroup::Return] {
        run.beneath.plain = None;
    }
    run.ask(context)?;
    let _alone = only_one(context)?;
    interrupt::watch();
    let report = run.measure(context)?;
    if context.json {
        let data = report.json();
        context.print_json(0, vec![json::found(Some(&report.node), data)]);
    } else {
        context.print(&report.text());
    }
    Ok(0)
}

/// The mirrored directory that holds `wished`, and `wished` itself; without it the first one.
fn directory(dirs: &[PathBuf], wished: Option<&Path>) -> Result<(PathBuf, PathBuf), Refusal> {
    let real =
        |path: &Path| fs::canonicalize(path).map_err(|error| io_refusal("look at", path, &error));
    let mut real_dirs = Vec::new();
    for dir in dirs {
        real_dirs.push(real(dir)?);
    }
    let first = real_dirs.first().ok_or_else(|| failed("the module mirrors no directory"))?;
    let wished = wished.map_or_else(|| Ok(first.clone()), real)?;
    if !wished.is_dir() {
        return Err(usage(format!("{} is not a directory", wished.display())));
    }
    match real_dirs.iter().find(|dir| wished.starts_with(dir)) {
        Some(dir) => Ok((dir.clone(), wished)),
        None => {
            let names: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            let (wished, names) = (wished.display(), names.join(", "));
            Err(usage(format!(
                "{wished} is not mirrored; --dir takes one of these, or below: {names}"
            )))
        }
    }
}

/// Two benchmarks of one node would measure each other. The lock goes with the value.
fn only_one(context: &Context<'_>) -> Result<File, Refusal> {
    let path = context.paths.run.join("bench.lock");
    let file = File::create(&path).map_err(|error| io_refusal("create", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(refused("busy", "another benchmark runs on this node; wait for its end"))
        }
        Err(TryLockError::Error(error)) => Err(io_refusal("lock", &path, &error)),
    }
}

fn refused(code: &str, text: impl Into<String>) -> Refusal {
    Refusal { code: code.to_owned(), text: text.into(), exit: Exit::Refused }
}

/// One benchmark of one pair.
struct Run<'a> {
    view: ModuleView,
    options: &'a BenchOptions,
    groups: Vec<BenchGroup>,
    directory: PathBuf,
    beneath: Beneath,
}

impl Run<'_> {
    fn has(&self, group: BenchGroup) -> bool {
        self.groups.contains(&group)
    }

    fn file_bytes(&self) -> u64 {
        self.options.file_mb << 20
    }

    fn peer(&self) -> String {
        self.view.peers.first().map(|peer| peer.node.to_string()).unwrap_or_default()
    }

    /// What the benchmark has on disk at most: inside the mirror, and beside it.
    fn needed_bytes(&self) -> (u64, u64) {
        let file = self.file_bytes();
        let paged = match self.has(BenchGroup::Write) {
            true => WRITERS,
            false => u64::from(self.has(BenchGroup::Barrier) || self.has(BenchGroup::Read)),
        };
        let sequential = if self.has(BenchGroup::Write) { LARGE } else { 0 };
        // A file in a folder takes a page, and its name, inode and folder less than another.
        let small = Ground::files_max(file) * ROUNDS as u64 * PAGE * 2;
        let files = if self.has(BenchGroup::Files) { small } else { 0 };
        let plain = file * (paged + sequential) + files;
        let back = if self.has(BenchGroup::Return) { file * LARGE } else { 0 };
        (plain + back, if self.beneath.plain.is_some() { plain } else { 0 })
    }

    /// Says what will happen and goes on only with consent.
    fn ask(&self, context: &mut Context<'_>) -> Result<(), Refusal> {
        context.say(&self.announcement());
        if self.options.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            let text = "nobody to ask: a benchmark loads the disks and the lan that the \
                        application uses; say --yes to go on";
            return Err(refused("consent", text));
        }
        context.say("Go on? [y/N]");
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        match read.map(|_| answer.trim().to_ascii_lowercase()) {
            Ok(answer) if answer == "y" || answer == "yes" => Ok(()),
            _ => Err(refused("consent", "not wished; nothing was done")),
        }
    }

    fn announcement(&self) -> String {
        let (inside, beside) = self.needed_bytes();
        let peer = self.peer();
        let mut text = format!(
            "bench of module {}: writes up to {} into a folder of {}, on {} and on {peer}",
            self.view.module,
            bytes(inside),
            self.directory.display(),
            self.view.node,
        );
        if let Some(plain) = &self.beneath.plain {
            text += &format!(", and up to {} beside it in {}", bytes(beside), plain.display());
        }
        let runs: usize = BLOCKS.iter().copied().flatten().filter(|w| self.has(w.group())).count();
        let places = if self.beneath.plain.is_some() { 2 } else { 1 };
        let seconds = (runs * ROUNDS * places) as f64 * self.options.seconds;
        text +=
            ". What it writes is removed at the end; the application shares disks and lan with it";
        if seconds > 0.0 {
            text += &format!(" for about {seconds:.0} s");
        }
        text += ".";
        if self.has(BenchGroup::Return) {
            text += &format!(
                " Then the module is stopped on {peer} and started again: until that is Ready, \
                 the application has no second copy."
            );
        }
        text
    }

    /// Whatever comes of it, the folders go.
    fn measure(&self, context: &mut Context<'_>) -> Result<Report, Refusal> {
        let mirrored = Folder::make(&self.directory).map_err(refusal)?;
        let plain = match &self.beneath.plain {
            Some(plain) => Some(Folder::make(plain).map_err(refusal)?),
            None => None,
        };
        let result = self.inside(context, mirrored.path(), plain.as_ref().map(Folder::path));
        let folders = plain.into_iter().chain([mirrored]);
        let left: Vec<String> = folders
            .filter_map(|folder| folder.remove().err().map(|error| error.to_string()))
            .collect();
        if !left.is_empty() {
            let left = left.join("; ");
            context.say(&format!("{left}; the next benchmark there removes it, or do it yourself"));
        }
        result
    }

    fn inside(
        &self,
        context: &mut Context<'_>,
        mirrored: &Path,
        plain: Option<&Path>,
    ) -> Result<Report, Refusal> {
        self.check_room(mirrored, plain)?;
        let rows = self.rows(context, mirrored, plain)?;
        let comeback = match (self.has(BenchGroup::Return), self.view.peers.first()) {
            (true, Some(peer)) => {
                Some(comeback::measure(context, &peer.node, mirrored, self.file_bytes())?)
            }
            _ => None,
        };
        self.report(rows, comeback)
    }

    /// Through the mirror a file system shows the lesser space of both nodes.
    fn check_room(&self, mirrored: &Path, plain: Option<&Path>) -> Result<(), Refusal> {
        let (inside, beside) = self.needed_bytes();
        let both = Room::of(mirrored).map_err(refusal)?;
        let own = plain.map_or(Ok(both), Room::of).map_err(refusal)?;
        let files = 3 * Ground::files_max(self.file_bytes());
        let short = |node: &str, room: Room, needed: u64| {
            let wanted = needed + room.reserve_bytes();
            if room.free_bytes >= wanted && room.free_files >= 4 * files {
                return Ok(());
            }
            Err(refused(
                "no-space",
                format!(
                    "not enough space on {node} beneath {}: {} and {} files are free, and {} of \
                     the benchmark must leave {} to the application; try a smaller --file-mb",
                    self.directory.display(),
                    bytes(room.free_bytes),
                    room.free_files,
                    bytes(needed),
                    bytes(room.reserve_bytes()),
                ),
            ))
        };
        short(self.view.node.as_str(), own, inside + beside)?;
        short(&self.peer(), both, inside)
    }

    fn rows(
        &self,
        context: &mut Context<'_>,
        mirrored: &Path,
        plain: Option<&Path>,
    ) -> Result<Vec<Row>, Refusal> {
        let span = Duration::from_secs_f64(self.options.seconds);
        let ground = |dir: &Path| Ground::new(dir.to_owned(), span, self.file_bytes());
        let mut places: Vec<Ground> = plain.into_iter().chain([mirrored]).map(ground).collect();
        let mut rows = Vec::new();
        for block in BLOCKS.iter().filter(|block| self.has(block[0].group())) {
            context.say(&format!("measuring {}", block[0].title()));
            let row = |workload| Row { workload, mirrored: Vec::new(), plain: Vec::new() };
            let mut measured: Vec<Row> = block.iter().copied().map(row).collect();
            for round in 0..ROUNDS {
                // Who comes first may meet a fuller cache or an idler disk: in turns.
                places.reverse();
                for place in &mut places {
                    for row in &mut measured {
                        let sample = place.run(row.workload, round).map_err(refusal)?;
                        let inside = place.dir == mirrored;
                        if inside { &mut row.mirrored } else { &mut row.plain }.push(sample);
                    }
                }
            }
            pair::unchanged(&self.view, &pair::look(context)?)?;
            rows.append(&mut measured);
        }
        Ok(rows)
    }

    fn report(
        &self,
        rows: Vec<Row>,
        comeback: Option<comeback::Comeback>,
    ) -> Result<Report, Refusal> {
        let (replication, peer) = pair::measurable(&self.view)?;
        let kernel = nix::sys::utsname::uname();
        let kernel = kernel.map(|name| name.release().to_string_lossy().into_owned());
        let status = replication.status.as_ref();
        Ok(Report {
            module: self.view.module.clone(),
            node: self.view.node.clone(),
            peer: peer.clone(),
            level: json::word(&replication.level),
            directory: self.directory.clone(),
            file_system: self.beneath.kind.clone(),
            plain: self.beneath.plain.clone(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.unwrap_or_else(|_| "unknown".to_owned()),
            features: status.map(|status| status.features.clone()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rounds: ROUNDS,
            seconds: self.options.seconds,
            file_bytes: self.file_bytes(),
            rows,
            comeback,
        })
    }
}
