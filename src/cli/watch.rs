//! `metrics` and `watch …`: how the node and its modules stand, for programs that watch.
use super::args::WatchVerb;
use super::cluster::{done, machine_name, only_here};
use super::context::{Context, failed, io_refusal, usage};
use super::files;
use crate::api::client::ClientError;
use crate::api::{Command, Data, Exit, Refusal, Response};
use crate::config::WatchConfig;
use crate::metrics;
use crate::model::NodeName;
use crate::notify::{self, Batch, Code, Notification, Severity};
use crate::trust::Pki;
use jiff::Timestamp;
use std::path::{Path, PathBuf};

pub fn carry_out(context: &mut Context<'_>, verb: WatchVerb) -> Result<u8, Refusal> {
    match verb {
        WatchVerb::Check { file } => {
            only_here(context)?;
            let (file, config) = load(context, file)?;
            let notes: String = config.notes.iter().map(|note| format!("{note}\n")).collect();
            Ok(done(context, format!("{notes}{} has no mistakes", file.display())))
        }
        WatchVerb::Apply => {
            context.module = None;
            let replies = context.ask(Command::WatchApply)?;
            Ok(context.show(&replies))
        }
        WatchVerb::Test { file } => {
            only_here(context)?;
            let (file, config) = load(context, file)?;
            test(context, &file, &config)
        }
    }
}

/// From this process, so that a file can be tried before it is applied.
fn test(context: &mut Context<'_>, file: &Path, config: &WatchConfig) -> Result<u8, Refusal> {
    if config.receivers.is_empty() {
        return Err(usage(format!("{} names no mail, webhook or command", file.display())));
    }
    let batch = test_batch(node(context)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(format!("start the network part: {error}")))?;
    let mut lines = Vec::new();
    let mut bad = 0;
    for (name, receiver) in notify::prepare(&config.receivers) {
        let result = match receiver {
            Err(reason) => Err(reason),
            Ok(receiver) => runtime.block_on(receiver.send(&batch)).map(|()| receiver.target),
        };
        bad += usize::from(result.is_err());
        lines.push(match result {
            Ok(target) => format!("{name}: delivered to {target}"),
            Err(reason) => format!("{name}: failed: {reason}"),
        });
    }
    if bad > 0 {
        lines.push(format!("{bad} of {} failed", config.receivers.len()));
        return Err(failed(lines.join("\n")));
    }
    Ok(done(context, lines.join("\n")))
}

fn test_batch(node: NodeName) -> Batch {
    let time = Timestamp::now();
    let event = Notification {
        code: Code::Test,
        severity: Severity::Info,
        time,
        text: format!("this is a test from node {node}"),
        node: node.clone(),
        module: None,
        advice: String::new(),
    };
    let id = format!("{node}-test-{}", time.as_millisecond());
    Batch { id, events: vec![event], dropped: 0 }
}

/// The node's name in its cluster; before it has one, the machine's.
fn node(context: &Context<'_>) -> Result<NodeName, Refusal> {
    match Pki::load(&context.paths.pki()) {
        Ok(pki) => Ok(pki.node().clone()),
        Err(_) => machine_name(),
    }
}

fn load(context: &Context<'_>, file: Option<PathBuf>) -> Result<(PathBuf, WatchConfig), Refusal> {
    let file = file.unwrap_or_else(|| context.paths.watch_xml());
    let config = WatchConfig::load(&file).map_err(|mistakes| usage(mistakes.to_string()))?;
    Ok((file, config))
}

/// A daemon that does not answer is a number too: an alert can be made of it. That the caller may
/// not ask says nothing of the daemon.
pub fn metrics(context: &mut Context<'_>, output: Option<&Path>) -> Result<u8, Refusal> {
    only_here(context)?;
    context.module = None;
    let request = context.request(Command::Metrics);
    let replies = match context.send(&request) {
        Ok(replies) => replies,
        Err(error) => {
            let down = matches!(
                error,
                ClientError::NotRunning(_) | ClientError::TimedOut { .. } | ClientError::Cut
            );
            match output {
                _ if matches!(error, ClientError::NotAuthorised(_)) => {}
                // Whatever went wrong: old numbers must not pass for those of now.
                Some(file) => replace(file, metrics::DOWN)?,
                None if down && !context.json => context.print(metrics::DOWN),
                None => {}
            }
            return Err(super::ask::refusal(&error));
        }
    };
    match (output, replies.last().map(|reply| &reply.response)) {
        (Some(file), Some(Response::Data { data: Data::Metrics(text) })) => {
            replace(file, text)?;
            Ok(0)
        }
        (Some(file), Some(Response::Refused(refusal))) if refusal.exit != Exit::NotAuthorised => {
            replace(file, metrics::DOWN)?;
            Ok(context.show(&replies))
        }
        _ => Ok(context.show(&replies)),
    }
}

fn replace(file: &Path, text: &str) -> Result<(), Refusal> {
    files::replace(file, text.as_bytes(), 0o644).map_err(|error| io_refusal("write", file, &error))
}
