//! The modules of a node: installed, edited, applied.
//!
//! ```text
//! archive --install--> /etc/lockstep/modules/M (edited) --configure--> …/M/active (applied)
//!                        | people change this                | scripts run from this
//!                        '--package, export--> archive       '--> versions/ (last three)
//! ```
//!
//! One change at a time (a lock on the modules' directory); each is prepared beside its place and
//! then exchanged in one step, so a full disk or a crash leaves the old state.
use super::archive::{APPLIED_RECORD, ArchiveError, EXPANDED, Entry, MODULE_RECORD, Tree};
use super::cluster::ClusterConfig;
use super::mistake::{Mistakes, Note};
use super::paths::Paths;
use super::userconfig::{Mode, Neighbour, Reading, Surroundings, UserConfig};
use crate::model::ModuleName;
use durable::failed;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

mod carry;
mod durable;
mod envfile;
mod live;
mod template;
mod versions;

pub use live::Change;
pub use versions::{Restored, Version};

/// Largest module id: the port of its data link must exist.
pub const ID_MAX: u32 = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What the administrator gave cannot be used; exit code 2, nothing changed.
    #[error("{0}")]
    Mistakes(#[from] Mistakes),
    #[error("{0}; nothing was changed")]
    Archive(#[from] ArchiveError),
    /// A file that a module must have is not in it; exit code 2, nothing changed.
    #[error("{0}")]
    Lacks(String),
    /// Refused, one sentence with what to do next.
    #[error("{0}")]
    Refused(String),
    #[error("module {0} is not installed on this node: see `lockstep module list`")]
    NotInstalled(ModuleName),
    #[error("module {0} was never configured on this node: run `lockstep config -m {0}`")]
    NotConfigured(ModuleName),
    /// The disk said no; what was there is still there.
    #[error("cannot {action} {}: {source}; what was there is unchanged", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
}

/// A module as `module list` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    pub name: ModuleName,
    /// 0 if it cannot be read; `problem` says why.
    pub id: u32,
    /// Digest of the edited copy; differs from the applied one after an edit.
    pub edited: String,
    /// The applied copy; `None`: never configured.
    pub applied: Option<AppliedMark>,
    /// Why this module cannot be read, one sentence.
    pub problem: Option<String>,
}

/// Which configuration is applied, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedMark {
    /// Hexadecimal blake3 over names, modes and contents.
    pub digest: String,
    /// Milliseconds since 1970, for people only.
    pub date_ms: i64,
}

/// Result of `configure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub digest: String,
    pub date_ms: i64,
    pub notes: Vec<Note>,
}

/// The applied configuration a module runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveModule {
    pub name: ModuleName,
    pub id: u32,
    pub config: UserConfig,
    pub digest: String,
    pub date_ms: i64,
    /// Holds `bin` and `conf` of the applied copy.
    pub dir: PathBuf,
}

/// What `module.json` of the edited copy remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ModuleRecord {
    id: u32,
}

const MODULE_FORMAT: &str = "lockstep module";
const APPLIED_FORMAT: &str = "lockstep applied configuration";

#[derive(Clone, Debug)]
pub struct ModuleStore {
    paths: Paths,
}

impl ModuleStore {
    pub fn new(paths: Paths) -> ModuleStore {
        ModuleStore { paths }
    }

    /// Installs a module from an archive (`None`: the mirror template), or with `replace` puts it
    /// over the edited copy of an installed one. Answers its id: `id` if given, else the one it
    /// had, else the smallest free one.
    pub fn install(
        &self,
        name: &ModuleName,
        archive: Option<&Path>,
        id: Option<u32>,
        replace: bool,
    ) -> Result<u32, StoreError> {
        let tree = match archive {
            Some(path) if path.is_dir() => Tree::read_folder(path)?,
            Some(path) => Tree::read_archive(path)?,
            None => template::mirror(),
        };
        self.install_tree(name, tree, id, replace)
    }

