//! Whole command lines against a daemon made of fixed answers, and against none.
pub(crate) mod fixture;
mod questions;
mod shutdown;
mod watching;

use crate::api::response::code;
use crate::api::{Command, Exit, Refusal};
use crate::config::paths::Paths;
use crate::logbook;
use crate::model::{Readiness, Role, State};
use fixture::{Daemon, PRIM, RETURNING, SECOND, daemon, lockstep, module, run_as};
use std::sync::atomic::Ordering;

#[test]
fn without_a_daemon_the_codes_and_sentences_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    for line in [
        "start -m web",
        "state",
        "state -m web -lq",
        "waitstate -m web ALONE",
        "-H * stop -m web",
        "boot on -m web",
        "cluster state",
    ] {
        let ran = lockstep(line, &paths);
        assert_eq!(ran.code, 1, "{line}: {}", ran.err);
        assert!(ran.err.contains("Error: lockstep daemon not running"), "{line}: {}", ran.err);
        assert!(ran.err.contains("lockstep daemon"), "{line}: {}", ran.err);
        assert_eq!(ran.out, "", "{line}");
    }
    assert_eq!(lockstep("level", &paths).code, 0);
    assert_eq!(lockstep("module list", &paths).code, 0);
    assert_eq!(lockstep("--version", &paths).code, 0);
    assert!(lockstep("-p -m web", &paths).out.contains("SAFEMODULE=web\n"));
}

#[test]
fn a_daemon_that_hangs_is_not_waited_for_long_by_questions() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let socket = paths.daemon_socket();
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    // As one that was stopped: the kernel takes the connection, nobody reads.
    let _mute = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let begin = std::time::Instant::now();
    let ran = lockstep("state -m web", &paths);
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
    assert_eq!(ran.code, 5, "{}", ran.err);
    let own = format!("process {}", std::process::id());
    for part in ["does not answer", own.as_str(), "kill -CONT"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
}

#[test]
fn wrong_usage_is_two_and_later_versions_are_three() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    for line in ["strat", "start --now", "start -m ../x", "-H a/b state", "-E web state", "incloop"]
    {
        let ran = lockstep(line, &paths);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{line}: {}", ran.err);
    }
    let ran = lockstep("rfsverify -m web", &paths);
    assert_eq!(ran.code, 3);
    assert!(ran.err.starts_with("lockstep: not in this version: "), "{}", ran.err);
}

#[test]
fn a_module_that_lacks_a_file_it_must_have_is_an_invalid_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let ran = lockstep("module install -m web", &paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    std::fs::remove_file(paths.module_edited(&module()).join("bin/start_prim")).unwrap();
    for line in ["module check web", "confcheck -m web", "config -m web"] {
        let ran = lockstep(line, &paths);
        assert_eq!(ran.code, 2, "{line}: {}", ran.err);
        assert!(ran.err.contains("has no bin/start_prim: add"), "{line}: {}", ran.err);
    }
    std::fs::remove_file(paths.module_edited(&module()).join("conf/userconfig.xml")).unwrap();
    let ran = lockstep("module check web", &paths);
    assert_eq!(ran.code, 2, "{}", ran.err);
}

#[test]
fn what_is_not_installed_is_uninstalled_already() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let ran = lockstep("module uninstall -m web", &paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("module web was not installed"), "{}", ran.err);
    assert!(ran.err.contains("no module is installed here"), "{}", ran.err);
    for name in ["web", "db"] {
        assert_eq!(lockstep(&format!("module install -m {name}"), &paths).code, 0);
    }
    let ran = lockstep("module uninstall -m wbe", &paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("db, web"), "{}", ran.err);
    assert_eq!(lockstep("module uninstall -m web", &paths).code, 0);
    assert_eq!(run_as("safekit", "module uninstall -m web", &paths).code, 0);
    let listed = lockstep("module list", &paths).out;
    assert!(listed.contains("db") && !listed.contains("web"), "{listed}");
}

