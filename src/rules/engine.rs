//! From rules and resources to what is done now.
//!
//! ```text
//!            becomes true                due                      rearm
//!   False ───────────────▶ Pending ─────────────▶ Fired ───────────────────────▶ Pending
//!     ▲                       │                     │
//!     └───────────────────────┴──── becomes false ──┘
//! ```
//!
//! SafeKit samples its rules each `period`, and an action "must stay true for handle_time" (1.6).
//! Here the hub asks whenever a resource changes and at [`Rules::deadline`], so that a break
//! between two samples is seen too. `period` is left as the least pause before an action that was
//! carried out or refused, and whose cause is still there, is asked for again.
//!
//! One action at a time, the strongest ([`Action`] says why in which order). While it is in the
//! hub's hands (until `rearm`, or until its rule is false) only a stronger one comes through: the
//! others mostly have the same cause and are cured with it.
use super::truth::{in_init, truth};
use super::{Action, Effect, Lookup, Rule, Value};
use crate::decide::Moment;
use std::time::Duration;

/// The rules of a running module and what each of them waits for.
#[derive(Clone, Debug)]
pub struct Rules {
    rules: Vec<(Rule, Standing)>,
    period_ms: u64,
    handle_time_ms: u64,
    /// Labels of rules that do not wait for it.
    at_once: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    False,
    /// True; its action comes at this moment if it stays true. An assignment was made already.
    Pending(Moment),
    /// True, and its action is in the hub's hands.
    Fired,
}

/// What the hub shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Act {
        label: String,
        action: Action,
    },
    /// Set an own resource. Rules may look at it: the hub asks again, in its next turn and not in
    /// a loop, as two rules can disagree for ever.
    Assign {
        label: String,
        resource: String,
        value: Value,
    },
}

/// Why the module may not run here now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// A wait rule is true: WAIT (NotReady).
    Failed { label: String },
    /// A wait rule looks at a resource whose checker has not answered yet: WAIT (Transient).
    Unknown { label: String, resource: String },
}

impl Rules {
    pub fn new(
        rules: impl IntoIterator<Item = Rule>,
        period: Duration,
        handle_time: Duration,
    ) -> Rules {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let rules = rules.into_iter().map(|rule| (rule, Standing::False)).collect();
        let (period_ms, handle_time_ms) = (ms(period), ms(handle_time));
        Rules { rules, period_ms, handle_time_ms, at_once: Vec::new() }
    }

    /// The rules of these labels act as soon as they are true.
    pub fn at_once(mut self, labels: &[String]) -> Rules {
        self.at_once = labels.to_vec();
        self
    }

    /// Looks at all rules. Assignments that have become true come first, then at most one action.
    pub fn evaluate(&mut self, resources: &impl Lookup, now: Moment) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (rule, standing) in &mut self.rules {
            if truth(&rule.condition, resources) != Some(true) {
                *standing = Standing::False;
            } else if *standing == Standing::False {
                let prompt = self.at_once.contains(&rule.label);
                let wait = if prompt { 0 } else { self.handle_time_ms };
                *standing = Standing::Pending(now.plus(wait));
                if let Effect::Assign { resource, value } = &rule.effect {
                    let (label, resource) = (rule.label.clone(), resource.clone());
                    verdicts.push(Verdict::Assign { label, resource, value: *value });
                }
            }
        }
        verdicts.extend(self.strongest(now));
        verdicts
    }

    /// When to ask again if no resource changes before. May be in the past: then at once.
    pub fn deadline(&self) -> Option<Moment> {
        self.open().map(|(_, _, due)| due).min()
    }

    /// The action that was asked for was carried out or refused. If its rule is still true, it is
    /// asked for again after `handle_time`, and after `period` at least.
    pub fn rearm(&mut self, now: Moment) {
        let due = now.plus(self.handle_time_ms.max(self.period_ms));
        for (_, standing) in &mut self.rules {
            if *standing == Standing::Fired {
                *standing = Standing::Pending(due);
            }
        }
    }

    /// Before a start, and while the module is in WAIT: what keeps it from running, without
    /// `handle_time`. What has failed is named before what is not known yet.
    pub fn waits(&self, resources: &impl Lookup) -> Option<Blocked> {
        let waits = || {
            let rules = self.rules.iter().map(|(rule, _)| rule);
            rules.filter(|rule| rule.effect == Effect::Act(Action::Wait))
        };
        let failed = waits().find(|rule| truth(&rule.condition, resources) == Some(true));
        if let Some(rule) = failed {
            return Some(Blocked::Failed { label: rule.label.clone() });
        }
        waits().find_map(|rule| {
            let resource = in_init(&rule.condition, resources)?;
            Some(Blocked::Unknown { label: rule.label.clone(), resource })
        })
    }

    fn strongest(&mut self, now: Moment) -> Option<Verdict> {
        let due = self.open().filter(|(_, _, due)| *due <= now);
        // Of equals the first in the order of the rules.
        let (index, action, _) =
            due.min_by_key(|(index, action, _)| (std::cmp::Reverse(*action), *index))?;
        let (rule, standing) = self.rules.get_mut(index)?;
        *standing = Standing::Fired;
        Some(Verdict::Act { label: rule.label.clone(), action })
    }

    /// Pending actions that nothing in the hub's hands holds back.
    fn open(&self) -> impl Iterator<Item = (usize, Action, Moment)> {
        let rules = || {
            self.rules.iter().enumerate().filter_map(|(index, (rule, standing))| {
                match rule.effect {
                    Effect::Act(action) => Some((index, action, *standing)),
                    Effect::Assign { .. } => None,
                }
            })
        };
        let held = rules()
            .filter(|(_, _, standing)| *standing == Standing::Fired)
            .map(|(_, action, _)| action)
            .max();
        rules().filter_map(move |(index, action, standing)| match standing {
            Standing::Pending(due) if held.is_none_or(|held| action > held) => {
                Some((index, action, due))
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
