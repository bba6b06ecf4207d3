//! Heartbeats of one module's lans: when each was heard last, and which are up.
use crate::api::HeartbeatView;
use crate::config::userconfig::UserConfig;
use crate::decide::Moment;
use std::time::Duration;

#[derive(Debug)]
struct Heart {
    lan: String,
    ident: String,
    timeout_ms: u64,
    heard: Option<Moment>,
    up: Option<bool>,
}

/// The heartbeat lans of a module.
#[derive(Debug)]
pub struct Hearts(Vec<Heart>);

impl Hearts {
    pub fn new(config: &UserConfig) -> Hearts {
        let hearts = config.heartbeats.iter().map(|heartbeat| Heart {
            lan: heartbeat.lan.clone(),
            ident: heartbeat.ident.clone(),
            timeout_ms: millis(heartbeat.timeout),
            heard: None,
            up: None,
        });
        Hearts(hearts.collect())
    }

    /// `false`: this lan is none of the module's.
    pub fn heard(&mut self, lan: &str, now: Moment) -> bool {
        let mut ours = false;
        for heart in self.0.iter_mut().filter(|heart| heart.lan == lan) {
            heart.heard = Some(now);
            ours = true;
        }
        ours
    }

    /// Which changed: `heartbeat.<ident>` and whether it is up now.
    pub fn changes(&mut self, now: Moment) -> Vec<(String, bool)> {
        let mut changes = Vec::new();
        for heart in &mut self.0 {
            let up = heart.heard.is_some_and(|heard| now.since(heard) < heart.timeout_ms);
            if heart.up != Some(up) {
                heart.up = Some(up);
                changes.push((format!("heartbeat.{}", heart.ident), up));
            }
        }
        changes
    }

    pub fn alive(&self) -> bool {
        self.0.iter().any(|heart| heart.up == Some(true))
    }

    pub fn views(&self, now: Moment) -> Vec<HeartbeatView> {
        let view = |heart: &Heart| HeartbeatView {
            lan: heart.lan.clone(),
            up: heart.up == Some(true),
            age_ms: heart.heard.map(|heard| now.since(heard)),
        };
        self.0.iter().map(view).collect()
    }
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
