//! The frames with which an IP address is claimed on an Ethernet link, as bytes.
//!
//! * ARP probe and announcement: RFC 826 layout, RFC 5227 sections 1.1 and 2.3.
//! * Neighbour solicitation for duplicate address detection: RFC 4861 section 4.3, RFC 4862 5.4.2.
//! * Unsolicited neighbour advertisement: RFC 4861 sections 4.4 and 7.2.6.
//!
//! Pure: builds and reads bytes, sends nothing.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Hardware address of an Ethernet interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ARP_REQUEST: u8 = 1;
const ARP_REPLY: u8 = 2;
const ICMPV6: u8 = 58;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// All nodes on the link, `ff02::1`.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What a received frame says about the address that we asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Somebody holds it.
    Held(Mac),
    /// Somebody is about to take it and probes at the same time.
    Probing(Mac),
}

/// Asks whether anybody holds `addr`, without claiming it and without touching any cache
/// (sender protocol address zero, or the unspecified source address).
pub fn probe(mac: Mac, addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => {
            arp(mac, ARP_REQUEST, Ipv4Addr::UNSPECIFIED, Mac([0; 6]), addr).to_vec()
        }
        IpAddr::V6(addr) => {
            let group = solicited_node(addr);
            let mut body = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
            body.extend_from_slice(&addr.octets());
            icmpv6(mac, Ipv6Addr::UNSPECIFIED, group, body)
        }
    }
}

/// Tells everybody on the link that `addr` is at `mac` now. IPv4: the request form and the reply
/// form, because each is ignored by somebody. IPv6: one advertisement with the override flag.
pub fn announcements(mac: Mac, addr: IpAddr, router: bool) -> Vec<Vec<u8>> {
    match addr {
        IpAddr::V4(addr) => vec![
            arp(mac, ARP_REQUEST, addr, Mac([0; 6]), addr).to_vec(),
            // Linux takes a gratuitous reply only if its target hardware address is the sender's.
            arp(mac, ARP_REPLY, addr, mac, addr).to_vec(),
        ],
        IpAddr::V6(addr) => {
            let flags = if router { 0xa0 } else { 0x20 };
            let mut body = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
            body.extend_from_slice(&addr.octets());
            // Option 2, target link-layer address, length in units of eight bytes.
            body.extend_from_slice(&[2, 1]);
            body.extend_from_slice(&mac.0);
            vec![icmpv6(mac, addr, ALL_NODES, body)]
        }
    }
}

/// Reads a received frame: does it speak of `addr`, and did somebody else than `own` send it?
/// Frames that are too short or of other kinds are nothing to us.
pub fn claim_in(frame: &[u8], own: Mac, addr: IpAddr) -> Option<Claim> {
    match addr {
        IpAddr::V4(addr) => arp_claim(frame, own, addr),
        IpAddr::V6(addr) => neighbour_claim(frame, own, addr),
    }
}

fn arp_claim(frame: &[u8], own: Mac, addr: Ipv4Addr) -> Option<Claim> {
    let arp = frame.get(14..42)?;
    if frame[12..14] != ETHERTYPE_ARP || arp[..6] != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let sender = Mac(bytes_at(arp, 8)?);
    if sender == own || sender == Mac([0; 6]) {
        return None;
    }
    let sender_ip = Ipv4Addr::from(bytes_at::<4>(arp, 14)?);
    let target_ip = Ipv4Addr::from(bytes_at::<4>(arp, 24)?);
    if sender_ip == addr {
        return Some(Claim::Held(sender));
    }
    let is_probe = arp[7] == ARP_REQUEST && sender_ip.is_unspecified() && target_ip == addr;
    is_probe.then_some(Claim::Probing(sender))
}

fn neighbour_claim(frame: &[u8], own: Mac, addr: Ipv6Addr) -> Option<Claim> {
    let header = frame.get(14..54)?;
    let body = frame.get(54..78)?;
    if frame[12..14] != ETHERTYPE_IPV6 || header[6] != ICMPV6 || header[7] != 255 {
        return None;
    }
    let sender = Mac(bytes_at(frame, 6)?);
    let target = Ipv6Addr::from(bytes_at::<16>(body, 8)?);
    if sender == own || target != addr {
        return None;
    }
    let source = Ipv6Addr::from(bytes_at::<16>(header, 8)?);
    match body[0] {
        NEIGHBOUR_ADVERTISEMENT => Some(Claim::Held(sender)),
        NEIGHBOUR_SOLICITATION if source.is_unspecified() => Some(Claim::Probing(sender)),
        _ => None,
    }
}

