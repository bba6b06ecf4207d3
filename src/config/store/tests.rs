use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const CONFIG: &str = "<!DOCTYPE safe><safe><macro name=\"D\" value=\"@DIR@\"/>\n\
    <service mode=\"mirror\"><heart><heartbeat name=\"default\"/></heart>\n\
    <rfs><replicated dir=\"%D%\"/></rfs><user/></service></safe>\n";

struct Node {
    root: tempfile::TempDir,
    store: ModuleStore,
}

impl Node {
    fn new() -> Node {
        let root = tempfile::tempdir().unwrap();
        let store = ModuleStore::new(Paths::below(root.path()));
        Node { root, store }
    }

    fn paths(&self) -> &Paths {
        &self.store.paths
    }

    /// An archive whose module mirrors `dir`.
    fn archive(&self, dir: &str) -> PathBuf {
        let mut tree = Tree::default();
        tree.put("conf/userconfig.xml", 0o644, CONFIG.replace("@DIR@", dir).into_bytes());
        tree.put("bin/start_prim", 0o755, b"#!/bin/sh\n".to_vec());
        let path = self.root.path().join(format!("{}.safe", dir.replace('/', "_")));
        fs::write(&path, tree.to_bytes().unwrap()).unwrap();
        path
    }

    fn install(&self, name: &str, dir: &str) -> u32 {
        self.store.install(&module(name), Some(&self.archive(dir)), None, false).unwrap()
    }

    fn edit(&self, name: &str, change: impl FnOnce(String) -> String) {
        let path = self.paths().module_edited(&module(name)).join("conf/userconfig.xml");
        fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    }
}

fn module(name: &str) -> ModuleName {
    ModuleName::new(name).unwrap()
}

#[test]
fn the_life_of_a_module() {
    let node = Node::new();
    let (store, name) = (&node.store, module("db"));
    assert_eq!(node.install("db", "/srv/db"), 1);
    assert_eq!(node.install("web", "/srv/web"), 2);
    assert!(matches!(store.active(&name), Err(StoreError::NotConfigured(_))));
    let applied = store.configure(&name).unwrap();
    let active = store.active(&name).unwrap();
    assert_eq!((active.id, &active.digest), (1, &applied.digest));
    assert_eq!(active.config.rfs.unwrap().dirs[0].path, Path::new("/srv/db"));
    let expanded = fs::read_to_string(active.dir.join("conf/safeconf.xml")).unwrap();
    assert!(expanded.contains("<replicated dir=\"/srv/db\"/>"), "{expanded}");
    assert!(
        active.dir.join("bin/start_prim").metadata().unwrap().permissions().mode() & 0o111 != 0
    );

    // The applied copy stays as it was until the edited one is applied.
    node.edit("db", |text| text.replace("<user/>", "<user logging=\"none\"/>"));
    let listed = store.list().unwrap();
    assert_ne!(listed[0].edited, applied.digest);
    assert_eq!(listed[0].applied.as_ref().unwrap().digest, applied.digest);
    assert_eq!(store.active(&name).unwrap().digest, applied.digest);
    let second = store.configure(&name).unwrap();
    assert_eq!(store.list().unwrap()[0].edited, second.digest);

    let out = node.root.path().join("out.safe");
    store.package(&name, &out).unwrap();
    let kept = store.uninstall(&name).unwrap();
    assert_eq!(fs::read(&out).unwrap(), fs::read(&kept).unwrap());
    assert!(matches!(store.check(&name), Err(StoreError::NotInstalled(_))));
    assert!(!node.paths().module_state(&name).exists());
    // Its id is free again.
    assert_eq!(store.install(&module("db2"), Some(&out), None, false).unwrap(), 1);
}

