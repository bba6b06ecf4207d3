//! What a module is asked: watched processes, resources.
use super::fixture::{PRIM, daemon, lockstep, module, run_as};
use crate::api::{Command, Switch};
use crate::config::paths::Paths;
use crate::logbook::{Entry, Level, Logbook, texts};

#[test]
fn watched_processes_are_a_table_and_a_document() {
    let daemon = daemon(&[PRIM], None);
    let ran = lockstep("errd list -m web", &daemon.paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    insta::assert_snapshot!(ran.out, @"
    NAME   KIND     CLASS   ACTION     WANTED     VALUE
    nginx  service  prim    restart    1 or more  up
    dump   process  backup  repair.sh  1 to 2     not watched
    ");
    let ran = lockstep("errd list -m web --json", &daemon.paths);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    insta::assert_snapshot!(document["answers"][0]["data"][1], @r#"{"action":"repair.sh","at_least":1,"at_most":2,"class":"backup","name":"dump","service":false,"value":null,"watched":false}"#);
}

#[test]
fn resources_are_a_table_and_get_keeps_its_lines() {
    let daemon = daemon(&[PRIM], None);
    let ran = lockstep("resources -m web", &daemon.paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    insta::assert_snapshot!(ran.out, @"
    RESOURCE      VALUE  BY   SINCE
    rfs.uptodate  up     rfs  2026-02-03T04:05:06Z
    custom.x      init   -    -
    ");
    let ran = lockstep("get -m web", &daemon.paths);
    let lines = "rfs.uptodate up by rfs since 2026-02-03T04:05:06Z\ncustom.x init\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, lines));
    assert_eq!(lockstep("resources", &daemon.paths).code, 2, "which module?");
}

#[test]
fn both_old_and_new_words_switch_errd() {
    let daemon = daemon(&[PRIM], None);
    for line in ["errd suspend -m web", "errd resume -m web", "errd enable dump -m web"] {
        assert_eq!(run_as("safekit", line, &daemon.paths).code, 0, "{line}");
    }
    let seen = daemon.canned.seen.lock().unwrap();
    let asked: Vec<&Command> = seen.iter().map(|request| &request.command).collect();
    let errd = |value| Command::Set { setting: crate::api::UserSetting::Errd, value };
    let class = Command::Class { name: "dump".into(), value: Switch::On };
    assert_eq!(asked, [&errd(Switch::Off), &errd(Switch::On), &class]);
}

#[test]
fn explain_reads_the_log_without_a_daemon_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let book = Logbook::open(&paths, &module()).unwrap();
    for (code, level, text) in [
        ("local-state", Level::Event, "Local state PRIM Ready"),
        ("stop-maxloop", Level::Critical, "Action stop called by maxloop"),
        ("local-state", Level::Event, "Local state STOP NotReady"),
    ] {
        let text = texts::other(code, level, text);
        book.write(&Entry::now(&module(), "control", text)).unwrap();
    }
    let ran = lockstep("explain -m web", &paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.out);
    assert!(lines[0].ends_with("  Action stop called by maxloop"), "{}", ran.out);
    assert!(lines[2].starts_with("-> Error: lockstep daemon not running"), "{}", ran.out);
    let ran = lockstep("explain -m web --json", &paths);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let data = &document["answers"][0]["data"];
    assert_eq!(data["chain"][0]["code"], "stop-maxloop");
    assert_eq!(data["role"], serde_json::Value::Null);
}

/// The way back after a change that was a mistake, without a daemon.
#[test]
fn an_applied_configuration_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let run = |line: &str, code: u8| {
        let ran = lockstep(line, &paths);
        assert_eq!(ran.code, code, "{line}: {}{}", ran.out, ran.err);
        ran
    };
    run("module install -m web", 0);
    let none = run("module versions -m web", 0).out;
    assert!(none.starts_with("no configuration of this module was applied"), "{none}");
    run("config -m web", 0);
    let xml = paths.module_edited(&module()).join("conf/userconfig.xml");
    let first = std::fs::read_to_string(&xml).unwrap();
    std::fs::write(&xml, format!("{first}<!-- second -->")).unwrap();
    run("config -m web", 0);
    std::fs::write(&xml, format!("{first}<!-- never applied -->")).unwrap();
    let listed = run("module versions -m web", 0).out;
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines.len() == 3 && lines[1].ends_with("  applied"), "{listed}");
    let ran = run("module restore -m web 2", 0);
    let kept = ran.out.lines().find_map(|line| line.split_once("is kept as ")).unwrap().1;
    assert!(std::path::Path::new(kept).starts_with(paths.backup()), "{}", ran.out);
    assert_eq!(std::fs::read_to_string(&xml).unwrap(), first);
    let document = run("module versions -m web --json", 0).out;
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let data = &document["answers"][0]["data"];
    assert_eq!((&data[0]["applied"], &data[1]["edited"]), (&true.into(), &true.into()), "{data}");
    assert!(run("module restore -m web nonsense", 3).err.contains("kept are web_"));
    run("module versions -m other", 1);
    let removed = run("module uninstall -m web", 0).out;
    assert!(removed.contains("kept as "), "{removed}");
}

/// Whether the nodes run with the same configuration is said plainly, and what to do if not.
#[test]
fn nodes_that_differ_are_named_with_the_remedy() {
    use crate::api::{ConfigView, Data, PeerConfigView};
    let mut view = ConfigView {
        name: "web".into(),
        applied_digest: Some("a".repeat(64)),
        applied_date: Some("2026-02-03T04:05:06Z".into()),
        edited_digest: Some("a".repeat(64)),
        peers: Vec::new(),
    };
    let document = |view: &ConfigView| crate::cli::json::data(&Data::Config(view.clone()));
    assert_eq!(document(&view)["equal"], serde_json::Value::Null);
    for (digest, word, equal) in [("a", "(EQUAL)", true), ("b", "-E web", false)] {
        let applied_digest = Some(digest.repeat(64));
        view.peers = vec![PeerConfigView { node: super::fixture::node("n2"), applied_digest }];
        let text = crate::cli::state::text(&Data::Config(view.clone()), false);
        let line = text.lines().last().unwrap();
        assert!(line.starts_with("  n2 applied ") && line.contains(word), "{text}");
        assert_eq!(document(&view)["equal"], equal);
    }
}

/// The daemon is told to read what `init` has written; that is no command of its own.
#[test]
fn what_begins_a_cluster_beside_a_daemon_is_one_command() {
    let daemon = daemon(&[PRIM], None);
    let ran = lockstep("cluster init --node n1 --addr 192.0.2.1", &daemon.paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let seen = daemon.canned.seen.lock().unwrap();
    let noted = seen.iter().filter_map(crate::api::Noted::of).count();
    assert_eq!((seen.len(), noted), (1, 0));
    let ran = lockstep("cmdlog", &daemon.paths);
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
}

#[test]
fn what_is_done_without_a_daemon_is_in_the_log_of_commands() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    assert_eq!(lockstep("cmdlog", &paths).out, "");
    assert_eq!(lockstep("cluster init --node n1", &paths).code, 2);
    for line in ["module install -m web", "confcheck -m web", "module uninstall -m web -i cleaner"]
    {
        assert_eq!(lockstep(line, &paths).code, 0, "{line}");
    }
    let ran = lockstep("cmdlog --json", &paths);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let entries = document["answers"][0]["data"].as_array().unwrap();
    let told: Vec<_> = entries.iter().map(|e| (e["command"].as_str(), &e["exit"])).collect();
    let commands = ["cluster init", "module install", "module uninstall"].map(Some);
    let exits = [2, 0, 0].map(serde_json::Value::from);
    assert_eq!(told, commands.into_iter().zip(&exits).collect::<Vec<_>>());
    assert_eq!(entries[2]["who"], "cleaner");
    let ran = lockstep("cmdlog -m web -s 1", &paths);
    assert!(ran.out.contains(" | cleaner | web | module uninstall | "), "{}", ran.out);
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
}
