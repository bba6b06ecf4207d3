//! Values that do not leave the house: those of macros, variables and attributes whose names speak
//! of secrets, wherever else they turn up (a log, a script, a file that was made of them).
//!
//! A file with a mistake in it is what a snapshot is made for, so XML is taken tag by tag and never
//! refused.
use aho_corasick::{AhoCorasick, MatchKind};
use regex::bytes::{Captures, Regex};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// What stands in their place.
const MASK: &str = "***";
/// Shorter ones are masked in their attribute alone: they are a part of everything.
const BYTES_MIN: usize = 4;

static TAG: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"<[A-Za-z](?:"[^"]*"|'[^']*'|[^'">])*>"#).ok());
static ATTRIBUTE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"([\w:.-]+)(\s*=\s*)(?:"([^"]*)"|'([^']*)')"#).ok());

#[derive(Default)]
pub struct Secrets(BTreeSet<String>);

impl Secrets {
    /// A macro or variable with its value.
    pub fn learn(&mut self, name: &str, value: &str) {
        if speaks_of_secrets(name) && value.len() >= BYTES_MIN {
            self.0.insert(value.to_owned());
            // As logs and states have it.
            let quoted = serde_json::Value::from(value).to_string();
            self.0.insert(quoted[1..quoted.len() - 1].to_owned());
        }
    }

    /// As they stand in a file, and as they are meant.
    pub fn learn_xml(&mut self, text: &[u8]) {
        each_secret(text, |value| {
            let raw = String::from_utf8_lossy(value).into_owned();
            let meant = quick_xml::escape::unescape(&raw).map(|meant| meant.into_owned());
            self.learn("secret", &meant.unwrap_or_default());
            self.learn("secret", &raw);
        });
    }

    /// # Errors
    /// They cannot all be looked for; one sentence.
    pub fn mask(&self) -> Result<Mask, String> {
        // One may be the beginning of another.
        let mut all = AhoCorasick::builder();
        let all = all.match_kind(MatchKind::LeftmostLongest).build(&self.0);
        all.map(Mask).map_err(|error| format!("cannot look for secret values: {error}"))
    }
}

/// Takes secrets out of files.
pub struct Mask(AhoCorasick);

impl Mask {
    /// `xml`: attributes are masked whatever their length.
    pub fn hide(&self, bytes: &[u8], xml: bool) -> Vec<u8> {
        let masked = if xml { each_secret(bytes, |_| {}) } else { bytes.to_vec() };
        self.0.replace_all_bytes(&masked, &vec![MASK; self.0.patterns_len()])
    }
}

/// Shows each secret value of the text, and answers the text without them.
fn each_secret(text: &[u8], mut look: impl FnMut(&[u8])) -> Vec<u8> {
    let (Some(tag), Some(attribute)) = (&*TAG, &*ATTRIBUTE) else { return Vec::new() };
    let in_tag = |tag: &Captures<'_>| {
        let named = attribute.captures_iter(&tag[0]).any(|found| {
            found[1] == *b"name" && speaks_of_secrets(&String::from_utf8_lossy(value(&found)))
        });
        let replaced = attribute.replace_all(&tag[0], |found: &Captures<'_>| {
            let name = String::from_utf8_lossy(&found[1]);
            if !(named && name == "value" || is_secret_attribute(&name)) {
                return found[0].to_vec();
            }
            look(value(found));
            [&found[1], &found[2], b"\"", MASK.as_bytes(), b"\""].concat()
        });
        replaced.into_owned()
    };
    tag.replace_all(text, in_tag).into_owned()
}

fn value<'a>(found: &'a Captures<'_>) -> &'a [u8] {
    found.get(3).or(found.get(4)).map_or(b"", |value| value.as_bytes())
}

fn speaks_of_secrets(name: &str) -> bool {
    let name = name.to_lowercase();
    ["pass", "secret", "token"].iter().any(|word| name.contains(word))
}

/// `passive` is none, and the name of a file is none.
fn is_secret_attribute(name: &str) -> bool {
    let name = name.to_lowercase();
    let words = ["passw", "passphrase", "secret", "token"];
    words.iter().any(|word| name.contains(word)) && !name.ends_with("_file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_any_order_and_everywhere() {
        let xml = br#"<safe><macro value='a&amp;b > "c"' name="DB_Password"/>
            <var name="TOKEN" value="x1"/><ping passive="on" secret='k3y'/>
            <mail password_file="/etc/p"/><macro name="PORT" value="5432"/>"#;
        let mut secrets = Secrets::default();
        secrets.learn_xml(xml);
        let shown = String::from_utf8(secrets.mask().unwrap().hide(xml, true)).unwrap();
        assert_eq!(
            shown,
            r#"<safe><macro value="***" name="DB_Password"/>
            <var name="TOKEN" value="***"/><ping passive="on" secret="***"/>
            <mail password_file="/etc/p"/><macro name="PORT" value="5432"/>"#
        );
        secrets.learn("PGPASSWORD", "hunter2");
        secrets.learn("PGPASSWORD", "hunter2-long");
        secrets.learn("PGHOST", "db.example.org");
        let log = b"\xff login hunter2-long hunter2 a&b > \"c\" x1 db.example.org";
        let mask = secrets.mask().unwrap();
        assert_eq!(mask.hide(log, false), b"\xff login *** *** *** x1 db.example.org");
        assert_eq!(Secrets::default().mask().unwrap().hide(b"<a", true), b"<a");
    }
}
