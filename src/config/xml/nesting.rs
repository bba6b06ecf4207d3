//! Which element a closing tag closes, also where the tags do not fit: one mistake of a person is
//! one message, and what follows from it is not said.
use super::Parser;
use crate::config::findings::did_you_mean;

impl Parser<'_> {
    pub(super) fn end(&mut self, name: &str, at: usize) {
        let Some(depth) = self.open.iter().rposition(|element| element.name == name) else {
            return self.unopened(name, at);
        };
        if self.open.len() > depth + 1 {
            self.closed_early.push(name.to_owned());
        }
        while self.open.len() > depth + 1 {
            self.unclosed(&format!("</{name}>"));
        }
        self.close_top();
    }

    /// A closing tag of an element that is not open: the wrong name, or one too many.
    fn unopened(&mut self, name: &str, at: usize) {
        if let Some(index) = self.closed_early.iter().position(|closed| closed == name) {
            // This is its own tag; what stands wrong was said before.
            self.closed_early.swap_remove(index);
            return;
        }
        let found = format!("</{name}>");
        let Some(open) = self.open.last() else {
            let remedy = "remove it, or add the opening tag";
            self.findings.mistake(at, name, "no closing tag here", found, remedy);
            return;
        };
        let (open_at, open) = (open.at, open.name.clone());
        let expected = format!("</{open}> (opened in line {})", self.findings.line(open_at));
        let near = !did_you_mean(name, [open.as_str()]).is_empty();
        if near || !self.text[at..].contains(&format!("</{open}")) {
            let remedy = format!("write </{open}>, or give both tags the same name");
            self.findings.mistake(at, &open, expected, found, remedy);
            // If it is the opening tag that is wrong, this was the one message for it.
            self.findings.told(open_at);
            self.close_top();
        } else {
            let remedy = "remove it, or add the opening tag";
            self.findings.mistake(at, name, expected, found, remedy);
        }
    }

    /// The innermost element was never closed: `found` came instead. It may have ended anywhere,
    /// so that what it holds is given to its parent, where most of it probably belongs.
    fn unclosed(&mut self, found: &str) {
        let mut inside = Vec::new();
        if let Some(element) = self.open.last_mut() {
            inside = std::mem::take(&mut element.children);
            let (at, name) = (element.at, element.name.clone());
            let expected = format!("</{name}>");
            let remedy = format!("close <{name}>, or end its tag with />");
            self.findings.mistake(at, &name, expected, found, remedy);
            self.torn = Some(self.torn.map_or(at, |torn| torn.min(at)));
        }
        self.close_top();
        if let Some(parent) = self.open.last_mut() {
            parent.children.append(&mut inside);
        }
    }

    pub(super) fn close_top(&mut self) {
        let Some(element) = self.open.pop() else { return };
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None if self.done.is_none() => self.done = Some(element),
            None => {}
        }
    }

    /// The file ends within them: one thing is missing, its end.
    pub(super) fn close_all(&mut self) {
        let Some(element) = self.open.last() else { return };
        let (at, name) = (element.at, element.name.clone());
        let tags: Vec<String> = self.open.iter().rev().map(|e| format!("</{}>", e.name)).collect();
        let (tags, found) = (tags.join(""), "the end of the file");
        let remedy = format!("is the file complete? end it with {tags}");
        self.findings.mistake(at, &name, tags, found, remedy);
        self.leave();
    }

    /// Nothing is read any more: what is missing may stand in the rest.
    pub(super) fn leave(&mut self) {
        self.findings.cut();
        while !self.open.is_empty() {
            self.close_top();
        }
    }
}