    /// Writes the files of a new module, name, mode and text of each, into a directory that is not
    /// there yet: whole, or not at all.
    ///
    /// # Errors
    /// Mistakes in what was to be written; the disk.
    pub fn write_new(
        &self,
        name: &ModuleName,
        into: &Path,
        files: Vec<(&'static str, u32, String)>,
    ) -> Result<UserConfig, StoreError> {
        let mut tree = Tree::default();
        for (file, mode, text) in files {
            tree.put(file, mode, text.into_bytes());
        }
        let around = Surroundings { cluster: self.cluster()?, ..Surroundings::of(&self.paths) };
        let config = read_tree(name, &tree, &into.join("conf/userconfig.xml"), &around)?.config;
        let into = std::path::absolute(into).map_err(failed("write", into))?;
        durable::Staged::write(&into, &tree)?.put(&into)?;
        Ok(config)
    }

    fn install_tree(
        &self,
        name: &ModuleName,
        tree: Tree,
        id: Option<u32>,
        replace: bool,
    ) -> Result<u32, StoreError> {
        // Only what no edit could make valid is refused here; the node's own view comes with
        // `configure`.
        let label = PathBuf::from(format!("{name}.safe:conf/userconfig.xml"));
        read_tree(name, &tree, &label, &Surroundings::of(&self.paths))?;
        let _lock = self.lock()?;
        let known = self.list()?;
        let before = known.iter().find(|module| module.name == *name);
        if before.is_some() && !replace {
            return Err(StoreError::Refused(format!(
                "module {name} is installed already: add -r to replace its edited copy, \
                 or choose another name"
            )));
        }
        let had = before.filter(|module| module.problem.is_none()).map(|module| module.id);
        let others: Vec<&Installed> = known.iter().filter(|module| module.name != *name).collect();
        let id = match id.or(had) {
            Some(id) => id,
            None => (1..=ID_MAX)
                .find(|id| others.iter().all(|module| module.id != *id))
                .unwrap_or(ID_MAX),
        };
        if !(1..=ID_MAX).contains(&id) {
            return Err(StoreError::Refused(format!("module id {id} is not from 1 to {ID_MAX}")));
        }
        if let Some(owner) = others.iter().find(|module| module.id == id) {
            return Err(StoreError::Refused(format!(
                "module id {id} belongs to module {}: choose another one with -M, \
                 the same on every node",
                owner.name
            )));
        }
        self.put_edited(name, tree, id)?;
        Ok(id)
    }

    fn put_edited(&self, name: &ModuleName, mut tree: Tree, id: u32) -> Result<(), StoreError> {
        tree.put(MODULE_RECORD, 0o644, durable::record_bytes(MODULE_FORMAT, &ModuleRecord { id })?);
        let target = self.paths.module_edited(name);
        durable::Staged::write(&target, &tree)?.put(&target)
    }

    /// Removes a module with everything remembered of it and keeps an archive of its edited copy,
    /// whose path is answered. The caller refuses while it runs. The logs stay.
    pub fn uninstall(&self, name: &ModuleName) -> Result<PathBuf, StoreError> {
        let _lock = self.lock()?;
        self.record(name)?;
        let kept = self.back_up(name, &self.edited_tree(name)?)?;
        durable::remove_dir(&self.paths.module_edited(name))?;
        durable::remove_dir(&self.paths.module_state(name))?;
        Ok(kept)
    }

    /// All modules, by name. One that cannot be read hides no other.
    pub fn list(&self) -> Result<Vec<Installed>, StoreError> {
        let root = self.paths.modules_edited();
        let mut names = Vec::new();
        match fs::read_dir(&root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            found => {
                for entry in found.map_err(failed("read", &root))? {
                    let entry = entry.map_err(failed("read", &root))?;
                    let name = entry.file_name().to_str().and_then(|n| ModuleName::new(n).ok());
                    names.extend(name.filter(|_| entry.path().is_dir()));
                }
            }
        }
        names.sort();
        Ok(names.into_iter().map(|name| self.installed(name)).collect())
    }

    fn installed(&self, name: ModuleName) -> Installed {
        let read = || {
            let record = self.record(&name)?;
            let edited = self.edited_tree(&name)?.digest();
            Ok::<_, StoreError>((record.id, edited, self.applied_mark(&name)?))
        };
        match read() {
            Ok((id, edited, applied)) => Installed { name, id, edited, applied, problem: None },
            Err(error) => Installed {
                id: self.record(&name).map_or(0, |record| record.id),
                edited: String::new(),
                applied: self.applied_mark(&name).ok().flatten(),
                problem: Some(error.to_string()),
                name,
            },
        }
    }

    /// Writes the edited copy as an archive.
    pub fn package(&self, name: &ModuleName, out: &Path) -> Result<(), StoreError> {
        self.record(name)?;
        let bytes = self.edited_tree(name)?.to_bytes()?;
        durable::replace_file(out, 0o600, &bytes)
    }

    /// Checks the edited copy among the cluster and the other modules; changes nothing.
    pub fn check(&self, name: &ModuleName) -> Result<UserConfig, StoreError> {
        self.record(name)?;
        let tree = self.edited_tree(name)?;
        Ok(self.read_edited(name, &tree)?.config)
    }

    /// Checks the edited copy and applies it, at once or not at all. The edited copy is not
    /// touched.
    pub fn configure(&self, name: &ModuleName) -> Result<Applied, StoreError> {
        let _lock = self.lock()?;
        self.record(name)?;
        let tree = self.edited_tree(name)?;
        let reading = self.read_edited(name, &tree)?;
        let (mark, active) = self.to_apply(name, &tree, &reading)?;
        let target = self.paths.module_active(name);
        let staged = durable::Staged::write(&target, &active)?;
        self.keep_version(name, &tree, mark.date_ms)?;
        staged.put(&target)?;
        let AppliedMark { digest, date_ms } = mark;
        Ok(Applied { digest, date_ms, notes: reading.config.notes })
    }

    /// What the applied copy of an edited one consists of.
    fn to_apply(
        &self,
        name: &ModuleName,
        tree: &Tree,
        reading: &Reading,
    ) -> Result<(AppliedMark, Tree), StoreError> {
        let mark = AppliedMark { digest: tree.digest(), date_ms: now_ms() };
        let mut active = tree.clone();
        // Variables may be secrets: who may not read the one must not read the other.
        let mode = tree.get("conf/userconfig.xml").map_or(0o600, |entry| entry.mode);
        active.put(EXPANDED, mode, reading.expanded.clone().into_bytes());
        envfile::put(&reading.config.virtual_hosts, name, &mut active)?;
        active.put(APPLIED_RECORD, 0o644, durable::record_bytes(APPLIED_FORMAT, &mark)?);
        Ok((mark, active))
    }

    /// The applied configuration, read again and checked against today's `cluster.xml`.
    pub fn active(&self, name: &ModuleName) -> Result<ActiveModule, StoreError> {
        let id = self.record(name)?.id;
        let dir = self.paths.module_active(name);
        let mark = self.applied_mark(name)?;
        let mark = mark.ok_or_else(|| StoreError::NotConfigured(name.clone()))?;
        // Macros were put in when the configuration was applied; today's environment is not asked.
        let text = super::xml::read_text(&dir.join(EXPANDED))?;
        let around = Surroundings {
            cluster: self.cluster()?,
            environment: |_| None,
            ..Surroundings::of(&self.paths)
        };
        let label = self.paths.module_edited(name).join("conf/userconfig.xml");
        let config = UserConfig::parse(&label, &text, &around)?.config;
        let AppliedMark { digest, date_ms } = mark;
        Ok(ActiveModule { name: name.clone(), id, config, digest, date_ms, dir })
    }

    /// `cluster.xml` of this node, if there is one.
    fn cluster(&self) -> Result<Option<ClusterConfig>, StoreError> {
        let path = self.paths.cluster_xml();
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(ClusterConfig::load(&path)?))
    }

