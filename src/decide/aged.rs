//! `rfs syncdelta`: a copy that is not known to be up to date leads because it is young enough. The
//! administrator has accepted that what was acknowledged since its last synchronisation is missing.
//!
//! ```text
//! peer            own copy                        last in sync            →
//! heard           any                             any                     as without syncdelta
//! silent          sole member                     any                     leads, as without
//! silent          current, outdated               within syncdelta        leads, *aged*; not with
//!                                                                         failover off, nor if no
//!                                                                         configured witness answers
//! silent          incomplete, unknown             any                     waits: no copy at all
//! ```
//! Who leads so is marked, over stops and power cuts, until another copy is in sync with it. While
//! it is, the other node does not follow it by itself if its copy may hold more: it waits for a
//! person, so that what was given up here is not overwritten there. The age is measured by the hub,
//! by a wall clock; that is the one decision which is left to one.
use super::context::Context;
use super::facts::View;
use crate::history::is_ancestor;
use crate::model::{CopyState, Side};

/// The rule that administrators know.
pub(super) const RULE: &str = "rfs_forceuptodate";

/// Why this node leads though its copy is not known to be up to date; `None`: it does not.
pub(super) fn leads(cx: &Context, view: &View<'_>) -> Option<String> {
    let minutes = cx.facts.synced_minutes?;
    let isolated = matches!(view, View::Absent) && cx.peer_silent() && cx.may_outlive();
    if !isolated || !may_need_it(cx) || !cx.failover() {
        return None;
    }
    let peer = &cx.policy.peer;
    Some(format!(
        "goes on by failover rule {RULE} (syncdelta): {peer} is silent, and this copy was in sync \
         with it {minutes} min ago. What was acknowledged since then is missing here; where {peer} \
         still has it, a person decides before anything is overwritten"
    ))
}

/// Its age may be what this copy leads by: then a witness is asked as well, if there is one.
pub(super) fn may_need_it(cx: &Context) -> bool {
    let whole = |copy| matches!(copy, CopyState::Current | CopyState::Outdated);
    let side = cx.facts.engine.side();
    cx.facts.synced_minutes.is_some() && side.is_some_and(|own| whole(own.copy) && !own.sole)
}

/// Of a primary that leads so, as long as no other copy is in sync with it.
pub(super) fn reason(cx: &Context) -> String {
    let peer = &cx.policy.peer;
    format!(
        "primary by syncdelta: this copy may lack what was acknowledged last; {peer} returns only \
         when a person decides"
    )
}

/// The peer leads by its age, and this copy may hold what it lacks.
pub(super) fn holds_more(cx: &Context, own: &Side, theirs: &Side) -> bool {
    let aged = cx.facts.peer.report.as_ref().is_some_and(|report| report.aged);
    let current = own.copy == CopyState::Current;
    if !aged || !current {
        return false;
    }
    // Where the other side's own history begins; until then it may repeat this one.
    let fork = theirs.lineage.epochs.get(own.lineage.epochs.len());
    let fork = fork.map_or(theirs.position.seq.0.saturating_add(1), |epoch| epoch.first_seq.0);
    let contained = is_ancestor(&own.lineage, &theirs.lineage) && own.position.seq.0 < fork;
    !(contained && own.exact && !own.lost_volatile)
}
