//! `preflight`: what would keep a node or a module from working, found before it matters.
//!
//! ```text
//! node     this machine: kernel, disks, addresses, certificate     ┐ on each node that is meant,
//! module   its scripts, directories, ports, services of systemd    ┘ with or without a daemon
//! links    what the daemons say of the ways between the nodes       asked by the command
//! compare  clocks, numbers of the owners: answers side by side      in the command
//! ```
//! A failure is what will not work; a warning is what works today; a note is good to know. Nothing
//! is changed, and nothing of Lockstep decides by what is found here.
use super::context::{Context, failed};
use super::offline;
use crate::api::{Command, Data, Exit, Nodes, Refusal, Reply, Response};
use crate::api::{Finding, Grade, OwnerView, PreflightView};
use crate::config::paths::Paths;
use crate::config::store::ModuleStore;
use crate::model::ModuleName;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

mod compare;
mod links;
mod module;
mod node;

/// A mount whose server or engine is gone never answers, and that is what is being looked for.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What one look has found.
#[derive(Default)]
struct Seen {
    findings: Vec<Finding>,
    owners: Vec<OwnerView>,
}

impl Seen {
    fn of(findings: Vec<Finding>) -> Seen {
        Seen { findings, owners: Vec::new() }
    }
}

/// What is being looked at: at most one thread waits for a dead mount, however often it is asked.
static LOOKS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static LOOK_ENDED: Condvar = Condvar::new();

struct OneLook(String);

impl OneLook {
    /// After the one that is under way; `None`: it does not end.
    fn begin(of: String, limit: Duration) -> Option<OneLook> {
        let looks = LOOKS.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = LOOK_ENDED.wait_timeout_while(looks, limit, |looks| looks.contains(&of));
        let (mut looks, _) = waited.unwrap_or_else(PoisonError::into_inner);
        looks.insert(of.clone()).then(|| OneLook(of))
    }
}

impl Drop for OneLook {
    fn drop(&mut self) {
        LOOKS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        LOOK_ENDED.notify_all();
    }
}

/// A look on a thread of its own; its silence is a finding, and the thread is left behind. `of`:
/// makes it one with others that look at the same.
fn limited(
    of: &Paths,
    place: &str,
    limit: Duration,
    look: impl FnOnce() -> Seen + Send + 'static,
) -> Seen {
    let found = |check: &str, text: &str, remedy: &str| {
        Seen::of(vec![Finding::new(Grade::Failure, check, place, text, remedy)])
    };
    let (tell, told) = std::sync::mpsc::channel();
    let answer = match OneLook::begin(format!("{} {place}", of.lib.display()), limit) {
        Some(one) => {
            std::thread::spawn(move || {
                let seen = look();
                drop(one);
                tell.send(seen)
            });
            told.recv_timeout(limit)
        }
        None => Err(RecvTimeoutError::Timeout),
    };
    match answer {
        Ok(seen) => seen,
        Err(RecvTimeoutError::Timeout) => {
            let text =
                format!("cannot be looked at: a file system did not answer within {limit:?}");
            let remedy = "`cat /proc/mounts` names the mounts, `timeout 5 stat` on each of them \
                          finds the one that hangs";
            found("silent", &text, remedy)
        }
        Err(RecvTimeoutError::Disconnected) => {
            let text =
                "cannot be looked at: the look itself has failed, which is a mistake of Lockstep";
            let remedy = "report it with the output of this command, and daemon.log";
            found("look-failed", text, remedy)
        }
    }
}

/// What this machine says of itself, and of the module or of all that are installed.
pub fn look(paths: &Paths, module: Option<&ModuleName>) -> Result<Response, Refusal> {
    let clock = format!("{:.6}", jiff::Timestamp::now());
    let own = paths.clone();
    let mut seen = limited(paths, "this node", LOOK_LIMIT, move || Seen::of(node::look(&own)));
    let store = ModuleStore::new(paths.clone());
    let installed = store.list().map_err(|error| offline::refusal(&error))?;
    let known = |name: &ModuleName| installed.iter().any(|module| module.name == *name);
    if let Some(name) = module
        && !known(name)
    {
        return Ok(Response::no_module(name));
    }
    for installed in installed.into_iter().filter(|one| module.is_none_or(|m| one.name == *m)) {
        let place = format!("module {}", installed.name);
        let (own, store) = (paths.clone(), store.clone());
        let look = move || module::look(&own, &store, &installed);
        let found = limited(paths, &place, LOOK_LIMIT, look);
        seen.findings.extend(found.findings);
        seen.owners.extend(found.owners);
    }
    let Seen { findings, owners } = seen;
    let accounts = compare::accounts();
    Ok(Response::data(Data::Preflight(PreflightView { clock, findings, owners, accounts })))
}

pub fn preflight(context: &mut Context<'_>) -> Result<u8, Refusal> {
    let mut replies = context.do_or_ask(Command::Preflight)?;
    let daemon = context.daemon_answers();
    if daemon {
        if let Err(refusal) = links::add(context, &mut replies) {
            let text = format!("does not say how the ways to other nodes are: {}", refusal.text);
            for view in views(&mut replies) {
                let daemon = "lockstep daemon";
                view.findings.push(Finding::new(Grade::Failure, "daemon", daemon, &text, ""));
            }
        }
    } else if let Some(view) = views(&mut replies).into_iter().next() {
        view.findings.push(Finding::new(
            Grade::Failure,
            "daemon",
            "lockstep daemon",
            "does not run on this node, so the ways to the other nodes were not tried",
            "start it as root: lockstep daemon",
        ));
    }
    if context.nodes == Nodes::Local {
        for view in views(&mut replies) {
            let text = "clocks and owners of two nodes are compared with -H '*' only";
            view.findings.push(Finding::new(Grade::Note, "one-node", "this node", text, ""));
        }
    }
    compare::add(&mut replies);
    if replies.is_empty() {
        return Err(failed("no node has answered; see `lockstep cluster state`"));
    }
    let fails = views(&mut replies).iter().any(|view| view.worst() == Some(Grade::Failure));
    let exit = if fails { Exit::Refused as u8 } else { 0 };
    Ok(context.show_at(&replies, exit, |data| match data {
        Data::Preflight(view) => text(view),
        other => super::state::text(other, false),
    }))
}

/// The findings of those that answered.
fn views(replies: &mut [Reply]) -> Vec<&mut PreflightView> {
    replies
        .iter_mut()
        .filter_map(|reply| match &mut reply.response {
            Response::Data { data: Data::Preflight(view) } => Some(view),
            _ => None,
        })
        .collect()
}

/// The worst first; then what it means for the person who asked.
fn text(view: &PreflightView) -> String {
    let mut findings: Vec<&Finding> = view.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.grade));
    let mut text = String::new();
    for finding in findings {
        let grade = finding.grade.as_str();
        let _ = writeln!(text, "{grade:<8} {}: {}", finding.place, finding.text);
        if !finding.remedy.is_empty() {
            let _ = writeln!(text, "{:<8} -> {}", "", finding.remedy);
        }
    }
    let count = |grade| view.findings.iter().filter(|finding| finding.grade == grade).count();
    let (failures, warnings) = (count(Grade::Failure), count(Grade::Warning));
    let verdict = match (failures, warnings) {
        (0, 0) => "ready".to_owned(),
        (0, _) => format!("ready, with {warnings} to look at"),
        _ => format!("not ready: {failures} will fail, {warnings} more to look at"),
    };
    text + &verdict + "\n"
}

#[cfg(test)]
mod tests;
