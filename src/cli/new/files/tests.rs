use crate::cli::tests::fixture::lockstep_words;
use crate::config::paths::Paths;
use crate::config::store::ModuleStore;
use crate::model::ModuleName;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Place {
    paths: Paths,
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        Place { paths: Paths::below(dir.path()), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn make(&self, name: &str, words: &[&str]) -> (u8, String) {
        let into = self.path(name);
        let into = into.to_str().unwrap();
        let words = [&["module", "new", name, "--into", into][..], words].concat();
        let ran = lockstep_words(&words, &self.paths);
        (ran.code, ran.out + &ran.err)
    }
}

fn shellcheck(bin: &Path) {
    let files = fs::read_dir(bin).unwrap().map(|entry| entry.unwrap().path());
    match Command::new("shellcheck").arg("-x").args(files).current_dir(bin).output() {
        Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout)),
        Err(error) => eprintln!("not run: shellcheck: {error}"),
    }
}

#[test]
fn what_is_written_is_accepted_installed_and_clean() {
    let place = Place::new();
    let data = place.path("data");
    fs::create_dir(&data).unwrap();
    let data = data.to_str().unwrap();
    let units = ["--unit", "nginx.service", "--unit", "php@1.service", "--vip", "192.0.2.10/24"];
    let command =
        ["--command", "/usr/bin/app --name \"a & b\" <x", "--user", "app", "--vip", "none"];
    let ports: [&[&str]; 3] = [&[], &["--port", "none"], &["--port", "8080", "--lan", "lan1"]];
    for (at, (run, port)) in
        [&units[..], &command[..]].iter().flat_map(|run| ports.map(|port| (*run, port))).enumerate()
    {
        let name = format!("m{at}");
        let (code, said) = place.make(&name, &[&["--dir", data][..], run, port].concat());
        assert_eq!(code, 0, "{said}");
        let folder = place.path(&name);
        let ran = lockstep_words(&["module", "check", folder.to_str().unwrap()], &place.paths);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.out.starts_with("no mistakes"), "{}", ran.out);
        shellcheck(&folder.join("bin"));
        let install = ["module", "install", "-m", &name, folder.to_str().unwrap()];
        let ran = lockstep_words(&install, &place.paths);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let store = ModuleStore::new(place.paths.clone());
        let config = store.check(&ModuleName::new(&name).unwrap());
        let Ok(config) = config else {
            // Two modules want the same directory; one of them is enough here.
            lockstep_words(&["module", "uninstall", "-m", &name], &place.paths);
            continue;
        };
        assert_eq!(config.startable(), Ok(()));
        let var = |name: &str| config.vars.iter().find(|(known, _)| known == name).cloned();
        match run.first() {
            Some(&"--unit") => {
                assert_eq!(var("SERVICES").unwrap().1, "nginx.service,php@1.service");
            }
            _ => assert_eq!(var("COMMAND").unwrap().1, "/usr/bin/app --name \"a & b\" <x"),
        }
    }
    // Never over something that is there, and nothing half where an answer is wrong.
    let (code, said) = place.make("m0", &["--dir", data, "--unit", "a"]);
    assert!(code == 2 && said.contains("is there already"), "{said}");
    let own = place.paths.lib.to_str().unwrap().to_owned();
    let (code, said) = place.make("wrong", &["--dir", &own, "--unit", "a"]);
    assert!(code == 2 && said.contains("apart from Lockstep's own files"), "{said}");
    assert!(!place.path("wrong").exists());
}

/// The scripts with a real program: it starts, is seen, is ended with its children, and a command
/// that ends at once is said so.
#[test]
fn the_scripts_run_a_command() {
    let place = Place::new();
    let name = format!("try{}", std::process::id());
    let (code, said) =
        place.make(&name, &["--dir", "/srv/x", "--command", "/bin/sh -c 'sleep 90 & wait'"]);
    assert_eq!(code, 0, "{said}");
    let bin = place.path(&name).join("bin");
    let run = |script: &str, args: &[&str], command: &str| {
        let done = Command::new(bin.join(script))
            .args(args)
            .env("SAFEUSERBIN", &bin)
            .env("SAFEUSERVAR", place.dir.path())
            .env("SAFEMODULE", &name)
            .env("SAFE", "/nonexistent")
            .env("COMMAND", command)
            .output()
            .unwrap();
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    if !nix::unistd::getuid().is_root() {
        eprintln!("not run: it writes to /run and looks at the processes of others");
        return;
    }
    let sleeps = "/bin/sh -c 'sleep 90 & wait'";
    let (code, said) = run("start_prim", &[], sleeps);
    assert_eq!(code, Some(0), "{said}");
    let (again, said) = run("start_prim", &[], sleeps);
    assert!(again == Some(1) && said.contains("runs already"), "{said}");
    let (code, said) = run("stop_prim", &[], sleeps);
    assert_eq!(code, Some(0), "{said}");
    let pids = said.lines().find_map(|line| line.strip_prefix("stopping ")).unwrap().trim();
    assert!(pids.split(' ').count() >= 2, "the shell and what it started: {said}");
    // One that nobody has reaped yet has no words left.
    let gone = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty();
    assert!(pids.split(' ').all(gone), "{said}");
    // What closes its ears is killed.
    let deaf = "/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'";
    assert_eq!(run("start_prim", &[], deaf).0, Some(0));
    let (code, said) = run("stop_prim", &["force"], deaf);
    assert!(code == Some(0) && said.contains("killing"), "{said}");
    let (code, said) = run("start_prim", &[], "/bin/sh -c 'echo no licence; exit 3'");
    assert!(code == Some(1) && said.contains("no licence"), "{code:?} {said}");
    let _ = fs::remove_file(format!("/run/lockstep-application-{name}"));
}
