//! Checkers by their resources, and those that nobody has to write.
use crate::actions::vip::own_prefix;
use crate::config::userconfig::{Checker, CheckerKind, ErrorAction, UserConfig, When};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// How often a virtual address is looked for when the kernel announces nothing.
const ADDRESS_POLL: Duration = Duration::from_secs(10);

/// Resource `rfs.mounted`: the replicated directories answer.
const MOUNTED: &str = "mounted";

/// The resource of a checker: `class.ident`.
pub(super) fn resource(checker: &Checker) -> String {
    let class = match &checker.kind {
        CheckerKind::Tcp { .. } => "tcp",
        CheckerKind::Ping { .. } => "ping",
        CheckerKind::Interface { .. } => "intf",
        CheckerKind::Address { .. } => "ip",
        CheckerKind::Custom { .. } => "custom",
        CheckerKind::Module { .. } => "module",
        CheckerKind::Mounted { .. } => "rfs",
        CheckerKind::SplitBrain { .. } => "splitbrain",
        CheckerKind::Application { resource } => return resource.clone(),
    };
    format!("{class}.{}", checker.ident)
}

/// `interface check=`, `virtual_addr check=`, `rfs checktime=` and the monitors of `<ocf>` and
/// `<unit>` are checkers that nobody has to write. An interface is called by the network of its
/// first address; where another one has that name already, by its own, so that each is watched.
pub(super) fn implied(config: &UserConfig) -> Vec<Checker> {
    let mut implied: Vec<Checker> = Vec::new();
    for vip in &config.vips {
        if vip.check_interface {
            let (interface, local_addr) = (vip.interface.clone(), vip.addr.to_string());
            let kind = CheckerKind::Interface { interface, local_addr };
            let prefix = vip.prefix.or_else(|| own_prefix(vip.addr));
            let (ident, when) = (network(vip.addr, prefix).to_string(), When::Pre);
            implied.push(Checker { ident, when, action: ErrorAction::Wait, kind });
        }
        if vip.check {
            let addr = vip.addr.to_string();
            let kind = CheckerKind::Address { addr: addr.clone(), interval: ADDRESS_POLL };
            let (when, action) = (When::Prim, ErrorAction::StopStart);
            implied.push(Checker { ident: addr, when, action, kind });
        }
    }
    for named in &config.applications {
        let (ident, resource) = (named.application.ident.clone(), named.application.resource());
        let (when, action) = (When::Prim, named.action.clone());
        implied.push(Checker { ident, when, action, kind: CheckerKind::Application { resource } });
    }
    if let Some(rfs) = &config.rfs {
        let dirs = rfs.dirs.iter().map(|dir| dir.path.clone()).collect();
        let (interval, limit) = (rfs.probe_interval, rfs.probe_limit);
        let kind = CheckerKind::Mounted { dirs, interval, limit };
        let (ident, when, action) = (MOUNTED.to_owned(), When::Prim, ErrorAction::StopStart);
        implied.push(Checker { ident, when, action, kind });
    }
    let mut links: BTreeMap<String, Option<String>> = BTreeMap::new();
    for checker in &mut implied {
        let CheckerKind::Interface { interface, .. } = &checker.kind else { continue };
        let first = links.entry(checker.ident.clone()).or_insert_with(|| interface.clone());
        if let (Some(own), true) = (interface, first != interface) {
            checker.ident.clone_from(own);
        }
    }
    let mut known = std::collections::HashSet::new();
    implied.retain(|checker| {
        let name = resource(checker);
        !config.checkers.iter().any(|other| resource(other) == name) && known.insert(name)
    });
    implied
}

/// The network that an interface checker is called by; where nothing is known of it, of the usual
/// size.
fn network(addr: IpAddr, prefix: Option<u8>) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => {
            let bits = u32::from(prefix.unwrap_or(24).min(32));
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            IpAddr::V4((u32::from(addr) & mask).into())
        }
        IpAddr::V6(addr) => {
            let bits = u32::from(prefix.unwrap_or(64).min(128));
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            IpAddr::V6((u128::from(addr) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Paths;
    use crate::config::userconfig::Surroundings;
    use std::path::Path;

    #[test]
    fn a_network_is_called_by_its_own_size() {
        let network = |addr: &str, prefix| network(addr.parse().unwrap(), prefix).to_string();
        assert_eq!(network("10.8.200.9", Some(16)), "10.8.0.0");
        assert_eq!(network("10.8.200.9", None), "10.8.200.0");
        assert_eq!(network("10.8.200.9", Some(0)), "0.0.0.0");
        assert_eq!(network("fd00::7:1", Some(112)), "fd00::7:0");
    }

    #[test]
    fn the_checker_of_a_named_interface_watches_that_one() {
        let text = "<safe><service mode=\"mirror\"><heart><heartbeat name=\"a\"/></heart><vip>\
                    <interface_list><interface name=\"bond0\"><real_interface>\
                    <virtual_addr addr=\"192.0.2.9\" where=\"one_side_alias\" netmask=\"16\"/>\
                    </real_interface></interface></interface_list></vip></service></safe>";
        let around = Surroundings::of(&Paths::system());
        let config = UserConfig::parse(Path::new("u"), text, &around).unwrap().config;
        let implied = implied(&config);
        let names: Vec<String> = implied.iter().map(resource).collect();
        assert_eq!(names, ["intf.192.0.0.0", "ip.192.0.2.9"]);
        let (interface, local_addr) = (Some("bond0".to_owned()), "192.0.2.9".to_owned());
        assert_eq!(implied[0].kind, CheckerKind::Interface { interface, local_addr });
    }
    #[test]
    fn two_interfaces_with_addresses_of_one_network_are_both_watched() {
        let interface = |name: &str, addr: &str| {
            format!(
                "<interface name=\"{name}\"><real_interface><virtual_addr addr=\"{addr}\" \
                 where=\"one_side_alias\" netmask=\"24\"/></real_interface></interface>"
            )
        };
        let both = interface("bond0", "192.0.2.9") + &interface("bond1", "192.0.2.10");
        let text = format!(
            "<safe><service mode=\"mirror\"><heart><heartbeat name=\"a\"/></heart><vip>\
             <interface_list>{both}</interface_list></vip></service></safe>"
        );
        let around = Surroundings::of(&Paths::system());
        let config = UserConfig::parse(Path::new("u"), &text, &around).unwrap().config;
        let names: Vec<String> = implied(&config).iter().map(resource).collect();
        assert_eq!(names, ["intf.192.0.2.0", "ip.192.0.2.9", "intf.bond1", "ip.192.0.2.10"]);
    }
}
