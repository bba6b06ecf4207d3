//! `module …` and the copying of a module to other nodes (`-E`).
use super::args::ModuleVerb;
use super::context::{Context, failed, io_refusal, usage};
use super::offline;
use crate::api::view::ModuleSummary;
use crate::api::{Command, Nodes, Refusal, Reply, Response, request::ARCHIVE_BYTES_MAX};
use crate::config::archive::Tree;
use crate::config::paths::Paths;
use crate::config::store::ModuleStore;
use crate::model::ModuleName;
use std::fmt::Write;
use std::path::{Path, PathBuf};

pub fn carry_out(context: &mut Context<'_>, verb: ModuleVerb) -> Result<u8, Refusal> {
    let replies = match verb {
        ModuleVerb::New(given) => return super::new::new(context, *given),
        ModuleVerb::Install { archive, id, replace } => install(context, archive, id, replace)?,
        ModuleVerb::List | ModuleVerb::Listid => context.do_or_ask(Command::ModuleList)?,
        ModuleVerb::Getports => return getports(context),
        ModuleVerb::Package { archive } => package(context, &archive)?,
        ModuleVerb::Uninstall => {
            context.needed_module()?;
            context.ask_or_do(Command::Uninstall)?
        }
        ModuleVerb::Versions => {
            context.needed_module()?;
            context.do_or_ask(Command::Versions)?
        }
        ModuleVerb::Restore { version } => {
            context.needed_module()?;
            context.do_or_ask(Command::Restore { version })?
        }
        ModuleVerb::Check { what } => check(context, what)?,
    };
    Ok(context.show(&replies))
}

/// A table of installed modules.
pub fn list(modules: &[ModuleSummary]) -> String {
    if modules.is_empty() {
        return "no module is installed on this node\n".to_owned();
    }
    let mut text = format!("{:<20} {:>3} {:<8} CONFIGURED\n", "MODULE", "ID", "MODE");
    for ModuleSummary { module, id, mode, configured } in modules {
        let configured = if *configured { "yes" } else { "no" };
        let _ = writeln!(text, "{:<20} {id:>3} {mode:<8} {configured}", module.as_str());
    }
    text
}

/// One answer of this node, made here.
fn answered(response: Response) -> Vec<Reply> {
    vec![Reply::here(response)]
}

fn install(
    context: &mut Context<'_>,
    archive: Option<PathBuf>,
    id: Option<u32>,
    replace: bool,
) -> Result<Vec<Reply>, Refusal> {
    if context.module.is_none() {
        // The name need not be the file's, but it often is.
        let stem = archive.as_ref().and_then(|path| path.file_stem()?.to_str());
        context.module = stem.and_then(|stem| ModuleName::new(stem).ok());
    }
    let module = context.needed_module()?;
    if context.nodes == Nodes::Local {
        let store = ModuleStore::new(context.paths.clone());
        let done = context.noting("module install", |_| {
            offline::install(&store, &module, archive.as_deref(), id, replace)
        });
        return done.map(answered);
    }
    let archive = match archive {
        Some(path) => read_archive(&path)?,
        None => Vec::new(),
    };
    context.ask(Command::Install { id, archive, replace })
}

