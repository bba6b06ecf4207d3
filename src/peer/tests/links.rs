//! Links that come up, stay up, break and come back; messages over them.
use super::proxy::Proxy;
use super::{Cluster, LIMIT, Running, node};
use crate::api::{self, Command, Origin, Request, Response};
use crate::model::{BootId, ModuleName, PeerMessage, PeerReply};
use crate::peer::{PULSE_MIN, PeerError, PeerEvent};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

fn swap() -> PeerMessage {
    PeerMessage::Swap { module: ModuleName::new("web").unwrap() }
}

const TWO_LANS: [(&str, &[(&str, u8)]); 2] =
    [("a", &[("n1", 1), ("n2", 2)]), ("b", &[("n1", 11), ("n2", 12)])];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_hear_each_other_over_every_lan_and_answer() {
    let cluster = Cluster::new();
    let xml = cluster.net.xml(&TWO_LANS);
    let mut n1 = cluster.start("n1", &xml).await;
    let mut n2 = cluster.start("n2", &xml).await;
    for lan in ["a", "b"] {
        n1.heard("n2", lan).await;
        n2.heard("n1", lan).await;
    }
    let (handle, target) = (n1.handle.clone(), node("n2"));
    let asked = tokio::spawn(async move {
        let reply = handle.send(&target, swap()).await?;
        let ping = Request::new(Origin::default(), None, Command::Ping);
        Ok::<_, PeerError>((reply, handle.call(&target, ping).await?))
    });
    n2.until("a message", |event| match event {
        PeerEvent::Message { node, message, reply } => {
            assert_eq!((node.as_str(), message), ("n1", swap()));
            reply.send(PeerReply::Refused { reason: "no".into() });
            Some(())
        }
        _ => None,
    })
    .await;
    n2.until("a call", |event| match event {
        PeerEvent::Call { request, reply, .. } => {
            assert_eq!(request.command, Command::Ping);
            reply.send(Response::ok_with("here"));
            Some(())
        }
        _ => None,
    })
    .await;
    let (reply, response) = asked.await.unwrap().unwrap();
    assert_eq!(reply, PeerReply::Refused { reason: "no".into() });
    assert_eq!(response, Response::ok_with("here"));

    let status = n1.handle.status().await;
    assert_eq!(status.len(), 2);
    for lan in status {
        assert!(lan.connected && lan.silent_ms.unwrap() < 2_000, "{lan:?}");
        assert_eq!(lan.version.as_deref(), Some("test"));
        assert_eq!(lan.cluster_digest, Some(n1.handle.cluster_digest()));
    }
    let nobody = n1.handle.send(&node("n9"), swap()).await.unwrap_err();
    assert!(nobody.to_string().contains("not in cluster.xml (nodes there: n1, n2)"), "{nobody}");

    n2.handle.stop().await;
    assert_eq!(n1.disconnected("n2", "a").await, "its daemon stops");
    let gone = n1.handle.send(&node("n2"), swap()).await.unwrap_err();
    assert!(matches!(gone, PeerError::Unreachable { .. }), "{gone}");
    assert!(gone.to_string().contains("lan a, lan b"), "{gone}");
}

