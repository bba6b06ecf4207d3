//! `<vip>`: the addresses that move with the primary.
use super::read::Reader;
use super::*;
use crate::config::grammar::Node;
use crate::config::values;

impl Reader<'_> {
    pub(super) fn vip(&mut self, service: Node<'_>, mode: Mode) -> Vec<VirtualAddress> {
        let mut found: Vec<VirtualAddress> = Vec::new();
        let Some(vip) = service.child("vip") else { return found };
        for list in vip.children("interface_list") {
            for interface in list.children("interface") {
                self.check_kind(interface, mode);
                for real in interface.children("real_interface") {
                    for node in real.children("virtual_addr") {
                        let address = self.virtual_address(interface, node);
                        let Some(address) = address else { continue };
                        self.check_owner(node, &address, &found);
                        found.push(address);
                    }
                }
            }
        }
        found
    }

    fn check_kind(&mut self, interface: Node<'_>, mode: Mode) {
        if mode == Mode::Mirror
            && let Some(farm) = interface.child("virtual_interface")
        {
            let expected = "<real_interface> in a mirror module";
            let remedy = "write <real_interface> with where=\"one_side_alias\"";
            let found = "<virtual_interface>";
            let at = farm.element.at;
            self.findings.mistake(at, "virtual_interface", expected, found, remedy);
        }
    }

    fn virtual_address(&mut self, interface: Node<'_>, node: Node<'_>) -> Option<VirtualAddress> {
        self.blank(node, "addr");
        let addr = self.address(node, "addr")?;
        let prefix = node.given("netmask").and_then(|text| values::netmask(text).ok());
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        if let Some(prefix) = prefix
            && prefix > longest
        {
            let expected = format!("a prefix of at most {longest} for {addr}");
            let remedy = "correct netmask=";
            let at = node.at("netmask");
            self.findings.mistake(at, "virtual_addr", expected, prefix.to_string(), remedy);
        }
        Some(VirtualAddress {
            addr,
            interface: interface.given("name").map(str::to_owned),
            prefix,
            one_side: node.text("where") == "one_side",
            arpreroute: interface.switch("arpreroute").then(|| interface.time("arpinterval")),
            arp_elapse: interface.time("arpelapse"),
            check: node.switch("check"),
            check_interface: interface.switch("check"),
            connections: node.switch("connections"),
        })
    }

    /// An address has one owner: one line of one module, and no node.
    fn check_owner(&mut self, node: Node<'_>, address: &VirtualAddress, known: &[VirtualAddress]) {
        let addr = address.addr;
        let at = node.at("addr");
        let neighbour = self.around.neighbours.iter().find(|other| other.vips.contains(&addr));
        let lans = self.around.cluster.iter().flat_map(|cluster| &cluster.lans);
        let mut nodes = lans.flat_map(|lan| &lan.addresses);
        let (expected, found) = if known.iter().any(|other| other.addr == addr) {
            ("each virtual address once", format!("{addr} again"))
        } else if let Some(other) = neighbour {
            ("an address of this module alone", format!("{addr}, which module {} has", other.name))
        } else if let Some((owner, _)) = nodes.find(|(_, known)| *known == addr) {
            ("an address that no node has", format!("{addr}, which is node {owner}'s own"))
        } else {
            return;
        };
        let remedy = "take an unused address";
        self.findings.mistake(at, "virtual_addr", expected, found, remedy);
    }
}
