use super::*;
use crate::cli::tests::fixture::{PRIM, RETURNING, daemon, lockstep, node};
use crate::model::{EngineMode, Readiness, Role, Seq, State};

fn reply(name: &str, response: Response) -> Reply {
    Reply { node: Some(node(name)), last: false, response }
}

fn answer(views: Vec<ModuleView>) -> Response {
    Response::data(Data::Modules(views))
}

fn primary(operations: u64, applied: u64) -> ModuleView {
    let mut view = ModuleView::sample("n1", "n2");
    let status = view.replication.as_mut().unwrap().status.as_mut().unwrap();
    (status.operations, status.bytes) = (operations, operations * 4096);
    (status.applied, status.acknowledged) = (Seq(applied), Seq(applied - 3));
    view
}

fn secondary(applied: u64) -> ModuleView {
    let mut view = ModuleView::sample("n2", "n1");
    view.state = State::new(Role::Second, Readiness::Ready);
    let status = view.replication.as_mut().unwrap().status.as_mut().unwrap();
    (status.mode, status.applied) = (EngineMode::FollowingReady, Seq(applied));
    view
}

#[test]
fn both_nodes_stand_beside_each_other_with_rate_and_lag() {
    let mut picture = Picture::new(None);
    for second in 0..6 {
        let (now, sent) = (Duration::from_secs(second), 1_000 + second * 250);
        let replies = vec![
            reply("n1", answer(vec![primary(second * 250, sent)])),
            reply("n2", answer(vec![secondary(sent - 20)])),
        ];
        picture.take(replies, now);
    }
    insta::assert_snapshot!(picture.text(), @"
    MODULE  NODE  STATE         OPS/S  BYTES         P50     P99     LAG
    web     n1    PRIM Ready    250    1000.0 KiB/s  180 us  900 us  3
    web     n2    SECOND Ready  0      0 B/s         -       -       20
    ");
    // The other one falls silent: what its peer knows of it stays, and why is said.
    let silent =
        Response::refused("node-unreachable", "node n2 did not answer", crate::api::Exit::NoPeer);
    picture.take(vec![reply("n2", silent)], Duration::from_secs(7));
    insta::assert_snapshot!(picture.text(), @"
    MODULE  NODE  STATE         OPS/S  BYTES         P50     P99     LAG
    web     n1    PRIM Ready    250    1000.0 KiB/s  180 us  900 us  3
    web     n2    SECOND Ready  -      -             -       -       -    no answer, last known by its peer
    node n2 did not answer
    ");
    assert_eq!(picture.nodes(), [node("n1"), node("n2")]);
    picture.take(vec![reply("n2", answer(vec![]))], Duration::from_secs(8));
    assert!(picture.silent.is_empty() && picture.rows().len() == 1);
    // One that hangs: what it said is not shown for ever.
    picture.take(vec![reply("n2", answer(vec![secondary(9)]))], Duration::from_secs(9));
    picture.take(vec![reply("n1", answer(vec![primary(9, 9)]))], Duration::from_secs(20));
    assert!(picture.text().contains("no answer, last known by its peer"), "{}", picture.text());
}

#[test]
fn a_module_that_is_named_stands_alone() {
    let mut picture = Picture::new(ModuleName::new("other").ok());
    picture.take(vec![reply("n1", answer(vec![primary(1, 10)]))], Duration::ZERO);
    assert!(picture.text().starts_with("no module is configured"), "{}", picture.text());
}

/// Through the daemon: no terminal, so it prints once and ends. n1 does not speak of modules.
#[test]
fn without_a_terminal_it_prints_once() {
    let returns = daemon(&[RETURNING], None);
    let ran = lockstep("top", &returns.paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.out.contains('\x1b'), "{}", ran.out);
    let line = ran.out.lines().nth(1).unwrap();
    assert!(line.starts_with("web     n2    SECOND Transient"), "{}", ran.out);
    assert!(line.contains("return 25 %, 2.0 MiB/s, 2 s left"), "{}", ran.out);
    let daemon = daemon(&[PRIM], None);
    let ran = lockstep("top --json --once", &daemon.paths);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let row = &document["answers"][0]["data"][0];
    assert_eq!((&row["module"], &row["role"]), (&"web".into(), &"PRIM".into()), "{document:#}");
    assert_eq!(row["operations_per_second"], 0.0, "{document:#}");
    let dir = tempfile::tempdir().unwrap();
    let ran = lockstep("top --once", &Paths::below(dir.path()));
    assert!(ran.code == 1 && ran.err.contains("daemon not running"), "{}", ran.err);
}

#[test]
fn a_frame_covers_the_one_before() {
    let frame = frame("a\nb\n");
    assert_eq!(frame, "\x1b[?7l\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J\x1b[?7h");
}