fn bytes_at<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

fn arp(mac: Mac, operation: u8, sender: Ipv4Addr, target_mac: Mac, target: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[..6].copy_from_slice(&BROADCAST);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..14].copy_from_slice(&ETHERTYPE_ARP);
    // Hardware Ethernet, protocol IPv4, address lengths 6 and 4, operation.
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
    frame[22..28].copy_from_slice(&mac.0);
    frame[28..32].copy_from_slice(&sender.octets());
    frame[32..38].copy_from_slice(&target_mac.0);
    frame[38..42].copy_from_slice(&target.octets());
    frame
}

/// `ff02::1:ffXX:XXXX`, the group that every holder of `addr` has joined (RFC 4291 section 2.7.1).
pub fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Ethernet and IPv6 headers around an ICMPv6 body whose checksum field is still zero. Hop limit
/// 255: receivers drop neighbour messages that could have crossed a router.
fn icmpv6(mac: Mac, source: Ipv6Addr, group: Ipv6Addr, mut body: Vec<u8>) -> Vec<u8> {
    let sum = icmpv6_checksum(source, group, &body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    let [.., a, b, c, d] = group.octets();
    let mut frame = vec![0x33, 0x33, a, b, c, d];
    frame.extend_from_slice(&mac.0);
    frame.extend_from_slice(&ETHERTYPE_IPV6);
    frame.extend_from_slice(&[0x60, 0, 0, 0, 0, body.len() as u8, ICMPV6, 255]);
    frame.extend_from_slice(&source.octets());
    frame.extend_from_slice(&group.octets());
    frame.extend_from_slice(&body);
    frame
}

/// RFC 4443 section 2.3: one's complement sum over the pseudo header and the message.
fn icmpv6_checksum(source: Ipv6Addr, destination: Ipv6Addr, body: &[u8]) -> u16 {
    let mut words = Vec::with_capacity(40 + body.len());
    words.extend_from_slice(&source.octets());
    words.extend_from_slice(&destination.octets());
    words.extend_from_slice(&(body.len() as u32).to_be_bytes());
    words.extend_from_slice(&[0, 0, 0, ICMPV6]);
    words.extend_from_slice(body);
    let mut sum: u32 = 0;
    for pair in words.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn four() -> IpAddr {
        IpAddr::from([10, 0, 0, 9])
    }
    fn six() -> IpAddr {
        "fd00::9".parse().unwrap()
    }

    #[test]
    fn an_arp_probe_claims_nothing_and_asks_for_the_address() {
        let frame = probe(OWN, four());
        assert_eq!(frame.len(), 42);
        assert_eq!(&frame[28..32], &[0, 0, 0, 0]);
        assert_eq!(&frame[38..42], &[10, 0, 0, 9]);
        assert_eq!(claim_in(&frame, OTHER, four()), Some(Claim::Probing(OWN)));
        assert_eq!(claim_in(&frame, OWN, four()), None);
        assert_eq!(claim_in(&frame, OTHER, IpAddr::from([10, 0, 0, 8])), None);
    }

    #[test]
    fn announcements_are_read_as_claims_by_others_only() {
        for addr in [four(), six()] {
            for frame in announcements(OTHER, addr, false) {
                assert_eq!(claim_in(&frame, OWN, addr), Some(Claim::Held(OTHER)));
                assert_eq!(claim_in(&frame, OTHER, addr), None);
            }
        }
    }

    #[test]
    fn the_checksum_verifies_to_zero() {
        for frame in [probe(OWN, six()), announcements(OWN, six(), true).remove(0)] {
            let source = Ipv6Addr::from(bytes_at::<16>(&frame, 22).unwrap());
            let group = Ipv6Addr::from(bytes_at::<16>(&frame, 38).unwrap());
            assert_eq!(icmpv6_checksum(source, group, &frame[54..]), 0);
            assert_eq!(&frame[2..6], &group.octets()[12..]);
        }
        assert_eq!(
            solicited_node("fe80::12:3456".parse().unwrap()),
            "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap()
        );
    }

    #[test]
    fn short_and_foreign_frames_are_nothing() {
        for addr in [four(), six()] {
            let whole = announcements(OTHER, addr, false).remove(0);
            for length in 0..whole.len().min(78) {
                let _ = claim_in(&whole[..length], OWN, addr);
            }
            assert_eq!(claim_in(&[0; 100], OWN, addr), None);
        }
        assert_eq!(claim_in(&announcements(OTHER, six(), false)[0], OWN, four()), None);
    }
}
