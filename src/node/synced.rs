//! `rfs syncdelta`: when this copy was in sync last, and whether that is recent enough; resource
//! `rfs.synced`. Decides nothing: `decide::aged` does.
//!
//! The moment is remembered durably every half minute while the module is `PRIM Ready` or `SECOND
//! Ready`, so it may be half a minute old after a power cut. It is of the wall clock, the only one
//! that goes on while a node is off: one that was set back knows no age, and nothing is forced.
use super::module::Control;
use crate::decide::Event;
use crate::model::{Readiness, Role};

/// A remembered moment is renewed when it is so old.
const RENEW_S: i64 = 30;
/// Who sets the resource.
const BY: &str = "syncedcheck";

/// Minutes since `synced`; `None`: more than `delta_s`, in the future, or never.
fn age(synced: Option<i64>, now: i64, delta_s: i64) -> Option<u64> {
    let passed = now.checked_sub(synced?)?;
    let minutes = u64::try_from(passed).ok()? / 60;
    (passed <= delta_s).then_some(minutes)
}

impl Control {
    pub(super) async fn keep_synced(&mut self) {
        let rfs = self.site.active.config.rfs.as_ref();
        let Some(delta) = rfs.and_then(|rfs| rfs.sync_delta) else { return };
        let now = jiff::Timestamp::now().as_second();
        let state = self.machine.state();
        let in_sync =
            state.readiness == Readiness::Ready && matches!(state.role, Role::Prim | Role::Second);
        let fresh = self.synced.is_some_and(|at| (0..RENEW_S).contains(&(now - at)));
        if in_sync && !fresh {
            self.synced = Some(now);
            self.remember(self.machine.memory().clone(), true).await;
        }
        let delta_s = i64::try_from(delta.as_secs()).unwrap_or(i64::MAX);
        let age = age(self.synced, now, delta_s);
        match state.role {
            Role::Stop => self.resources.unset("rfs.synced"),
            _ => self.set_resource("rfs.synced", if age.is_some() { "up" } else { "down" }, BY),
        }
        if self.machine.facts().synced_minutes != age {
            self.event(Event::Synced(age)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fixture;
    use super::*;

    #[test]
    fn an_age_is_known_within_the_limit_and_never_from_the_future() {
        let ages = [Some(1000), Some(940), Some(400), Some(399), Some(1001), None];
        let told = ages.map(|at| age(at, 1000, 600));
        assert_eq!(told, [Some(0), Some(1), Some(10), None, None, None]);
    }

    #[tokio::test]
    async fn the_automaton_hears_how_old_a_copy_is_only_where_it_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        for (delta, told) in [("0m", None), ("1m", None), ("10m", Some(3)), ("2m", None)] {
            let dir = dir.path().display();
            let inside = format!("<rfs syncdelta='{delta}'><replicated dir='{dir}'/></rfs>");
            let mut module = Fixture::new(&inside).await;
            module.control.synced = Some(jiff::Timestamp::now().as_second() - 200);
            module.control.watch_turn().await;
            assert_eq!(module.control.machine.facts().synced_minutes, told, "{delta}");
        }
    }
}