#[test]
fn ids_and_names_are_not_taken_twice() {
    let node = Node::new();
    node.install("a", "/srv/a");
    let archive = node.archive("/srv/b");
    let install =
        |name, id, replace| node.store.install(&module(name), Some(&archive), id, replace);
    let said = |result: Result<u32, StoreError>| result.unwrap_err().to_string();
    assert!(said(install("a", None, false)).contains("add -r"));
    assert!(said(install("b", Some(1), false)).contains("belongs to module a"));
    assert!(said(install("b", Some(0), false)).contains("from 1 to"));
    assert_eq!(install("b", Some(7), false).unwrap(), 7);
    assert_eq!(install("b", None, true).unwrap(), 7);
    assert_eq!(install("a", None, true).unwrap(), 1);
}

#[test]
fn what_cannot_be_valid_is_not_installed() {
    let node = Node::new();
    let mut tree = Tree::default();
    tree.put("conf/userconfig.xml", 0o644, b"<safe><servce/></safe>".to_vec());
    let path = node.root.path().join("x.safe");
    fs::write(&path, tree.to_bytes().unwrap()).unwrap();
    let error = node.store.install(&module("x"), Some(&path), None, false).unwrap_err();
    assert!(error.to_string().contains("x.safe:conf/userconfig.xml:1:7: <servce>"), "{error}");
    tree.put("conf/userconfig.xml", 0o644, CONFIG.replace("@DIR@", "/srv/x").into_bytes());
    fs::write(&path, tree.to_bytes().unwrap()).unwrap();
    let error = node.store.install(&module("x"), Some(&path), None, false).unwrap_err();
    assert!(error.to_string().contains("no bin/start_prim"), "{error}");
    assert_eq!(node.store.list().unwrap(), []);
    assert!(!node.paths().modules_edited().exists());
}

/// It names what it starts.
#[test]
fn a_module_with_applications_needs_no_start_prim() {
    let node = Node::new();
    let text = CONFIG.replace("@DIR@", "/srv/x");
    let text = text.replace("<user/>", "<user><unit name=\"x\"/></user>");
    let mut tree = Tree::default();
    tree.put("conf/userconfig.xml", 0o644, text.into_bytes());
    let path = node.root.path().join("x.safe");
    fs::write(&path, tree.to_bytes().unwrap()).unwrap();
    node.store.install(&module("x"), Some(&path), None, false).unwrap();
}

#[test]
fn a_mistake_in_the_edited_copy_leaves_the_applied_one() {
    let node = Node::new();
    node.install("db", "/srv/db");
    let applied = node.store.configure(&module("db")).unwrap();
    node.edit("db", |text| text.replace("/srv/db", "srv/db"));
    let error = node.store.configure(&module("db")).unwrap_err();
    assert!(matches!(error, StoreError::Mistakes(_)), "{error}");
    assert_eq!(node.store.active(&module("db")).unwrap().digest, applied.digest);
    assert_eq!(node.store.versions(&module("db")).unwrap().len(), 1);
}

#[test]
fn modules_do_not_share_directories() {
    let node = Node::new();
    node.install("a", "/srv/a");
    node.install("b", "/srv/a/sub");
    // The first one that is applied has it; the other is at fault.
    node.store.configure(&module("a")).unwrap();
    node.store.configure(&module("b")).unwrap_err();
    node.store.configure(&module("a")).unwrap();
    node.edit("b", |text| text.replace("/srv/a/sub", "/srv/b"));
    node.store.configure(&module("b")).unwrap();
    // What is applied counts, not what somebody is editing.
    node.edit("a", |text| text.replace("/srv/a", "/srv/elsewhere"));
    node.edit("b", |text| text.replace("/srv/b", "/srv/a"));
    let error = node.store.configure(&module("b")).unwrap_err().to_string();
    assert!(error.contains("overlaps /srv/a of module a"), "{error}");
}

#[test]
fn lockstep_itself_is_never_replicated() {
    let node = Node::new();
    let root = node.root.path().to_str().unwrap().to_owned();
    let archive = node.archive(&root);
    let error = node.store.install(&module("x"), Some(&archive), None, false).unwrap_err();
    assert!(error.to_string().contains("apart from Lockstep's own files"), "{error}");
}

