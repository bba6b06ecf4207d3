//! From a parsed command line to the one thing it asks for.
use super::args::{CommandLine, ErrdVerb, NoSync, OnOff, OnOffStatus, Verb, Wait};
use super::context::{Context, usage};
use super::wait::{After, Goal};
use super::{
    bench, cluster, completion, explain, lists, log, maintenance, module, preflight, processes,
    snapshot, state, top, watch,
};
use crate::api::{Command, Data, Nodes, Refusal, Reply, Response, Switch, UserSetting};
use crate::model::{NodeName, Role};

/// Carries it out; answers the exit code.
pub fn carry_out(context: &mut Context<'_>, line: CommandLine) -> Result<u8, Refusal> {
    let CommandLine { export, global, print_paths, verb, .. } = line;
    match (export, global, print_paths, verb) {
        (Some(exported), false, false, None) => module::export(context, exported),
        (None, true, false, None) => cluster::distribute(context),
        (None, false, true, None) => Ok(paths(context)),
        (None, false, false, Some(verb)) => command(context, verb),
        (None, false, false, None) => Err(usage("which command? --help shows them")),
        _ => Err(usage("-E, -G and -p each stand alone, without a command")),
    }
}

fn command(context: &mut Context<'_>, verb: Verb) -> Result<u8, Refusal> {
    match verb {
        Verb::Start(wait) => act(context, Command::Start, &wait, Goal::Started),
        Verb::Stop(wait) => act(context, Command::Stop, &wait, Goal::Role(Role::Stop)),
        Verb::Restart(wait) => act(context, Command::Restart, &wait, Goal::Started),
        Verb::Stopstart(wait) => act(context, Command::Stopstart, &wait, Goal::Started),
        Verb::Forcestop(wait) => act(context, Command::Forcestop, &wait, Goal::Role(Role::Stop)),
        Verb::Swap { mode, wait } => swap(context, mode, &wait),
        Verb::Prim { mode, wait } => {
            let prim = Command::Prim { force: false, full: mode.is_some() };
            act(context, prim, &wait, Goal::Started)
        }
        Verb::Primforce(wait) => {
            act(context, Command::Prim { force: true, full: true }, &wait, Goal::Started)
        }
        Verb::Second { mode, discard, wait } => {
            let second = Command::Second { discard, full: mode.is_some() };
            act(context, second, &wait, Goal::Role(Role::Second))
        }
        Verb::Shutdown { timeout } => shutdown(context, timeout),
        Verb::State { verbose, local, quiet } => show_state(context, verbose, local, quiet),
        Verb::Top(options) => top::top(context, &options),
        Verb::Waitstate { state, timeout } => wait(context, Goal::Role(state.0), timeout),
        Verb::Waitstart { timeout } => wait(context, Goal::Started, timeout),
        Verb::Waitstop { timeout } => wait(context, Goal::Role(Role::Stop), timeout),
        Verb::Level => level(context),
        Verb::Log(view) => log::log(context, &view),
        Verb::Cmdlog { count } => log::commands(context, count),
        Verb::Logview(view) => log::logview(context, &view),
        Verb::Printi(words) => log::print(context, 'i', words),
        Verb::Printe(words) => log::print(context, 'e', words),
        Verb::Printw(words) => log::print(context, 'w', words),
        Verb::Module(verb) => module::carry_out(context, verb),
        Verb::Cluster(verb) => cluster::carry_out(context, verb),
        Verb::Metrics { output } => watch::metrics(context, output.as_deref()),
        Verb::Maintenance(verb) => maintenance::carry_out(context, verb),
        Verb::Watch(verb) => watch::carry_out(context, verb),
        Verb::Bench(options) => bench::bench(context, &options),
        Verb::Explain => explain::explain(context),
        Verb::Snapshot { file } => snapshot::snapshot(context, file),
        Verb::Preflight => preflight::preflight(context),
        Verb::Completion { shell } => Ok(completion::script(context, shell)),
        Verb::Complete { words } => Ok(completion::complete(context, &words)),
        Verb::Man { dir } => completion::manual(context, &dir),
        Verb::Daemon => processes::daemon(context),
        Verb::Engine { name, config } => processes::engine(&name, &config),
        other => small(context, other),
    }
}

