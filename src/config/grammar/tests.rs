//! The table of `src/docs/compatibility.md` is the grammar, row by row.
use super::*;
use std::fmt::Write;

const BEGIN: &str = "<!-- table begins: written by UPDATE_DOCS=1 cargo test --lib grammar -->\n";
const END: &str = "<!-- table ends -->\n";

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".into(),
        Kind::Word(_) => "name".into(),
        Kind::Switch => "on, off".into(),
        Kind::Count(min, i64::MAX) => format!("number from {min}"),
        Kind::Count(min, max) => format!("{min} … {max}"),
        Kind::Time(unit, _) => format!("time ({})", unit.as_str()),
        Kind::Choice(choices) => choices.join(", "),
        Kind::Host => "address or host name".into(),
        Kind::Netmask => "mask or prefix".into(),
        Kind::AbsolutePath => "absolute path".into(),
        Kind::RelativePath => "relative path".into(),
        Kind::Pattern => "expression".into(),
        Kind::Variable => "variable name".into(),
        Kind::Crontab => "crontab line".into(),
    }
}

fn today(standing: Standing) -> (&'static str, &'static str) {
    match standing {
        Standing::Acts => ("acts", ""),
        Standing::Later { text, .. } => ("not yet", text),
        Standing::Needless { text, .. } => ("no effect", text),
    }
}

fn rows(rule: &Rule, path: &str, above: Standing, out: &mut String) {
    let own = if rule.standing == Standing::Acts { above } else { rule.standing };
    let (word, note) = today(own);
    let note = if rule.standing == Standing::Acts { "" } else { note };
    writeln!(out, "| `{path}` | | | | {word} | {note} |").unwrap();
    for attribute in rule.attributes {
        let standing = if own == Standing::Acts { attribute.standing } else { own };
        let (word, note) = today(standing);
        let note = if own == Standing::Acts { note } else { "" };
        let default = match attribute.need {
            Need::Required => "required".to_owned(),
            Need::Blank => "required, may be empty until the start".to_owned(),
            Need::Default(default) => default.map_or(String::new(), |text| format!("`{text}`")),
        };
        let (name, kind) = (attribute.name, kind(attribute.kind));
        writeln!(out, "| `{path}` | `{name}` | {kind} | {default} | {word} | {note} |").unwrap();
    }
    for child in rule.children {
        rows(child.rule, &format!("{path}/{}", child.rule.name), own, out);
    }
}

fn table() -> String {
    let mut out = String::new();
    for (file, rule) in [("cluster.xml", &nodes::CLUSTER), ("userconfig.xml", &safe::SAFE)] {
        writeln!(out, "\n### {file}\n").unwrap();
        out +=
            "| element | attribute | value | default | today | note |\n|---|---|---|---|---|---|\n";
        rows(rule, rule.name, Standing::Acts, &mut out);
    }
    // Children of <service> are told without the two elements that are always around them.
    out.replace("`safe/service/", "`").replace("`cluster/lans/", "`") + "\n"
}

#[test]
fn the_document_holds_exactly_the_grammar() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/docs/compatibility.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (head, rest) = document.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    let wanted = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{head}{BEGIN}{wanted}{END}{tail}")).unwrap();
        return;
    }
    for (found, wanted) in found.lines().zip(wanted.lines()) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.lines().count(), wanted.lines().count());
}

/// A default must be a value of its kind, and what is harmless too; else a table lies.
#[test]
fn defaults_are_values_of_their_kind() {
    fn walk(rule: &Rule) {
        for attribute in rule.attributes {
            if let Need::Default(Some(default)) = attribute.need {
                let checked = attribute.kind.check(default, attribute.name);
                assert_eq!(checked, Ok(()), "{} {}", rule.name, attribute.name);
            }
            if let Standing::Later { harmless, .. } | Standing::Needless { harmless, .. } =
                attribute.standing
            {
                for value in harmless {
                    let checked = attribute.kind.check(value, attribute.name);
                    assert_eq!(checked, Ok(()), "{} {}", rule.name, attribute.name);
                }
            }
        }
        rule.children.iter().for_each(|child| walk(child.rule));
    }
    walk(&nodes::CLUSTER);
    walk(&safe::SAFE);
}
