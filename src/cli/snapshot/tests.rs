use super::super::tests::fixture::{PRIM, daemon, lockstep, module, run_as};
use crate::config::paths::Paths;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn unpacked(file: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut zip = zip::ZipArchive::new(std::fs::File::open(file).unwrap()).unwrap();
    let mut found = BTreeMap::new();
    for at in 0..zip.len() {
        let mut entry = zip.by_index(at).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        found.insert(entry.name().unwrap().into_owned(), bytes);
    }
    found
}

/// A cluster's first node with a module that has a password and, as old archives have, a key.
fn filled(paths: &Paths) {
    assert_eq!(lockstep("cluster init --node n1 --addr 192.0.2.1", paths).code, 0);
    assert_eq!(lockstep("cluster token", paths).code, 0);
    assert_eq!(lockstep("module install -m web", paths).code, 0);
    assert_eq!(lockstep("printe -m web it broke", paths).code, 0);
    let edited = paths.module_edited(&module());
    let xml = edited.join("conf/userconfig.xml");
    let text = std::fs::read_to_string(&xml).unwrap();
    let macro_ = "<macro value='hunter2' name=\"DB_PASSWORD\"/>\n  \
                  <macro value='p\"w\\d' name=\"OTHER_PASSWORD\"/>\n  <service";
    std::fs::write(&xml, text.replacen("<service", macro_, 1)).unwrap();
    let said = lockstep("printe -m web login with hunter2 refused", paths);
    assert_eq!(said.code, 0);
    assert_eq!(lockstep("printe -m web login with p\"w\\d too", paths).code, 0);
    let active = paths.module_active(&module()).join("conf");
    std::fs::create_dir_all(&active).unwrap();
    std::fs::write(active.join("safeconf.xml"), "<x value=\"only here 4711\"/>").unwrap();
    std::fs::write(edited.join("conf/modulekey.p12"), "secret bytes").unwrap();
    let key = "# -----BEGIN ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(edited.join("bin/helper"), key).unwrap();
}

#[test]
fn a_snapshot_has_what_explains_and_nothing_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::below(dir.path());
    filled(&paths);
    let file = dir.path().join("x.zip");
    let ran = run_as("safekit", &format!("snapshot -m web {}", file.display()), &paths);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let found = unpacked(&file);
    for name in [
        "README.txt",
        "node/kernel.txt",
        "node/mounts.txt",
        "node/addresses.txt",
        "state/state.json",
        "state/preflight.json",
        "cluster/cluster.xml",
        "modules/web/edited/conf/userconfig.xml",
        "modules/web/edited/bin/start_prim",
        "modules/web/log/log.jsonl",
    ] {
        assert!(found.contains_key(name), "{name}: {:?}", found.keys());
    }
    let log = String::from_utf8_lossy(&found["modules/web/log/log.jsonl"]);
    assert!(log.contains("it broke"), "{log}");
    for (name, bytes) in &found {
        let text = String::from_utf8_lossy(bytes);
        for secret in ["PRIVATE KEY", "hunter2", "p\"w", "w\\", "secret bytes", "4711"] {
            assert!(!text.contains(secret), "{secret} in {name}");
        }
        assert!(!name.contains("pki"), "{name}");
    }
}

#[test]
fn the_daemons_answers_are_in_it_and_the_file_can_be_named_twice() {
    let daemon = daemon(&[PRIM], None);
    assert_eq!(lockstep("module install -m web", &daemon.paths).code, 0);
    let file = daemon.paths.lib.join("y.zip");
    for _ in 0..2 {
        let ran = lockstep(&format!("snapshot --json {}", file.display()), &daemon.paths);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let size = std::fs::metadata(&file).unwrap().len();
        assert_eq!(document["answers"][0]["data"]["bytes"], size);
    }
    let state = String::from_utf8_lossy(&unpacked(&file)["state/state.json"]).into_owned();
    assert!(state.contains("\"PRIM\"") && state.contains("hello from n1"), "{state}");
    assert_eq!(lockstep("-H n1 snapshot", &daemon.paths).code, 2);
    assert_eq!(lockstep("snapshot -m nosuch", &daemon.paths).code, 1);
}
