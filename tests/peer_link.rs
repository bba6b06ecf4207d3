//! The link between daemons over real interfaces: two network namespaces, joined by a pair of
//! virtual cables. Goal: addresses that come late, interfaces that go down and IPv6 are
//! survived, and what is cut is back within a second after it can be.
//!
//! Each node is a thread with a network namespace and a runtime of its own.
use lockstep::config::cluster::ClusterConfig;
use lockstep::config::paths::Paths;
use lockstep::model::{BootId, ModuleName, NodeName, PeerMessage, PeerReply};
use lockstep::peer::{PeerError, PeerEvent, PeerSetup, Peers, PeersHandle};
use lockstep::trust::{self, Authority, Pki, SigningRequest};
use std::future::Future;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_secs(20);
/// After a cut, links are back within this.
const HEAL_LIMIT: Duration = Duration::from_secs(1);

const XML: &str = r#"<cluster><lans port="4800" pulse="100">
  <lan name="four"><node name="n1" addr="10.9.0.1"/><node name="n2" addr="10.9.0.2"/></lan>
  <lan name="six"><node name="n1" addr="[fd99::1]"/><node name="n2" addr="[fd99::2]"/></lan>
</lans></cluster>"#;

fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a valid name")
}

/// Runs `ip` in the namespace of the calling thread.
fn net(command: &str) {
    let mut words = command.split_whitespace();
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{command}");
}

/// Keys of two nodes of one cluster below `dir`.
fn certify(dir: &std::path::Path) {
    let first = trust::init(&Paths::below(&dir.join("n1")).pki(), &name("n1"), false).unwrap();
    let authority = Authority::load(&first).unwrap();
    let request = SigningRequest::new(&name("n2")).unwrap();
    let certificate = authority.sign(request.der(), &name("n2")).unwrap();
    let paths = Paths::below(&dir.join("n2"));
    trust::install(&paths.pki(), &request, &certificate, authority.certificate_pem(), false)
        .unwrap();
    for node in ["n1", "n2"] {
        std::fs::write(Paths::below(&dir.join(node)).cluster_xml(), XML).unwrap();
    }
}

struct Node {
    handle: PeersHandle,
    events: mpsc::Receiver<PeerEvent>,
}

impl Node {
    async fn start(paths: &Paths) -> Node {
        let pki = Pki::load(&paths.pki()).unwrap();
        let setup = PeerSetup {
            node: pki.node().clone(),
            boot: BootId(1),
            cluster: ClusterConfig::load(&paths.cluster_xml()).unwrap(),
            pki,
            paths: paths.clone(),
            version: "test".to_owned(),
        };
        let (handle, events) = Peers::start(setup).await.unwrap();
        Node { handle, events }
    }

    async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(PeerEvent) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the link ended");
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
        };
        let found = tokio::time::timeout(LIMIT, search).await;
        found.unwrap_or_else(|_| panic!("{what} did not happen"))
    }

    async fn heard(&mut self, on: &str) {
        self.until(&format!("a heartbeat on {on}"), |event| match event {
            PeerEvent::Heard { lan, .. } => (lan == on).then_some(()),
            _ => None,
        })
        .await;
    }

    async fn connected(&mut self, on: &str) {
        self.until(&format!("a link on {on}"), |event| match event {
            PeerEvent::Connected { lan, .. } => (lan == on).then_some(()),
            _ => None,
        })
        .await;
    }
}

/// What the script of n1 asks the thread of n2: commands for its network. Dropping it ends n2.
struct Far {
    orders: Sender<String>,
    done: Receiver<()>,
}

impl Far {
    fn net(&self, command: &str) {
        self.orders.send(command.to_owned()).unwrap();
        self.done.recv_timeout(LIMIT).expect("n2 carried the order out");
    }
}