    fn read_edited(&self, name: &ModuleName, tree: &Tree) -> Result<Reading, StoreError> {
        let mut around = Surroundings::of(&self.paths);
        around.cluster = self.cluster()?;
        around.neighbours = self.neighbours(name)?;
        around.describe = crate::ocf::describe;
        let label = self.paths.module_edited(name).join("conf/userconfig.xml");
        let mut reading = read_tree(name, tree, &label, &around)?;
        let found = super::checks::on_this_node(&reading.config, tree, &label);
        reading.config.notes.extend(found);
        Ok(reading)
    }

    /// Directories and addresses of the other modules as applied: what somebody only installed is
    /// no mistake of a module that runs. One that cannot be read holds nothing.
    fn neighbours(&self, name: &ModuleName) -> Result<Vec<Neighbour>, StoreError> {
        let around = Surroundings::of(&self.paths);
        let mut neighbours = Vec::new();
        for other in self.list()?.into_iter().filter(|other| other.name != *name) {
            let path = self.paths.module_active(&other.name).join(EXPANDED);
            let Ok(reading) = UserConfig::read(&path, &around) else { continue };
            let dirs = reading.config.rfs.map(|rfs| rfs.dirs).unwrap_or_default();
            neighbours.push(Neighbour {
                name: other.name,
                dirs: dirs.into_iter().map(|dir| dir.path).collect(),
                vips: reading.config.vips.iter().map(|vip| vip.addr).collect(),
            });
        }
        Ok(neighbours)
    }

