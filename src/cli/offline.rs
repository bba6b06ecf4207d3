//! What can be answered from files alone, without a running module: installing, checking and
//! applying configurations, listing modules, reading and writing the log.
//!
//! Two doors lead here. The command line comes directly, with or without a daemon. The daemon
//! comes for requests of other nodes and, after it has made sure that no running module forbids
//! it, for [`Command::Config`], [`Command::Import`] and [`Command::Uninstall`].
use super::lists::short;
use crate::api::response::code;
use crate::api::view::ModuleSummary;
use crate::api::{Command, ConfigView, Data, Exit, Refusal, Request, Response, VersionView};
use crate::config::cluster::ClusterConfig;
use crate::config::mistake::Note;
use crate::config::paths::Paths;
use crate::config::store::{ModuleStore, StoreError};
use crate::config::userconfig::{Mode, UserConfig};
use crate::logbook::{self, CommandEntry, Entry, Logbook, texts};
use crate::model::ModuleName;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Carries a request out in files. `None`: it needs a running daemon.
pub fn answer(paths: &Paths, request: &Request) -> Option<Response> {
    let store = ModuleStore::new(paths.clone());
    let module = request.module.as_ref();
    let result = match &request.command {
        Command::ModuleList => list(&store),
        Command::CommandLog { count } => command_log(paths, module, *count),
        Command::Preflight => super::preflight::look(paths, module),
        Command::Import { package } => import(&store, module, package),
        Command::ClusterConfig { xml } => cluster_config(paths, xml.as_deref()),
        Command::ClusterConfInfo => cluster_config_view(paths),
        Command::Install { .. }
        | Command::Uninstall
        | Command::Versions
        | Command::Restore { .. }
        | Command::Config
        | Command::ConfCheck
        | Command::ConfInfo
        | Command::Log { .. }
        | Command::Print { .. } => match module {
            Some(module) => of_module(paths, &store, module, request),
            None => Err(super::context::usage("the request names no module")),
        },
        _ => return None,
    };
    Some(result.unwrap_or_else(Response::Refused))
}

fn of_module(
    paths: &Paths,
    store: &ModuleStore,
    module: &ModuleName,
    request: &Request,
) -> Result<Response, Refusal> {
    match &request.command {
        Command::Install { id, archive, replace } => {
            let file = if archive.is_empty() { None } else { Some(Draft::new(archive)?) };
            install(store, module, file.as_ref().map(|draft| draft.path.as_path()), *id, *replace)
        }
        Command::Uninstall => uninstall(store, module),
        Command::Versions => versions(store, module),
        Command::Restore { version } => restore(store, module, version),
        Command::Config => configure(store, module),
        Command::ConfCheck => {
            let config = store.check(module).map_err(|error| refusal(&error))?;
            Ok(Response::ok_with(checked(&config)))
        }
        Command::ConfInfo => config_view(store, module),
        Command::Log { count, verbose } => read_log(paths, module, *count, *verbose),
        Command::Print { level, text } => print(paths, module, request, *level, text),
        _ => Err(super::context::failed("this request is not answered from files")),
    }
}

/// Installs from an archive file, or the built-in mirror template.
pub fn install(
    store: &ModuleStore,
    module: &ModuleName,
    archive: Option<&Path>,
    id: Option<u32>,
    replace: bool,
) -> Result<Response, Refusal> {
    let id = store.install(module, archive, id, replace).map_err(|error| refusal(&error))?;
    let notes = match store.check(module) {
        Ok(config) => remarks(&config),
        Err(error) => format!("{error}\n"),
    };
    Ok(Response::ok_with(format!(
        "{notes}module {module} installed with id {id}; next: edit it, then configure it on all \
         nodes with -H \"*\" -E {module}"
    )))
}

/// What is not there need not be removed; whoever mistyped a name sees the right ones.
fn uninstall(store: &ModuleStore, module: &ModuleName) -> Result<Response, Refusal> {
    let kept = match store.uninstall(module) {
        Err(StoreError::NotInstalled(_)) => return Ok(not_installed(store, module)),
        done => done.map_err(|error| refusal(&error))?,
    };
    Ok(Response::ok_with(format!("module {module} removed, kept as {}", kept.display())))
}

fn not_installed(store: &ModuleStore, module: &ModuleName) -> Response {
    let names: Vec<String> =
        store.list().unwrap_or_default().iter().map(|other| other.name.to_string()).collect();
    let there = match names.as_slice() {
        [] => "no module is installed here".to_owned(),
        names => {
            format!("if another one was meant, these are installed here: {}", names.join(", "))
        }
    };
    let text = format!("module {module} was not installed on this node, nothing to do; {there}");
    Response::already(code::ALREADY_UNINSTALLED, text)
}

