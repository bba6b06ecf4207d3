//! `snapshot`: everything that helps somebody elsewhere to understand this node, in one zip file.
//!
//! ```text
//! README.txt            what it is
//! node/…                kernel, packages, mounts, addresses, processes (names only)
//! state/…               what the daemons of all nodes say, as JSON
//! cluster/…             cluster.xml, log of the daemon
//! modules/M/…           edited and applied copy, module log, logs of scripts and engine
//! ```
//! It works without a daemon; what cannot be had is named in its place. Keys and tokens stay here:
//! the folder of keys is not looked into, and [`archive`] leaves out whatever looks like a key.
use super::context::{Context, failed, io_refusal, usage};
use super::{files, json, offline, preflight};
use crate::api::{Command, Nodes, Refusal, Reply};
use crate::config::paths::Paths;
use crate::config::store::ModuleStore;
use crate::model::ModuleName;
use archive::Archive;
use secrets::Secrets;
use std::path::{Path, PathBuf};

mod archive;
mod secrets;

/// Logs of scripts, the newest.
const FILES_MAX: usize = 300;
/// What is asked of the system, and the file it goes into.
const ASKED: [(&str, &[&str]); 10] = [
    ("kernel.txt", &["uname", "-a"]),
    ("mounts.txt", &["cat", "/proc/self/mountinfo"]),
    ("addresses.txt", &["ip", "addr"]),
    ("routes.txt", &["ip", "route", "show", "table", "all"]),
    ("sockets.txt", &["ss", "-uanp"]),
    ("space.txt", &["df", "-k"]),
    ("memory.txt", &["cat", "/proc/meminfo"]),
    ("kernel-modules.txt", &["cat", "/proc/modules"]),
    // Without arguments: some programs take passwords there.
    ("processes.txt", &["ps", "-eo", "pid,ppid,stat,lstart,rss,comm"]),
    ("system.txt", &["cat", "/etc/os-release", "/proc/sys/kernel/io_uring_disabled"]),
];

pub fn snapshot(context: &mut Context<'_>, file: Option<PathBuf>) -> Result<u8, Refusal> {
    if context.nodes != Nodes::Local {
        return Err(usage(
            "snapshot writes a file on this node; leave -H away, and run it on each",
        ));
    }
    let modules = meant(context)?;
    let file = file.unwrap_or_else(|| PathBuf::from(file_name(context.module.as_ref())));
    let mut archive = Archive::new(secrets(&context.paths)?.mask().map_err(failed)?);
    archive.text("README.txt", README);
    node(&mut archive);
    state(context, &mut archive);
    archive.file("cluster/cluster.xml", &context.paths.cluster_xml());
    archive.folder("cluster/log", &context.paths.log, FILES_MAX);
    for module in &modules {
        let folder = format!("modules/{module}");
        let paths = &context.paths;
        archive.tree(&format!("{folder}/edited"), &paths.module_edited(module));
        archive.tree(&format!("{folder}/active"), &paths.module_active(module));
        archive.folder(&format!("{folder}/log"), &paths.module_log_dir(module), FILES_MAX);
    }
    let bytes = archive.finish().map_err(failed)?;
    // Nobody else's to read.
    files::replace(&file, &bytes, 0o600).map_err(|error| io_refusal("write", &file, &error))?;
    let size = bytes.len() as u64;
    if context.json {
        let data = serde_json::json!({ "file": file.to_string_lossy(), "bytes": size });
        context.print_json(0, vec![json::found(None, data)]);
    } else {
        let size = super::state::bytes(size);
        context.print(&format!(
            "{} written, {size}; look it through before it leaves your house\n",
            file.display()
        ));
    }
    Ok(0)
}

/// The module that is named, or all that are installed.
fn meant(context: &Context<'_>) -> Result<Vec<ModuleName>, Refusal> {
    let store = ModuleStore::new(context.paths.clone());
    let installed = store.list().map_err(|error| offline::refusal(&error))?;
    let installed: Vec<ModuleName> = installed.into_iter().map(|module| module.name).collect();
    match &context.module {
        None => Ok(installed),
        Some(module) if installed.contains(module) => Ok(vec![module.clone()]),
        Some(module) => Err(Refusal::no_module(module)),
    }
}

