//! How systemd is told: `systemctl start` and `stop` end when the job has ended, so a start returns
//! when the unit says that it is up (`Type=notify`, `forking`, `exec` …) and a stop when all its
//! processes have gone. `--wait` is not what is meant: with it a start waits for the unit's end.

/// Words of `systemctl` before the name of the unit.
pub(super) fn words(action: &str) -> Vec<&str> {
    match action {
        "monitor" => vec!["is-active"],
        "kill" => vec!["kill", "--signal=SIGKILL"],
        other => other.split(' ').collect(),
    }
}

/// What a code of `systemctl start` or `stop` means, and what to do about it.
pub(super) fn meaning(name: &str, code: i32) -> String {
    match code {
        4 => format!("systemd does not allow it: the daemon must run as root to start {name}"),
        5 => format!(
            "systemd does not know {name} on this node: install it as on the other node, then \
             `systemctl daemon-reload`"
        ),
        6 => format!("{name} cannot be started as it is configured: see `systemctl cat {name}`"),
        _ => format!("see `systemctl status {name}` and `journalctl -u {name}`"),
    }
}
