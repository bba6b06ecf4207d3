//! A file as text, before anybody reads it as XML.
use crate::config::mistake::{Mistakes, Position};
use std::io::Read;
use std::path::Path;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file as text. Too large, unreadable and not UTF-8 are mistakes of the whole file.
pub(in crate::config) fn read_text(file: &Path) -> Result<String, Mistakes> {
    let refuse = |expected: &str, found: String, remedy: &str| {
        Err(Mistakes::whole_file(file, expected, found, remedy))
    };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file);
    let read = opened.and_then(|open| open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return refuse("a readable file", error.to_string(), "create it, or correct its rights");
    }
    decode(file, bytes)
}

/// Bytes of a file as text: UTF-8, or ISO-8859-1 where the declaration says so.
pub(in crate::config) fn decode(file: &Path, bytes: Vec<u8>) -> Result<String, Mistakes> {
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let found = format!("more than {FILE_BYTES_MAX} bytes");
        return Err(Mistakes::whole_file(file, "at most 1 MiB", found, "is it the right file?"));
    }
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).to_lowercase();
    let latin = head.trim_start().starts_with("<?xml")
        && head.split("?>").next().is_some_and(|decl| decl.contains("iso-8859-1"));
    if latin {
        return Ok(bytes.into_iter().map(char::from).collect());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let found = format!("the byte {:#04x}", bytes.get(valid).copied().unwrap_or(0));
        let text = String::from_utf8_lossy(&bytes[..valid]);
        let mut mistakes = Mistakes::whole_file(file, "UTF-8 text", found, "save it as UTF-8");
        mistakes.0[0].at = Position::of(&text, valid);
        mistakes
    })
}
