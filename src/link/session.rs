//! One authenticated session with the peer's engine, as client (primary) or server (secondary).
use super::ALPN;
use super::socket::{Datagram, Socket};
use crate::model::NodeName;
use crate::trust::Pki;
use crate::wire::{DecodeError, Frame, FrameReader};
use bytes::Bytes;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint,
    EndpointConfig, Event, ServerConfig, StreamEvent, StreamId, TransportConfig,
    TransportErrorCode, VarInt,
};
use rustls_pki_types::CertificateDer;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes in flight that flow control allows on a stream and in all.
const WINDOW_BYTES: u32 = 64 << 20;

/// The alert of TLS with which a server refuses a client's protocols (RFC 7301).
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Which stream a frame takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Operations one way, acknowledgements the other.
    Ops,
    /// Questions and answers of a return: never before an operation.
    Questions,
}

#[derive(Debug)]
pub enum LinkEvent {
    /// The peer proved who it is; frames may flow.
    Connected {
        peer: NodeName,
    },
    Frame {
        lane: Lane,
        frame: Frame,
    },
    /// The session is over; a new one may follow.
    Lost {
        reason: String,
    },
    /// A handshake ended with a refusal, of this side or the other: it will be so again.
    Refused {
        reason: String,
    },
}

/// One direction-pair of frames over one stream.
#[derive(Default)]
struct LaneState {
    stream: Option<StreamId>,
    outgoing: VecDeque<Bytes>,
    outgoing_bytes: usize,
    reader: FrameReader,
}

struct Session {
    handle: ConnectionHandle,
    connection: Connection,
    peer: Option<NodeName>,
    lanes: [LaneState; 2],
}

pub struct Link {
    socket: Socket,
    endpoint: Endpoint,
    pki: Arc<Pki>,
    transport: Arc<TransportConfig>,
    /// What a session with this side is called, with its version.
    protocol: &'static [u8],
    session: Option<Session>,
    /// A transmission that the kernel's buffer had no room for.
    unsent: Option<(quinn_proto::Transmit, Vec<u8>)>,
    events: VecDeque<LinkEvent>,
    scratch: Vec<u8>,
    /// Bytes sent and received since the beginning, UDP payload.
    pub sent_bytes: u64,
    pub received_bytes: u64,
}

impl Link {
    /// Binds the data port. `silence`: how long a silent peer is believed to be there.
    pub fn bind(listen: SocketAddr, pki: Arc<Pki>, silence: Duration) -> std::io::Result<Link> {
        Link::bind_as(ALPN, listen, pki, silence)
    }

    fn bind_as(
        protocol: &'static [u8],
        listen: SocketAddr,
        pki: Arc<Pki>,
        silence: Duration,
    ) -> std::io::Result<Link> {
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(quinn_proto::IdleTimeout::try_from(silence).ok())
            .keep_alive_interval(Some(silence / 5))
            .stream_receive_window(VarInt::from_u32(WINDOW_BYTES))
            .receive_window(VarInt::from_u32(WINDOW_BYTES * 2))
            .send_window(u64::from(WINDOW_BYTES) * 2)
            .send_fairness(false)
            .initial_rtt(Duration::from_millis(5))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .max_concurrent_bidi_streams(VarInt::from_u32(2))
            .datagram_receive_buffer_size(None);
        let mut congestion = quinn_proto::congestion::CubicConfig::default();
        congestion.initial_window(4 << 20);
        transport.congestion_controller_factory(Arc::new(congestion));
        let transport = Arc::new(transport);
        let crypto = QuicServerConfig::try_from(pki.server_config(protocol))
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        let mut server = ServerConfig::with_crypto(Arc::new(crypto));
        server.transport_config(transport.clone()).migration(false);
        let socket = Socket::bind(listen)?;
        let config = Arc::new(EndpointConfig::default());
        let endpoint = Endpoint::new(config, Some(Arc::new(server)), true, None);
        Ok(Link {
            socket,
            endpoint,
            pki,
            transport,
            protocol,
            session: None,
            unsent: None,
            events: VecDeque::new(),
            scratch: Vec::with_capacity(64 << 10),
            sent_bytes: 0,
            received_bytes: 0,
        })
    }

    pub fn raw(&self) -> RawFd {
        self.socket.raw()
    }

