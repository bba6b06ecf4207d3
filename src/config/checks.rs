//! A configuration against the node it is on: what is missing here, said at a check, and what
//! forbids a start.
//!
//! Files come and go, so nothing of this is a mistake of the configuration.
use super::archive::Tree;
use super::mistake::Note;
use super::units;
use super::userconfig::{Mode, UserConfig};
use crate::model::RunBy;
use crate::model::application::NO_SYSTEMD;
use crate::ocf;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Called back with `rfs scripts="on"`.
const CALLBACK: &str = "bin/_rfs_callback";

/// What would forbid a start of this module on this node today; `file` is its userconfig.xml.
pub fn on_this_node(config: &UserConfig, tree: &Tree, file: &Path) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |line: u32, element: &str, attribute: Option<&str>, text: String| {
        let attribute = attribute.map(str::to_owned);
        let element = element.to_owned();
        notes.push(Note { file: file.to_path_buf(), line, element, attribute, text });
    };
    if config.mode != Mode::Mirror
        && let Err(text) = config.startable()
    {
        note(1, "service", Some("mode"), text);
    }
    for (line, problem) in dir_problems(config) {
        note(line, "replicated", Some("dir"), format!("{problem} (an error only at start)"));
    }
    if units::systemd_runs() {
        for (line, unit) in units::named(config).filter(|(_, unit)| units::is_enabled(unit)) {
            let text = format!("{}: {}", units::starts_at_boot(unit), units::disable(unit));
            note(line, "unit", Some("name"), text);
        }
    } else if let Some((line, _)) = units::named(config).next() {
        note(line, "unit", None, format!("{} (an error only at start)", NO_SYSTEMD));
    }
    for entry in tree.entries() {
        let starts = ["bin/start_", "bin/stop_", CALLBACK];
        let script = starts.iter().any(|start| entry.name.starts_with(start));
        if script && entry.mode & 0o111 == 0 {
            note(1, "user", None, format!("{} is not executable: chmod +x it", entry.name));
        }
    }
    let called = config.rfs.as_ref().is_some_and(|rfs| rfs.callbacks);
    if called && !tree.entries().iter().any(|entry| entry.name == CALLBACK) {
        note(1, "rfs", Some("scripts"), format!("the module has no {CALLBACK}: nothing is called"));
    }
    notes
}