#[test]
fn the_last_three_versions_come_back() {
    let node = Node::new();
    node.install("db", "/srv/v0");
    for round in 0..5 {
        let before = format!("/srv/v{round}");
        node.store.configure(&module("db")).unwrap();
        node.store.configure(&module("db")).unwrap();
        node.edit("db", |text| text.replace(&before, &format!("/srv/v{}", round + 1)));
    }
    let versions = node.store.versions(&module("db")).unwrap();
    assert_eq!(versions.len(), 3, "{versions:?}");
    let error = node.store.restore(&module("db"), "../x").unwrap_err().to_string();
    assert!(error.contains("kept are") && error.contains(&versions[0].name), "{error}");
    let restored = node.store.restore(&module("db"), &versions[1].name).unwrap();
    assert_eq!(Some(restored.digest), versions[1].digest);
    node.store.configure(&module("db")).unwrap();
    let config = node.store.active(&module("db")).unwrap().config;
    assert_eq!(config.rfs.unwrap().dirs[0].path, Path::new("/srv/v3"));
    // The one that came back is the newest now, and takes nobody else's place.
    let after = node.store.versions(&module("db")).unwrap();
    let digests =
        |versions: &[Version], order: [usize; 3]| order.map(|at| versions[at].digest.clone());
    assert_eq!(digests(&after, [0, 1, 2]), digests(&versions, [1, 0, 2]));
}

/// What a person edited and never applied exists once: it is kept before it is overwritten, for
/// nobody's eyes but root's, and not for ever.
#[test]
fn what_was_edited_and_never_applied_is_kept_by_a_restore() {
    let node = Node::new();
    node.install("db", "/srv/v0");
    node.store.configure(&module("db")).unwrap();
    assert_eq!(node.store.restore(&module("db"), "1").unwrap().kept, None, "the same");
    node.install("db_2026", "/srv/other");
    let other = node.store.uninstall(&module("db_2026")).unwrap();
    for round in 0..12 {
        node.edit("db", |text| text.replace("<user/>", &format!("<user/><!-- {round} -->")));
        let restored = node.store.restore(&module("db"), "1").unwrap();
        let kept = restored.kept.expect("the edited copy is kept");
        assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let tree = Tree::read_archive(&kept).unwrap();
        let text = tree.get("conf/userconfig.xml").unwrap().bytes.clone();
        assert!(String::from_utf8(text).unwrap().contains(&format!("<!-- {round} -->")));
    }
    let kept = fs::read_dir(node.paths().backup()).unwrap().count();
    assert_eq!((kept, other.exists()), (11, true), "ten of db, and the one of another module");
    for bad in ["0", "2", "db"] {
        let error = node.store.restore(&module("db"), bad).unwrap_err().to_string();
        assert!(error.contains("kept are db_"), "{error}");
    }
    // Damage hides nothing, and is never put back.
    let folder = node.paths().module_versions(&module("db"));
    let versions = node.store.versions(&module("db")).unwrap();
    fs::write(folder.join(&versions[0].name), "half").unwrap();
    assert_eq!(node.store.versions(&module("db")).unwrap()[0].digest, None);
    node.store.restore(&module("db"), "1").unwrap_err();
    node.store.check(&module("db")).unwrap();
}

#[test]
fn a_module_travels_with_its_id() {
    let (from, to) = (Node::new(), Node::new());
    from.install("other", "/srv/other");
    from.install("db", "/srv/db");
    let bytes = from.store.export(&module("db")).unwrap();
    assert_eq!(to.store.import(&bytes).unwrap(), module("db"));
    assert_eq!(to.store.import(&bytes).unwrap(), module("db"), "again over the same");
    let (a, b) = (from.store.list().unwrap(), to.store.list().unwrap());
    assert_eq!((a[0].name.as_str(), a[0].id, &a[0].edited), ("db", b[0].id, &b[0].edited));
    let third = Node::new();
    third.install("first", "/srv/1");
    third.install("taken", "/srv/2");
    assert!(
        third.store.import(&bytes).unwrap_err().to_string().contains("belongs to module taken")
    );
    let mut damaged = bytes.clone();
    damaged[40] ^= 1;
    assert!(to.store.import(&damaged).unwrap_err().to_string().contains("damaged"));
    assert!(to.store.import(&bytes[..50]).is_err());
}

