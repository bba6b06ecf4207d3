use super::*;
use crate::model::{ModuleName, Readiness, Role, State};
use jiff::tz::TimeZone;

fn module() -> ModuleName {
    ModuleName::new("web").unwrap()
}

fn entry(text: &str) -> Entry {
    Entry::now(&module(), "user", texts::printed_event(text))
}

fn texts_of(entries: Vec<Entry>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.text).collect()
}

#[test]
fn what_is_written_is_read_in_order_and_verbose_only_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let book = Logbook::open_dir(dir.path()).unwrap();
    let state = State::new(Role::Alone, Readiness::Ready);
    let text = texts::other("local-state", Level::Event, format!("Local state {state}"));
    let alone = Entry::now(&module(), "heart", text).because("no heartbeat for 30 s").in_epoch(7);
    book.write(&alone).unwrap();
    book.write(&Entry::now(&module(), "vip", texts::virtual_address_set("10.0.0.9"))).unwrap();
    let quiet = last(dir.path(), 300, false).unwrap();
    assert_eq!(quiet.len(), 1);
    assert_eq!(quiet[0].text, "Local state ALONE Ready");
    assert_eq!(
        (quiet[0].epoch, quiet[0].reason.as_deref()),
        (Some(7), Some("no heartbeat for 30 s"))
    );
    assert_eq!(last(dir.path(), 300, true).unwrap().len(), 2);
}

#[test]
fn time_survives_with_microseconds() {
    let mut one = entry("x");
    one.time = "2026-02-03T04:05:06.789012Z".parse().unwrap();
    let line = serde_json::to_string(&one).unwrap();
    assert!(line.contains("\"2026-02-03T04:05:06.789012Z\""), "{line}");
    assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), one);
    assert_eq!(one.to_line(&TimeZone::UTC), "2026-02-03 04:05:06.789012 | user | E | x");
}

#[test]
fn a_torn_last_line_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    Logbook::open_dir(dir.path()).unwrap().write(&entry("first")).unwrap();
    let path = dir.path().join(FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    let half = bytes[..bytes.len() / 2].to_vec();
    bytes.extend(half);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(texts_of(last(dir.path(), 10, false).unwrap()), ["first"]);
    Logbook::open_dir(dir.path()).unwrap().write(&entry("second")).unwrap();
    assert_eq!(texts_of(last(dir.path(), 10, false).unwrap()), ["first", "second"]);
}

#[test]
fn control_characters_do_not_break_the_line() {
    let shown = entry("a\nb\u{1b}[31m").to_line(&TimeZone::UTC);
    assert!(shown.ends_with("| a?b?[31m"), "{shown}");
}

#[test]
fn a_full_file_is_put_aside_and_the_oldest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let book = Logbook::with_limit(dir.path(), 600).unwrap();
    // A second writer, as a script's printe is: it must notice the renames.
    let other = Logbook::with_limit(dir.path(), 600).unwrap();
    for number in 0..60 {
        let writer = if number % 2 == 0 { &book } else { &other };
        writer.write(&entry(&format!("line {number}"))).unwrap();
    }
    let kept: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(kept.len(), FILES_KEPT as usize + 1);
    for file in kept {
        assert!(file.unwrap().metadata().unwrap().len() <= 600);
    }
    assert_eq!(texts_of(last(dir.path(), 3, false).unwrap()), ["line 57", "line 58", "line 59"]);
    let all = texts_of(last(dir.path(), 300, false).unwrap());
    let expected: Vec<String> = (60 - all.len()..60).map(|n| format!("line {n}")).collect();
    assert_eq!(all, expected);
    assert!(all.len() > 10);
}

#[test]
fn a_follower_sees_each_new_entry_once_across_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut follower = Follower::from_end(dir.path(), false).unwrap();
    let book = Logbook::with_limit(dir.path(), 600).unwrap();
    let mut seen = Vec::new();
    for number in 0..20 {
        book.write(&entry(&format!("{number}"))).unwrap();
        seen.extend(texts_of(follower.poll().unwrap()));
    }
    assert_eq!(seen, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(follower.poll().unwrap().is_empty());
}

#[test]
fn texts_are_the_ones_administrators_search_for() {
    let lines = [
        texts::action_called("start", "root"),
        texts::resource_set("heartbeat.default", "down", "heart"),
        texts::script_called("stop_prim", Some("force"), "userlog_x_stop_prim.ulog"),
        texts::wakeup(),
        texts::copied(1024 * 1024, 3, 2000),
    ]
    .map(|text| text.text);
    assert_eq!(
        lines,
        [
            "Action start called by root",
            "Resource heartbeat.default set to down by heart",
            "Script stop_prim \"force\" > userlog_x_stop_prim.ulog",
            "Action wakeup from failover rule Implicit_wakeup",
            "Copied 1024 KB, 3 objects, in 2.0 s (512 KB/s)",
        ]
    );
}

#[test]
fn ten_killed_processes_are_named_and_the_rest_counted() {
    let killed = |count: u32| -> String {
        let all: Vec<(u32, &str)> = (1..=count).map(|pid| (pid, "db")).collect();
        texts::processes_killed(&all).text
    };
    assert_eq!(killed(2), "Killed with the module: process 1 (db), 2 (db)");
    assert!(killed(10).ends_with(" 10 (db)"), "{}", killed(10));
    assert!(killed(13).ends_with(" 10 (db) and 3 more"), "{}", killed(13));
}
