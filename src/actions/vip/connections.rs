//! TCP connections that have a virtual address as their own: counted while it is held, reset
//! before it goes, so that clients notice at once instead of waiting for an answer that nobody
//! can give, and no socket lingers in FIN_WAIT on a node that has the address no more.
//!
//! ```text
//! SOCK_DIAG_BY_FAMILY, dump    -> every TCP socket of one family, as inet_diag_msg
//! SOCK_DESTROY, one socket id  -> RST to the other end, ECONNABORTED to the program that has it
//! ```
//! Layouts: Linux `include/uapi/linux/sock_diag.h` and `inet_diag.h`, described in sock_diag(7).
//! Of the kernel only its own messages come, and yet nothing here trusts a length.
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::time::Duration;

const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// Of inet_diag_msg: family, state, timer, retransmissions; then the socket's id.
const ID_AT: usize = 4;
const ID_BYTES: usize = 48;
/// Within the id, behind the two ports.
const SOURCE_AT: usize = 4;

// TCP states (`include/net/tcp_states.h`), as bits.
const ESTABLISHED: u32 = 1 << 1;
const TIME_WAIT: u32 = 1 << 6;
const CLOSE: u32 = 1 << 7;
const LISTEN: u32 = 1 << 10;
/// Everything that has somebody at the other end.
const CONNECTED: u32 = 0xfff & !(TIME_WAIT | CLOSE | LISTEN);

/// The kernel answers within microseconds; one that does not must not hold a hand-over up.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const BUFFER: usize = 64 << 10;

/// What names a socket to the kernel; taken from its answer and given back as it is.
type SocketId = [u8; ID_BYTES];

/// How a reset went.
#[derive(Debug, Default)]
pub struct Reset {
    pub done: usize,
    /// Of those that were not reset: how many, and why the first was not.
    pub left: usize,
    pub why: Option<io::Error>,
}

/// Resets every connection of `addr` in the network namespace of this thread.
///
/// # Errors
/// The kernel does not list them, or resets none of any address (see [`lacking`]).
pub fn reset(addr: IpAddr) -> io::Result<Reset> {
    let mut diag = Diag::open()?;
    let found = diag.connections(addr, CONNECTED)?;
    reset_each(&found, |family, id| diag.destroy(family, id))
}

fn reset_each(
    found: &[(u8, SocketId)],
    mut destroy: impl FnMut(u8, &SocketId) -> io::Result<()>,
) -> io::Result<Reset> {
    let mut reset = Reset::default();
    for (family, id) in found {
        match destroy(*family, id) {
            Ok(()) => reset.done += 1,
            // It ended by itself meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) if lacking(&error) => return Err(error),
            Err(error) => {
                let silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                reset.left += 1;
                reset.why.get_or_insert(error);
                // The others would wait as long, and a hand-over with them.
                if silent {
                    reset.left = found.len() - reset.done;
                    break;
                }
            }
        }
    }
    Ok(reset)
}

/// The kernel cannot do it, and will not learn it: it has no diagnosis of TCP sockets (no such
/// protocol; no handler for the question, ENOENT), or no SOCK_DESTROY.
pub fn lacking(error: &io::Error) -> bool {
    let known = [libc::EOPNOTSUPP, libc::EPROTONOSUPPORT, libc::EAFNOSUPPORT, libc::ENOENT];
    error.raw_os_error().is_some_and(|code| known.contains(&code))
}

/// How many connections of `addr` are established.
pub fn established(addr: IpAddr) -> io::Result<usize> {
    Ok(Diag::open()?.connections(addr, ESTABLISHED)?.len())
}

struct Diag {
    socket: Socket,
}

