//! `<errd>`, `<check>` and `<vhost>`: what is watched while the module runs.
use super::read::Reader;
use super::*;
use crate::config::findings::quoted;
use crate::config::grammar::Node;
use crate::config::values::{self, Host};

pub(super) fn action(text: &str) -> ErrorAction {
    match text {
        "restart" => ErrorAction::Restart,
        "stopstart" => ErrorAction::StopStart,
        "stop" => ErrorAction::Stop,
        "wait" => ErrorAction::Wait,
        "swap" => ErrorAction::Swap,
        "noaction" | "" => ErrorAction::Nothing,
        program => ErrorAction::Program(program.to_owned()),
    }
}

fn when(text: &str) -> When {
    match text {
        "prim" => When::Prim,
        "second" => When::Second,
        "both" => When::Both,
        "pre" => When::Pre,
        "sec" => When::Sec,
        other => When::Named(other.to_owned()),
    }
}

/// A checked host as the resolver takes it: an IPv6 address without its brackets.
fn host(text: &str) -> String {
    match values::host(text) {
        Ok(Host::Address(address)) => address.to_string(),
        Ok(Host::Name(_)) | Err(_) => text.to_owned(),
    }
}

impl Reader<'_> {
    pub(super) fn errd(&mut self, service: Node<'_>) -> Option<Errd> {
        let node = service.child("errd")?;
        if service.child("user").is_none() {
            let expected = "<user> beside <errd>";
            let remedy = "add <user/>: watched processes are started by the scripts";
            self.findings.mistake(node.element.at, "errd", expected, "none", remedy);
        }
        let mut procs = Vec::new();
        for child in node.children("proc") {
            procs.extend(self.proc(child));
        }
        Some(Errd { poll: node.time("polltimer"), procs })
    }

    fn proc(&mut self, node: Node<'_>) -> Option<Proc> {
        self.blank(node, "name");
        let name = node.given("name").map(str::trim).filter(|name| !name.is_empty())?;
        let service = node.switch("service");
        let (longest, what) = if service { (63, "a service") } else { (15, "a process") };
        if name.len() > longest && node.given("nameregex").is_none() {
            let expected = format!("{what} name of at most {longest} bytes");
            let remedy = match service {
                true => "give the name of the systemd unit",
                false => "the kernel keeps 15 bytes of a name: shorten it, use argregex= for more",
            };
            self.findings.mistake(node.at("name"), "proc", expected, quoted(name), remedy);
        }
        let services = node.given("restart_services").map(str::trim).filter(|s| !s.is_empty());
        if services.is_some() && !(service && action(node.text("action")) == ErrorAction::Restart) {
            let text = "has no effect here: it is for service=\"yes\" with action=\"restart\"";
            self.findings.note(node.element.at, "proc", Some("restart_services"), text);
        }
        let at_most = node.count("atmax");
        if at_most >= 0 && at_most < node.count("atleast") && node.given("atleast").is_some() {
            let expected = format!("atmax= of at least {}", node.count("atleast"));
            let found = at_most.to_string();
            let remedy = "atmax= must not be below atleast=";
            self.findings.mistake(node.at("atmax"), "proc", expected, found, remedy);
        }
        Some(Proc {
            name: name.to_owned(),
            service,
            name_pattern: node.given("nameregex").map(str::to_owned),
            argument_pattern: node.given("argregex").map(str::to_owned),
            at_least: if at_most == 0 { 0 } else { node.count("atleast") as u32 },
            at_most: u32::try_from(at_most).ok(),
            action: action(node.text("action")),
            class: when(node.text("class")),
            start_after: node.count("start_after") as u32,
            restart_services: services.map(str::to_owned),
        })
    }

    pub(super) fn checkers(&mut self, service: Node<'_>) -> Vec<Checker> {
        let mut found: Vec<(String, Checker)> = Vec::new();
        let mut split_brain = false;
        for check in service.children("check") {
            for kind in ["tcp", "ping", "intf", "ip", "custom", "module", "splitbrain"] {
                for node in check.children(kind) {
                    if kind == "splitbrain" && std::mem::replace(&mut split_brain, true) {
                        let expected = "one <splitbrain>";
                        let remedy = "put all witnesses into arg=, with spaces between";
                        let at = node.element.at;
                        self.findings.mistake(at, kind, expected, "another one", remedy);
                    }
                    let Some(checker) = self.checker(kind, node) else { continue };
                    let resource = format!("{kind}.{}", checker.ident);
                    if found.iter().any(|(known, _)| *known == resource) {
                        let expected = "each checker with its own ident";
                        let text = format!("{} again", quoted(&checker.ident));
                        let remedy = "rename one of them";
                        self.findings.mistake(node.at("ident"), kind, expected, text, remedy);
                    }
                    found.push((resource, checker));
                }
            }
        }
        found.into_iter().map(|(_, checker)| checker).collect()
    }

    fn checker(&mut self, kind: &'static str, node: Node<'_>) -> Option<Checker> {
        let plain = |ident: &str, default: &str, checker: CheckerKind| Checker {
            ident: ident.to_owned(),
            when: when(node.text("when")),
            action: action(node.given("action").unwrap_or(default)),
            kind: checker,
        };
        match kind {
            "custom" => {
                let exec = node.text("exec").to_owned();
                let arg = node.text("arg").to_owned();
                return Some(plain(
                    node.text("ident"),
                    "noaction",
                    CheckerKind::Custom { exec, arg },
                ));
            }
            "splitbrain" => {
                let exec = node.text("exec").to_owned();
                let arg = self.witnesses(node, &exec);
                let checker = CheckerKind::SplitBrain { exec, arg };
                let ident = node.text("ident").to_owned();
                return Some(Checker {
                    ident,
                    when: When::Pre,
                    action: ErrorAction::Wait,
                    kind: checker,
                });
            }
            "module" => return Some(module(node)),
            _ => {}
        }
        let Some(to) = node.child("to") else {
            let expected = "<to> inside";
            let remedy = format!("say what is checked: <{kind} …><to …/></{kind}>");
            self.findings.mistake(node.element.at, kind, expected, "none", remedy);
            return None;
        };
        for attribute in ["addr", "port", "local_addr"] {
            if to.rule.attributes.iter().any(|known| known.name == attribute) {
                self.blank(to, attribute);
            }
        }
        let ident = node.text("ident");
        Some(match kind {
            "tcp" => {
                let default = if node.text("when") == "pre" { "wait" } else { "restart" };
                plain(
                    ident,
                    default,
                    CheckerKind::Tcp {
                        addr: host(to.given("addr")?),
                        port: to.given("port").map(|_| to.count("port") as u16)?,
                        interval: to.time("interval"),
                        timeout: to.time("timeout"),
                    },
                )
            }
            "ping" => plain(
                ident,
                "wait",
                CheckerKind::Ping {
                    addr: host(to.given("addr")?),
                    interval: to.time("interval"),
                    timeout: to.time("timeout"),
                },
            ),
            "intf" => {
                let local_addr = host(to.given("local_addr")?);
                plain(ident, "wait", CheckerKind::Interface { interface: None, local_addr })
            }
            _ => plain(
                ident,
                "stopstart",
                CheckerKind::Address {
                    addr: host(to.given("addr")?),
                    interval: to.time("interval"),
                },
            ),
        })
    }

    /// `arg` of `<splitbrain>`: hosts for `ping`, anything for a program. Nobody to ask would mean
    /// that every node is cut off.
    fn witnesses(&mut self, node: Node<'_>, exec: &str) -> String {
        let arg = node.text("arg");
        if exec != "ping" {
            return arg.to_owned();
        }
        if arg.trim().is_empty() && node.element.attribute("arg").is_some() {
            self.blank(node, "arg");
            let text = "is empty: to be filled in before the module is started";
            self.findings.note(node.element.at, "splitbrain", Some("arg"), text);
        }
        for word in arg.split_whitespace() {
            if let Err(expected) = values::host(word) {
                let remedy = "write the addresses of witnesses, with spaces between";
                let at = node.at("arg");
                self.findings.mistake(at, "splitbrain", expected, quoted(word), remedy);
            }
        }
        let words: Vec<String> = arg.split_whitespace().map(host).collect();
        words.join(" ")
    }

    pub(super) fn virtual_hosts(&mut self, service: Node<'_>) -> Vec<VirtualHost> {
        let mut hosts: Vec<VirtualHost> = Vec::new();
        let Some(vhost) = service.child("vhost") else { return hosts };
        for node in vhost.children("virtualhostname") {
            self.blank(node, "name");
            let file = node.text("envfile");
            if file.contains('/') || matches!(file, "." | "..") {
                let remedy = "scripts find it in SAFEUSERBIN: write its name alone";
                let at = node.at("envfile");
                self.findings.mistake(at, "virtualhostname", "a file name", quoted(file), remedy);
            }
            if hosts.iter().any(|known| known.env_file == file) {
                let (found, remedy) = (format!("{} again", quoted(file)), "choose another one");
                let at = node.at("envfile");
                self.findings.mistake(at, "virtualhostname", "each file once", found, remedy);
            }
            let Some(name) = node.given("name") else { continue };
            if !matches!(values::host(name), Ok(Host::Name(_))) {
                let (at, remedy) = (node.at("name"), "correct name=");
                let found = quoted(name);
                self.findings.mistake(at, "virtualhostname", "a host name", found, remedy);
            }
            let when = when(node.text("when"));
            if let Some(first) = hosts.iter().find(|known| known.when == when) {
                let text = format!(
                    "scripts have one name at a time: that of the first with when=\"{}\", {}",
                    when.as_str(),
                    first.name
                );
                self.findings.note(node.element.at, "virtualhostname", None, text);
            }
            let (name, env_file) = (name.to_owned(), file.to_owned());
            hosts.push(VirtualHost { name, env_file, when });
        }
        hosts
    }
}

