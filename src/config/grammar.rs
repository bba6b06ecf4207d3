//! What may stand in a file, as tables: elements, their attributes, and what becomes of each.
//!
//! The tables (`grammar/safe.rs`, `grammar/nodes.rs`) hold names, kinds, defaults and units once;
//! checking, reading and `src/docs/compatibility.md` all follow them. [`check`] walks a tree along
//! its table and reports everything; [`Node`] then reads values that have been checked.
use super::findings::{Findings, did_you_mean, quoted};
use super::values::{self, Unit};
use super::xml::{Attribute, Element};
use crate::model::Schedule;
use std::time::Duration;

mod applications;
mod checks;
mod farm;
pub(super) mod nodes;
pub(super) mod safe;
pub(super) mod watch;

/// One element and what belongs to it.
#[derive(Debug)]
pub struct Rule {
    pub name: &'static str,
    pub attributes: &'static [AttributeRule],
    pub children: &'static [Child],
    /// Text between the tags is read (`<failover>`).
    pub text: bool,
    pub standing: Standing,
}

#[derive(Debug)]
pub struct Child {
    pub rule: &'static Rule,
    /// At most one of it.
    pub once: bool,
}

#[derive(Debug)]
pub struct AttributeRule {
    pub name: &'static str,
    pub kind: Kind,
    pub need: Need,
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Required,
    /// Required, but empty means: to be filled in before a start.
    Blank,
    /// `None`: absent means absent.
    Default(Option<&'static str>),
}

/// What Lockstep does with an element or attribute today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Acts,
    /// Parsed, does nothing yet; what it will do. Nothing is said while the effective value is
    /// one of `harmless`.
    Later {
        harmless: &'static [&'static str],
        text: &'static str,
    },
    /// Has no meaning here; why. Nothing is said where nothing is written, or one of `harmless`,
    /// which asks for what happens anyway.
    Needless {
        harmless: &'static [&'static str],
        text: &'static str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// No spaces, at most so many bytes.
    Word(usize),
    Switch,
    Count(i64, i64),
    /// Unit when none is written; smallest value allowed, in milliseconds.
    Time(TimeUnit, u64),
    Choice(&'static [&'static str]),
    Host,
    Netmask,
    AbsolutePath,
    RelativePath,
    Pattern,
    Variable,
    /// A line of a crontab, or nothing.
    Crontab,
}

/// [`Unit`] under a name that the tables can use.
pub type TimeUnit = Unit;

impl Kind {
    /// What was expected, if `text` is not of this kind.
    fn check(self, text: &str, name: &str) -> Result<(), String> {
        match self {
            Kind::Text => Ok(()),
            Kind::Word(length) => values::word(text, length),
            Kind::Switch => values::switch(text).map(drop),
            Kind::Count(min, max) => values::count(text, min, max).map(drop),
            Kind::Time(unit, floor) => {
                let time = values::duration(text, unit, name)?;
                if time < Duration::from_millis(floor) {
                    return Err(format!("at least {floor}ms"));
                }
                Ok(())
            }
            Kind::Choice(choices) if choices.contains(&text) => Ok(()),
            Kind::Choice(choices) => Err(format!("one of {}", choices.join(", "))),
            Kind::Host => values::host(text).map(drop),
            Kind::Netmask => values::netmask(text).map(drop),
            Kind::AbsolutePath => values::absolute_path(text).map(drop),
            Kind::RelativePath => values::relative_path(text).map(drop),
            Kind::Pattern => values::pattern(text),
            Kind::Variable => values::variable(text),
            Kind::Crontab if text.trim().is_empty() => Ok(()),
            Kind::Crontab => Schedule::parse(text).map(drop),
        }
    }
}

/// Checks `element` and everything below it against its table.
pub(super) fn check(element: &Element, rule: &'static Rule, root: &Rule, findings: &mut Findings) {
    for attribute in &element.attributes {
        check_attribute(element, attribute, rule, findings);
    }
    for attribute in rule.attributes {
        if element.attribute(attribute.name).is_none() {
            if matches!(attribute.need, Need::Required | Need::Blank) {
                let remedy = format!("add {}=\"…\"", attribute.name);
                let expected = format!("the attribute {}", attribute.name);
                findings.mistake(element.at, rule.name, expected, "none", remedy);
            }
            // Of what has no effect only what somebody wrote is said.
            let needless = matches!(attribute.standing, Standing::Needless { .. });
            if let Need::Default(Some(value)) = attribute.need
                && !needless
            {
                say_standing(element.at, rule, Some(attribute), value, findings);
            }
        }
    }
    if !rule.text
        && let Some(text) = element.texts.first()
    {
        let lead = text.value.len() - text.value.trim_start().len();
        let at = if text.cdata { text.raw.start } else { text.raw.start + lead };
        let found = format!("the text {}", quoted(text.value.trim()));
        findings.mistake(at, rule.name, "no text", found, "remove it, or make it a comment");
    }
    say_standing(element.at, rule, None, "", findings);
    check_children(element, rule, root, findings);
}

