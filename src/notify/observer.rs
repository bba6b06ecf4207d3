//! What is a notification: two looks at the node are compared. No clock, no socket; `now` is handed
//! in.
//!
//! | code | told when | told again |
//! |---|---|---|
//! | `state` | a module has come to rest in another state | each time |
//! | `redundancy-lost` | it runs here, and for [`GRACE`] no other could take over | once regained |
//! | `redundancy-regained` | after `redundancy-lost`, while it runs here | |
//! | `needs-decision` | a person must say whose copy is right | after it was decided |
//! | `maxloop` | the module was stopped after too many error-driven actions | after a start |
//! | `node-unreachable`, `node-reachable` | not linked for [`GRACE`]; again | each time |
//! | `certificate-expires` | 30, 14, 7 and 1 days before the end, and at it | after a renewal |
//! | `disk-almost-full` | less than a tenth is free | after 15 % were free |
//!
//! What holds already at the first look (a daemon has just started) is told where it asks for
//! somebody, so that no restart hides it: lost redundancy, a decision, a node, the certificate, a
//! disk. A state and a stop by `maxloop` are not: nothing changed.
use super::notification::{Code, Notification, Severity};
use crate::api::ModuleView;
use crate::metrics::{Picture, is_lost};
use crate::model::{ModuleName, NodeName, Readiness, Role, State};
use crate::trust::{CERTIFICATE_DAYS, days_left, renewal};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// A swap, a restart of a daemon and a short cut are over by then.
pub const GRACE: Duration = Duration::from_secs(10);
/// Days before the end of the certificate at which it is told.
const TOLD_DAYS: [i64; 5] = [CERTIFICATE_DAYS, 14, 7, 1, 0];

/// One look at the node.
pub struct Look<'a> {
    /// Time since the daemon started: decides.
    pub now: Duration,
    /// Wall clock: is only told.
    pub time: Timestamp,
    pub picture: &'a Picture,
    pub disks: &'a [Disk],
}

/// A file system that Lockstep itself writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub path: PathBuf,
    pub bytes: u64,
    pub available: u64,
}

#[derive(Debug, Default)]
pub struct Observer {
    modules: BTreeMap<ModuleName, Known>,
    nodes: BTreeMap<NodeName, Missing>,
    /// How many of [`TOLD_DAYS`] were told.
    certificate: usize,
    full: BTreeSet<PathBuf>,
}

/// What was seen of a module.
#[derive(Debug, Default)]
struct Known {
    /// Last state in which it came to rest.
    state: Option<State>,
    redundancy: Missing,
    needs_decision: bool,
    looped: Option<bool>,
}

/// Something that should be there, and since when it is not.
#[derive(Clone, Copy, Debug, Default)]
struct Missing {
    since: Option<Duration>,
    told: bool,
}

/// What a [`Missing`] has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Lost,
    Back,
}

impl Missing {
    fn look(&mut self, missing: bool, now: Duration) -> Option<News> {
        if !missing {
            let told = std::mem::take(self).told;
            return told.then_some(News::Back);
        }
        let since = *self.since.get_or_insert(now);
        if self.told || now.saturating_sub(since) < GRACE {
            return None;
        }
        self.told = true;
        Some(News::Lost)
    }
}

impl Observer {
    /// What happened since the last look.
    pub fn look(&mut self, look: &Look<'_>) -> Vec<Notification> {
        let Some(node) = &look.picture.node else { return Vec::new() };
        let mut told = Notifications { node, time: look.time, events: Vec::new() };
        self.modules
            .retain(|name, _| look.picture.modules.iter().any(|shown| shown.view.module == *name));
        for shown in &look.picture.modules {
            let known = self.modules.entry(shown.view.module.clone()).or_default();
            known.look(&shown.view, look.now, &mut told);
        }
        self.nodes.retain(|name, _| look.picture.nodes.iter().any(|(node, _)| node == name));
        for (other, reachable) in &look.picture.nodes {
            let missing = self.nodes.entry(other.clone()).or_default();
            if let Some(news) = missing.look(!reachable, look.now) {
                told.node(other, news);
            }
        }
        self.certificate(look, &mut told);
        self.disks(look.disks, &mut told);
        told.events
    }

    fn certificate(&mut self, look: &Look<'_>, told: &mut Notifications<'_>) {
        let Some(expires) = look.picture.certificate_expires else { return };
        let left = expires.as_second() - look.time.as_second();
        let passed = TOLD_DAYS.iter().filter(|days| left <= *days * 86_400).count();
        let before = std::mem::replace(&mut self.certificate, passed);
        if passed <= before {
            return;
        }
        let (severity, text) = if left <= 0 {
            let text = format!("the certificate of node {} has ended at {expires}", told.node);
            (Severity::Critical, text)
        } else {
            let days = days_left(expires, look.time);
            let text =
                format!("the certificate of node {} ends at {expires}, in {days} days", told.node);
            (Severity::Warning, text)
        };
        let renewal = renewal(told.node, look.picture.keeps_key);
        let advice = format!("{renewal}; other nodes refuse its link after the end");
        told.event(Code::CertificateExpires, severity, None, text, &advice);
    }

