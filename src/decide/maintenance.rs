//! Maintenance of a module: a person works on it, and nothing is to happen by itself meanwhile.
//!
//! ```text
//!              on (owner, reason, how long)          nearly over: said once
//!   nothing ───────────────────────────────▶ window ───────────────────────▶ window
//!      ▲                                        │ off, or the time is over       │
//!      └────────────────────────────────────────┴────────────────────────────────┘
//! ```
//! While a window is open: no secondary takes over, no `defaultprim` moves the role, checkers,
//! rules and `errd` report and do nothing. What keeps the copies safe stays in force, and so does every
//! command of a person.
//!
//! Both nodes have the same window: each report carries it, and the greater number is newer.
//! `on`, `off` and the end count one further; of two with the same number an open window counts.
use super::words::{Moment, Refusal};
use super::{Context, Machine};
use crate::model::{MaintenanceReport, NodeName};
use serde::{Deserialize, Serialize};

/// Longest window, milliseconds: what outlives a month is `failover off`.
pub const LENGTH_MS_MAX: u64 = 30 * 24 * 3_600_000;
pub const LENGTH_MS_MIN: u64 = 60_000;
/// Longest reason and owner, bytes.
const REASON_BYTES_MAX: usize = 500;
const OWNER_BYTES_MAX: usize = 100;
/// The end is announced this long before, or a quarter of a short window.
const WARNING_MS: u64 = 600_000;

/// An open window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    owner: String,
    reason: String,
    ends: Moment,
    /// When its end is announced; `None`: it was.
    warns: Option<Moment>,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    number: u64,
    window: Option<Window>,
}

/// A window that a person asks for; checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    owner: String,
    reason: String,
    length_ms: u64,
}

impl Asked {
    /// # Errors
    /// One sentence: which of the three is missing or out of its limits.
    pub fn new(owner: &str, reason: &str, length_ms: u64) -> Result<Asked, String> {
        let (owner, reason) = (owner.trim().to_owned(), reason.trim().to_owned());
        for (what, text, most) in
            [("owner", &owner, OWNER_BYTES_MAX), ("reason", &reason, REASON_BYTES_MAX)]
        {
            if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
                return Err(format!(
                    "maintenance needs an {what} of one line, 1 to {most} bytes: --{what} TEXT"
                ));
            }
        }
        if !(LENGTH_MS_MIN..=LENGTH_MS_MAX).contains(&length_ms) {
            return Err(
                "maintenance lasts one minute to 30 days: --for 2h (for ever is `failover off`)"
                    .to_owned(),
            );
        }
        Ok(Asked { owner, reason, length_ms })
    }
}

impl Window {
    fn new(asked: Asked, now: Moment) -> Window {
        let Asked { owner, reason, length_ms } = asked;
        let warning = WARNING_MS.min(length_ms / 4);
        let warns = Some(now.plus(length_ms - warning));
        Window { owner, reason, ends: now.plus(length_ms), warns }
    }

    pub fn owner(&self) -> &str {
        &self.owner
    }

    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub fn remaining_ms(&self, now: Moment) -> u64 {
        self.ends.since(now)
    }
}

impl Maintenance {
    /// The open window, if there is one.
    pub fn window(&self) -> Option<&Window> {
        self.window.as_ref()
    }

    /// As the peer is told it, whose clock is another one.
    pub fn report(&self, now: Moment) -> MaintenanceReport {
        let window = self.window.as_ref();
        MaintenanceReport {
            number: self.number,
            owner: window.map(|window| window.owner.clone()).unwrap_or_default(),
            reason: window.map(|window| window.reason.clone()).unwrap_or_default(),
            remaining_ms: window.map_or(0, |window| window.remaining_ms(now)),
        }
    }

    /// After a reboot: moments were those of another clock. `passed_ms` went by since `then`.
    pub fn after_reboot(&mut self, then: Moment, passed_ms: u64, now: Moment) {
        let Some(window) = &mut self.window else { return };
        for moment in std::iter::once(&mut window.ends).chain(&mut window.warns) {
            *moment = now.plus(moment.since(then).saturating_sub(passed_ms));
        }
    }

