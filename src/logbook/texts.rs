//! Every text of a module's log with its stable code, in one place.
//!
//! The words are the ones that administrators of such clusters search their logs for; they are an
//! interface and change only with a note in the CHANGELOG. Where a person must do something, the
//! text names the command. Each function returns a [`Text`]; `Entry::now` makes it a log line.
use super::Level;
use crate::model::State;

/// A text with its level and stable code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub code: &'static str,
    pub level: Level,
    pub text: String,
}

fn text(code: &'static str, level: Level, text: impl Into<String>) -> Text {
    Text { code, level, text: text.into() }
}

// What was asked for.

/// `Action start called by root@pts/0`.
pub fn action_called(action: &str, caller: &str) -> Text {
    text("action-called", Level::User, format!("Action {action} called by {caller}"))
}

pub fn action_at_boot() -> Text {
    text("action-boot", Level::User, "Action start called at boot time")
}

pub fn action_automatic(action: &str) -> Text {
    text("action-automatic", Level::Event, format!("Action {action} called automatically"))
}

/// The peer said good-bye.
pub fn alone_remote_stop() -> Text {
    text("alone-remote-stop", Level::Event, "Action alone called by heart: remote stop")
}

/// Every heartbeat has been missing for the time limit.
pub fn alone_no_heartbeat() -> Text {
    text("alone-no-heartbeat", Level::Event, "Action alone called by heart: no heartbeat")
}

pub fn stop_local_fault() -> Text {
    text("stop-local-fault", Level::Critical, "Action stop called by heart : local fault")
}

pub fn stop_maxloop() -> Text {
    text("stop-maxloop", Level::Critical, "Action stop called by maxloop")
}

/// `restart` or `stopstart`, by `errd`, `modulecheck` or a script's own identity.
pub fn action_by(action: &str, by: &str) -> Text {
    text("action-by", Level::Event, format!("Action {action} called by {by}"))
}

pub fn stopstart_failover_off() -> Text {
    text("stopstart-failover-off", Level::Event, "Action stopstart called by failover-off")
}

pub fn action_from_rule(action: &str, rule: &str) -> Text {
    text("action-rule", Level::Event, format!("Action {action} from failover rule {rule}"))
}

pub fn wakeup() -> Text {
    action_from_rule("wakeup", "Implicit_wakeup")
}

pub fn swap_from_defaultprim() -> Text {
    text("swap-defaultprim", Level::Event, "Transition SWAP from defaultprim")
}

pub fn swap_begins() -> Text {
    text("swap-begin", Level::Event, "Begin of Swap")
}

/// An action was asked for and not done; `reason` is the whole sentence.
pub fn action_refused(action: &str, reason: &str) -> Text {
    text("action-refused", Level::Event, format!("Action {action} refused: {reason}"))
}

// States.

pub fn local_state(state: State) -> Text {
    text("local-state", Level::Event, format!("Local state {state}"))
}

/// `None`: nothing is known of the peer.
pub fn remote_state(state: Option<State>) -> Text {
    let shown = state.map_or_else(|| "UNKNOWN [Unknown]".to_owned(), |state| state.to_string());
    text("remote-state", Level::Event, format!("Remote state {shown}"))
}

// Resources and processes.

/// `Resource heartbeat.default set to down by heart`.
pub fn resource_set(resource: &str, value: &str, by: &str) -> Text {
    text("resource-set", Level::Event, format!("Resource {resource} set to {value} by {by}"))
}

/// What is wrong with a watched process, as it was counted.
pub fn process(service: bool, why: &str) -> Text {
    let code = if service { "service-not-running" } else { "process-not-running" };
    text(code, Level::Critical, why)
}

/// What belonged to the module and outlived its stop: number and name of each, ten of them.
pub fn processes_killed(killed: &[(u32, &str)]) -> Text {
    const NAMED: usize = 10;
    let named: Vec<String> =
        killed.iter().take(NAMED).map(|(pid, name)| format!("{pid} ({name})")).collect();
    let more = match killed.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let text_of = format!("Killed with the module: process {}{more}", named.join(", "));
    text("process-killed", Level::Warning, text_of)
}

// Scripts.

/// `Script stop_prim "force" > userlog_…_stop_prim.ulog`; `word`: `force`, `start` or nothing.
pub fn script_called(script: &str, word: Option<&str>, userlog: &str) -> Text {
    let word = word.map_or_else(String::new, |word| format!(" \"{word}\""));
    text("script-called", Level::Script, format!("Script {script}{word} > {userlog}"))
}

