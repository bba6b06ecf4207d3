//! What a shell offers when Tab is pressed, and manual pages: both made from the definition of the
//! command line, so that they cannot be of another version than the program.
//!
//! ```text
//! completion bash|zsh|fish   a short script, which asks at each Tab:
//! complete -- WORDS…         a candidate a line, a tab and what it is; `:files` for names of files
//! ```
//! Modules and nodes are read from disk: Tab neither waits for a daemon nor says that it is down.
use super::args::CommandLine;
use super::context::{Context, io_refusal};
use crate::api::Refusal;
use crate::config::cluster::ClusterConfig;
use crate::config::paths::Paths;
use crate::config::store::ModuleStore;
use clap::{Arg, ArgAction, Command, CommandFactory, ValueEnum, ValueHint};
use std::ffi::OsString;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Says to the script: names of files too.
const FILES: &str = ":files";
const STATES: [&str; 5] = ["STOP", "WAIT", "ALONE", "PRIM", "SECOND"];

pub fn script(context: &mut Context<'_>, shell: Shell) -> u8 {
    context.print(match shell {
        Shell::Bash => include_str!("lockstep.bash"),
        Shell::Zsh => include_str!("lockstep.zsh"),
        Shell::Fish => include_str!("lockstep.fish"),
    });
    0
}

pub fn complete(context: &mut Context<'_>, words: &[OsString]) -> u8 {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into()).collect();
    let lines: String = candidates(&context.paths, &words)
        .into_iter()
        .map(|(word, what)| if what.is_empty() { word + "\n" } else { format!("{word}\t{what}\n") })
        .collect();
    context.print(&lines);
    0
}

/// A page for each command, `lockstep-state.1` and so on, into this directory.
pub fn manual(context: &mut Context<'_>, dir: &Path) -> Result<u8, Refusal> {
    let failed = |error: std::io::Error| io_refusal("write manual pages into", dir, &error);
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(CommandLine::command(), dir).map_err(failed)?;
    std::fs::write(dir.join("safekit.1"), ".so man1/lockstep.1\n").map_err(failed)?;
    context.print(&format!("manual pages are in {}\n", dir.display()));
    Ok(0)
}

/// What the last of `words` may become, with what it is.
pub fn candidates(paths: &Paths, words: &[String]) -> Vec<(String, String)> {
    let mut root = CommandLine::command();
    root.build();
    let words = whole(words);
    let Some((current, before)) = words.split_last() else { return Vec::new() };
    let place = Place::after(&root, before);
    let found = match (place.option, current.split_once('=')) {
        (Some(option), _) => values(paths, option, current),
        (None, Some((long, begun))) if long.starts_with("--") => {
            let option = option_of(place.command, &long[2..]);
            let values = option.map(|option| values(paths, option, begun)).unwrap_or_default();
            values.into_iter().map(|(value, what)| (format!("{long}={value}"), what)).collect()
        }
        _ if current.starts_with('-') => options(place.command),
        _ => {
            let mut found = if place.positionals == 0 { verbs(place.command) } else { Vec::new() };
            let positional = place.command.get_positionals().nth(place.positionals);
            found.extend(positional.into_iter().flat_map(|arg| values(paths, arg, current)));
            found
        }
    };
    found.into_iter().filter(|(word, _)| word == FILES || word.starts_with(current)).collect()
}

/// bash gives `--wait=PRIM` as three words.
fn whole(words: &[String]) -> Vec<String> {
    let mut whole: Vec<String> = Vec::new();
    let mut glue = false;
    for word in words {
        let long = whole.last().is_some_and(|last| last.starts_with("--"));
        match whole.last_mut() {
            Some(last) if glue || word == "=" && long => {
                last.push_str(word);
                glue = word == "=" && !glue;
            }
            _ => whole.push(word.clone()),
        }
    }
    whole
}

/// Where in a command line the cursor is.
struct Place<'a> {
    command: &'a Command,
    /// The option whose value comes now.
    option: Option<&'a Arg>,
    positionals: usize,
}