    pub fn is_connected(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.peer.is_some())
    }

    /// A connection exists or is being made.
    pub fn is_busy(&self) -> bool {
        self.session.is_some()
    }

    /// Dials the secondary. A failure arrives as [`LinkEvent::Lost`].
    pub fn connect(&mut self, now: Instant, node: &NodeName, address: SocketAddr) {
        self.drop_session(now, "a new connection is made");
        let crypto = match QuicClientConfig::try_from(self.pki.client_config(self.protocol)) {
            Ok(crypto) => crypto,
            Err(error) => return self.lost(format!("prepare TLS: {error}")),
        };
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(self.transport.clone());
        let name = self.pki.server_name(node);
        match self.endpoint.connect(now, config, address, &name) {
            Ok((handle, connection)) => {
                self.session =
                    Some(Session { handle, connection, peer: None, lanes: Default::default() });
            }
            Err(error) => self.lost(format!("connect to {node} at {address}: {error}")),
        }
    }

    /// Ends the session; the peer is told at once.
    pub fn close(&mut self, now: Instant, reason: &str) {
        self.drop_session(now, reason);
        self.flush(now);
    }

    fn drop_session(&mut self, now: Instant, reason: &str) {
        if let Some(mut session) = self.session.take() {
            let text = Bytes::copy_from_slice(reason.as_bytes());
            session.connection.close(now, VarInt::from_u32(0), text);
            self.transmit(now, &mut session);
            self.endpoint.handle_event(session.handle, quinn_proto::EndpointEvent::drained());
        }
    }

    fn note_refusal(&mut self, error: &ConnectionError) {
        if let Some(reason) = refusal(error) {
            self.events.push_back(LinkEvent::Refused { reason });
        }
    }

    fn lost(&mut self, reason: String) {
        self.session = None;
        self.events.push_back(LinkEvent::Lost { reason });
    }

    /// Queues a frame; [`Link::flush`] sends it. Without a session it goes nowhere: what matters
    /// is remembered by the caller until it is acknowledged.
    pub fn send(&mut self, lane: Lane, frame: &Frame) {
        let (head, tail) = frame.encode();
        self.send_bytes(lane, head, tail);
    }

    /// As [`Link::send`], for a frame that was encoded before.
    pub fn send_bytes(&mut self, lane: Lane, head: Bytes, tail: Bytes) {
        let Some(session) = &mut self.session else { return };
        let state = &mut session.lanes[lane as usize];
        state.outgoing_bytes += head.len() + tail.len();
        state.outgoing.push_back(head);
        if !tail.is_empty() {
            state.outgoing.push_back(tail);
        }
    }

    /// Bytes that QUIC has not taken yet: the return waits while there are many.
    pub fn backlog(&self, lane: Lane) -> usize {
        self.session.as_ref().map_or(0, |session| session.lanes[lane as usize].outgoing_bytes)
    }

    /// Takes some of what arrived. Call when the socket is readable; `true`: more may wait, which
    /// nothing else will tell.
    pub fn receive(&mut self, now: Instant) -> bool {
        let mut datagrams = Vec::new();
        let more = self.socket.receive(&mut datagrams);
        for datagram in datagrams {
            self.received_bytes += datagram.bytes.len() as u64;
            self.take_datagram(now, datagram);
        }
        self.advance(now);
        more
    }

    fn take_datagram(&mut self, now: Instant, datagram: Datagram) {
        let ecn = datagram.ecn.and_then(|ecn| quinn_proto::EcnCodepoint::from_bits(ecn as u8));
        let (remote, local) = (datagram.remote, datagram.local);
        self.scratch.clear();
        let mut buffer = std::mem::take(&mut self.scratch);
        let event = self.endpoint.handle(now, remote, local, ecn, datagram.bytes, &mut buffer);
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(session) = self.session.as_mut().filter(|s| s.handle == handle) {
                    session.connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.scratch = buffer;
                return self.accept(now, incoming);
            }
            Some(DatagramEvent::Response(transmit)) => {
                self.socket.send(&transmit, &buffer);
            }
            None => {}
        }
        self.scratch = buffer;
    }

    /// The newest connection is the peer's present one: an older one is a leftover of its past.
    fn accept(&mut self, now: Instant, incoming: quinn_proto::Incoming) {
        let mut buffer = Vec::new();
        match self.endpoint.accept(incoming, now, &mut buffer, None) {
            Ok((handle, connection)) => {
                let was_connected = self.is_connected();
                self.drop_session(now, "a newer connection of the peer");
                if was_connected {
                    let reason = "the peer made a new connection".to_owned();
                    self.events.push_back(LinkEvent::Lost { reason });
                }
                self.session =
                    Some(Session { handle, connection, peer: None, lanes: Default::default() });
            }
            Err(error) => {
                self.note_refusal(&error.cause);
                if let Some(transmit) = error.response {
                    self.socket.send(&transmit, &buffer);
                }
            }
        }
    }

    /// Next moment at which [`Link::tick`] must run.
    pub fn deadline(&mut self) -> Option<Instant> {
        self.session.as_mut().and_then(|session| session.connection.poll_timeout())
    }

    pub fn tick(&mut self, now: Instant) {
        if let Some(session) = &mut self.session {
            session.connection.handle_timeout(now);
        }
        self.advance(now);
    }

    pub fn next_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Lets the protocol core act on what it was given.
    fn advance(&mut self, now: Instant) {
        let Some(mut session) = self.session.take() else { return };
        while let Some(event) = session.connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(session.handle, event) {
                session.connection.handle_event(event);
            }
        }
        let mut failure = None;
        while let Some(event) = session.connection.poll() {
            match event {
                Event::Connected => failure = self.connected(&mut session),
                Event::ConnectionLost { reason } => {
                    self.note_refusal(&reason);
                    failure = Some(reason.to_string());
                }
                Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                    while let Some(id) = session.connection.streams().accept(Dir::Bi) {
                        session.open_lane(id);
                    }
                }
                _ => {}
            }
            if failure.is_some() {
                break;
            }
        }
        let failure = failure.or_else(|| self.read_lanes(&mut session));
        match failure {
            None => self.session = Some(session),
            Some(reason) => {
                session.connection.close(now, VarInt::from_u32(1), Bytes::new());
                self.transmit(now, &mut session);
                self.endpoint.handle_event(session.handle, quinn_proto::EndpointEvent::drained());
                self.lost(reason);
            }
        }
    }

    /// Who is there is in the certificate; a name we do not know is an error of ours to report.
    fn connected(&mut self, session: &mut Session) -> Option<String> {
        let identity = session.connection.crypto_session().peer_identity();
        let certificates = identity
            .and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok())
            .unwrap_or_default();
        match self.pki.check_peer(&certificates) {
            Ok(peer) => {
                if session.connection.side().is_client() {
                    for priority in [10, 0] {
                        if let Some(id) = session.connection.streams().open(Dir::Bi) {
                            session.open_lane(id);
                            let _ = session.connection.send_stream(id).set_priority(priority);
                        }
                    }
                }
                session.peer = Some(peer.clone());
                self.events.push_back(LinkEvent::Connected { peer });
                None
            }
            Err(error) => Some(error.to_string()),
        }
    }

    fn read_lanes(&mut self, session: &mut Session) -> Option<String> {
        for lane in [Lane::Ops, Lane::Questions] {
            let state = &mut session.lanes[lane as usize];
            let Some(id) = state.stream else { continue };
            let mut stream = session.connection.recv_stream(id);
            if let Ok(mut chunks) = stream.read(true) {
                while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
                    state.reader.push(&chunk.bytes);
                }
                let _ = chunks.finalize();
            }
            loop {
                match state.reader.next_frame() {
                    Ok(Some(frame)) => self.events.push_back(LinkEvent::Frame { lane, frame }),
                    Ok(None) => break,
                    Err(error @ DecodeError::Checksum { .. }) => {
                        return Some(format!("data from the peer was damaged on the way: {error}"));
                    }
                    Err(error) => return Some(format!("the peer speaks differently: {error}")),
                }
            }
        }
        None
    }

    /// Moves queued frames into QUIC and datagrams into the socket.
    pub fn flush(&mut self, now: Instant) {
        let Some(mut session) = self.session.take() else { return };
        session.write_lanes();
        self.transmit(now, &mut session);
        self.session = Some(session);
    }

    fn transmit(&mut self, now: Instant, session: &mut Session) {
        if let Some((transmit, bytes)) = self.unsent.take()
            && !self.socket.send(&transmit, &bytes)
        {
            self.unsent = Some((transmit, bytes));
            return;
        }
        let segments = self.socket.max_segments();
        loop {
            self.scratch.clear();
            let mut buffer = std::mem::take(&mut self.scratch);
            let Some(transmit) = session.connection.poll_transmit(now, segments, &mut buffer)
            else {
                self.scratch = buffer;
                return;
            };
            self.sent_bytes += transmit.size as u64;
            if !self.socket.send(&transmit, &buffer) {
                self.unsent = Some((transmit, buffer));
                return;
            }
            self.scratch = buffer;
            // Room for more may have come free in the streams.
            session.write_lanes();
        }
    }

    /// A datagram waits for room in the kernel: try again in a moment.
    pub fn is_blocked(&self) -> bool {
        self.unsent.is_some()
    }
}

