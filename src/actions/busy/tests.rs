//! Goal: every way to hold something beneath a directory is found, and nothing else.
use super::*;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A process that has begun and is ended when dropped.
struct Running(Child);

impl Running {
    /// Runs `script` with `dir` as `$0`; it says `ready` when it holds what it should.
    fn start(script: &str, dir: &Path) -> Running {
        let child = Command::new("sh")
            .args(["-c", script])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut ready = [0; 5];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        assert_eq!(&ready, b"ready");
        Running(child)
    }
    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `read` is a builtin: no child holds anything in the shell's place.
const STAY: &str = "echo ready; read stop";

fn only_user(dir: &Path) -> OpenUser {
    let mut users = users_of(dir, &[]).unwrap();
    assert_eq!(users.len(), 1, "{users:?}");
    users.remove(0)
}

#[test]
fn open_files_directories_and_removed_files_are_found() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("data with space");
    fs::create_dir_all(dir.join("deep")).unwrap();
    fs::create_dir(temporary.path().join("data")).unwrap();
    assert!(users_of(&dir, &[]).unwrap().is_empty());
    let cases = [
        (format!("exec 7>\"$0/deep/file\"; {STAY}"), Hold::OpenFile, "deep/file"),
        (format!("exec 7>\"$0/gone\"; rm \"$0/gone\"; {STAY}"), Hold::OpenFile, "gone (deleted)"),
        (format!("exec 7<\"$0\"; {STAY}"), Hold::OpenFile, ""),
        (format!("cd \"$0/deep\"; {STAY}"), Hold::WorkingDirectory, "deep"),
    ];
    for (script, hold, rest) in cases {
        let process = Running::start(&script, &dir);
        let user = only_user(&dir);
        let real = fs::canonicalize(&dir).unwrap();
        assert_eq!((user.pid, user.hold), (process.pid(), hold), "{script}");
        assert_eq!(user.path, joined(&real, Path::new(rest)));
        assert_eq!(user.comm, "sh");
        assert!(user.to_string().contains(&process.pid().to_string()));
        assert!(users_of(&dir, &[process.pid()]).unwrap().is_empty());
        // A neighbour whose name begins alike is another directory.
        assert!(users_of(&temporary.path().join("data"), &[]).unwrap().is_empty());
    }
}

#[test]
fn a_running_program_is_found() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy("/bin/sleep", dir.path().join("nap")).unwrap();
    let process = Running::start("echo ready; exec \"$0/nap\" 600", dir.path());
    let limit = Instant::now() + Duration::from_secs(5);
    while users_of(dir.path(), &[]).unwrap().is_empty() {
        assert!(Instant::now() < limit, "the program is not found");
    }
    let user = only_user(dir.path());
    assert_eq!((user.pid, user.hold), (process.pid(), Hold::Program));
}

#[test]
fn a_container_that_sees_the_directory_elsewhere_is_found() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root for mount namespaces");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("srv/data")).unwrap();
    fs::create_dir(dir.path().join("inside")).unwrap();
    // The child sees srv at `inside`; from there nothing leads back to the path that we know.
    let script = format!(
        "exec unshare -m sh -c 'mount --make-rprivate / && mount --bind \"$0/srv\" \"$0/inside\" \
         && cd / && exec 7>\"$0/inside/data/file\"; {STAY}' \
         \"$0\""
    );
    let process = Running::start(&script, dir.path());
    let user = only_user(&dir.path().join("srv/data"));
    assert_eq!((user.pid, user.hold), (process.pid(), Hold::OpenFile));
    assert!(user.path.ends_with("inside/data/file"), "{user}");
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    assert_eq!(users_of(Path::new("/no/such"), &[]).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn mapped_files_and_escapes_are_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "7f00-7f01 r--s 00000000 08:01 12 /srv/my data/base\\012x\n").unwrap();
    let found = mapped_beneath(file.path(), &[PathBuf::from("/srv/my data")]);
    assert_eq!(found, Some(PathBuf::from("/srv/my data/base\nx")));
    assert_eq!(mapped_beneath(file.path(), &[PathBuf::from("/srv/my")]), None);
    assert_eq!(unescape(br"a\040b\134c\9"), PathBuf::from("a b\\c\\9"));
}

#[test]
fn the_search_is_fast_and_has_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let crowd: Vec<Running> = (0..200).map(|_| Running::start(STAY, dir.path())).collect();
    // Processor time of this thread: what a busy machine adds is not the search's.
    let now = || {
        let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
        Duration::from(nix::time::clock_gettime(clock).unwrap())
    };
    let best = (0..5)
        .map(|_| {
            let begin = now();
            assert!(users_of(dir.path(), &[]).unwrap().is_empty());
            now() - begin
        })
        .min();
    assert!(best < Some(Duration::from_millis(100)), "{best:?} with {} processes", crowd.len());
    let error = users_of_limited(dir.path(), &[], Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(users_of_limited(dir.path(), &[], Duration::from_secs(9)).unwrap().is_empty());
}
