//! What was wrong in a file, and what was understood but does nothing yet.
//!
//! A [`Mistake`] stops: the file is not used and nothing is changed. A [`Note`] is said (by
//! `module check` and in the module's log at start) and stops nothing.
use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a file as editors count: first line 1, first column 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

impl Position {
    pub const START: Position = Position { line: 1, column: 1 };

    /// Position of the byte `offset` in `text`; the end of the text if it lies beyond.
    pub fn of(text: &str, offset: usize) -> Position {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() as u32 + 1;
        Position { line, column: before[line_start..].chars().count() as u32 + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that cannot be used as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub file: PathBuf,
    pub at: Position,
    /// Element that holds the mistake, without brackets; empty for the file as a whole.
    pub element: String,
    pub expected: String,
    pub found: String,
    /// What to do, one short sentence.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.at)?;
        if !self.element.is_empty() {
            write!(f, "<{}>: ", self.element)?;
        }
        write!(f, "expected {}, found {}", self.expected, self.found)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, ": {}", self.remedy) }
    }
}

/// All mistakes of a file (or of a module), in the order of the text. Callers exit with 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// The one mistake of a file that could not even be read.
    pub fn whole_file(file: &Path, expected: &str, found: String, remedy: &str) -> Mistakes {
        Mistakes(vec![Mistake {
            file: file.to_path_buf(),
            at: Position::START,
            element: String::new(),
            expected: expected.to_owned(),
            found,
            remedy: remedy.to_owned(),
        }])
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

/// Something that was understood and stops nothing: not acted on yet, obsolete, to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub file: PathBuf,
    pub line: u32,
    pub element: String,
    /// `None`: the element as a whole.
    pub attribute: Option<String>,
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: <{}", self.file.display(), self.line, self.element)?;
        if let Some(attribute) = &self.attribute {
            write!(f, " {attribute}=")?;
        }
        write!(f, ">: {}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "ab\nçd\n";
        assert_eq!(Position::of(text, 0), Position::START);
        assert_eq!(Position::of(text, 5), Position { line: 2, column: 2 });
        assert_eq!(Position::of(text, 99), Position { line: 3, column: 1 });
    }
}