impl Session {
    fn open_lane(&mut self, id: StreamId) {
        if let Some(state) = self.lanes.get_mut(id.index() as usize) {
            state.stream = Some(id);
        }
    }

    fn write_lanes(&mut self) {
        for state in &mut self.lanes {
            let Some(id) = state.stream else { continue };
            while !state.outgoing.is_empty() {
                let mut stream = self.connection.send_stream(id);
                let chunks = state.outgoing.make_contiguous();
                let Ok(written) = stream.write_chunks(chunks) else { break };
                state.outgoing_bytes -= written.bytes;
                state.outgoing.drain(..written.chunks);
                if written.bytes == 0 {
                    break;
                }
            }
        }
    }
}

/// Why two that can hear each other get no session; `None`: nobody refused anything.
fn refusal(error: &ConnectionError) -> Option<String> {
    let (code, text) = match error {
        ConnectionError::TransportError(error) => (error.code, error.to_string()),
        ConnectionError::ConnectionClosed(close) => (close.error_code, close.to_string()),
        ConnectionError::VersionMismatch => return Some(other_version("of QUIC")),
        _ => return None,
    };
    if code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) {
        return Some(other_version(&format!("here {}", String::from_utf8_lossy(ALPN))));
    }
    let handshake = 0x100..0x200;
    handshake.contains(&u64::from(code)).then(|| format!("the handshake failed: {text}"))
}

