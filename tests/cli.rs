//! Goal: the built program answers under both of its names with the exit codes that scripts rely
//! on, on a machine without a daemon.
use assert_cmd::Command;
use std::path::Path;

fn program() -> &'static Path {
    assert_cmd::cargo::cargo_bin!("lockstep")
}

/// Whether a daemon of the machine itself would answer in place of none.
fn daemon_runs() -> bool {
    std::os::unix::net::UnixStream::connect("/run/lockstep/daemon.sock").is_ok()
}

#[test]
fn version_and_help_are_results() {
    let version = Command::new(program()).arg("--version").assert().code(0).get_output().clone();
    let text = String::from_utf8(version.stdout).unwrap();
    assert_eq!(text, format!("lockstep {}\n", env!("CARGO_PKG_VERSION")));
    Command::new(program()).arg("--help").assert().code(0).stderr("");
    Command::new(program()).assert().code(2).stdout("");
}

#[test]
fn the_old_name_is_the_same_program() {
    let dir = tempfile::tempdir().unwrap();
    let safekit = dir.path().join("safekit");
    std::os::unix::fs::symlink(program(), &safekit).unwrap();
    let output = Command::new(&safekit).args(["rfsverify", "-m", "web"]).assert().code(3);
    let said = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert!(said.starts_with("safekit: not in this version: "), "{said}");
    Command::new(&safekit).args(["state", "-m", "../etc"]).assert().code(2).stdout("");
}

#[test]
fn without_a_daemon_one_sentence_says_so() {
    if daemon_runs() {
        return;
    }
    let output = Command::new(program()).args(["start", "-m", "web"]).assert().code(1).stdout("");
    let said = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("Error: lockstep daemon not running"), "{said}");
}

#[test]
fn the_module_of_the_environment_counts() {
    let mut command = Command::new(program());
    command.env("SAFEMODULE", "web").args(["-p"]).assert().code(0);
    let mut command = Command::new(program());
    let output = command.env("SAFEMODULE", "../web").args(["state"]).assert().code(2);
    let said = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert!(said.contains("SAFEMODULE"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let script = format!("{} --help | head -1", program().display());
    let output = Command::new("sh").args(["-c", &script]).assert().code(0);
    let said = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert_eq!(said, "");
}
