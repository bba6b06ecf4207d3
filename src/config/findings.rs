//! Collects what is said about one file while it is read, so that everything is said at once.
use super::mistake::{Mistake, Mistakes, Note, Position};
use std::path::{Path, PathBuf};

/// More than this many mistakes help nobody.
const MISTAKES_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct Findings {
    file: PathBuf,
    /// Byte offsets at which lines begin, ascending.
    line_starts: Vec<usize>,
    text: String,
    mistakes: Vec<(usize, Mistake)>,
    notes: Vec<(usize, Note)>,
    /// Places whose mistake was said somewhere else.
    told: Vec<usize>,
    guesswork: Option<usize>,
    cut: bool,
}

impl Findings {
    pub(super) fn new(file: &Path, text: &str) -> Findings {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        Findings {
            file: file.to_path_buf(),
            line_starts,
            text: text.to_owned(),
            mistakes: Vec::new(),
            notes: Vec::new(),
            told: Vec::new(),
            guesswork: None,
            cut: false,
        }
    }

    /// What stands at `at` is part of a mistake that was said at another place.
    pub(super) fn told(&mut self, at: usize) {
        self.told.push(at);
    }

    /// The file was not read to its end: no element is missed.
    pub(super) fn cut(&mut self) {
        self.cut = true;
    }

    /// From `at` on the elements may not be nested as they were meant: what is said of them after
    /// this follows from a mistake that was said already, and is dropped.
    pub(super) fn guesswork_from(&mut self, at: usize) {
        self.guesswork = Some(at);
    }

    /// Line and column of a byte; like [`Position::of`], without counting from the start.
    fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts[line - 1];
        let in_line = Position::of(&self.text[start..], offset.saturating_sub(start));
        Position { line: line as u32, column: in_line.column }
    }

    /// `at`: byte offset in the file as it stands on disk. What is said second about one place
    /// follows from what was said first and is dropped, unless something else is missing there.
    pub(super) fn mistake(
        &mut self,
        at: usize,
        element: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (expected, found) = (expected.into(), found.into());
        let said = self.mistakes.iter().any(|(other, _)| *other == at) || self.told.contains(&at);
        let follows = self.guesswork.is_some_and(|from| at >= from);
        let unread = self.cut && found == "none" && expected.starts_with('<');
        if (said && found != "none") || follows || unread || self.mistakes.len() >= MISTAKES_MAX {
            return;
        }
        let mistake = Mistake {
            file: self.file.clone(),
            at: self.position(at),
            element: element.to_owned(),
            expected,
            found,
            remedy: remedy.into(),
        };
        self.mistakes.push((at, mistake));
    }

    pub(super) fn note(
        &mut self,
        at: usize,
        element: &str,
        attribute: Option<&str>,
        text: impl Into<String>,
    ) {
        let note = Note {
            file: self.file.clone(),
            line: self.position(at).line,
            element: element.to_owned(),
            attribute: attribute.map(str::to_owned),
            text: text.into(),
        };
        self.notes.push((at, note));
    }

    pub(super) fn line(&self, at: usize) -> u32 {
        self.position(at).line
    }

    /// `file:line` of an offset, for sentences that point back.
    pub(super) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.file.display(), self.line(at))
    }

    pub(super) fn has_mistakes(&self) -> bool {
        !self.mistakes.is_empty()
    }

    /// Notes in the order of the text, or all mistakes in the order of the text.
    pub(super) fn finish(mut self) -> Result<Vec<Note>, Mistakes> {
        if self.has_mistakes() {
            self.mistakes.sort_by_key(|(at, _)| *at);
            let mut mistakes: Vec<Mistake> = self.mistakes.into_iter().map(|(_, m)| m).collect();
            mistakes.dedup();
            return Err(Mistakes(mistakes));
        }
        self.notes.sort_by_key(|(at, _)| *at);
        Ok(self.notes.into_iter().map(|(_, note)| note).collect())
    }
}

/// Text from a file as a message shows it: quoted, at most 80 characters.
pub(super) fn quoted(text: &str) -> String {
    if text.chars().count() <= 80 {
        return format!("{text:?}");
    }
    let short: String = text.chars().take(77).collect();
    format!("{:?}", short + "…")
}

/// The candidate that was probably meant, as `did you mean …?`; empty if none is near.
pub(super) fn did_you_mean<'a>(
    found: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    let reach = if found.chars().count() <= 3 { 1 } else { 2 };
    let near = candidates
        .into_iter()
        .map(|candidate| (distance(found, candidate), candidate))
        .filter(|(distance, _)| *distance <= reach)
        .min();
    near.map_or(String::new(), |(_, candidate)| format!("did you mean {candidate:?}?"))
}

/// Letters to change, add, drop or exchange with their neighbour; upper and lower case are equal.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().take(64).collect();
    let right: Vec<char> = right.to_lowercase().chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut next = vec![i];
        for j in 1..=right.len() {
            let change = row[j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = change.min(row[j] + 1).min(next[j - 1] + 1);
            let exchanged =
                i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            if exchanged {
                best = best.min(before[j - 2] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_candidate_is_named_and_far_ones_are_not() {
        let names = ["heartbeat", "heart", "vip"];
        assert_eq!(did_you_mean("hearbeat", names), "did you mean \"heartbeat\"?");
        assert_eq!(did_you_mean("Heart", names), "did you mean \"heart\"?");
        assert_eq!(did_you_mean("vpi", names), "did you mean \"vip\"?");
        assert_eq!(did_you_mean("replication", names), "");
    }

    #[test]
    fn positions_agree_with_the_plain_count() {
        let text = "one\n\ntwo ü x\nend";
        let findings = Findings::new(Path::new("f"), text);
        for offset in 0..=text.len() {
            assert_eq!(findings.position(offset), Position::of(text, offset), "{offset}");
        }
    }
}
