//! Which of two sides must lead: a symmetric question, answered before any plan is made.
//!
//! ```text
//! #  histories                     copies, positions                        leads    rule
//! 1  one is no chain               -                                        person   lineage-damaged
//! 2  tell one epoch differently    -                                        person   lineage-contradiction
//! 3  no epoch in common            -                                        person   no-common-epoch
//! 4  both have epochs of their own -                                        person   both-wrote
//! 5  one newer, other has none     other current and sole                   person   content-without-history
//! 6                                newer current                            newer    newer-epoch
//! 7                                newer not current                        person   nobody-may-lead
//! 8  one newer, other an ancestor  other wrote beyond the fork itself       person   writer-ahead
//! 9                                newer current                            newer    newer-epoch
//! 10                               newer not current                        person   newer-may-not-lead
//! 11 equal                         neither current, both unknown            person   both-unknown
//! 12                               neither current                          person   nobody-may-lead
//! 13                               one current, other wrote beyond it       person   writer-ahead
//! 14                               one current, but it lost memory (A1)
//!                                  that the other, outdated, may hold       person   survivor-outdated
//! 15                               one current                              it       only-current
//! 16 equal, both current           no epoch at all, both sole               person   two-first-copies
//! 17                               no epoch at all, one sole                it       sole
//! 18                               no epoch at all                          either   no-history
//! 19                               one lost acknowledged memory (A1)        other    lost-memory
//! 20 one behind, but it wrote the  one of them sole                         it       sole
//! 21 epoch itself and is exact     both or none sole                        either   in-doubt-tail
//! 22 one behind                                                             other    ahead
//! 23 level                         one of them sole                         it       sole
//! 24                               both or none sole                        either   level
//! ```
//!
//! Rows 8 and 13: operations are acknowledged to the application by the epoch's writer. What any
//! other node holds beyond the writer's own position was never acknowledged (a tail in doubt); what
//! the writer holds beyond the others may have been, and only a person may give it up.
//! Row 14: the first outdated the second, and lost its memory before it wrote anything alone (that
//! would be an epoch): what it acknowledged last may be on the outdated copy only.
//! Rows 20 and 23: a sole member may go on without asking anybody, so nobody else leads beside it.
use super::lineage::{Relation, common_point, relate};
use crate::model::{CopyState, Plan, Position, Seq, Side};

/// Who must lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    First,
    Second,
    /// Both may: nothing that was acknowledged is lost either way.
    Either,
    /// A person decides; the plan says why ([`Plan::Fork`] or [`Plan::Unrelated`]).
    Person(Plan),
}

/// Who must lead, and the name of the row of the table that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub leads: Leads,
    pub rule: &'static str,
}

/// Answers for two sides in either order: swapping them swaps `First` and `Second` only.
/// Nothing but the two sides counts; a tie (`Either`) is for the caller's policy.
pub fn who_must_lead(first: &Side, second: &Side) -> Standing {
    if first.lineage.check().is_err() || second.lineage.check().is_err() {
        return person(Plan::Unrelated, "lineage-damaged");
    }
    match relate(&first.lineage, &second.lineage) {
        Relation::Contradiction => person(Plan::Unrelated, "lineage-contradiction"),
        Relation::Unrelated => person(Plan::Unrelated, "no-common-epoch"),
        Relation::Chain { first: 0, second: 0, .. } => equal_histories(first, second),
        Relation::Chain { common, second: 0, .. } => newer_history(first, second, common),
        Relation::Chain { common, first: 0, .. } => newer_history(second, first, common).flipped(),
        Relation::Chain { .. } => person(fork(first, second), "both-wrote"),
    }
}

/// The state of the copy as far as the side's own words agree with each other: a position that
/// its own history cannot explain is a memory that is lost.
pub(super) fn copy_of(side: &Side) -> CopyState {
    match (side.copy, side.lineage.place(side.position)) {
        (CopyState::Incomplete, _) => CopyState::Incomplete,
        (copy, Some(place)) if !place.overruns() => copy,
        _ => CopyState::Unknown,
    }
}