#[test]
fn the_template_installs_and_says_what_is_missing() {
    let node = Node::new();
    node.store.install(&module("new"), None, None, false).unwrap();
    let applied = node.store.configure(&module("new")).unwrap();
    let notes: Vec<String> = applied.notes.iter().map(ToString::to_string).collect();
    let has = |part: &str| notes.iter().any(|note| note.contains(part));
    assert!(
        has("<virtual_addr addr=>: is empty") && has("<replicated dir=>: is empty"),
        "{notes:#?}"
    );
    let config = node.store.active(&module("new")).unwrap().config;
    assert!(config.start_checked && config.startable().unwrap_err().contains("fill it in"));
}

#[test]
fn a_damaged_record_is_named_and_hides_no_other_module() {
    let node = Node::new();
    node.install("a", "/srv/a");
    node.install("b", "/srv/b");
    let path = node.paths().module_edited(&module("a")).join("module.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"id\": 1", "\"id\": 9")).unwrap();
    let list = node.store.list().unwrap();
    assert!(list[0].problem.as_ref().unwrap().contains("checksum"), "{:?}", list[0]);
    assert_eq!((list[1].id, &list[1].problem), (2, &None));
}

#[test]
fn leftovers_of_an_interrupted_change_are_in_nobodys_way() {
    let node = Node::new();
    node.install("db", "/srv/db");
    for left in [".new-db", ".old-db"] {
        let path = node.paths().modules_edited().join(left);
        fs::create_dir_all(path.join("conf")).unwrap();
        fs::write(path.join("conf/userconfig.xml"), "half").unwrap();
    }
    assert_eq!(node.store.list().unwrap().len(), 1);
    let archive = node.archive("/srv/db");
    node.store.install(&module("db"), Some(&archive), None, true).unwrap();
    node.store.configure(&module("db")).unwrap();
    node.store.uninstall(&module("db")).unwrap();
    assert_eq!(fs::read_dir(node.paths().modules_edited()).unwrap().count(), 0);
}

/// Needs the right to mount; elsewhere it says so and passes.
#[test]
fn a_full_disk_loses_nothing() {
    use nix::mount::{MsFlags, mount};
    let node = Node::new();
    let target = node.root.path().to_path_buf();
    // A mount namespace of this thread alone.
    let own = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok()
        && mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .is_ok()
        && mount(Some("none"), &target, Some("tmpfs"), MsFlags::empty(), Some("size=512k")).is_ok();
    if !own {
        eprintln!("not run: no right to mount");
        return;
    }
    node.install("db", "/srv/db");
    let applied = node.store.configure(&module("db")).unwrap();
    let big = node.paths().module_edited(&module("db")).join("bin/big");
    fs::write(&big, vec![1; 300 << 10]).unwrap();
    let error = node.store.configure(&module("db")).unwrap_err().to_string();
    assert!(error.contains("No space left"), "{error}");
    assert_eq!(node.store.active(&module("db")).unwrap().digest, applied.digest);
    assert!(big.exists() && !node.paths().module_state(&module("db")).join(".new-active").exists());
    fs::remove_file(&big).unwrap();
    node.store.configure(&module("db")).unwrap();
}

#[test]
fn the_file_of_a_virtual_host_name_stands_beside_the_scripts() {
    let node = Node::new();
    node.install("app", "/srv/app");
    let vhost = |file: &str| {
        format!("<user/><vhost><virtualhostname name=\"db.example\" envfile=\"{file}\"/></vhost>")
    };
    node.edit("app", |text| text.replace("<user/>", &vhost("vhostenv")));
    node.store.configure(&module("app")).unwrap();
    let path = node.paths().module_active(&module("app")).join("bin/vhostenv");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    let source = format!(". {}; echo $HOSTNAME $LOCKSTEP_VIRTUAL_HOSTNAME", path.display());
    let said = std::process::Command::new("sh").args(["-c", &source]).output().unwrap();
    assert_eq!(said.stdout, b"db.example db.example\n");
    for (file, why) in [("start_prim", "has a program bin/start_prim"), ("../x", "a file name")] {
        node.edit("app", |text| text.replace("vhostenv", file));
        let error = node.store.configure(&module("app")).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        node.edit("app", |text| text.replace(file, "vhostenv"));
    }
}

