//! Two sides meet: one plan, and the name of the rule that chose it.
//!
//! First [`who_must_lead`] (its table: `standing.rs`); where the intended leader may lead, the
//! cheapest plan that is *provably* complete is taken, from top to bottom:
//!
//! ```text
//! #  the follower                                          the leader                 plan               rule
//! 1  must lead instead                                     -                          Reverse            (row of the standing)
//! 2  a person decides                                      -                          Fork, Unrelated    (row of the standing)
//! 3  copy unknown, or its words disagree                   -                          Digests            follower-unknown
//! 4  no epoch at all                                       -                          Digests            follower-without-history
//! 5  lost acknowledged memory as well                      lost acknowledged memory   Digests            both-lost-memory
//! 6  -                                                     lost acknowledged memory   Digests            leader-lost-memory
//! 7  marks of its own, but not all of them                 -                          Digests            follower-marks-lost
//! 8  whole, at the leader's very operation                 exact, no mark             Nothing            equal
//! 9  whole, at or before the window's end                  exact, has the operations  Window             window
//! 10 holds a tail in doubt that others wrote               -                          Digests            foreign-tail
//! 11 at or after the base, has marks of its own            marks complete from base   Zones theirs       zones-both
//! 12 at or after the base                                  marks complete from base   Zones              zones
//! 13 -                                                     no complete marks          Digests            no-marks
//! 14 before the base                                       -                          Digests            base-mismatch
//! 15 -                                                     crashed before the base
//!                                                          was on its own disk        Digests            leader-before-base
//! ```
//!
//! *Whole* (8, 9): in sync or left behind, position exact, nothing lost, no mark of its own: its
//! content is the result of exactly the operations up to its position. After a crash that is never
//! so; then only marks that begin at both nodes' checkpoints (rule A4) or digests are a proof.
use super::lineage::{Place, Relation, common_point, relate};
use super::standing::{Leads, copy_of, who_must_lead};
use crate::model::{CopyState, Plan, Seq, Side, Verdict};

/// What `leader` has to do so that `follower` holds the same. Total: every pair has an answer, and
/// sides that contradict themselves get a comparison or a person, never "equal".
pub fn handshake(leader: &Side, follower: &Side) -> Verdict {
    let standing = who_must_lead(leader, follower);
    match standing.leads {
        Leads::Person(plan) => verdict(plan, standing.rule),
        Leads::Second => verdict(Plan::Reverse, standing.rule),
        Leads::First | Leads::Either => plan_for(leader, follower),
    }
}

/// The plan once a person said that whatever only `follower` holds may go (`--discard`). Differs
/// from [`handshake`] only where that asks for a person or for the other direction, and only if
/// `leader` may lead.
pub fn discard(leader: &Side, follower: &Side) -> Verdict {
    let met = handshake(leader, follower);
    let decided = matches!(met.plan, Plan::Fork { .. } | Plan::Unrelated | Plan::Reverse);
    if !decided || copy_of(leader) != CopyState::Current {
        return met;
    }
    match both_marks_cover(leader, follower) {
        true => verdict(Plan::Zones { theirs: true }, "discard-zones"),
        false => verdict(Plan::Digests, "discard-digests"),
    }
}

fn plan_for(leader: &Side, follower: &Side) -> Verdict {
    let digests = |rule| verdict(Plan::Digests, rule);
    let copy = copy_of(follower);
    if copy == CopyState::Unknown {
        return digests("follower-unknown");
    }
    if follower.lineage.epochs.is_empty() {
        return digests("follower-without-history");
    }
    // An interrupted return may already speak in its leader's epochs: look there.
    let Some(place) = leader.lineage.place(follower.position) else {
        return digests("follower-unknown");
    };
    if leader.lost_volatile {
        let both = follower.lost_volatile;
        return digests(if both { "both-lost-memory" } else { "leader-lost-memory" });
    }
    if follower.dirty_objects > 0 && follower.dirty_base.is_none() {
        return digests("follower-marks-lost");
    }
    let whole = matches!(copy, CopyState::Current | CopyState::Outdated)
        && follower.exact
        && !follower.lost_volatile
        && follower.dirty_objects == 0;
    if whole && leader.exact && !place.overruns() {
        if follower.position.seq == leader.position.seq && leader.dirty_objects == 0 {
            return verdict(Plan::Nothing, "equal");
        }
        if let Some(from) = in_window(leader, follower.position.seq) {
            return verdict(Plan::Window { from }, "window");
        }
    }
    zones(leader, follower, place)
}

fn zones(leader: &Side, follower: &Side, place: Place) -> Verdict {
    let digests = |rule| verdict(Plan::Digests, rule);
    let beyond = place.overruns() || follower.position.seq > leader.position.seq;
    if beyond && !wrote_epoch_of(leader, place) {
        return digests("foreign-tail");
    }
    let Some(base) = leader.dirty_base else { return digests("no-marks") };
    let base = leader.lineage.place(base).filter(|base| place.reaches(*base));
    let Some(base) = base else { return digests("base-mismatch") };
    let own = leader.lineage.place(leader.position);
    if !leader.exact && !own.is_some_and(|own| own.reaches(base)) {
        return digests("leader-before-base");
    }
    match follower.dirty_base.is_some() {
        true => verdict(Plan::Zones { theirs: true }, "zones-both"),
        false => verdict(Plan::Zones { theirs: false }, "zones"),
    }
}

/// First operation to send again, if all of them are still there.
fn in_window(leader: &Side, seq: Seq) -> Option<Seq> {
    let (first, last) = leader.window?;
    (first <= seq.next() && seq <= last).then(|| seq.next())
}

fn wrote_epoch_of(side: &Side, place: Place) -> bool {
    let epoch = place.rank.checked_sub(1).and_then(|index| side.lineage.epochs.get(index));
    epoch.is_some_and(|epoch| epoch.node == side.node)
}

/// After a fork: each side's marks begin before the last common point, so that together they hold
/// whatever either changed since.
fn both_marks_cover(leader: &Side, follower: &Side) -> bool {
    let relation = relate(&leader.lineage, &follower.lineage);
    let Relation::Chain { common: 1.., first: 1.., second: 1.. } = relation else { return false };
    let Some(fork) = common_point(&leader.lineage, &follower.lineage) else { return false };
    let (Some(ours), Some(theirs)) = (leader.dirty_base, follower.dirty_base) else { return false };
    let holds = |side: &Side, base| {
        let place = |position| side.lineage.place(position);
        let places = (place(base), place(fork), place(side.position));
        let (Some(base), Some(fork), Some(own)) = places else { return false };
        !side.lost_volatile && fork.reaches(base) && own.reaches(base)
    };
    let whole = matches!(copy_of(follower), CopyState::Current | CopyState::Outdated);
    whole && [leader, follower].iter().all(|side| holds(side, ours) && holds(side, theirs))
}

fn verdict(plan: Plan, rule: &'static str) -> Verdict {
    Verdict { plan, rule: rule.to_owned() }
}

#[cfg(test)]
mod tests;
