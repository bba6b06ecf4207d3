//! systemd units of a module on this node, asked of `systemctl`: whether there is a systemd, and
//! whether it starts the unit at boot by itself.
use super::userconfig::UserConfig;
use crate::model::RunBy;
use crate::model::application::SYSTEMD;
use std::path::Path;
use std::process::{Command, Stdio};

pub fn systemd_runs() -> bool {
    Path::new(SYSTEMD).is_dir()
}

/// The `<unit>` elements of a module: line and name.
pub(super) fn named(config: &UserConfig) -> impl Iterator<Item = (u32, &str)> {
    config.applications.iter().filter_map(|named| match &named.application.by {
        RunBy::Unit(unit) => Some((named.line, unit.as_str())),
        RunBy::Agent(_) => None,
    })
}

/// Whether systemd starts the unit at boot. One that hangs enables nothing, and leaves time for
/// the rest of the look.
pub fn is_enabled(unit: &str) -> bool {
    asked("systemctl", unit)
}

fn asked(program: &str, unit: &str) -> bool {
    let mut asked = Command::new("timeout");
    asked.args(["2", program, "is-enabled", "--", unit]);
    asked.stdin(Stdio::null()).stderr(Stdio::null());
    asked.output().is_ok_and(|output| {
        let word = String::from_utf8_lossy(&output.stdout);
        ["enabled", "enabled-runtime"].contains(&word.trim())
    })
}

/// What is the matter with such a unit.
pub fn starts_at_boot(unit: &str) -> String {
    format!(
        "{unit} is started by systemd at boot too: on the secondary as well, and before its \
         directory is mirrored"
    )
}

/// What to do about it. Debian's clusters of PostgreSQL are enabled by a generator, which
/// `systemctl disable` does not reach.
pub fn disable(unit: &str) -> String {
    let cluster = unit.strip_prefix("postgresql@").and_then(|rest| rest.strip_suffix(".service"));
    match cluster.and_then(|cluster| cluster.split_once('-')) {
        Some((version, name)) => format!(
            "on each node: write `manual` into /etc/postgresql/{version}/{name}/start.conf, then \
             `systemctl daemon-reload`"
        ),
        None => format!("on each node: systemctl disable {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn what_systemd_starts_at_boot_is_known_by_its_word() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("systemctl");
        let text = "#!/bin/sh\ncase \"$*\" in\n'is-enabled -- web.service') echo enabled ;;\n\
                    'is-enabled -- db.service') echo enabled-runtime ;;\n\
                    *) echo disabled; exit 1 ;;\nesac\n";
        fixture::program(&program, text.as_bytes());
        let enabled = |unit| asked(program.to_str().unwrap(), unit);
        assert!(enabled("web.service") && enabled("db.service") && !enabled("other.service"));
        assert!(!asked("/nonexistent/systemctl", "web.service"));
    }

    #[test]
    fn the_remedy_reaches_what_enables_the_unit() {
        assert_eq!(disable("web.service"), "on each node: systemctl disable web.service");
        let text = disable("postgresql@15-main.service");
        assert!(text.contains("/etc/postgresql/15/main/start.conf"), "{text}");
    }
}
