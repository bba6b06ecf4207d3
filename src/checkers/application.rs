//! The monitor of an application that the module names (`<ocf>`, `<unit>`), as a checker. Its
//! second look comes a second after the first that failed, so that what systemd or the application
//! itself starts again at once is not taken for gone.
use super::steady::{Check, Look, Pace, Report, watch};
use crate::actions::application::{Health, Monitor};

pub(super) struct Watched {
    pub(super) monitor: Monitor,
    pub(super) resource: String,
}

impl Check for Watched {
    async fn look(&mut self) -> Look {
        let look = self.monitor.look().await;
        let why = format!("{} is down: {}", self.resource, look.why);
        match look.health {
            Health::Running => Look::Up,
            Health::Stopped | Health::Doubtful => Look::Down(why),
            Health::Unknown => Look::Unknown(look.why),
        }
    }
}

/// Looks as often as the configuration or the agent wants.
pub(super) async fn keep_watching(watched: Watched, report: Report) {
    let interval = watched.monitor.interval().await;
    watch(watched, Pace::remote(interval), report).await;
}
