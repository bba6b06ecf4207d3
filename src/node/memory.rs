//! The control memory of a module: what the daemon must know after its own death, after a reboot
//! and after a power cut.
//!
//! One small file, `lockstep control 1 <crc32> <length>` and JSON, replaced by write, fsync,
//! rename, fsync of the directory. What only the death of the daemon must not lose is written
//! without the two fsyncs. On a full disk it takes the reserve of its folder.
use super::classes::Switched;
use super::clock;
use crate::config::paths::Paths;
use crate::decide::{Memory, Moment};
use crate::history::{is_full, with_reserve};
use crate::model::{BootId, ModuleName};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MAGIC: &str = "lockstep control";
const VERSION: u32 = 1;
/// Larger is damage, not memory.
const BYTES_MAX: usize = 1024 * 1024;

/// What a person switched with a command; outlives stop, start and reboot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSettings {
    /// `boot on|off`; counts where the configuration says `boot="ignore"`.
    pub boot: Option<bool>,
    pub errd: Option<bool>,
    pub checker: Option<bool>,
}

/// The two clocks at one moment: the one of the boot, and the one that outlives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    since_boot: Moment,
    wall_ms: i64,
}

impl Clocks {
    pub fn now() -> Clocks {
        Clocks { since_boot: clock::now(), wall_ms: clock::wall_ms() }
    }
}

impl Stored {
    /// The same in a new boot. A wall clock that went back took no time: what was to end then ends
    /// later, never sooner.
    pub fn after_reboot(self, boot: BootId, now: Clocks) -> Stored {
        let passed = now.wall_ms.saturating_sub(self.clocks.wall_ms);
        let passed = u64::try_from(passed).unwrap_or(0);
        let mut memory = self.memory.after_reboot();
        memory.maintenance.after_reboot(self.clocks.since_boot, passed, now.since_boot);
        let (settings, synced) = (self.settings, self.synced);
        Stored { boot, memory, settings, synced, clocks: now, switched: Switched::default() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The boot in which this was written: in another one nothing of the module runs any more.
    pub boot: BootId,
    pub memory: Memory,
    #[serde(default)]
    pub settings: UserSettings,
    /// When the copy here was in sync last, seconds since 1970; only with `syncdelta`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced: Option<i64>,
    /// What the clocks showed when this was written.
    #[serde(default)]
    pub clocks: Clocks,
    /// As long as the module runs in this boot.
    #[serde(default, skip_serializing_if = "Switched::is_empty")]
    pub switched: Switched,
}

#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{} is damaged ({why}); the module is taken as stopped: stop what may still run of it, \
         remove the file, and restart the daemon",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error(
        "{} has version {found}, this program understands {VERSION}: install the newer program again",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
}

/// The file of one module.
#[derive(Clone, Debug)]
pub struct MemoryFile {
    path: PathBuf,
}

impl MemoryFile {
    pub fn new(paths: &Paths, module: &ModuleName) -> MemoryFile {
        MemoryFile { path: paths.control_state(module).join("memory") }
    }