/// What a module is started with needs a stop and is named; what watches it does not.
#[test]
fn a_running_module_is_given_what_watches_it_and_nothing_else() {
    let node = Node::new();
    node.install("db", "/srv/db");
    let bin = node.paths().module_edited(&module("db")).join("bin");
    fs::write(bin.join("probe"), "1").unwrap();
    fs::write(bin.join("common"), "1").unwrap();
    let check = "<user/><check><custom ident=\"p\" exec=\"probe\" action=\"wait\"/></check>";
    node.edit("db", |text| text.replace("<user/>", check));
    let first = node.store.configure(&module("db")).unwrap();
    let active = node.paths().module_active(&module("db"));
    let inode =
        |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(active.join(name)).unwrap());
    let (folder, script) = (inode("bin"), inode("bin/start_prim"));
    let stop = || node.store.change(&module("db")).unwrap().needs_stop;
    assert!(node.store.change(&module("db")).unwrap().nothing);

    let errd = "<user/><errd><proc name=\"pg\" action=\"restart\" class=\"prim\"/></errd>";
    node.edit("db", |text| {
        text.replace("<user/>", errd).replace("mirror\"", "mirror\" maxloop=\"9\"")
    });
    fs::write(bin.join("probe"), "2").unwrap();
    fs::write(bin.join("fresh"), "1").unwrap();
    assert_eq!(stop(), [""; 0]);
    let second = node.store.configure_live(&module("db")).unwrap();
    assert_ne!(first.digest, second.digest);
    let now = node.store.active(&module("db")).unwrap();
    assert_eq!((now.digest, now.config.maxloop), (second.digest.clone(), 9));
    assert_eq!(now.config.errd.unwrap().procs[0].name, "pg");
    assert_eq!(fs::read_to_string(active.join("bin/probe")).unwrap(), "2");
    assert!(active.join("bin/fresh").exists());
    assert_eq!((inode("bin"), inode("bin/start_prim")), (folder, script), "it may stand in them");
    assert_eq!(node.store.versions(&module("db")).unwrap()[0].digest, Some(second.digest.clone()));

    type Edit = fn(String) -> String;
    let edits: [(&str, Edit); 5] = [
        ("<rfs>", |text| text.replace("/srv/db", "/srv/other")),
        ("<heart>", |text| text.replace("<heart>", "<heart timeout=\"9s\">")),
        ("<user>", |text| text.replace("<user/>", "<user nicestoptimeout=\"7\"/>")),
        ("<service start>", |text| text.replace("mirror\"", "mirror\" start=\"checked\"")),
        ("<service defaultprim>", |text| {
            text.replace("mirror\"", "mirror\" defaultprim=\"lastprim\"")
        }),
    ];
    let xml = node.paths().module_edited(&module("db")).join("conf/userconfig.xml");
    let good = fs::read_to_string(&xml).unwrap();
    for (element, edit) in edits {
        node.edit("db", edit);
        assert_eq!(stop(), [element]);
        let error = node.store.configure_live(&module("db")).unwrap_err().to_string();
        assert!(error.contains(element), "{error}");
        fs::write(&xml, &good).unwrap();
    }
    for file in ["start_prim", "common", "stop_prim"] {
        let before = fs::read(bin.join(file)).ok();
        fs::write(bin.join(file), "#!/bin/sh\n# other\n").unwrap();
        assert_eq!(stop(), [format!("bin/{file}")]);
        match before {
            Some(before) => fs::write(bin.join(file), before).unwrap(),
            None => fs::remove_file(bin.join(file)).unwrap(),
        }
    }
    assert_eq!(node.store.active(&module("db")).unwrap().digest, second.digest);
    // A comment above moves lines and changes nothing that acts.
    node.edit("db", |text| text.replace("<rfs>", "<!-- one\n more -->\n<rfs>"));
    assert_eq!(stop(), [""; 0]);
}
