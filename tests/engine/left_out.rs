//! `<notreplicated>`: what is left out stays where it is, and a rename across the edge is one step.
use crate::pair::{Node, Pair, tree};
use lockstep::model::{EngineCommand, EngineEvent, Level, NotReplicated};
use std::path::Path;
use std::process::Command;

fn rules() -> [NotReplicated; 3] {
    let pattern = |text: &str| NotReplicated::Pattern { pattern: text.into(), only: false };
    [NotReplicated::Path("var/cache".into()), pattern("\\.tmp$"), pattern("^core")]
}

/// What [`rules`] leave out, as find(1) says it.
const LEFT_OUT: &str = "-path ./var/cache -o -name '*.tmp' -o -name 'core*'";

/// The tree of a copy without what `left_out` finds, and without the times of directories, which
/// change by left-out names too.
fn replicated(root: &Path, left_out: &str) -> String {
    let temp = tempfile::tempdir().unwrap();
    let copy = temp.path().join("copy");
    let script = format!(
        "cp -a \"$1\" \"$2\" && cd \"$2\" && \
         find . -depth \\( {left_out} \\) -exec rm -rf {{}} +"
    );
    let status = Command::new("sh").args(["-c", &script, "sh"]).args([root, &copy]).status();
    assert!(status.unwrap().success());
    let without_time = |line: &str| match line.split('|').nth(1) {
        Some("d") => line.rsplit_once('|').map_or(line, |(rest, _)| rest).to_owned(),
        _ => line.to_owned(),
    };
    tree(&copy).lines().map(without_time).collect::<Vec<_>>().join("\n")
}

fn assert_equal(pair: &Pair) {
    assert_equal_without(pair, LEFT_OUT);
}

