//! QUIC settings and sockets of the control port.
//!
//! A cut of any length must heal within a second, so nothing here may back off for long: the idle
//! time is short (a link that was silent is made anew), a dial is begun every [`DIAL_GAP`] however
//! the ones before fare, and a link's window does not shrink when packets are lost: it carries a
//! few hundred bytes a second, congestion is not its doing. Payloads, which can congest, have
//! connections of their own with QUIC's usual control.
use super::PeerError;
use crate::trust::Pki;
use quinn::congestion::{Controller, ControllerFactory};
use quinn::crypto::HmacKey;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Gap between two dials of a peer that is not linked.
pub(super) const DIAL_GAP: Duration = Duration::from_millis(250);
/// How long one dial may take: a handshake over a slow line.
pub(super) const DIAL_LIMIT: Duration = Duration::from_millis(1500);
/// Silence after which a link is given up and dialled again.
const LINK_IDLE: Duration = Duration::from_millis(2000);
/// Keeps a link up whose heartbeats are rare.
const LINK_KEEP_ALIVE: Duration = Duration::from_millis(500);
const BULK_IDLE: Duration = Duration::from_secs(10);
/// First guess of the round trip: a lost first packet is sent again after three times this.
const FIRST_RTT: Duration = Duration::from_millis(60);
/// Constant window of a link, bytes.
const LINK_WINDOW: u64 = 512 * 1024;
const BULK_STREAM_WINDOW: u32 = 4 << 20;
/// Requests of one peer under way at a time.
const STREAMS_MAX: u32 = 64;

/// Why a connection is closed; the peer reads the text beside it.
pub(super) mod close {
    use quinn::VarInt;
    pub(in crate::peer) const DONE: VarInt = VarInt::from_u32(0);
    pub(in crate::peer) const STOPPED: VarInt = VarInt::from_u32(1);
    pub(in crate::peer) const REPLACED: VarInt = VarInt::from_u32(2);
    pub(in crate::peer) const REFUSED: VarInt = VarInt::from_u32(3);
    pub(in crate::peer) const BROKEN: VarInt = VarInt::from_u32(4);
    pub(in crate::peer) const CHANGED: VarInt = VarInt::from_u32(5);
}

/// Configurations of one node, made once.
#[derive(Clone)]
pub(super) struct Transport {
    endpoint: EndpointConfig,
    server: ServerConfig,
    pub(super) link: ClientConfig,
    pub(super) bulk: ClientConfig,
}

impl Transport {
    pub(super) fn new(pki: &Pki) -> Result<Transport, PeerError> {
        let crypto = |e: quinn::crypto::rustls::NoInitialCipherSuite| {
            crate::trust::TrustError::Crypto { why: e.to_string() }
        };
        let server = QuicServerConfig::try_from(pki.control_server_config()).map_err(crypto)?;
        let mut server = ServerConfig::with_crypto(Arc::new(server));
        // What an accepted connection is for is known only after its first frame.
        server.transport_config(Arc::new(link_transport())).migration(false);
        let client = |transport: TransportConfig| -> Result<ClientConfig, PeerError> {
            let tls = pki.client_config(crate::trust::ALPN_PEER);
            let tls = QuicClientConfig::try_from(tls).map_err(crypto)?;
            let mut config = ClientConfig::new(Arc::new(tls));
            config.transport_config(Arc::new(transport));
            Ok(config)
        };
        Ok(Transport {
            endpoint: endpoint_config(pki),
            server,
            link: client(link_transport())?,
            bulk: client(bulk_transport())?,
        })
    }

    /// Binds `address` although no interface may have it yet (a lan that comes up after boot).
    pub(super) fn bind(&self, address: SocketAddr) -> Result<Endpoint, PeerError> {
        let bind = || -> io::Result<Endpoint> {
            let socket =
                Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            match address {
                SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
                SocketAddr::V6(_) => {
                    socket.set_only_v6(true)?;
                    socket.set_freebind_v6(true)?;
                }
            }
            socket.bind(&address.into())?;
            let server = Some(self.server.clone());
            let runtime = Arc::new(quinn::TokioRuntime);
            Endpoint::new(self.endpoint.clone(), server, socket.into(), runtime)
        };
        bind().map_err(|source| PeerError::Bind { address, source })
    }
}

/// Connection ids and reset tokens are keyed by this node's secret, so that a restarted daemon
/// can tell the peers of its former life at once that their connections are dead.
fn endpoint_config(pki: &Pki) -> EndpointConfig {
    let key = pki.local_secret("lockstep 2026-11 stateless reset");
    let mut config = EndpointConfig::new(Arc::new(ResetKey(key)));
    let seed = pki.local_secret("lockstep 2026-11 connection ids");
    let seed = u64::from_le_bytes(seed[..8].try_into().unwrap_or_default());
    config
        .cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(seed)));
    config
}

fn link_transport() -> TransportConfig {
    let mut config = base_transport(LINK_IDLE);
    config
        .keep_alive_interval(Some(LINK_KEEP_ALIVE))
        .congestion_controller_factory(Arc::new(ConstantWindow));
    config
}

fn bulk_transport() -> TransportConfig {
    let mut config = base_transport(BULK_IDLE);
    config.keep_alive_interval(Some(BULK_IDLE / 5));
    config
}

fn base_transport(idle: Duration) -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle_ms = VarInt::from_u32(idle.as_millis() as u32);
    config
        .max_idle_timeout(Some(idle_ms.into()))
        .initial_rtt(FIRST_RTT)
        .stream_receive_window(VarInt::from_u32(BULK_STREAM_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    config
}

struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(data);
        hasher.finalize_xof().fill(signature_out);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), quinn::crypto::CryptoError> {
        let expected = blake3::keyed_hash(&self.0, data);
        let found: [u8; 32] = signature.try_into().map_err(|_| quinn::crypto::CryptoError)?;
        // blake3's own comparison takes the same time wherever they differ.
        if expected == blake3::Hash::from(found) { Ok(()) } else { Err(quinn::crypto::CryptoError) }
    }
}

/// A window that loss does not close.
#[derive(Clone, Debug)]
struct ConstantWindow;

impl ControllerFactory for ConstantWindow {
    fn build(self: Arc<Self>, _now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(ConstantWindow)
    }
}

impl Controller for ConstantWindow {
    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        LINK_WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        LINK_WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