impl Diag {
    fn open() -> io::Result<Diag> {
        let (domain, protocol) =
            (Domain::from(libc::AF_NETLINK), Protocol::from(NETLINK_SOCK_DIAG));
        let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Diag { socket })
    }

    /// A server that listens for both families has its IPv4 connections as mapped IPv6 ones.
    fn connections(&mut self, addr: IpAddr, states: u32) -> io::Result<Vec<(u8, SocketId)>> {
        let mut found = Vec::new();
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            let Some(wanted) = source_of(addr, family) else { continue };
            self.ask(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, states, &[0; ID_BYTES])?;
            self.answers(|message| {
                let id = message.get(ID_AT..).and_then(|rest| rest.first_chunk::<ID_BYTES>());
                found.extend(
                    id.filter(|id| id[SOURCE_AT..].starts_with(&wanted)).map(|id| (family, *id)),
                );
            })?;
        }
        Ok(found)
    }

    fn destroy(&mut self, family: u8, id: &SocketId) -> io::Result<()> {
        self.ask(SOCK_DESTROY, NLM_F_ACK, family, 0, id)?;
        self.answers(|_| {})
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        states: u32,
        id: &SocketId,
    ) -> io::Result<()> {
        let mut message = Vec::with_capacity(HEADER + 8 + ID_BYTES);
        message.extend(((HEADER + 8 + ID_BYTES) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        // Sequence and port: one question at a time, on a socket of its own.
        message.extend([0; 8]);
        // inet_diag_req_v2: family, protocol, extensions, padding, states, id.
        message.extend([family, libc::IPPROTO_TCP as u8, 0, 0]);
        message.extend(states.to_ne_bytes());
        message.extend(id);
        self.socket.write_all(&message)
    }

    /// Hands each message of an answer over, until the kernel says that it is complete.
    fn answers(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.socket.read(&mut buffer)?;
            let mut rest = &buffer[..length];
            while let Some((kind, body, behind)) = split(rest) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return error_in(body),
                    _ => each(body),
                }
                rest = behind;
            }
        }
    }
}

/// Kind and body of the first message, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Zero is an acknowledgement.
fn error_in(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The address as it stands in an id of this family.
fn source_of(addr: IpAddr, family: u8) -> Option<Vec<u8>> {
    match addr {
        IpAddr::V4(addr) if family == libc::AF_INET as u8 => Some(addr.octets().to_vec()),
        IpAddr::V4(addr) => Some(addr.to_ipv6_mapped().octets().to_vec()),
        IpAddr::V6(addr) => (family == libc::AF_INET6 as u8).then(|| addr.octets().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_cannot_be_reset_keeps_no_other() {
        let found: Vec<(u8, SocketId)> = (0..5).map(|number| (number, [0; ID_BYTES])).collect();
        let reset = |refused: i32| {
            let mut asked = Vec::new();
            let reset = reset_each(&found, |family, _| {
                asked.push(family);
                let error = io::Error::from_raw_os_error(refused);
                if family == 1 { Err(error) } else { Ok(()) }
            });
            (reset, asked.len())
        };
        let (Ok(gone), 5) = reset(libc::ENOENT) else { panic!("gone") };
        assert_eq!((gone.done, gone.left), (4, 0));
        let (Ok(refused), 5) = reset(libc::EPERM) else { panic!("refused") };
        assert_eq!((refused.done, refused.left), (4, 1));
        assert_eq!(refused.why.unwrap().raw_os_error(), Some(libc::EPERM));
        let (Ok(silent), 2) = reset(libc::EAGAIN) else { panic!("silent") };
        assert_eq!((silent.done, silent.left), (1, 4));
        let (Err(lacks), 2) = reset(libc::EOPNOTSUPP) else { panic!("lacks it") };
        assert!(lacking(&lacks));
    }

    #[test]
    fn what_is_no_message_ends_the_walk() {
        assert!(split(&[]).is_none() && split(&[200, 0, 0, 0, 3, 0]).is_none());
        assert!(split(&[0; 16]).is_none(), "a length below that of the header");
        assert!(error_in(&[]).is_err() && error_in(&[0; 4]).is_ok());
        let refused = error_in(&(-libc::EOPNOTSUPP).to_ne_bytes()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EOPNOTSUPP));
    }
}