    /// `None`: the module never ran here.
    pub fn load(&self) -> Result<Option<Stored>, MemoryError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io("read", source)),
        };
        self.parse(&bytes).map(Some)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Stored, MemoryError> {
        let damaged = |why: &str| MemoryError::Damaged { path: self.path.clone(), why: why.into() };
        if bytes.len() > BYTES_MAX {
            return Err(damaged("too long"));
        }
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("no head"))?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| damaged("no head"))?;
        let body = &bytes[end + 1..];
        let rest = head.strip_prefix(MAGIC).ok_or_else(|| damaged("another kind of file"))?;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [version, crc, length] = words[..] else { return Err(damaged("a short head")) };
        let found: u32 = version.parse().map_err(|_| damaged("no version"))?;
        if found > VERSION {
            return Err(MemoryError::Newer { path: self.path.clone(), found });
        }
        if length.parse() != Ok(body.len()) {
            return Err(damaged("cut short"));
        }
        if u32::from_str_radix(crc, 16) != Ok(crc32fast::hash(body)) {
            return Err(damaged("its checksum differs"));
        }
        serde_json::from_slice(body).map_err(|error| damaged(&error.to_string()))
    }

    /// `durable`: on disk when this returns.
    pub fn store(&self, stored: &Stored, durable: bool) -> Result<(), MemoryError> {
        let body = serde_json::to_vec(stored).map_err(|error| self.io("write", error.into()))?;
        let crc = crc32fast::hash(&body);
        let head = format!("{MAGIC} {VERSION} {crc:08x} {}\n", body.len());
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let replace = || self.replace(dir, head.as_bytes(), &body, durable);
        with_reserve(dir, is_full, replace).map_err(|source| self.io("write", source))
    }

    fn replace(&self, dir: &Path, head: &[u8], body: &[u8], durable: bool) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let draft = self.path.with_extension("new");
        let mut file = File::create(&draft)?;
        file.write_all(head)?;
        file.write_all(body)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&draft, &self.path)?;
        if durable {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    fn io(&self, what: &'static str, source: io::Error) -> MemoryError {
        MemoryError::Io { what, path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Role;

    fn file(root: &Path) -> MemoryFile {
        MemoryFile::new(&Paths::below(root), &ModuleName::new("m").unwrap())
    }

    fn stored() -> Stored {
        let memory = Memory { role: Role::Prim, running: true, ..Memory::default() };
        let settings = UserSettings { boot: Some(true), ..UserSettings::default() };
        let clocks = Clocks { since_boot: Moment(1_000_000), wall_ms: 50_000_000 };
        let (synced, switched) = (Some(1_700_000_000), Switched::default());
        Stored { boot: BootId(7), memory, settings, synced, clocks, switched }
    }

    #[test]
    fn what_was_stored_comes_back() {
        let root = tempfile::tempdir().unwrap();
        let file = file(root.path());
        assert_eq!(file.load().unwrap(), None);
        for durable in [true, false] {
            file.store(&stored(), durable).unwrap();
            assert_eq!(file.load().unwrap(), Some(stored()));
        }
    }

    /// Down for a minute of two hours; and with a clock that lost its battery.
    #[test]
    fn a_maintenance_outlives_a_reboot_and_not_its_time() {
        use crate::decide::{Asked, DefaultPrim, Machine};
        let policy = crate::decide::Policy {
            module: ModuleName::new("m").unwrap(),
            own: crate::model::NodeName::new("n1").unwrap(),
            peer: crate::model::NodeName::new("n2").unwrap(),
            replicates: false,
            scripts: false,
            failover: true,
            defaultprim: DefaultPrim::Alone,
            maxloop: 3,
            loop_interval_ms: 0,
            silence_ms: 1_000,
            link_detect_ms: 500,
            witness: false,
            start_checked: false,
            automatic_reboot: false,
            callbacks: false,
        };
        let before = stored();
        let mut machine = Machine::new(policy, Memory::default(), before.clocks.since_boot);
        let wish = Asked::new("ops", "kernel", 7_200_000).unwrap();
        let wish = crate::decide::Wish::Maintenance(Some(wish));
        let caller = crate::decide::Caller::User("root".into());
        let event = crate::decide::Event::Wish { ticket: 1, wish, caller };
        let _ = machine.on(event, before.clocks.since_boot);
        let before = Stored { memory: machine.memory().clone(), ..before };
        for (wall_ms, left) in [(50_060_000, 7_140_000), (0, 7_200_000), (i64::MAX, 0)] {
            let now = Clocks { since_boot: Moment(9_000), wall_ms };
            let after = before.clone().after_reboot(BootId(8), now);
            let window = after.memory.maintenance.window().unwrap();
            assert_eq!(window.remaining_ms(now.since_boot), left, "{wall_ms}");
        }
    }

    #[test]
    fn damage_is_said_and_never_believed() {
        let root = tempfile::tempdir().unwrap();
        let file = file(root.path());
        file.store(&stored(), true).unwrap();
        let good = fs::read(&file.path).unwrap();
        for cut in 0..good.len() {
            fs::write(&file.path, &good[..cut]).unwrap();
            assert!(matches!(file.load(), Err(MemoryError::Damaged { .. })), "cut at {cut}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&file.path, &bad).unwrap();
            let read = file.load();
            assert!(read.is_err() || read.unwrap() == Some(stored()), "bit at {at}");
        }
    }
}
