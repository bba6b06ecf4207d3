use super::*;
use crate::rules::language;

fn condition(text: &str) -> Condition {
    let rules = language::parse(&format!("a: if ({text}) then stop();"));
    rules.unwrap_or_else(|slip| panic!("{text}: {slip:?}")).remove(0).condition
}

fn resources(pairs: &str) -> Table {
    let mut table = Table { peer_told: true, ..Table::default() };
    for pair in pairs.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (name, value) = pair.trim().split_once('=').expect("name=value");
        match name.strip_prefix("remote.") {
            Some(name) => table.remote.insert(name.to_owned(), value.to_owned()),
            None => table.local.insert(name.to_owned(), value.to_owned()),
        };
    }
    table
}

#[track_caller]
fn is(text: &str, pairs: &str, expected: Option<bool>) {
    assert_eq!(truth(&condition(text), &resources(pairs)), expected, "{text} with {pairs}");
}

#[test]
fn one_resource_is_compared_as_text() {
    is("tcp.a == down", "tcp.a=down", Some(true));
    is("tcp.a == down", "tcp.a=up", Some(false));
    is("down != tcp.a", "tcp.a=up", Some(true));
    is("tcp.a == tcp.b", "tcp.a=x,tcp.b=x", Some(true));
    is("intf.192.168.0.0 == down", "intf.192.168.0.0=down", Some(true));
    is("x == up", "x=up", Some(true));
}

#[test]
fn what_nobody_set_is_unknown() {
    is("tcp.a == unknown", "", Some(true));
    is("tcp.a == down", "", Some(false));
    is("tcp.a != up", "", Some(true));
    is("cluster() == unknown", "", Some(true));
    is("cluster() == up", "", Some(false));
}

#[test]
fn the_peer_has_its_own_resources_and_both_states_are_known_here() {
    let pairs = "tcp.a=up,remote.tcp.a=down,state.local=PRIM Ready,state.remote=SECOND Transient";
    is("local.tcp.a == up && remote.tcp.a == down", pairs, Some(true));
    is("remote.tcp.? == down", pairs, Some(true));
    is("state.local == PRIM && remote.state == SECOND", pairs, Some(true));
    is("local.state == SECOND", pairs, Some(false));
    is("PRIM == local.state", pairs, Some(true));
    is("state.local == PRI", pairs, Some(false));
}

/// It may be gone, or not tell it yet: that is no reason to do anything.
#[test]
fn of_a_peer_that_does_not_tell_nothing_is_true() {
    let pairs = "tcp.a=down,remote.state.local=ALONE Ready";
    let table = Table { peer_told: false, ..resources(pairs) };
    for (text, expected) in [
        ("remote.rfs.uptodate != up", None),
        ("!(remote.rfs.uptodate == up)", None),
        ("remote.tcp.a == unknown", None),
        ("remote.tcp.? != up", None),
        ("remote.state.local == ALONE", Some(true)),
        ("tcp.a == down || remote.tcp.a == down", Some(true)),
        ("tcp.b != up", Some(true)),
    ] {
        assert_eq!(truth(&condition(text), &table), expected, "{text}");
    }
    is("remote.tcp.a == unknown", "", Some(true));
}

#[test]
fn a_star_asks_for_all_and_a_question_mark_for_one() {
    let (both, one, none) = ("tcp.a=down,tcp.b=down", "tcp.a=down,tcp.b=up", "tcp.a=up,tcp.b=up");
    for (text, truths) in [
        ("tcp.* == down", [true, false, false]),
        ("tcp.? == down", [true, true, false]),
        ("tcp.* != down", [false, false, true]),
        ("tcp.? != down", [false, true, true]),
        ("down == tcp.*", [true, false, false]),
        ("up != tcp.?", [true, true, false]),
        ("tcp.*", [false, false, true]),
        ("tcp.?", [false, true, true]),
        ("!tcp.?", [true, false, false]),
        ("?.a == down", [true, true, false]),
        ("*.* == up", [false, false, true]),
        ("tcp.* == tcp.*", [true, false, true]),
        ("tcp.? != tcp.?", [false, true, false]),
        ("tcp.* == tcp.?", [true, true, true]),
    ] {
        for (pairs, truth) in [both, one, none].into_iter().zip(truths) {
            is(text, pairs, Some(truth));
        }
    }
}

#[test]
fn nothing_is_true_of_no_resources_and_neither_is_its_contrary() {
    for text in [
        "tcp.* == down",
        "tcp.? != down",
        "!(tcp.* == down)",
        "!tcp.?",
        "tcp.* == ping.?",
        "ping.? == tcp.*",
        "(tcp.? == up) == down",
        "tcp.? && ping.a == up",
        "tcp.? || ping.a == down",
    ] {
        is(text, "ping.a=up", None);
    }
    is("tcp.? == up || ping.a == up", "ping.a=up", Some(true));
    is("ping.a == up || tcp.? == up", "ping.a=up", Some(true));
    is("tcp.? == up && ping.a == down", "ping.a=up", Some(false));
    // A name without a class matches no wildcard.
    is("*.*", "x=up", None);
}

#[test]
fn operators_bind_as_in_c() {
    let pairs = "a.a=up,a.b=up,a.c=down";
    // && before ||.
    is("a.a == up || a.b == up && a.c == up", pairs, Some(true));
    is("(a.a == up || a.b == up) && a.c == up", pairs, Some(false));
    is("a.c == up && a.b == up || a.a == up", pairs, Some(true));
    // ! before ==, which is false for !up == up, and !down == up.
    is("!a.a == up", pairs, Some(false));
    is("!a.c == up", pairs, Some(true));
    is("!a.c == down", pairs, Some(false));
    is("!(a.a == down) && !!a.b", pairs, Some(true));
    // == from left to right: (down == down) == up.
    is("a.c == a.c == a.a", pairs, Some(true));
    is("a.a == (a.c == a.a)", pairs, Some(false));
}

#[test]
fn the_first_resource_in_init_is_named() {
    let named = |text, pairs| in_init(&condition(text), &resources(pairs));
    let pairs = "tcp.a=up,tcp.b=init,remote.x.y=init,other.z=init";
    assert_eq!(named("tcp.a == down", pairs), None);
    assert_eq!(named("tcp.a == down || tcp.b == down", pairs).as_deref(), Some("tcp.b"));
    assert_eq!(named("!(tcp.? == down)", pairs).as_deref(), Some("tcp.b"));
    assert_eq!(named("remote.x.* == down", pairs).as_deref(), Some("remote.x.y"));
    assert_eq!(named("tcp.c == down", pairs), None);
}
