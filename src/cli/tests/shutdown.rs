//! Goal: what the system's shutdown waits for has stopped when `shutdown` ends, whatever becomes of
//! the daemon meanwhile.
use super::fixture::{PRIM, daemon, lockstep, view};
use crate::api::{Data, Reply, Response};
use crate::config::paths::Paths;
use crate::model::{Readiness, Role, State};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::Ordering;

#[test]
fn shutdown_waits_until_all_is_stopped() {
    let stopping = State::new(Role::Wait, Readiness::Transient);
    let daemon = daemon(&[PRIM, stopping, State::STOP], None);
    assert_eq!(lockstep("shutdown", &daemon.paths).code, 0);
    assert_eq!(daemon.canned.asked.load(Ordering::Relaxed), 3);
}

/// One for each connection.
enum Turn {
    Answer(Response),
    /// As of one that is killed with the question read, and before.
    Cut,
    Reset,
}

#[test]
fn a_daemon_that_dies_meanwhile_does_not_end_the_wait() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    std::fs::create_dir_all(&paths.run).unwrap();
    let listener = UnixListener::bind(paths.daemon_socket()).unwrap();
    let is = |state| Turn::Answer(Response::data(Data::Modules(vec![view(state)])));
    let turns = [
        Turn::Answer(Response::ok_with("stopping: web")),
        Turn::Cut,
        Turn::Reset,
        is(PRIM),
        Turn::Cut,
        is(State::STOP),
    ];
    let dying = std::thread::spawn(move || {
        for turn in turns {
            let (stream, _) = listener.accept().unwrap();
            if !matches!(turn, Turn::Reset) {
                BufReader::new(&stream).read_line(&mut String::new()).unwrap();
            }
            if let Turn::Answer(response) = turn {
                let mut line = serde_json::to_vec(&Reply::here(response)).unwrap();
                line.push(b'\n');
                (&stream).write_all(&line).unwrap();
            }
        }
    });
    let ran = lockstep("shutdown --timeout 20", &paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    dying.join().unwrap();
}

#[test]
fn a_node_that_does_not_obey_keeps_nobody_from_waiting_for_the_others() {
    let daemon = daemon(&[PRIM, PRIM, State::STOP], None);
    let ran = lockstep("-H * shutdown", &daemon.paths);
    assert_eq!(ran.code, 6, "{}", ran.err);
    assert_eq!(daemon.canned.asked.load(Ordering::Relaxed), 3);
}