fn read_archive(path: &Path) -> Result<Vec<u8>, Refusal> {
    let bytes = match path.is_dir() {
        true => Tree::read_folder(path)
            .and_then(|tree| tree.to_bytes())
            .map_err(|error| usage(error.to_string()))?,
        false => std::fs::read(path).map_err(|error| io_refusal("read", path, &error))?,
    };
    if bytes.len() > ARCHIVE_BYTES_MAX {
        return Err(usage(format!(
            "archive {} has {} bytes, the limit between nodes is {ARCHIVE_BYTES_MAX}; \
             install it on each node itself",
            path.display(),
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// `-E`: this node's edited copy, on every node that is meant, with the same id, configured.
pub fn export(context: &mut Context<'_>, module: ModuleName) -> Result<u8, Refusal> {
    let store = ModuleStore::new(context.paths.clone());
    let package = store.export(&module).map_err(|error| offline::refusal(&error))?;
    context.module = Some(module);
    let replies = context.ask_or_do(Command::Import { package })?;
    Ok(context.show(&replies))
}

fn package(context: &mut Context<'_>, out: &Path) -> Result<Vec<Reply>, Refusal> {
    let module = context.needed_module()?;
    if context.nodes != Nodes::Local {
        return Err(usage("module package writes a file on this node only; leave -H away"));
    }
    let store = ModuleStore::new(context.paths.clone());
    store.package(&module, out).map_err(|error| offline::refusal(&error))?;
    Ok(answered(Response::ok_with(format!("module {module} packed as {}", out.display()))))
}

/// Ports from the module's id, see `src/docs/operations.md`.
fn getports(context: &mut Context<'_>) -> Result<u8, Refusal> {
    let module = context.needed_module()?;
    let store = ModuleStore::new(context.paths.clone());
    let installed = store.list().map_err(|error| offline::refusal(&error))?;
    let found = installed.into_iter().find(|installed| installed.name == module);
    let id = found.map(|installed| installed.id).ok_or_else(|| {
        failed(format!("module {module} is not installed on this node: see `module list`"))
    })?;
    let port = data_port(id)?;
    if context.json {
        let data = serde_json::json!({ "module": module, "id": id, "data_udp": port });
        context.print_json(0, vec![super::json::found(None, data)]);
    } else {
        context.print(&format!("data link of {module} (id {id}): UDP {port}\n"));
    }
    Ok(0)
}

/// UDP port of the data link: 5600 + 4 (id - 1).
pub fn data_port(id: u32) -> Result<u32, Refusal> {
    let port = id.checked_sub(1).and_then(|id| id.checked_mul(4)).map(|offset| 5600 + offset);
    port.filter(|port| *port <= u32::from(u16::MAX))
        .ok_or_else(|| failed(format!("id {id} gives no port: ids go from 1 to 14984")))
}

/// An archive file, or an installed module by its name. Needs no daemon.
fn check(context: &mut Context<'_>, what: Option<String>) -> Result<Vec<Reply>, Refusal> {
    let Some(what) = what else {
        context.needed_module()?;
        return context.do_or_ask(Command::ConfCheck);
    };
    let path = Path::new(&what);
    let installed = || {
        let name = ModuleName::new(&what).ok();
        name.is_some_and(|name| context.paths.module_edited(&name).exists())
    };
    if path.is_file() || path.is_dir() && (what.contains('/') || !installed()) {
        return check_archive(path).map(answered);
    }
    let module = ModuleName::new(&what).map_err(|error| {
        usage(format!("{what} is neither a file, a directory, nor the name of a module: {error}"))
    })?;
    context.module = Some(module);
    context.do_or_ask(Command::ConfCheck)
}

/// Installs the archive into a place of its own that is removed again, and checks it there.
fn check_archive(path: &Path) -> Result<Response, Refusal> {
    let place = Scratch::new()?;
    let store = ModuleStore::new(Paths::below(&place.0));
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = ModuleName::new(stem).or_else(|_| ModuleName::new("module"));
    let name = name.map_err(|error| failed(error.to_string()))?;
    let shown = |text: String| {
        let installed = Paths::below(&place.0).module_edited(&name);
        text.replace(&format!("{}/", installed.display()), &format!("{} ", path.display()))
    };
    let refused = |error| {
        let mut refusal = offline::refusal(&error);
        refusal.text = shown(refusal.text);
        refusal
    };
    store.install(&name, Some(path), None, false).map_err(refused)?;
    let config = store.check(&name).map_err(refused)?;
    Ok(Response::ok_with(shown(offline::checked(&config))))
}

/// A private folder that is gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, Refusal> {
        use std::os::unix::fs::DirBuilderExt;
        let name = format!("lockstep-check-{:032x}", rand::random::<u128>());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| io_refusal("make", &path, &error))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
