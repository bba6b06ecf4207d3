//! Programs that people run: PostgreSQL under power cuts, two modules whose primaries are on
//! different nodes.
use crate::copies;
use crate::fixture::{LIMIT, alone};
use crate::support::{Lab, wait_for};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A packed module below `dir`, made from the project's own `modules/NAME` with `edits` as in sed.
pub fn packed(dir: &Path, name: &str, from: &str, edits: &[String]) -> String {
    let project = env!("CARGO_MANIFEST_DIR");
    let (inside, archive) = (dir.join(name), dir.join(format!("{name}.safe")));
    let sed: String = edits.iter().map(|edit| format!(" -e '{edit}'")).collect();
    let script = format!(
        "cp -r {project}/modules/{from} {inside} && cd {inside} && \
         sed -i -e ''{sed} conf/userconfig.xml && zip -qr {archive} conf bin",
        inside = inside.display(),
        archive = archive.display(),
    );
    assert!(Command::new("sh").args(["-euc", &script]).status().unwrap().success(), "{script}");
    archive.display().to_string()
}

pub fn lockstep(lab: &Lab, node: &str, words: &[&str]) -> String {
    lab.run([&["exec", node, "--", "lockstep"], words].concat())
}

pub fn wait_state(lab: &Lab, node: &str, module: &str, state: &str) {
    lockstep(lab, node, &["waitstate", "-m", module, state, "--timeout", "60"]);
}

/// Both nodes' copies of a directory are equal, as soon as what is under way has arrived.
pub fn check_copies(lab: &Lab, dir: &str) {
    let begin = Instant::now();
    while let Some(found) =
        copies::difference(&copies::look(&lab.path("n1", dir)), &copies::look(&lab.path("n2", dir)))
    {
        assert!(begin.elapsed() < LIMIT, "{dir} differs:\n{found}");
    }
}

/// A client that inserts one number after the other and writes down which were acknowledged.
struct Clerk {
    child: Child,
}

