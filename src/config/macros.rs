//! `%NAME%`: replaced in every attribute and text that follows its `<macro>`.
//!
//! Macros are put in after the text was read as XML and before anything is checked. So a mistake
//! has its place in the file as the administrator sees it, and no macro can bring markup with it.
//! A name that is no macro is looked up in the environment; what is neither stays as it stands
//! (`date +%Y%m%d`), with a note.
use super::findings::{Findings, did_you_mean, quoted};
use super::xml::Element;
use std::ops::Range;

/// Longest value after replacing, in bytes. Macros may hold macros: this ends what would explode.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// Answers what the environment holds under a name.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What replacing found out.
#[derive(Debug, Default)]
pub(super) struct Expansion {
    /// In the order of the file, values expanded.
    pub(super) macros: Vec<(String, String)>,
    /// Places of the file and what stands there after replacing, ascending; for `safeconf.xml`.
    pub(super) edits: Vec<(Range<usize>, String)>,
}

/// Replaces everywhere below `root`, in the order of the file.
pub(super) fn expand(
    root: &mut Element,
    env: Environment<'_>,
    findings: &mut Findings,
) -> Expansion {
    let mut expander = Expander { env, findings, out: Expansion::default() };
    expander.element(root);
    expander.out
}

struct Expander<'a> {
    env: Environment<'a>,
    findings: &'a mut Findings,
    out: Expansion,
}

impl Expander<'_> {
    fn element(&mut self, element: &mut Element) {
        let name = element.name.clone();
        for attribute in &mut element.attributes {
            if name == "macro" && attribute.name == "name" {
                continue;
            }
            let at = attribute.raw.start;
            if let Some(value) = self.replaced(&attribute.value, at, &name, Some(&attribute.name)) {
                let escaped = quick_xml::escape::escape(&value).into_owned();
                self.out.edits.push((attribute.raw.clone(), escaped));
                attribute.value = value;
            }
        }
        if name == "macro" {
            self.define(element);
        }
        for text in &mut element.texts {
            if let Some(value) = self.replaced(&text.value, text.raw.start, &name, None) {
                let escaped = match text.cdata {
                    true => value.replace("]]>", "]]]]><![CDATA[>"),
                    false => quick_xml::escape::escape(&value).into_owned(),
                };
                self.out.edits.push((text.raw.clone(), escaped));
                text.value = value;
            }
        }
        for child in &mut element.children {
            self.element(child);
        }
    }

    fn define(&mut self, element: &Element) {
        let (Some(name), Some(value)) = (element.attribute("name"), element.attribute("value"))
        else {
            return;
        };
        if !is_name(&name.value) {
            let expected = "a macro name: letters, digits, _, . and -";
            let found = quoted(&name.value);
            self.findings.mistake(name.raw.start, "macro", expected, found, "rename it");
        } else if self.out.macros.iter().any(|(known, _)| *known == name.value) {
            let found = format!("{} again", quoted(&name.value));
            let remedy = "drop one of the two definitions";
            self.findings.mistake(name.raw.start, "macro", "each macro once", found, remedy);
        } else {
            self.out.macros.push((name.value.clone(), value.value.clone()));
        }
    }

    /// `text` with its macros put in; `None` if there were none.
    fn replaced(
        &mut self,
        text: &str,
        at: usize,
        element: &str,
        attribute: Option<&str>,
    ) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        let mut changed = false;
        while let Some(start) = rest.find('%') {
            out.push_str(&rest[..start]);
            rest = &rest[start..];
            let name = rest[1..].find('%').map(|end| &rest[1..=end]);
            let Some(name) = name.filter(|name| is_name(name)) else {
                out.push('%');
                rest = &rest[1..];
                continue;
            };
            match self.value_of(name) {
                Some(value) => {
                    out.push_str(&value);
                    rest = &rest[name.len() + 2..];
                    changed = true;
                }
                None => {
                    self.unknown(name, at, element, attribute);
                    out.push_str(&rest[..=name.len()]);
                    rest = &rest[name.len() + 1..];
                }
            }
            if out.len() > VALUE_BYTES_MAX {
                let expected = format!("at most {VALUE_BYTES_MAX} bytes after replacing macros");
                self.findings.mistake(at, element, expected, "more", "shorten the macros");
                return Some(String::new());
            }
        }
        out.push_str(rest);
        changed.then_some(out)
    }

    fn value_of(&self, name: &str) -> Option<String> {
        let known = self.out.macros.iter().find(|(known, _)| known == name);
        known.map(|(_, value)| value.clone()).or_else(|| (self.env)(name))
    }

    fn unknown(&mut self, name: &str, at: usize, element: &str, attribute: Option<&str>) {
        let names = self.out.macros.iter().map(|(known, _)| known.as_str());
        let near = did_you_mean(name, names);
        if name.len() > 2 && !near.is_empty() {
            let expected = "a macro defined above, or an environment variable";
            self.findings.mistake(at, element, expected, format!("%{name}%"), near);
        } else {
            let text = format!("%{name}% is neither a macro nor in the environment: left as it is");
            self.findings.note(at, element, attribute, text);
        }
    }
}