/// Commands that are one question to the module and one answer.
fn small(context: &mut Context<'_>, verb: Verb) -> Result<u8, Refusal> {
    context.needed_module()?;
    let replies = match verb {
        Verb::Config => context.ask_or_do(Command::Config)?,
        Verb::Confcheck => context.do_or_ask(Command::ConfCheck)?,
        Verb::Confinfo => context.ask_or_do(Command::ConfInfo)?,
        Verb::Resources => return resources(context),
        Verb::Get { resource } => context.ask(Command::ResourceGet { resource })?,
        Verb::Set { resource, value, .. } => {
            context.ask(Command::ResourceSet { resource, value })?
        }
        Verb::Incloop if context.origin.identity.is_none() => {
            return Err(usage("incloop counts for an identity: name it with -i"));
        }
        Verb::Incloop => context.ask(Command::LoopIncrement)?,
        Verb::Resetloop => context.ask(Command::LoopReset)?,
        Verb::Checkloop => context.ask(Command::LoopCheck)?,
        Verb::Boot { value: OnOffStatus::Status } => return boot_status(context),
        Verb::Boot { value: OnOffStatus::On } => set(context, UserSetting::Boot, OnOff::On)?,
        Verb::Boot { value: OnOffStatus::Off } => set(context, UserSetting::Boot, OnOff::Off)?,
        Verb::Failover { value } => set(context, UserSetting::Failover, value)?,
        Verb::Errd(verb) => errd(context, verb)?,
        Verb::Checker { value } => set(context, UserSetting::Checker, value)?,
        _ => return Err(usage("this command is not known")),
    };
    Ok(context.show(&replies))
}

fn set(
    context: &mut Context<'_>,
    setting: UserSetting,
    value: OnOff,
) -> Result<Vec<Reply>, Refusal> {
    let value = match value {
        OnOff::On => Switch::On,
        OnOff::Off => Switch::Off,
    };
    context.ask(Command::Set { setting, value })
}

fn errd(context: &mut Context<'_>, verb: ErrdVerb) -> Result<Vec<Reply>, Refusal> {
    match verb {
        ErrdVerb::On => set(context, UserSetting::Errd, OnOff::On),
        ErrdVerb::Off => set(context, UserSetting::Errd, OnOff::Off),
        ErrdVerb::List => context.ask(Command::Processes),
        ErrdVerb::Enable { class } => {
            context.ask(Command::Class { name: class, value: Switch::On })
        }
        ErrdVerb::Disable { class } => {
            context.ask(Command::Class { name: class, value: Switch::Off })
        }
    }
}

/// Waits for what somebody else does; as JSON the state at the end is told.
fn wait(context: &mut Context<'_>, goal: Goal, timeout: Option<f64>) -> Result<u8, Refusal> {
    let exit = context.wait_for(goal, timeout, &After::Nothing)?;
    if context.json {
        let replies = context.ask(Command::State)?;
        context.show(&replies);
    }
    Ok(exit)
}

/// An action of a module: asked, shown, waited for if wished.
fn act(
    context: &mut Context<'_>,
    command: Command,
    wait: &Wait,
    usual: Goal,
) -> Result<u8, Refusal> {
    act_after(context, command, wait, usual, &After::Action)
}

fn act_after(
    context: &mut Context<'_>,
    command: Command,
    wait: &Wait,
    usual: Goal,
    after: &After,
) -> Result<u8, Refusal> {
    context.needed_module()?;
    let quiet = wait.wait.is_some() && context.json;
    let replies = context.ask(command)?;
    let refused = replies.iter().any(|reply| matches!(&reply.response, Response::Refused(refusal) if context.exit_of(refusal) != 0));
    if refused || !quiet {
        let exit = context.show(&replies);
        if exit != 0 {
            return Ok(exit);
        }
    }
    let exit = context.wait_after(wait, usual, after)?;
    if quiet {
        let replies = context.ask(Command::State)?;
        context.show(&replies);
    }
    Ok(exit)
}

