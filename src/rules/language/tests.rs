use super::*;
use crate::rules::Pattern;
use proptest::prelude::*;

#[test]
fn rules_of_the_old_language_pass() {
    for good in [
        "",
        "/* none */",
        "a: if ( custom.x == down ) then stopstart();",
        "b: if ((local.tcp.* == down && !(remote.state == up)) || ping.? != up) then wait();",
        "c: if (rfs.synced == up) then rfs.uptodate=up; // by hand",
        "d: if ( cluster() == up ) then swap();",
        "e: if (a.b==up/**/||/* * / */c.d==down)then wakeup();f:if(g.h)then restart();",
    ] {
        assert!(parse(good).is_ok(), "{good}: {:?}", parse(good));
    }
}

#[test]
fn the_first_slip_has_its_place() {
    for (bad, at, expected) in [
        ("a if (x == up) then stop();", 2, ": after the label"),
        ("a: if (x == up) then explode();", 21, "one of stop()"),
        ("a: if (x == up then stop();", 15, ") after the condition"),
        ("a: if (x == up) then stop()", 27, "; at the end"),
        ("a: if (x == up) then stop() b", 28, "; at the end"),
        ("a: if (x & y) then stop();", 9, "a word or one of"),
        ("/* open", 0, "*/"),
        ("/*/ a", 0, "*/"),
        ("*: if (x == up) then stop();", 0, "the label"),
        ("a: if (tcp. == up) then stop();", 7, "a resource class.id; *"),
        ("a: if (tcp.a* == up) then stop();", 7, "a resource class.id; *"),
        ("a: if (*.? == up) then stop();", 7, "a resource class.id; *"),
        ("a: if (* == up) then stop();", 7, "a resource class.id; *"),
        ("a: if (remote.x == up) then stop();", 7, "a resource class.id; *"),
        ("a: if (up) then stop();", 7, "a resource class.id, or a comparison"),
        ("a: if ((up)) then stop();", 8, "a resource class.id, or a comparison"),
        ("a: if (a.b && !down) then stop();", 15, "a resource class.id, or a comparison"),
        ("a: if (clusters() == up) then stop();", 7, "a resource class.id, a value or cluster()"),
        ("a: if (a.b) then c.d=maybe;", 21, "up, down, init or unknown"),
        ("a: if (a.b) then c=up;", 17, "one resource class.id of this node"),
        ("a: if (a.b) then c.*=up;", 17, "one resource class.id of this node"),
        ("a: if (a.b) then remote.c.d=up;", 17, "one resource class.id of this node"),
        ("a: if (a.b = up) then stop();", 11, ") after the condition"),
        ("é: if (a.b ==) then stop();", 14, "a resource class.id or a value"),
    ] {
        let slip = parse(bad).unwrap_err();
        assert!(slip.at == at && slip.expected.starts_with(expected), "{bad}: {slip:?}");
    }
}

#[test]
fn nesting_is_bounded() {
    assert!(parse(&"(".repeat(1000)).is_err());
    let within = |open: &str, close: &str, times| {
        let (open, close) = (open.repeat(times), close.repeat(times));
        parse(&format!("a: if ({open}x.y{close}) then stop();"))
    };
    for (open, close) in [("(", ")"), ("!", ""), ("!(", ")"), ("", " == up"), ("(", " != up)")] {
        let levels = NESTED_MAX / (open.len().max(1));
        assert!(within(open, close, levels).is_ok(), "{open}");
        for too_many in [levels + 2, 100_000] {
            let slip = within(open, close, too_many).unwrap_err();
            assert!(slip.expected.starts_with("fewer"), "{slip:?}");
        }
    }
    // The deepest of all is evaluated and shown within the stack of a thread.
    let deepest = (0..=NESTED_MAX).rev().fold("x.y".to_owned(), |inner, depth| {
        let row = " == up".repeat(NESTED_MAX + 1 - depth);
        if depth == NESTED_MAX { inner + &row } else { format!("({inner}){row}") }
    });
    let condition = condition(&deepest);
    assert!(condition.to_string().len() > 1_000);
    assert!(crate::rules::truth(&condition, &crate::rules::Table::default()).is_some());
    // As many side by side as one likes.
    let wide = vec!["x.y == up"; 10_000].join(" && ");
    assert!(parse(&format!("a: if ({wide}) then stop();")).is_ok());
}

fn condition(text: &str) -> Condition {
    parse(&format!("a: if ({text}) then stop();")).expect(text).remove(0).condition
}

#[test]
fn precedence_is_that_of_c() {
    for (loose, tight) in [
        ("a.b == up && c.d == up || e.f != up", "((a.b == up) && (c.d == up)) || (e.f != up)"),
        ("a.b || c.d && e.f || g.h", "a.b || (c.d && e.f) || g.h"),
        ("!a.b == up", "(!a.b) == up"),
        ("!!a.b && c.d", "(!(!a.b)) && c.d"),
        ("a.b == c.d != e.f", "(a.b == c.d) != e.f"),
    ] {
        assert_eq!(condition(loose), condition(tight), "{loose}");
    }
    assert_ne!(condition("a.b && (c.d || e.f)"), condition("a.b && c.d || e.f"));
}

