//! The old rule language:
//!
//! ```text
//! label: if ( condition ) then action();       actions: stop stopstart wait restart swap wakeup
//! label: if ( condition ) then class.id=up;    or down, init, unknown
//! ```
//!
//! Conditions are made of `! && || == != ( )` with the precedence of C: `!` binds closest, then
//! `== !=`, then `&&`, then `||`; so `!a.b == up` is `(!a.b) == up`. Comments are C's.
//!
//! Operands are `[local.|remote.]class.id`, values and `cluster()` (safekit.md 1.6: "operand
//! `[local.|remote.]class.id`, id may be `*` (all) or `?` (any), values `init down up unknown`";
//! "`cluster()` operand seen"). What follows is ours where the reference is silent:
//!
//! * The class may be a wildcard too. A wildcard is a whole part, and one operand has one kind.
//! * A word with a dot is a resource. A word without is a value, of any spelling, as for
//!   `state.remote == ALONE`; only where no resource stands beside it, it is itself a resource
//!   (`x == up`), one that nobody sets by any other way than by hand.
//! * A lonely resource is true when it is `up`. A lonely `up` or `down` is a slip: such a rule
//!   would be true for ever.
//!
//! How wildcards are compared stands in `truth.rs`.
use super::{Action, Condition, Effect, Names, Resource, Rule, SyntaxError, Value, Whose};
use words::{Word, words};

mod words;

#[cfg(test)]
mod tests;

/// Parentheses and `!` in each other. Reading and evaluating recurse this deep.
const NESTED_MAX: usize = 32;

/// What a slip is answered with.
pub const REMEDY: &str = "write: label: if ( class.id == down ) then stopstart();";

/// All rules of a text, or its first slip.
pub fn parse(text: &str) -> Result<Vec<Rule>, SyntaxError> {
    let mut words = words(text)?;
    words.reverse();
    let mut parser = Parser { words, end: text.len() };
    let mut rules = Vec::new();
    while !parser.words.is_empty() {
        rules.push(parser.rule()?);
    }
    Ok(rules)
}

/// A word that can be compared with and that can be a label.
pub(super) fn plain(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphanumeric() || c == '_')
        && word.chars().all(|c| words::letter(c) && !"*?".contains(c))
}

/// A condition and where it begins. A word may still turn out to be a resource.
type Part = (usize, Condition);

struct Parser<'a> {
    /// Last first.
    words: Vec<Word<'a>>,
    end: usize,
}

impl<'a> Parser<'a> {
    fn next(&mut self, expected: &'static str) -> Result<Word<'a>, SyntaxError> {
        self.words
            .pop()
            .ok_or_else(|| SyntaxError::said(self.end, expected, "the end of the rules"))
    }

    fn peek(&self) -> &'a str {
        self.words.last().map_or("", |(_, word)| word)
    }

    fn exactly(&mut self, wanted: &str, expected: &'static str) -> Result<(), SyntaxError> {
        let (at, word) = self.next(expected)?;
        if word == wanted { Ok(()) } else { Err(SyntaxError::text(at, expected, word)) }
    }

