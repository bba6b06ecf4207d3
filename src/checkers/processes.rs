//! Which processes of this node match a `<proc>`: one walk over `/proc`.
//!
//! Cheap with thousands of processes: of each only `comm` is read; the state, the pid namespace and
//! the command line only of those whose name matches.
//!
//! A process counts if it is alive (not a zombie) and in the pid namespace of this daemon: the
//! inside of containers is visible in `/proc` too, and is somebody else's application.
use crate::config::userconfig::Proc;
use regex::bytes::{Regex, RegexBuilder};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

/// The kernel keeps this much of a name.
const NAME_MAX: usize = 15;
/// As the configuration checks expressions.
const PATTERN_SIZE_MAX: usize = 1 << 20;

/// What to look for.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    name: Name,
    arguments: Option<Regex>,
}

#[derive(Clone, Debug)]
enum Name {
    Exact(Vec<u8>),
    Like(Regex),
}

impl Pattern {
    /// The error is a sentence.
    pub(super) fn of(proc: &Proc) -> Result<Pattern, String> {
        let build = |text: &String| {
            RegexBuilder::new(text).size_limit(PATTERN_SIZE_MAX).nest_limit(64).build().map_err(
                |error| format!("proc.{} has no usable expression {text}: {error}", proc.name),
            )
        };
        let name = match &proc.name_pattern {
            Some(pattern) => Name::Like(build(pattern)?),
            None => {
                // A unit that is looked for as a process, because systemd does not run.
                let name = match proc.service {
                    true => proc.name.strip_suffix(".service").unwrap_or(&proc.name),
                    false => &proc.name,
                };
                Name::Exact(name.as_bytes()[..name.len().min(NAME_MAX)].to_vec())
            }
        };
        Ok(Pattern { name, arguments: proc.argument_pattern.as_ref().map(build).transpose()? })
    }

    fn names(&self, comm: &[u8]) -> bool {
        match &self.name {
            Name::Exact(name) => name == comm,
            Name::Like(pattern) => pattern.is_match(comm),
        }
    }
}

/// Numbers of all processes that match. Blocks: to be called where that is allowed.
pub(super) fn matching(pattern: &Pattern) -> io::Result<HashSet<u32>> {
    let own = namespace("self")?;
    let mut found = HashSet::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        else {
            continue;
        };
        // A process may end at any moment: what cannot be read is not there any more.
        if matches(pid, pattern, own) {
            found.extend(pid.parse::<u32>().ok());
        }
    }
    Ok(found)
}

fn matches(pid: &str, pattern: &Pattern, own: (u64, u64)) -> bool {
    let mut room = [0; 64];
    let read = |room: &mut [u8]| File::open(format!("/proc/{pid}/comm"))?.read(room);
    let Ok(length) = read(&mut room) else { return false };
    if !pattern.names(room[..length].trim_ascii_end()) {
        return false;
    }
    if !fs::read(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_alive(&stat)) {
        return false;
    }
    // Not allowed to see it: better counted than missed.
    if namespace(pid).is_ok_and(|other| other != own) {
        return false;
    }
    let Some(arguments) = &pattern.arguments else { return true };
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| arguments.is_match(&joined_by_spaces(line)))
}

fn namespace(pid: &str) -> io::Result<(u64, u64)> {
    fs::metadata(format!("/proc/{pid}/ns/pid")).map(|meta| (meta.dev(), meta.ino()))
}

/// Reads `pid (comm) state … num_threads …`; the name may hold spaces and brackets.
///
/// A program whose first thread has ended shows `Z` as well; it lives while it has other threads.
fn is_alive(stat: &[u8]) -> bool {
    let Some(end) = stat.iter().rposition(|byte| *byte == b')') else { return false };
    let mut fields = stat[end + 1..].split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let Some(state) = fields.next() else { return false };
    // Field 20 of the line, the state is field 3.
    let threads = fields.nth(16).and_then(|field| std::str::from_utf8(field).ok()?.parse().ok());
    match state {
        b"X" | b"x" => false,
        b"Z" => threads.is_some_and(|threads: u32| threads > 1),
        _ => true,
    }
}

/// Arguments as a person types them.
fn joined_by_spaces(mut line: Vec<u8>) -> Vec<u8> {
    while line.last() == Some(&0) {
        line.pop();
    }
    line.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    line
}

#[cfg(test)]
mod tests {
    use super::super::tests::proc;
    use super::*;

    fn stat(comm: &str, state: char, threads: u32) -> Vec<u8> {
        format!("77 ({comm}) {state} 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 {threads} 0 1 2 3\n")
            .into_bytes()
    }

    #[test]
    fn the_dead_do_not_count_whatever_their_name() {
        for comm in ["sleep", "a) Z 1 (", "Z", "with space", ") X"] {
            assert!(is_alive(&stat(comm, 'S', 1)), "{comm}");
            assert!(is_alive(&stat(comm, 'D', 1)), "{comm}");
            assert!(!is_alive(&stat(comm, 'Z', 1)), "{comm}");
            assert!(!is_alive(&stat(comm, 'X', 1)), "{comm}");
            // The first thread has ended, the program has not.
            assert!(is_alive(&stat(comm, 'Z', 3)), "{comm}");
        }
        for broken in [&b""[..], b"77", b"77 (x)", b"77 (x) Z 1 2"] {
            assert!(!is_alive(broken), "{broken:?}");
        }
    }

    #[test]
    fn a_name_is_exact_or_an_expression() {
        let exact = Pattern::of(&proc("post")).unwrap();
        assert!(exact.names(b"post") && !exact.names(b"postgres") && !exact.names(b"xpost"));
        let mut wanted = proc("a label that is longer than a name can be");
        wanted.name_pattern = Some("^post(gres|master)$".into());
        let like = Pattern::of(&wanted).unwrap();
        assert!(like.names(b"postmaster") && !like.names(b"post"));
        // POSIX classes, and names that are no UTF-8.
        wanted.name_pattern = Some("^[[:digit:]]+x".into());
        assert!(Pattern::of(&wanted).unwrap().names(b"12x\xff"));
        wanted.name_pattern = Some("(".into());
        assert!(Pattern::of(&wanted).unwrap_err().contains("proc.a label"));
        let mut unit = proc("a-unit-of-systemd.service");
        unit.service = true;
        assert!(Pattern::of(&unit).unwrap().names(b"a-unit-of-syste"));
    }

    #[test]
    fn a_command_line_is_joined_by_spaces() {
        assert_eq!(joined_by_spaces(b"a\0-b\0c d\0".to_vec()), b"a -b c d");
        // A program that has written a title over its arguments.
        assert_eq!(joined_by_spaces(b"nginx: master\0\0\0\0".to_vec()), b"nginx: master");
        assert_eq!(joined_by_spaces(Vec::new()), b"");
    }
}
