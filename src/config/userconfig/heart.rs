//! `<heart>`: over which lans the nodes hear each other.
use super::read::Reader;
use super::*;
use crate::config::findings::{did_you_mean, quoted};
use crate::config::grammar::Node;

const PULSE_DEFAULT: Duration = Duration::from_millis(700);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

impl Reader<'_> {
    pub(super) fn heart(&mut self, service: Node<'_>, mode: Mode) -> (Heart, Vec<Heartbeat>) {
        let Some(node) = service.child("heart") else {
            if mode == Mode::Mirror {
                let remedy = "add <heart><heartbeat name=\"LAN\"/></heart>";
                self.findings.mistake(service.element.at, "service", "<heart>", "none", remedy);
            }
            let (pulse, timeout) = (PULSE_DEFAULT, TIMEOUT_DEFAULT);
            return (Heart { port: None, pulse, timeout, permanent_arp: false }, Vec::new());
        };
        let heart = Heart {
            port: node.given("port").map(|_| node.count("port") as u16),
            pulse: node.time("pulse"),
            timeout: node.time("timeout"),
            permanent_arp: node.switch("permanent_arp"),
        };
        self.check_times(node, heart.pulse, heart.timeout);
        let mut heartbeats: Vec<Heartbeat> = Vec::new();
        let mut blank = false;
        for child in node.children("heartbeat") {
            let heartbeat = self.heartbeat(child, &heart);
            blank |= heartbeat.is_none();
            let Some(heartbeat) = heartbeat else { continue };
            self.check_repeated(child, &heartbeat, &heartbeats);
            heartbeats.push(heartbeat);
        }
        if heartbeats.is_empty() && !blank && mode == Mode::Mirror {
            let expected = "at least one <heartbeat>";
            let remedy = "add <heartbeat name=\"LAN\"/>";
            self.findings.mistake(node.element.at, "heart", expected, "none", remedy);
        }
        (heart, heartbeats)
    }

    fn check_times(&mut self, node: Node<'_>, pulse: Duration, timeout: Duration) {
        if timeout > pulse {
            return;
        }
        let attribute = if node.given("timeout").is_some() { "timeout" } else { "pulse" };
        let expected = format!("a timeout longer than the pulse of {}ms", pulse.as_millis());
        let found = format!("{}ms", timeout.as_millis());
        let remedy = "several pulses must fit into the timeout";
        self.findings.mistake(node.at(attribute), node.rule.name, expected, found, remedy);
    }

    /// `None`: nothing that could be used, which has been said.
    fn heartbeat(&mut self, node: Node<'_>, heart: &Heart) -> Option<Heartbeat> {
        let mut servers = Vec::new();
        for server in node.children("server") {
            servers.extend(self.address(server, "addr"));
        }
        let lan = self.lan(node, &servers)?;
        let given = |name| node.given(name).map(|_| node.time(name));
        let heartbeat = Heartbeat {
            ident: node.given("ident").unwrap_or(&lan).to_owned(),
            flow: node.given("ident") == Some("flow"),
            pulse: given("pulse").unwrap_or(heart.pulse),
            timeout: given("timeout").unwrap_or(heart.timeout),
            lan,
            servers,
        };
        if node.given("pulse").is_some() || node.given("timeout").is_some() {
            self.check_times(node, heartbeat.pulse, heartbeat.timeout);
        }
        Some(heartbeat)
    }

    /// Name of the lan: written, or in the old form found by the servers' addresses.
    fn lan(&mut self, node: Node<'_>, servers: &[IpAddr]) -> Option<String> {
        let name = node.element.attribute("name").map(|attribute| attribute.value.trim());
        let old = node.children("server").next().is_some();
        match name {
            Some("") if !old => {
                let text = "is empty: to be filled in before the module is started";
                self.findings.note(node.element.at, "heartbeat", Some("name"), text);
                self.blank(node, "name");
                None
            }
            Some(name) if !name.is_empty() => self.known_lan(node, name),
            _ if !old => {
                let remedy = "add name=\"LAN\" with the name of a <lan> of cluster.xml";
                let expected = "the attribute name";
                self.findings.mistake(node.element.at, "heartbeat", expected, "none", remedy);
                None
            }
            _ => self.lan_of_servers(node, servers),
        }
    }

    fn known_lan(&mut self, node: Node<'_>, name: &str) -> Option<String> {
        let Some(cluster) = &self.around.cluster else { return Some(name.to_owned()) };
        if cluster.lan(name).is_some() {
            return Some(name.to_owned());
        }
        let names: Vec<&str> = cluster.lans.iter().map(|lan| lan.name.as_str()).collect();
        let near = did_you_mean(name, names.iter().copied());
        let remedy = if near.is_empty() { "correct name=, or add the lan".into() } else { near };
        let expected = format!("a lan of cluster.xml ({})", names.join(", "));
        self.findings.mistake(node.at("name"), "heartbeat", expected, quoted(name), remedy);
        None
    }

    fn lan_of_servers(&mut self, node: Node<'_>, servers: &[IpAddr]) -> Option<String> {
        let Some(cluster) = &self.around.cluster else { return Some("default".to_owned()) };
        let holds = |lan: &&super::super::cluster::Lan| {
            !servers.is_empty()
                && servers.iter().all(|server| lan.addresses.iter().any(|(_, a)| a == server))
        };
        if let Some(lan) = cluster.lans.iter().find(holds) {
            return Some(lan.name.clone());
        }
        let expected = "servers that are nodes of one lan of cluster.xml";
        let found = servers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
        let remedy = "write <heartbeat name=\"LAN\"/> instead of the servers";
        self.findings.mistake(node.element.at, "heartbeat", expected, found, remedy);
        None
    }

    fn check_repeated(&mut self, node: Node<'_>, heartbeat: &Heartbeat, known: &[Heartbeat]) {
        if known.iter().any(|other| other.lan == heartbeat.lan) {
            let found = format!("{} again", quoted(&heartbeat.lan));
            let remedy = "one <heartbeat> for each lan";
            self.findings.mistake(node.at("name"), "heartbeat", "each lan once", found, remedy);
        } else if known.iter().any(|other| other.ident == heartbeat.ident) {
            let found = format!("{} again", quoted(&heartbeat.ident));
            let remedy = "give each heartbeat its own ident";
            self.findings.mistake(node.at("ident"), "heartbeat", "each ident once", found, remedy);
        }
    }
}

/// Which lan carries the replication: `ident="flow"`, else the old `<flow name=>`, else the first.
pub(super) fn choose_flow(heartbeats: &mut [Heartbeat], named: Option<&str>) {
    if heartbeats.iter().any(|heartbeat| heartbeat.flow) {
        return;
    }
    let named = heartbeats.iter().position(|heartbeat| Some(heartbeat.lan.as_str()) == named);
    if let Some(heartbeat) = heartbeats.get_mut(named.unwrap_or(0)) {
        heartbeat.flow = true;
    }
}
