//! The Lua in which modules write rules, as far as it only declares:
//!
//! ```text
//! --Lua Rules
//! Rules = Rules + { label = if_then("custom.x", "down", Action.stopstart), _group = "checker" }
//! Rules.disable("ip_failure")
//! ```
//!
//! No Lua runs: a rule must be known when a module is configured, and programs with side effects
//! in the middle of a failover are nobody's wish. Exactly these two statements are understood, in
//! any number and order, with the comments and strings of Lua (without escapes). They give the
//! same rules as the old language does. `_group` is for the reader.
//!
//! Statements count in their order, as in Lua ([`super::combine`] keeps it): `disable` takes away
//! what stands before it, so a label may be disabled and then be given a new rule.
use super::{Action, Condition, Effect, Resource, Rule, Statement, SyntaxError, language};

/// What a slip is answered with.
pub const REMEDY: &str = "only these forms are understood: \
    Rules = Rules + { label = if_then(\"class.id\", \"down\", Action.stopstart) } \
    and Rules.disable(\"label\")";

/// Whether a text of rules is Lua: it says so in its first line.
pub fn is_lua(text: &str) -> bool {
    text.trim_start().starts_with("--Lua Rules")
}

/// All statements of a section, or its first slip.
pub fn parse(text: &str) -> Result<Vec<Statement>, SyntaxError> {
    let mut words = words(text)?;
    words.reverse();
    let mut parser = Parser { words, end: text.len() };
    let mut section = Vec::new();
    while !parser.words.is_empty() {
        parser.statement(&mut section)?;
    }
    Ok(section)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'a> {
    Name(&'a str),
    /// Between the quotes.
    Text(&'a str),
    Sign(&'a str),
}

/// Where a word begins and what it is.
type Placed<'a> = (usize, Word<'a>);

fn words(text: &str) -> Result<Vec<Placed<'_>>, SyntaxError> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let sign = &rest[..first.len_utf8()];
        if first.is_whitespace() {
            at += sign.len();
        } else if let Some(comment) = rest.strip_prefix("--[[") {
            let slip = SyntaxError::said(at, "]]", "a comment without end");
            at += comment.find("]]").ok_or(slip)? + 6;
        } else if rest.starts_with("--") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if letter(first) {
            let name = &rest[..rest.find(|c| !letter(c)).unwrap_or(rest.len())];
            words.push((at, Word::Name(name)));
            at += name.len();
        } else if matches!(first, '"' | '\'') {
            let inside = &rest[1..];
            let stop = inside.find([first, '\n', '\\']);
            let Some(length) = stop.filter(|stop| inside[*stop..].starts_with(first)) else {
                return Err(SyntaxError::said(at, "a string", "one with an escape or without end"));
            };
            words.push((at, Word::Text(&inside[..length])));
            at += length + 2;
        } else if "=+{}().,;".contains(first) {
            words.push((at, Word::Sign(sign)));
            at += sign.len();
        } else {
            return Err(SyntaxError::text(
                at,
                "a name, a string or one of = + { } ( ) . , ;",
                sign,
            ));
        }
    }
    Ok(words)
}

struct Parser<'a> {
    /// Last first.
    words: Vec<Placed<'a>>,
    end: usize,
}

impl<'a> Parser<'a> {
    fn statement(&mut self, section: &mut Vec<Statement>) -> Result<(), SyntaxError> {
        self.exactly(Word::Name("Rules"), "Rules")?;
        let (at, word) = self.next("= or .disable after Rules")?;
        match word {
            Word::Sign("=") => {
                self.exactly(Word::Name("Rules"), "Rules + { … } after Rules =")?;
                self.exactly(Word::Sign("+"), "+ after Rules = Rules")?;
                self.exactly(Word::Sign("{"), "{ after Rules = Rules +")?;
                self.entries(section)?;
            }
            Word::Sign(".") => {
                self.exactly(Word::Name("disable"), "disable after Rules.")?;
                self.exactly(Word::Sign("("), "( after Rules.disable")?;
                let (_, label) = self.text("the label of a rule in quotes")?;
                self.exactly(Word::Sign(")"), ") after the label")?;
                section.push(Statement::Disable(label.to_owned()));
            }
            word => return Err(slip(at, "= or .disable after Rules", word)),
        }
        if self.peek() == Some(Word::Sign(";")) {
            self.next(";")?;
        }
        Ok(())
    }

