//! One module on this machine: what a start, a take-over or a reboot would stumble over.
use super::{Seen, compare, node};
use crate::api::{Finding, Grade};
use crate::config::checks::ready_to_start;
use crate::config::paths::Paths;
use crate::config::store::{ActiveModule, Installed, ModuleStore};
use crate::config::units;
use crate::config::userconfig::UserConfig;
use crate::model::RunBy;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const DATA_BYTES_LOW: u64 = 256 << 20;
const DATA_BYTES_MIN: u64 = 4 << 20;

pub(super) fn look(paths: &Paths, store: &ModuleStore, installed: &Installed) -> Seen {
    let Seen { mut findings, mut owners } = Seen::default();
    let name = &installed.name;
    let place = format!("module {name}");
    let mut say = |grade, check: &str, text: &str, remedy: &str| {
        findings.push(Finding::new(grade, check, &place, text, remedy));
    };
    let active = match store.active(name) {
        Ok(active) => active,
        Err(error) => {
            let remedy = format!("lockstep confcheck -m {name}, then lockstep config -m {name}");
            say(Grade::Failure, "configuration", &error.to_string(), &remedy);
            return Seen { findings, owners };
        }
    };
    if installed.edited != active.digest {
        let text = "has been edited since it was configured; what is looked at is the applied copy";
        say(Grade::Note, "edited", text, &format!("lockstep config -m {name}, when it is stopped"));
    }
    if let Err(problems) = ready_to_start(&active.config, &active.dir) {
        for problem in problems {
            say(Grade::Failure, "start", &format!("will not start: {problem}"), "");
        }
    }
    if let Some(text) = port_taken(paths, &active) {
        say(Grade::Failure, "port", &text, "ss -ulpn names the process: end it, or move it");
    }
    let services = services(&active.config);
    for (service, enabled) in services.iter().zip(units::enabled(&services)) {
        match enabled {
            Some(true) => {
                let text = format!("its service {}", units::starts_at_boot(service));
                say(Grade::Failure, "autostart", &text, &units::disable(service));
            }
            Some(false) => {}
            None => {
                let text =
                    format!("systemd does not say in time whether it starts {service} at boot too");
                let remedy = "timeout 5 systemctl is-system-running";
                say(Grade::Warning, "systemd", &text, remedy);
            }
        }
    }
    scripts(&active.dir.join("bin"), &mut findings);
    for dir in active.config.rfs.iter().flat_map(|rfs| &rfs.dirs) {
        findings.extend(node::room(&dir.path, DATA_BYTES_LOW, DATA_BYTES_MIN));
        owners.extend(compare::owners(name, &dir.path));
    }
    Seen { findings, owners }
}

/// The data link's port is somebody else's; an engine that runs holds it rightly.
fn port_taken(paths: &Paths, active: &ActiveModule) -> Option<String> {
    active.config.rfs.as_ref()?;
    if paths.engine_socket(&active.name).exists() {
        return None;
    }
    let port = u16::try_from(super::super::module::data_port(active.id).ok()?).ok()?;
    match UdpSocket::bind(("::", port)).or_else(|_| UdpSocket::bind(("0.0.0.0", port))) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Some(format!("its data link needs UDP port {port}, which another process has"))
        }
        _ => None,
    }
}

/// Units of systemd that the module starts and stops.
fn services(config: &UserConfig) -> BTreeSet<String> {
    let watched = config.errd.iter().flat_map(|errd| &errd.procs).filter(|proc| proc.service);
    let listed = config.vars.iter().filter(|(name, _)| name == "SERVICES");
    let listed = listed.flat_map(|(_, value)| value.split([',', ' ']));
    let named = config.applications.iter().filter_map(|named| match &named.application.by {
        RunBy::Unit(unit) => Some(unit.as_str()),
        RunBy::Agent(_) => None,
    });
    let names = watched.map(|proc| proc.name.as_str()).chain(listed).chain(named);
    names.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn scripts(bin: &Path, findings: &mut Vec<Finding>) {
    let mut files: Vec<PathBuf> =
        fs::read_dir(bin).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        if let Some((text, remedy)) = unfit(&file) {
            let place = file.display().to_string();
            findings.push(Finding::new(Grade::Failure, "script", &place, &text, &remedy));
        }
    }
}

/// Why this script cannot be run: what and remedy. Files that no transition calls by themselves
/// may be anything.
fn unfit(file: &Path) -> Option<(String, String)> {
    let name = file.file_name()?.to_str()?;
    let called = ["start_", "stop_", "prestart", "poststop", "transition"];
    if !called.iter().any(|begin| name.starts_with(begin)) || !file.is_file() {
        return None;
    }
    let remedy =
        |text: &str| format!("in the edited copy: {text}; then configure the module again");
    let mode = fs::metadata(file).ok()?.permissions().mode();
    if mode & 0o111 == 0 {
        return Some(("is not executable".to_owned(), remedy(&format!("chmod +x bin/{name}"))));
    }
    let bytes = fs::read(file).ok()?;
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(first.strip_prefix(b"#!")?).into_owned();
    if line.ends_with('\r') {
        let text = "has line ends of Windows: its interpreter is not found".to_owned();
        return Some((text, remedy(&format!("sed -i 's/\\r$//' bin/{name}"))));
    }
    let mut words = line.split_whitespace();
    let interpreter = words.next().unwrap_or_default();
    let wanted = match interpreter.ends_with("/env") {
        true => words.find(|word| !word.starts_with('-')).unwrap_or_default(),
        false => interpreter,
    };
    let there = match wanted.contains('/') {
        true => Path::new(wanted).exists(),
        false => in_path(wanted),
    };
    let text = format!("wants the interpreter {wanted}, which is not on this node");
    (!there).then(|| (text, "install it, or write another first line".to_owned()))
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::userconfig::Surroundings;

    #[test]
    fn units_that_the_module_starts_are_looked_at() {
        let text = "<safe><service mode=\"mirror\"><heart><heartbeat name=\"a\"/></heart><user>\
                    <var name=\"SERVICES\" value=\"old\"/><unit name=\"web\"/></user>\
                    </service></safe>";
        let around = Surroundings::of(&Paths::system());
        let config = UserConfig::parse(Path::new("u"), text, &around).unwrap().config;
        assert_eq!(services(&config).into_iter().collect::<Vec<_>>(), ["old", "web.service"]);
    }

    #[test]
    fn scripts_that_cannot_run_are_told_with_their_remedy() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text, mode, said) in [
            ("start_prim", "#!/bin/sh\ntrue\n", 0o755, None),
            ("start_both", "#!/usr/bin/env sh\n", 0o755, None),
            ("prestart", "\x7fELF", 0o755, None),
            ("stop_prim", "#!/bin/sh\n", 0o644, Some("not executable")),
            ("start_second", "#!/opt/none/ksh\n", 0o755, Some("/opt/none/ksh")),
            ("stop_second", "#!/usr/bin/env -S nosuchperl\n", 0o755, Some("nosuchperl")),
            ("stop_both", "#!/bin/sh\r\ntrue\r\n", 0o755, Some("Windows")),
            ("notes.txt", "#!/opt/none/ksh\n", 0o644, None),
        ] {
            let file = dir.path().join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let found = unfit(&file);
            match said {
                None => assert_eq!(found, None, "{name}"),
                Some(said) => {
                    let (text, remedy) = found.unwrap_or_else(|| panic!("{name}: nothing"));
                    assert!(text.contains(said) && !remedy.is_empty(), "{name}: {text}: {remedy}");
                }
            }
        }
    }
}
