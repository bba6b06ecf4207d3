//! What is remembered of a request that changes something: [`CommandEntry`].
use super::{Command, Request, Response, Switch};
use crate::config::paths::Paths;
use crate::logbook::CommandEntry;

/// A request under way; `None` from [`Noted::of`]: it is a question, or a script's own words.
#[must_use]
pub struct Noted(CommandEntry);

impl Noted {
    pub fn of(request: &Request) -> Option<Noted> {
        let command = words(&request.command)?;
        let mut entry = blank(request.origin.caller(), command);
        entry.module = request.module.clone();
        Some(Noted(entry))
    }

    /// What the command line does by itself, without a request.
    pub fn own(request: &Request, command: &str) -> Noted {
        let mut entry = blank(request.origin.caller(), command.to_owned());
        entry.module = request.module.clone();
        Noted(entry)
    }

    /// Writes it down. That it cannot be written keeps nobody from going on.
    pub fn ended(mut self, paths: &Paths, response: &Response) {
        self.0.exit = match response {
            Response::Refused(refusal)
                if refusal.code.starts_with(super::response::code::ALREADY) =>
            {
                0
            }
            response => response.exit() as u8,
        };
        self.0.result = match response {
            Response::Refused(refusal) => refusal.text.clone(),
            Response::Ok { text } => text.clone().unwrap_or_default(),
            Response::Data { .. } | Response::Progress { .. } => String::new(),
        };
        if let Err(error) = self.0.write(paths) {
            tracing::warn!(%error, "the log of commands cannot be written");
        }
    }
}

fn blank(who: String, command: String) -> CommandEntry {
    let time = jiff::Timestamp::now();
    CommandEntry { time, who, module: None, command, exit: 0, result: String::new() }
}

/// As a person would type it.
fn words(command: &Command) -> Option<String> {
    let verb = command.verb();
    let with = |options: &[(bool, &str)]| {
        let given = options.iter().filter(|(given, _)| *given).map(|(_, option)| *option);
        Some(std::iter::once(verb).chain(given).collect::<Vec<_>>().join(" "))
    };
    match command {
        Command::Prim { force: false, full } => with(&[(*full, "fullsync")]),
        Command::Second { discard, full } => with(&[(*full, "fullsync"), (*discard, "--discard")]),
        Command::Set { value, .. } => {
            with(&[(true, if *value == Switch::On { "on" } else { "off" })])
        }
        Command::Class { name, .. } => with(&[(true, name)]),
        Command::Import { .. } => Some("-E".to_owned()),
        Command::Restore { version } => with(&[(true, version)]),
        Command::Config
        | Command::Install { .. }
        | Command::Uninstall
        | Command::ClusterConfig { .. }
        | Command::WatchApply
        | Command::Maintain { .. }
        | Command::MaintainNoMore
        | Command::LoopReset => with(&[]),
        command if command.is_action() => with(&[]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::UserSetting;

    #[test]
    fn what_changes_something_is_noted_and_questions_are_not() {
        let set = Command::Set { setting: UserSetting::Failover, value: Switch::Off };
        let class = Command::Class { name: "dump".into(), value: Switch::On };
        for (command, noted) in [
            (Command::Start, Some("start")),
            (Command::Prim { force: true, full: true }, Some("primforce")),
            (Command::Prim { force: false, full: true }, Some("prim fullsync")),
            (Command::Second { discard: true, full: false }, Some("second --discard")),
            (set, Some("failover off")),
            (class, Some("errd enable dump")),
            (Command::Import { package: vec![1] }, Some("-E")),
            (Command::WatchApply, Some("watch apply")),
            (Command::ClusterConfig { xml: None }, Some("cluster config")),
            (Command::ClusterRead, None),
            (Command::State, None),
            (Command::ConfCheck, None),
            (Command::Print { level: 'i', text: "x".into() }, None),
            (Command::LoopIncrement, None),
        ] {
            assert_eq!(words(&command).as_deref(), noted, "{command:?}");
        }
    }
}
