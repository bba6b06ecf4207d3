//! `module new`: five questions, and a module whose scripts do something.
//!
//! ```text
//! flags ──▶ what is not answered is asked, on a terminal ──▶ files ──▶ checked ──▶ written
//! ```
//! What the answers make is checked as every module is, before anything is written.
mod files;
mod questions;

use super::args::NewModule;
use super::context::{Context, usage};
use super::offline;
use crate::api::Refusal;
use crate::config::store::ModuleStore;
use std::io::IsTerminal;
use std::path::PathBuf;

pub use questions::{Answers, Run};

pub fn new(context: &mut Context<'_>, given: NewModule) -> Result<u8, Refusal> {
    let name = given.fresh.clone().or_else(|| context.module.clone());
    let name = name.ok_or_else(|| usage("which name? lockstep module new NAME"))?;
    let into = given.into.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    if into.symlink_metadata().is_ok() {
        return Err(usage(format!(
            "{} is there already: choose another place with --into, or move it away",
            into.display()
        )));
    }
    let lans = questions::lans(&context.paths);
    let terminal = std::io::stdin().is_terminal();
    let mut stdin = std::io::stdin().lock();
    let ask = if terminal { Some(&mut stdin as &mut dyn std::io::BufRead) } else { None };
    let answers = questions::answers(&given, &lans, ask, &mut |line| context.say(line))?;
    let store = ModuleStore::new(context.paths.clone());
    let files = files::of(&answers);
    let config = store.write_new(&name, &into, files).map_err(|error| offline::refusal(&error))?;
    let shown = into.display();
    context.print(&format!(
        "{}module {name} is in {shown}; look at it, then: lockstep module install -m {name} \
         {shown}; lockstep -H '*' -E {name}\n",
        offline::remarks(&config)
    ));
    Ok(0)
}
