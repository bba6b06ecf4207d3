//! Two copies of a directory compared by programs that are not ours.
use std::path::Path;
use std::process::Command;

/// Names, kinds, modes, owners, sizes, links, times, contents, extended attributes and lists.
/// Sizes of directories are left out: they tell the history of a directory, not its contents.
const LOOK: &str = r#"
cd -- "$1"
export LC_ALL=C
find . ! -type d -printf '%P|%y|%m|%U:%G|%s|%n|%l|%T@\n' | sort
find . -type d -printf '%P|d|%m|%U:%G|%n\n' | sort
find . -type f -print0 | sort -z | xargs -0r sha256sum
find . -print0 | sort -z | xargs -0r getfattr -h -d -m - -e hex 2>/dev/null
"#;

/// Everything that can be seen of a tree, as text.
pub fn look(dir: &Path) -> String {
    let done = Command::new("sh").args(["-euc", LOOK, "look"]).arg(dir).output().unwrap();
    assert!(done.status.success(), "{}: {}", dir.display(), String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The first lines in which two looks differ; `None` if they are equal.
pub fn difference(left: &str, right: &str) -> Option<String> {
    if left == right {
        return None;
    }
    let (left_lines, right_lines): (Vec<&str>, Vec<&str>) =
        (left.lines().collect(), right.lines().collect());
    let only = |these: &[&str], those: &[&str], sign: &str| -> Vec<String> {
        let those: std::collections::HashSet<&str> = those.iter().copied().collect();
        let new = these.iter().filter(|line| !those.contains(**line));
        new.take(10).map(|line| format!("{sign} {line}")).collect()
    };
    let mut lines = only(&left_lines, &right_lines, "left only: ");
    lines.extend(only(&right_lines, &left_lines, "right only:"));
    Some(lines.join("\n"))
}

#[test]
fn a_difference_of_each_kind_is_seen() {
    let left = tempfile::tempdir().unwrap();
    let right = tempfile::tempdir().unwrap();
    let both = |script: &str| {
        for dir in [&left, &right] {
            let done = Command::new("sh").args(["-ec", script]).current_dir(dir.path()).status();
            assert!(done.unwrap().success(), "{script}");
        }
    };
    both("mkdir d; echo x >d/f; ln -s f d/l; touch -h -d @3 d/l; ln d/f d/h; touch -d @1 d/f");
    assert_eq!(difference(&look(left.path()), &look(right.path())), None);
    let changes = [
        "echo y >d/f; touch -d @1 d/f",
        "chmod 600 d/f",
        "touch -d @2 d/f",
        "rm d/h",
        "ln -sfn g d/l",
        "touch d/new",
        "chmod 700 d",
        "setfattr -n user.a -v 1 d/f",
    ];
    for change in changes {
        let one = Command::new("sh").args(["-ec", change]).current_dir(left.path()).status();
        assert!(one.unwrap().success(), "{change}");
        let seen = difference(&look(left.path()), &look(right.path()));
        assert!(seen.is_some(), "{change} is not seen");
        let other = Command::new("sh").args(["-ec", change]).current_dir(right.path()).status();
        assert!(other.unwrap().success(), "{change}");
        both("touch -h -d @3 d/l; [ ! -e d/new ] || touch -d @3 d/new");
        assert_eq!(difference(&look(left.path()), &look(right.path())), None, "{change}");
    }
}