    fn record(&self, name: &ModuleName) -> Result<ModuleRecord, StoreError> {
        let path = self.paths.module_edited(name).join(MODULE_RECORD);
        let record = durable::read_record(MODULE_FORMAT, &path)?;
        record.ok_or_else(|| StoreError::NotInstalled(name.clone()))
    }

    fn applied_mark(&self, name: &ModuleName) -> Result<Option<AppliedMark>, StoreError> {
        durable::read_record(APPLIED_FORMAT, &self.paths.module_active(name).join(APPLIED_RECORD))
    }

    fn edited_tree(&self, name: &ModuleName) -> Result<Tree, StoreError> {
        Ok(Tree::read_folder(&self.paths.module_edited(name))?)
    }

    /// Held by whoever changes modules; given back when the answer is dropped or the process ends.
    fn lock(&self) -> Result<fs::File, StoreError> {
        let root = self.paths.modules_state();
        durable::make_dir(&root)?;
        let path = root.join(".lock");
        let file = fs::File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(failed("lock", &path))?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(file)
    }
}

/// Reads the configuration of a tree and checks that the module can be one at all.
fn read_tree(
    name: &ModuleName,
    tree: &Tree,
    label: &Path,
    around: &Surroundings,
) -> Result<Reading, StoreError> {
    let Some(entry) = tree.get("conf/userconfig.xml") else {
        return Err(StoreError::Lacks(format!(
            "module {name} has no conf/userconfig.xml: write one, see conf/userconfig.xml of \
             the project"
        )));
    };
    let text = super::xml::decode(label, entry.bytes.clone())?;
    let reading = UserConfig::parse(label, &text, around)?;
    let scripted = reading.config.applications.is_empty();
    if reading.config.mode == Mode::Mirror && scripted && tree.get("bin/start_prim").is_none() {
        let windows = |entry: &Entry| {
            entry.name.starts_with("bin/")
                && (entry.name.ends_with(".ps1") || entry.name.ends_with(".cmd"))
        };
        if tree.entries().iter().any(windows) {
            return Err(StoreError::Lacks(format!(
                "module {name} has scripts for Windows only: take the archive for Linux"
            )));
        }
        return Err(StoreError::Lacks(format!(
            "mirror module {name} has no bin/start_prim: add the script that starts the \
             application on the primary, or name it in <user> as <ocf> or <unit>"
        )));
    }
    Ok(reading)
}

/// For people only; nothing is decided by it.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests;