fn swap(context: &mut Context<'_>, mode: Option<NoSync>, wait: &Wait) -> Result<u8, Refusal> {
    context.needed_module()?;
    if mode.is_some() {
        return Err(Refusal::not_in_this_version("swap nosync; swap moves no data anyway"));
    }
    if wait.wait.is_none() {
        return act(context, Command::Swap, wait, Goal::Started);
    }
    let view = context.view_now()?;
    let role = view.state.role;
    let after = After::Swap { role, since: view.since };
    act_after(context, Command::Swap, wait, Goal::NotRole(role), &after)
}

/// All modules of the nodes that are meant. Waits without being told to: the system calls it
/// before it switches off. A node that does not obey keeps nobody from waiting for the others.
fn shutdown(context: &mut Context<'_>, timeout: Option<f64>) -> Result<u8, Refusal> {
    context.module = None;
    let replies = context.ask(Command::Shutdown)?;
    let exit = context.show(&replies);
    if exit != 0 {
        let obeys = |reply: &&Reply| !matches!(reply.response, Response::Refused(_));
        let obey = replies.iter().filter(obeys).filter_map(|reply| reply.node.clone());
        let obey: Vec<NodeName> = obey.collect();
        if obey.is_empty() {
            return Ok(exit);
        }
        context.nodes = Nodes::Named(obey);
    }
    context.wait_all_stopped(timeout).map(|_| exit)
}

fn show_state(
    context: &mut Context<'_>,
    verbose: bool,
    local: bool,
    quiet: bool,
) -> Result<u8, Refusal> {
    if quiet {
        context.needed_module()?;
        context.nodes = Nodes::Local;
        return context.view_now().map(|view| view.state.role.exit_code());
    }
    let replies = context.ask(Command::State)?;
    Ok(context.show_with(&replies, |data| match data {
        Data::Module(view) if local => state::local_line(view),
        other => state::text(other, verbose),
    }))
}

fn resources(context: &mut Context<'_>) -> Result<u8, Refusal> {
    let replies = context.ask(Command::ResourceGet { resource: None })?;
    Ok(context.show_with(&replies, |data| match data {
        Data::Resources(resources) => lists::resources(resources),
        other => state::text(other, false),
    }))
}

fn boot_status(context: &mut Context<'_>) -> Result<u8, Refusal> {
    let replies = context.ask(Command::Settings)?;
    Ok(context.show_with(&replies, |data| match data {
        Data::Settings(settings) => format!("boot {}\n", if settings.boot { "on" } else { "off" }),
        other => state::text(other, false),
    }))
}

/// The daemon's version; this program's where no daemon runs here.
fn level(context: &mut Context<'_>) -> Result<u8, Refusal> {
    let version = env!("CARGO_PKG_VERSION");
    if context.nodes == Nodes::Local && !context.daemon_answers() {
        context.print(&format!("lockstep {version} (daemon not running)\n"));
        return Ok(0);
    }
    context.module = None;
    let replies = context.ask(Command::Level)?;
    Ok(context.show(&replies))
}

/// `-p`: the variables that scripts get.
fn paths(context: &mut Context<'_>) -> u8 {
    let safe = context.paths.safe();
    let mut text = format!("SAFE={0}\nSAFEBIN={0}\n", safe.display());
    text.push_str(&format!("SAFEVAR={}\n", context.paths.log.display()));
    if let Some(module) = &context.module {
        let active = context.paths.module_active(module);
        text.push_str(&format!("SAFEMODULE={module}\n"));
        text.push_str(&format!("SAFEUSERBIN={}\n", active.join("bin").display()));
        text.push_str(&format!("SAFEUSERCONF={}\n", active.join("conf").display()));
        let log = context.paths.module_log_dir(module);
        text.push_str(&format!("SAFEUSERVAR={}\n", log.display()));
    }
    context.print(&text);
    0
}