    fn disks(&mut self, disks: &[Disk], told: &mut Notifications<'_>) {
        for disk in disks {
            let free = |percent: u64| disk.available.saturating_mul(100) >= disk.bytes * percent;
            if free(15) {
                self.full.remove(&disk.path);
            } else if !free(10) && self.full.insert(disk.path.clone()) {
                let text = format!(
                    "the file system of {} has {} MiB of {} MiB free",
                    disk.path.display(),
                    disk.available >> 20,
                    disk.bytes >> 20
                );
                let advice = "make room: a module cannot start or remember without it";
                told.event(Code::DiskAlmostFull, Severity::Warning, None, text, advice);
            }
        }
    }
}

impl Known {
    fn look(&mut self, view: &ModuleView, now: Duration, told: &mut Notifications<'_>) {
        self.state(view, told);
        let looped = view.state.role == Role::Stop && view.loops > view.loops_max;
        if looped && self.looped.replace(looped) == Some(false) {
            let text = format!("module {} was stopped by maxloop: {}", view.module, view.reason);
            let advice = "read the log and the output of the scripts, repair, then start it";
            told.event(Code::Maxloop, Severity::Critical, Some(view), text, advice);
        }
        self.looped = Some(looped);
        if view.needs_decision && !self.needs_decision {
            let text = format!("module {} waits for a decision", view.module);
            told.event(Code::NeedsDecision, Severity::Critical, Some(view), text, &view.reason);
        }
        self.needs_decision = view.needs_decision;
        match self.redundancy.look(is_lost(view), now) {
            Some(News::Lost) => {
                let text = format!(
                    "module {} runs on {} and no other node could take over: {}",
                    view.module,
                    told.node,
                    why_lost(view)
                );
                let advice = format!(
                    "see `lockstep -H '*' state -m {}`; start the module on the other node, and \
                     repair that node if it does not answer",
                    view.module
                );
                told.event(Code::RedundancyLost, Severity::Warning, Some(view), text, &advice);
            }
            Some(News::Back) if view.state.role.is_primary() => {
                let text = format!("another node can take module {} over again", view.module);
                told.event(Code::RedundancyRegained, Severity::Info, Some(view), text, "");
            }
            Some(News::Back) | None => {}
        }
    }

    fn state(&mut self, view: &ModuleView, told: &mut Notifications<'_>) {
        if view.state.readiness == Readiness::Transient {
            return;
        }
        let Some(before) = self.state.replace(view.state) else { return };
        if before == view.state {
            return;
        }
        let ends = before.role.is_primary() && !view.state.role.is_primary();
        let severity = if ends { Severity::Warning } else { Severity::Info };
        let why = if view.reason.is_empty() { String::new() } else { format!(": {}", view.reason) };
        let text = format!("module {} is {}, was {before}{why}", view.module, view.state);
        told.event(Code::State, severity, Some(view), text, "");
    }
}

/// What is missing, seen from the node where the module runs.
fn why_lost(view: &ModuleView) -> String {
    match view.peers.first() {
        None => "it has no other node".to_owned(),
        Some(peer) if !peer.alive => format!("{} is not heard", peer.node),
        Some(peer) => match peer.state {
            Some(State { role: Role::Second, readiness: Readiness::Ready }) => {
                format!("the copy of {} is not in sync", peer.node)
            }
            Some(state) => format!("{} is {state}", peer.node),
            None => format!("nothing is known of {}", peer.node),
        },
    }
}

struct Notifications<'a> {
    node: &'a NodeName,
    time: Timestamp,
    events: Vec<Notification>,
}

impl Notifications<'_> {
    fn node(&mut self, other: &NodeName, news: News) {
        match news {
            News::Lost => {
                let text = format!("node {other} cannot be reached from {}", self.node);
                let advice = "see `lockstep cluster state` for why there is no link";
                self.event(Code::NodeUnreachable, Severity::Warning, None, text, advice);
            }
            News::Back => {
                let text = format!("node {other} is reached from {} again", self.node);
                self.event(Code::NodeReachable, Severity::Info, None, text, "");
            }
        }
    }

    fn event(
        &mut self,
        code: Code,
        severity: Severity,
        view: Option<&ModuleView>,
        text: String,
        advice: &str,
    ) {
        self.events.push(Notification {
            code,
            severity,
            time: self.time,
            node: self.node.clone(),
            module: view.map(|view| view.module.clone()),
            text,
            advice: advice.to_owned(),
        });
    }
}
