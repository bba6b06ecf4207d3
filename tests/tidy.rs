//! Goal: the house rules that a machine can keep. Parts import only what `architecture.md` allows,
//! so that the roads of a write and of a decision stay visible; nothing unfinished is left behind.
#![allow(clippy::unwrap_used)]
use std::path::{Path, PathBuf};

/// Each part and the parts it may use. Itself goes without saying.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &["model"]),
    ("history", &["model"]),
    ("decide", &["model", "history"]),
    ("rules", &["decide"]),
    ("disk", &["model", "wire", "history"]),
    ("capture", &["disk"]),
    // Parameters are checked against what an agent says of itself.
    ("config", &["model", "rules", "ocf"]),
    ("ocf", &["model"]),
    ("trust", &["model"]),
    ("link", &["model", "trust", "wire"]),
    ("watch", &[]),
    ("actions", &["model", "watch", "ocf"]),
    // Its programs are started as scripts are, its addresses looked up as virtual ones are.
    ("checkers", &["model", "config", "watch", "actions"]),
    ("logbook", &["model", "config"]),
    ("api", &["model", "config", "logbook", "peer"]),
    ("metrics", &["model", "api"]),
    ("notify", &["model", "config", "trust", "api", "metrics"]),
    ("peer", &["model", "config", "trust", "watch", "api"]),
    ("engine", &["model", "wire", "history", "disk", "capture", "link", "trust", "actions"]),
    (
        "node",
        &[
            "model", "history", "decide", "rules", "config", "trust", "watch", "actions",
            "logbook", "api", "peer", "cli", "capture", "checkers", "metrics", "notify",
        ],
    ),
    (
        "cli",
        &[
            "model", "config", "trust", "watch", "logbook", "api", "peer", "engine", "node",
            "capture", "metrics", "notify",
        ],
    ),
];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Parts named behind `crate::`, grouped imports too.
fn used(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let name = name.trim();
            parts.push(name[..name.find(|c| !word(c)).unwrap_or(name.len())].to_owned());
        }
    }
    parts
}

#[test]
fn parts_use_only_what_they_may() {
    let mut wrong = Vec::new();
    for (part, allowed) in ALLOWED {
        for file in sources(&src().join(part)) {
            let text = std::fs::read_to_string(&file).unwrap();
            for other in used(&text) {
                let known = ALLOWED.iter().any(|(name, _)| *name == other);
                if known && other != *part && !allowed.contains(&other.as_str()) {
                    wrong.push(format!("{}: {part} may not use {other}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_part_has_its_row() {
    let declared = std::fs::read_to_string(src().join("lib.rs")).unwrap();
    for line in declared.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let part = line.trim_end_matches(';');
        assert!(ALLOWED.iter().any(|(name, _)| *name == part), "{part} has no row in ALLOWED");
    }
}

#[test]
fn nothing_unfinished_is_left_behind() {
    let marks = ["TODO", "FIXME", "todo!", "unimplemented!"];
    let mut found = Vec::new();
    for file in sources(&src()) {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The daemon is started again by every update of the package: what is bound to it would stop
/// all modules then.
#[test]
fn the_modules_outlive_a_restart_of_the_daemon() {
    let path = src().join("../conf/systemd/lockstep-modules.service");
    let text = std::fs::read_to_string(path).unwrap();
    let daemon = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let mut units = lines.filter(|(key, _)| *key == name).map(|(_, units)| units);
        units.any(|units| units.split_whitespace().any(|unit| unit == "lockstep.service"))
    };
    for binding in ["Requires", "Requisite", "BindsTo", "PartOf", "StopPropagatedFrom"] {
        assert!(!daemon(binding), "{binding}=lockstep.service stops the modules with the daemon");
    }
    assert!(daemon("Wants") && daemon("After"), "it asks the daemon, which ends after it");
}
