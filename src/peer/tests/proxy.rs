//! A network between two nodes that can be cut: a task that passes UDP packets on, or drops them.
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// Stands at the address under which `server` is dialled.
pub(super) struct Proxy {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    there_cut: AtomicBool,
    back_cut: AtomicBool,
    dropped: AtomicU64,
    /// One of so many packets is lost; 0: none.
    lose_one_of: AtomicU64,
    passed: AtomicU64,
}

impl State {
    /// Whether a packet in a direction with this switch is lost.
    fn loses(&self, cut: &AtomicBool) -> bool {
        let passed = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        let of = self.lose_one_of.load(Ordering::Relaxed);
        let lost = cut.load(Ordering::Relaxed) || (of > 0 && scattered(passed).is_multiple_of(of));
        self.dropped.fetch_add(u64::from(lost), Ordering::Relaxed);
        lost
    }
}

/// Which packets are lost is the same in every run, and no rhythm: with one, an exchange of as many
/// packets loses the same packet each time.
fn scattered(count: u64) -> u64 {
    let mixed = (count ^ (count >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33
}

impl Proxy {
    /// Listens on `front` and passes everything on to `server`, from addresses on `back`.
    pub(super) async fn start(front: SocketAddr, back: IpAddr, server: SocketAddr) -> Proxy {
        let state = Arc::new(State::default());
        let listening = Arc::new(UdpSocket::bind(front).await.unwrap());
        tokio::spawn(run(state.clone(), listening, back, server));
        Proxy { state }
    }

    pub(super) fn cut(&self) {
        self.state.there_cut.store(true, Ordering::Relaxed);
        self.cut_answers();
    }

    /// Only what the dialled node sends is lost.
    pub(super) fn cut_answers(&self) {
        self.state.back_cut.store(true, Ordering::Relaxed);
    }

    pub(super) fn lose_one_of(&self, packets: u64) {
        self.state.lose_one_of.store(packets, Ordering::Relaxed);
    }

    pub(super) fn heal(&self) {
        self.state.there_cut.store(false, Ordering::Relaxed);
        self.state.back_cut.store(false, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.state.dropped.load(Ordering::Relaxed)
    }
}

/// One task for each dialling port, so that answers find their way back.
async fn run(state: Arc<State>, front: Arc<UdpSocket>, back: IpAddr, server: SocketAddr) {
    let mut ways: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, from)) = front.recv_from(&mut buffer).await else { continue };
        if state.loses(&state.there_cut) {
            continue;
        }
        let to_way = match ways.get(&from) {
            Some(to_way) => to_way.clone(),
            None => {
                let (to_way, packets) = mpsc::channel(1024);
                let socket = UdpSocket::bind(SocketAddr::new(back, 0)).await.unwrap();
                socket.connect(server).await.unwrap();
                tokio::spawn(way(state.clone(), socket, packets, front.clone(), from));
                ways.insert(from, to_way.clone());
                to_way
            }
        };
        let _ = to_way.try_send(buffer[..length].to_vec());
    }
}

async fn way(
    state: Arc<State>,
    socket: UdpSocket,
    mut packets: mpsc::Receiver<Vec<u8>>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        tokio::select! {
            Some(packet) = packets.recv() => drop(socket.send(&packet).await),
            received = socket.recv(&mut buffer) => {
                // A dead server answers by ICMP: nothing to pass on.
                let Ok(length) = received else { continue };
                if !state.loses(&state.back_cut) {
                    let _ = front.send_to(&buffer[..length], client).await;
                }
            }
        }
    }
}