    fn due(&self) -> Option<Moment> {
        let window = self.window.as_ref()?;
        Some(window.warns.unwrap_or(window.ends).min(window.ends))
    }

    fn next(&mut self, window: Option<Window>) {
        self.number = self.number.saturating_add(1);
        self.window = window;
    }
}

impl Machine {
    /// Checkers, rules, `errd` and their like may act; else they report and do nothing.
    pub fn acts_by_itself(&self) -> bool {
        self.cx.memory.maintenance.window.is_none()
    }
}

impl Context {
    pub(super) fn maintained(&self) -> Option<&Window> {
        self.memory.maintenance.window.as_ref()
    }

    /// `maintenance on`, again to change owner, reason or end.
    pub(super) fn maintain(&mut self, asked: Option<Asked>) -> Result<String, Refusal> {
        let Some(asked) = asked else {
            let Some(window) = self.maintained().cloned() else {
                return Err(Refusal::AlreadyThere("there is no maintenance".to_owned()));
            };
            self.memory.maintenance.next(None);
            self.remember(true);
            return Ok(format!("maintenance by {} ended: {}", window.owner, window.reason));
        };
        let window = Window::new(asked, self.now);
        let text = told(&window, self.now);
        self.log('E', "maintenance-on", format!("Maintenance {text}"));
        self.memory.maintenance.next(Some(window));
        self.remember(true);
        let peer = &self.policy.peer;
        let reached = match self.facts.peer.connected {
            true => format!("{peer} is told"),
            false => format!("{peer} is not connected and is told when it is"),
        };
        Ok(format!("maintenance {text}; {reached}"))
    }

    /// What the peer says of it, if that is newer.
    pub(super) fn learn_maintenance(&mut self, peer: &NodeName, report: &MaintenanceReport) {
        let own = &self.memory.maintenance;
        let open = report.remaining_ms > 0 && !report.owner.is_empty();
        let newer = report.number > own.number
            || report.number == own.number && open && own.window.is_none();
        if !newer {
            return;
        }
        let asked = open.then(|| Asked {
            owner: report.owner.clone(),
            reason: report.reason.clone(),
            length_ms: report.remaining_ms.min(LENGTH_MS_MAX),
        });
        let window = asked.map(|asked| Window::new(asked, self.now));
        match (&window, own.window.is_some()) {
            (Some(window), _) => {
                let text = format!("Maintenance {} (told by {peer})", told(window, self.now));
                self.log('E', "maintenance-on", text);
            }
            (None, true) => {
                self.log('E', "maintenance-ended", format!("Maintenance ended on {peer}"));
            }
            (None, false) => {}
        }
        self.memory.maintenance = Maintenance { number: report.number, window };
        self.remember(true);
    }

    pub(super) fn maintenance_due(&self) -> Option<Moment> {
        self.memory.maintenance.due()
    }

    /// Announces the end, and ends.
    pub(super) fn keep_maintenance(&mut self) {
        if self.maintenance_due().is_none_or(|due| due > self.now) {
            return;
        }
        let now = self.now;
        let Some(window) = &mut self.memory.maintenance.window else { return };
        if window.ends > now {
            window.warns = None;
            let module = &self.policy.module;
            let text = format!(
                "Maintenance {}; `lockstep maintenance on -m {module}` again gives it more time",
                told(window, now)
            );
            self.log('E', "maintenance-ends-soon", text);
        } else {
            let text = format!(
                "Maintenance by {} is over ({}): the module takes care of itself again",
                window.owner, window.reason
            );
            self.memory.maintenance.next(None);
            self.log('E', "maintenance-ended", text);
        }
        self.remember(true);
    }

    /// Declines what something acts on by itself.
    pub(super) fn reports_only(&mut self, name: &'static str) -> Option<Refusal> {
        let window = self.maintained()?;
        let (owner, reason) = (window.owner.clone(), window.reason.clone());
        Some(Refusal::Maintained { wish: name, owner, reason, module: self.policy.module.clone() })
    }
}

/// `by ops for another 2 h 0 min: new kernel`
fn told(window: &Window, now: Moment) -> String {
    let length = length(window.remaining_ms(now));
    format!("by {} for another {length}: {}", window.owner, window.reason)
}

/// `2 h 5 min`, `45 s`
pub fn length(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0..2) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}
