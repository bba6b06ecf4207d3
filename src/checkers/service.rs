//! Whether a systemd unit is active, asked of `systemctl`.
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// An answer takes milliseconds; a manager that is starting up itself takes seconds.
const LIMIT: Duration = Duration::from_secs(10);

/// The way to the manager of services.
#[derive(Clone, Debug)]
pub(super) struct Manager {
    /// Exists while systemd runs (sd_booted(3)).
    sign: PathBuf,
    program: PathBuf,
}

impl Manager {
    pub(super) fn system() -> Manager {
        Manager { sign: "/run/systemd/system".into(), program: "systemctl".into() }
    }

    #[cfg(test)]
    pub(super) fn at(sign: &std::path::Path, program: &std::path::Path) -> Manager {
        Manager { sign: sign.into(), program: program.into() }
    }

    pub(super) fn runs(&self) -> bool {
        self.sign.is_dir()
    }

    /// The error says why nothing is known.
    pub(super) async fn is_active(&self, unit: &str) -> Result<bool, String> {
        let mut asked = Command::new(&self.program);
        asked.args(["is-active", "--quiet", "--", unit]).kill_on_drop(true);
        asked.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match timeout(LIMIT, asked.status()).await {
            Ok(Ok(status)) => match status.code() {
                Some(0) => Ok(true),
                // Not active, and no such unit. Other numbers say nothing about the unit.
                Some(3 | 4) => Ok(false),
                _ => Err(format!("systemctl is-active {unit} ended with {status}")),
            },
            Ok(Err(error)) => Err(format!("cannot run {}: {error}", self.program.display())),
            Err(_) => Err(format!("no answer about {unit} from systemctl")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[tokio::test]
    async fn a_unit_is_asked_for_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("systemctl");
        let text = "#!/bin/sh\ncase \"$*\" in\n'is-active --quiet -- web') exit 0 ;;\n\
                    'is-active --quiet -- bus') exit 1 ;;\nesac\nexit 3\n";
        fixture::program(&program, text.as_bytes());
        let manager = Manager { sign: dir.path().into(), program };
        assert!(manager.runs());
        assert_eq!(manager.is_active("web").await, Ok(true));
        assert_eq!(manager.is_active("other").await, Ok(false));
        assert!(manager.is_active("bus").await.is_err(), "systemctl itself failed");
        let none = dir.path().join("none");
        let manager = Manager { sign: none.clone(), program: none };
        assert!(!manager.runs());
        assert!(manager.is_active("web").await.unwrap_err().contains("cannot run"));
    }
}
