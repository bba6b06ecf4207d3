//! Goal: the promises of the data path on real mounts, with two real engines, one module, no
//! daemon. Each test says which promise.
#![allow(clippy::unwrap_used)]
mod barriers;
mod detail;
mod kills;
mod left_out;
#[path = "../support/pair.rs"]
mod pair;
mod posix;
#[path = "../support/random.rs"]
mod random;
mod return_bytes;
mod returns;
mod stuck;
mod torture;

use lockstep::model::Level;
use pair::Pair;

#[test]
fn what_is_written_is_on_both_copies() {
    let pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display();
    pair.n1.run(&format!(
        "cd {dir} && echo hello > a && mkdir -p d/e && cp a d/e/b && ln -s a link && ln a hard && \
         mkfifo pipe && setfattr -n user.k -v v a && chmod 640 a && mv d/e/b d/c && rm -f hard && \
         dd if=/dev/urandom of=big bs=1M count=8 status=none && truncate -s 3M big && sync big"
    ));
    pair.assert_equal();
    assert_eq!(pair.n1.run(&format!("cat {dir}/a")), "hello\n");
}

/// The peer has no inode without a name: what is copied from one travels as bytes.
#[test]
fn a_copy_from_a_file_without_a_name_is_on_both_copies() {
    let pair = Pair::mirrored(Level::Mirror);
    let script = "import os, sys\nos.chdir(sys.argv[1])\n\
        source = os.open('gone', os.O_CREAT | os.O_RDWR)\nos.write(source, b'kept' * 5000)\n\
        os.unlink('gone')\ntarget = os.open('target', os.O_CREAT | os.O_RDWR)\n\
        print(os.copy_file_range(source, target, 20000, 0, 0))\n";
    let file = pair.n1.base.join("copy.py");
    std::fs::write(&file, script).unwrap();
    let (file, dir) = (file.display(), pair.dir.display());
    assert_eq!(pair.n1.run(&format!("/usr/bin/python3 -B {file} {dir}")), "20000\n");
    pair.assert_equal();
}

/// A7: after a crash of the engine the directory is covered until it is served again.
#[test]
fn a_crash_of_the_engine_leaves_no_bare_directory() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display().to_string();
    pair.n2.kill();
    pair.n1.wait(|event| matches!(event, lockstep::model::EngineEvent::PeerLost { .. }));
    pair.n1.go_alone();
    pair.n1.run(&format!("echo one > {dir}/a"));
    pair.n1.restart_in_place();
    let bare = pair.n1.shell(&format!("touch {dir}/bare"));
    assert!(!bare.status.success(), "the directory is writable past the engine");
    assert_eq!(pair.n1.run(&format!("cat {dir}/a")), "one\n");
    pair.n1.lead(false);
    pair.n1.run(&format!("echo two >> {dir}/a"));
    pair.n2.start();
    pair.n2.follow(false);
    pair.n2.wait(|event| matches!(event, lockstep::model::EngineEvent::Ready));
    pair.assert_equal();
    assert_eq!(pair.n1.run(&format!("cat {dir}/a")), "one\ntwo\n");
}

/// Return of a big directory that is deleted, made again and renamed while the peer was away.
#[test]
fn names_changed_while_alone_come_back_right() {
    let mut pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display().to_string();
    pair.n1.run(&format!(
        "cd {dir} && mkdir -p many x/y && for i in $(seq 500); do echo $i > many/f$i; done && \
         echo x > x/y/z && ln x/y/z hard && echo swap1 > s1 && echo swap2 > s2"
    ));
    pair.assert_equal();
    pair.n2.kill();
    pair.n1.wait(|event| matches!(event, lockstep::model::EngineEvent::PeerLost { .. }));
    pair.n1.go_alone();
    pair.n1.run(&format!(
        "cd {dir} && rm -r many/f1* && mv many several && mkdir many && echo new > many/f2 && \
         mv x/y y && rm hard && ln y/z hard2 && mv s1 t && mv s2 s1 && mv t s2 && rm -rf x && \
         echo file > x && chmod 700 several && ln -s nowhere link"
    ));
    pair.n2.start();
    pair.n2.follow(false);
    pair.n2.wait(|event| matches!(event, lockstep::model::EngineEvent::Ready));
    pair.assert_equal();
}

/// A13: the secondary answers every change with EROFS, and reads go on.
#[test]
fn the_secondary_is_read_only() {
    let pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display();
    pair.n1.run(&format!("echo x > {dir}/f"));
    pair.assert_equal();
    for change in ["echo y > f", "mkdir d", "rm f", "mv f g", "chmod 600 f", "ln f g", "touch new"]
    {
        let output = pair.n2.shell(&format!("cd {dir} && LC_ALL=C sh -c '{change}' 2>&1"));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            !output.status.success() && text.contains("Read-only file system"),
            "{change}: {text}"
        );
    }
    assert_eq!(pair.n2.run(&format!("cat {dir}/f")), "x\n");
}

/// S4: SQLite in both journal modes and git run on the mount; what they left is whole and equal.
#[test]
fn sqlite_and_git_run_on_the_mirror() {
    let pair = Pair::mirrored(Level::Mirror);
    let dir = pair.dir.display();
    for mode in ["delete", "wal"] {
        let text = pair.n1.run(&format!(
            "cd {dir} && sqlite3 {mode}.db 'pragma journal_mode={mode}; create table t(a, b); \
             with recursive n(i) as (select 1 union all select i+1 from n where i<2000) \
             insert into t select i, hex(randomblob(50)) from n; update t set b=a where a%3=0; \
             delete from t where a%5=0; pragma integrity_check; select count(*) from t'"
        ));
        assert!(text.ends_with("ok\n1600\n"), "{text}");
    }
    pair.n1.run(&format!(
        "cd {dir} && export HOME={dir} && git init -q r && cd r && git config user.email a@b && \
         git config user.name n && for i in 1 2 3; do seq $i 500 > f$i && git add . && \
         git commit -qm $i; done && git gc -q && git fsck --strict && \
         git clone -q . ../clone && cd ../clone && git log --oneline | wc -l | grep -qx 3"
    ));
    pair.assert_equal();
}
