//! What an agent says of itself when it is called with `meta-data`: its parameters, and the times
//! that it wants for its actions.
//!
//! The text is written by hand by many people: what is not understood in it is left out, and only a
//! text that is no meta-data at all is an error.
use super::{Call, environment, path, root};
use crate::model::Agent;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long an agent may take to describe itself, and how much of it is read.
const LIMIT: Duration = Duration::from_secs(10);
const BYTES_MAX: u64 = 1 << 20;
/// Longest time that is believed; agents write 0 or nothing for "no idea", and some write a day.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaData {
    pub parameters: Vec<Parameter>,
    pub actions: Vec<Action>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub required: bool,
    pub deprecated: bool,
}

/// A hint for one action; several of one name differ in depth or role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub name: String,
    pub timeout: Option<Duration>,
    pub interval: Option<Duration>,
    pub depth: u32,
    pub role: Option<String>,
}

/// What is known of an agent on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Described {
    /// Nobody asked: what is read is not about this node.
    Unasked,
    /// The agent's file is not on this node.
    Absent,
    /// It is there and does not describe itself; why, one clause.
    Mute(String),
    Known(MetaData),
}

/// Asks the agent that this node has. Takes as long as the agent does, ten seconds at most.
pub fn describe(agent: &Agent) -> Described {
    let root = root();
    if !path(&root, agent).is_file() {
        return Described::Absent;
    }
    ask(&root, agent).map_or_else(Described::Mute, Described::Known)
}

/// As [`describe`], of an agent that is there.
pub fn ask(root: &Path, agent: &Agent) -> Result<MetaData, String> {
    let call =
        Call { instance: &agent.name, action: "meta-data", limit: LIMIT, interval: Duration::ZERO };
    let none = Agent { params: Vec::new(), depth: None, ..agent.clone() };
    // `timeout` ends the agent with all that it started.
    let mut asked = Command::new("timeout");
    asked.args(["-k", "1", &LIMIT.as_secs().to_string()]).arg(path(root, agent)).arg("meta-data");
    asked.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    asked.envs(environment(root, &none, &call)).current_dir("/");
    asked.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let failed = |error: std::io::Error| format!("cannot be run: {error}");
    let mut child = asked.spawn().map_err(failed)?;
    let mut bytes = Vec::new();
    let read = match child.stdout.take() {
        Some(out) => out.take(BYTES_MAX).read_to_end(&mut bytes),
        None => Ok(0),
    };
    let status = child.wait().map_err(failed)?;
    read.map_err(|error| format!("cannot be read: {error}"))?;
    match status.code() {
        Some(0) => parse(&String::from_utf8_lossy(&bytes)),
        Some(124 | 137) => Err(format!("did not answer meta-data within {LIMIT:?}")),
        _ => Err(format!("answered meta-data with {status}")),
    }
}

impl MetaData {
    /// The hint for an action, of a monitor the one of this depth: without a role before those of
    /// one, and any of that name before none.
    pub fn action(&self, name: &str, depth: Option<u32>) -> Option<&Action> {
        let named = || self.actions.iter().filter(|action| action.name == name);
        let deep = || named().filter(|action| action.depth == depth.unwrap_or(0));
        deep().find(|action| action.role.is_none()).or_else(|| deep().next()).or(named().next())
    }
}

