//! What tests of several parts need.
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes a program that can be run at once. A shell writes it: what this process had open for
/// writing, a child that another test starts in that moment would have open too, and the kernel
/// runs no program that somebody may still write to (ETXTBSY).
pub(crate) fn program(path: &Path, bytes: &[u8]) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    shell.stdin.take().unwrap().write_all(bytes).unwrap();
    assert!(shell.wait().unwrap().success(), "{}", path.display());
}
