//! Boots the server (`automatic_reboot`). Where it cannot be booted the module is started again
//! here: an application that stays stopped helps nobody.
use super::module::Control;
use crate::decide::{Caller, Event, StartKind, Wish};
use crate::logbook::{Level, texts};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// Environment of the daemon: what is run instead, e.g. in a test, which must not boot its machine.
const INSTEAD: &str = "LOCKSTEP_REBOOT";
/// Exists where systemd is the first process (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";
/// It only asks the first process; a shutdown takes as long as it takes after that.
const LIMIT: Duration = Duration::from_secs(60);

impl Control {
    pub(super) fn reboot(&mut self) {
        let words = command(std::env::var_os(INSTEAD), Path::new(SYSTEMD).is_dir());
        let (journal, events) = (self.hands.journal.clone(), self.events.clone());
        let ticket = self.ticket();
        tokio::spawn(async move {
            let Err(reason) = run(&words, LIMIT).await else { return };
            let text = format!("The server was not rebooted: {reason}; the module starts again");
            journal.write("control", texts::other("reboot-failed", Level::Critical, text));
            let wish = Wish::Start(StartKind::Normal);
            let caller = Caller::Identity("reboot".to_owned());
            let _ = events.send(Event::Wish { ticket, wish, caller }).await;
        });
    }
}

fn command(instead: Option<OsString>, systemd: bool) -> Vec<OsString> {
    match instead.filter(|program| !program.is_empty()) {
        Some(program) => vec![program],
        None if systemd => vec!["systemctl".into(), "reboot".into()],
        None => vec!["reboot".into()],
    }
}

/// Returns when the program has ended well, or says how it did not.
async fn run(words: &[OsString], limit: Duration) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let name = program.to_string_lossy();
    let ends = Command::new(program).args(arguments).kill_on_drop(true).status();
    match tokio::time::timeout(limit, ends).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("{name}: {status}")),
        Ok(Err(error)) => Err(format!("{name}: {error}")),
        Err(_) => Err(format!("{name}: it had not ended after {limit:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_environment_names_another_program() {
        assert_eq!(command(Some("/x/y".into()), true), ["/x/y"]);
        assert_eq!(command(None, true), ["systemctl", "reboot"]);
        assert_eq!(command(Some(OsString::new()), false), ["reboot"]);
    }

    #[tokio::test]
    async fn a_failure_is_named() {
        let run = async |words: &[OsString]| run(words, LIMIT).await;
        assert_eq!(run(&["true".into()]).await, Ok(()));
        assert_eq!(run(&["false".into()]).await, Err("false: exit status: 1".to_owned()));
        let error = run(&["/no/such".into()]).await.unwrap_err();
        assert!(error.starts_with("/no/such: No such file"), "{error}");
    }

    /// The module would stay stopped for ever.
    #[tokio::test]
    async fn a_program_that_hangs_is_a_failure_too() {
        let words = ["sleep".into(), "infinity".into()];
        let ended = tokio::time::timeout(LIMIT, run(&words, Duration::from_millis(20))).await;
        assert_eq!(ended.unwrap(), Err("sleep: it had not ended after 20ms".to_owned()));
    }
}
