use super::super::tests::fixture::{PRIM, daemon, lockstep, node};
use super::*;
use crate::api::{AccountView, OwnerView};

fn view(clock: &str, accounts: &[(bool, &str, u32)]) -> PreflightView {
    let account = |(group, name, id): &(bool, &str, u32)| AccountView {
        group: *group,
        name: (*name).to_owned(),
        id: *id,
    };
    PreflightView {
        clock: clock.to_owned(),
        findings: Vec::new(),
        owners: vec![OwnerView {
            module: ModuleName::new("web").unwrap(),
            dir: "/srv/web".into(),
            group: false,
            id: 104,
        }],
        accounts: accounts.iter().map(account).collect(),
    }
}

fn compared(one: PreflightView, two: PreflightView) -> Vec<(Grade, String)> {
    let reply = |name: &str, view| Reply {
        node: Some(node(name)),
        last: false,
        response: Response::data(Data::Preflight(view)),
    };
    let mut replies = [reply("n1", one), reply("n2", two)];
    compare::add(&mut replies);
    let found = views(&mut replies).into_iter().flat_map(|view| view.findings.clone());
    found.map(|finding| (finding.grade, finding.text)).collect()
}

#[test]
fn a_number_must_mean_the_same_name_on_both_nodes() {
    let clock = "2026-02-03T04:05:06Z";
    let db = view(clock, &[(false, "postgres", 104), (true, "ntp", 104)]);
    assert_eq!(compared(db.clone(), db.clone()), []);
    let moved = compared(db.clone(), view(clock, &[(false, "postgres", 108)]));
    assert_eq!(moved[0].0, Grade::Failure);
    assert!(moved[0].1.contains("number 104 on n1 and 108 on n2"), "{moved:?}");
    let taken = compared(db.clone(), view(clock, &[(false, "ntp", 104)]));
    assert!(taken[0].1.contains("which is ntp on n2"), "{taken:?}");
    let unknown = compared(db, view(clock, &[(true, "postgres", 104)]));
    assert_eq!((unknown.len(), unknown[0].0), (1, Grade::Warning), "{unknown:?}");
}

#[test]
fn clocks_a_second_apart_are_a_note() {
    let at = |clock| view(clock, &[]);
    let near = compared(at("2026-02-03T04:05:06Z"), at("2026-02-03T04:05:06.9Z"));
    assert_eq!(near, []);
    let far = compared(at("2026-02-03T04:05:06Z"), at("2026-02-03T04:05:03.5Z"));
    assert_eq!((far.len(), far[0].0), (1, Grade::Note));
    assert!(far[0].1.contains("2.5 s apart"), "{far:?}");
}

#[test]
fn what_will_fail_is_exit_three_with_a_document_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    assert_eq!(lockstep("module install -m web", &paths).code, 0);
    let ran = lockstep("preflight -m web", &paths);
    assert_eq!(ran.code, 3, "{}", ran.err);
    for part in
        ["failure  lockstep daemon: ", "failure  module web: ", "cluster.xml", "not ready: "]
    {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let document: serde_json::Value =
        serde_json::from_str(&lockstep("preflight --json", &paths).out).unwrap();
    assert_eq!(document["exit"], 3);
    let first = &document["answers"][0]["data"]["findings"][0];
    for field in ["grade", "check", "place", "text", "remedy"] {
        assert!(first[field].is_string(), "{field}: {document}");
    }
    assert_eq!(lockstep("preflight -m nosuch", &paths).code, 1);
}

#[test]
fn a_node_that_does_not_answer_is_told_apart() {
    let daemon = daemon(&[PRIM], None);
    let ran = lockstep("-H n1,n2 preflight -m web", &daemon.paths);
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert!(ran.err.contains("n1: node n1 did not answer: no connection"), "{}", ran.err);
    assert!(!ran.err.contains("n2:"), "{}", ran.err);
}

/// What is looked for must not be what the look dies of.
#[test]
fn what_does_not_answer_is_a_finding() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let look = move || {
        let _ = held.recv();
        Seen::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let short = Duration::from_millis(20);
    let seen = limited(&paths, "module web", short, look);
    assert_eq!(
        (seen.findings[0].grade, seen.findings[0].check.as_str()),
        (Grade::Failure, "silent")
    );
    // However often it is asked: one thread waits.
    let again = limited(&paths, "module web", Duration::from_secs(1), Seen::default);
    assert_eq!(again.findings.first().map(|one| one.check.as_str()), Some("silent"));
    drop(hold);
    let quick = limited(&paths, "module web", Duration::from_secs(10), Seen::default);
    assert!(quick.findings.is_empty());
}

#[test]
fn a_look_that_fails_is_not_a_silent_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    for _ in 0..2 {
        let failed = limited(&paths, "m", Duration::from_secs(10), || panic!("broken"));
        assert_eq!(failed.findings[0].check, "look-failed");
    }
}

#[test]
fn a_daemon_that_says_nothing_takes_no_finding_away() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    assert_eq!(lockstep("module install -m web", &paths).code, 0);
    std::fs::create_dir_all(&paths.run).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(paths.daemon_socket()).unwrap();
    // Ends every conversation before it has begun.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let ran = lockstep("preflight -m web", &paths);
    assert_eq!(ran.code, 3, "{}", ran.err);
    for part in ["failure  lockstep daemon: does not say", "failure  module web: ", "cluster.xml"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
}
