use super::*;
use proptest::prelude::*;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{System, ZipWriter};

fn options(mode: u32) -> SimpleFileOptions {
    SimpleFileOptions::default().system(System::Unix).unix_permissions(mode)
}

/// An archive with a valid configuration and what `add` puts beside it.
fn zip(add: impl FnOnce(&mut ZipWriter<Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("conf/userconfig.xml", options(0o644)).unwrap();
    writer.write_all(b"<safe/>").unwrap();
    add(&mut writer);
    writer.finish().unwrap().into_inner()
}

fn refusal(bytes: &[u8]) -> String {
    Tree::from_bytes(Path::new("x.safe"), bytes).expect_err("refused").to_string()
}

#[test]
fn what_is_packed_comes_back_and_equal_trees_are_equal_bytes() {
    let entry =
        |name: &str, mode, bytes: &[u8]| Entry { name: name.into(), mode, bytes: bytes.into() };
    let entries = vec![
        entry("conf/userconfig.xml", 0o644, b"<safe/>"),
        entry("bin/start_prim", 0o755, b"#!/bin/sh\n"),
        entry("bin/notes", 0o640, &[7; 5000]),
    ];
    let tree = Tree::new(entries.clone()).unwrap();
    let bytes = tree.to_bytes().unwrap();
    let back = Tree::from_bytes(Path::new("x"), &bytes).unwrap();
    assert_eq!(back, tree);
    assert_eq!(back.digest(), tree.digest());
    let mut turned = entries;
    turned.reverse();
    assert_eq!(Tree::new(turned.clone()).unwrap().to_bytes().unwrap(), bytes);
    turned[0].mode = 0o755;
    assert_ne!(Tree::new(turned).unwrap().digest(), tree.digest());
}

#[test]
fn each_danger_has_its_sentence() {
    let file = |name: &'static str, mode| zip(move |w| w.start_file(name, options(mode)).unwrap());
    for (bytes, part) in [
        (file("/etc/passwd", 0o644), "is absolute"),
        (file("C:/x", 0o644), "is absolute"),
        (file("bin/../../x", 0o644), "has .. in it"),
        (file("bin\\x", 0o644), "has a backslash"),
        (file("bin/a\nb", 0o644), "control characters"),
        (file("bin//x", 0o644), "not a plain relative name"),
        (file("module.json", 0o644), "keeps for itself"),
        (file("./conf/userconfig.xml", 0o644), "is in it twice"),
        (file("conf/userconfig.xml/x", 0o644), "a file and a directory at once"),
        (zip(|w| w.add_symlink("bin/x", "/etc/passwd", options(0o777)).unwrap()), "is a link"),
        (b"PK".to_vec(), "is no zip file, or cut off"),
        (Vec::new(), "is no zip file, or cut off"),
    ] {
        let said = refusal(&bytes);
        assert!(said.starts_with("archive x.safe: ") && said.contains(part), "{part}: {said}");
    }
    assert!(refusal(&file("bin/x", 0o644)[..80]).contains("cut off"));
}

#[test]
fn devices_and_encrypted_files_are_refused() {
    // The writer makes no such entries: the bits are set in the central directory afterwards.
    let bytes = zip(|w| w.start_file("bin/dev", options(0o644)).unwrap());
    let mut device = bytes.clone();
    let at = device.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    device[at + 38..at + 42].copy_from_slice(&(0o020_644u32 << 16).to_le_bytes());
    assert!(refusal(&device).contains("neither a file nor a directory"));
    let mut locked = bytes;
    locked[at + 8] |= 1;
    assert!(refusal(&locked).contains("encrypted"), "{}", refusal(&locked));
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let zeros = |bytes: usize| {
        zip(move |w| {
            w.start_file("bin/zeros", options(0o644)).unwrap();
            let block = vec![0u8; 1 << 20];
            for _ in 0..bytes >> 20 {
                w.write_all(&block).unwrap();
            }
        })
    };
    assert!(refusal(&zeros(8 << 20)).contains("grows more than 200 times"));
    assert!(refusal(&zeros(40 << 20)).contains("larger than 32 MiB"));
    let many = zip(|w| {
        for index in 0..=ENTRIES_MAX {
            w.start_file(format!("bin/{index}"), options(0o644)).unwrap();
        }
    });
    assert!(refusal(&many).contains("at most 4096"));
}

#[test]
fn a_lie_about_the_size_is_found_while_unpacking() {
    let mut bytes = zip(|w| {
        w.start_file("bin/zeros", options(0o644)).unwrap();
        w.write_all(&vec![0u8; 8 << 20]).unwrap();
    });
    let at = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    bytes[at + 24..at + 28].copy_from_slice(&10u32.to_le_bytes());
    assert!(Tree::from_bytes(Path::new("x"), &bytes).is_err());
}

#[test]
fn modes_are_kept_and_set_id_bits_are_not() {
    let tree = |name: &'static str, mode| {
        let bytes = zip(move |w| w.start_file(name, options(mode)).unwrap());
        Tree::from_bytes(Path::new("x"), &bytes).unwrap().get(name).unwrap().mode
    };
    assert_eq!(tree("bin/a", 0o750), 0o750);
    assert_eq!(tree("bin/b", 0o644), 0o644);
    assert_eq!(checked_mode("bin/x", Some(0o6755)), 0o755);
    assert_eq!(checked_mode("bin/x", None), 0o755);
    assert_eq!(checked_mode("conf/x", None), 0o644);
}

#[test]
fn a_top_folder_is_named() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("pg/conf/userconfig.xml", options(0o644)).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    assert!(refusal(&bytes).contains("everything below \"pg\""));
}

#[test]
fn folders_pass_over_editor_files_and_refuse_links() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("bin")).unwrap();
    for name in ["bin/x", "bin/x~", "bin/.x.swp", "module.json"] {
        std::fs::write(dir.path().join(name), "1").unwrap();
    }
    let names = |tree: Tree| tree.entries().iter().map(|e| e.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(Tree::read_folder(dir.path()).unwrap()), ["bin/x"]);
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("bin/y")).unwrap();
    let said = Tree::read_folder(dir.path()).unwrap_err().to_string();
    assert!(said.ends_with("bin/y: is a link: put the file itself here"), "{said}");
}

proptest! {
    #[test]
    fn nothing_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Tree::from_bytes(Path::new("x"), &bytes);
    }

    #[test]
    fn nothing_panics_on_a_damaged_archive(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = zip(|w| {
            w.start_file("bin/start_prim", options(0o755)).unwrap();
            w.write_all(b"#!/bin/sh\nexit 0\n").unwrap();
        });
        for (index, value) in &changes {
            let at = index.index(bytes.len());
            bytes[at] = *value;
        }
        let _ = Tree::from_bytes(Path::new("x"), &bytes);
        let _ = Tree::from_bytes(Path::new("x"), &bytes[..cut.index(bytes.len())]);
    }
}
