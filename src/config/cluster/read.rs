//! From the tree of `cluster.xml` to [`ClusterConfig`], with what no table can say.
use super::{ClusterConfig, Lan};
use crate::config::findings::{Findings, quoted};
use crate::config::grammar::{self, Node, nodes::CLUSTER};
use crate::config::mistake::Mistakes;
use crate::config::values::{self, Host};
use crate::config::xml;
use crate::model::NodeName;
use std::net::IpAddr;
use std::path::Path;

/// More nodes than this is no pair and no small group.
const NODES_MAX: usize = 64;

pub(super) fn read(
    file: &Path,
    text: &str,
    resolve: fn(&str) -> Option<IpAddr>,
) -> Result<ClusterConfig, Mistakes> {
    let mut findings = Findings::new(file, text);
    let tree = xml::parse(text, "cluster", &mut findings);
    let mut config = ClusterConfig {
        port: super::PORT_DEFAULT,
        pulse: std::time::Duration::ZERO,
        mlost_count: 0,
        slost_count: 0,
        lans: Vec::new(),
        notes: Vec::new(),
    };
    if let Some(tree) = &tree {
        grammar::check(tree, &CLUSTER, &CLUSTER, &mut findings);
        let root = Node { element: tree, rule: &CLUSTER };
        match root.child("lans") {
            Some(lans) => fill(&mut config, lans, resolve, &mut findings),
            None => {
                findings.mistake(tree.at, "cluster", "<lans>", "none", "add <lans> with a <lan>")
            }
        }
    }
    config.notes = findings.finish()?;
    Ok(config)
}

fn fill(
    config: &mut ClusterConfig,
    lans: Node<'_>,
    resolve: fn(&str) -> Option<IpAddr>,
    findings: &mut Findings,
) {
    config.port = lans.count("port") as u16;
    config.pulse = lans.time("pulse");
    config.mlost_count = lans.count("mlost_count") as u32;
    config.slost_count = lans.count("slost_count") as u32;
    for node in lans.children("lan") {
        let lan = lan(node, resolve, findings);
        if config.lan(&lan.name).is_some() {
            let found = format!("{} again", quoted(&lan.name));
            findings.mistake(node.at("name"), "lan", "each lan once", found, "rename one of them");
        }
        if lan.command && config.lans.iter().any(|other| other.command) {
            let remedy = "leave command=\"on\" on one lan";
            findings.mistake(node.at("command"), "lan", "one command lan", "another one", remedy);
        }
        config.lans.push(lan);
    }
    if config.lans.is_empty() {
        findings.mistake(lans.element.at, "lans", "at least one <lan>", "none", "add one");
        return;
    }
    if !config.lans.iter().any(|lan| lan.command) {
        config.lans[0].command = true;
    }
    check_nodes(config, lans, findings);
}

fn lan(node: Node<'_>, resolve: fn(&str) -> Option<IpAddr>, findings: &mut Findings) -> Lan {
    let mut lan = Lan {
        name: node.text("name").to_owned(),
        command: node.switch("command"),
        addresses: Vec::new(),
        local_addresses: Vec::new(),
    };
    for member in node.children("node") {
        let name = match NodeName::new(member.text("name")) {
            Ok(name) => name,
            Err(error) => {
                // An absent or refused name has been reported by the table.
                if member.given("name").is_some() {
                    let found = quoted(member.text("name"));
                    findings.mistake(member.at("name"), "node", error.expected, found, "rename it");
                }
                continue;
            }
        };
        if lan.addresses.iter().any(|(known, _)| *known == name) {
            let found = format!("{name} again");
            let remedy = "drop one of the two lines";
            findings.mistake(member.at("name"), "node", "each node once in a lan", found, remedy);
            continue;
        }
        let Some(address) = address(member, "addr", resolve, findings) else { continue };
        if let Some((other, _)) = lan.addresses.iter().find(|(_, known)| *known == address) {
            let expected = "an address of its own for each node";
            let found = format!("{address}, which is {other}'s");
            findings.mistake(member.at("addr"), "node", expected, found, "correct one of the two");
        }
        if member.given("laddr").is_some()
            && let Some(local) = self::address(member, "laddr", resolve, findings)
        {
            lan.local_addresses.push((name.clone(), local));
        }
        lan.addresses.push((name, address));
    }
    lan
}

fn address(
    node: Node<'_>,
    attribute: &str,
    resolve: fn(&str) -> Option<IpAddr>,
    findings: &mut Findings,
) -> Option<IpAddr> {
    let text = node.given(attribute)?;
    let address = match values::host(text).ok()? {
        Host::Address(address) => Some(address),
        Host::Name(name) => resolve(&name),
    };
    match address {
        Some(address) if values::usable(address) => Some(address),
        Some(address) => {
            let remedy = "give the address of the node on this lan";
            let expected = "an address that a host can have";
            findings.mistake(node.at(attribute), "node", expected, address.to_string(), remedy);
            None
        }
        None => {
            let found = format!("{}, which this node cannot resolve", quoted(text));
            let remedy = "give the address itself, or add the name to /etc/hosts";
            let expected = "a host name that can be resolved";
            findings.mistake(node.at(attribute), "node", expected, found, remedy);
            None
        }
    }
}

fn check_nodes(config: &ClusterConfig, lans: Node<'_>, findings: &mut Findings) {
    let nodes = config.nodes();
    // One node is a cluster that others are about to join.
    if nodes.is_empty() || nodes.len() > NODES_MAX {
        let expected = format!("1 to {NODES_MAX} nodes");
        let remedy = "add a <node name= addr=> for every server";
        findings.mistake(lans.element.at, "lans", expected, nodes.len().to_string(), remedy);
        return;
    }
    for (lan, node) in config.lans.iter().zip(lans.children("lan")) {
        let missing: Vec<&str> = nodes
            .iter()
            .filter(|name| lan.address_of(name).is_none())
            .map(NodeName::as_str)
            .collect();
        // A node that could not be read is a mistake already, not a missing one.
        if missing.is_empty() || lan.addresses.len() < node.children("node").count() {
            continue;
        }
        if lan.command || (lan.addresses.len() < 2 && nodes.len() > 1) {
            let expected = match lan.command {
                true => "every node in the lan of commands",
                false => "at least two nodes in a lan",
            };
            let found = format!("none named {}", missing.join(", "));
            let remedy = "add the nodes, with the same names as in the other lans";
            findings.mistake(node.element.at, "lan", expected, found, remedy);
        } else {
            let text = format!("does not hold {}: no heartbeat to them here", missing.join(", "));
            findings.note(node.element.at, "lan", None, text);
        }
    }
}
