//! `<failover>`: rules in the old language and in Lua, kept as text.
//!
//! The old language is checked lightly, so that a slip is found when the module is configured and
//! not when a checker fails at night:
//!
//! ```text
//! label: if ( expression ) then action();      actions: stop stopstart wait restart swap wakeup
//! label: if ( expression ) then class.id=up;   expression: ! && || == != ( ) and resources
//! ```
use super::read::Reader;
use super::*;
use crate::config::findings::quoted;
use crate::config::grammar::Node;

const ACTIONS: [&str; 6] = ["stop", "stopstart", "wait", "restart", "swap", "wakeup"];
const NESTED_MAX: u32 = 32;

impl Reader<'_> {
    pub(super) fn failover_rules(&mut self, service: Node<'_>) -> Vec<FailoverRules> {
        let mut found = Vec::new();
        for node in service.children("failover") {
            let (period, handle_time) = (node.time("period"), node.time("handle_time"));
            let mut push = |text: &str, lua| {
                let extends = node.switch("extends");
                let text = text.to_owned();
                found.push(FailoverRules { extends, period, handle_time, lua, text });
            };
            for text in &node.element.texts {
                let lua = text.value.trim_start().starts_with("--Lua Rules");
                if !lua && let Err(slip) = check(&text.value) {
                    let at = text.raw.start + slip.at.min(text.raw.len());
                    let remedy = "write: label: if ( class.id == down ) then stopstart();";
                    self.findings.mistake(at, "failover", slip.expected, slip.found, remedy);
                }
                push(&text.value, lua);
            }
            if node.element.texts.is_empty() {
                push("", false);
            }
        }
        found
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Slip {
    at: usize,
    expected: &'static str,
    found: String,
}

/// The first slip in rules of the old language.
fn check(text: &str) -> Result<(), Slip> {
    let mut words = words(text)?;
    words.reverse();
    let mut rules = Rules { words, end: text.len() };
    while !rules.words.is_empty() {
        rules.rule()?;
    }
    Ok(())
}

/// A piece of the rules and where it stands.
type Word<'a> = (usize, &'a str);

fn words(text: &str) -> Result<Vec<Word<'_>>, Slip> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let part = |c: char| c.is_alphanumeric() || "_.*?-".contains(c);
        let length = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let slip = Slip { at, expected: "*/", found: "a comment without end".to_owned() };
            at += comment.find("*/").ok_or(slip)? + 4;
            continue;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if part(first) {
            rest.find(|c| !part(c)).unwrap_or(rest.len())
        } else if ["&&", "||", "==", "!="].iter().any(|two| rest.starts_with(two)) {
            2
        } else if "!():;=".contains(first) {
            1
        } else {
            let found = quoted(&first.to_string());
            return Err(Slip { at, expected: "a word or one of ! && || == != ( ) : ; =", found });
        };
        words.push((at, &rest[..length]));
        at += length;
    }
    Ok(words)
}

struct Rules<'a> {
    /// Last first.
    words: Vec<Word<'a>>,
    end: usize,
}

impl<'a> Rules<'a> {
    fn next(&mut self, expected: &'static str) -> Result<Word<'a>, Slip> {
        let found = || "the end of the rules".to_owned();
        self.words.pop().ok_or_else(|| Slip { at: self.end, expected, found: found() })
    }

    fn exactly(&mut self, wanted: &str, expected: &'static str) -> Result<(), Slip> {
        let (at, word) = self.next(expected)?;
        if word == wanted { Ok(()) } else { Err(slip(at, expected, word)) }
    }

    fn name(&mut self, expected: &'static str) -> Result<Word<'a>, Slip> {
        let (at, word) = self.next(expected)?;
        let name = word.chars().next().is_some_and(|c| c.is_alphanumeric() || "_*?".contains(c));
        if name { Ok((at, word)) } else { Err(slip(at, expected, word)) }
    }

    fn peek(&self) -> &'a str {
        self.words.last().map_or("", |(_, word)| word)
    }

    fn rule(&mut self) -> Result<(), Slip> {
        self.name("the label of a rule")?;
        self.exactly(":", ": after the label")?;
        self.exactly("if", "if")?;
        self.exactly("(", "( after if")?;
        self.expression(0)?;
        self.exactly(")", ") after the condition")?;
        self.exactly("then", "then")?;
        let (at, word) = self.name("an action or a resource")?;
        if self.peek() == "=" {
            self.next("=")?;
            self.name("up, down, init or unknown")?;
        } else {
            if !ACTIONS.contains(&word) {
                let expected = "one of stop() stopstart() wait() restart() swap() wakeup()";
                return Err(slip(at, expected, word));
            }
            self.exactly("(", "( after the action")?;
            self.exactly(")", ") after the action")?;
        }
        self.exactly(";", "; at the end of the rule")
    }

    fn expression(&mut self, depth: u32) -> Result<(), Slip> {
        loop {
            while self.peek() == "!" {
                self.next("!")?;
            }
            self.operand(depth)?;
            while matches!(self.peek(), "==" | "!=") {
                self.next("==")?;
                self.operand(depth)?;
            }
            match self.peek() {
                "&&" | "||" => self.next("&&")?,
                _ => return Ok(()),
            };
        }
    }

    fn operand(&mut self, depth: u32) -> Result<(), Slip> {
        if self.peek() != "(" {
            self.name("a resource class.id or a value")?;
            // cluster() and its like.
            if self.peek() == "(" {
                self.next("(")?;
                self.exactly(")", ") after the function")?;
            }
            return Ok(());
        }
        let (at, word) = self.next("(")?;
        if depth >= NESTED_MAX {
            return Err(slip(at, "fewer nested parentheses", word));
        }
        self.expression(depth + 1)?;
        self.exactly(")", ")")
    }
}

fn slip(at: usize, expected: &'static str, found: &str) -> Slip {
    Slip { at, expected, found: quoted(found) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_panics_on_any_rules(text in "([a-z.]{1,3}|[:;()!=&|/*é\n ]|if|then|stop){0,60}") {
            let _ = check(&text);
        }
    }

    #[test]
    fn rules_of_the_old_language_pass() {
        for good in [
            "",
            "/* none */",
            "a: if ( custom.x == down ) then stopstart();",
            "b: if ((local.tcp.* == down && !(remote.state == up)) || ping.? != up) then wait();",
            "c: if (rfs.synced == up) then rfs.uptodate=up; // by hand",
            "d: if ( cluster() == up ) then swap();",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
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
        ] {
            let slip = check(bad).unwrap_err();
            assert!(slip.at == at && slip.expected.starts_with(expected), "{bad}: {slip:?}");
        }
        assert!(check(&"(".repeat(1000)).is_err());
        let deep = format!("a: if ({}x{}) then stop();", "(".repeat(100), ")".repeat(100));
        assert_eq!(check(&deep).unwrap_err().expected, "fewer nested parentheses");
    }
}
