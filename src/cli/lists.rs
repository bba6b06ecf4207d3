//! Lists for people: columns as wide as what stands in them, one thing a line.
use crate::api::{ProcessView, ResourceView, VersionView};

/// A line each, as scripts of `get` read them.
pub fn resource_lines(resources: &[ResourceView]) -> String {
    let line = |resource: &ResourceView| {
        let by = resource.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let since = resource.since.as_ref().map(|at| format!(" since {at}")).unwrap_or_default();
        format!("{} {}{by}{since}\n", resource.name, resource.value)
    };
    resources.iter().map(line).collect()
}

pub fn resources(resources: &[ResourceView]) -> String {
    let row = |resource: &ResourceView| {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        [resource.name.clone(), resource.value.clone(), known(&resource.by), known(&resource.since)]
    };
    table(["RESOURCE", "VALUE", "BY", "SINCE"], resources.iter().map(row).collect())
}

pub fn processes(processes: &[ProcessView]) -> String {
    if processes.is_empty() {
        return "the module watches no processes: it has no <errd>\n".to_owned();
    }
    let row = |process: &ProcessView| {
        let kind = if process.service { "service" } else { "process" };
        let value = match (process.watched, &process.value) {
            (false, _) => "not watched",
            (true, None) => "not yet seen",
            (true, Some(value)) => value,
        };
        [
            process.name.clone(),
            kind.to_owned(),
            process.class.clone(),
            process.action.clone(),
            wanted(process),
            value.to_owned(),
        ]
    };
    let heads = ["NAME", "KIND", "CLASS", "ACTION", "WANTED", "VALUE"];
    table(heads, processes.iter().map(row).collect())
}

/// With the number by which `module restore` takes them, newest first.
pub fn versions(versions: &[VersionView]) -> String {
    if versions.is_empty() {
        return "no configuration of this module was applied on this node yet\n".to_owned();
    }
    let row = |(at, version): (usize, &VersionView)| {
        let digest = version.digest.as_ref().map_or("damaged", |digest| short(digest));
        let is = match (version.applied, version.edited) {
            (true, true) => "applied, edited copy",
            (true, false) => "applied",
            (false, true) => "edited copy",
            (false, false) => "",
        };
        [(at + 1).to_string(), version.version.clone(), digest.to_owned(), is.to_owned()]
    };
    table(["NUMBER", "VERSION", "DIGEST", "IS"], versions.iter().enumerate().map(row).collect())
}

/// As much of a digest as people compare.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// How many shall run.
fn wanted(process: &ProcessView) -> String {
    match (process.at_least, process.at_most) {
        (_, Some(0)) => "none".to_owned(),
        (least, None) => format!("{least} or more"),
        (least, Some(most)) if least == most => format!("{least}"),
        (least, Some(most)) => format!("{least} to {most}"),
    }
}

/// The last column is as long as it likes.
pub fn table<const N: usize>(heads: [&str; N], rows: Vec<[String; N]>) -> String {
    let heads = heads.map(str::to_owned);
    let all: Vec<&[String; N]> = std::iter::once(&heads).chain(&rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &&[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    all.iter().map(line).collect()
}