/// n1 dials n2 through a proxy on lan `a`; lan `b` is direct.
async fn behind_a_proxy(cluster: &Cluster) -> (Proxy, Running, Running) {
    let net = &cluster.net;
    let at = |last| SocketAddr::new(net.ip(last), net.port);
    let proxy = Proxy::start(at(3), net.ip(4), at(2)).await;
    let xml = net.xml(&[("a", &[("n1", 1), ("n2", 3)]), TWO_LANS[1]]);
    let (dialled, own) = (net.ip(3), net.ip(2));
    let xml =
        xml.replace(&format!("addr=\"{dialled}\""), &format!("addr=\"{dialled}\" laddr=\"{own}\""));
    let mut n1 = cluster.start("n1", &xml).await;
    let mut n2 = cluster.start("n2", &xml).await;
    for lan in ["a", "b"] {
        n1.heard("n2", lan).await;
        n2.heard("n1", lan).await;
    }
    (proxy, n1, n2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_of_any_length_heals_within_a_second() {
    let cluster = Cluster::new();
    let (proxy, mut n1, mut n2) = behind_a_proxy(&cluster).await;
    // Short: the link survives it.
    proxy.cut();
    let began = Instant::now();
    while proxy.dropped() < 8 {
        assert!(began.elapsed() < LIMIT);
        n1.heard("n2", "b").await;
    }
    proxy.heal();
    let healed = Instant::now();
    n1.until("a heartbeat after a short cut", |event| match event {
        PeerEvent::Heard { lan, .. } if lan == "a" => Some(()),
        PeerEvent::Disconnected { .. } => panic!("the link did not survive a short cut"),
        _ => None,
    })
    .await;
    assert!(healed.elapsed() < Duration::from_secs(1), "{:?}", healed.elapsed());

    // Long: both sides see its end; the other lan is not touched.
    proxy.cut();
    assert_eq!(n1.disconnected("n2", "a").await, "nothing was heard");
    assert_eq!(n2.disconnected("n1", "a").await, "nothing was heard");
    let (began, dropped) = (Instant::now(), proxy.dropped());
    while proxy.dropped() < dropped + 20 {
        // However long the cut is, the dialling does not become rarer.
        assert!(began.elapsed() < Duration::from_secs(5), "{}", proxy.dropped() - dropped);
        n1.heard("n2", "b").await;
    }
    proxy.heal();
    let healed = Instant::now();
    n1.connected("n2", "a").await;
    assert!(healed.elapsed() < Duration::from_secs(1), "{:?}", healed.elapsed());
    n2.heard("n1", "a").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_loses_a_third_of_its_packets_still_serves() {
    let cluster = Cluster::new();
    let (proxy, mut n1, mut n2) = behind_a_proxy(&cluster).await;
    let target = node("n2");
    tokio::spawn(async move {
        while let Some(event) = n2.events.recv().await {
            if let PeerEvent::Message { reply, .. } = event {
                reply.send(PeerReply::Done);
            }
        }
    });
    // Also when the link has to be made over such a line.
    for dialled_anew in [false, true] {
        if dialled_anew {
            proxy.cut();
            n1.disconnected("n2", "a").await;
        }
        proxy.lose_one_of(3);
        proxy.heal();
        if dialled_anew {
            n1.connected("n2", "a").await;
        }
        for _ in 0..10 {
            let reply = n1.handle.send(&target, swap()).await;
            assert_eq!(reply.unwrap(), PeerReply::Done);
            n1.heard("n2", "a").await;
        }
    }
    assert!(proxy.dropped() > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_takes_the_other_lan_and_is_carried_out_once() {
    let cluster = Cluster::new();
    let (proxy, n1, mut n2) = behind_a_proxy(&cluster).await;
    let (handle, target) = (n1.handle.clone(), node("n2"));
    // Lan a comes first; the request gets through on it, its answer does not.
    proxy.cut_answers();
    let began = Instant::now();
    let asked = tokio::spawn(async move { handle.send(&target, swap()).await });
    let mut messages = 0;
    let answered = async {
        loop {
            if let Some(PeerEvent::Message { reply, .. }) = n2.events.recv().await {
                messages += 1;
                reply.send(PeerReply::Done);
            }
        }
    };
    tokio::select! {
        () = answered => {}
        reply = asked => assert_eq!(reply.unwrap().unwrap(), PeerReply::Done),
    }
    assert_eq!(messages, 1);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(proxy.dropped() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_keep_their_pulse_beside_a_large_payload() {
    let cluster = Cluster::new();
    let xml = cluster.net.xml(&TWO_LANS[..1]);
    let mut n1 = cluster.start("n1", &xml).await;
    let mut n2 = cluster.start("n2", &xml).await;
    n1.heard("n2", "a").await;
    n1.handle.set_pulse(PULSE_MIN);
    let package = vec![7; api::request::ARCHIVE_BYTES_MAX];
    let import =
        Request::new(Origin::default(), None, Command::Import { package: package.clone() });
    let (handle, target) = (n1.handle.clone(), node("n2"));
    let sending = tokio::spawn(async move { handle.call(&target, import).await });
    let mut last = Instant::now();
    let (mut beats, mut gap) = (0, Duration::ZERO);
    n2.until("the payload", |event| match event {
        PeerEvent::Heard { .. } => {
            gap = gap.max(last.elapsed());
            last = Instant::now();
            beats += 1;
            None
        }
        PeerEvent::Call { request, reply, .. } => {
            assert!(matches!(request.command, Command::Import { package: p } if p == package));
            reply.send(Response::ok());
            Some(())
        }
        _ => None,
    })
    .await;
    assert_eq!(sending.await.unwrap().unwrap(), Response::ok());
    assert!(beats >= 5, "only {beats} heartbeats");
    assert!(gap < Duration::from_millis(500), "{gap:?} between two heartbeats");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_daemon_that_is_back_is_known_as_another_life_at_once() {
    let cluster = Cluster::new();
    let xml = cluster.net.xml(&TWO_LANS[..1]);
    let mut n1 = cluster.start("n1", &xml).await;
    let first = killable(&cluster, &xml, BootId(1));
    n1.heard("n2", "a").await;
    first.shutdown_background();
    // The same boot: a daemon that was restarted.
    let began = Instant::now();
    let second = killable(&cluster, &xml, BootId(1));
    let reason = n1.disconnected("n2", "a").await;
    assert_eq!(reason, "its daemon was restarted");
    n1.connected("n2", "a").await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    second.shutdown_background();
    // Another boot: the node was down.
    let third = killable(&cluster, &xml, BootId(2));
    n1.until("a changed boot", |event| match event {
        PeerEvent::BootChanged { boot, .. } => (boot == BootId(2)).then_some(()),
        _ => None,
    })
    .await;
    n1.connected("n2", "a").await;
    third.shutdown_background();
}

/// n2 in a runtime of its own, which can be taken away without a word to anybody.
fn killable(cluster: &Cluster, xml: &str, boot: BootId) -> tokio::runtime::Runtime {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (paths, began) = (cluster.paths("n2"), std::time::Instant::now());
    tokio::task::block_in_place(|| {
        runtime.block_on(async {
            if !paths.pki().exists() {
                cluster.start("n2", xml).await.handle.stop().await;
            }
            // The sockets of the life before are closed when its last task is gone.
            let setup = || super::try_start(&paths, boot);
            let mut running = setup().await;
            while let Err(PeerError::Bind { .. }) = running {
                assert!(began.elapsed() < LIMIT);
                tokio::task::yield_now().await;
                running = setup().await;
            }
            let mut running = running.unwrap();
            tokio::spawn(async move { while running.events.recv().await.is_some() {} });
            // The handle lives as long as the runtime.
            std::mem::forget(running.handle);
        });
    });
    runtime
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_answers_nothing_is_an_error_and_not_a_wait() {
    let cluster = Cluster::new();
    let xml = cluster.net.xml(&TWO_LANS[..1]);
    let mut n1 = cluster.start("n1", &xml).await;
    let mut n2 = cluster.start("n2", &xml).await;
    n1.connected("n2", "a").await;
    let limit = Duration::from_millis(300);
    let error = n1.handle.send_within(&node("n2"), swap(), limit).await.unwrap_err();
    assert!(matches!(error, PeerError::TimedOut { .. }), "{error}");
    // The daemon drops the way back without a word.
    let (handle, target) = (n1.handle.clone(), node("n2"));
    let asked = tokio::spawn(async move { handle.send(&target, swap()).await });
    for _ in 0..2 {
        n2.until("a message", |e| matches!(e, PeerEvent::Message { .. }).then_some(())).await;
    }
    let error = asked.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("node n2: its daemon gave no answer"), "{error}");
}
