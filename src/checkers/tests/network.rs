//! `ping`, `intf` and `ip` on real links: each test has two network namespaces of its own, joined
//! by a veth pair; it needs root.
use super::*;
use std::process::{Child, Command, Stdio};
use std::thread;

/// The far end of the link: a namespace held open by a sleeping process.
pub(in super::super) struct Far {
    holder: Child,
}

impl Far {
    fn run(&self, command: &str) {
        sh(&format!("nsenter -t {} -n {command}", self.holder.id()));
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn sh(command: &str) {
    let done = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Runs `test` in a namespace with interface `v0` (10.7.0.1/24, fd07::1/64), whose far end has
/// `v1` (10.7.0.2/24, fd07::2/64).
pub(in super::super) fn in_own_network<F: Future<Output = ()>>(
    test: impl FnOnce(Far) -> F + Send + 'static,
) {
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
        sh(&format!("ip link add v0 type veth peer name v1 netns {}", far.holder.id()));
        sh("ip link set lo up; ip addr add 10.7.0.1/24 dev v0; \
            ip addr add fd07::1/64 dev v0 nodad; ip link set v0 up");
        far.run("ip addr add 10.7.0.2/24 dev v1");
        far.run("ip addr add fd07::2/64 dev v1 nodad");
        far.run("ip link set v1 up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(far));
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

/// So rarely that only the kernel's announcements can be the cause of a reading.
const RARELY: Duration = Duration::from_secs(3600);

#[test]
fn a_machine_that_answers_is_up() {
    in_own_network(|far| async move {
        let module = Module::new();
        for addr in ["10.7.0.2", "fd07::2"] {
            let timeout = Duration::from_millis(200);
            let ping = CheckerKind::Ping { addr: addr.into(), interval: OFTEN, timeout };
            let (_running, mut from) = module.start(ping);
            let first = next(&mut from).await;
            assert_eq!(
                (first.resource.as_str(), first.up, first.by),
                ("ping.x", true, "pingcheck")
            );
            far.run("ip link set v1 down");
            assert!(next_down(&mut from).await.contains(addr));
            // The kernel takes IPv6 addresses away from a link that goes down.
            far.run("ip link set v1 up");
            far.run("ip addr replace fd07::2/64 dev v1 nodad");
            next_up(&mut from).await;
        }
    });
}

/// A node that is cut off ends its service: a packet that gets lost is not enough for that.
#[test]
fn a_witness_that_misses_the_first_question_is_asked_again() {
    in_own_network(|far| async move {
        let module = Module::new();
        let deaf = |on: u8| {
            far.run(&format!("sh -c 'echo {on} >/proc/sys/net/ipv4/icmp_echo_ignore_all'"));
        };
        deaf(1);
        let mut asked = std::pin::pin!(ask_witness(&module.around.runner, "ping", "10.7.0.2"));
        assert!(timeout(QUIET, &mut asked).await.is_err(), "it is still waited for");
        deaf(0);
        asked.await.unwrap();
        deaf(1);
        let why = ask_witness(&module.around.runner, "ping", "10.7.0.2 fd07::7").await.unwrap_err();
        assert_eq!(why.matches("10.7.0.2").count(), 1, "{why}");
    });
}

#[test]
fn a_machine_without_a_route_is_down_at_once() {
    in_own_network(|far| async move {
        let _far = far;
        let module = Module::new();
        let ping =
            CheckerKind::Ping { addr: "192.0.2.1".into(), interval: OFTEN, timeout: 100 * LIMIT };
        let (_running, mut from) = module.start(ping);
        assert!(next_down(&mut from).await.contains("cannot ping 192.0.2.1"));
    });
}

#[test]
fn a_link_is_up_with_a_carrier_and_news_come_from_the_kernel() {
    in_own_network(|far| async move {
        let module = Module::new();
        for local_addr in ["10.7.0.1", "10.7.0.0"] {
            let begin = Instant::now();
            let (_running, mut from) = module
                .start(CheckerKind::Interface { interface: None, local_addr: local_addr.into() });
            let first = next(&mut from).await;
            assert_eq!(
                (first.resource.as_str(), first.up, first.by),
                ("intf.x", true, "intfcheck")
            );
            far.run("ip link set v1 down");
            assert!(next_down(&mut from).await.contains("v0 of"));
            far.run("ip link set v1 up");
            next_up(&mut from).await;
            sh("ip link set v0 down");
            assert!(next_down(&mut from).await.contains("v0 of"));
            sh("ip link set v0 up");
            next_up(&mut from).await;
            assert!(begin.elapsed() < super::super::network::POLL, "found by the poll only");
        }
    });
}

#[test]
fn a_link_that_is_not_there_is_down() {
    in_own_network(|far| async move {
        let _far = far;
        let module = Module::new();
        let (_running, mut from) = module
            .start(CheckerKind::Interface { interface: None, local_addr: "192.0.2.7".into() });
        assert!(next_down(&mut from).await.contains("no interface of this node has 192.0.2.7"));
        sh("ip addr add 192.0.2.9/24 dev v0");
        next_up(&mut from).await;
    });
}

/// Of these two the resolver is none: the address may be here all the same.
#[test]
fn a_name_that_cannot_be_resolved_says_nothing_of_this_node() {
    in_own_network(|far| async move {
        let _far = far;
        let module = Module::new();
        let addr = || "no-such-host.invalid".to_owned();
        for kind in [
            CheckerKind::Interface { interface: None, local_addr: addr() },
            CheckerKind::Address { addr: addr(), interval: OFTEN },
        ] {
            let (_running, mut from) = module.start(kind);
            assert!(timeout(QUIET, from.recv()).await.is_err());
        }
    });
}

/// A virtual address may be put on an interface that has no other address of its network.
#[test]
fn a_link_that_is_named_is_watched_whatever_its_addresses() {
    in_own_network(|far| async move {
        let _far = far;
        let module = Module::new();
        sh(
            "ip link add d0 type veth peer name d1 && ip addr add 192.0.2.1/24 dev d0 && ip link set d0 up",
        );
        // d0 holds the network of the second address, and is not the one that is meant.
        for local_addr in ["198.51.100.7", "192.0.2.7"] {
            let (interface, local_addr) = (Some("v0".into()), local_addr.into());
            let (_running, mut from) =
                module.start(CheckerKind::Interface { interface, local_addr });
            next_up(&mut from).await;
            sh("ip link set v0 down");
            assert!(next_down(&mut from).await.contains("interface v0 of"));
            sh("ip link set v0 up");
            next_up(&mut from).await;
        }
        let (interface, local_addr) = (Some("v7".into()), "192.0.2.7".into());
        let (_running, mut from) = module.start(CheckerKind::Interface { interface, local_addr });
        assert!(next_down(&mut from).await.contains("no interface v7"));
    });
}

#[test]
fn an_address_that_somebody_removes_is_told_by_the_kernel() {
    in_own_network(|far| async move {
        let _far = far;
        let module = Module::new();
        for (addr, prefix) in [("10.7.0.9", 24), ("fd07::9", 64)] {
            sh(&format!("ip addr add {addr}/{prefix} dev v0"));
            let (_running, mut from) =
                module.start(CheckerKind::Address { addr: addr.into(), interval: RARELY });
            let first = next(&mut from).await;
            assert_eq!((first.resource.as_str(), first.up, first.by), ("ip.x", true, "ipcheck"));
            sh(&format!("ip addr del {addr}/{prefix} dev v0"));
            assert!(next_down(&mut from).await.contains(addr));
            sh(&format!("ip addr add {addr}/{prefix} dev v0"));
            next_up(&mut from).await;
        }
    });
}

#[test]
fn an_address_that_comes_back_at_once_was_never_away() {
    in_own_network(|far| async move {
        let _far = far;
        let module = Module::new();
        let (_running, mut from) =
            module.start(CheckerKind::Address { addr: "10.7.0.1".into(), interval: RARELY });
        next_up(&mut from).await;
        sh("ip addr del 10.7.0.1/24 dev v0 && ip addr add 10.7.0.1/24 dev v0");
        assert!(timeout(QUIET, from.recv()).await.is_err());
    });
}
