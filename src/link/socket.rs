//! UDP with segmentation offload (`quinn-udp`), without blocking.
use bytes::BytesMut;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

/// Kernel buffers, bytes: an order of magnitude above the default, or bursts are dropped.
const BUFFER_BYTES: usize = 8 << 20;
/// Buffers of one receive call, each of up to 64 KiB.
const BATCH: usize = 4;
/// Datagrams of one round: a long write's first piece.
const ENOUGH: usize = 96;

pub(super) struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    buffers: Vec<Vec<u8>>,
}

/// One received datagram (after segmentation offload was undone).
pub(super) struct Datagram {
    pub remote: SocketAddr,
    pub local: Option<IpAddr>,
    pub ecn: Option<quinn_udp::EcnCodepoint>,
    pub bytes: BytesMut,
}

impl Socket {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Socket> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
        socket.bind(&address.into())?;
        let socket: UdpSocket = socket.into();
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let reference = || UdpSockRef::from(&socket);
        // Beyond the system's limit only root may go; less is no error.
        let forced = [libc::SO_SNDBUFFORCE, libc::SO_RCVBUFFORCE].map(|option| {
            let size = BUFFER_BYTES as libc::c_int;
            // SAFETY: the option takes an int.
            unsafe {
                let pointer = std::ptr::from_ref(&size).cast();
                let length = std::mem::size_of::<libc::c_int>() as u32;
                libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, pointer, length)
            }
        });
        if forced != [0, 0] {
            state.set_send_buffer_size(reference(), BUFFER_BYTES)?;
            state.set_recv_buffer_size(reference(), BUFFER_BYTES)?;
        }
        let size = state.gro_segments() * 65_535;
        let buffers = (0..BATCH).map(|_| vec![0; size.min(1 << 20)]).collect();
        Ok(Socket { socket, state, buffers })
    }

    pub(super) fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Datagrams in one transmission. All of them together must fit into one UDP payload of
    /// 65,507 bytes, or the kernel refuses them all.
    pub(super) fn max_segments(&self) -> usize {
        const SEGMENTS_MAX: usize = 40;
        self.state.max_gso_segments().min(SEGMENTS_MAX)
    }

    /// Receives some of what is there: it should be acted upon before the next is decrypted.
    /// `true`: more may wait.
    pub(super) fn receive(&mut self, out: &mut Vec<Datagram>) -> bool {
        while out.len() < ENOUGH {
            let mut metas = [RecvMeta::default(); BATCH];
            let mut slices: Vec<IoSliceMut<'_>> =
                self.buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            let received = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas);
            let count = match received {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Would block, or an ICMP error of an earlier send: QUIC notices losses itself.
                Err(_) => return false,
            };
            for (meta, buffer) in metas.iter().zip(&self.buffers).take(count) {
                for piece in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    out.push(Datagram {
                        remote: meta.addr,
                        local: meta.dst_ip,
                        ecn: meta.ecn,
                        bytes: BytesMut::from(piece),
                    });
                }
            }
            if count < BATCH {
                return false;
            }
        }
        true
    }

    /// `false`: the kernel's buffer is full, try again when the socket can be written.
    pub(super) fn send(&self, transmit: &quinn_proto::Transmit, bytes: &[u8]) -> bool {
        let transmit = Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
            contents: &bytes[..transmit.size],
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            // Unreachable network, refused port: to QUIC that is a lost packet.
            _ => true,
        }
    }
}
