//! XML text into a small tree in which every name and value knows where it stood.
//!
//! quick-xml finds the pieces, this file keeps their places. The files come from people and
//! strangers: there is no entity but the five of XML, no internal subset, no external file, and
//! a limit for everything. What is broken is reported and, where the rest still makes sense,
//! skipped, so that one run shows all mistakes.
use super::findings::{Findings, quoted};
use quick_xml::Reader;
use quick_xml::escape::{EscapeError, unescape};
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesStart, Event};
use std::ops::Range;

mod nesting;
mod source;

pub(super) use source::{decode, read_text};

const DEPTH_MAX: usize = 32;
const ELEMENTS_MAX: usize = 20_000;

/// An element; all places are byte offsets in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    /// Of its `<`.
    pub(super) at: usize,
    pub(super) attributes: Vec<Attribute>,
    pub(super) children: Vec<Element>,
    pub(super) texts: Vec<Text>,
}

#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub(super) name: String,
    /// Of the first letter of the name.
    pub(super) at: usize,
    /// Between the quotes.
    pub(super) raw: Range<usize>,
    pub(super) value: String,
}

#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) raw: Range<usize>,
    pub(super) value: String,
    pub(super) cdata: bool,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// The tree of `text`, or `None` if there is none; what is wrong goes to `findings`.
pub(super) fn parse(text: &str, root: &str, findings: &mut Findings) -> Option<Element> {
    let mut parser = Parser {
        text,
        root,
        findings,
        open: Vec::new(),
        done: None,
        elements: 0,
        torn: None,
        closed_early: Vec::new(),
    };
    if parser.run() {
        parser.close_all();
    } else {
        // What comes after a syntax error is guesswork: its open elements are not mistakes.
        parser.leave();
    }
    let Parser { done, findings, torn, .. } = parser;
    if let Some(at) = torn {
        findings.guesswork_from(at);
    }
    match done {
        None => {
            if !findings.has_mistakes() {
                let remedy = format!("the outermost element is <{root}>");
                findings.mistake(0, "", format!("<{root}>"), "no element", remedy);
            }
            None
        }
        Some(element) if element.name != root => {
            let found = format!("<{}>", element.name);
            let remedy = format!("the outermost element is <{root}>");
            findings.mistake(element.at, &element.name, format!("<{root}>"), found, remedy);
            None
        }
        done => done,
    }
}

struct Parser<'a> {
    text: &'a str,
    root: &'a str,
    findings: &'a mut Findings,
    open: Vec<Element>,
    done: Option<Element>,
    elements: usize,
    /// Where the first element begins that was never closed: which elements belong into which
    /// is not known from there on.
    torn: Option<usize>,
    /// Elements that were closed by a tag which may have been meant for one inside them.
    closed_early: Vec<String>,
}

impl<'a> Parser<'a> {
    /// `false`: reading ended before the end of the text.
    fn run(&mut self) -> bool {
        let mut reader = Reader::from_str(self.text);
        let config = reader.config_mut();
        config.check_end_names = false;
        config.allow_unmatched_ends = true;
        config.allow_dangling_amp = true;
        loop {
            match reader.read_event() {
                Ok(Event::Eof) => return true,
                Ok(event) => {
                    if !self.event(event, reader.buffer_position() as usize) {
                        return false;
                    }
                }
                Err(error) => {
                    self.broken(reader.error_position() as usize, &error);
                    return false;
                }
            }
        }
    }

    /// Nothing after this error can be read.
    fn broken(&mut self, at: usize, error: &quick_xml::Error) {
        use quick_xml::errors::SyntaxError as Syntax;
        let (expected, remedy) = match error {
            quick_xml::Error::Syntax(syntax) => match syntax {
                Syntax::UnclosedComment => ("--> after this <!--", "end the comment"),
                Syntax::UnclosedCData => ("]]> after this <![CDATA[", "end the section"),
                Syntax::UnclosedSingleQuotedAttributeValue
                | Syntax::UnclosedDoubleQuotedAttributeValue => {
                    ("a closing quote in this tag", "close the quote")
                }
                Syntax::UnclosedTag => ("> at the end of this tag", "end the tag"),
                _ => ("XML", "write &lt; for a literal <"),
            },
            _ => ("XML", "write &lt; for a literal <"),
        };
        let element = self.open_name();
        let found = "the end of the file";
        self.findings.mistake(at, &element, expected, found, remedy);
    }