fn is_name(text: &str) -> bool {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// The file with all macros replaced, as scripts find it in `conf/safeconf.xml`.
pub(super) fn rewritten(text: &str, edits: &[(Range<usize>, String)]) -> String {
    let mut edits: Vec<_> = edits.iter().collect();
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (range, value) in edits {
        if let Some(between) = text.get(done..range.start) {
            out.push_str(between);
            out.push_str(value);
            done = range.end;
        }
    }
    out.push_str(text.get(done..).unwrap_or(""));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::xml;
    use std::path::Path;

    fn run(text: &str) -> (String, Result<usize, String>) {
        let mut findings = Findings::new(Path::new("f"), text);
        let mut tree = xml::parse(text, "safe", &mut findings).expect("tree");
        let env = |name: &str| (name == "HOME_DIR").then(|| "/root".to_owned());
        let out = expand(&mut tree, &env, &mut findings);
        let said = findings.finish().map(|notes| notes.len()).map_err(|m| m.to_string());
        (rewritten(text, &out.edits), said)
    }

    #[test]
    fn macros_hold_macros_and_win_over_the_environment() {
        let text = "<safe><macro name=\"A\" value=\"&lt;x\"/><macro name=\"B\" value=\"%A%/y\"/>\
                    <v a=\"%B%%B%\" b=\"%HOME_DIR%\"><![CDATA[%A%]]></v></safe>";
        let (rewritten, said) = run(text);
        assert_eq!(said, Ok(0));
        assert!(rewritten.contains("value=\"&lt;x/y\""), "{rewritten}");
        assert!(rewritten.contains("a=\"&lt;x/y&lt;x/y\" b=\"/root\"><![CDATA[<x]]>"));
    }

    #[test]
    fn percent_signs_that_are_no_macro_stay() {
        let (rewritten, said) = run("<safe><v a=\"100%\" b=\"date +%Y%m%d\" c=\"%% %\"/></safe>");
        assert!(rewritten.contains("a=\"100%\" b=\"date +%Y%m%d\" c=\"%% %\""));
        assert_eq!(said, Ok(2), "one note for %Y%, one for %m%");
    }

    #[test]
    fn a_misspelt_macro_and_a_growing_one_are_mistakes() {
        let near = "<safe><macro name=\"STORAGE\" value=\"/a\"/><v a=\"%STORGE%\"/></safe>";
        assert!(run(near).1.unwrap_err().contains("did you mean \"STORAGE\"?"));
        let mut bomb = "<safe><macro name=\"m0\" value=\"xxxxxxxxxxxxxxxx\"/>".to_owned();
        for level in 1..40 {
            let below = format!("%m{}%", level - 1).repeat(8);
            bomb += &format!("<macro name=\"m{level}\" value=\"{below}\"/>");
        }
        bomb += "</safe>";
        assert!(run(&bomb).1.unwrap_err().contains("at most 16384 bytes"));
    }
}
