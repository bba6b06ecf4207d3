//! Who may lead. Two questions of one kind: a node in WAIT asks what it may become, and two nodes
//! that were both ALONE ask which of them stays. Copies are compared by `history::who_must_lead`;
//! here only its ties are broken, and what cannot be known is waited for and said.
//!
//! ```text
//! start     peer                      own copy              →
//! any       any                       -                     wait while a wait rule holds
//! any       primary                   -                     follow (prim: refused)
//! prim      not primary               incomplete            refused, unless forced
//! prim      not primary               any other             lead, forced
//! second    not primary               -                     refused
//! normal    not heard yet             -                     wait a moment for its report
//! normal    absent                    sole, or no data      lead
//! normal    absent                    lost memory (A1)      wait for the peer, or `prim`
//! normal    absent                    other                 wait for the peer, or `prim`; lead by
//!                                                           `syncdelta` (`aged`)
//! normal    primary by `syncdelta`    may hold more         a person decides
//! normal    second, up to date        -                     wait: it takes over
//! normal    waits, copies known       who_must_lead says    lead, wait for it, or a person decides
//! ```
//! Whoever may lead while the peer answers first lets the peer record that it does not (a claim),
//! so that two nodes that decide at the same time cannot both lead.
use super::aged;
use super::context::Context;
use super::facts::View;
use super::limits;
use super::words::{DefaultPrim, Moment, Refusal, StartKind};
use crate::history::{Leads, who_must_lead};
use crate::model::{CopyState, ModuleReport, Plan, Readiness, Role, Side};

/// What a node in WAIT becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// `claim`: the peer is asked first. `to`: PRIM if an equal peer is starting beside.
    Lead {
        to: Role,
        forced: bool,
        claim: bool,
    },
    /// The peer is silent, and this copy is young enough (`syncdelta`). What that gives up.
    LeadAged {
        reason: String,
    },
    Follow {
        discard: bool,
        full: bool,
    },
    /// Nothing yet. `blocked`: somebody must do something. `person`: only a person's word about
    /// the copies ends it.
    Wait {
        blocked: bool,
        person: bool,
        reason: String,
    },
    Refuse(Refusal),
}

/// What one of two primaries does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heal {
    /// The other side's copy is not known yet.
    Unknown,
    Stay {
        reason: String,
    },
    /// Nothing of this side is lost: become SECOND.
    Follow {
        reason: String,
    },
    /// Both wrote: stop, and wait for a person.
    Block {
        text: String,
    },
}

const ALONE_WAIT: &str = "Data may be not uptodate for replicated directories (wait for the start \
                          of the remote server). If you are sure that this server has valid data, \
                          run safekit stop, then safekit prim to force start as primary";

fn wait(reason: impl Into<String>) -> Admission {
    Admission::Wait { blocked: false, person: false, reason: reason.into() }
}

fn blocked(reason: impl Into<String>) -> Admission {
    Admission::Wait { blocked: true, person: false, reason: reason.into() }
}

fn undecided(reason: impl Into<String>) -> Admission {
    Admission::Wait { blocked: true, person: true, reason: reason.into() }
}

/// `since`: when this start began to decide. `alone`: the peer could not be told that this node
/// gave the primary role up, and has been silent for the time limit.
pub fn admit(cx: &Context, start: StartKind, since: Moment, alone: bool) -> Admission {
    let view = cx.facts.peer.view(cx.now, cx.policy.silence_ms, since);
    let own = cx.facts.engine.side();
    if let Some(gate) = &cx.facts.gate {
        let (blocked, reason) = (gate.failed, gate.reason.clone());
        return Admission::Wait { blocked, person: false, reason };
    }
    if cx.policy.replicates && own.is_none() {
        return wait("the engine is starting");
    }
    let primary = matches!(view, View::Report(_)) && cx.facts.peer.leads();
    match start {
        StartKind::Prim { .. } if primary => {
            Admission::Refuse(Refusal::PeerPrimary(cx.policy.peer.clone()))
        }
        StartKind::Prim { force } => prim(cx, own, view, force),
        StartKind::Second { discard: false, .. } if primary && let Some(text) = lost_to(cx) => {
            Admission::Refuse(Refusal::WouldLose(text))
        }
        StartKind::Second { discard, full } if primary => Admission::Follow { discard, full },
        StartKind::Second { .. } => second(cx, view, since),
        StartKind::Normal if primary && let Some(text) = lost_to(cx) => undecided(text),
        StartKind::Normal if primary => Admission::Follow { discard: false, full: false },
        StartKind::Normal => match view {
            View::Unheard => wait("waiting for the first report of the peer"),
            View::Absent => match (without_peer(cx, own, alone), aged::leads(cx, &view)) {
                (Admission::Wait { .. }, Some(reason)) => Admission::LeadAged { reason },
                (admission, _) => admission,
            },
            View::Report(report) => beside(cx, own, report, since),
        },
    }
}