/// Both copies, once they are equal but for what `left_out` finds; fails after a limit.
pub fn assert_equal_without(pair: &Pair, left_out: &str) {
    let end = std::time::Instant::now() + crate::pair::LIMIT;
    loop {
        let [a, b] = [&pair.n1, &pair.n2].map(|node| replicated(&node.backing, left_out));
        if a == b {
            return;
        }
        if std::time::Instant::now() > end {
            crate::pair::assert_same("the copies differ (- n1, + n2)", &a, &b);
        }
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
}

fn own(node: &Node, path: &str) -> Option<String> {
    std::fs::read_to_string(node.backing.join(path)).ok()
}

fn mirrored() -> Pair {
    let mut pair = Pair::without(Level::Mirror, &rules());
    for node in [&pair.n1, &pair.n2] {
        std::fs::create_dir_all(node.backing.join("var/cache/deep")).unwrap();
        std::fs::write(node.backing.join("var/cache/deep/own"), node.name).unwrap();
        std::fs::write(node.backing.join("own.tmp"), node.name).unwrap();
    }
    pair.begin();
    pair
}

/// The secondary's own files lived through the comparison, the changes and the return.
fn assert_own(pair: &Pair) {
    for node in [&pair.n1, &pair.n2] {
        assert_eq!(own(node, "var/cache/deep/own").as_deref(), Some(node.name));
        assert_eq!(own(node, "own.tmp").as_deref(), Some(node.name));
    }
}

#[test]
fn what_is_left_out_stays_where_it_is() {
    let mut pair = mirrored();
    let dir = pair.dir.display().to_string();
    assert_own(&pair);
    pair.n1.run(&format!(
        "cd {dir} && mkdir d && echo a > d/a && echo x > d/x.tmp && echo c > core.1 && \
         mkdir d/sub.tmp && echo y > d/sub.tmp/y && echo z > var/cache/z && echo v > var/v && \
         chmod 600 core.1 && ln d/x.tmp d/y.tmp && setfattr -n user.k -v v d/x.tmp && \
         cp d/x.tmp d/copy && sync"
    ));
    assert_equal(&pair);
    assert_eq!(own(&pair.n2, "d/copy").as_deref(), Some("x\n"));
    for path in ["d/x.tmp", "core.1", "d/sub.tmp", "var/cache/z"] {
        assert!(!pair.n2.backing.join(path).exists(), "{path} travelled");
    }
    pair.lose_n2();
    pair.n1.run(&format!(
        "cd {dir} && echo b > d/b && echo w > d/w.tmp && rm core.1 && rm -r d/sub.tmp && \
         echo more >> var/cache/z && echo v2 > var/v"
    ));
    pair.return_n2();
    assert_equal(&pair);
    assert!(!pair.n2.backing.join("d/w.tmp").exists(), "d/w.tmp came with the return");
    assert_own(&pair);
    // A comparison of everything finds nothing to remove either.
    pair.lose_n2();
    let state = pair.n2.base.join("state");
    std::fs::remove_dir_all(state).unwrap();
    pair.return_n2();
    assert_equal(&pair);
    assert_own(&pair);
}

/// A program writes beside and renames: the name that it writes under is left out.
#[test]
fn a_rename_into_the_mirror_carries_the_content() {
    let mut pair = mirrored();
    let dir = pair.dir.display().to_string();
    let replace = |node: &Node, text: &str| {
        node.run(&format!(
            "cd {dir} && echo {text} > f.tmp && chmod 640 f.tmp && \
             setfattr -n user.k -v {text} f.tmp && mv f.tmp f && cat f"
        ))
    };
    for text in ["one", "two"] {
        assert_eq!(replace(&pair.n1, text), format!("{text}\n"));
        // The call returned: the peer has it.
        assert_eq!(own(&pair.n2, "f"), Some(format!("{text}\n")));
    }
    // What is written through an open file afterwards is mirrored, too.
    pair.n1.run(&format!(
        "cd {dir} && exec 3>g.tmp && head -c 3000000 /dev/urandom >&3 && mv g.tmp g && \
         echo end >&3 && mv -T f gone.tmp && echo here > own.tmp && echo n1 > own.tmp"
    ));
    assert_equal(&pair);
    // Times of what left are not sent: the session goes on.
    pair.n1.command(&EngineCommand::Flush);
    pair.n1.wait(|event| matches!(event, EngineEvent::Flushed));
    assert!(!pair.n2.backing.join("f").exists() && pair.n2.backing.join("g").exists());
    let names = std::fs::read_dir(&pair.n2.backing).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(".lockstep")), "{names:?}");
    // Alone as well.
    pair.lose_n2();
    replace(&pair.n1, "three");
    pair.n1.run(&format!("cd {dir} && mv g g.tmp && echo gone > h && mv h h.tmp"));
    pair.return_n2();
    assert_equal(&pair);
    assert_eq!(own(&pair.n2, "f").as_deref(), Some("three\n"));
    assert!(!pair.n2.backing.join("g").exists() && !pair.n2.backing.join("h").exists());
}