/// Reads the text that an agent prints.
fn parse(text: &str) -> Result<MetaData, String> {
    let mut reader = Reader::from_str(text);
    let mut found = MetaData::default();
    let mut known = false;
    loop {
        let event = reader.read_event();
        let event = event.map_err(|error| format!("its meta-data is no XML: {error}"))?;
        match event {
            Event::Eof if known => return Ok(found),
            Event::Eof => return Err("its meta-data has no <resource-agent>".to_owned()),
            Event::Start(tag) | Event::Empty(tag) => match tag.name().as_ref() {
                "resource-agent" => known = true,
                "parameter" => found.parameters.extend(parameter(&tag)),
                "action" => found.actions.extend(action(&tag)),
                "deprecated" => {
                    if let Some(last) = found.parameters.last_mut() {
                        last.deprecated = true;
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }
}

fn parameter(tag: &BytesStart<'_>) -> Option<Parameter> {
    let required = attribute(tag, "required").is_some_and(|text| text == "1" || text == "true");
    Some(Parameter { name: attribute(tag, "name")?, required, deprecated: false })
}

fn action(tag: &BytesStart<'_>) -> Option<Action> {
    let time = |name| attribute(tag, name).and_then(|text| time(&text));
    Some(Action {
        name: attribute(tag, "name")?,
        timeout: time("timeout"),
        interval: time("interval"),
        depth: attribute(tag, "depth").and_then(|text| text.trim().parse().ok()).unwrap_or(0),
        role: attribute(tag, "role").filter(|role| !role.is_empty()),
    })
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = tag.try_get_attribute(name).ok()??;
    Some(quick_xml::escape::unescape(&found.value).ok()?.into_owned())
}

/// `20`, `20s`, `5min`, `500ms`; without a unit seconds. `None` for 0 and what is no time.
fn time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let ms = match unit.trim() {
        "" | "s" | "sec" => number.checked_mul(1000)?,
        "ms" | "msec" => number,
        "m" | "min" => number.checked_mul(60_000)?,
        "h" | "hr" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    (ms > 0).then(|| Duration::from_millis(ms).min(TIME_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the agents of resource-agents print it.
    const TEXT: &str = r#"<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="pgsql" version="1.0">
<version>1.0</version>
<longdesc lang="en">Manages it &amp; <b>more</b>.</longdesc>
<parameters>
<parameter name="pgctl" unique="0" required="0">
<longdesc lang="en">Path</longdesc><content type="string" default="/usr/bin/pg_ctl" />
</parameter>
<parameter name="ip" required="1"/>
<parameter name="old"><deprecated><replaced-with name="ip"/></deprecated></parameter>
</parameters>
<actions>
<action name="start" timeout="2min" />
<action name="stop" timeout="120" />
<action name="monitor" depth="0" timeout="30s" interval="7s" role="Master"/>
<action name="monitor" depth="0" timeout="20s" interval="30s"/>
<action name="monitor" depth="10" timeout="45s" interval="0"/>
<action name="meta-data" timeout="soon" />
</actions>
</resource-agent>
"#;

    #[test]
    fn parameters_and_times_are_read() {
        let found = parse(TEXT).unwrap();
        let parameters: Vec<(&str, bool, bool)> =
            found.parameters.iter().map(|p| (p.name.as_str(), p.required, p.deprecated)).collect();
        assert_eq!(
            parameters,
            [("pgctl", false, false), ("ip", true, false), ("old", false, true)]
        );
        let seconds = |name, depth| {
            let action = found.action(name, depth).unwrap();
            let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
            (seconds(action.timeout), seconds(action.interval))
        };
        assert_eq!(seconds("start", None), (Some(120), None));
        assert_eq!(seconds("stop", None), (Some(120), None));
        assert_eq!(seconds("monitor", None), (Some(20), Some(30)), "without a role first");
        assert_eq!(seconds("monitor", Some(10)), (Some(45), None));
        assert_eq!(seconds("monitor", Some(20)), (Some(30), Some(7)), "any before none");
        assert_eq!(seconds("meta-data", None), (None, None));
        assert_eq!(found.action("promote", None), None);
    }

    #[test]
    fn what_is_no_meta_data_is_said() {
        assert!(parse("").unwrap_err().contains("no <resource-agent>"));
        assert!(parse("usage: agent {start|stop}").unwrap_err().contains("no <resource-agent>"));
        assert!(parse("<resource-agent></wrong>").unwrap_err().contains("no XML"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(<|>|action|parameter|name|=|\"|&|[0-9]{1,22}|ms|\\PC){0,30}") {
            let _ = (parse(&text), time(&text));
        }
    }
}