#[test]
fn the_words_of_scripts_reach_the_log_without_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    assert_eq!(run_as("safekit", "printe -m web it broke", &paths).code, 0);
    assert_eq!(run_as("safekit", "printi -m web all well -i start_prim", &paths).code, 0);
    let entries = logbook::last(&paths.module_log_dir(&module()), 10, true).unwrap();
    let shown: Vec<_> = entries.iter().map(|e| (e.component.as_str(), e.text.as_str())).collect();
    assert_eq!(shown, [("user", "it broke"), ("start_prim", "all well")]);
    let quiet = run_as("safekit", "log -m web", &paths);
    assert!(quiet.out.ends_with(" | user | E | it broke\n"), "{}", quiet.out);
    assert_eq!(run_as("safekit", "log -m web -A -s 2", &paths).out.lines().count(), 2);
    let document: serde_json::Value =
        serde_json::from_str(&lockstep("log -m web --json", &paths).out).unwrap();
    assert_eq!(document["answers"][0]["data"][0]["text"], "it broke");
}

#[test]
fn a_cluster_is_begun_once_and_prints_codes() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    let ran = lockstep("cluster init --node n1", &paths);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("--addr"), "{}", ran.err);
    let line = "cluster init --node n1 --addr 192.0.2.1 --lan second=198.51.100.1";
    let ran = lockstep(line, &paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("this node is n1; start its daemon"), "{}", ran.out);
    let ran = lockstep("cluster confcheck", &paths);
    assert_eq!((ran.code, ran.out.as_str()), (0, "no mistakes: nodes n1, lans default, second\n"));
    let ran = lockstep("cluster init --node n1", &paths);
    assert_eq!(ran.code, 3, "{}", ran.err);
    let ran = lockstep("cluster token", &paths);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{}", ran.err);
    let code: crate::trust::JoinCode = ran.out.trim().parse().unwrap();
    assert_eq!(code.address, "192.0.2.1:4800".parse().unwrap());
    assert_eq!(lockstep("cluster join 192.0.2.1 --token nonsense", &paths).code, 2);
}

