//! Fixtures, cuts and flips.
use super::*;
use crate::history::dirty::DirtyRecord;
use std::fs;
use std::path::Path;

fn fixture(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/history");
    fs::read(dir.join(name)).unwrap()
}

/// All ways to lose the end of a file, and one flipped bit in every byte of it.
fn damages(bytes: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    let cuts = (0..bytes.len()).map(|at| (format!("cut at {at}"), bytes[..at].to_vec()));
    let flips = (0..bytes.len()).map(|at| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1 << (at % 8);
        (format!("byte {at} flipped"), flipped)
    });
    cuts.chain(flips)
}

#[test]
fn fixtures_of_every_format_are_read_and_written_alike() {
    let dir = scratch();
    let dir = dir.path();
    for name in ["lineage.a", "lineage.b"] {
        fs::write(dir.join(name), fixture("lineage-1")).unwrap();
    }
    fs::write(dir.join("memory"), fixture("memory-1")).unwrap();
    fs::write(dir.join("dirty"), fixture("dirty-1")).unwrap();

    let (file, notes) = LineageFile::open(dir).unwrap();
    assert_eq!((file.lineage(), notes.len()), (&lineage(3), 0));
    assert_eq!(MemoryFile::new(dir).load().unwrap(), Some(memory()));
    let LoadedDirty::Present(loaded) = DirtyFile::load(dir).unwrap() else { panic!() };
    assert_eq!((loaded.base, loaded.peer.as_str()), (at(1, 5), "n2"));
    assert_eq!(loaded.set.records(true), expected_records());

    let new = scratch();
    let new = new.path();
    let (mut file, _) = LineageFile::open(new).unwrap();
    file.adopt(&lineage(3)).unwrap();
    MemoryFile::new(new).store(&memory()).unwrap();
    let mut file = DirtyFile::create(new, at(1, 5), &node("n2"), &mut set()).unwrap();
    file.append(&[DirtyRecord::Names { key: key(9) }, DirtyRecord::Clear { key: key(9) }]).unwrap();
    assert_eq!(fs::read(new.join("lineage.a")).unwrap(), fixture("lineage-1"));
    assert_eq!(fs::read(new.join("lineage.b")).unwrap(), fixture("lineage-1"));
    assert_eq!(fs::read(new.join("memory")).unwrap(), fixture("memory-1"));
    // The file's own random number differs, and so do the checksums that hold it.
    let (written, expected) = (fs::read(new.join("dirty")).unwrap(), fixture("dirty-1"));
    assert_eq!(written.len(), expected.len());
    for at in (0..written.len()).filter(|at| !volatile(*at)) {
        assert_eq!(written[at], expected[at], "byte {at} of the dirty file");
    }
}

fn volatile(at: usize) -> bool {
    (40..48).contains(&at) || (508..512).contains(&at) || (at >= 512 && at % 64 >= 60)
}

fn expected_records() -> Vec<DirtyRecord> {
    let full = crate::history::PageMap::FULL;
    let one = crate::history::PageMap::span(0, 0);
    vec![
        DirtyRecord::Names { key: key(1) },
        DirtyRecord::Attributes { key: key(2) },
        DirtyRecord::Whole { key: key(3) },
        DirtyRecord::Pages { key: key(4), zone: 0, pages: full },
        DirtyRecord::Pages { key: key(4), zone: 1, pages: full },
        DirtyRecord::Pages { key: key(4), zone: 2, pages: one },
    ]
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let dir = scratch();
    let dir = dir.path();
    fs::write(dir.join("memory"), "lockstep-memory 2\n").unwrap();
    let error = MemoryFile::new(dir).load().unwrap_err().to_string();
    assert!(error.contains("newer version") && error.contains("format 2"), "{error}");
    fs::write(dir.join("lineage.a"), "lockstep-lineage 2\n").unwrap();
    assert!(matches!(LineageFile::open(dir), Err(FileError::Newer { .. })));
    let mut bytes = fixture("dirty-1");
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..508]).to_le_bytes();
    bytes[508..512].copy_from_slice(&crc);
    fs::write(dir.join("dirty"), bytes).unwrap();
    assert!(matches!(DirtyFile::load(dir), Err(FileError::Newer { .. })));
}

#[test]
fn memory_damaged_anywhere_is_no_memory() {
    let dir = scratch();
    for (what, bytes) in damages(&fixture("memory-1")) {
        fs::write(dir.path().join("memory"), bytes).unwrap();
        let loaded = MemoryFile::new(dir.path()).load();
        assert!(
            matches!(loaded, Err(FileError::Damaged { .. } | FileError::Newer { .. })),
            "{what}"
        );
    }
}