fn other_version(which: &str) -> String {
    format!(
        "the other node has another version of the data link ({which}): install the same version \
         of lockstep on both nodes (`lockstep -H '*' level`)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Authority, SigningRequest, init, install};
    use std::collections::BTreeSet;

    fn refused(link: &mut Link) -> BTreeSet<String> {
        let events = std::iter::from_fn(|| link.next_event());
        let reason = |event| match event {
            LinkEvent::Refused { reason } => Some(reason),
            LinkEvent::Connected { .. } | LinkEvent::Frame { .. } | LinkEvent::Lost { .. } => None,
        };
        events.filter_map(reason).collect()
    }

    #[test]
    fn another_version_of_the_data_link_is_named_on_both_sides() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (NodeName::new("n1").unwrap(), NodeName::new("n2").unwrap());
        let first = init(&dir.path().join("n1"), &one, false).unwrap();
        let authority = Authority::load(&first).unwrap();
        let request = SigningRequest::new(&two).unwrap();
        let signed = authority.sign(request.der(), &two).unwrap();
        let root = authority.certificate_pem();
        let second = install(&dir.path().join("n2"), &request, &signed, root, false).unwrap();

        let free = |address: &str| std::net::UdpSocket::bind(address).unwrap();
        let (at_one, at_two) = (free("127.0.0.1:0"), free("127.0.0.1:0"));
        let to = at_two.local_addr().unwrap();
        let from = at_one.local_addr().unwrap();
        drop((at_one, at_two));
        let silence = Duration::from_secs(5);
        let mut client = Link::bind(from, Arc::new(first), silence).unwrap();
        let mut server = Link::bind_as(b"lockstep-data/2", to, Arc::new(second), silence).unwrap();
        let (mut here, mut there) = (BTreeSet::new(), BTreeSet::new());
        let limit = Instant::now() + Duration::from_secs(20);
        while here.is_empty() || there.is_empty() {
            assert!(Instant::now() < limit, "client: {here:?}, server: {there:?}");
            if !client.is_busy() {
                client.connect(Instant::now(), &two, to);
            }
            for link in [&mut client, &mut server] {
                link.flush(Instant::now());
                link.receive(Instant::now());
                if link.deadline().is_some_and(|at| at <= Instant::now()) {
                    link.tick(Instant::now());
                }
                link.flush(Instant::now());
            }
            here.extend(refused(&mut client));
            there.extend(refused(&mut server));
            std::thread::sleep(Duration::from_millis(1));
        }
        for reasons in [here, there] {
            let said: Vec<&String> = reasons.iter().collect();
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].contains("another version of the data link"), "{said:?}");
        }
    }
}