/// Of all modules, whichever is meant: the daemon's log is about each of them.
fn secrets(paths: &Paths) -> Result<Secrets, Refusal> {
    let mut secrets = Secrets::default();
    let store = ModuleStore::new(paths.clone());
    for module in store.list().map_err(|error| offline::refusal(&error))? {
        let name = &module.name;
        for copy in [paths.module_edited(name), paths.module_active(name)] {
            let text = std::fs::read(copy.join("conf/userconfig.xml"));
            secrets.learn_xml(&text.unwrap_or_default());
        }
        // As they are when macros have been put in.
        let config = store.active(name).map(|active| active.config);
        for (name, value) in
            config.iter().flat_map(|config| config.macros.iter().chain(&config.vars))
        {
            secrets.learn(name, value);
        }
    }
    Ok(secrets)
}

fn file_name(module: Option<&ModuleName>) -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let time = jiff::Zoned::now().strftime("%Y%m%dT%H%M%S").to_string();
    let module = module.map(|module| format!("-{module}")).unwrap_or_default();
    format!("lockstep-{}{module}-{time}.zip", name.as_deref().unwrap_or("node"))
}

fn node(archive: &mut Archive) {
    archive.text("node/lockstep.txt", concat!("lockstep ", env!("CARGO_PKG_VERSION"), "\n"));
    for (file, command) in ASKED {
        archive.text(&format!("node/{file}"), &output(command));
    }
    let packages = match Path::new("/usr/bin/dpkg-query").exists() {
        true => output(&["dpkg-query", "-W"]),
        false => output(&["rpm", "-qa"]),
    };
    archive.text("node/packages.txt", &packages);
}

/// What a program says, or why it says nothing. A dead network file system must not hold it up.
fn output(command: &[&str]) -> String {
    let mut limited = std::process::Command::new("timeout");
    limited.arg("10").args(command).stdin(std::process::Stdio::null());
    match limited.output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            String::from_utf8_lossy(&output.stdout).into_owned() + &errors
        }
        Err(error) => format!("{}: {error}\n", command.join(" ")),
    }
}

fn state(context: &mut Context<'_>, archive: &mut Archive) {
    let module = context.module.take();
    let here = offline::answer(&context.paths, &context.request(Command::ModuleList));
    let here = here.map(|response| vec![Reply::here(response)]);
    archive.text("state/modules.json", &document(Ok(here.unwrap_or_default())));
    let looked = preflight::look(&context.paths, None);
    let looked = looked.map(|response| vec![Reply::here(response)]);
    archive.text("state/preflight.json", &document(looked));
    for (name, command) in [("state.json", Command::State), ("cluster.json", Command::ClusterState)]
    {
        context.nodes = Nodes::All;
        let everywhere = context.ask(command.clone());
        context.nodes = Nodes::Local;
        let answer = everywhere.or_else(|_| context.ask(command));
        archive.text(&format!("state/{name}"), &document(answer));
    }
    context.module = module;
}

fn document(answer: Result<Vec<Reply>, Refusal>) -> String {
    let answers = match &answer {
        Ok(replies) => replies.iter().map(json::answer).collect(),
        Err(refusal) => vec![json::refusal(None, refusal)],
    };
    format!("{:#}\n", json::document(0, answers))
}

const README: &str = "\
Snapshot of a Lockstep node, made by `lockstep snapshot`.

node/     this machine       state/    what the nodes say (JSON)
cluster/  cluster.xml, log   modules/  configuration and logs of each module

Keys, certificates and tokens are not in it, and values of variables whose names speak of
passwords are masked wherever they occur. Other passwords in scripts and logs are as they are:
look them through before you give this away.
";

#[cfg(test)]
mod tests;
