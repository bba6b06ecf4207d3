//! Two nodes side by side: their clocks, and whether the numbers under which files are replicated
//! mean the same people on both.
use crate::api::{AccountView, Data, Finding, Grade, OwnerView, PreflightView, Reply, Response};
use crate::model::{ModuleName, NodeName};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Entries of a directory whose owners are looked at, besides its own.
const ENTRIES_MAX: usize = 1000;
/// People compare logs of both nodes by their times.
const CLOCK_DIFFERENCE_MS: u128 = 1000;

/// Who owns the directory and what stands in it.
pub fn owners(module: &ModuleName, dir: &Path) -> Vec<OwnerView> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(ENTRIES_MAX);
    let metas = entries.filter_map(|entry| entry.metadata().ok());
    let all: BTreeSet<(bool, u32)> = fs::metadata(dir)
        .into_iter()
        .chain(metas)
        .flat_map(|meta| [(false, meta.uid()), (true, meta.gid())])
        .collect();
    let (module, dir) = (module.clone(), dir.to_owned());
    let owner = |(group, id)| OwnerView { module: module.clone(), dir: dir.clone(), group, id };
    all.into_iter().map(owner).collect()
}

/// The users and groups that the node's own files name. Those of a directory service are the same
/// everywhere.
pub fn accounts() -> Vec<AccountView> {
    let of = |path: &str, group: bool| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let account = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            Some(AccountView { group, name, id: fields.nth(1)?.parse().ok()? })
        };
        text.lines().filter_map(account).collect::<Vec<_>>()
    };
    [of("/etc/passwd", false), of("/etc/group", true)].concat()
}

/// Compares every two nodes that have answered; a finding stands with the first of them.
pub fn add(replies: &mut [Reply]) {
    let told: Vec<(NodeName, PreflightView)> = replies
        .iter()
        .filter_map(|reply| match (&reply.node, &reply.response) {
            (Some(node), Response::Data { data: Data::Preflight(view) }) => {
                Some((node.clone(), view.clone()))
            }
            _ => None,
        })
        .collect();
    for (at, (node, view)) in told.iter().enumerate() {
        let mut found: Vec<Finding> = Vec::new();
        for (other, theirs) in &told[at + 1..] {
            found.extend(clocks(node, view, other, theirs));
        }
        for (other, theirs) in told.iter().filter(|(other, _)| other != node) {
            found.extend(view.owners.iter().filter_map(|owner| {
                numbers(owner, (node, &view.accounts), (other, &theirs.accounts))
            }));
        }
        let same = |reply: &&mut Reply| reply.node.as_ref() == Some(node);
        let reply = replies.iter_mut().find(same);
        if let Some(Response::Data { data: Data::Preflight(view) }) =
            reply.map(|reply| &mut reply.response)
        {
            view.findings.append(&mut found);
        }
    }
}

fn clocks(
    node: &NodeName,
    view: &PreflightView,
    other: &NodeName,
    theirs: &PreflightView,
) -> Option<Finding> {
    let here: jiff::Timestamp = view.clock.parse().ok()?;
    let there: jiff::Timestamp = theirs.clock.parse().ok()?;
    let apart = here.duration_since(there).unsigned_abs().as_millis();
    let text = format!(
        "{node} and {other} are {}.{} s apart; nothing depends on it, but their logs are hard to \
         read side by side",
        apart / 1000,
        apart % 1000 / 100
    );
    let remedy = "let chrony or systemd-timesyncd run on both";
    (apart >= CLOCK_DIFFERENCE_MS)
        .then(|| Finding::new(Grade::Note, "clock", "clocks", &text, remedy))
}

/// Files travel with numbers; here the names are compared that people think of.
fn numbers(
    owner: &OwnerView,
    (node, here): (&NodeName, &[AccountView]),
    (other, there): (&NodeName, &[AccountView]),
) -> Option<Finding> {
    let OwnerView { dir, group, id, .. } = owner;
    let kind = if *group { "group" } else { "user" };
    let named = |accounts: &[AccountView]| {
        let found = accounts.iter().find(|known| known.group == *group && known.id == *id);
        found.map(|known| known.name.clone())
    };
    // Without a name here, nobody's files are meant.
    let name = named(here)?;
    let place = dir.display().to_string();
    let finding = |grade, text: String| {
        let remedy = format!(
            "give {kind} {name} the number {id} on {other} (usermod -u, groupmod -g) and change \
             the owner of what it has there"
        );
        Some(Finding::new(grade, "owner", &place, &text, &remedy))
    };
    match (named(there), there.iter().find(|known| known.group == *group && known.name == name)) {
        (Some(theirs), _) if theirs == name => None,
        (Some(theirs), _) => finding(
            Grade::Failure,
            format!("{kind} {name} of {node} has number {id}, which is {theirs} on {other}"),
        ),
        (None, Some(known)) => finding(
            Grade::Failure,
            format!("{kind} {name} has number {id} on {node} and {} on {other}", known.id),
        ),
        (None, None) => finding(
            Grade::Warning,
            format!("{kind} {name} ({id}) of {node} is not known on {other}"),
        ),
    }
}
