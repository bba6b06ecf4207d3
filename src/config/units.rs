//! systemd units of a module on this node, asked of `systemctl`: whether there is a systemd, and
//! whether it starts the unit at boot by itself.
use super::userconfig::UserConfig;
use crate::model::RunBy;
use crate::model::application::SYSTEMD;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(2);
/// Exit code of timeout(1).
const TIMED_OUT: i32 = 124;

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

/// Whether systemd starts the unit at boot. One that hangs enables nothing.
pub fn is_enabled(unit: &str) -> bool {
    asked("systemctl", unit)
}

/// The same of several; `None`, and nothing after it: systemd does not answer. It has one limit for
/// all, which leaves time for the rest of a look.
pub fn enabled(units: &BTreeSet<String>) -> Vec<Option<bool>> {
    asked_each("systemctl", units, LIMIT)
}

fn asked_each(program: &str, units: &BTreeSet<String>, limit: Duration) -> Vec<Option<bool>> {
    let begin = Instant::now();
    let mut all = Vec::new();
    for unit in units {
        let left = limit.saturating_sub(begin.elapsed()).max(Duration::from_millis(1));
        let enabled = asked_within(program, unit, left);
        all.push(enabled);
        if enabled.is_none() {
            break;
        }
    }
    all
}

fn asked(program: &str, unit: &str) -> bool {
    asked_within(program, unit, LIMIT) == Some(true)
}

/// `None`: no answer in time.
fn asked_within(program: &str, unit: &str, limit: Duration) -> Option<bool> {
    let mut asked = Command::new("timeout");
    asked.args([&limit.as_secs_f64().to_string(), program, "is-enabled", "--", unit]);
    asked.stdin(Stdio::null()).stderr(Stdio::null());
    let Ok(output) = asked.output() else { return Some(false) };
    let word = String::from_utf8_lossy(&output.stdout);
    let enabled = ["enabled", "enabled-runtime"].contains(&word.trim());
    (output.status.code() != Some(TIMED_OUT)).then_some(enabled)
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
    fn a_systemd_that_hangs_is_waited_for_once() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("systemctl");
        let text = "#!/bin/sh\n[ $3 = a ] && exec echo enabled\n[ $3 = b ] && exit 1\nsleep 60\n";
        fixture::program(&program, text.as_bytes());
        let units = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        let begin = Instant::now();
        let found = asked_each(program.to_str().unwrap(), &units, LIMIT);
        assert_eq!(found, [Some(true), Some(false), None]);
        assert!(begin.elapsed() < 2 * LIMIT, "{:?}", begin.elapsed());
    }

    #[test]
    fn the_remedy_reaches_what_enables_the_unit() {
        assert_eq!(disable("web.service"), "on each node: systemctl disable web.service");
        let text = disable("postgresql@15-main.service");
        assert!(text.contains("/etc/postgresql/15/main/start.conf"), "{text}");
    }
}