fn versions(store: &ModuleStore, module: &ModuleName) -> Result<Response, Refusal> {
    let kept = store.versions(module).map_err(|error| refusal(&error))?;
    let installed = store.list().map_err(|error| refusal(&error))?;
    let found = installed.into_iter().find(|installed| installed.name == *module);
    let edited = found.as_ref().map(|found| found.edited.clone());
    let applied = found.and_then(|found| found.applied).map(|mark| mark.digest);
    let views = kept.into_iter().map(|version| VersionView {
        applied: version.digest.is_some() && version.digest == applied,
        edited: version.digest.is_some() && version.digest == edited,
        version: version.name,
        digest: version.digest,
    });
    Ok(Response::data(Data::Versions(views.collect())))
}

fn restore(store: &ModuleStore, module: &ModuleName, version: &str) -> Result<Response, Refusal> {
    let restored = store.restore(module, version).map_err(|error| refusal(&error))?;
    let kept = restored.kept.map(|kept| {
        format!("the edited copy, which was never applied, is kept as {}\n", kept.display())
    });
    Ok(Response::ok_with(format!(
        "{}the edited copy of module {module} is {} again, digest {}; next: apply it on all \
         nodes with -H \"*\" -E {module}",
        kept.unwrap_or_default(),
        restored.version,
        short(&restored.digest)
    )))
}

fn configure(store: &ModuleStore, module: &ModuleName) -> Result<Response, Refusal> {
    let applied = store.configure(module).map_err(|error| refusal(&error))?;
    Ok(Response::ok_with(format!(
        "{}module {module} configured, digest {}",
        lines(&applied.notes),
        short(&applied.digest)
    )))
}

fn import(
    store: &ModuleStore,
    named: Option<&ModuleName>,
    package: &[u8],
) -> Result<Response, Refusal> {
    let module = store.import(package).map_err(|error| refusal(&error))?;
    if named.is_some_and(|named| *named != module) {
        let text = format!("the package holds module {module}, which was not the one named");
        return Err(super::context::failed(text));
    }
    configure(store, &module)
}

fn list(store: &ModuleStore) -> Result<Response, Refusal> {
    let installed = store.list().map_err(|error| refusal(&error))?;
    let modules = installed.into_iter().map(|module| {
        let mode = match (module.problem, store.check(&module.name)) {
            (Some(problem), _) => problem,
            (None, Ok(config)) => mode_word(config.mode).to_owned(),
            (None, Err(_)) => format!("has mistakes, see `module check {}`", module.name),
        };
        let configured = module.applied.is_some();
        ModuleSummary { module: module.name, id: module.id, mode, configured }
    });
    Ok(Response::data(Data::Installed(modules.collect())))
}

pub fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Mirror => "mirror",
        Mode::Farm => "farm",
        Mode::Light => "light",
    }
}

fn config_view(store: &ModuleStore, module: &ModuleName) -> Result<Response, Refusal> {
    let installed = store.list().map_err(|error| refusal(&error))?;
    let found = installed.into_iter().find(|installed| installed.name == *module);
    let found = found.ok_or_else(|| refusal(&StoreError::NotInstalled(module.clone())))?;
    let date = found.applied.as_ref().map(|mark| date(mark.date_ms));
    Ok(Response::data(Data::Config(ConfigView {
        name: module.to_string(),
        applied_digest: found.applied.map(|mark| mark.digest),
        applied_date: date,
        edited_digest: Some(found.edited),
        peers: Vec::new(),
    })))
}

fn date(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| "unknown".to_owned(), |time| format!("{time:.0}"))
}

fn cluster_config(paths: &Paths, xml: Option<&str>) -> Result<Response, Refusal> {
    let path = paths.cluster_xml();
    if let Some(xml) = xml {
        check_cluster_text(xml, &path)?;
        replace_file(&path, xml.as_bytes())
            .map_err(|error| super::context::io_refusal("write", &path, &error))?;
    } else {
        check_cluster(&path, &path)?;
    }
    Ok(Response::ok_with(format!("{} applied", path.display())))
}

/// Checks a text that is to become `path`.
pub fn check_cluster_text(xml: &str, path: &Path) -> Result<(), Refusal> {
    let draft = Draft::new(xml.as_bytes())?;
    check_cluster(&draft.path, path).map(|_| ())
}

/// Checks `file`, with `shown` in its place in the sentences. Answers nodes and notes as text.
pub fn check_cluster(file: &Path, shown: &Path) -> Result<String, Refusal> {
    let config = ClusterConfig::load(file).map_err(|mistakes| {
        let text = mistakes.to_string();
        super::context::usage(
            text.replace(&file.display().to_string(), &shown.display().to_string()),
        )
    })?;
    let nodes: Vec<String> = config.nodes().iter().map(ToString::to_string).collect();
    let lans: Vec<&str> = config.lans.iter().map(|lan| lan.name.as_str()).collect();
    Ok(format!(
        "{}no mistakes: nodes {}, lans {}",
        lines(&config.notes),
        nodes.join(", "),
        lans.join(", ")
    ))
}

