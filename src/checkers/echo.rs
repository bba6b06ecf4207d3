//! One ICMP echo request and the answer to it (RFC 792, RFC 4443).
//!
//! A ping socket (`SOCK_DGRAM`) needs no rights where `net.ipv4.ping_group_range` allows it, and
//! gets only its own answers; elsewhere, root falls back to a raw socket, which sees the answers
//! of everybody. Either way an answer counts only with our identifier, number and payload.
use crate::watch::async_fd;
use rand::random;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const HEADER: usize = 8;
const TOKEN: usize = 32;

pub(super) struct Echo {
    fd: AsyncFd<OwnedFd>,
    v6: bool,
    raw: bool,
}

impl Echo {
    pub(super) fn open(v6: bool) -> io::Result<Echo> {
        match Echo::with(v6, false) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Echo::with(v6, true),
            other => other,
        }
    }

    fn with(v6: bool, raw: bool) -> io::Result<Echo> {
        let (domain, protocol) = match v6 {
            true => (Domain::IPV6, Protocol::ICMPV6),
            false => (Domain::IPV4, Protocol::ICMPV4),
        };
        let kind = if raw { Type::RAW } else { Type::DGRAM };
        let socket = Socket::new(domain, kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        Ok(Echo { fd: async_fd(socket.into(), interest)?, v6, raw })
    }

    /// Resolves when `to` has answered. The caller sets the limit.
    pub(super) async fn ask(&self, to: SocketAddr) -> io::Result<()> {
        // Connected: errors that routers report come back, and strangers' packets do not.
        SockRef::from(self.fd.get_ref()).connect(&to.into())?;
        let mut question =
            Question { v6: self.v6, identifier: random(), sequence: random(), token: random() };
        let packet = question.packet();
        let send = |fd: &OwnedFd| SockRef::from(fd).send(&packet);
        self.fd.async_io(Interest::WRITABLE, send).await?;
        if !self.raw {
            // The kernel has put the socket's port in place of our identifier.
            let own = SockRef::from(self.fd.get_ref()).local_addr()?;
            question.identifier = own.as_socket().map_or(0, |own| own.port());
        }
        loop {
            let mut packet = [0; 256];
            let receive = |fd: &OwnedFd| (&*SockRef::from(fd)).read(&mut packet);
            let length = self.fd.async_io(Interest::READABLE, receive).await?;
            let mut message = &packet[..length];
            if self.raw && !self.v6 {
                message = without_ip_header(message);
            }
            if question.is_answered_by(message) {
                return Ok(());
            }
        }
    }
}

struct Question {
    v6: bool,
    identifier: u16,
    sequence: u16,
    token: [u8; TOKEN],
}

impl Question {
    fn packet(&self) -> [u8; HEADER + TOKEN] {
        let mut packet = [0; HEADER + TOKEN];
        packet[0] = if self.v6 { 128 } else { 8 };
        packet[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        packet[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        packet[HEADER..].copy_from_slice(&self.token);
        // The kernel computes it for ICMPv6, whose sum covers addresses that it chooses.
        if !self.v6 {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    /// Our own question, which a raw socket on loopback sees too, is no answer.
    fn is_answered_by(&self, message: &[u8]) -> bool {
        let Some((header, token)) = message.split_at_checked(HEADER) else { return false };
        let reply = if self.v6 { 129 } else { 0 };
        header[..2] == [reply, 0]
            && header[4..6] == self.identifier.to_be_bytes()
            && header[6..8] == self.sequence.to_be_bytes()
            && token == self.token
    }
}

/// The length of an IPv4 header stands in its first byte.
fn without_ip_header(packet: &[u8]) -> &[u8] {
    let length = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    packet.get(length..).unwrap_or_default()
}

/// Internet checksum (RFC 1071) of a message of even length.
fn checksum(message: &[u8]) -> u16 {
    let words =
        message.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::tests::network::in_own_network;
    use std::time::Duration;
    use tokio::time::timeout;

    fn question(v6: bool) -> Question {
        Question { v6, identifier: 0x1234, sequence: 7, token: [0xa5; TOKEN] }
    }

    #[test]
    fn an_answer_is_ours_or_it_is_none() {
        for v6 in [false, true] {
            let question = question(v6);
            assert!(!question.is_answered_by(&question.packet()), "the question itself");
            let mut answer = question.packet();
            answer[0] = if v6 { 129 } else { 0 };
            assert!(question.is_answered_by(&answer));
            for at in [0, 1, 4, 5, 6, 7, 8, 39] {
                let mut other = answer;
                other[at] ^= 1;
                assert!(!question.is_answered_by(&other), "byte {at} differs");
            }
            assert!(!question.is_answered_by(&answer[..39]) && !question.is_answered_by(&[]));
        }
        assert_eq!(without_ip_header(&[0x45; 24]).len(), 4);
        assert!(without_ip_header(&[0x4f; 24]).is_empty() && without_ip_header(&[]).is_empty());
    }

    #[test]
    fn the_sum_over_a_message_with_its_sum_is_zero() {
        assert_eq!(checksum(&question(false).packet()), 0);
        // The example of RFC 1071.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn both_kinds_of_socket_hear_both_families() {
        in_own_network(|_| async {
            std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
            for (v6, raw) in [(false, false), (false, true), (true, false), (true, true)] {
                let to = if v6 { "[::1]:0" } else { "127.0.0.1:0" };
                let echo = Echo::with(v6, raw).unwrap();
                let asked = timeout(Duration::from_secs(5), echo.ask(to.parse().unwrap())).await;
                assert!(matches!(asked, Ok(Ok(()))), "v6 {v6} raw {raw}: {asked:?}");
            }
            // Nobody may have ping sockets: the raw one is taken.
            std::fs::write("/proc/sys/net/ipv4/ping_group_range", "1 0").unwrap();
            assert!(Echo::open(false).unwrap().raw && Echo::open(true).unwrap().raw);
        });
    }
}