/// What a person must know who lets this copy follow a primary that leads by its age; `None`:
/// nothing is lost.
pub(super) fn lost_to(cx: &Context) -> Option<String> {
    let (own, theirs) = (cx.facts.engine.side()?, cx.facts.peer.side()?);
    aged::holds_more(cx, own, theirs)
        .then(|| person_text(cx, own, theirs, &Plan::Fork { common: None }, aged::RULE))
}

fn prim(cx: &Context, own: Option<&Side>, view: View<'_>, force: bool) -> Admission {
    if own.is_some_and(|side| side.copy == CopyState::Incomplete) && !force {
        return Admission::Refuse(Refusal::Incomplete(cx.policy.peer.clone()));
    }
    let answers = matches!(view, View::Report(report) if report.state.role != Role::Stop);
    Admission::Lead { to: Role::Alone, forced: true, claim: answers && cx.facts.peer.connected }
}

fn second(cx: &Context, view: View<'_>, since: Moment) -> Admission {
    let starting = match view {
        View::Unheard => true,
        // A primary that is on its way may be followed in a moment.
        View::Report(report) => {
            report.state.role == Role::Wait && report.state.readiness == Readiness::Transient
        }
        View::Absent => false,
    };
    let early = cx.now.since(since) < limits::FIRST_REPORT_MS;
    if starting || early {
        return wait("waiting for the primary");
    }
    let peer = cx.policy.peer.clone();
    if !cx.facts.peer.connected {
        return Admission::Refuse(Refusal::NoLink(peer));
    }
    Admission::Refuse(Refusal::PeerNotPrimary(peer))
}

fn without_peer(cx: &Context, own: Option<&Side>, alone: bool) -> Admission {
    let lead = Admission::Lead { to: Role::Alone, forced: false, claim: false };
    let Some(own) = own else { return lead };
    match own.copy {
        CopyState::Current if own.sole => lead,
        CopyState::Current if alone && !own.lost_volatile => lead,
        CopyState::Unknown => undecided(own_text(cx, own)),
        _ => blocked(own_text(cx, own)),
    }
}

/// Why this copy does not lead without the peer, and what decides.
fn own_text(cx: &Context, own: &Side) -> String {
    let (peer, module) = (&cx.policy.peer, &cx.policy.module);
    match own.copy {
        CopyState::Unknown => format!(
            "Data may be not uptodate for replicated directories: this copy was never mirrored. On \
             the node with the good copy `lockstep prim -m {module}`, then on the other one \
             `lockstep second -m {module}` (one that waits follows by itself): what only that one \
             has is lost"
        ),
        CopyState::Incomplete => format!(
            "Data may be inconsistent for replicated directories (stopped during reintegration). \
             Start {peer}, or run safekit primforce -m {module} here to take this copy as it is"
        ),
        CopyState::Outdated => format!("{ALONE_WAIT}. {peer} went on without this copy"),
        CopyState::Current if own.lost_volatile => format!(
            "{ALONE_WAIT}. This node was powered off while {peer} was in sync, and may lack the \
             last operations"
        ),
        CopyState::Current => format!("{ALONE_WAIT}. {peer} was in sync and may have gone on"),
    }
}

/// The peer answers and is not primary.
fn beside(cx: &Context, own: Option<&Side>, peer: &ModuleReport, since: Moment) -> Admission {
    let name = &cx.policy.peer;
    let waited = cx.now.since(since);
    let (Some(own), true) = (own, cx.policy.replicates) else {
        return match peer.state.role {
            Role::Second => wait(format!("{name} is SECOND and takes over")),
            Role::Wait if !first_of_equals(cx, peer) && waited < limits::YIELD_MS => {
                wait(format!("{name} starts as primary"))
            }
            Role::Wait => Admission::Lead { to: Role::Alone, forced: false, claim: true },
            Role::Stop | Role::Alone | Role::Prim => {
                Admission::Lead { to: Role::Alone, forced: false, claim: false }
            }
        };
    };
    let Some(theirs) = peer.engine.as_ref().map(|engine| &engine.side) else {
        // Stopped: its copy cannot be asked. Starting: it can in a moment.
        let starting = peer.state.role != Role::Stop && waited < limits::YIELD_MS;
        return if starting {
            wait(format!("waiting for the engine of {name}"))
        } else {
            without_peer(cx, Some(own), false)
        };
    };
    let waits_for = |what: &str| wait(format!("{name} {what}"));
    if peer.state.role == Role::Second && theirs.copy == CopyState::Current {
        return waits_for("is SECOND and up to date: it takes over");
    }
    if own.lost_volatile
        && theirs.position.seq > own.position.seq
        && theirs.copy != CopyState::Current
    {
        // What this node lost was acknowledged, and the other copy still has it.
        let plan = Plan::Fork { common: None };
        return undecided(person_text(cx, own, theirs, &plan, "lost-memory-behind"));
    }
    let claim = peer.state.role != Role::Stop;
    let standing = who_must_lead(own, theirs);
    let leads = Admission::Lead { to: Role::Alone, forced: false, claim };
    match standing.leads {
        Leads::First => leads,
        Leads::Second if peer.state.role == Role::Stop => {
            blocked(format!("{name} must lead (rule {}): start it there", standing.rule))
        }
        Leads::Second => waits_for(&format!("must lead (rule {})", standing.rule)),
        Leads::Either if first_of_equals(cx, peer) || waited >= limits::YIELD_MS => {
            let equal = own.position == theirs.position && peer.state.role == Role::Wait;
            let to = if equal && claim { Role::Prim } else { Role::Alone };
            Admission::Lead { to, forced: false, claim }
        }
        Leads::Either => waits_for(&format!("leads (rule {})", standing.rule)),
        Leads::Person(plan) => undecided(person_text(cx, own, theirs, &plan, standing.rule)),
    }
}

