//! Telling the link where a held address is (rule R16).
//!
//! ```text
//! take      0   50   150   350   750 ms      burst: switches and neighbours learn, losses covered
//! then      every 10 s for a minute, every 60 s after, until `arpelapse` has passed
//! foreign   at once when somebody else claims the address (at most every 10 s, RFC 5227 2.4 c)
//! asked     all of this again, e.g. after the network healed
//! ```
//! Claims of others are answered as long as the address is held.
use super::frames::{self, Claim, Mac};
use super::packet::PacketSocket;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// Distances from the taking, milliseconds.
const BURST_MS: [u64; 5] = [0, 50, 150, 350, 750];
const YOUNG: Duration = Duration::from_secs(60);
const REFRESH_YOUNG: Duration = Duration::from_secs(10);
const REFRESH_OLD: Duration = Duration::from_secs(60);
/// RFC 5227 DEFEND_INTERVAL: two holders must not shout at each other without end.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// After a receive error: a socket that goes on failing costs no CPU time.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What is announced, and where.
pub(super) struct Claimed {
    pub addr: IpAddr,
    pub interface: String,
    pub mac: Mac,
    /// Shorter refresh wanted by the configuration (`arpinterval`).
    pub refresh: Option<Duration>,
    /// Nothing is repeated later than this (`arpelapse`); the burst is always sent.
    pub elapse: Duration,
}

/// The way to the link.
pub(super) trait Frames {
    fn send(&self, frame: &[u8]) -> impl Future<Output = io::Result<()>> + Send;
    /// Cancel safe.
    fn receive(&self) -> impl Future<Output = io::Result<Vec<u8>>> + Send;
}

impl Frames for PacketSocket {
    async fn send(&self, frame: &[u8]) -> io::Result<()> {
        PacketSocket::send(self, frame).await
    }

    async fn receive(&self) -> io::Result<Vec<u8>> {
        PacketSocket::receive(self).await
    }
}

/// When the next announcement is due, counted from the last burst's begin; `None`: no more. Pure:
/// `sent` counts announcements since then.
fn next_after(sent: usize, refresh: Option<Duration>, elapse: Duration) -> Option<Duration> {
    if let Some(at) = BURST_MS.get(sent) {
        return Some(Duration::from_millis(*at));
    }
    let nth = (sent - BURST_MS.len()) as u32 + 1;
    let shorter = |usual: Duration| refresh.map_or(usual, |wanted| wanted.min(usual));
    let young = shorter(REFRESH_YOUNG);
    let young_count = (YOUNG.as_millis() / young.as_millis().max(1)) as u32;
    let at = if nth <= young_count {
        young * nth
    } else {
        young * young_count + shorter(REFRESH_OLD) * (nth - young_count)
    };
    (at <= elapse).then_some(at)
}

/// Announces until it is aborted.
pub(super) async fn announce(
    claimed: Claimed,
    socket: impl Frames,
    again: Arc<Notify>,
    foreign: watch::Sender<Option<Mac>>,
) {
    let router = forwards(&claimed);
    let news = frames::announcements(claimed.mac, claimed.addr, router);
    let mut begin = Instant::now();
    let mut sent = 0;
    let mut defended: Option<Instant> = None;
    // After an error of the socket, when it is listened to again.
    let mut deaf: Option<Instant> = None;
    loop {
        let due = next_after(sent, claimed.refresh, claimed.elapse).map(|after| begin + after);
        let claim = tokio::select! {
            () = reached(due) => None,
            () = again.notified() => {
                (begin, sent, deaf) = (Instant::now(), 0, None);
                continue;
            }
            () = reached(deaf), if deaf.is_some() => {
                deaf = None;
                continue;
            }
            frame = socket.receive(), if deaf.is_none() => match frame {
                Ok(frame) => match frames::claim_in(&frame, claimed.mac, claimed.addr) {
                    Some(Claim::Held(mac) | Claim::Probing(mac)) => Some(mac),
                    None => continue,
                },
                Err(error) => {
                    tracing::warn!(address = %claimed.addr, %error, "cannot listen for claims");
                    deaf = Some(Instant::now() + LISTEN_AGAIN);
                    continue;
                }
            },
        };
        if let Some(mac) = claim {
            foreign.send_replace(Some(mac));
            if defended.is_some_and(|at| at.elapsed() < DEFEND_INTERVAL) {
                continue;
            }
            defended = Some(Instant::now());
        } else {
            sent += 1;
        }
        for frame in &news {
            if let Err(error) = socket.send(frame).await {
                tracing::debug!(address = %claimed.addr, %error, "announcement not sent");
            }
        }
    }
}

async fn reached(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// An interface that forwards IPv6 says so in its advertisements, else hosts would drop it from
/// their router lists (RFC 4861 section 4.4, R flag).
fn forwards(claimed: &Claimed) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{}/forwarding", claimed.interface);
    claimed.addr.is_ipv6() && std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::sync::mpsc;

    const LONG: Duration = Duration::from_secs(1200);

    #[test]
    fn announcements_come_as_a_burst_then_rarely() {
        let at = |sent| next_after(sent, None, LONG).unwrap().as_millis();
        let begin: Vec<u128> = (0..5).map(at).collect();
        assert_eq!(begin, [0, 50, 150, 350, 750]);
        assert_eq!([at(5), at(10), at(11), at(12)], [10_000, 60_000, 120_000, 180_000]);
    }

    #[test]
    fn a_shorter_interval_is_kept() {
        let at = |sent| next_after(sent, Some(Duration::from_secs(5)), LONG).unwrap().as_secs();
        assert_eq!([at(5), at(6), at(16), at(17)], [5, 10, 60, 65]);
        assert!(next_after(9, Some(Duration::ZERO), LONG).unwrap() < YOUNG);
    }

    #[test]
    fn repeating_ends_and_the_burst_does_not() {
        let last =
            |elapse| (0..1000).take_while(|n| next_after(*n, None, elapse).is_some()).count();
        assert_eq!(last(Duration::ZERO), BURST_MS.len());
        assert_eq!(last(Duration::from_secs(59)), BURST_MS.len() + 5);
        assert_eq!(last(LONG), BURST_MS.len() + 6 + 19);
    }

    /// Hears nothing but errors.
    struct Deaf(mpsc::Sender<()>);

    impl Frames for Deaf {
        async fn send(&self, _: &[u8]) -> io::Result<()> {
            self.0.send(()).await.map_err(io::Error::other)
        }

        async fn receive(&self) -> io::Result<Vec<u8>> {
            Err(io::Error::from_raw_os_error(libc::ENOBUFS))
        }
    }

    #[tokio::test]
    async fn a_socket_that_fails_silences_nobody_when_nothing_more_is_due() {
        let addr = "fd00::9".parse().unwrap();
        let (refresh, elapse) = (None, Duration::ZERO);
        let claimed = Claimed { addr, interface: "v0".into(), mac: Mac([2; 6]), refresh, elapse };
        let (sent, mut frames) = mpsc::channel(1);
        let again = Arc::new(Notify::new());
        let work = announce(claimed, Deaf(sent), again.clone(), watch::channel(None).0);
        let task = tokio::spawn(work);
        for _ in 0..2 {
            for _ in BURST_MS {
                let next = tokio::time::timeout(Duration::from_secs(5), frames.recv()).await;
                next.expect("announced").unwrap();
            }
            again.notify_one();
        }
        task.abort();
    }
}
