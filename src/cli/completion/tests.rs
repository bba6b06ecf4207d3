use super::super::tests::fixture::lockstep;
use super::*;

/// A node n1 with the modules db and web, of the cluster n1, n2.
fn node() -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    for module in ["db", "web"] {
        assert_eq!(lockstep(&format!("module install -m {module}"), &paths).code, 0);
    }
    let xml = "<cluster><lans><lan name=\"default\"><node name=\"n1\" addr=\"192.0.2.1\"/>\
               <node name=\"n2\" addr=\"192.0.2.2\"/></lan></lans></cluster>";
    std::fs::create_dir_all(&paths.etc).unwrap();
    std::fs::write(paths.cluster_xml(), xml).unwrap();
    (dir, paths)
}

fn offered(paths: &Paths, line: &str) -> Vec<String> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    candidates(paths, &words).into_iter().map(|(word, _)| word).collect()
}

#[test]
fn each_place_of_a_command_line_has_its_words() {
    let (_dir, paths) = node();
    for (line, words) in [
        ("sta", &["start", "state"][..]),
        ("module un", &["uninstall"]),
        ("errd e", &["enable"]),
        ("boot ", &["on", "off", "status"]),
        ("state -m ", &["db", "web"]),
        ("-m web state --module=w", &["--module=web"]),
        ("state -lqm w", &["web"]),
        ("-E ", &["db", "web"]),
        ("-H ", &["*", "n1", "n2"]),
        ("-H n1,", &["n1,n2"]),
        ("-H n1 -m db wait", &["waitstate", "waitstart", "waitstop"]),
        ("waitstate S", &["STOP", "SECOND"]),
        ("start --wa", &["--wait", "--wait="]),
        ("start --wait = SE", &["--wait=SECOND"]),
        (
            "start --wait = ",
            &["--wait=STOP", "--wait=WAIT", "--wait=ALONE", "--wait=PRIM", "--wait=SECOND"],
        ),
        ("start --wait --ti", &["--timeout"]),
        ("module install ", &[FILES]),
        ("module check w", &["web", FILES]),
        ("completion z", &["zsh"]),
        ("nonsense nonsense nonsense ", &[]),
    ] {
        let mut found = offered(&paths, line);
        found.retain(|word| word != "help");
        assert_eq!(found, words, "{line}");
    }
    assert!(!offered(&paths, "").contains(&"engine".to_owned()), "hidden");
}

#[test]
fn scripts_name_both_programs_and_pages_cover_every_command() {
    let (dir, paths) = node();
    for shell in ["bash", "zsh", "fish"] {
        let ran = lockstep(&format!("completion {shell}"), &paths);
        assert!(ran.code == 0 && ran.out.contains("safekit"), "{shell}: {}", ran.err);
    }
    assert_eq!(lockstep("complete -- state -m w", &paths).out, "web\tmodule, id 2\n");
    let pages = dir.path().join("man");
    let ran = lockstep(&format!("man {}", pages.display()), &paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for page in ["lockstep", "lockstep-state", "lockstep-errd-enable", "safekit"] {
        assert!(pages.join(format!("{page}.1")).exists(), "{page}");
    }
    assert!(!pages.join("lockstep-engine.1").exists(), "hidden");
    let state = std::fs::read_to_string(pages.join("lockstep-state.1")).unwrap();
    assert!(state.contains("Example: lockstep state"), "{state}");
}
