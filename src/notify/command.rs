//! A program of the administrator: the batch as JSON on its standard input, 0 means received.
use super::message::document;
use super::outbox::Batch;
use crate::config::watch::CommandConfig;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

pub(super) async fn send(config: &CommandConfig, batch: &Batch) -> Result<(), String> {
    let shown = config.path.display();
    // A group of its own: what it has started ends with it when its time is over.
    let child = Command::new(&config.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| format!("cannot start {shown}: {error}"))?;
    let group = Group(child.id());
    let text = format!("{}\n", document(batch));
    match tokio::time::timeout(config.timeout, feed(&mut child, &text)).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("{shown} ended with {status}")),
        Ok(Err(error)) => Err(format!("cannot wait for {shown}: {error}")),
        Err(_) => {
            group.kill();
            Err(format!("{shown} was ended after {:?}: it had not ended by itself", config.timeout))
        }
    }
}

async fn feed(child: &mut Child, text: &str) -> std::io::Result<std::process::ExitStatus> {
    if let Some(mut input) = child.stdin.take() {
        // It need not read: then its exit code alone counts.
        let _ = input.write_all(text.as_bytes()).await;
    }
    child.wait().await
}

struct Group(Option<u32>);

impl Group {
    /// Only while the program has not been waited for, so the number is still its own.
    fn kill(&self) {
        let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()) else { return };
        let _ = nix::sys::signal::killpg(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}
