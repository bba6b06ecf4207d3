//! What the hub itself writes into a module's log, with stable codes. The automaton's own words
//! stand beside its decisions (`cx.log` in `src/decide`).
//!
//! The words are the ones that administrators of such clusters search their logs for; they are an
//! interface and change only with a note in the CHANGELOG. Where a person must do something, the
//! text names the command. Each function returns a [`Text`]; `Entry::now` makes it a log line.
use super::Level;

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

/// The application, its addresses and its directories went on as they were.
pub fn configured_live(digest: &str, caller: &str) -> Text {
    let digest = digest.get(..12).unwrap_or(digest);
    let told = format!("Configuration {digest} applied while the module runs, called by {caller}");
    text("configured-live", Level::User, told)
}

pub fn wakeup() -> Text {
    text("action-rule", Level::Event, "Action wakeup from failover rule Implicit_wakeup")
}

/// An action was asked for and not done; `reason` is the whole sentence.
pub fn action_refused(action: &str, reason: &str) -> Text {
    text("action-refused", Level::Event, format!("Action {action} refused: {reason}"))
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

/// Nothing is done about it meanwhile.
pub fn only_reported(resource: &str) -> Text {
    let told = format!("Resource {resource} is down, only reported during maintenance");
    text("maintenance-reported", Level::Event, told)
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

// Addresses.

pub fn virtual_address_set(address: &str) -> Text {
    text("vip-set", Level::Information, format!("Virtual IP {address} set"))
}

pub fn virtual_address_unset(address: &str) -> Text {
    text("vip-unset", Level::Information, format!("Virtual IP {address} unset"))
}

/// Another machine says that a held address is its own.
pub fn virtual_address_claimed(address: &str, mac: &str, interface: &str) -> Text {
    let text_of = format!(
        "Virtual IP {address} is claimed by the machine with hardware address {mac} on interface \
         {interface} too; clients land here or there: find it (`ip neigh show {address}` on \
         another machine) and take the address from it"
    );
    text("vip-claimed", Level::Critical, text_of)
}

// Configuration.

/// Parsed and not acted on in this version.
pub fn not_acted_on(note: &str) -> Text {
    text("config-note", Level::Warning, note)
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

/// A decision or event without a text of its own: `code` must be stable.
pub fn other(code: &'static str, level: Level, words: impl Into<String>) -> Text {
    text(code, level, words)
}
