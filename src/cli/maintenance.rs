//! `maintenance …`: somebody works on a module, and both nodes know it.
use super::args::MaintenanceVerb;
use super::context::Context;
use crate::api::{Command, Data, ModuleView, Refusal};

pub fn carry_out(context: &mut Context<'_>, verb: MaintenanceVerb) -> Result<u8, Refusal> {
    let command = match verb {
        MaintenanceVerb::On { reason, length, owner } => {
            Command::Maintain { owner, reason, seconds: length }
        }
        MaintenanceVerb::Off => Command::MaintainNoMore,
        MaintenanceVerb::Status => return status(context),
    };
    context.needed_module()?;
    let replies = context.ask(command)?;
    Ok(context.show(&replies))
}

fn status(context: &mut Context<'_>) -> Result<u8, Refusal> {
    let replies = context.ask(Command::State)?;
    Ok(context.show_with(&replies, |data| match data {
        Data::Module(view) => line(view),
        Data::Modules(views) => views.iter().map(line).collect(),
        other => super::state::text(other, false),
    }))
}

fn line(view: &ModuleView) -> String {
    let what = told(view).unwrap_or_else(|| "no maintenance".to_owned());
    format!("{} : {what}\n", view.module)
}

/// `by ops until 2026-11-22T09:00:00Z: new kernel`
pub fn told(view: &ModuleView) -> Option<String> {
    let window = view.maintenance.as_ref()?;
    Some(format!("by {} until {}: {}", window.owner, window.until, window.reason))
}