/// Among equals: the node of `defaultprim`, the last primary, then the order of names. Both sides
/// come to the same answer.
fn first_of_equals(cx: &Context, peer: &ModuleReport) -> bool {
    if let DefaultPrim::Node(node) = &cx.policy.defaultprim {
        if *node == cx.policy.own {
            return true;
        }
        if *node == cx.policy.peer {
            return false;
        }
    }
    if cx.memory.was_primary != peer.was_primary {
        return cx.memory.was_primary;
    }
    cx.policy.own < cx.policy.peer
}

/// Both are primary and see each other.
pub fn heal(cx: &Context) -> Heal {
    let Some(report) = &cx.facts.peer.report else { return Heal::Unknown };
    let name = &cx.policy.peer;
    // It holds its operations and gives way as soon as it sees this one: nobody was told that what
    // it sent last was done. If both gave way, the one that was asked first would go on alone.
    if report.state.role == Role::Prim {
        return Heal::Stay { reason: format!("{name} acknowledged nothing since the take-over") };
    }
    // The one that had been SECOND gives way; both sides come to the same answer.
    let stays = match (cx.memory.took_over, report.took_over) {
        (true, false) => false,
        (false, true) => true,
        _ => cx.policy.own < cx.policy.peer,
    };
    let tie = |why: &str| {
        if stays {
            Heal::Stay { reason: format!("{name} gives way: {why}") }
        } else {
            Heal::Follow { reason: format!("{name} stays primary: {why}") }
        }
    };
    if !cx.policy.replicates {
        return tie("nothing is replicated");
    }
    let theirs = report.engine.as_ref().map(|engine| &engine.side);
    let (Some(own), Some(theirs)) = (cx.facts.engine.side(), theirs) else { return Heal::Unknown };
    let standing = who_must_lead(own, theirs);
    let rule = standing.rule;
    if matches!(standing.leads, Leads::Second | Leads::Either) && aged::holds_more(cx, own, theirs)
    {
        let plan = Plan::Fork { common: None };
        return Heal::Block { text: person_text(cx, own, theirs, &plan, aged::RULE) };
    }
    match standing.leads {
        Leads::First => Heal::Stay { reason: format!("only this side wrote (rule {rule})") },
        Leads::Second => Heal::Follow { reason: format!("only {name} wrote (rule {rule})") },
        Leads::Either => tie(&format!("neither wrote (rule {rule})")),
        Leads::Person(_) if stays => {
            let module = &cx.policy.module;
            let reason = format!(
                "both wrote (rule {rule}), {name} had been SECOND; a person must decide: to keep \
                 this copy `lockstep second --discard -m {module}` on {name}, whose reason names \
                 the other way"
            );
            Heal::Stay { reason }
        }
        Leads::Person(plan) => Heal::Block { text: person_text(cx, own, theirs, &plan, rule) },
    }
}

/// Names both positions and the commands that decide.
fn person_text(cx: &Context, own: &Side, theirs: &Side, plan: &Plan, rule: &str) -> String {
    let module = &cx.policy.module;
    let (here, there) = (&cx.policy.own, &cx.policy.peer);
    if own.copy == CopyState::Unknown && theirs.copy == CopyState::Unknown {
        return own_text(cx, own);
    }
    let place = |side: &Side| {
        let last = side.lineage.last();
        format!(
            "{} is at operation {} of epoch {} ({})",
            side.node,
            side.position.seq,
            last.map_or(0, |epoch| epoch.number),
            side.changed_alone()
        )
    };
    let common = match plan {
        Plan::Fork { common: Some(common) } => format!(", both after operation {}", common.seq),
        _ => String::new(),
    };
    format!(
        "A person must decide (rule {rule}{common}): {}; {}. Nothing was overwritten. To keep the \
         copy of {there}: there `lockstep prim -m {module}` unless it is primary, then here \
         `lockstep second --discard -m {module}`. To keep the copy of {here}: on {there} `lockstep \
         stop -m {module}`, here `lockstep prim -m {module}`, then on {there} `lockstep second \
         --discard -m {module}`",
        place(own),
        place(theirs)
    )
}