fn check_children(element: &Element, rule: &'static Rule, root: &Rule, findings: &mut Findings) {
    let mut seen: Vec<&str> = Vec::new();
    for child in &element.children {
        let Some(known) = rule.children.iter().find(|known| known.rule.name == child.name) else {
            unknown_element(child, rule, root, findings);
            continue;
        };
        if known.once && seen.contains(&known.rule.name) {
            let expected = format!("at most one <{}>", child.name);
            let remedy = "put everything into the first one";
            findings.mistake(child.at, &child.name, expected, "another one", remedy);
        }
        seen.push(known.rule.name);
        check(child, known.rule, root, findings);
    }
}

fn unknown_element(child: &Element, rule: &Rule, root: &Rule, findings: &mut Findings) {
    let names: Vec<&str> = rule.children.iter().map(|known| known.rule.name).collect();
    let expected = match names.as_slice() {
        [] => format!("nothing inside <{}>", rule.name),
        names => format!("one of <{}> inside <{}>", names.join(">, <"), rule.name),
    };
    let mut homes = Vec::new();
    parents_of(&child.name, root, &mut homes);
    let near = did_you_mean(&child.name, names.iter().copied());
    let remedy = match homes.first() {
        Some(home) => format!("<{}> belongs into <{home}>", child.name),
        None if near.is_empty() => "remove it".to_owned(),
        None => near,
    };
    findings.mistake(child.at, &child.name, expected, format!("<{}>", child.name), remedy);
}

fn parents_of(name: &str, rule: &Rule, homes: &mut Vec<&'static str>) {
    for child in rule.children {
        if child.rule.name == name && !homes.contains(&rule.name) {
            homes.push(rule.name);
        }
        parents_of(name, child.rule, homes);
    }
}

fn check_attribute(element: &Element, attribute: &Attribute, rule: &Rule, findings: &mut Findings) {
    let name = attribute.name.as_str();
    let Some(known) = rule.attributes.iter().find(|known| known.name == name) else {
        let names: Vec<&str> = rule.attributes.iter().map(|known| known.name).collect();
        let expected = match names.as_slice() {
            [] => "no attribute".to_owned(),
            names => format!("one of the attributes {}", names.join(", ")),
        };
        let near = did_you_mean(name, names.iter().copied());
        let remedy = if near.is_empty() { "remove it".to_owned() } else { near };
        findings.mistake(attribute.at, rule.name, expected, name, remedy);
        return;
    };
    let value = attribute.value.as_str();
    if value.trim().is_empty() && known.need == Need::Blank {
        let text = "is empty: to be filled in before the module is started";
        findings.note(element.at, rule.name, Some(name), text);
        return;
    }
    match known.kind.check(value, name) {
        Err(expected) => {
            let near = match known.kind {
                Kind::Choice(choices) => did_you_mean(value, choices.iter().copied()),
                Kind::Switch => did_you_mean(value, ["on", "off"]),
                _ => String::new(),
            };
            let remedy = if near.is_empty() { format!("correct {name}=") } else { near };
            let found = if value.is_empty() { "nothing".to_owned() } else { quoted(value) };
            let expected = format!("{name}= to be {expected}");
            findings.mistake(attribute.raw.start, rule.name, expected, found, remedy);
        }
        Ok(()) => say_standing(attribute.at, rule, Some(known), value, findings),
    }
}

fn say_standing(
    at: usize,
    rule: &Rule,
    attribute: Option<&AttributeRule>,
    value: &str,
    findings: &mut Findings,
) {
    let standing = attribute.map_or(rule.standing, |attribute| attribute.standing);
    // What an element as a whole does not do yet, its attributes need not say again.
    if attribute.is_some() && rule.standing != Standing::Acts {
        return;
    }
    let text = match standing {
        Standing::Acts => return,
        Standing::Later { harmless, .. } | Standing::Needless { harmless, .. }
            if attribute.is_some() && harmless.contains(&value) =>
        {
            return;
        }
        Standing::Later { text, .. } => format!("parsed, not acted on yet: {text}"),
        Standing::Needless { text, .. } => format!("has no effect here: {text}"),
    };
    findings.note(at, rule.name, attribute.map(|attribute| attribute.name), text);
}

