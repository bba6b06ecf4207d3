//! How sure it is that the own copy is the newest. The engine remembers what it knew when it was
//! last in touch with the peer; what the peer did since is known only while one of them says so.
use crate::history::{Leads, who_must_lead};
use crate::model::{CopyState, Side};

/// What people are told of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    /// It may lead.
    UpToDate,
    /// It was, and the peer may have gone on; or both wrote.
    InDoubt,
    NotUpToDate,
}

/// What is remembered of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub copy: CopyState,
    pub sole: bool,
    pub lost_volatile: bool,
}

impl Remembered {
    pub fn of(side: &Side) -> Remembered {
        Remembered { copy: side.copy, sole: side.sole, lost_volatile: side.lost_volatile }
    }
}

/// A copy that neither leads nor follows in sync. `sides`: the own and the peer's, as both are
/// told now. `rival`: the peer is primary.
pub fn at_rest(own: Remembered, sides: Option<(&Side, &Side)>, rival: bool) -> Copy {
    match own.copy {
        CopyState::Unknown => return Copy::InDoubt,
        CopyState::Outdated | CopyState::Incomplete => return Copy::NotUpToDate,
        CopyState::Current => {}
    }
    let leads = sides.map(|(own, theirs)| who_must_lead(own, theirs).leads);
    match leads {
        Some(Leads::First | Leads::Either) => Copy::UpToDate,
        Some(Leads::Second) => Copy::NotUpToDate,
        Some(Leads::Person(_)) => Copy::InDoubt,
        None if own.sole && !own.lost_volatile && !rival => Copy::UpToDate,
        None if rival && !own.sole => Copy::NotUpToDate,
        None => Copy::InDoubt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(name: &str, sole: bool) -> Side {
        Side { sole, ..Side::sample(name) }
    }

    #[test]
    fn a_copy_is_up_to_date_only_where_nobody_can_have_gone_on() {
        let own = |copy, sole, lost_volatile| Remembered { copy, sole, lost_volatile };
        let current = |sole, lost| own(CopyState::Current, sole, lost);
        // It was in sync, and the peer is not there.
        assert_eq!(at_rest(current(false, false), None, false), Copy::InDoubt);
        assert_eq!(at_rest(current(true, false), None, false), Copy::UpToDate);
        assert_eq!(at_rest(current(true, true), None, false), Copy::InDoubt);
        // The peer leads without it; or both were the only member once.
        assert_eq!(at_rest(current(false, false), None, true), Copy::NotUpToDate);
        assert_eq!(at_rest(current(true, false), None, true), Copy::InDoubt);
        for (copy, told) in [
            (CopyState::Unknown, Copy::InDoubt),
            (CopyState::Outdated, Copy::NotUpToDate),
            (CopyState::Incomplete, Copy::NotUpToDate),
        ] {
            assert_eq!(at_rest(own(copy, true, false), None, false), told);
        }
    }

    #[test]
    fn where_both_copies_are_told_they_are_compared() {
        let told =
            |own: &Side, theirs: &Side| at_rest(Remembered::of(own), Some((own, theirs)), false);
        let (sole, member) = (side("a", true), side("b", false));
        assert_eq!(told(&sole, &member), Copy::UpToDate);
        assert_eq!(told(&member, &sole), Copy::NotUpToDate);
        assert_eq!(told(&member, &side("a", false)), Copy::UpToDate);
        // Two first copies: a person decides.
        assert_eq!(told(&sole, &side("b", true)), Copy::InDoubt);
    }
}
