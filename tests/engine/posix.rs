//! S4: an application cannot tell the mirrored directory from a plain one, and both copies hold the
//! same afterwards. The cases are in `posix/*.py`; each runs on a plain directory and on a pair.
use crate::pair::{Pair, assert_same, tree, tree_without_times};
use lockstep::model::Level;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/posix/run.py");

/// Runs the cases in both directories and compares what they printed and left.
fn same_as_a_plain_directory(cases: &str) {
    let pair = Pair::mirrored(Level::Mirror);
    let plain = tempfile::Builder::new().prefix("lockstep-plain").tempdir().unwrap();
    let command =
        |dir: &Path| format!("/usr/bin/python3 -B {PROGRAM} {} {cases} 2>&1", dir.display());
    let expected = Command::new("sh").args(["-c", &command(plain.path())]).output().unwrap();
    let expected = String::from_utf8_lossy(&expected.stdout).into_owned();
    let found = pair.n1.run(&command(&pair.dir));
    assert!(!expected.contains("failed"), "a case is broken:\n{expected}");
    assert_same("the answers differ (- plain, + mirrored)", &expected, &found);
    pair.assert_equal();
    let (through, beneath) = (pair.n1.tree(&pair.dir), tree(&pair.n1.backing));
    assert_same("the mount shows something else than lies beneath", &through, &beneath);
    let (plain, mirrored) = (plain.path(), &pair.n1.backing);
    let trees = [plain, mirrored].map(tree_without_times);
    assert_same("left behind (- plain, + mirrored)", &trees[0], &trees[1]);
}

macro_rules! cases {
    ($($name:ident: $list:literal;)*) => {
        $(#[test]
        fn $name() {
            same_as_a_plain_directory($list);
        })*
    };
}

cases! {
    content_is_written_as_in_a_plain_directory: "write_and_read append_from_several_processes \
        mmap_shared truncate_and_extend synchronous_writes concurrent_writers large_writes";
    space_is_given_and_taken_as_in_a_plain_directory: "fallocate_modes copy_ranges sparse_files";
    names_behave_as_in_a_plain_directory: "renames hard_links symbolic_links special_files \
        names_of_any_byte directories refusals";
    inodes_without_names_live_on: "unlinked_while_open temporary_files";
    attributes_behave_as_in_a_plain_directory: "modes_owners_times times_move_with_changes \
        set_id_bits_go extended_attributes access_lists";
    everybody_may_do_what_the_modes_say: "permissions_of_a_user umask_and_setgid locks";
    large_directories_are_listed_whole: "many_entries listing_while_changing";
}
