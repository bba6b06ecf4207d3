//! Goal: every sample file reads as it always did, and every broken one says where and what.
//!
//! Samples are compared with snapshots (`tests/snapshots`), broken files with the messages that
//! stand beside them (`tests/fixtures/config/broken_*.txt`).
use lockstep::config::userconfig::{Neighbour, Surroundings};
use lockstep::config::{ClusterConfig, Mistakes, Paths, UserConfig};
use lockstep::model::ModuleName;
use proptest::prelude::*;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn resolve(name: &str) -> Option<IpAddr> {
    (name == "db.example").then(|| "10.0.0.50".parse().expect("an address"))
}

fn cluster() -> ClusterConfig {
    let text = "<cluster><lans>\
        <lan name=\"default\"><node name=\"node1\" addr=\"10.0.0.1\"/><node name=\"node2\" addr=\"10.0.0.2\"/></lan>\
        <lan name=\"repli\"><node name=\"node1\" addr=\"10.1.0.1\"/><node name=\"node2\" addr=\"10.1.0.2\"/></lan>\
        </lans></cluster>";
    ClusterConfig::parse(Path::new("cluster.xml"), text, resolve).expect("a cluster")
}

/// A cluster of two nodes and two lans, and another module with a directory and an address.
fn surroundings() -> Surroundings {
    Surroundings {
        cluster: Some(cluster()),
        neighbours: vec![Neighbour {
            name: ModuleName::new("other").expect("a name"),
            dirs: vec!["/srv/other".into()],
            vips: vec!["10.0.0.77".parse().expect("an address")],
        }],
        environment: |_| None,
        resolve,
        ..Surroundings::of(&Paths::system())
    }
}

fn userconfig(text: &str) -> Result<UserConfig, Mistakes> {
    let file = Path::new("userconfig.xml");
    UserConfig::parse(file, text, &surroundings()).map(|reading| reading.config)
}

/// The configuration and its notes as people see them.
fn snapshot(mut config: UserConfig) -> String {
    let notes: Vec<String> = config.notes.drain(..).map(|note| note.to_string()).collect();
    format!("{config:#?}\n\n{}\n\nstart: {:?}", notes.join("\n"), config.startable())
}

#[test]
fn samples_of_userconfig_read_as_they_always_did() {
    let samples = [
        ("documented", "conf/userconfig.xml"),
        ("template", "modules/mirror/conf/userconfig.xml"),
        ("old_forms", "tests/fixtures/config/good/old_forms.xml"),
        ("watched", "tests/fixtures/config/good/watched.xml"),
        ("farm", "tests/fixtures/config/good/farm.xml"),
        ("light", "tests/fixtures/config/good/light.xml"),
    ];
    for (name, path) in samples {
        let text = std::fs::read_to_string(project(path)).expect(path);
        let config = userconfig(&text).unwrap_or_else(|mistakes| panic!("{path}:\n{mistakes}"));
        insta::assert_snapshot!(name, snapshot(config));
    }
}

#[test]
fn every_module_of_the_project_is_valid() {
    let entries = std::fs::read_dir(project("modules")).expect("modules");
    let folders = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    for path in folders.map(|folder| folder.join("conf/userconfig.xml")) {
        let text = std::fs::read_to_string(&path).expect("userconfig.xml");
        userconfig(&text).unwrap_or_else(|mistakes| panic!("{}:\n{mistakes}", path.display()));
    }
}

#[test]
fn the_sample_cluster_reads_as_it_always_did() {
    let config = ClusterConfig::load(&project("conf/cluster.xml")).expect("the sample");
    insta::assert_snapshot!("cluster", format!("{config:#?}"));
    assert_eq!(config.nodes().len(), 2);
    assert_eq!(config.command_lan().map(|lan| lan.name.as_str()), Some("default"));
}

#[test]
fn levels_and_their_old_names() {
    for (attributes, level) in [
        ("", "Mirror"),
        ("async=\"second\"", "Memory"),
        ("async=\"none\"", "Disk"),
        ("level=\"mirror\" async=\"second\"", "Mirror"),
        ("level=\"disk\"", "Disk"),
    ] {
        let text = format!(
            "<safe><service mode=\"mirror\"><heart><heartbeat name=\"default\"/></heart>\
             <rfs {attributes}><replicated dir=\"/srv/a\"/></rfs></service></safe>"
        );
        let rfs = userconfig(&text).expect("valid").rfs.expect("rfs");
        assert_eq!(format!("{:?}", rfs.level), level, "{attributes}");
    }
}