/// `<module>`: depends on another module; without `<to>` on this node's.
fn module(node: Node<'_>) -> Checker {
    let name = node.text("name").to_owned();
    let to = node.child("to");
    let addr = to.and_then(|to| to.given("addr"));
    let ident = match (node.given("ident"), addr) {
        (Some(ident), _) => ident.to_owned(),
        (None, Some(addr)) => format!("{name}_{addr}"),
        (None, None) => name.clone(),
    };
    let kind = CheckerKind::Module {
        name,
        addr: addr.map(host),
        port: to.map_or(9010, |to| to.count("port") as u16),
        interval: to.map_or(Duration::from_secs(10), |to| to.time("interval")),
        timeout: to.map_or(Duration::from_secs(5), |to| to.time("timeout")),
        secure: to.is_some_and(|to| to.switch("secure")),
    };
    Checker { ident, when: when(node.text("when")), action: ErrorAction::Wait, kind }
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::read;
    use super::*;

    fn kinds(inside: &str) -> Vec<CheckerKind> {
        let config = read(&format!("<check>{inside}</check>")).expect("valid");
        config.checkers.into_iter().map(|checker| checker.kind).collect()
    }

    /// The resolver knows no brackets: with them, everything would be down for ever.
    #[test]
    fn hosts_are_handed_on_as_the_resolver_takes_them() {
        let kinds = kinds(
            "<tcp ident=\"a\"><to addr=\"[fd00::1]\" port=\"80\"/></tcp>\
             <ping ident=\"a\"><to addr=\"[FD00::0:1]\"/></ping>\
             <intf ident=\"a\"><to local_addr=\"[fd00::1]\"/></intf>\
             <ip ident=\"a\"><to addr=\"[fd00::1]\"/></ip>\
             <module name=\"m\"><to addr=\"[fd00::1]\"/></module>\
             <splitbrain ident=\"a\" arg=\" [fd00::1]  gate.example \"/>\
             <custom ident=\"a\" exec=\"q\" arg=\"[fd00::1] x\"/>",
        );
        let hosts: Vec<String> = kinds
            .into_iter()
            .map(|kind| match kind {
                CheckerKind::Tcp { addr, .. }
                | CheckerKind::Ping { addr, .. }
                | CheckerKind::Address { addr, .. } => addr,
                CheckerKind::Interface { local_addr, .. } => local_addr,
                CheckerKind::Module { addr, .. } => addr.expect("an address"),
                CheckerKind::SplitBrain { arg, .. } | CheckerKind::Custom { arg, .. } => arg,
                CheckerKind::Application { resource } => resource,
                CheckerKind::Mounted { .. } => unreachable!("nobody writes it"),
            })
            .collect();
        let one = "fd00::1";
        assert_eq!(hosts, [one, one, one, one, "[fd00::1] x", one, "fd00::1 gate.example"]);
    }

    #[test]
    fn a_second_name_at_one_time_is_noted() {
        let config = read(
            "<vhost><virtualhostname name=\"a\" envfile=\"a\"/>\
             <virtualhostname name=\"b\" envfile=\"b\" when=\"both\"/>\
             <virtualhostname name=\"c\" envfile=\"c\"/></vhost><user/>",
        );
        let notes = config.expect("valid").notes;
        let texts: Vec<String> = notes.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("the first with when=\"prim\", a"), "{texts:?}");
    }

    #[test]
    fn what_is_not_filled_in_forbids_a_start() {
        for (inside, name) in [
            ("<check><tcp ident=\"a\"><to addr=\"\" port=\"80\"/></tcp></check>", "to addr"),
            ("<check><tcp ident=\"a\"><to addr=\"db\" port=\" \"/></tcp></check>", "to port"),
            ("<check><ping ident=\"a\"><to addr=\"\"/></ping></check>", "to addr"),
            ("<check><intf ident=\"a\"><to local_addr=\"\"/></intf></check>", "to local_addr"),
            ("<check><ip ident=\"a\"><to addr=\"\"/></ip></check>", "to addr"),
            ("<user/><errd><proc name=\"\"/></errd>", "proc name"),
            ("<check><splitbrain ident=\"a\" arg=\" \"/></check>", "splitbrain arg"),
        ] {
            let config = read(inside).expect("a template");
            let refused = config.startable().expect_err(inside);
            assert!(refused.contains(&format!("<{name}=> is empty")), "{inside}: {refused}");
            let noted = config.notes.iter().any(|note| note.text.contains("to be filled in"));
            assert!(noted, "{inside}: {:?}", config.notes);
        }
        let program = "<check><splitbrain ident=\"a\" exec=\"ask\" arg=\"\"/></check>";
        assert_eq!(read(program).expect("valid").startable(), Ok(()));
        let wrong = read("<check><splitbrain ident=\"a\" arg=\"10.0.0\"/></check>");
        let wrong = wrong.expect_err("no host").to_string();
        assert!(wrong.contains("<splitbrain>: expected an IPv4 address"), "{wrong}");
    }
}
