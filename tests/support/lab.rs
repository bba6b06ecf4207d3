//! A lab of one test: `bin-scripts/lab` with a name of its own, removed when the value goes.
#![allow(dead_code, clippy::unwrap_used)] // each test program uses a part of it
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a condition may take to come true before a test fails.
pub const LIMIT: Duration = Duration::from_secs(20);

pub struct Lab {
    pub name: String,
    bare: bool,
}

impl Lab {
    /// A lab without daemons, or `None` (and a line that says why) where labs cannot run.
    pub fn bare(test: &str, options: &[&str]) -> Option<Lab> {
        Lab::start(test, options, true)
    }

    /// A lab whose nodes run the binary under test and have joined their cluster.
    pub fn cluster(test: &str, options: &[&str]) -> Option<Lab> {
        Lab::start(test, options, false)
    }

    fn start(test: &str, options: &[&str], bare: bool) -> Option<Lab> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: a lab needs root");
            return None;
        }
        let lab = Lab { name: format!("{test}-{}", std::process::id()), bare };
        lab.run([&["up"], options].concat());
        Some(lab)
    }

    /// `lab --name … WORDS`, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/bin-scripts/lab"));
        command.args(["--name", &self.name]).args(words).stdin(Stdio::null());
        command.env("LOCKSTEP_BIN", env!("CARGO_BIN_EXE_lockstep"));
        // In the node's own memory: what a test puts there is nobody else's.
        command.env("LOCKSTEP_OCF_ROOT", "/run/ocf");
        if self.bare {
            command.env("LOCKSTEP_LAB_BARE", "1");
        }
        command
    }

    /// Runs a verb, whatever comes of it.
    pub fn try_run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Output {
        self.command(words).output().expect("bin-scripts/lab can be started")
    }

    /// Runs a verb that must succeed; what it printed, without the last line's end.
    pub fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> String {
        let words: Vec<_> = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        let output = self.try_run(&words);
        assert!(
            output.status.success(),
            "lab {words:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs a shell script in a node; it must succeed.
    pub fn sh(&self, node: &str, script: &str) -> String {
        self.run(["exec", node, "--", "sh", "-ec", script])
    }

    /// Whether a shell script in a node succeeds.
    pub fn holds(&self, node: &str, script: &str) -> bool {
        self.try_run(["exec", node, "--", "sh", "-ec", script]).status.success()
    }

    /// One of the variables of `lab env`.
    pub fn variable(&self, name: &str) -> String {
        let text = self.run(["env"]);
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.unwrap_or_else(|| panic!("lab env has no {name}:\n{text}"))
            .trim_matches('\'')
            .to_owned()
    }

    pub fn path(&self, node: &str, path: &str) -> PathBuf {
        self.run(["path", node, path]).into()
    }

    pub fn view(&self, node: &str, path: &str) -> PathBuf {
        self.run(["view", node, path]).into()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let output = self.try_run(["down"]);
        if !std::thread::panicking() {
            assert!(output.status.success(), "down: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// Polls until `holds` is true; fails the test after [`LIMIT`].
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A `.safe` archive with this configuration and these scripts, by name and text.
pub fn pack(file: &Path, userconfig: &str, scripts: &[(&str, &str)]) {
    let mut archive = zip::ZipWriter::new(File::create(file).unwrap());
    let mut add = |name: &str, mode: u32, text: &str| {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(mode);
        archive.start_file(name, options).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    };
    add("conf/userconfig.xml", 0o644, userconfig);
    for (name, text) in scripts {
        add(&format!("bin/{name}"), 0o755, text);
    }
    archive.finish().unwrap();
}