impl Clerk {
    fn start(lab: &Lab, vip: &str, record: &Path, first: u64) -> Clerk {
        let script = format!(
            "n={first}; while :; do n=$((n+1)); \
             PGCONNECT_TIMEOUT=1 psql -h {vip} -U postgres -qAtc \"insert into clerk values ($n)\" \
             >/dev/null 2>&1 && echo $n >>{record}; done",
            record = record.display(),
        );
        let mut command = lab.command(["exec", "client", "--", "bash", "-c", &script]);
        Clerk { child: command.stdout(Stdio::null()).spawn().unwrap() }
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn lines(file: &Path) -> BTreeSet<u64> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

pub fn wait_more(record: &Path, count: usize) {
    let before = lines(record).len();
    wait_for("acknowledged transactions", || lines(record).len() >= before + count);
}

/// S1 with the database of the shipped module: the primary loses its power under load, twice, and
/// every acknowledged transaction is there.
#[test]
fn postgresql_loses_no_transaction() {
    let _alone = alone();
    let Some(lab) = Lab::cluster("postgresql", &["--disk-mb", "1024"]) else { return };
    let outside = tempfile::tempdir().unwrap();
    let (vip, module) = (lab.variable("LAB_VIP"), "postgresql");
    let edits = [
        format!("s|\\(<macro name=\"VIP\" value=\\)\"[^\"]*\"|\\1\"{vip}\"|"),
        "s|\\(<macro name=\"CLIENTS_AUTH\" value=\\)\"[^\"]*\"|\\1\"trust\"|".to_owned(),
    ];
    let archive = packed(outside.path(), module, module, &edits);
    for node in ["n1", "n2"] {
        lab.sh(node, "mkdir -p /srv/postgresql");
    }
    lockstep(&lab, "n1", &["module", "install", "-m", module, &archive]);
    lockstep(&lab, "n1", &["-H", "*", "-E", module]);
    lockstep(&lab, "n1", &["prim", "-m", module, "--wait=ALONE", "--timeout", "60"]);
    lockstep(&lab, "n2", &["second", "-m", module, "--wait=SECOND", "--timeout", "60"]);
    let sql = |text: &str| {
        lab.run(["exec", "client", "--", "psql", "-h", &vip, "-U", "postgres", "-qAtc", text])
    };
    sql("create table clerk (n bigint primary key)");
    let record = outside.path().join("record");
    let clerk = Clerk::start(&lab, &vip, &record, 0);
    wait_more(&record, 30);
    for (dead, other) in [("n1", "n2"), ("n2", "n1")] {
        lab.run(["kill", dead]);
        wait_state(&lab, other, module, "ALONE");
        wait_more(&record, 20);
        lab.run(["boot", dead]);
        wait_state(&lab, dead, module, "SECOND");
        wait_more(&record, 20);
    }
    drop(clerk);
    let there: BTreeSet<u64> =
        sql("select n from clerk").lines().filter_map(|line| line.parse().ok()).collect();
    let missing: Vec<u64> = lines(&record).difference(&there).copied().collect();
    assert!(missing.is_empty(), "acknowledged and not there: {missing:?}");
    lockstep(&lab, "n1", &["stop", "-m", module]);
    wait_state(&lab, "n2", module, "ALONE");
    lockstep(&lab, "n2", &["stop", "-m", module]);
}

/// Each module has its own engine, roles and copies: what happens to one does not touch another.
#[test]
fn two_modules_have_their_primaries_on_different_nodes() {
    let _alone = alone();
    let Some(lab) = Lab::cluster("modules", &["--disk-mb", "512"]) else { return };
    let outside = tempfile::tempdir().unwrap();
    let places = [("left", "n1", "n2"), ("right", "n2", "n1")];
    for (module, prim, second) in places {
        let dir = format!("/srv/{module}");
        let edits = [
            format!("s|\\(<macro name=\"DIR\" value=\\)\"[^\"]*\"|\\1\"{dir}\"|"),
            format!("s|dir=\"[^\"]*\"|dir=\"{dir}\"|"),
            "/<vip>/,/<.vip>/d".to_owned(),
            "s/timeout=\"30s\"/timeout=\"3s\"/".to_owned(),
        ];
        let archive = packed(outside.path(), module, "mirror", &edits);
        for node in ["n1", "n2"] {
            lab.sh(node, &format!("mkdir -p {dir}"));
        }
        lockstep(&lab, "n1", &["module", "install", "-m", module, &archive]);
        lockstep(&lab, "n1", &["-H", "*", "-E", module]);
        lockstep(&lab, prim, &["prim", "-m", module, "--wait=ALONE", "--timeout", "60"]);
        lockstep(&lab, second, &["second", "-m", module, "--wait=SECOND", "--timeout", "60"]);
    }
    let write = |node: &str, module: &str, word: &str| {
        lab.sh(node, &format!("seq 500 | sed 's/^/{word} /' >/srv/{module}/{word}"));
    };
    for (module, prim, second) in places {
        write(prim, module, "mirrored");
        let refused = lab.try_run(["exec", second, "--", "touch", &format!("/srv/{module}/no")]);
        assert!(!refused.status.success(), "the secondary of {module} takes a change");
    }
    // One node goes: it was primary of one module and secondary of the other.
    lab.run(["kill", "n1"]);
    for (module, ..) in places {
        wait_state(&lab, "n2", module, "ALONE");
        write("n2", module, "alone");
    }
    lab.run(["boot", "n1"]);
    for (module, ..) in places {
        wait_state(&lab, "n1", module, "SECOND");
        check_copies(&lab, &format!("/srv/{module}"));
    }
    // Swapping one leaves the other where it is.
    lockstep(&lab, "n1", &["swap", "-m", "left", "--wait", "--timeout", "60"]);
    wait_state(&lab, "n1", "left", "PRIM");
    wait_state(&lab, "n2", "right", "PRIM");
    write("n1", "left", "swapped");
    write("n2", "right", "swapped");
    for (module, ..) in places {
        check_copies(&lab, &format!("/srv/{module}"));
    }
}