    fn entries(&mut self, section: &mut Vec<Statement>) -> Result<(), SyntaxError> {
        while self.peek() != Some(Word::Sign("}")) {
            let (at, word) = self.next("the label of a rule or }")?;
            let Word::Name(label) = word else {
                return Err(slip(at, "the label of a rule or }", word));
            };
            self.exactly(Word::Sign("="), "= after the label")?;
            if label == "_group" {
                self.text("the name of the group in quotes")?;
            } else {
                section.push(Statement::Rule(self.rule(label)?));
            }
            if self.peek() != Some(Word::Sign("}")) {
                self.exactly(Word::Sign(","), ", or } after the rule")?;
            }
        }
        self.exactly(Word::Sign("}"), "}")
    }

    fn rule(&mut self, label: &str) -> Result<Rule, SyntaxError> {
        self.exactly(Word::Name("if_then"), "if_then")?;
        self.exactly(Word::Sign("("), "( after if_then")?;
        let expected = "a resource \"class.id\"";
        let (at, text) = self.text(expected)?;
        let resource =
            Resource::parse(text).ok_or_else(|| SyntaxError::text(at, expected, text))?;
        self.exactly(Word::Sign(","), ", after the resource")?;
        let expected = "a value, as \"down\"";
        let (at, value) = self.text(expected)?;
        if !language::plain(value) || value.contains('.') {
            return Err(SyntaxError::text(at, expected, value));
        }
        self.exactly(Word::Sign(","), ", after the value")?;
        let action = self.action()?;
        self.exactly(Word::Sign(")"), ") after the action")?;
        let value = Condition::Value(value.to_owned());
        let condition = Condition::compare(Condition::Resource(resource), true, value);
        Ok(Rule { label: label.to_owned(), condition, effect: Effect::Act(action) })
    }

    fn action(&mut self) -> Result<Action, SyntaxError> {
        self.exactly(Word::Name("Action"), "Action.stopstart or another action")?;
        self.exactly(Word::Sign("."), ". after Action")?;
        let expected = "one of stop stopstart wait restart swap wakeup";
        let (at, word) = self.next(expected)?;
        let action = if let Word::Name(name) = word { Action::named(name) } else { None };
        action.ok_or_else(|| slip(at, expected, word))
    }

    fn next(&mut self, expected: &'static str) -> Result<Placed<'a>, SyntaxError> {
        self.words
            .pop()
            .ok_or_else(|| SyntaxError::said(self.end, expected, "the end of the rules"))
    }

    fn peek(&self) -> Option<Word<'a>> {
        self.words.last().map(|(_, word)| *word)
    }

    fn exactly(&mut self, wanted: Word<'_>, expected: &'static str) -> Result<(), SyntaxError> {
        let (at, word) = self.next(expected)?;
        if word == wanted { Ok(()) } else { Err(slip(at, expected, word)) }
    }

    fn text(&mut self, expected: &'static str) -> Result<(usize, &'a str), SyntaxError> {
        match self.next(expected)? {
            (at, Word::Text(text)) => Ok((at, text)),
            (at, word) => Err(slip(at, expected, word)),
        }
    }
}

fn slip(at: usize, expected: &'static str, found: Word<'_>) -> SyntaxError {
    let (Word::Name(text) | Word::Text(text) | Word::Sign(text)) = found;
    SyntaxError::text(at, expected, text)
}

#[cfg(test)]
mod tests;
