//! Rules of the old language as words and signs, each with its place. Comments are C's.
use crate::rules::SyntaxError;

/// A piece of the rules and where it stands.
pub(super) type Word<'a> = (usize, &'a str);

/// A letter of a word: of a label, a resource or a value.
pub(super) fn letter(c: char) -> bool {
    c.is_alphanumeric() || "_.*?-".contains(c)
}

pub(super) fn words(text: &str) -> Result<Vec<Word<'_>>, SyntaxError> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let slip = SyntaxError::said(at, "*/", "a comment without end");
            at += comment.find("*/").ok_or(slip)? + 4;
            continue;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if letter(first) {
            rest.find(|c| !letter(c)).unwrap_or(rest.len())
        } else if ["&&", "||", "==", "!="].iter().any(|two| rest.starts_with(two)) {
            2
        } else if "!():;=".contains(first) {
            1
        } else {
            let expected = "a word or one of ! && || == != ( ) : ; =";
            return Err(SyntaxError::text(at, expected, &first.to_string()));
        };
        words.push((at, &rest[..length]));
        at += length;
    }
    Ok(words)
}
