//! The link between daemons over real interfaces: two network namespaces, joined by a pair of
//! virtual cables. Goal: addresses that come late, interfaces that go down and IPv6 are
//! survived, and what is cut is back within a second after it can be.
//!
//! Each node is a thread with a network namespace and a runtime of its own. The last test does the
//! same to real daemons, in a lab.
#![allow(clippy::unwrap_used)]
#[path = "support/lab.rs"]
mod support;
use lockstep::config::cluster::ClusterConfig;
use lockstep::config::paths::Paths;
use lockstep::model::{BootId, ModuleName, NodeName, PeerMessage, PeerReply};
use lockstep::peer::{PeerError, PeerEvent, PeerSetup, Peers, PeersHandle};
use lockstep::trust::{self, Authority, Pki, SigningRequest};
use std::future::Future;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use support::{Lab, wait_for};
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

/// What `lockstep WORDS` says on a node, and its exit code.
fn lockstep(lab: &Lab, node: &str, words: &str) -> (String, i32) {
    let script = format!("lockstep {words} 2>&1");
    let output = lab.try_run(["exec", node, "--", "sh", "-c", &script]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (text, output.status.code().expect("not killed by a signal"))
}

fn answers(lab: &Lab, from: &str, to: &str) -> bool {
    lockstep(lab, from, &format!("-H {to} level")).1 == 0
}

#[test]
fn real_daemons_stay_linked_through_cuts_kills_and_new_files() {
    let Some(lab) = Lab::cluster("peerlink", &["--lans", "2"]) else { return };
    wait_for("a link on both nodes", || answers(&lab, "n1", "n2") && answers(&lab, "n2", "n1"));

    // One lan cut: nobody who asks notices, not even the first one.
    lab.run(["cut", "n1", "n2", "--lan", "1"]);
    for (from, to) in [("n1", "n2"), ("n2", "n1")] {
        let began = Instant::now();
        assert!(answers(&lab, from, to), "{from} asks {to} over the other lan");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    // Both cut: an answer all the same, and it says what is wrong.
    lab.run(["cut", "n1", "n2", "--lan", "2"]);
    wait_for("an end of both links", || {
        lab.sh("n1", "cat /var/log/lockstep/daemon.log").contains("lans_left=0")
    });
    let began = Instant::now();
    let (text, code) = lockstep(&lab, "n1", "-H n2 level");
    assert_eq!(code, 6, "{text}");
    assert!(text.contains("there is no link to node n2 over lan default, lan lan2"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    lab.run(["heal"]);
    let began = Instant::now();
    wait_for("an answer after the cut", || answers(&lab, "n1", "n2"));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    // A daemon that is killed is started again and linked without anybody's help.
    let pid = "lockstep level | sed 's/.*daemon \\([0-9]*\\).*/\\1/'";
    let before = lab.sh("n2", pid);
    lab.sh("n2", &format!("kill -9 {before}"));
    wait_for("another daemon on n2", || {
        let (text, code) = lockstep(&lab, "n1", "-H n2 level");
        code == 0 && !text.contains(&format!("daemon {before},"))
    });

    // A node that was paused is linked again when it goes on.
    lab.run(["freeze", "n2"]);
    let (text, code) = lockstep(&lab, "n1", "cluster state");
    assert_eq!(code, 0, "{text}");
    wait_for("the end of the links", || {
        lockstep(&lab, "n1", "cluster state").0.contains("Node n2 : NOT REACHABLE")
    });
    lab.run(["thaw", "n2"]);
    wait_for("an answer after the pause", || answers(&lab, "n1", "n2"));

    // A new file goes to all; one with a mistake goes nowhere.
    lab.sh("n1", "echo '<!-- new -->' >>/etc/lockstep/cluster.xml");
    let (text, code) = lockstep(&lab, "n1", "-H '*' -G");
    assert_eq!(code, 0, "{text}");
    let good = lab.sh("n2", "cat /etc/lockstep/cluster.xml");
    assert!(good.contains("<!-- new -->"), "{good}");
    lab.sh("n1", "echo '<' >>/etc/lockstep/cluster.xml");
    assert_eq!(lockstep(&lab, "n1", "-H '*' -G").1, 2);
    assert_eq!(lab.sh("n2", "cat /etc/lockstep/cluster.xml"), good);

    // Nobody comes in by a word that is no token; the answer says what it is.
    let address = lab.variable("LAB_ADDR_n1");
    let join = format!("cluster join {address} --token lockstepjoinaaaa --force --node n9");
    let (text, code) = lockstep(&lab, "n2", &join);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("not a join token"), "{text}");
}

const MODULE: &str = r#"<safe><service mode="mirror" boot="off">
<heart pulse="200ms" timeout="3s"><heartbeat name="default"/><heartbeat name="lan2" ident="flow"/>
</heart><rfs level="mirror"><replicated dir="/srv/data"/></rfs></service></safe>"#;

/// State of the module `web`, as the first words of the local line.
fn state(lab: &Lab, node: &str) -> String {
    let (text, _) = lockstep(lab, node, "state -m web");
    let line = text.lines().find(|line| line.starts_with("Local")).unwrap_or_default();
    line.split(" : ").nth(1).unwrap_or_default().split(" (").next().unwrap_or_default().to_owned()
}

/// Rule A2 where it matters: the data's own lan is cut while the other one carries heartbeats.
#[test]
fn a_cut_of_the_data_lan_outdates_the_secondary_before_the_primary_goes_on() {
    let Some(lab) = Lab::cluster("outdate", &["--lans", "2"]) else { return };
    for node in ["n1", "n2"] {
        let make = format!(
            "mkdir -p /srv/data /srv/web/conf /srv/web/bin; cd /srv/web
             printf '%s' '{MODULE}' >conf/userconfig.xml
             printf '#!/bin/sh\n' >bin/start_prim; chmod +x bin/start_prim
             python3 -m zipfile -c /srv/web.safe conf bin
             lockstep module install -m web /srv/web.safe; lockstep config -m web"
        );
        lab.sh(node, &make);
    }
    lab.sh("n1", "lockstep prim -m web --wait");
    lab.sh("n2", "lockstep second -m web --wait");
    let in_sync = || state(&lab, "n1") == "PRIM Ready" && state(&lab, "n2") == "SECOND Ready";
    wait_for("both in sync", in_sync);
    // One word after the other, as fast as the mirror takes them.
    let script = "while [ ! -e /srv/enough ]; do i=$((i + 1)); echo $i >>/srv/data/log; done";
    let mut writer = lab.command(["exec", "n1", "--", "sh", "-c", script]).spawn().expect("starts");
    let written =
        || lab.sh("n1", "tail -n1 /srv/data/log 2>/dev/null || echo 0").parse::<u64>().unwrap_or(0);
    wait_for("some writes", || written() > 20);

    lab.run(["cut", "n1", "n2", "--lan", "2"]);
    wait_for("the primary alone", || state(&lab, "n1") == "ALONE Ready");
    let (log, _) = lockstep(&lab, "n1", "log -m web");
    assert!(log.contains("n2 has recorded that its copy is outdated"), "{log}");
    let before = written();
    wait_for("writes that go on", || written() > before);
    // Heartbeats arrive over the other lan: the secondary stays what it is, and is not Ready.
    assert!(["SECOND NotReady", "SECOND Transient"].contains(&state(&lab, "n2").as_str()));
    // The lan comes back beside a busy application, and so does the secondary.
    lab.run(["heal"]);
    wait_for("both in sync again", in_sync);

    // Once more, and now the primary dies: nobody leads with the outdated copy.
    lab.run(["cut", "n1", "n2", "--lan", "2"]);
    wait_for("the primary alone", || state(&lab, "n1") == "ALONE Ready");
    lab.sh("n1", "touch /srv/enough; sync");
    writer.wait().expect("the writer ends");
    lab.run(["kill", "n1"]);
    wait_for("the secondary blocked", || state(&lab, "n2") == "WAIT NotReady");
    let (text, _) = lockstep(&lab, "n2", "state -m web");
    assert!(text.contains("n1 went on without this copy"), "{text}");
    // It comes back with what it alone has, and both copies are equal.
    lab.run(["heal"]);
    lab.run(["boot", "n1"]);
    lab.sh("n1", "lockstep start -m web");
    wait_for("both in sync at last", in_sync);
    let [here, there] = ["n1", "n2"].map(|node| {
        std::fs::read(lab.path(node, "/srv/data").join("log")).expect("a copy of the log")
    });
    assert!(here == there, "{} and {} bytes", here.len(), there.len());
    for node in ["n2", "n1"] {
        lab.sh(node, "lockstep stop -m web --wait");
    }
}
