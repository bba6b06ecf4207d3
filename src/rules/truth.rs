//! Whether a condition is true of the resources as they are.
//!
//! Safekit.md 1.6: "id may be `*` (all) or `?` (any), values `init down up unknown`". A comparison
//! with `*` is true when it is true of each resource that matches, one with `?` when it is true of
//! at least one. This holds for `==` and `!=` alike and on either side: `tcp.? != up` asks whether
//! one of them is not up, which is not the contrary of `tcp.? == up`. Two wildcards: for each (or
//! for one) on the left, each (or one) on the right.
//!
//! The reference does not say what is true of no resources at all. Here: nothing, and neither is
//! its contrary, so that no rule acts on what is not there. `!(tcp.* == up)` without any `tcp`
//! resource is not true; beside `||` the other side decides. A resource that nobody set and that
//! is called by its name has the value `unknown`; of a peer that has not told its resources,
//! nothing is true.
//!
//! Values are compared as text. A rule can write one word only: a value of more words is equal to
//! its first (`PRIM Ready` is `PRIM`).
use super::{Condition, Names, Pattern, Resource, Whose};
use std::collections::BTreeMap;

/// The resources as they are now, of this node and of the peer as far as it told.
pub trait Lookup {
    /// Name and value of each, in a fixed order.
    fn all(&self, whose: Whose) -> impl Iterator<Item = (&str, &str)>;

    fn value(&self, whose: Whose, name: &str) -> Option<&str> {
        self.all(whose).find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Whether a resource that is not among them is one that nobody set.
    fn complete(&self, whose: Whose) -> bool;
}

/// Resources by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub local: BTreeMap<String, String>,
    pub remote: BTreeMap<String, String>,
    /// `remote` holds all that the peer has, and not only what this node knows of it anyway.
    pub peer_told: bool,
}

impl Table {
    fn of(&self, whose: Whose) -> &BTreeMap<String, String> {
        match whose {
            Whose::Own => &self.local,
            Whose::Peer => &self.remote,
        }
    }
}

impl Lookup for Table {
    fn all(&self, whose: Whose) -> impl Iterator<Item = (&str, &str)> {
        self.of(whose).iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn value(&self, whose: Whose, name: &str) -> Option<&str> {
        self.of(whose).get(name).map(String::as_str)
    }

    fn complete(&self, whose: Whose) -> bool {
        whose == Whose::Own || self.peer_told
    }
}

/// Whether the condition is true; `None`: there is nothing that it could be true of.
pub fn truth(condition: &Condition, resources: &impl Lookup) -> Option<bool> {
    match condition {
        Condition::Any(parts) => decided(parts, resources, true),
        Condition::All(parts) => decided(parts, resources, false),
        Condition::Not(inner) => truth(inner, resources).map(|truth| !truth),
        Condition::Compare { left, equal, right } => {
            let (left, right) = (values(left, resources)?, values(right, resources)?);
            left.hold(|left| right.hold(|right| Some(same(left, right) == *equal)))
        }
        Condition::Resource(_) | Condition::Value(_) | Condition::Cluster => {
            values(condition, resources)?.hold(|value| Some(same(value, "up")))
        }
    }
}

/// `deciding` as soon as one part is that; otherwise unknown as soon as one part is unknown.
fn decided(parts: &[Condition], resources: &impl Lookup, deciding: bool) -> Option<bool> {
    let mut all = Some(!deciding);
    for part in parts {
        match truth(part, resources) {
            Some(truth) if truth == deciding => return Some(deciding),
            Some(_) => {}
            None => all = None,
        }
    }
    all
}

/// One side of a comparison.
struct Values<'a> {
    every: bool,
    values: Vec<&'a str>,
}

impl Values<'_> {
    fn hold(&self, test: impl Fn(&str) -> Option<bool>) -> Option<bool> {
        if self.values.is_empty() {
            return None;
        }
        for value in &self.values {
            if test(value)? != self.every {
                return Some(!self.every);
            }
        }
        Some(self.every)
    }
}

fn values<'a>(condition: &'a Condition, resources: &'a impl Lookup) -> Option<Values<'a>> {
    let one = |value| Values { every: true, values: vec![value] };
    Some(match condition {
        Condition::Value(value) => one(value),
        Condition::Cluster => one("unknown"),
        Condition::Resource(Resource { whose, names }) => match names {
            Names::One(name) => match resources.value(*whose, name) {
                Some(value) => one(value),
                None if resources.complete(*whose) => one("unknown"),
                None => return None,
            },
            Names::All(pattern) => matching(pattern, *whose, resources, true),
            Names::Any(pattern) => matching(pattern, *whose, resources, false),
        },
        condition => one(if truth(condition, resources)? { "up" } else { "down" }),
    })
}

fn matching<'a>(
    pattern: &Pattern,
    whose: Whose,
    resources: &'a impl Lookup,
    every: bool,
) -> Values<'a> {
    let found = resources.all(whose).filter(|(name, _)| pattern.matches(name));
    Values { every, values: found.map(|(_, value)| value).collect() }
}

fn same(left: &str, right: &str) -> bool {
    let first = |text: &str, word: &str| text.split_once(' ').is_some_and(|(one, _)| one == word);
    left == right || first(left, right) || first(right, left)
}

/// The first resource that the condition looks at and whose checker has not answered yet.
pub(super) fn in_init(condition: &Condition, resources: &impl Lookup) -> Option<String> {
    let mut found = None;
    condition.visit(&mut |part| {
        let Condition::Resource(Resource { whose, names }) = part else { return };
        let mut all = resources.all(*whose);
        if found.is_none()
            && let Some((name, _)) = all.find(|(name, value)| *value == "init" && names.hold(name))
        {
            let prefix = if *whose == Whose::Peer { "remote." } else { "" };
            found = Some(format!("{prefix}{name}"));
        }
    });
    found
}

#[cfg(test)]
mod tests;