/// What would need more than one step is answered as between two file systems; `mv` copies.
#[test]
fn the_edge_is_one_between_file_systems() {
    let pair = mirrored();
    let dir = pair.dir.display().to_string();
    pair.n1.run(&format!("cd {dir} && mkdir d && echo a > d/a && echo t > t.tmp && ln -s t s.tmp"));
    let rename = |from: &str, to: &str| {
        let code = format!("import os; os.rename('{dir}/{from}', '{dir}/{to}')");
        let output = pair.n1.shell(&format!("/usr/bin/python3 -c \"{code}\" 2>&1"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (from, to) in [("d", "d.tmp"), ("var", "moved"), ("s.tmp", "s"), ("var/cache", "kept")] {
        assert!(rename(from, to).contains("Invalid cross-device link"), "{from} -> {to}");
    }
    let link = pair.n1.shell(&format!("ln {dir}/t.tmp {dir}/t 2>&1"));
    assert!(String::from_utf8_lossy(&link.stdout).contains("cross-device"), "{link:?}");
    pair.n1.run(&format!("cd {dir} && mv s.tmp s && mv d d.tmp && mv d.tmp e && mv -T e d"));
    assert_equal(&pair);
    assert_eq!(own(&pair.n2, "d/a").as_deref(), Some("a\n"));
}

/// What the secondary has of its own gives way where the primary's names need the place.
#[test]
fn what_is_left_out_gives_way_on_the_secondary() {
    let mut pair = mirrored();
    let dir = pair.dir.display().to_string();
    pair.n1.run(&format!("cd {dir} && mkdir -p p/q r && echo a > r/a"));
    assert_equal(&pair);
    std::fs::write(pair.n2.backing.join("p/q/left.tmp"), "n2").unwrap();
    std::fs::create_dir(pair.n2.backing.join("r/core")).unwrap();
    std::fs::write(pair.n2.backing.join("r/core/x"), "n2").unwrap();
    pair.n1
        .run(&format!("cd {dir} && rmdir p/q && rm -r r && mkdir q && mv -T q p/q && rmdir p/q"));
    assert_equal(&pair);
    assert!(!pair.n2.backing.join("r").exists());
    // After a take-over the other node's own files are the ones that are seen.
    pair.n1.kill();
    pair.n2.lead(false);
    assert_eq!(pair.n2.run(&format!("cat {dir}/own.tmp {dir}/var/cache/deep/own")), "n2n2");
}

/// "Only" leaves everything else out, but directories.
#[test]
fn only_what_matches_is_replicated() {
    let only = |text: &str| NotReplicated::Pattern { pattern: text.into(), only: true };
    let mut pair = Pair::without(Level::Mirror, &[only("\\.mdf$"), only("\\.ldf$")]);
    pair.begin();
    let dir = pair.dir.display().to_string();
    pair.n1.run(&format!("mkdir -p {dir}/a/b && cd {dir}/a && touch b/x.mdf b/y.txt x.ldf log"));
    let names = pair.n2.run(&format!("cd {dir} && find . | LC_ALL=C sort | tr '\\n' ' '"));
    assert_eq!(names, ". ./a ./a/b ./a/b/x.mdf ./a/x.ldf ");
}

/// What was left out until now was never sent, and no mark says so.
#[test]
fn what_is_replicated_anew_is_compared() {
    let mut pair = mirrored();
    let dir = pair.dir.display().to_string();
    pair.n1.run(&format!("cd {dir} && echo a > a.tmp && echo c > core && echo f > f"));
    for node in [&mut pair.n1, &mut pair.n2] {
        node.command(&EngineCommand::Shutdown);
        node.wait_end();
        node.leave_out(&rules()[..1]);
    }
    pair.begin();
    let end = std::time::Instant::now() + crate::pair::LIMIT;
    while own(&pair.n2, "core").is_none() || own(&pair.n2, "a.tmp").is_none() {
        assert!(std::time::Instant::now() < end, "not compared:\n{}", pair.n1.log());
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    assert_eq!(own(&pair.n2, "var/cache/deep/own").as_deref(), Some("n2"));
    assert_eq!(own(&pair.n2, "own.tmp").as_deref(), Some("n1"));
}

/// A lonely primary that changed only what its peer never has is ahead of nobody: when the other
/// node leads meanwhile, it comes back without a person's decision.
#[test]
fn what_is_left_out_puts_no_lonely_primary_ahead() {
    let mut pair = mirrored();
    let dir = pair.dir.display().to_string();
    pair.n2.release();
    pair.n1.wait(|event| matches!(event, EngineEvent::PeerLost { .. }));
    pair.n1.go_alone();
    pair.n1.run(&format!("cd {dir} && for i in 1 2 3; do echo $i >> log.tmp; done && sync"));
    pair.n1.release();
    pair.n1.command(&EngineCommand::Shutdown);
    pair.n1.wait_end();
    pair.n2.lead(true);
    pair.n2.run(&format!("echo new > {dir}/new"));
    pair.n1.start();
    pair.n1.follow(false);
    pair.n1.wait(|event| match event {
        EngineEvent::NeedsDecision { text, .. } => panic!("a fork: {text}"),
        event => matches!(event, EngineEvent::Ready),
    });
    assert_equal(&pair);
}
