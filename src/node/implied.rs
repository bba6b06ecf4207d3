//! Checkers by their resources, and those that nobody has to write.
use crate::config::userconfig::{
    Checker, CheckerKind, ErrorAction, UserConfig, VirtualAddress, When,
};
use std::net::IpAddr;
use std::time::Duration;

/// How often a virtual address is looked for when the kernel announces nothing.
const ADDRESS_POLL: Duration = Duration::from_secs(10);

/// The resource of a checker: `class.ident`.
pub(super) fn resource(checker: &Checker) -> String {
    let class = match &checker.kind {
        CheckerKind::Tcp { .. } => "tcp",
        CheckerKind::Ping { .. } => "ping",
        CheckerKind::Interface { .. } => "intf",
        CheckerKind::Address { .. } => "ip",
        CheckerKind::Custom { .. } => "custom",
        CheckerKind::Module { .. } => "module",
        CheckerKind::SplitBrain { .. } => "splitbrain",
    };
    format!("{class}.{}", checker.ident)
}

/// `interface check=` and `virtual_addr check=` are checkers that nobody has to write.
pub(super) fn implied(config: &UserConfig) -> Vec<Checker> {
    let mut implied: Vec<Checker> = Vec::new();
    for vip in &config.vips {
        if vip.check_interface {
            let kind = CheckerKind::Interface { local_addr: vip.addr.to_string() };
            let (ident, when) = (network(vip).to_string(), When::Pre);
            implied.push(Checker { ident, when, action: ErrorAction::Wait, kind });
        }
        if vip.check {
            let addr = vip.addr.to_string();
            let kind = CheckerKind::Address { addr: addr.clone(), interval: ADDRESS_POLL };
            let (when, action) = (When::Prim, ErrorAction::StopStart);
            implied.push(Checker { ident: addr, when, action, kind });
        }
    }
    let mut known = std::collections::HashSet::new();
    implied.retain(|checker| {
        let name = resource(checker);
        !config.checkers.iter().any(|other| resource(other) == name) && known.insert(name)
    });
    implied
}

/// The network that an interface checker is called by.
fn network(vip: &VirtualAddress) -> IpAddr {
    match vip.addr {
        IpAddr::V4(addr) => {
            let bits = u32::from(vip.prefix.unwrap_or(24).min(32));
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            IpAddr::V4((u32::from(addr) & mask).into())
        }
        IpAddr::V6(addr) => {
            let bits = u32::from(vip.prefix.unwrap_or(64).min(128));
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            IpAddr::V6((u128::from(addr) & mask).into())
        }
    }
}