impl<'a> Place<'a> {
    fn after(root: &'a Command, words: &[String]) -> Place<'a> {
        let mut place = Place { command: root, option: None, positionals: 0 };
        for word in words {
            if place.option.take().is_some() {
                continue;
            }
            if let Some(long) = word.strip_prefix("--") {
                let separate = |arg: &&Arg| takes_value(arg) && !arg.is_require_equals_set();
                place.option = option_of(place.command, long).filter(separate);
            } else if let Some(shorts) = word.strip_prefix('-') {
                place.option = last_of_cluster(place.command, shorts);
            } else if let Some(verb) = place.command.find_subcommand(word) {
                (place.command, place.positionals) = (verb, 0);
            } else {
                place.positionals += 1;
            }
        }
        place
    }
}

fn option_of<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    let named = |arg: &&Arg| {
        arg.get_long() == Some(long)
            || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
    };
    command.get_arguments().find(named)
}

/// `-lqm`: the option that still waits for its value.
fn last_of_cluster<'a>(command: &'a Command, shorts: &str) -> Option<&'a Arg> {
    for (at, letter) in shorts.char_indices() {
        let arg = command.get_arguments().find(|arg| arg.get_short() == Some(letter))?;
        if takes_value(arg) {
            return (at + letter.len_utf8() == shorts.len()).then_some(arg);
        }
    }
    None
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn verbs(command: &Command) -> Vec<(String, String)> {
    let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    shown.map(|verb| (verb.get_name().to_owned(), about(verb.get_about()))).collect()
}

fn options(command: &Command) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional()) {
        let word = match (arg.get_long(), arg.get_short()) {
            (Some(long), _) if arg.is_require_equals_set() => format!("--{long}="),
            (Some(long), _) => format!("--{long}"),
            (None, Some(short)) => format!("-{short}"),
            (None, None) => continue,
        };
        if let Some(bare) = word.strip_suffix('=') {
            found.push((bare.to_owned(), about(arg.get_help())));
        }
        found.push((word, about(arg.get_help())));
    }
    found
}

/// One line: what a shell shows beside the word.
fn about(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().replace('\t', " ")
}

fn values(paths: &Paths, arg: &Arg, begun: &str) -> Vec<(String, String)> {
    let plain = |word: &str| (word.to_owned(), String::new());
    let files = matches!(
        arg.get_value_hint(),
        ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath
    );
    match arg.get_id().as_str() {
        "module" | "export" | "name" => modules(paths),
        "what" => modules(paths).into_iter().chain([plain(FILES)]).collect(),
        "nodes" => nodes(paths, begun),
        "state" | "wait" => STATES.map(plain).into(),
        _ if files => vec![plain(FILES)],
        _ => {
            let possible = arg.get_possible_values().into_iter();
            let shown = possible.filter(|value| !value.is_hide_set());
            shown.map(|value| (value.get_name().to_owned(), about(value.get_help()))).collect()
        }
    }
}

fn modules(paths: &Paths) -> Vec<(String, String)> {
    let installed = ModuleStore::new(paths.clone()).list().unwrap_or_default();
    let known = installed.iter();
    known.map(|module| (module.name.to_string(), format!("module, id {}", module.id))).collect()
}

/// One more node behind the last comma.
fn nodes(paths: &Paths, begun: &str) -> Vec<(String, String)> {
    let Ok(cluster) = ClusterConfig::load(&paths.cluster_xml()) else { return Vec::new() };
    let given = begun.rfind(',').map_or("", |comma| &begun[..=comma]);
    let named: Vec<&str> = given.split(',').collect();
    let more = cluster.nodes().into_iter().filter(|node| !named.contains(&node.as_str()));
    let more = more.map(|node| (format!("{given}{node}"), "node".to_owned()));
    let all = given.is_empty().then(|| ("*".to_owned(), "all nodes".to_owned()));
    all.into_iter().chain(more).collect()
}

#[cfg(test)]
mod tests;