#[test]
fn a_lineage_damaged_in_one_copy_is_repaired_from_the_other() {
    let dir = scratch();
    let dir = dir.path();
    let good = fixture("lineage-1");
    for damaged in ["lineage.a", "lineage.b"] {
        for (what, bytes) in damages(&good) {
            fs::write(dir.join("lineage.a"), &good).unwrap();
            fs::write(dir.join("lineage.b"), &good).unwrap();
            fs::write(dir.join(damaged), bytes).unwrap();
            match LineageFile::open(dir) {
                Ok((file, notes)) => {
                    assert_eq!(file.lineage(), &lineage(3), "{damaged} {what}");
                    assert_eq!(notes.len(), 1, "{damaged} {what}");
                    assert_eq!(fs::read(dir.join(damaged)).unwrap(), good, "{damaged} {what}");
                }
                Err(FileError::Newer { .. }) => assert!(what.contains("flipped"), "{what}"),
                Err(error) => panic!("{damaged} {what}: {error}"),
            }
        }
        fs::remove_file(dir.join(damaged)).unwrap();
        assert_eq!(LineageFile::open(dir).unwrap().0.lineage(), &lineage(3));
    }
}

#[test]
fn a_lineage_damaged_in_both_copies_is_refused_never_shortened() {
    let dir = scratch();
    let dir = dir.path();
    for (what, bytes) in damages(&fixture("lineage-1")) {
        fs::write(dir.join("lineage.a"), &bytes).unwrap();
        fs::write(dir.join("lineage.b"), &bytes).unwrap();
        match LineageFile::open(dir) {
            // The end of both copies is gone: two torn tails, which no power cut makes.
            Ok((file, _)) if what.contains("cut") => {
                let whole = bytes.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(file.lineage(), &lineage(whole.saturating_sub(1) as u64), "{what}");
            }
            // The very last byte of both: an end of a line that is gone as well.
            Ok((file, _)) if !bytes.ends_with(b"\n") => {
                assert_eq!(file.lineage(), &lineage(2), "{what}");
            }
            Ok((file, _)) => assert_eq!(file.lineage(), &lineage(3), "{what}"),
            Err(error) => assert!(what.contains("flipped"), "{what}: {error}"),
        }
    }
}

