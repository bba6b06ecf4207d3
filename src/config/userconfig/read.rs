//! From the tree of `userconfig.xml` to [`UserConfig`]: the order of the steps, and the elements
//! that need no file of their own.
use super::rules::last_time;
use super::*;
use crate::config::findings::{Findings, did_you_mean, quoted};
use crate::config::grammar::{self, Node, safe::SAFE};
use crate::config::values::{self, Host};
use crate::config::{macros, xml};
use crate::rules::builtin;

/// Builds the parts; what a table cannot say is checked on the way.
pub(super) struct Reader<'a> {
    pub(super) around: &'a Surroundings,
    pub(super) findings: &'a mut Findings,
    pub(super) blanks: Vec<String>,
}

pub(super) fn read(file: &Path, text: &str, around: &Surroundings) -> Result<Reading, Mistakes> {
    let mut findings = Findings::new(file, text);
    let Some(mut tree) = xml::parse(text, "safe", &mut findings) else {
        // Without a tree there is a mistake; the empty configuration below is never returned.
        findings.finish()?;
        return Err(Mistakes(Vec::new()));
    };
    let expansion = macros::expand(&mut tree, &around.environment, &mut findings);
    grammar::check(&tree, &SAFE, &SAFE, &mut findings);
    let root = Node { element: &tree, rule: &SAFE };
    let mut reader = Reader { around, findings: &mut findings, blanks: Vec::new() };
    let config = match root.child("service") {
        Some(service) => Some(reader.service(service)),
        None => {
            let remedy = "add <service mode=\"mirror\"> … </service>";
            reader.findings.mistake(tree.at, "safe", "<service>", "none", remedy);
            None
        }
    };
    let blanks = reader.blanks;
    let notes = findings.finish()?;
    let Some(mut config) = config else { return Err(Mistakes(Vec::new())) };
    config.notes = notes;
    config.blanks = blanks;
    config.macros = expansion.macros;
    let expanded = macros::rewritten(text, &expansion.edits);
    Ok(Reading { config, expanded })
}