fn cluster_config_view(paths: &Paths) -> Result<Response, Refusal> {
    let path = paths.cluster_xml();
    let read = |error| super::context::io_refusal("read", &path, &error);
    let bytes = std::fs::read(&path).map_err(read)?;
    let changed =
        std::fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(read)?;
    let changed = jiff::Timestamp::try_from(changed).ok().map(|time| format!("{time:.0}"));
    Ok(Response::data(Data::Config(ConfigView {
        name: "cluster".to_owned(),
        applied_digest: Some(blake3::hash(&bytes).to_hex().to_string()),
        applied_date: changed,
        edited_digest: None,
        peers: Vec::new(),
    })))
}

fn read_log(
    paths: &Paths,
    module: &ModuleName,
    count: usize,
    verbose: bool,
) -> Result<Response, Refusal> {
    let dir = paths.module_log_dir(module);
    let entries = logbook::last(&dir, count.min(LOG_COUNT_MAX), verbose)
        .map_err(|error| super::context::io_refusal("read the log in", &dir, &error))?;
    Ok(Response::data(Data::Log(entries)))
}

fn command_log(
    paths: &Paths,
    module: Option<&ModuleName>,
    count: usize,
) -> Result<Response, Refusal> {
    let entries = CommandEntry::last(paths, count.min(LOG_COUNT_MAX), module);
    let entries = entries
        .map_err(|error| super::context::io_refusal("read the log in", &paths.log, &error))?;
    Ok(Response::data(Data::Commands(entries)))
}

/// Entries of one answer; more are read with `log` on the node itself, file by file.
const LOG_COUNT_MAX: usize = 100_000;

fn print(
    paths: &Paths,
    module: &ModuleName,
    request: &Request,
    level: char,
    words: &str,
) -> Result<Response, Refusal> {
    let text = match level {
        'e' => texts::printed_event(words),
        'w' => texts::printed_warning(words),
        _ => texts::printed_information(words),
    };
    let component = request.origin.identity.as_deref().unwrap_or("user");
    Logbook::open(paths, module)
        .and_then(|book| book.write(&Entry::now(module, component, text)))
        .map_err(|error| super::context::failed(error.to_string()))?;
    Ok(Response::ok())
}

/// What `check` has to say about a configuration without mistakes.
pub fn checked(config: &UserConfig) -> String {
    format!("{}no mistakes: {} module", remarks(config), mode_word(config.mode))
}

/// Notes, what must be filled in, and what refuses a start; each a line.
pub fn remarks(config: &UserConfig) -> String {
    let mut text = lines(&config.notes);
    for blank in &config.blanks {
        text.push_str(&format!("to be filled in: {blank}\n"));
    }
    if let Err(reason) = config.startable() {
        text.push_str(&format!("a start will be refused: {reason}\n"));
    }
    text
}

/// Each a line of its own.
pub fn lines(notes: &[Note]) -> String {
    notes.iter().map(|note| format!("note: {note}\n")).collect()
}

/// Mistakes are exit 2, safety is exit 3, the disk is exit 1.
pub fn refusal(error: &StoreError) -> Refusal {
    let (code, exit) = match error {
        StoreError::Mistakes(_) | StoreError::Archive(_) | StoreError::Lacks(_) => {
            ("mistakes", Exit::Usage)
        }
        StoreError::Refused(_) => ("refused", Exit::Refused),
        StoreError::NotInstalled(_) | StoreError::NotConfigured(_) => {
            (code::NO_MODULE, Exit::Failed)
        }
        StoreError::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            ("not-authorised", Exit::NotAuthorised)
        }
        StoreError::Io { .. } => ("failed", Exit::Failed),
    };
    Refusal { code: code.to_owned(), text: error.to_string(), exit }
}

/// A private file that is gone when this is dropped: what checks a file can check a request.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn new(bytes: &[u8]) -> Result<Draft, Refusal> {
        use std::os::unix::fs::OpenOptionsExt;
        let name = format!("lockstep-{:032x}", rand::random::<u128>());
        let draft = Draft { path: std::env::temp_dir().join(name) };
        std::fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&draft.path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|error| super::context::io_refusal("write", &draft.path, &error))?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Old or new, never half: write, fsync, rename, fsync directory.
fn replace_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(dir)?;
    let draft = path.with_extension("new");
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    std::fs::File::open(dir)?.sync_all()
}