#[test]
fn the_flow_lan_is_the_marked_one_else_the_named_one_else_the_first() {
    let flow = |heartbeats: &str, rfs: &str| {
        let text = format!(
            "<safe><service mode=\"mirror\"><heart>{heartbeats}</heart>\
             <rfs><replicated dir=\"/srv/a\"/>{rfs}</rfs></service></safe>"
        );
        let config = userconfig(&text).expect("valid");
        let lans: Vec<String> =
            config.heartbeats.iter().filter(|h| h.flow).map(|h| h.lan.clone()).collect();
        lans.join(",")
    };
    let (default, repli) = ("<heartbeat name=\"default\"/>", "<heartbeat name=\"repli\"/>");
    let marked = "<heartbeat name=\"repli\" ident=\"flow\"/>";
    assert_eq!(flow(&format!("{default}{marked}"), ""), "repli");
    assert_eq!(flow(&format!("{default}{marked}"), "<flow name=\"default\"/>"), "repli");
    assert_eq!(flow(&format!("{default}{repli}"), "<flow name=\"repli\"/>"), "repli");
    assert_eq!(flow(&format!("{default}{repli}"), ""), "default");
}

/// One case of a corpus.
struct Case {
    title: String,
    text: String,
    expected: String,
}

const MIRROR: &str =
    "<safe><service mode=\"mirror\"><heart><heartbeat name=\"default\"/></heart>\n";

fn corpus(path: &Path) -> (String, Vec<Case>) {
    let all = std::fs::read_to_string(path).expect("the corpus");
    let (head, cases) = all.split_once("\n==== ").expect("a case");
    let cases = cases.split("\n==== ").map(|case| {
        let (title, rest) = case.split_once('\n').expect("a title");
        let (text, expected) = rest.split_once("\n----\n").unwrap_or((rest, ""));
        let [title, text, expected] =
            [title, text, expected].map(|part| part.trim_end_matches('\n').to_owned());
        Case { title, text, expected }
    });
    (format!("{head}\n"), cases.collect())
}

/// Compares what is said about every case with what stands beside it.
fn check_corpus(path: &Path, said: impl Fn(&str) -> String) {
    let (head, cases) = corpus(path);
    let update = std::env::var_os("UPDATE_FIXTURES").is_some();
    let mut updated = head;
    for Case { title, text, expected } in cases {
        let found = said(&text);
        if update {
            updated += &format!("==== {title}\n{text}\n----\n{found}\n");
        } else {
            assert_eq!(found, expected, "{title}:\n{text}");
        }
    }
    if update {
        std::fs::write(path, updated).expect("write the corpus");
    }
}

/// Messages without the name of the file.
fn lines(result: Result<(), Mistakes>) -> String {
    match result {
        Ok(()) => "VALID".to_owned(),
        Err(mistakes) => {
            assert!(mistakes.0.iter().all(|mistake| !mistake.remedy.is_empty()), "{mistakes}");
            let text = mistakes.to_string();
            let lines =
                text.lines().map(|line| line.split_once(':').map_or(line, |(_, rest)| rest));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn broken_userconfigs_say_where_and_what() {
    check_corpus(&project("tests/fixtures/config/broken_userconfig.txt"), |text| {
        let wrapped = match text.starts_with('<') {
            true => text.to_owned(),
            false => format!("{MIRROR}{text}\n</service></safe>"),
        };
        lines(userconfig(&wrapped).map(drop))
    });
}

#[test]
fn broken_clusters_say_where_and_what() {
    check_corpus(&project("tests/fixtures/config/broken_cluster.txt"), |text| {
        lines(ClusterConfig::parse(Path::new("cluster.xml"), text, resolve).map(drop))
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Valid files with a few bytes changed, dropped or doubled.
    #[test]
    fn no_damage_to_a_valid_file_panics(
        which in 0usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<u8>()), 1..12),
    ) {
        let path = ["conf/userconfig.xml", "tests/fixtures/config/good/watched.xml",
            "tests/fixtures/config/good/farm.xml"][which];
        let mut bytes = std::fs::read(project(path)).expect(path);
        for (index, kind, value) in changes {
            let at = index.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => { bytes.remove(at); }
                2 => bytes.insert(at, b"<>\"=&%"[value as usize % 6]),
                _ => { let part = bytes[at..(at + 40).min(bytes.len())].to_vec(); bytes.extend(part); }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = userconfig(&text);
        let _ = ClusterConfig::parse(Path::new("c"), &text, resolve);
    }
}