impl Reader<'_> {
    fn service(&mut self, service: Node<'_>) -> UserConfig {
        let mode = match service.text("mode") {
            "farm" => Mode::Farm,
            "light" => Mode::Light,
            _ => Mode::Mirror,
        };
        let (heart, mut heartbeats) = self.heart(service, mode);
        let vip = self.vip(service, mode);
        let rfs = self.rfs(service, mode);
        let flow = rfs.as_ref().and_then(|rfs| rfs.flow.clone());
        super::heart::choose_flow(&mut heartbeats, flow.as_deref());
        let (user, vars) = self.user(service);
        let checkers = self.checkers(service);
        let applications = self.applications(service);
        UserConfig {
            mode,
            boot: match service.text("boot") {
                "on" => Boot::On,
                "off" => Boot::Off,
                "auto" => Boot::Auto,
                _ => Boot::Ignore,
            },
            boot_delay: service.time("boot_delay"),
            failover: service.switch("failover"),
            defaultprim: self.default_prim(service),
            maxloop: service.count("maxloop") as u32,
            loop_interval: service.time("loop_interval"),
            automatic_reboot: service.switch("automatic_reboot"),
            quorum: match service.text("quorum") {
                "preferred" => Quorum::Preferred,
                "fence" => Quorum::Fence,
                "manual" => Quorum::Manual,
                "ping" => Quorum::Ping,
                _ => Quorum::BothAlone,
            },
            start_checked: match service.given("start") {
                Some(said) => said == "checked",
                None => !applications.is_empty(),
            },
            heart,
            heartbeats,
            tcp_reset: service.child("vip").is_some_and(|vip| vip.switch("tcpreset")),
            vips: vip,
            rfs,
            errd: self.errd(service),
            failover_rules: self.failover_rules(service, &checkers, &applications),
            rules_period: last_time(service, "period", builtin::PERIOD),
            rules_handle_time: last_time(service, "handle_time", builtin::HANDLE_TIME),
            checkers,
            user,
            applications,
            vars,
            virtual_hosts: self.virtual_hosts(service),
            macros: Vec::new(),
            notes: Vec::new(),
            blanks: Vec::new(),
        }
    }

    fn default_prim(&mut self, service: Node<'_>) -> DefaultPrim {
        let text = service.text("defaultprim").trim();
        // The guide of SafeKit writes `hostname node1` in one place and `node1` in another.
        let name = text.strip_prefix("hostname ").map_or(text, str::trim);
        match name {
            "alone" => return DefaultPrim::Alone,
            "lastprim" => return DefaultPrim::LastPrim,
            _ => {}
        }
        let at = service.at("defaultprim");
        let nodes = self.around.cluster.as_ref().map(ClusterConfig::nodes);
        let known = |node: &NodeName| nodes.as_ref().is_none_or(|nodes| nodes.contains(node));
        match NodeName::new(name) {
            Ok(node) if known(&node) => DefaultPrim::Node(node),
            _ => {
                let nodes = nodes.unwrap_or_default();
                let words = ["alone", "lastprim"];
                let names = words.into_iter().chain(nodes.iter().map(NodeName::as_str));
                let near = did_you_mean(name, names);
                let expected = "alone, lastprim or a node of cluster.xml";
                let remedy = if near.is_empty() { "correct defaultprim=".into() } else { near };
                self.findings.mistake(at, "service", expected, quoted(text), remedy);
                DefaultPrim::Alone
            }
        }
    }

    fn user(&mut self, service: Node<'_>) -> (Option<UserBlock>, Vec<(String, String)>) {
        let Some(user) = service.child("user") else {
            let text = "there is no <user>: no script of the module runs";
            self.findings.note(service.element.at, "service", None, text);
            return (None, Vec::new());
        };
        let block = UserBlock {
            nice_stop: user.time("nicestoptimeout"),
            force_stop: user.time("forcestoptimeout"),
            logging: user.text("logging") == "userlog",
            log_kb: user.count("userlogsize") as u64,
        };
        let mut vars: Vec<(String, String)> = Vec::new();
        for var in user.children("var") {
            let (name, value) = (var.text("name"), var.text("value"));
            if vars.iter().any(|(known, _)| known == name) {
                let found = format!("{} again", quoted(name));
                let remedy = "drop one of the two lines";
                self.findings.mistake(var.at("name"), "var", "each variable once", found, remedy);
            }
            if value.contains('\0') {
                let expected = "a value without NUL";
                self.findings.mistake(var.at("value"), "var", expected, "one", "remove it");
            }
            vars.push((name.to_owned(), value.to_owned()));
        }
        (Some(block), vars)
    }

    /// The value of a blank attribute is missed at the start.
    pub(super) fn blank(&mut self, node: Node<'_>, attribute: &str) {
        let Some(found) = node.element.attribute(attribute) else { return };
        if found.value.trim().is_empty() {
            let place = self.findings.place(node.element.at);
            let name = node.rule.name;
            self.blanks.push(format!(
                "{place}: <{name} {attribute}=> is empty: fill it in, then apply the configuration"
            ));
        }
    }

    /// The address behind a host attribute; a name that cannot be resolved stops a start only.
    pub(super) fn address(&mut self, node: Node<'_>, attribute: &str) -> Option<IpAddr> {
        let text = node.given(attribute)?;
        let address = match values::host(text).ok()? {
            Host::Address(address) => Some(address),
            Host::Name(name) => (self.around.resolve)(&name),
        };
        let at = node.at(attribute);
        match address {
            Some(address) if values::usable(address) => Some(address),
            Some(address) => {
                let expected = "an address that a host can have";
                let remedy = format!("correct {attribute}=");
                let found = address.to_string();
                self.findings.mistake(at, node.rule.name, expected, found, remedy);
                None
            }
            None => {
                let text = format!("{} cannot be resolved on this node", quoted(text));
                self.findings.note(at, node.rule.name, Some(attribute), text.as_str());
                let place = self.findings.place(at);
                self.blanks.push(format!("{place}: {text}: give the address itself"));
                None
            }
        }
    }
}