#[test]
fn a_failed_append_leaves_no_trace_in_the_next_one() {
    let dir = scratch();
    let (mut file, _) = LineageFile::open(dir.path()).unwrap();
    file.adopt(&lineage(2)).unwrap();
    for name in ["lineage.a", "lineage.b"] {
        let mut bytes = fs::read(dir.path().join(name)).unwrap();
        bytes.extend_from_slice(b"0123abcd {\"torn");
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    file.adopt(&lineage(3)).unwrap();
    let (again, notes) = LineageFile::open(dir.path()).unwrap();
    assert_eq!((again.lineage(), notes), (&lineage(3), Vec::new()));
    let refused = file.append(epoch(9, 99, &lineage(1))).unwrap_err().to_string();
    assert!(refused.contains("lineage.a") && refused.contains("parent"), "{refused}");
}

#[test]
fn a_lineage_that_is_no_ancestor_is_not_adopted_but_may_be_replaced() {
    let dir = scratch();
    let (mut file, _) = LineageFile::open(dir.path()).unwrap();
    file.adopt(&lineage(2)).unwrap();
    let mut fork = lineage(1);
    fork.epochs.push(epoch(77, 9, &fork));
    assert!(matches!(file.adopt(&fork), Err(FileError::Refused { .. })));
    file.replace(&fork).unwrap();
    file.append(epoch(78, 20, &fork)).unwrap();
    let (again, _) = LineageFile::open(dir.path()).unwrap();
    assert_eq!(again.lineage().epochs.len(), 3);
}

#[test]
fn a_dirty_file_damaged_anywhere_is_lost_and_a_torn_end_is_dropped() {
    let dir = scratch();
    let mut file = DirtyFile::create(dir.path(), at(1, 5), &node("n2"), &mut set()).unwrap();
    let initial = file.records();
    for ino in 10..14 {
        file.append(&[DirtyRecord::Zones { key: key(ino), first: 0, last: 2 }]).unwrap();
    }
    let bytes = fs::read(dir.path().join("dirty")).unwrap();
    let whole = file.records();
    for (what, damaged) in damages(&bytes) {
        let records = (damaged.len().saturating_sub(512) / 64) as u64;
        let torn = damaged.len() < bytes.len() && damaged.len() >= 512 && records >= initial;
        fs::write(dir.path().join("dirty"), damaged).unwrap();
        match DirtyFile::load(dir.path()).unwrap() {
            LoadedDirty::Lost(why) => assert!(!torn, "{what}: {why}"),
            LoadedDirty::Present(loaded) => {
                assert!(torn && records < whole, "{what} was not noticed");
                assert_eq!(loaded.file.records(), records, "{what}");
                assert_eq!(loaded.set.counts().objects, records - initial + 4, "{what}");
            }
            LoadedDirty::Absent => panic!("{what}"),
        }
    }
    // What a power cut leaves of an unsynced append: length without content.
    let mut zeros = bytes.clone();
    zeros.extend([0; 200]);
    fs::write(dir.path().join("dirty"), zeros).unwrap();
    let LoadedDirty::Present(loaded) = DirtyFile::load(dir.path()).unwrap() else { panic!() };
    assert_eq!(loaded.file.records(), whole);
    assert_eq!(fs::read(dir.path().join("dirty")).unwrap(), bytes, "the end is cut off");
}

#[test]
fn a_record_of_another_file_or_place_is_not_taken() {
    let dir = scratch();
    let mut file = DirtyFile::create(dir.path(), at(1, 5), &node("n2"), &mut set()).unwrap();
    file.append(&[DirtyRecord::Names { key: key(9) }, DirtyRecord::Names { key: key(8) }]).unwrap();
    let mut bytes = fs::read(dir.path().join("dirty")).unwrap();
    let end = bytes.len();
    let (nine, eight) = bytes[end - 128..].split_at_mut(64);
    nine.swap_with_slice(eight);
    fs::write(dir.path().join("dirty"), bytes).unwrap();
    assert!(matches!(DirtyFile::load(dir.path()).unwrap(), LoadedDirty::Lost(_)));
}

#[test]
fn a_rewrite_keeps_what_was_appended_meanwhile() {
    let dir = scratch();
    let mut set = set();
    let mut file = DirtyFile::create(dir.path(), at(1, 5), &node("n2"), &mut set).unwrap();
    for ino in 20..60 {
        let crate::history::Mark::New(record) = set.mark_names(key(ino)) else { panic!() };
        file.append(&[record]).unwrap();
        set.forget(key(ino));
    }
    let recent = crate::history::Recent::new(at(1, 5));
    let cleared = set.settle(&recent);
    assert_eq!(cleared.len(), 40);
    file.append(&cleared).unwrap();
    let rewrite = file.start_rewrite(&set);
    file.append(&[DirtyRecord::Names { key: key(99) }]).unwrap();
    let rewritten = rewrite.run().unwrap();
    file.append(&[DirtyRecord::Attributes { key: key(99) }]).unwrap();
    file.finish_rewrite(rewritten).unwrap();
    file.append(&[DirtyRecord::Whole { key: key(98) }]).unwrap();
    let LoadedDirty::Present(loaded) = DirtyFile::load(dir.path()).unwrap() else { panic!() };
    assert_eq!(loaded.set.counts().objects, 4 + 2);
    assert!(loaded.set.is_dirty_attributes(key(99)) && loaded.set.is_dirty_names(key(99)));
    assert_eq!(loaded.file.records(), file.records());
    assert!(file.records() < 10, "{}", file.records());
    assert!(
        loaded.set.contains_any(key(4), 2 * ZONE + 5 * 4096..2 * ZONE + 6 * 4096),
        "whole zone"
    );
}

#[test]
fn a_checkpoint_keeps_exact_pages_and_asks_again_for_new_ones() {
    let dir = scratch();
    let mut set = set();
    let mut file = DirtyFile::create(dir.path(), at(1, 5), &node("n2"), &mut set).unwrap();
    let mark = |set: &mut DirtySet, page: u64| set.mark_pages(key(5), page * 4096..page * 4096 + 1);
    assert!(matches!(mark(&mut set, 3), crate::history::Mark::New(_)));
    assert_eq!(mark(&mut set, 4), crate::history::Mark::Known);
    file.checkpoint(&mut set).unwrap();
    assert_eq!(mark(&mut set, 4), crate::history::Mark::Known);
    let crate::history::Mark::New(record) = mark(&mut set, 5) else { panic!() };
    let LoadedDirty::Present(loaded) = DirtyFile::load(dir.path()).unwrap() else { panic!() };
    let dirty = |set: &DirtySet, page: u64| set.contains_any(key(5), page * 4096..page * 4096 + 1);
    assert_eq!([3, 4, 5].map(|page| dirty(&loaded.set, page)), [true, true, false]);
    file.append(&[record]).unwrap();
    let LoadedDirty::Present(loaded) = DirtyFile::load(dir.path()).unwrap() else { panic!() };
    assert!(dirty(&loaded.set, 5) && dirty(&loaded.set, 200), "pages of the zone are not known");
}

#[test]
#[ignore = "writes the fixtures of a new format; never again for an old one"]
fn write_fixtures() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/history");
    let new = scratch();
    let new = new.path();
    let (mut file, _) = LineageFile::open(new).unwrap();
    file.adopt(&lineage(3)).unwrap();
    MemoryFile::new(new).store(&memory()).unwrap();
    let mut file = DirtyFile::create(new, at(1, 5), &node("n2"), &mut set()).unwrap();
    file.append(&[DirtyRecord::Names { key: key(9) }, DirtyRecord::Clear { key: key(9) }]).unwrap();
    for (from, to) in [("lineage.a", "lineage-1"), ("memory", "memory-1"), ("dirty", "dirty-1")] {
        fs::copy(new.join(from), dir.join(to)).unwrap();
    }
}