/// Runs `script` as n1; n2 answers every message. Interfaces `four` and `six` join them; n2's ends
/// are up but have no address yet.
fn two_nodes<F: Future<Output = ()>>(script: impl FnOnce(Paths, Far) -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path());
    let (ids, id) = channel();
    let (orders, orders_in) = channel::<String>();
    let (done_out, done) = channel();
    let (cabled, wait_for_cables) = channel();
    let far_paths = Paths::below(&dir.path().join("n2"));
    let far = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        ids.send(nix::unistd::gettid()).unwrap();
        wait_for_cables.recv().unwrap();
        for lan in ["four", "six"] {
            net(&format!("ip link set {lan} up"));
        }
        runtime().block_on(far_node(far_paths, orders_in, done_out));
    });
    let near_paths = Paths::below(&dir.path().join("n1"));
    let near = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let far_id = id.recv_timeout(LIMIT).unwrap();
        for lan in ["four", "six"] {
            net(&format!("ip link add {lan} type veth peer name {lan} netns {far_id}"));
            net(&format!("ip link set {lan} up"));
        }
        net("ip addr add 10.9.0.1/24 dev four");
        net("ip addr add fd99::1/64 dev six nodad");
        cabled.send(()).unwrap();
        runtime().block_on(script(near_paths, Far { orders, done }));
    });
    // n2 ends when n1 has dropped its orders, be it by a panic.
    let near = near.join();
    far.join().unwrap();
    near.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn far_node(paths: Paths, orders: Receiver<String>, done: Sender<()>) {
    let mut node = Node::start(&paths).await;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    loop {
        tokio::select! {
            event = node.events.recv() => match event {
                Some(PeerEvent::Message { reply, .. }) => reply.send(PeerReply::Done),
                Some(_) => {}
                None => return,
            },
            _ = tick.tick() => match orders.try_recv() {
                Ok(order) => {
                    net(&order);
                    done.send(()).unwrap();
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => {}
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
            },
        }
    }
}

fn swap() -> PeerMessage {
    PeerMessage::Swap { module: ModuleName::new("web").unwrap() }
}

#[test]
fn addresses_that_come_after_the_daemons_are_linked_within_a_second() {
    two_nodes(|paths, far| async move {
        let mut n1 = Node::start(&paths).await;
        // n2 has no address yet: nothing to reach, nothing to send from.
        let error = n1.handle.send(&name("n2"), swap()).await.unwrap_err();
        assert!(matches!(error, PeerError::Unreachable { .. }), "{error}");
        for (lan, order) in [
            ("six", "ip addr add fd99::2/64 dev six nodad"),
            ("four", "ip addr add 10.9.0.2/24 dev four"),
        ] {
            far.net(order);
            let began = Instant::now();
            n1.connected(lan).await;
            assert!(began.elapsed() < HEAL_LIMIT, "{lan}: {:?}", began.elapsed());
            n1.heard(lan).await;
        }
        assert_eq!(n1.handle.send(&name("n2"), swap()).await.unwrap(), PeerReply::Done);
    });
}

#[test]
fn an_interface_that_was_down_is_back_within_a_second_and_the_other_lan_never_noticed() {
    two_nodes(|paths, far| async move {
        far.net("ip addr add 10.9.0.2/24 dev four");
        far.net("ip addr add fd99::2/64 dev six nodad");
        let mut n1 = Node::start(&paths).await;
        n1.heard("four").await;
        n1.heard("six").await;
        // Once at the far end (no carrier here), once at this end (no route here).
        for near in [false, true] {
            let switch = |to: &str| {
                let command = format!("ip link set four {to}");
                if near { net(&command) } else { far.net(&command) }
            };
            switch("down");
            let began = Instant::now();
            let reply = n1.handle.send(&name("n2"), swap()).await.unwrap();
            assert_eq!(reply, PeerReply::Done, "over the other lan");
            assert!(began.elapsed() < HEAL_LIMIT, "{:?}", began.elapsed());
            n1.until("the end of the link", |event| match event {
                PeerEvent::Disconnected { lan, lans_left, .. } => {
                    assert_eq!((lan.as_str(), lans_left), ("four", 1));
                    Some(())
                }
                _ => None,
            })
            .await;
            switch("up");
            let began = Instant::now();
            n1.connected("four").await;
            assert!(began.elapsed() < HEAL_LIMIT, "{:?}", began.elapsed());
        }
    });
}
