//! `explain`: why is the module in this state on this node, and what can be done now.
//!
//! ```text
//! module log ──▶ chain: what led here since the module was last well, ten lines at most
//! state now  ──▶ advice: what a person can do
//! ```
//! The log is read from its files, so that it explains also why nothing runs any more; only the
//! advice needs the daemon. With `-H` each node explains itself: what one saw, another did.
use super::context::Context;
use super::json;
use crate::api::{Command, Data, ModuleView, Refusal, Reply, Response};
use crate::logbook::Entry;
use jiff::tz::TimeZone;
use serde_json::json;

mod advice;
mod chain;

use chain::Link;

/// Entries of the log that are looked at; what is older explains nothing any more.
const ENTRIES: usize = 5000;

pub fn explain(context: &mut Context<'_>) -> Result<u8, Refusal> {
    let module = context.needed_module()?;
    let logs = context.do_or_ask(Command::Log { count: ENTRIES, verbose: false })?;
    let states = context.ask(Command::State);
    let states = states.as_ref().map(Vec::as_slice);
    let mut documents = Vec::new();
    let mut texts = Vec::new();
    for reply in &logs {
        let Response::Data { data: Data::Log(entries) } = &reply.response else {
            documents.push(json::answer(reply));
            texts.push(reply.clone());
            continue;
        };
        let (view, missing) = match states.map(|states| state_of(states, reply)) {
            Ok(Ok(view)) => (Some(view), None),
            Ok(Err(refusal)) | Err(refusal) => (None, Some(refusal.text.as_str())),
        };
        let chain = chain::of(entries);
        let advice = match (view, missing) {
            (Some(view), _) => advice::of(view, &chain),
            (None, missing) => vec![missing.unwrap_or_default().to_owned()],
        };
        documents.push(json::found(reply.node.as_ref(), document(view, &chain, &advice)));
        let text = text(module.as_str(), view, &chain, &advice);
        texts.push(Reply { response: Response::ok_with(text), ..reply.clone() });
    }
    if !context.json {
        return Ok(context.show(&texts));
    }
    let refused = logs.iter().find_map(|reply| match &reply.response {
        Response::Refused(refusal) => Some(context.exit_of(refusal)),
        _ => None,
    });
    let exit = refused.unwrap_or(0);
    context.print_json(exit, documents);
    Ok(exit)
}

/// What the node of this answer says of the module now.
fn state_of<'a>(states: &'a [Reply], log: &Reply) -> Result<&'a ModuleView, &'a Refusal> {
    let same = |state: &&Reply| log.node.is_none() || state.node == log.node;
    match states.iter().find(same).map(|reply| &reply.response) {
        Some(Response::Data { data: Data::Module(view) }) => Ok(view),
        Some(Response::Refused(refusal)) => Err(refusal),
        _ => Err(no_state()),
    }
}

fn no_state() -> &'static Refusal {
    static NONE: std::sync::LazyLock<Refusal> =
        std::sync::LazyLock::new(|| super::context::failed("the node did not say its state"));
    &NONE
}

fn text(module: &str, view: Option<&ModuleView>, chain: &[Link<'_>], advice: &[String]) -> String {
    let zone = TimeZone::system();
    let mut lines = Vec::new();
    if chain.is_empty() {
        lines.push(format!("the log of module {module} says nothing yet"));
    }
    for link in chain {
        let time = link.entry.time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let because = link.because.map(|because| format!("  because: {because}"));
        lines.push(format!("{time}  {}{}", link.what(), because.unwrap_or_default()));
    }
    if let Some(view) = view {
        lines.push(format!("now: {}  because: {}", view.state, view.reason));
    }
    lines.extend(advice.iter().map(|advice| format!("-> {advice}")));
    lines.join("\n")
}

fn document(view: Option<&ModuleView>, chain: &[Link<'_>], advice: &[String]) -> serde_json::Value {
    let link = |link: &Link<'_>| {
        let Entry { time, level, code, text, .. } = link.entry;
        json!({
            "time": format!("{time:.6}"),
            "level": level.letter(),
            "code": code,
            "what": text,
            "times": link.times,
            "because": link.because,
        })
    };
    json!({
        "role": view.map(|view| view.state.role.as_str()),
        "readiness": view.map(|view| view.state.readiness.as_str()),
        "reason": view.map(|view| &view.reason),
        "chain": chain.iter().map(link).collect::<serde_json::Value>(),
        "advice": advice,
    })
}