    fn name(&mut self, expected: &'static str) -> Result<Word<'a>, SyntaxError> {
        let (at, word) = self.next(expected)?;
        let name = word.starts_with(|c: char| c.is_alphanumeric() || "_*?".contains(c));
        if name { Ok((at, word)) } else { Err(SyntaxError::text(at, expected, word)) }
    }

    fn rule(&mut self) -> Result<Rule, SyntaxError> {
        let expected = "the label of a rule";
        let (at, label) = self.name(expected)?;
        if !plain(label) {
            return Err(SyntaxError::text(at, expected, label));
        }
        self.exactly(":", ": after the label")?;
        self.exactly("if", "if")?;
        self.exactly("(", "( after if")?;
        let condition = alone(self.either(0)?)?;
        self.exactly(")", ") after the condition")?;
        self.exactly("then", "then")?;
        let effect = self.effect()?;
        self.exactly(";", "; at the end of the rule")?;
        Ok(Rule { label: label.to_owned(), condition, effect })
    }

    fn effect(&mut self) -> Result<Effect, SyntaxError> {
        let (at, word) = self.name("an action or a resource")?;
        if self.peek() == "=" {
            self.next("=")?;
            let Some(Resource { whose: Whose::Own, names: Names::One(resource) }) =
                Resource::parse(word)
            else {
                return Err(SyntaxError::text(at, "one resource class.id of this node", word));
            };
            let expected = "up, down, init or unknown";
            let (at, word) = self.name(expected)?;
            let value = Value::named(word).ok_or_else(|| SyntaxError::text(at, expected, word))?;
            return Ok(Effect::Assign { resource, value });
        }
        let expected = "one of stop() stopstart() wait() restart() swap() wakeup()";
        let action = Action::named(word).ok_or_else(|| SyntaxError::text(at, expected, word))?;
        self.exactly("(", "( after the action")?;
        self.exactly(")", ") after the action")?;
        Ok(Effect::Act(action))
    }

    fn either(&mut self, depth: usize) -> Result<Part, SyntaxError> {
        self.joined("||", Condition::Any, |parser| {
            parser.joined("&&", Condition::All, |parser| parser.comparison(depth))
        })
    }

    fn joined(
        &mut self,
        sign: &'static str,
        join: fn(Vec<Condition>) -> Condition,
        mut part: impl FnMut(&mut Self) -> Result<Part, SyntaxError>,
    ) -> Result<Part, SyntaxError> {
        let first = part(self)?;
        if self.peek() != sign {
            return Ok(first);
        }
        let at = first.0;
        let mut parts = vec![alone(first)?];
        while self.peek() == sign {
            self.next(sign)?;
            parts.push(alone(part(self)?)?);
        }
        Ok((at, join(parts)))
    }

    fn comparison(&mut self, depth: usize) -> Result<Part, SyntaxError> {
        let (at, mut left) = self.negation(depth)?;
        // Each comparison puts what is left of it one level down.
        for _ in depth..=NESTED_MAX {
            let equal = match self.peek() {
                "==" => true,
                "!=" => false,
                _ => return Ok((at, left)),
            };
            self.next("==")?;
            let (_, right) = self.negation(depth)?;
            left = compared(left, equal, right);
        }
        match self.peek() {
            "==" | "!=" => {
                let (at, word) = self.next("==")?;
                Err(SyntaxError::text(at, "fewer comparisons in a row", word))
            }
            _ => Ok((at, left)),
        }
    }

    fn negation(&mut self, depth: usize) -> Result<Part, SyntaxError> {
        match self.peek() {
            "!" => {
                let at = self.deeper("!", depth)?;
                let inner = alone(self.negation(depth + 1)?)?;
                Ok((at, Condition::Not(Box::new(inner))))
            }
            "(" => {
                self.deeper("(", depth)?;
                let inner = self.either(depth + 1)?;
                self.exactly(")", ")")?;
                Ok(inner)
            }
            _ => self.operand(),
        }
    }

    fn deeper(&mut self, sign: &'static str, depth: usize) -> Result<usize, SyntaxError> {
        let (at, word) = self.next(sign)?;
        if depth >= NESTED_MAX {
            return Err(SyntaxError::text(at, "fewer nested parentheses", word));
        }
        Ok(at)
    }

    fn operand(&mut self) -> Result<Part, SyntaxError> {
        let expected = "a resource class.id or a value";
        let (at, word) = self.name(expected)?;
        if self.peek() == "(" {
            if word != "cluster" {
                return Err(SyntaxError::text(
                    at,
                    "a resource class.id, a value or cluster()",
                    word,
                ));
            }
            self.next("(")?;
            self.exactly(")", ") after the function")?;
            return Ok((at, Condition::Cluster));
        }
        if plain(word) && !word.contains('.') {
            return Ok((at, Condition::Value(word.to_owned())));
        }
        let expected = "a resource class.id; * or ? may stand for a whole part";
        let resource =
            Resource::parse(word).ok_or_else(|| SyntaxError::text(at, expected, word))?;
        Ok((at, Condition::Resource(resource)))
    }
}

/// A word without a dot, where no resource is beside it, is one itself.
fn compared(left: Condition, equal: bool, right: Condition) -> Condition {
    let (left, right) = match (left, right) {
        (Condition::Value(name), Condition::Value(other)) => match Value::named(&name) {
            None => (Condition::Resource(Resource::own(&name)), Condition::Value(other)),
            Some(_) if Value::named(&other).is_none() => {
                (Condition::Value(name), Condition::Resource(Resource::own(&other)))
            }
            Some(_) => (Condition::Value(name), Condition::Value(other)),
        },
        sides => sides,
    };
    Condition::compare(left, equal, right)
}

/// A condition that is compared with nothing.
fn alone((at, condition): Part) -> Result<Condition, SyntaxError> {
    match condition {
        Condition::Value(name) if Value::named(&name).is_none() => {
            Ok(Condition::Resource(Resource::own(&name)))
        }
        Condition::Value(name) => {
            Err(SyntaxError::text(at, "a resource class.id, or a comparison with one", &name))
        }
        condition => Ok(condition),
    }
}