/// Everything that forbids a start on this node, one sentence each; `dir` is the applied copy.
pub fn ready_to_start(config: &UserConfig, dir: &Path) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    problems.extend(config.startable().err());
    problems.extend(dir_problems(config).into_iter().map(|(_, problem)| problem));
    let script = dir.join("bin/start_prim");
    let executable = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let needed = config.applications.is_empty() || script.exists();
    if config.mode == Mode::Mirror && config.user.is_some() && needed && !executable(&script) {
        problems.push(format!("{} is missing or not executable", script.display()));
    }
    for named in &config.applications {
        let RunBy::Agent(agent) = &named.application.by else { continue };
        let path = ocf::path(&ocf::root(), agent);
        if !executable(&path) {
            problems.push(format!(
                "{}, the agent of <ocf agent={:?}>, is missing on this node or not executable: \
                 install the package that has it (resource-agents has the provider heartbeat)",
                path.display(),
                agent.title()
            ));
        }
    }
    if units::named(config).next().is_some() && !units::systemd_runs() {
        problems.push(NO_SYSTEMD.to_owned());
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Replicated directories and `tocheck` paths that are not as a start needs them, with the line
/// of `<replicated>`.
fn dir_problems(config: &UserConfig) -> Vec<(u32, String)> {
    let mut problems = Vec::new();
    for dir in config.rfs.iter().flat_map(|rfs| &rfs.dirs) {
        let mut problem = |text| problems.push((dir.line, text));
        let shown = dir.path.display();
        match fs::metadata(&dir.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => problem(format!(
                "the replicated directory {shown} does not exist on this node: create it"
            )),
            Err(error) => {
                problem(format!("the replicated directory {shown} cannot be read: {error}"));
            }
            Ok(meta) if !meta.is_dir() => {
                problem(format!("{shown} is not a directory: replicate directories only"));
            }
            Ok(_) => match fs::canonicalize(&dir.path) {
                Ok(real) if real != dir.path => problem(format!(
                    "{shown} leads through a symbolic link to {}: write that path",
                    real.display()
                )),
                _ => {}
            },
        }
        match nested_mounts(&dir.path) {
            Ok(mounts) => mounts.iter().for_each(|mount| {
                problem(format!(
                    "{} is mounted below the replicated directory {shown}: unmount it, or \
                     replicate it by itself",
                    mount.display()
                ));
            }),
            Err(error) => problem(format!("cannot read /proc/self/mountinfo: {error}")),
        }
        for path in dir.tocheck.iter().filter(|path| fs::symlink_metadata(path).is_err()) {
            let shown = path.display();
            problem(format!("{shown} (tocheck) does not exist: is its disk mounted?"));
        }
    }
    problems
}

/// Mount points strictly below `path`, each once, in the order of their names.
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read.
pub fn nested_mounts(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    Ok(mounts_below(&fs::read("/proc/self/mountinfo")?, path))
}

fn mounts_below(mountinfo: &[u8], path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescaped)
        .filter(|mount| mount != path && mount.starts_with(path))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The kernel writes space, tab, newline and backslash as `\ooo`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..3)
            .filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match digits {
            Some(digits) => {
                let value = digits.iter().fold(0u32, |value, d| value * 8 + u32::from(d - b'0'));
                out.push(value as u8);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::super::paths::Paths;
    use super::super::userconfig::Surroundings;
    use super::*;

    #[test]
    fn what_is_missing_is_a_note_at_check_and_an_error_at_start() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        fs::create_dir_all(root.join("here")).unwrap();
        fs::create_dir_all(root.join("bin")).unwrap();
        std::os::unix::fs::symlink(root.join("here"), root.join("link")).unwrap();
        let shown = root.display();
        let dir = |name: &str| {
            format!("<replicated dir=\"{shown}/{name}\"><tocheck path=\"x\"/></replicated>")
        };
        let text = format!(
            "<safe><service mode=\"mirror\"><heart><heartbeat name=\"a\"/></heart><user/>\n<rfs>{}\n{}\n{}</rfs></service></safe>",
            dir("here"),
            dir("link"),
            dir("gone")
        );
        let around = Surroundings { own_dirs: Vec::new(), ..Surroundings::of(&Paths::system()) };
        let config = UserConfig::parse(Path::new("u"), &text, &around).unwrap().config;
        let notes = on_this_node(&config, &Tree::default(), Path::new("u"));
        let lines: Vec<u32> = notes.iter().map(|note| note.line).collect();
        assert_eq!(lines, [2, 3, 3, 4, 4], "{notes:#?}");
        let problems = ready_to_start(&config, &root).unwrap_err().join("\n");
        for part in
            ["here/x (tocheck)", "symbolic link", "gone does not exist", "start_prim is missing"]
        {
            assert!(problems.contains(part), "{part}: {problems}");
        }
    }

    /// An archive that names its applications needs no start_prim; one that it has must run.
    #[test]
    fn named_applications_are_looked_for_on_this_node() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("bin")).unwrap();
        let read = |inside: &str| {
            let text = format!(
                "<safe><service mode=\"mirror\"><heart><heartbeat name=\"a\"/></heart>\n\
                 <user>{inside}</user></service></safe>"
            );
            let around = Surroundings::of(&Paths::system());
            UserConfig::parse(Path::new("u"), &text, &around).unwrap().config
        };
        let config = read("<ocf agent=\"nobody:nothing\"/><unit name=\"a\"/>");
        let problems = ready_to_start(&config, root.path()).unwrap_err();
        let agent = "/resource.d/nobody/nothing, the agent of <ocf agent=\"nobody:nothing\">, is";
        assert!(problems[0].contains(agent), "{problems:?}");
        let systemd = units::systemd_runs();
        assert_eq!(problems.contains(&NO_SYSTEMD.to_owned()), !systemd, "{problems:?}");
        assert!(!problems.iter().any(|problem| problem.contains("start_prim is")), "{problems:?}");
        let notes = on_this_node(&config, &Tree::default(), Path::new("u"));
        let said = notes.iter().find(|note| note.element == "unit");
        assert_eq!(said.map(|note| note.line), (!systemd).then_some(2), "{notes:?}");
        fs::write(root.path().join("bin/start_prim"), "").unwrap();
        let problems = ready_to_start(&config, root.path()).unwrap_err().join("\n");
        assert!(problems.contains("start_prim is missing or not executable"), "{problems}");
    }

    #[test]
    fn nested_mounts_are_strictly_below_and_unescaped() {
        let info = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 8:2 / /srv/data rw - ext4 /dev/sdb1 rw\n\
            31 30 8:3 / /srv/data/a\\040b rw - xfs /dev/sdc1 rw\n\
            32 30 8:3 / /srv/data/a\\040b rw - xfs /dev/sdc1 rw\n\
            33 22 8:4 / /srv/database rw - xfs /dev/sdd1 rw\nbroken\n";
        assert_eq!(mounts_below(info, Path::new("/srv/data")), [PathBuf::from("/srv/data/a b")]);
        assert!(mounts_below(info, Path::new("/srv/data/a b")).is_empty());
        assert!(nested_mounts(Path::new("/")).unwrap().contains(&PathBuf::from("/proc")));
    }
}