fn newer_history(newer: &Side, older: &Side, common: usize) -> Standing {
    let may_lead = copy_of(newer) == CopyState::Current;
    if common == 0 {
        if older.sole && copy_of(older) == CopyState::Current {
            return person(Plan::Unrelated, "content-without-history");
        }
        if !may_lead {
            return person(Plan::Unrelated, "nobody-may-lead");
        }
        return leads(Leads::First, "newer-epoch");
    }
    let end = Seq(newer.lineage.epochs[common].first_seq.0.saturating_sub(1));
    if wrote_beyond(older, end) {
        return person(fork(newer, older), "writer-ahead");
    }
    match may_lead {
        true => leads(Leads::First, "newer-epoch"),
        false => person(fork(newer, older), "newer-may-not-lead"),
    }
}

fn equal_histories(first: &Side, second: &Side) -> Standing {
    use CopyState::{Current, Unknown};
    match (copy_of(first), copy_of(second)) {
        (Current, Current) => both_current(first, second),
        (Current, _) => only_current(first, second),
        (_, Current) => only_current(second, first).flipped(),
        (Unknown, Unknown) => person(Plan::Unrelated, "both-unknown"),
        _ => person(Plan::Unrelated, "nobody-may-lead"),
    }
}

fn only_current(current: &Side, other: &Side) -> Standing {
    if current.exact && wrote_beyond(other, current.position.seq) {
        return person(fork_at(current), "writer-ahead");
    }
    let holds_no_more = other.exact && other.position.seq <= current.position.seq;
    let outdated = copy_of(other) == CopyState::Outdated && !other.lost_volatile;
    if current.lost_volatile && outdated && !holds_no_more {
        return person(fork_at(current), "survivor-outdated");
    }
    leads(Leads::First, "only-current")
}

fn both_current(first: &Side, second: &Side) -> Standing {
    if first.lineage.epochs.is_empty() {
        return match first.sole && second.sole {
            true => person(Plan::Unrelated, "two-first-copies"),
            false => the_sole_one(first, second, "no-history"),
        };
    }
    match (first.lost_volatile, second.lost_volatile) {
        (true, false) => return leads(Leads::Second, "lost-memory"),
        (false, true) => return leads(Leads::First, "lost-memory"),
        _ => {}
    }
    let (ahead, behind, leader) = match first.position.seq.cmp(&second.position.seq) {
        std::cmp::Ordering::Equal => return the_sole_one(first, second, "level"),
        std::cmp::Ordering::Greater => (first, second, Leads::First),
        std::cmp::Ordering::Less => (second, first, Leads::Second),
    };
    let in_doubt = behind.exact && !behind.lost_volatile && wrote_last_epoch(behind);
    match in_doubt && !wrote_last_epoch(ahead) {
        true => the_sole_one(first, second, "in-doubt-tail"),
        false => leads(leader, "ahead"),
    }
}

/// Either may lead as far as the copies go.
fn the_sole_one(first: &Side, second: &Side, tie: &'static str) -> Standing {
    match (first.sole, second.sole) {
        (true, false) => leads(Leads::First, "sole"),
        (false, true) => leads(Leads::Second, "sole"),
        _ => leads(Leads::Either, tie),
    }
}

/// The side is the writer of its newest epoch and stands behind `end` in it: what lies beyond may
/// have been acknowledged to the application. A copy under return only repeats its leader's words.
fn wrote_beyond(side: &Side, end: Seq) -> bool {
    let Some(last) = side.lineage.last() else { return false };
    let seq = side.position.seq;
    let in_last_epoch = side.position.epoch == Some(last.id) && seq >= last.first_seq;
    side.copy != CopyState::Incomplete && last.node == side.node && in_last_epoch && seq > end
}

fn wrote_last_epoch(side: &Side) -> bool {
    side.lineage.last().is_some_and(|epoch| epoch.node == side.node)
}

fn fork(first: &Side, second: &Side) -> Plan {
    Plan::Fork { common: common_point(&first.lineage, &second.lineage) }
}

/// Equal histories, different content: common is what the one that may lead has.
fn fork_at(current: &Side) -> Plan {
    let epoch = current.lineage.last().map(|epoch| epoch.id);
    Plan::Fork { common: Some(Position { epoch, ..current.position }) }
}

fn leads(leads: Leads, rule: &'static str) -> Standing {
    Standing { leads, rule }
}

fn person(plan: Plan, rule: &'static str) -> Standing {
    Standing { leads: Leads::Person(plan), rule }
}

impl Standing {
    fn flipped(self) -> Standing {
        let leads = match self.leads {
            Leads::First => Leads::Second,
            Leads::Second => Leads::First,
            other => other,
        };
        Standing { leads, ..self }
    }
}
