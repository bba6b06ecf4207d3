//! The table is walked completely: every pair of roles is either a row or forbidden, and the
//! scripts of each row are those that administrators know.
use crate::decide::table::{MOVES, RESTARTS, allowed};
use crate::model::Role;

const ROLES: [Role; 5] = [Role::Stop, Role::Wait, Role::Alone, Role::Prim, Role::Second];

#[test]
fn every_pair_of_roles_is_a_row_or_forbidden() {
    let mut text = String::new();
    for from in ROLES {
        for to in ROLES {
            let Some(row) = allowed(from, to) else { continue };
            let scripts: Vec<String> = row
                .scripts
                .iter()
                .map(|(script, twice)| {
                    format!("{}{}", script.file_name(), if *twice { "*" } else { "" })
                })
                .collect();
            text.push_str(&format!("{from} → {to}: {}\n", scripts.join(", ")));
        }
    }
    insta::assert_snapshot!(text, @r"
    STOP → WAIT: transition, prestart
    WAIT → STOP: poststop, transition
    WAIT → ALONE: transition, start_both, start_prim, start_sec
    WAIT → PRIM: transition, start_both, start_prim
    WAIT → SECOND: transition, start_both, start_second, start_sec
    ALONE → WAIT: stop_sec, stop_prim, stop_both, transition
    ALONE → ALONE: stop_sec, stop_prim*, stop_both*, start_both, start_prim, start_sec
    ALONE → PRIM: stop_sec, transition
    ALONE → SECOND: stop_prim*, transition, start_second
    PRIM → WAIT: stop_prim, stop_both, transition
    PRIM → ALONE: transition, start_sec
    PRIM → PRIM: stop_prim*, stop_both*, start_both, start_prim
    PRIM → SECOND: stop_prim*, transition, start_second, start_sec
    SECOND → WAIT: stop_sec, stop_second, stop_both, transition
    SECOND → ALONE: stop_second, transition, start_prim
    SECOND → PRIM: stop_sec, stop_second, transition, start_prim
    SECOND → SECOND: stop_sec, stop_second, stop_both, start_both, start_second, start_sec
    ");
}

#[test]
fn no_role_but_wait_is_reached_from_stop_and_no_row_stands_twice() {
    for row in MOVES {
        assert!(row.from != Role::Stop || row.to == Role::Wait);
        assert!(row.to != Role::Stop || row.from == Role::Wait);
        let same = MOVES.iter().chain(RESTARTS);
        assert_eq!(same.filter(|other| (other.from, other.to) == (row.from, row.to)).count(), 1);
    }
}
