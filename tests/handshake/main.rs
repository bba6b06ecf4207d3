//! Every pair of sides up to four epochs is met in both orders, and each answer is held against
//! sets of operations, written out one by one ([`oracle`]). The tables in the doc comments are read
//! as well: every rule that is answered stands in them, and every rule in them is answered.
#![allow(clippy::unwrap_used)] // A test that cannot go on has failed.

mod cases;
mod oracle;

use cases::{Shape, shapes};
use lockstep::history::{Leads, Standing, discard, handshake, who_must_lead};
use lockstep::model::{CopyState, Plan, Side, Verdict};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Runs `check` on every shape, on as many threads as there are cores; collects what it saw.
fn for_each_shape(check: impl Fn(Shape, &mut BTreeSet<String>) + Sync) -> BTreeSet<String> {
    let queue = Mutex::new(shapes());
    let seen = Mutex::new(BTreeSet::new());
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = BTreeSet::new();
                loop {
                    let shape = queue.lock().unwrap().pop();
                    let Some(shape) = shape else { break };
                    check(shape, &mut mine);
                }
                seen.lock().unwrap().extend(mine);
            });
        }
    });
    seen.into_inner().unwrap()
}

/// Rules named in the last column of the table of a source file.
fn table(source: &str) -> BTreeSet<String> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("//! "));
    let rows = lines.skip_while(|line| !line.starts_with("#  ")).skip(1);
    rows.take_while(|line| !line.starts_with("```"))
        .filter_map(|line| line.split("  ").last().map(str::trim))
        .filter(|word| word.contains('-') || word.chars().all(|c| c.is_ascii_lowercase()))
        .filter(|word| word.len() > 2 && !word.contains(' '))
        .map(str::to_owned)
        .collect()
}

#[test]
fn who_must_lead_is_symmetric_and_agrees_with_sets_of_operations() {
    let seen = for_each_shape(|shape, seen| {
        shape.each_standing(|a, b| {
            let standing = who_must_lead(a, b);
            let mirrored = who_must_lead(b, a);
            assert_eq!(standing.rule, mirrored.rule, "{a:#?}\n{b:#?}");
            let flipped = match standing.leads.clone() {
                Leads::First => Leads::Second,
                Leads::Second => Leads::First,
                other => other,
            };
            assert_eq!(flipped, mirrored.leads, "{a:#?}\n{b:#?}");
            let expected = oracle::leads(a, b);
            assert_eq!(standing.leads, expected, "{}\n{a:#?}\n{b:#?}", standing.rule);
            never_both_reversed(a, b, &standing);
            seen.insert(standing.rule.to_owned());
        });
    });
    assert_eq!(
        seen,
        table(include_str!("../../src/history/standing.rs")),
        "rules seen (left), in the table"
    );
}

fn never_both_reversed(a: &Side, b: &Side, standing: &Standing) {
    let (ab, ba) = (handshake(a, b), handshake(b, a));
    let reversed = [&ab, &ba].map(|verdict| verdict.plan == Plan::Reverse);
    assert_ne!(reversed, [true, true], "both reversed\n{a:#?}\n{b:#?}");
    let person = |plan: &Plan| matches!(plan, Plan::Fork { .. } | Plan::Unrelated);
    assert_eq!(person(&ab.plan), person(&ba.plan), "only one asks\n{a:#?}\n{b:#?}");
    match standing.leads {
        Leads::First => assert!(reversed == [false, true]),
        Leads::Second => assert!(reversed == [true, false]),
        Leads::Either | Leads::Person(_) => assert!(reversed == [false, false]),
    }
}

#[test]
fn each_plan_is_complete_and_the_cheapest_that_is() {
    let seen = for_each_shape(|shape, seen| {
        shape.each_plan(|leader, follower| {
            let met = handshake(leader, follower);
            let expected = oracle::plan(leader, follower);
            assert_eq!(met.plan, expected, "{}\n{leader:#?}\n{follower:#?}", met.rule);
            laws(leader, follower, &met);
            seen.insert(met.rule);
        });
    });
    let mut rules = table(include_str!("../../src/history/handshake.rs"));
    rules.retain(|rule| !rule.starts_with('('));
    assert_eq!(seen, rules, "rules seen (left), in the table");
}

/// What must hold of every plan, whatever the oracle thinks.
fn laws(leader: &Side, follower: &Side, met: &Verdict) {
    let context = || format!("{met:?}\n{leader:#?}\n{follower:#?}");
    let lacks = |a: &Side, b: &Side| b.lineage.epochs.iter().any(|e| !a.lineage.contains(e.id));
    let without_comparison =
        matches!(met.plan, Plan::Nothing | Plan::Window { .. } | Plan::Zones { .. });
    if without_comparison || met.plan == Plan::Digests {
        assert!(!lacks(leader, follower), "overwrites an epoch: {}", context());
        assert_eq!(leader.copy, CopyState::Current, "a copy that may not lead: {}", context());
    }
    if without_comparison {
        assert_ne!(follower.copy, CopyState::Unknown, "{}", context());
        assert!(!leader.lost_volatile, "A1: {}", context());
    }
    if matches!(met.plan, Plan::Nothing | Plan::Window { .. }) {
        assert!(follower.exact && leader.exact && !follower.lost_volatile, "{}", context());
        assert_ne!(follower.copy, CopyState::Incomplete, "{}", context());
    }
    if met.plan == Plan::Nothing {
        assert_eq!(leader.dirty_objects + follower.dirty_objects, 0, "{}", context());
        assert_eq!(leader.position.seq, follower.position.seq, "{}", context());
    }
    if let Plan::Zones { theirs } = met.plan {
        assert!(leader.dirty_base.is_some(), "{}", context());
        assert_eq!(theirs, follower.dirty_base.is_some(), "{}", context());
    }
}

#[test]
fn what_a_person_gave_up_is_compared_unless_both_marks_cover_it() {
    for_each_shape(|shape, _| {
        shape.each_discard(|leader, follower| {
            let (met, decided) = (handshake(leader, follower), discard(leader, follower));
            let context = || format!("{met:?} {decided:?}\n{leader:#?}\n{follower:#?}");
            match met.plan {
                Plan::Fork { .. } | Plan::Unrelated | Plan::Reverse => {
                    let may = oracle::may_lead(leader);
                    let asks = |plan| matches!(plan, Plan::Digests | Plan::Zones { theirs: true });
                    assert_eq!(may, asks(decided.plan.clone()), "{}", context());
                    if let Plan::Zones { .. } = decided.plan {
                        assert!(oracle::both_marked(leader, follower), "{}", context());
                    }
                }
                _ => assert_eq!(met, decided, "{}", context()),
            }
        });
    });
}

#[test]
fn the_protocol_page_shows_the_tables_of_the_code() {
    let page = include_str!("../../src/docs/protocol.md");
    let sources = [
        include_str!("../../src/history/standing.rs"),
        include_str!("../../src/history/handshake.rs"),
    ];
    for source in sources {
        let lines = source.lines().filter_map(|line| line.strip_prefix("//! "));
        let table = lines.skip_while(|line| !line.starts_with("#  "));
        for row in table.take_while(|line| !line.starts_with("```")) {
            assert!(page.contains(row), "protocol.md lacks: {row}");
        }
    }
}