#[test]
fn resources_are_read_in_all_their_forms() {
    let pattern = |class: Option<&str>, id: Option<&str>| Pattern {
        class: class.map(str::to_owned),
        id: id.map(str::to_owned),
    };
    let one = |name: &str| Names::One(name.to_owned());
    for (text, whose, names) in [
        ("tcp.a", Whose::Own, one("tcp.a")),
        ("local.tcp.a", Whose::Own, one("tcp.a")),
        ("remote.module.storage_10.0.0.7", Whose::Peer, one("module.storage_10.0.0.7")),
        ("remote.state", Whose::Own, one("state.remote")),
        ("local.state", Whose::Own, one("state.local")),
        ("state.remote", Whose::Own, one("state.remote")),
        ("tcp.*", Whose::Own, Names::All(pattern(Some("tcp"), None))),
        ("remote.?.a", Whose::Peer, Names::Any(pattern(None, Some("a")))),
        ("*.*", Whose::Own, Names::All(pattern(None, None))),
    ] {
        assert_eq!(condition(text), Condition::Resource(Resource { whose, names }), "{text}");
    }
}

#[test]
fn a_word_without_a_dot_is_a_value_beside_a_resource_and_else_a_resource() {
    let sides = |text| match condition(text) {
        Condition::Compare { left, right, .. } => (*left, *right),
        other => panic!("{other:?}"),
    };
    let resource = |name| Condition::Resource(Resource::own(name));
    let value = |text: &str| Condition::Value(text.to_owned());
    assert_eq!(sides("state.local == PRIM"), (resource("state.local"), value("PRIM")));
    assert_eq!(sides("x == up"), (resource("x"), value("up")));
    assert_eq!(sides("up == x"), (value("up"), resource("x")));
    assert_eq!(sides("x == y"), (resource("x"), value("y")));
    assert_eq!(sides("(PRIM) == state.local"), (value("PRIM"), resource("state.local")));
    assert_eq!(condition("((x))"), resource("x"));
}

#[test]
fn effects_and_what_is_not_supported() {
    let rules = parse(
        "a: if (a.b) then stop(); b: if (a.b) then local.rfs.uptodate = init;
         c: if (a.b == up && !(cluster() == up)) then wakeup();",
    )
    .expect("rules");
    let assign = Effect::Assign { resource: "rfs.uptodate".to_owned(), value: Value::Init };
    let effects = [Effect::Act(Action::Stop), assign, Effect::Act(Action::Wakeup)];
    assert!(rules.iter().map(|rule| &rule.effect).eq(&effects), "{rules:?}");
    let notes: Vec<bool> =
        rules.iter().map(|rule| crate::rules::unsupported(rule).is_some()).collect();
    assert_eq!(notes, [false, true, true]);
    for told in ["splitbrain.uptodate", "connections.10.0.0.9", "heartbeat.a", "proc.db"] {
        let rules = parse(&format!("a: if (a.b) then {told} = up;")).expect("a rule");
        assert!(crate::rules::unsupported(&rules[0]).is_some(), "{told}");
    }
    for action in Action::ALL {
        let text = format!("a: if (a.b) then {}();", action.as_str());
        assert_eq!(parse(&text).expect("a rule")[0].effect, Effect::Act(action));
    }
}

/// Texts of conditions, well formed, with more parentheses than needed.
fn any_condition() -> impl Strategy<Value = String> {
    let word = "(local\\.|remote\\.)?(tcp|ping|state)\\.(a|b\\.c|\\*|\\?)|cluster\\(\\)|(x|Y)";
    word.prop_recursive(4, 24, 4, |inner| {
        let list = proptest::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            (inner.clone(), "==|!=", "up|down|PRIM")
                .prop_map(|(a, op, b)| format!("({a}) {op} {b}")),
            (inner.clone(), "==|!=", inner.clone())
                .prop_map(|(a, op, b)| format!("({a}){op}({b})")),
            inner.prop_map(|a| format!("!({a})")),
            (list.clone(), " ?&& ?| \\|\\| ").prop_map(|(parts, sign)| parts.join(&sign)),
            list.prop_map(|parts| format!("({})", parts.join("||"))),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics_on_any_rules(text in "([a-z.]{1,3}|[:;()!=&|/*?é\n ]|if|then|stop){0,60}") {
        let _ = parse(&text);
        let _ = parse(&format!("a: if ({text}"));
    }

    #[test]
    fn nothing_panics_on_any_text(text in "\\PC{0,80}") {
        if let Err(slip) = parse(&text) {
            prop_assert!(text.is_char_boundary(slip.at), "{:?}", slip);
        }
    }

    #[test]
    fn what_is_written_is_read_back(condition in any_condition(), assign: bool) {
        let effect = if assign { "a.b=up" } else { "swap()" };
        let rules = parse(&format!("a: if ({condition}) then {effect};")).expect("well formed");
        let text: String = rules.iter().map(Rule::to_string).collect();
        prop_assert_eq!(parse(&text), Ok(rules), "{}", text);
    }
}