/// An element with its table. Values that [`check`] refused read as their default; the mistake
/// has been reported, and nothing made from the tree is used.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) element: &'a Element,
    pub(super) rule: &'static Rule,
}

impl<'a> Node<'a> {
    pub(super) fn children(self, name: &str) -> impl Iterator<Item = Node<'a>> {
        let known = self.rule.children.iter().find(|known| known.rule.name == name);
        debug_assert!(known.is_some(), "<{}> is no child of <{}>", name, self.rule.name);
        let name = name.to_owned();
        let children = self.element.children.iter().filter(move |child| child.name == name);
        children.filter_map(move |element| known.map(|known| Node { element, rule: known.rule }))
    }

    pub(super) fn child(self, name: &str) -> Option<Node<'a>> {
        self.children(name).next()
    }

    fn attribute_rule(self, name: &str) -> Option<&'static AttributeRule> {
        let known = self.rule.attributes.iter().find(|known| known.name == name);
        debug_assert!(known.is_some(), "<{}> has no {}=", self.rule.name, name);
        known
    }

    /// The value as written, `None` if absent, blank or refused.
    pub(super) fn given(self, name: &str) -> Option<&'a str> {
        let rule = self.attribute_rule(name)?;
        let value = self.element.attribute(name)?.value.as_str();
        let blank = value.trim().is_empty() && rule.kind != Kind::Text;
        (!blank && rule.kind.check(value, name).is_ok()).then_some(value)
    }

    /// The value as written, else its default.
    pub(super) fn text(self, name: &str) -> &'a str {
        let default = match self.attribute_rule(name).map(|rule| rule.need) {
            Some(Need::Default(Some(default))) => default,
            _ => "",
        };
        self.given(name).unwrap_or(default)
    }

    pub(super) fn switch(self, name: &str) -> bool {
        values::switch(self.text(name)).unwrap_or(false)
    }

    pub(super) fn count(self, name: &str) -> i64 {
        self.text(name).trim().parse().unwrap_or(0)
    }

    pub(super) fn time(self, name: &str) -> Duration {
        match self.attribute_rule(name).map(|rule| rule.kind) {
            Some(Kind::Time(unit, _)) => {
                values::duration(self.text(name), unit, name).unwrap_or_default()
            }
            _ => Duration::ZERO,
        }
    }

    /// Where the value of an attribute stands, or the element if it is absent.
    pub(super) fn at(self, name: &str) -> usize {
        self.element.attribute(name).map_or(self.element.at, |attribute| attribute.raw.start)
    }
}

// Short forms for the tables.

const fn attribute(name: &'static str, kind: Kind, default: Option<&'static str>) -> AttributeRule {
    AttributeRule { name, kind, need: Need::Default(default), standing: Standing::Acts }
}

const fn required(name: &'static str, kind: Kind) -> AttributeRule {
    AttributeRule { name, kind, need: Need::Required, standing: Standing::Acts }
}

const fn blank(name: &'static str, kind: Kind) -> AttributeRule {
    AttributeRule { name, kind, need: Need::Blank, standing: Standing::Acts }
}

const fn later(
    base: AttributeRule,
    harmless: &'static [&'static str],
    text: &'static str,
) -> AttributeRule {
    AttributeRule { standing: Standing::Later { harmless, text }, ..base }
}

const fn needless(
    base: AttributeRule,
    harmless: &'static [&'static str],
    text: &'static str,
) -> AttributeRule {
    AttributeRule { standing: Standing::Needless { harmless, text }, ..base }
}

const fn once(rule: &'static Rule) -> Child {
    Child { rule, once: true }
}

const fn many(rule: &'static Rule) -> Child {
    Child { rule, once: false }
}

const fn acting(
    name: &'static str,
    attributes: &'static [AttributeRule],
    children: &'static [Child],
) -> Rule {
    Rule { name, attributes, children, text: false, standing: Standing::Acts }
}

const fn waiting(
    name: &'static str,
    attributes: &'static [AttributeRule],
    children: &'static [Child],
    text: &'static str,
) -> Rule {
    let standing = Standing::Later { harmless: &[], text };
    Rule { name, attributes, children, text: false, standing }
}

#[cfg(test)]
mod tests;