#[test]
fn state_prints_the_local_line_first() {
    let daemon = daemon(&[RETURNING], None);
    let ran = lockstep("state -m web", &daemon.paths);
    assert_eq!(ran.code, 0);
    insta::assert_snapshot!(ran.out, @"
    Local (n2) : SECOND Transient (not uptodate)(Color : Orange)
    Remote (n1) : PRIM Ready
    reason        : return from n1 is under way
    since         : 2026-02-03T04:05:06Z
    policy        : both-alone: without a witness, nodes that do not see each other may both become primary
    epoch         : 7
    heartbeats    : n1 default up (80 ms ago)
    configuration : 0123456789ab, equal on all nodes, applied 2026-02-03T04:00:00Z
    replication   : level mirror, not in sync, engine 4711 following return
    directory     : /srv/web
    link          : up to n1
    positions     : applied 1200, acknowledged 1200, durable 1100
    operations    : 40 (160.0 KiB), p50 180 us, p99 900 us, 0 held
    return        : plan zones, 12 of 40 objects, 1.0 MiB of 4.0 MiB, sent 1.0 MiB, 2.0 MiB/s, 2 s left
    features      : io_uring
    ");
    let short = run_as("safekit", "state -m web -l", &daemon.paths);
    assert_eq!(short.out, "Local (n2) : SECOND Transient (not uptodate)(Color : Orange)\n");
}

#[test]
fn a_copy_that_may_be_old_is_not_called_up_to_date() {
    let mut view = fixture::view(State::new(Role::Wait, Readiness::NotReady));
    let replication = view.replication.as_mut().unwrap();
    (replication.up_to_date, replication.in_doubt) = (false, true);
    let line = super::state::local_line(&view);
    assert_eq!(line, "Local (n2) : WAIT NotReady (in doubt)(Color : Red)\n");
}

#[test]
fn state_as_json_keeps_its_schema() {
    let daemon = daemon(&[SECOND], None);
    let ran = lockstep("state -m web --json", &daemon.paths);
    assert_eq!(ran.code, 0);
    insta::assert_snapshot!(ran.out);
}

#[test]
fn the_quiet_state_is_an_exit_code() {
    for (state, expected) in [(State::STOP, 0), (PRIM, 3), (RETURNING, 4)] {
        let daemon = daemon(&[state], None);
        let ran = run_as("safekit", "state -m web -lq", &daemon.paths);
        assert_eq!((ran.code, ran.out.as_str()), (expected, ""));
    }
}

#[test]
fn what_is_so_already_is_done_except_under_the_old_name() {
    let text = "module web is stopped already".to_owned();
    let refusal = Refusal { code: code::ALREADY_STOPPED.into(), text, exit: Exit::Failed };
    let daemon = daemon(&[State::STOP], Some(refusal));
    assert_eq!(lockstep("stop -m web", &daemon.paths).code, 0);
    assert_eq!(run_as("safekit", "stop -m web", &daemon.paths).code, 1);
    assert_eq!(lockstep("stop -m web --wait", &daemon.paths).code, 0);
}

#[test]
fn refusals_keep_their_exit_code_and_sentence() {
    let refusal = Refusal { code: "x".into(), text: "no, because".into(), exit: Exit::Refused };
    let daemon = daemon(&[PRIM], Some(refusal));
    let ran = lockstep("prim -m web --wait", &daemon.paths);
    assert_eq!((ran.code, ran.err.as_str()), (3, "lockstep: no, because\n"));
    let ran = lockstep("prim -m web --json", &daemon.paths);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(ran.code, 3);
    assert_eq!(document["exit"], 3);
    assert_eq!(document["answers"][0]["code"], "x");
}

#[test]
fn the_daemon_learns_who_asked() {
    let daemon = daemon(&[PRIM], None);
    assert_eq!(lockstep("stop -m web -i start_prim", &daemon.paths).code, 0);
    let seen = daemon.canned.seen.lock().unwrap();
    assert_eq!(seen[0].command, Command::Stop);
    assert_eq!(seen[0].origin.caller(), "start_prim");
    assert_eq!(seen[0].module, Some(module()));
}

#[test]
fn waiting_ends_ready_or_in_time() {
    let daemon_ready = daemon(&[RETURNING, RETURNING, SECOND], None);
    let ran = lockstep("second -m web --wait", &daemon_ready.paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("web on n2: SECOND Transient"), "{}", ran.err);
    assert!(ran.err.contains("12 of 40 objects"), "{}", ran.err);
    let daemon_slow = daemon(&[RETURNING], None);
    let ran = lockstep("waitstate -m web SECOND --timeout 0.2", &daemon_slow.paths);
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("not SECOND Ready after 0."), "{}", ran.err);
}

#[test]
fn waiting_after_an_action_ends_when_the_module_stops() {
    let daemon = daemon(&[State::new(Role::Wait, Readiness::Transient), State::STOP], None);
    let ran = lockstep("start -m web --wait --timeout 30", &daemon.paths);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("module web stopped on n2"), "{}", ran.err);
}

#[test]
fn a_wait_that_only_a_person_can_end_is_not_waited_out() {
    let starting = State::new(Role::Wait, Readiness::Transient);
    let blocked = State::new(Role::Wait, Readiness::NotReady);
    for verb in ["start", "prim", "second"] {
        let daemon = daemon(&[starting, blocked], None);
        let ran = lockstep(&format!("{verb} -m web --wait --timeout 2"), &daemon.paths);
        assert_eq!(ran.code, 3, "{}", ran.err);
        let said = "module web is WAIT NotReady on n2 until a person decides: return from n1";
        assert!(ran.err.contains(said), "{}", ran.err);
    }
    // Somebody else may decide meanwhile.
    let daemon = daemon(&[blocked, SECOND], None);
    assert_eq!(lockstep("waitstate -m web SECOND --timeout 5", &daemon.paths).code, 0);
}

