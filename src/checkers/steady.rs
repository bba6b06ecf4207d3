//! The loop that all probes share: look, confirm a failure, tell changes, wait.
//!
//! One lost packet is no failure: before the first `down` there is a second look after a short
//! pause. `up` is told at once, because a module waits for it.
use super::Reading;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// What one look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Up,
    /// Why, one sentence.
    Down(String),
    /// The look itself failed, for a reason of this process: nothing is known.
    Unknown(String),
}

impl Look {
    /// A failure at `what`: the world's, unless this process has run out of something.
    pub(super) fn failed(what: &str, error: &io::Error) -> Look {
        let text = format!("{what}: {error}");
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Look::Unknown(text),
            _ => Look::Down(text),
        }
    }
}

/// One way to look at the world.
pub(super) trait Check: Send + 'static {
    fn look(&mut self) -> impl Future<Output = Look> + Send;

    /// Resolves when the next look should not wait for the interval. Cancel safe.
    fn changed(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// How often to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub interval: Duration,
    /// Before the look that confirms a failure.
    pub pause: Duration,
}

impl Pace {
    /// Something across a network: packets get lost.
    pub(super) fn remote(interval: Duration) -> Pace {
        Pace { interval, pause: interval.min(Duration::from_secs(1)) }
    }

    /// Something that the kernel or this process knows for certain. The pause spans a cable that
    /// bounces and a tool that removes an address to add it again.
    pub(super) fn local(interval: Duration) -> Pace {
        Pace { interval, pause: interval.min(Duration::from_millis(100)) }
    }
}

/// The way to the hub: passes on only what differs from the last reading.
pub(super) struct Report {
    resource: String,
    by: &'static str,
    to: mpsc::Sender<Reading>,
    told: Option<bool>,
}

impl Report {
    pub(super) fn new(resource: String, by: &'static str, to: mpsc::Sender<Reading>) -> Report {
        Report { resource, by, to, told: None }
    }

    /// `false` when nobody listens any more.
    async fn tell(&mut self, up: bool, why: String) -> bool {
        if self.told == Some(up) {
            return !self.to.is_closed();
        }
        self.told = Some(up);
        let reading = Reading { resource: self.resource.clone(), up, why, by: self.by };
        self.to.send(reading).await.is_ok()
    }
}

/// Looks until nobody listens any more.
pub(super) async fn watch(mut probe: impl Check, pace: Pace, mut report: Report) {
    let mut puzzled = false;
    loop {
        let mut look = probe.look().await;
        if matches!(look, Look::Down(_)) && report.told != Some(false) {
            sleep(pace.pause).await;
            look = probe.look().await;
        }
        let unknown = matches!(look, Look::Unknown(_));
        let heard = match look {
            Look::Up => report.tell(true, String::new()).await,
            Look::Down(why) => report.tell(false, why).await,
            Look::Unknown(why) => {
                if !puzzled {
                    tracing::warn!(resource = report.resource, why, "cannot look, value kept");
                }
                !report.to.is_closed()
            }
        };
        puzzled = unknown;
        if !heard {
            return;
        }
        let _ = timeout(pace.interval, probe.changed()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::tests::LIMIT;
    use Look::{Down, Unknown, Up};
    use tokio::sync::oneshot;

    /// Shows these looks one after the other; then says that it is over, and shows nothing more.
    struct Film {
        looks: std::vec::IntoIter<Look>,
        over: Option<oneshot::Sender<()>>,
    }

    impl Film {
        fn of(looks: Vec<Look>) -> (Film, oneshot::Receiver<()>) {
            let (over, is_over) = oneshot::channel();
            (Film { looks: looks.into_iter(), over: Some(over) }, is_over)
        }
    }

    impl Check for Film {
        async fn look(&mut self) -> Look {
            if let Some(look) = self.looks.next() {
                return look;
            }
            drop(self.over.take());
            std::future::pending().await
        }
    }

    async fn told(film: Vec<Look>) -> Vec<(bool, String)> {
        let (to, mut from) = mpsc::channel(64);
        let short = Duration::from_millis(1);
        let pace = Pace { interval: short, pause: short };
        let report = Report::new("x.y".into(), "test", to);
        let (film, is_over) = Film::of(film);
        tokio::select! {
            () = watch(film, pace, report) => panic!("somebody listens"),
            over = timeout(LIMIT, is_over) => drop(over.expect("the film is played to its end")),
        }
        let mut told = Vec::new();
        while let Ok(reading) = from.try_recv() {
            told.push((reading.up, reading.why));
        }
        told
    }

    fn down(why: &str) -> Look {
        Down(why.into())
    }

    #[tokio::test]
    async fn only_changes_are_told_and_a_failure_is_confirmed_once() {
        let lost = vec![Up, down("one packet"), Up, Up];
        assert_eq!(told(lost).await, [(true, String::new())]);
        let gone = vec![Up, down("a"), down("b"), down("c"), down("d"), Up, Up];
        assert_eq!(
            told(gone).await,
            [(true, String::new()), (false, "b".into()), (true, String::new())]
        );
        assert_eq!(told(vec![down("a"), down("b"), down("c")]).await, [(false, "b".into())]);
    }

    #[tokio::test]
    async fn a_failure_of_our_own_is_no_reading() {
        let unknown = || Unknown("no descriptors".into());
        assert_eq!(told(vec![unknown(), unknown()]).await, []);
        let film = vec![Up, down("a"), unknown(), unknown(), Up];
        assert_eq!(told(film).await, [(true, String::new())]);
        let full = io::Error::from_raw_os_error(libc::EMFILE);
        assert!(matches!(Look::failed("x", &full), Unknown(_)));
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert!(matches!(Look::failed("x", &refused), Down(_)));
    }

    #[tokio::test]
    async fn it_ends_when_nobody_listens() {
        let (to, from) = mpsc::channel(1);
        drop(from);
        let report = Report::new("x.y".into(), "test", to);
        let pace = Pace::local(Duration::from_millis(1));
        timeout(LIMIT, watch(Film::of(vec![Up]).0, pace, report)).await.unwrap();
    }
}
