//! Goal: `metrics` and `watch` tell programs that watch what holds, and people what is wrong.
use super::fixture::{PRIM, daemon, lockstep};
use crate::api::{Exit, Refusal};
use crate::config::paths::Paths;
use std::io::{BufRead, BufReader, Write};

#[test]
fn metrics_are_printed_or_replace_a_file() {
    let daemon = daemon(&[PRIM], None);
    let ran = lockstep("metrics", &daemon.paths);
    assert_eq!((ran.code, ran.out.as_str()), (0, "lockstep_up 1\n# EOF\n"));
    let file = daemon.paths.etc.join("x.prom");
    std::fs::create_dir_all(&daemon.paths.etc).unwrap();
    let line = format!("metrics --output {}", file.display());
    for _ in 0..2 {
        let ran = lockstep(&line, &daemon.paths);
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "lockstep_up 1\n# EOF\n");
    }
    assert_eq!(std::fs::read_dir(&daemon.paths.etc).unwrap().count(), 1, "no draft is left");
    assert_eq!(lockstep("metrics -H *", &daemon.paths).code, 2);
    assert_eq!(lockstep("watch apply", &daemon.paths).code, 0);
}

#[test]
fn a_daemon_that_is_not_there_is_a_number_too() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let ran = lockstep("metrics", &paths);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("\nlockstep_up 0\n") && ran.err.contains("not running"));
    let file = dir.path().join("x.prom");
    let ran = lockstep(&format!("metrics --output {}", file.display()), &paths);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert!(std::fs::read_to_string(&file).unwrap().contains("\nlockstep_up 0\n"));
}

#[test]
fn only_a_daemon_that_does_not_answer_is_down() {
    let refuse = |exit| {
        let refusal = Refusal { code: "no".into(), text: "refused".into(), exit };
        let daemon = daemon(&[PRIM], Some(refusal));
        std::fs::create_dir_all(&daemon.paths.etc).unwrap();
        let file = daemon.paths.etc.join("x.prom");
        std::fs::write(&file, "old").unwrap();
        let line = format!("metrics --output {}", file.display());
        (lockstep(&line, &daemon.paths).code, std::fs::read_to_string(&file).unwrap())
    };
    let (code, text) = refuse(Exit::Failed);
    assert!(code == 1 && text.contains("\nlockstep_up 0\n"), "{code}: {text}");
    assert_eq!(refuse(Exit::NotAuthorised), (4, "old".to_owned()));
    // Not an answer of this program: nobody knows what it means.
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    std::fs::create_dir_all(&paths.run).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(paths.daemon_socket()).unwrap();
    let answering = std::thread::spawn(move || {
        for _ in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(&stream).read_line(&mut asked).unwrap();
            (&stream).write_all(b"nonsense\n").unwrap();
        }
        // Killed before it has read: a reset.
        drop(listener.accept().unwrap());
    });
    let ran = lockstep("metrics", &paths);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    // But old numbers must not pass for those of now.
    let file = dir.path().join("x.prom");
    for _ in 0..2 {
        std::fs::write(&file, "old").unwrap();
        let ran = lockstep(&format!("metrics --output {}", file.display()), &paths);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(ran.code == 1 && text.contains("\nlockstep_up 0\n"), "{text}: {}", ran.err);
    }
    answering.join().unwrap();
}

#[test]
fn watch_check_says_all_mistakes_and_needs_no_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let ran = lockstep("watch check", &paths);
    assert!(ran.code == 2 && ran.err.contains("watch.xml"), "{} {}", ran.code, ran.err);
    std::fs::create_dir_all(&paths.etc).unwrap();
    std::fs::write(paths.watch_xml(), "<watch><metrics listen=\"x\"/><fax/></watch>").unwrap();
    let ran = lockstep("watch check", &paths);
    assert!(ran.code == 2 && ran.err.contains("listen=") && ran.err.contains("<fax>"));
    std::fs::write(paths.watch_xml(), "<watch/>").unwrap();
    let ran = lockstep("watch check", &paths);
    assert!(ran.code == 0 && ran.out.contains("has no mistakes"), "{}", ran.err);
}

#[test]
fn watch_test_tells_the_result_of_each() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    std::fs::create_dir_all(&paths.etc).unwrap();
    let test = |xml: &str| {
        std::fs::write(paths.watch_xml(), format!("<watch>{xml}</watch>")).unwrap();
        lockstep("watch test", &paths)
    };
    let ran = test("<command path='/bin/true'/>");
    assert_eq!((ran.code, ran.out.as_str()), (0, "command-1: delivered to /bin/true\n"));
    let ran = test("<command path='/bin/true'/><command path='/bin/false'/>");
    assert_eq!(ran.code, 1);
    for part in ["command-1: delivered", "command-2: failed: /bin/false", "1 of 2 failed"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    assert_eq!(test("").code, 2);
}
