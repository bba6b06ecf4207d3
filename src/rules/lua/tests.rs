use super::*;
use proptest::prelude::*;

fn texts(text: &str) -> Vec<String> {
    let section = parse(text).unwrap_or_else(|slip| panic!("{text}: {slip:?}"));
    let text = |statement: &Statement| match statement {
        Statement::Rule(rule) => rule.to_string(),
        Statement::Disable(label) => format!("without {label}"),
    };
    section.iter().map(text).collect()
}

#[test]
fn the_forms_of_the_reference() {
    let said = texts(
        "--Lua Rules
         Rules = Rules + { label=if_then(\"custom.x\",\"down\",Action.stopstart),_group=\"checker\"}
         Rules.disable(\"ip_failure\")",
    );
    assert_eq!(said, ["label: if ( custom.x == down ) then stopstart();", "without ip_failure"]);
}

#[test]
fn entries_commas_comments_and_quotes() {
    let said = texts(
        "--Lua Rules
         --[[ two
              lines }]]
         Rules.disable('module_failure'); Rules = Rules + {}
         Rules=Rules+{ -- the checkers
             a = if_then('remote.tcp.*', \"PRIM\", Action.swap), b=if_then('x.?','up',Action.wait),
             _group = '',
         };
         Rules = Rules + {c=if_then('x.y','init',Action.stop)}",
    );
    assert_eq!(
        said,
        [
            "without module_failure",
            "a: if ( remote.tcp.* == PRIM ) then swap();",
            "b: if ( x.? == up ) then wait();",
            "c: if ( x.y == init ) then stop();",
        ]
    );
}

#[test]
fn statements_keep_their_order() {
    let said = texts(
        "Rules = Rules + {a=if_then('x.y','down',Action.stop)}
         Rules.disable('a') Rules.disable('b')
         Rules = Rules + {a=if_then('x.z','down',Action.wait)}",
    );
    assert_eq!(
        said,
        [
            "a: if ( x.y == down ) then stop();",
            "without a",
            "without b",
            "a: if ( x.z == down ) then wait();",
        ]
    );
}

#[test]
fn anything_else_is_a_slip_with_its_place() {
    for (bad, at, expected) in [
        ("print('x')", 0, "Rules"),
        ("Rules:disable('x')", 5, "a name, a string"),
        ("Rules = {}", 8, "Rules + { … } after"),
        ("Rules == Rules", 7, "Rules + { … } after"),
        ("Rules = Rules", 13, "+ after"),
        ("Rules = Rules + { a }", 20, "= after the label"),
        ("Rules = Rules + { a = 'x' }", 22, "if_then"),
        ("Rules = Rules + { a = if_then('x.y' 'down') }", 36, ", after the resource"),
        ("Rules = Rules + { a = if_then('x', 'down', Action.stop) }", 30, "a resource"),
        ("Rules = Rules + { a = if_then('x.y', 'is down', Action.stop) }", 37, "a value"),
        ("Rules = Rules + { a = if_then('x.y', 'down', Action.go) }", 52, "one of stop"),
        ("Rules = Rules + { a = if_then('x.y', 'down', stop) }", 45, "Action.stopstart"),
        ("Rules = Rules + { a = if_then('x.y', 'down', Action.stop()) }", 56, ") after the action"),
        ("Rules = Rules + { _group = checker }", 27, "the name of the group"),
        ("Rules = Rules + { ['a b'] = 1 }", 18, "a name, a string"),
        ("Rules = Rules + { _group = 'x' _group = 'y' }", 31, ", or }"),
        ("Rules = Rules + { ,", 18, "the label of a rule or }"),
        ("Rules = Rules + { ", 18, "the label of a rule or }"),
        ("Rules.disable(ip_failure)", 14, "the label of a rule in quotes"),
        ("Rules.disable('ip_failure\n')", 14, "a string"),
        ("Rules.disable('a\\n')", 14, "a string"),
        ("Rules.disable('a\")", 14, "a string"),
        ("Rules.enable('a')", 6, "disable"),
        ("--[[ open", 0, "]]"),
    ] {
        let slip = parse(bad).unwrap_err();
        assert!(slip.at == at && slip.expected.starts_with(expected), "{bad}: {slip:?}");
    }
}

#[test]
fn a_section_says_that_it_is_lua() {
    assert!(is_lua("\n  --Lua Rules\nRules.disable('x')"));
    assert!(!is_lua("a: if (x.y) then stop();"));
}

proptest! {
    #[test]
    fn nothing_panics_on_any_text(
        text in "([a-z.é]{1,3}|[=+{}(),;\\.\"'\\\\\n\\[\\]-]|Rules|disable|if_then|Action){0,40}",
        other in "\\PC{0,60}",
    ) {
        for text in [&text, &other] {
            if let Err(slip) = parse(text) {
                prop_assert!(text.is_char_boundary(slip.at), "{:?}", slip);
            }
        }
    }
}