#[test]
fn a_swap_waits_for_the_other_role() {
    let daemon = daemon(&[PRIM, PRIM, RETURNING, SECOND], None);
    assert_eq!(lockstep("swap -m web --wait", &daemon.paths).code, 0);
    assert_eq!(daemon.canned.asked.load(Ordering::Relaxed), 4);
}

/// PRIM again, later: also where nobody saw it leave PRIM.
#[test]
fn a_swap_that_is_given_up_is_not_waited_for() {
    let leaving = State::new(Role::Prim, Readiness::Transient);
    for wait in ["--wait", "--wait=SECOND"] {
        let daemon = daemon(&[PRIM, PRIM, leaving, PRIM], None);
        let ran = lockstep(&format!("swap -m web {wait} --timeout 10"), &daemon.paths);
        assert_eq!(ran.code, 1, "{}", ran.err);
        let said = "the swap was given up, module web is PRIM Ready on n2";
        assert!(ran.err.contains(said), "{}", ran.err);
    }
}

#[test]
fn waiting_tells_the_state_as_json() {
    let daemon = daemon(&[RETURNING, SECOND], None);
    let ran = lockstep("waitstate -m web SECOND --json", &daemon.paths);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(document["answers"][0]["data"]["role"], "SECOND");
}

#[test]
fn all_modules_make_a_table() {
    let daemon = daemon(&[PRIM], None);
    insta::assert_snapshot!(lockstep("state", &daemon.paths).out, @"
    MODULE                ID LOCAL            REMOTE                   REASON
    web                    3 PRIM Ready       n1 PRIM Ready            return from n1 is under way
    ");
}

#[test]
fn several_nodes_answer_each_in_its_place() {
    let daemon = daemon(&[PRIM], None);
    let ran = run_as("safekit", "-H * start -m web", &daemon.paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    insta::assert_snapshot!(ran.out, @"
    ---------------- Server=n1 ----------------
    hello from n1
    Success
    ---------------- Server=n2 ----------------
    Success
    ");
    let ran = lockstep("-H n2,n1 start -m web", &daemon.paths);
    assert_eq!(ran.out, "n2: done\nn1: hello from n1\n");
    let ran = lockstep("-H * stop -m web", &daemon.paths);
    assert_eq!((ran.code, ran.out.as_str()), (6, "n2: done\n"));
    assert!(ran.err.contains("n1: node n1 did not answer: no connection"), "{}", ran.err);
    let ran = lockstep("-H n9 stop -m web", &daemon.paths);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("nodes are: n1, n2"), "{}", ran.err);
}

#[test]
fn lines_that_are_no_requests_are_refused_and_the_daemon_stays() {
    use std::io::{Read, Write};
    let daemon = daemon(&[PRIM], None);
    for (line, expected) in [
        ("nonsense\n", "cannot be read"),
        ("{\"v\":99,\"origin\":{\"user\":\"x\"},\"command\":\"ping\"}\n", "has version 99"),
        ("\u{0}\u{1}\n", "cannot be read"),
    ] {
        let socket = daemon.paths.daemon_socket();
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(expected), "{line}: {answer}");
    }
    assert_eq!(lockstep("start -m web", &daemon.paths).code, 0);
}

#[test]
fn a_second_daemon_is_refused_and_a_dead_socket_is_replaced() {
    let daemon = daemon(&[PRIM], None);
    let socket = daemon.paths.daemon_socket();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let again = runtime.block_on(async { crate::api::server::listen(&socket) });
    assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    let Daemon { paths, _dir, _runtime, .. } = daemon;
    drop(_runtime);
    assert!(runtime.block_on(async { crate::api::server::listen(&paths.daemon_socket()) }).is_ok());
}

#[test]
fn a_daemon_that_does_not_answer_costs_only_the_time_limit() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    std::fs::create_dir_all(&paths.run).unwrap();
    let _silent = std::os::unix::net::UnixListener::bind(paths.daemon_socket()).unwrap();
    let ran = lockstep("waitstate -m web PRIM --timeout 0.2", &paths);
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("the daemon does not answer"), "{}", ran.err);
}