pub fn script_failed(script: &str, how: &str, userlog: &str) -> Text {
    text("script-failed", Level::Critical, format!("Script {script} {how}, see {userlog}"))
}

// Replication.

pub fn updating_tree(dir: &str) -> Text {
    text("updating-tree", Level::Event, format!("Updating directory tree from {dir}"))
}

/// Progress of a return, in whole megabytes as ever.
pub fn megabytes_copied(megabytes: u64) -> Text {
    text("copied-progress", Level::Event, format!("{megabytes}MB copied"))
}

/// Size, objects, time and rate of a return.
pub fn copied(bytes: u64, objects: u64, milliseconds: u64) -> Text {
    let rate = bytes.saturating_mul(1000) / 1024 / milliseconds.max(1);
    let seconds = milliseconds / 1000;
    let tenth = milliseconds % 1000 / 100;
    let size = bytes / 1024;
    text(
        "copied",
        Level::Event,
        format!("Copied {size} KB, {objects} objects, in {seconds}.{tenth} s ({rate} KB/s)"),
    )
}

/// `how`: `synchronize` when only what changed was fetched, else `default`.
pub fn reintegration_ended(how: &str) -> Text {
    text("reintegration-ended", Level::Event, format!("Reintegration ended ({how})"))
}

pub fn up_to_date() -> Text {
    text("uptodate", Level::Event, "Uptodate replicated file system")
}

pub fn not_up_to_date() -> Text {
    text(
        "notuptodate",
        Level::Event,
        "Data may be not uptodate for replicated directories \
         (wait for the start of the remote server)",
    )
}

pub fn not_up_to_date_advice() -> Text {
    text(
        "notuptodate-advice",
        Level::Event,
        "If you are sure that this server has valid data, \
         run safekit stop, then safekit prim to force start as primary",
    )
}

pub fn inconsistent() -> Text {
    text(
        "inconsistent",
        Level::Critical,
        "Data may be inconsistent for replicated directories (stopped during reintegration)",
    )
}

pub fn inconsistent_advice() -> Text {
    text(
        "inconsistent-advice",
        Level::Critical,
        "If you are sure that this server has valid data, \
         run safekit primforce to force start as primary",
    )
}

pub fn prim_aborted() -> Text {
    text("prim-aborted", Level::Event, "Requested prim start aborted")
}

/// Both copies are unknown: a person says which one is right.
pub fn first_start() -> Text {
    text(
        "first-start",
        Level::Event,
        "Neither copy is known to be valid: run prim on the node that has the good data, \
         and second on the other",
    )
}

// Two primaries, and what is left of them.

pub fn staying_alone() -> Text {
    text("splitbrain-staying", Level::Event, "Split brain recovery: staying alone")
}

pub fn exiting_alone() -> Text {
    text("splitbrain-exiting", Level::Event, "Split brain recovery: exiting alone")
}

/// Both nodes wrote since the last common operation. `text` names both positions and the command
/// that decides.
pub fn fork(sentence: &str) -> Text {
    text("fork", Level::Critical, sentence)
}

pub fn failover_off() -> Text {
    text("failover-off", Level::Event, "Failover-off configured")
}

// Addresses.

pub fn virtual_address_set(address: &str) -> Text {
    text("vip-set", Level::Information, format!("Virtual IP {address} set"))
}

pub fn virtual_address_unset(address: &str) -> Text {
    text("vip-unset", Level::Information, format!("Virtual IP {address} unset"))
}

// Configuration.

/// Parsed and not acted on in this version.
pub fn not_acted_on(note: &str) -> Text {
    text("config-note", Level::Warning, note)
}

pub fn configured(digest: &str) -> Text {
    text("configured", Level::Event, format!("Configuration {digest} applied"))
}

// Words of scripts and of the engine.

/// `printe`: the script's words, in the main log.
pub fn printed_event(words: &str) -> Text {
    text("print", Level::Event, words)
}

/// `printi`: in the verbose log.
pub fn printed_information(words: &str) -> Text {
    text("print", Level::Information, words)
}

/// `printw`.
pub fn printed_warning(words: &str) -> Text {
    text("print", Level::Warning, words)
}

/// `model::EngineEvent::Log`.
pub fn engine_said(letter: char, words: &str) -> Text {
    text("engine", Level::from_letter(letter), words)
}

/// A decision or event without a text of its own: `code` must be stable.
pub fn other(code: &'static str, level: Level, words: impl Into<String>) -> Text {
    text(code, level, words)
}

/// How an internal step ended, verbose.
pub fn internal(words: impl Into<String>) -> Text {
    text("internal", Level::Debug, words)
}