    /// `false`: enough is enough.
    fn event(&mut self, event: Event<'a>, end: usize) -> bool {
        match event {
            Event::Start(start) => return self.start(&start),
            Event::Empty(start) => {
                let go_on = self.start(&start);
                if go_on {
                    self.close_top();
                }
                return go_on;
            }
            Event::End(close) => {
                let name = close.name().0;
                let at = self.offset(name).map_or(end, |at| at.saturating_sub(2));
                self.end(name, at);
            }
            Event::Text(content) => {
                let content = content.into_inner();
                let at = self.offset(&content).unwrap_or(end.saturating_sub(content.len()));
                self.text(&content, at, false);
            }
            Event::CData(content) => {
                let content = content.into_inner();
                let at = self.offset(&content).unwrap_or(end.saturating_sub(content.len() + 3));
                self.text(&content, at, true);
            }
            Event::GeneralRef(name) => {
                let at = end.saturating_sub(name.len() + 2);
                self.reference(&name, at);
            }
            Event::DocType(content) => {
                let content = content.into_inner();
                let at = self.offset(&content).unwrap_or(end);
                self.doctype(&content, at);
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::Eof => {}
        }
        true
    }

    /// Where a piece that quick-xml borrowed from the text begins.
    fn offset(&self, piece: &str) -> Option<usize> {
        let at = (piece.as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?;
        (at + piece.len() <= self.text.len()).then_some(at)
    }

    fn open_name(&self) -> String {
        self.open.last().map(|element| element.name.clone()).unwrap_or_default()
    }

    fn start(&mut self, start: &BytesStart<'a>) -> bool {
        let name = start.name().0.to_owned();
        let inner = self.offset(start.name().0).unwrap_or(1);
        let at = inner.saturating_sub(1);
        self.elements += 1;
        if self.elements > ELEMENTS_MAX || self.open.len() >= DEPTH_MAX {
            let expected = format!("at most {ELEMENTS_MAX} elements, {DEPTH_MAX} deep");
            self.findings.mistake(at, &name, expected, "more", "is it the right file?");
            return false;
        }
        let attributes = self.attributes(start, &name, inner);
        let element = Element { name, at, attributes, ..Element::default() };
        if self.open.is_empty() && self.done.is_some() {
            let expected = format!("nothing after </{}>", self.root);
            let found = format!("<{}>", element.name);
            let remedy = format!("put it inside <{}>", self.root);
            self.findings.mistake(at, &element.name, expected, found, remedy);
        }
        self.open.push(element);
        true
    }

    fn attributes(
        &mut self,
        start: &BytesStart<'a>,
        element: &str,
        inner: usize,
    ) -> Vec<Attribute> {
        let mut attributes: Vec<Attribute> = Vec::new();
        let list = start.attributes();
        for next in list {
            let attribute = match next {
                Ok(attribute) => attribute,
                Err(error) => {
                    self.broken_attribute(element, inner, &error);
                    if attributes.len() > 200 {
                        break;
                    }
                    continue;
                }
            };
            let raw: &str = &attribute.value;
            let at = self.offset(attribute.key.0).unwrap_or(inner);
            let raw_at = self.offset(raw).unwrap_or(at);
            let name = attribute.key.0.to_owned();
            if let Some(bad) = raw.find('<') {
                let found = format!("< in the value of {name}=");
                let remedy = "is a closing quote missing? write &lt; for a literal <";
                self.findings.mistake(raw_at + bad, element, "no < in a value", found, remedy);
                continue;
            }
            let value = self.unescaped(raw, raw_at, element);
            attributes.push(Attribute { name, at, raw: raw_at..raw_at + raw.len(), value });
        }
        attributes
    }

    fn broken_attribute(&mut self, element: &str, inner: usize, error: &AttrError) {
        let (at, expected, found, remedy) = match error {
            AttrError::ExpectedEq(at) => (*at, "name=\"value\"", "no =", "add =\"…\""),
            AttrError::ExpectedValue(at) => (*at, "a value after =", "none", "add \"…\""),
            AttrError::UnquotedValue(at) => (*at, "a quoted value", "no quote", "put it in \"…\""),
            AttrError::ExpectedQuote(at, _) => {
                (*at, "a closing quote", "the end of the tag", "close the quote")
            }
            AttrError::Duplicated(at, _) => {
                (*at, "each attribute once", "the same attribute again", "drop one")
            }
        };
        self.findings.mistake(inner + at, element, expected, found, remedy);
    }

    /// Character references and the five entities of XML; white space as XML normalises it.
    fn unescaped(&mut self, raw: &str, at: usize, element: &str) -> String {
        let flat = raw.replace("\r\n", " ").replace(['\n', '\t', '\r'], " ");
        match unescape(&flat) {
            Ok(value) => value.into_owned(),
            Err(error) => {
                let (place, found) = match &error {
                    EscapeError::UnrecognizedEntity(range, name) => {
                        (range.start.saturating_sub(1), quoted(&format!("&{name};")))
                    }
                    EscapeError::UnterminatedEntity(range) => {
                        (range.start, "a lonely &".to_owned())
                    }
                    _ => (flat.find("&#").unwrap_or(0), "a broken character number".to_owned()),
                };
                self.bad_entity(at + place.min(raw.len()), element, &found);
                String::new()
            }
        }
    }

    fn bad_entity(&mut self, at: usize, element: &str, found: &str) {
        let expected = "only &lt; &gt; &amp; &quot; &apos; and character numbers";
        let remedy = "entities are not expanded: write &amp; for a literal &, or use <macro>";
        self.findings.mistake(at, element, expected, found, remedy);
    }

    fn reference(&mut self, name: &str, at: usize) {
        let raw = format!("&{name};");
        match unescape(&raw) {
            Ok(value) => self.text_value(value.into_owned(), at..at + raw.len(), false),
            Err(_) => {
                let element = self.open_name();
                self.bad_entity(at, &element, &quoted(&raw));
            }
        }
    }

    fn text(&mut self, raw: &str, at: usize, cdata: bool) {
        if !cdata && let Some(bad) = raw.find('&') {
            let element = self.open_name();
            self.bad_entity(at + bad, &element, "a lonely &");
            return;
        }
        self.text_value(raw.replace("\r\n", "\n"), at..at + raw.len(), cdata);
    }

    fn text_value(&mut self, value: String, raw: Range<usize>, cdata: bool) {
        let blank = value.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty();
        match self.open.last_mut() {
            Some(element) => {
                if cdata || !blank {
                    element.texts.push(Text { raw, value, cdata });
                }
            }
            None if blank => {}
            None => {
                let expected = format!("only <{}> at this level", self.root);
                let lead = value.len() - value.trim_start().len();
                let found = format!("the text {}", quoted(value.trim()));
                self.findings.mistake(raw.start + lead, "", expected, found, "remove it");
            }
        }
    }

    /// `content` is what follows `<!DOCTYPE`.
    fn doctype(&mut self, content: &str, at: usize) {
        if let Some(subset) = content.find('[') {
            let remedy = "entities and other declarations are refused: use <macro>";
            let found = "an internal subset [ … ]";
            self.findings.mistake(at + subset, "!DOCTYPE", "only a name", found, remedy);
            return;
        }
        let mut words = content.split_whitespace();
        let name = words.next().unwrap_or("");
        if name != self.root {
            let lead = content.len() - content.trim_start().len();
            let remedy = format!("write <!DOCTYPE {}>, or nothing", self.root);
            self.findings.mistake(at + lead, "!DOCTYPE", self.root, quoted(name), remedy);
        } else if words.next().is_some() {
            let text = "the external definition is not read";
            self.findings.note(at, "!DOCTYPE", None, text);
        }
    }
}

#[cfg(test)]
mod tests;
