//! The addresses that this machine has now, and what lies in one subnet with them.
use nix::sys::socket::SockaddrStorage;
use std::net::IpAddr;

/// All of them, with the prefix lengths of their subnets. Empty: the kernel did not say.
pub fn addresses() -> Vec<(IpAddr, u8)> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    all.filter_map(|interface| {
        let address = ip_of(&interface.address?)?;
        let prefix = match interface.netmask.as_ref().and_then(ip_of) {
            Some(IpAddr::V4(mask)) => mask.to_bits().leading_ones(),
            Some(IpAddr::V6(mask)) => mask.to_bits().leading_ones(),
            None => 128,
        };
        Some((address, prefix as u8))
    })
    .collect()
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
}

/// An address with nothing beside it is in no subnet.
pub fn same_subnet(own: IpAddr, prefix: u8, other: IpAddr) -> bool {
    match (own, other) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            let shift = 32 - u32::from(prefix.min(32));
            let differ = u32::from(own) ^ u32::from(other);
            prefix < 32 && differ.checked_shr(shift).unwrap_or(0) == 0
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => {
            let shift = 128 - u32::from(prefix.min(128));
            let differ = u128::from(own) ^ u128::from(other);
            prefix < 128 && differ.checked_shr(shift).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_contain_what_they_should() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        assert!(same_subnet(ip("10.1.2.3"), 24, ip("10.1.2.99")));
        assert!(!same_subnet(ip("10.1.2.3"), 24, ip("10.1.3.3")));
        assert!(same_subnet(ip("10.1.2.3"), 0, ip("192.168.0.1")));
        assert!(!same_subnet(ip("10.1.2.3"), 32, ip("10.1.2.3")));
        assert!(same_subnet(ip("fd00::1"), 64, ip("fd00::2:3")));
        assert!(!same_subnet(ip("fd00::1"), 64, ip("fd01::1")));
        assert!(!same_subnet(ip("10.1.2.3"), 8, ip("fd00::1")));
    }
}
