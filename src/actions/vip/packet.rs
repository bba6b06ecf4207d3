//! A raw packet socket on one interface (packet(7)), asynchronous, with a filter in the kernel
//! so that a busy link costs nothing: only ARP, or only neighbour messages, wake us.
use super::VipError;
use crate::watch::async_fd;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Longest frame that we look at; the ones of interest have at most 86 bytes.
const FRAME_MAX: usize = 128;

/// Sends and receives whole Ethernet frames of one kind on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    fd: AsyncFd<OwnedFd>,
    index: u32,
}

impl PacketSocket {
    /// Opens the socket on interface number `index` for frames about addresses like `addr`: ARP
    /// for IPv4, neighbour solicitations and advertisements for IPv6.
    pub fn open(index: u32, addr: IpAddr) -> Result<PacketSocket, VipError> {
        Self::try_open(index, addr).map_err(VipError::Socket)
    }

    fn try_open(index: u32, addr: IpAddr) -> io::Result<PacketSocket> {
        // Protocol 0: nothing is received before the filter stands and the socket is bound.
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain socket(2); the result is checked.
        let raw = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that only we hold.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        if addr.is_ipv6() {
            filter_neighbour_messages(&fd)?;
        }
        let protocol = if addr.is_ipv4() { libc::ETH_P_ARP } else { libc::ETH_P_IPV6 };
        let mut address = link_address(index);
        address.sll_protocol = (protocol as u16).to_be();
        // SAFETY: `address` is a whole sockaddr_ll and its size is given.
        let bound = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        Ok(PacketSocket { fd: async_fd(fd, interest)?, index })
    }

    /// Sends one frame, headers included. A link that is down loses it without an error: an
    /// announcement is repeated anyway.
    pub async fn send(&self, frame: &[u8]) -> io::Result<()> {
        let address = link_address(self.index);
        let sent = self.fd.async_io(Interest::WRITABLE, |fd| {
            // SAFETY: the buffers live through the call and their sizes are given.
            let sent = unsafe {
                libc::sendto(
                    fd.as_raw_fd(),
                    frame.as_ptr().cast(),
                    frame.len(),
                    0,
                    (&raw const address).cast(),
                    mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
                )
            };
            if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
        match sent.await {
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(()),
            other => other,
        }
    }

    /// Waits for the next frame and returns its first bytes. Cancel safe.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            let received = self.fd.async_io(Interest::READABLE, |fd| {
                let mut frame = [0u8; FRAME_MAX];
                // SAFETY: the kernel writes at most `FRAME_MAX` bytes into `frame`.
                let length =
                    unsafe { libc::recv(fd.as_raw_fd(), frame.as_mut_ptr().cast(), FRAME_MAX, 0) };
                if length < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(frame[..length as usize].to_vec())
            });
            match received.await {
                // The interface went down: told once, then the socket goes on when it is up.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                other => return other,
            }
        }
    }
}

fn link_address(index: u32) -> libc::sockaddr_ll {
    // SAFETY: sockaddr_ll is plain integers, all zero is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index as i32;
    address.sll_halen = 6;
    address
}

/// Lets through ICMPv6 types 135 and 136 only (offsets count from the Ethernet header).
fn filter_neighbour_messages(fd: &OwnedFd) -> io::Result<()> {
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        step(LOAD_BYTE, 0, 0, 14 + 6),
        step(JUMP_EQUAL, 0, 4, 58),
        step(LOAD_BYTE, 0, 0, 14 + 40),
        step(JUMP_EQUAL, 1, 0, 135),
        step(JUMP_EQUAL, 0, 1, 136),
        step(RETURN, 0, 0, FRAME_MAX as u32),
        step(RETURN, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `filter` and the program that it points to live through the call.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            mem::size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
