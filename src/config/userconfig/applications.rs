//! `<ocf>` and `<unit>` of `<user>`: who starts, stops and watches the applications of a module.
use super::checks::action;
use super::read::Reader;
use super::*;
use crate::config::findings::{did_you_mean, quoted};
use crate::config::grammar::Node;
use crate::model::{Agent, Application, RunBy};
use crate::ocf::{self, Described, MetaData};

/// Endings of units that can be started and stopped like an application.
const ENDINGS: [&str; 4] = [".service", ".target", ".socket", ".timer"];

impl Reader<'_> {
    /// In the order of the file, which is the order of their starts.
    pub(super) fn applications(&mut self, service: Node<'_>) -> Vec<NamedApplication> {
        let Some(user) = service.child("user") else { return Vec::new() };
        let mut nodes: Vec<(bool, Node<'_>)> =
            user.children("ocf").map(|node| (true, node)).collect();
        nodes.extend(user.children("unit").map(|node| (false, node)));
        nodes.sort_by_key(|(_, node)| node.element.at);
        let mut found: Vec<NamedApplication> = Vec::new();
        for (is_agent, node) in nodes {
            let application = if is_agent { self.agent(node) } else { self.unit(node) };
            let Some(application) = application else { continue };
            let resource = application.resource();
            if found.iter().any(|known| known.application.resource() == resource) {
                let (name, text) = (node.rule.name, format!("{resource} again"));
                let remedy = "give one of them an ident= of its own";
                self.findings.mistake(node.at("ident"), name, "each of them once", text, remedy);
            }
            found.push(NamedApplication {
                application,
                action: action(node.text("action")),
                line: self.findings.line(node.element.at),
            });
        }
        found
    }

    fn agent(&mut self, node: Node<'_>) -> Option<Application> {
        let text = node.given("agent")?;
        let Some((provider, name)) = ocf::names(text) else {
            let expected = "PROVIDER:NAME, e.g. heartbeat:pgsql";
            let remedy = "`ls /usr/lib/ocf/resource.d/*` lists the agents of a node";
            self.findings.mistake(node.at("agent"), "ocf", expected, quoted(text), remedy);
            return None;
        };
        let mut agent = Agent {
            provider: provider.to_owned(),
            name: name.to_owned(),
            params: Vec::new(),
            depth: node.given("depth").map(|_| node.count("depth") as u32),
        };
        let described = (self.around.describe)(&agent);
        let note = match &described {
            Described::Unasked | Described::Known(_) => None,
            Described::Absent => Some(format!(
                "{} is not on this node, so the parameters were not checked (an error only \
                 at start)",
                ocf::path(&ocf::root(), &agent).display()
            )),
            Described::Mute(why) => Some(format!(
                "{} {why}, so the parameters were not checked",
                ocf::path(&ocf::root(), &agent).display()
            )),
        };
        if let Some(note) = note {
            self.findings.note(node.element.at, "ocf", Some("agent"), note);
        }
        let known = match described {
            Described::Known(metadata) => Some(metadata),
            Described::Unasked | Described::Absent | Described::Mute(_) => None,
        };
        agent.params = self.params(node, &agent, known.as_ref());
        let ident = self.ident(node, name)?;
        Some(Application {
            ident,
            by: RunBy::Agent(agent),
            start_limit: time(node, "start_timeout"),
            stop_limit: time(node, "stop_timeout"),
            monitor_limit: time(node, "monitor_timeout"),
            interval: time(node, "interval"),
        })
    }

    /// Each parameter once, and against what the agent says of itself.
    fn params(
        &mut self,
        ocf: Node<'_>,
        agent: &Agent,
        known: Option<&MetaData>,
    ) -> Vec<(String, String)> {
        let mut params: Vec<(String, String)> = Vec::new();
        for param in ocf.children("param") {
            let (Some(name), value) = (param.given("name"), param.text("value")) else { continue };
            let at = param.at("name");
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                let expected = "a parameter name: letters, digits and _";
                let remedy = "write it as the meta-data of the agent does";
                self.findings.mistake(at, "param", expected, quoted(name), remedy);
            } else if params.iter().any(|(known, _)| known == name) {
                let found = format!("{} again", quoted(name));
                let remedy = "drop one of the two lines";
                self.findings.mistake(at, "param", "each parameter once", found, remedy);
            } else if let Some(known) = known {
                self.known_param(at, name, agent, known);
            }
            if value.contains('\0') {
                let expected = "a value without NUL";
                self.findings.mistake(param.at("value"), "param", expected, "one", "remove it");
            }
            params.push((name.to_owned(), value.to_owned()));
        }
        let required = known.iter().flat_map(|known| &known.parameters).filter(|p| p.required);
        for missing in required.filter(|p| params.iter().all(|(name, _)| *name != p.name)) {
            let expected =
                format!("<param name={}>, which {} requires", quoted(&missing.name), agent.title());
            let remedy = format!("add <param name={} value=\"…\"/>", quoted(&missing.name));
            self.findings.mistake(ocf.element.at, "ocf", expected, "none", remedy);
        }
        params
    }

    fn known_param(&mut self, at: usize, name: &str, agent: &Agent, known: &MetaData) {
        match known.parameters.iter().find(|parameter| parameter.name == name) {
            None => {
                let names = || known.parameters.iter().map(|parameter| parameter.name.as_str());
                let near = did_you_mean(name, names());
                let remedy = match (near.is_empty(), known.parameters.is_empty()) {
                    (false, _) => near,
                    (true, true) => "the agent has none: remove it".to_owned(),
                    (true, false) => format!("it has {}", names().collect::<Vec<_>>().join(", ")),
                };
                let expected = format!("a parameter of {}", agent.title());
                self.findings.mistake(at, "param", expected, quoted(name), remedy);
            }
            Some(parameter) if parameter.deprecated => {
                let text = format!("{} is deprecated by the agent", quoted(name));
                self.findings.note(at, "param", Some("name"), text);
            }
            Some(_) => {}
        }
    }

    fn unit(&mut self, node: Node<'_>) -> Option<Application> {
        let text = node.given("name")?;
        let letter = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let full = match text.contains('.') {
            true => text.to_owned(),
            false => format!("{text}.service"),
        };
        let begins = !full.starts_with(['-', '.', '@']);
        let ends = ENDINGS.iter().any(|ending| full.ends_with(ending));
        if !begins || !ends || !full.chars().all(letter) {
            let expected = "the name of a systemd unit, e.g. postgresql@15-main.service";
            let remedy = "`systemctl list-unit-files` lists the units of a node";
            self.findings.mistake(node.at("name"), "unit", expected, quoted(text), remedy);
            return None;
        }
        let stem = full.strip_suffix(".service").unwrap_or(&full);
        let ident = self.ident(node, stem)?;
        Some(Application {
            ident,
            by: RunBy::Unit(full),
            start_limit: time(node, "start_timeout"),
            stop_limit: time(node, "stop_timeout"),
            monitor_limit: None,
            interval: time(node, "interval"),
        })
    }

    /// What rules and file names can hold; of a name that has more, each such letter becomes `_`.
    fn ident(&mut self, node: Node<'_>, name: &str) -> Option<String> {
        let letter = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let Some(given) = node.given("ident") else {
            return Some(name.chars().map(|c| if letter(c) { c } else { '_' }).collect());
        };
        if given.starts_with(['.', '-']) || !given.chars().all(letter) {
            let expected = "an ident of letters, digits, _, . and -";
            let remedy = "rules and file names have it: correct ident=";
            self.findings.mistake(
                node.at("ident"),
                node.rule.name,
                expected,
                quoted(given),
                remedy,
            );
            return None;
        }
        Some(given.to_owned())
    }
}

fn time(node: Node<'_>, attribute: &str) -> Option<Duration> {
    node.given(attribute).map(|_| node.time(attribute))
}

#[cfg(test)]
mod tests;
