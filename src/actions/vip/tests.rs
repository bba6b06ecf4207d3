//! Goal: addresses are taken, refused, announced and given up on a real link. Each test has two
//! network namespaces of its own, joined by a veth pair; it needs root.
use super::*;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::thread;

/// The far end of the link: a namespace held open by a sleeping process.
struct Far {
    holder: Child,
}

impl Far {
    fn pid(&self) -> u32 {
        self.holder.id()
    }

    fn run(&self, command: &str) -> String {
        sh(&format!("nsenter -t {} -n {command}", self.pid()))
    }

    /// Runs `work` on a thread and a runtime of its own inside the far namespace.
    fn inside<T, F, W>(&self, work: W) -> thread::JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T>,
        W: FnOnce() -> F + Send + 'static,
    {
        let namespace = File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            runtime().block_on(work())
        })
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn sh(command: &str) -> String {
    let done = Command::new("sh").args(["-c", command]).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command}: {error}");
    text
}

/// Runs `test` in a namespace with interface `v0` (10.7.0.1/24, fd07::1/64), whose far end has
/// `v1` (10.7.0.2/24, fd07::2/64).
fn on_a_link<F: Future<Output = ()>>(test: impl FnOnce(Far) -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root for network namespaces");
        return;
    }
    let ran = thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let holder = Command::new("unshare")
            .args(["-n", "sh", "-c", "echo ready; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn();
        let mut far = Far { holder: holder.unwrap() };
        let mut ready = [0; 1];
        std::io::Read::read_exact(far.holder.stdout.as_mut().unwrap(), &mut ready).unwrap();
        sh(&format!("ip link add v0 type veth peer name v1 netns {}", far.pid()));
        sh(
            "ip link set lo up; ip addr add 10.7.0.1/24 dev v0; ip addr add fd07::1/64 dev v0 nodad; \
            ip link set v0 up",
        );
        far.run("ip addr add 10.7.0.2/24 dev v1");
        far.run("ip addr add fd07::2/64 dev v1 nodad");
        far.run("ip link set v1 up");
        runtime().block_on(test(far));
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

fn vip(addr: &str) -> Vip {
    let addr = addr.parse().unwrap();
    Vip {
        addr,
        interface: None,
        prefix: None,
        one_side: false,
        refresh: None,
        elapse: Duration::ZERO,
    }
}

fn successor(peer: &str) -> Probe {
    Probe::Successor { peer: vec![peer.parse().unwrap()] }
}

const BOTH: [&str; 2] = ["10.7.0.9", "fd07::9"];
const NO_GRACE: Duration = Duration::ZERO;

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < limit, "not within 5 s: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Hardware address in what `ip -o link show` printed.
fn mac_in(line: &str) -> String {
    line.split("link/ether ").nth(1).unwrap()[..17].to_owned()
}

#[test]
fn an_address_is_taken_by_subnet_announced_and_released() {
    on_a_link(|far| async move {
        for (text, prefix) in BOTH.into_iter().zip([24, 64]) {
            // The far end believes that somebody else has the address, as after a take-over.
            let family = if text.contains(':') { "-6" } else { "-4" };
            far.run(&format!(
                "ip {family} neigh replace {text} lladdr 02:00:00:00:00:99 dev v1 nud stale"
            ));
            let begin = Instant::now();
            let held = take(&vip(text), &Probe::Full, NO_GRACE).await.unwrap();
            let took = begin.elapsed();
            // 210 ms of asking; the rest is for a machine that is busy with other tests.
            assert!(took < Duration::from_millis(450), "took {took:?}");
            assert_eq!((held.interface.as_str(), held.prefix), ("v0", prefix));
            assert!(held.notes.is_empty(), "{held:?}");
            assert_eq!(is_present(held.addr).await.unwrap().as_deref(), Some("v0"));
            let mac = mac_in(&sh("ip -o link show v0"));
            until("the far end has learnt the hardware address", || {
                far.run(&format!("ip {family} neigh show {text}")).contains(&mac)
            })
            .await;
            let addr = held.addr;
            drop(held);
            assert_eq!(is_present(addr).await.unwrap().as_deref(), Some("v0"));
            assert_eq!(release(addr).await.unwrap(), ["v0"]);
            assert_eq!(is_present(addr).await.unwrap(), None);
            assert!(release(addr).await.unwrap().is_empty());
        }
    });
}

#[test]
fn an_address_that_somebody_holds_is_refused_with_the_hardware_address() {
    on_a_link(|far| async move {
        for text in BOTH {
            let nodad = if text.contains(':') { "nodad" } else { "" };
            far.run(&format!("ip addr add {text}/24 dev v1 {nodad}"));
            let mac = mac_in(&far.run("ip -o link show v1"));
            let error = take(&vip(text), &Probe::Full, NO_GRACE).await.unwrap_err();
            assert!(matches!(error, VipError::HeldByOther { .. }), "{error}");
            assert!(error.to_string().contains(&mac), "{error} does not name {mac}");
            assert_eq!(is_present(text.parse().unwrap()).await.unwrap(), None);
            // A stranger keeps it from a successor too, and the peer does not.
            let error = take(&vip(text), &successor("10.7.0.77"), NO_GRACE).await.unwrap_err();
            assert!(matches!(error, VipError::HeldByOther { .. }), "{error}");
            let held = take(&vip(text), &successor("10.7.0.2"), NO_GRACE).await.unwrap();
            assert!(held.notes[0].contains(&mac), "{:?}", held.notes);
            release(held.addr).await.unwrap();
        }
    });
}

#[test]
fn a_peer_that_is_just_letting_go_is_waited_for() {
    on_a_link(|far| async move {
        far.run("ip addr add 10.7.0.9/24 dev v1");
        let wanted = vip("10.7.0.9");
        let mut taken = std::pin::pin!(take(&wanted, &Probe::Full, Duration::from_secs(5)));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut taken).await;
        assert!(early.is_err(), "the peer has it still: {early:?}");
        far.run("ip addr del 10.7.0.9/24 dev v1");
        assert_eq!(taken.await.unwrap().interface, "v0");
    });
}

#[test]
fn the_size_of_a_network_is_that_of_the_own_address_in_it() {
    on_a_link(|far| async move {
        let _far = far;
        sh("ip addr add 10.8.3.1/16 dev v0");
        for (addr, prefix) in [
            ("10.7.0.9", Some(24)),
            ("10.8.200.9", Some(16)),
            ("10.8.3.1", None),
            ("192.0.2.7", None),
            ("fd07::9", Some(64)),
        ] {
            assert_eq!(own_prefix(addr.parse().unwrap()), prefix, "{addr}");
        }
    });
}

#[test]
fn two_nodes_that_ask_at_once_do_not_both_get_it() {
    on_a_link(|far| async move {
        for _ in 0..5 {
            let other = far
                .inside(|| async { take(&vip("10.7.0.9"), &Probe::Full, NO_GRACE).await.is_ok() });
            let own = take(&vip("10.7.0.9"), &Probe::Full, NO_GRACE).await.is_ok();
            let other = other.join().unwrap();
            assert_ne!(own, other, "exactly one of two takes it");
            let addr = "10.7.0.9".parse().unwrap();
            release(addr).await.unwrap();
            far.inside(move || async move { release(addr).await.unwrap() }).join().unwrap();
        }
    });
}

#[test]
fn a_foreign_claim_is_reported_and_answered() {
    on_a_link(|far| async move {
        let held = take(&vip("10.7.0.9"), &Probe::Full, NO_GRACE).await.unwrap();
        let mut claims = held.foreign_claims();
        assert_eq!(*claims.borrow_and_update(), None);
        let intruder = far.inside(|| async {
            // Set by hand: nobody was asked.
            sh("ip addr add 10.7.0.9/24 dev v1");
            let held = take(&vip("10.7.0.9"), &Probe::Full, NO_GRACE).await.unwrap();
            let mut claims = held.foreign_claims();
            // The owner's answer is a foreign claim in the intruder's eyes.
            tokio::time::timeout(Duration::from_secs(5), claims.changed()).await.is_ok()
        });
        tokio::time::timeout(Duration::from_secs(5), claims.changed()).await.unwrap().unwrap();
        assert!(claims.borrow().is_some());
        assert!(intruder.join().unwrap());
    });
}

#[test]
fn mistakes_of_the_configuration_are_named() {
    on_a_link(|far| async move {
        let _far = far;
        let error = take(&vip("192.0.2.7"), &Probe::Full, NO_GRACE).await.unwrap_err();
        assert!(matches!(error, VipError::NoInterface { .. }), "{error}");
        let mut named = vip("192.0.2.7");
        named.interface = Some("v7".into());
        let error = take(&named, &Probe::Full, NO_GRACE).await.unwrap_err();
        assert!(error.to_string().contains("no interface v7"), "{error}");
        named.interface = Some("v0".into());
        let held = take(&named, &Probe::Full, NO_GRACE).await.unwrap();
        assert_eq!(held.prefix, 32, "no subnet: the address alone");
        sh("ip link set v0 down");
        let error = take(&vip("10.7.0.9"), &Probe::Full, NO_GRACE).await.unwrap_err();
        assert!(matches!(error, VipError::InterfaceDown { .. }), "{error}");
    });
}

#[test]
fn an_alias_is_no_source_and_needs_no_detection_by_the_kernel() {
    on_a_link(|far| async move {
        let _far = far;
        let held = take(&vip("fd07::9"), &Probe::Full, NO_GRACE).await.unwrap();
        let line = sh("ip -6 -o addr show dev v0 to fd07::9");
        assert!(line.contains("deprecated") && !line.contains("tentative"), "{line}");
        release(held.addr).await.unwrap();
        let mut wanted = vip("fd07::9");
        wanted.one_side = true;
        let _held = take(&wanted, &Probe::Full, NO_GRACE).await.unwrap();
        let line = sh("ip -6 -o addr show dev v0 to fd07::9");
        assert!(!line.contains("deprecated") && !line.contains("tentative"), "{line}");
    });
}

/// A server on `addr` with one client at the far end; the client's answer is how its read ended.
fn a_connection(far: &Far, listen: &str, addr: &str) -> (std::net::TcpStream, Client) {
    let server = std::net::TcpListener::bind((listen, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    let to: IpAddr = addr.parse().unwrap();
    let client = far.inside(move || async move {
        let mut stream = std::net::TcpStream::connect((to, port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        std::io::Read::read(&mut stream, &mut [0; 1])
    });
    (server.accept().unwrap().0, client)
}

type Client = thread::JoinHandle<io::Result<usize>>;

#[test]
fn clients_of_an_address_hear_at_once_that_it_goes() {
    on_a_link(|far| async move {
        // An IPv4 client of a server for both families has a mapped address.
        for (listen, text) in [("10.7.0.9", BOTH[0]), ("::", BOTH[0]), ("fd07::9", BOTH[1])] {
            let held = take(&vip(text), &Probe::Full, NO_GRACE).await.unwrap();
            let (addr, own) = (held.addr, if text.contains(':') { "fd07::1" } else { "10.7.0.1" });
            let (_served, client) = a_connection(&far, listen, text);
            let (other, _stays) = a_connection(&far, own, own);
            assert_eq!(established(addr).await.unwrap(), 1, "{listen}");
            assert_eq!(reset_connections(addr).await.unwrap(), 1, "{listen}");
            let error = client.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{listen}");
            assert_eq!(established(addr).await.unwrap(), 0, "{listen}");
            assert_eq!(established(own.parse().unwrap()).await.unwrap(), 1, "not its connection");
            drop(other);
            drop(held);
            release(addr).await.unwrap();
        }
    });
}

/// What waits for the other side's end is gone; the other side hears of it with its next word, as
/// the kernel keeps too little of such a connection to reset it.
#[test]
fn a_connection_that_its_program_has_closed_does_not_linger() {
    on_a_link(|far| async move {
        let held = take(&vip("10.7.0.9"), &Probe::Full, NO_GRACE).await.unwrap();
        let server = std::net::TcpListener::bind(("10.7.0.9", 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        let (closed, told) = std::sync::mpsc::channel();
        let (end, done) = std::sync::mpsc::channel();
        let client = far.inside(move || async move {
            let mut stream = std::net::TcpStream::connect(("10.7.0.9", port)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            assert_eq!(std::io::Read::read(&mut stream, &mut [0; 1]).unwrap(), 0, "end of stream");
            closed.send(()).unwrap();
            done.recv().unwrap();
        });
        drop(server.accept().unwrap());
        drop(server);
        told.recv().unwrap();
        assert!(sh("ss -Htn state fin-wait-1 state fin-wait-2").contains("10.7.0.9"));
        assert_eq!(reset_connections(held.addr).await.unwrap(), 1);
        assert_eq!(sh("ss -Htan src 10.7.0.9"), "");
        end.send(()).unwrap();
        client.join().unwrap();
    });
}

#[test]
fn giving_up_one_address_keeps_the_others() {
    on_a_link(|far| async move {
        let _far = far;
        let named =
            |addr: &str| Vip { interface: Some("v0".into()), prefix: Some(24), ..vip(addr) };
        let vips = [named("192.0.2.7"), named("192.0.2.8"), named("10.7.0.9")];
        let held = take_all(&vips, &Probe::Full, NO_GRACE).await;
        assert!(held.iter().all(Result::is_ok), "{held:?}");
        release(vips[0].addr).await.unwrap();
        assert!(is_present(vips[1].addr).await.unwrap().is_some());
        for (vip, present) in vips.iter().zip([false, true, true]) {
            assert_eq!(!release(vip.addr).await.unwrap().is_empty(), present, "{vip:?}");
        }
        assert!(sh("ip -o addr show dev v0").contains("10.7.0.1/24"));
    });
}

#[test]
fn taking_what_is_here_already_only_announces() {
    on_a_link(|far| async move {
        let _far = far;
        sh("ip addr add 10.7.0.9/24 dev v0");
        let begin = Instant::now();
        let held = take(&vip("10.7.0.9"), &Probe::Full, NO_GRACE).await.unwrap();
        assert!(begin.elapsed() < Duration::from_millis(100));
        assert_eq!(held.prefix, 24);
    });
}

#[test]
fn changes_of_links_and_addresses_are_told() {
    use crate::watch::link::{LinkEvent, events};
    on_a_link(|far| async move {
        let mut news = events().unwrap();
        let mut next = async |wanted: LinkEvent| {
            let found = async {
                while let Some(event) = news.recv().await {
                    if event == wanted {
                        return true;
                    }
                }
                false
            };
            tokio::time::timeout(Duration::from_secs(5), found).await.unwrap_or(false)
        };
        let line = sh("ip -o link show v0");
        let index: u32 = line.split(':').next().unwrap().trim().parse().unwrap();
        let addr = "10.7.0.9".parse().unwrap();
        sh("ip addr add 10.7.0.9/24 dev v0");
        assert!(next(LinkEvent::AddressAdded { addr, index }).await);
        sh("ip addr del 10.7.0.9/24 dev v0");
        assert!(next(LinkEvent::AddressGone { addr, index }).await);
        far.run("ip link set v1 down");
        assert!(next(LinkEvent::Link { interface: "v0".into(), index, up: false }).await);
    });
}
