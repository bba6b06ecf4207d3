//! Two nodes without chance: each of the acceptance rows of an administrator's guide that this
//! issue builds, with the scripts in their order.
use super::world::{SILENCE_MS, World};
use crate::decide::*;
use crate::model::*;

fn first_start() -> World {
    let mut world = World::new(1);
    world.start(0);
    world.start(1);
    world.run(3_000);
    world
}

/// `prim` on n1, `second` on n2.
pub(super) fn pair() -> World {
    let mut world = World::new(7);
    world.wish(0, Wish::Start(StartKind::Prim { force: false }));
    world.run(1_500);
    world.write(0);
    world.wish(1, Wish::Start(StartKind::Second { discard: false, full: false }));
    world.run(3_000);
    assert_eq!((world.state(0), world.state(1)), ("PRIM Ready".into(), "SECOND Ready".into()));
    world.write(0);
    // What an operator chose in the beginning excuses nothing later.
    world.chosen = false;
    clear(&mut world);
    world
}

pub(super) fn clear(world: &mut World) {
    world.nodes.iter_mut().for_each(|node| node.scripts.clear());
}

pub(super) fn states(world: &World) -> [String; 2] {
    [world.state(0), world.state(1)]
}

#[test]
fn first_start_of_two_unknown_copies_waits_for_a_person() {
    let world = first_start();
    assert_eq!(states(&world), ["WAIT NotReady", "WAIT NotReady"]);
    for index in 0..2 {
        assert!(world.nodes[index].machine.as_ref().unwrap().needs_decision());
        let reason = world.reason(index);
        assert!(reason.contains("Data may be not uptodate"), "{reason}");
        assert!(reason.contains("lockstep prim -m m"), "{reason}");
        assert!(reason.contains("lockstep second -m m"), "{reason}");
    }
    let mut world = World::new(1);
    world.power_off(1);
    world.start(0);
    world.run(3 * SILENCE_MS);
    assert_eq!(world.state(0), "WAIT NotReady");
    assert!(world.nodes[0].machine.as_ref().unwrap().needs_decision(), "{}", world.reason(0));
}

#[test]
fn prim_of_a_copy_whose_return_was_interrupted_is_refused_at_once() {
    let mut world = first_start();
    world.nodes[0].engine.data.copy = CopyState::Incomplete;
    world.run(1_000);
    world.wish(0, Wish::Start(StartKind::Prim { force: false }));
    let answer = world.nodes[0].answers.last();
    assert!(matches!(answer, Some(Err(Refusal::Incomplete(_)))), "{answer:?}");
    world.wish(0, Wish::Stop);
    world.run(2_000);
    assert_eq!(world.state(0), "STOP NotReady");
    world.wish(0, Wish::Start(StartKind::Prim { force: false }));
    let answer = world.nodes[0].answers.last();
    assert!(matches!(answer, Some(Err(Refusal::Incomplete(_)))), "{answer:?}");
    world.wish(0, Wish::Start(StartKind::Prim { force: true }));
    world.run(3_000);
    assert_eq!(world.state(0), "PRIM Ready");
}

#[test]
fn prim_in_a_blocked_start_decides_and_the_other_follows() {
    let mut world = first_start();
    world.wish(0, Wish::Start(StartKind::Prim { force: false }));
    world.run(5_000);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
}

#[test]
fn a_lonely_prim_needs_nobody_and_runs_its_scripts_in_order() {
    let mut world = World::new(3);
    world.set_net(false, false);
    world.power_off(1);
    world.wish(0, Wish::Start(StartKind::Prim { force: false }));
    world.run(1_000);
    assert_eq!(world.state(0), "ALONE Ready", "{}", world.tail());
    assert_eq!(
        world.nodes[0].scripts,
        [
            "transition STOP WAIT start",
            "prestart STOP WAIT start",
            "transition WAIT ALONE start",
            "start_both WAIT ALONE start",
            "start_prim WAIT ALONE start",
            "start_sec WAIT ALONE start",
        ]
    );
}

#[test]
fn the_secondary_makes_it_prim_without_touching_the_application() {
    let mut world = World::new(7);
    world.wish(0, Wish::Start(StartKind::Prim { force: false }));
    world.run(1_500);
    clear(&mut world);
    world.wish(1, Wish::Start(StartKind::Second { discard: false, full: false }));
    world.run(3_000);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"]);
    assert_eq!(world.nodes[0].scripts, ["stop_sec ALONE PRIM stop", "transition ALONE PRIM start"]);
    assert_eq!(
        world.nodes[1].scripts[2..],
        [
            "transition WAIT SECOND start",
            "start_both WAIT SECOND start",
            "start_second WAIT SECOND start",
            "start_sec WAIT SECOND start",
        ]
    );
}

#[test]
fn stop_of_the_primary_hands_over_after_the_graceful_scripts() {
    let mut world = pair();
    world.wish(0, Wish::Stop);
    world.run(5_000);
    assert_eq!(states(&world), ["STOP NotReady", "ALONE Ready"], "{}", world.tail());
    assert_eq!(
        world.nodes[0].scripts,
        [
            "stop_prim PRIM WAIT stop",
            "stop_both PRIM WAIT stop",
            "transition PRIM WAIT stop",
            "stop_sec force WAIT STOP stop",
            "stop_prim force WAIT STOP stop",
            "stop_second force WAIT STOP stop",
            "stop_both force WAIT STOP stop",
            "poststop WAIT STOP stop",
            "transition WAIT STOP stop",
        ]
        .map(reorder_force)
    );
    assert_eq!(
        world.nodes[1].scripts,
        [
            "stop_second SECOND ALONE stop",
            "transition SECOND ALONE start",
            "start_prim SECOND ALONE start",
        ]
    );
    assert!(!world.active(0) && world.active(1));
}

/// `force` is the first argument.
fn reorder_force(line: &str) -> String {
    match line.split_once(" force ") {
        Some((script, rest)) => format!("{script} force {rest}"),
        None => line.to_owned(),
    }
}

#[test]
fn a_stopped_primary_comes_back_as_second_and_a_stopped_second_leaves_it_alone() {
    let mut world = pair();
    world.wish(0, Wish::Stop);
    world.run(5_000);
    world.write(1);
    world.start(0);
    world.run(5_000);
    assert_eq!(states(&world), ["SECOND Ready", "PRIM Ready"], "{}", world.tail());
    clear(&mut world);
    world.wish(0, Wish::Stop);
    world.run(5_000);
    assert_eq!(states(&world), ["STOP NotReady", "ALONE Ready"], "{}", world.tail());
    assert_eq!(
        world.nodes[1].scripts,
        ["transition PRIM ALONE start", "start_sec PRIM ALONE start"]
    );
    assert_eq!(world.nodes[0].engine.data.copy, CopyState::Outdated);
}

#[test]
fn restart_stays_in_place() {
    let mut world = pair();
    world.wish(0, Wish::Restart);
    world.run(3_000);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"]);
    assert_eq!(
        world.nodes[0].scripts,
        [
            "stop_prim PRIM PRIM stop",
            "stop_prim force PRIM PRIM stop",
            "stop_both PRIM PRIM stop",
            "stop_both force PRIM PRIM stop",
            "start_both PRIM PRIM start",
            "start_prim PRIM PRIM start",
        ]
    );
    assert!(world.nodes[1].scripts.is_empty());
}

#[test]
fn swap_stops_here_before_it_starts_there() {
    let mut world = pair();
    world.wish(0, Wish::Swap);
    world.run(5_000);
    assert_eq!(states(&world), ["SECOND Ready", "PRIM Ready"], "{}", world.tail());
    assert_eq!(
        world.nodes[0].scripts,
        [
            "stop_prim PRIM SECOND stop",
            "stop_prim force PRIM SECOND stop",
            "transition PRIM SECOND start",
            "start_second PRIM SECOND start",
            "start_sec PRIM SECOND start",
        ]
    );
    assert_eq!(
        world.nodes[1].scripts,
        [
            "stop_sec SECOND PRIM stop",
            "stop_second SECOND PRIM stop",
            "transition SECOND PRIM start",
            "start_prim SECOND PRIM start",
        ]
    );
    // Typed on the secondary, a long time later, it moves the role back.
    world.run(60_000);
    world.wish(0, Wish::Swap);
    world.run(5_000);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
}

#[test]
fn two_operators_who_say_prim_at_once_get_one_primary() {
    for between in [0, 1, 3, 6, 12, 40] {
        let mut world = first_start();
        world.wish(0, Wish::Start(StartKind::Prim { force: false }));
        world.run(between);
        world.wish(1, Wish::Start(StartKind::Prim { force: false }));
        // Excused by no operator: they see each other.
        world.chosen = false;
        world.run(2_500);
        let primaries = (0..2).filter(|index| world.active(*index)).count();
        assert_eq!(primaries, 1, "{between} ms apart\n{}", world.tail());
    }
}

#[test]
fn engines_that_refuse_each_other_are_said_once_and_are_the_reason() {
    let mut world = pair();
    world.set_net(true, false);
    world.kill_engine(1);
    world.run(1_000);
    let reason = "the other node has another version of the data link".to_owned();
    for _ in 0..3 {
        for index in 0..2 {
            let reason = reason.clone();
            world.event(index, Event::Engine(EngineEvent::LinkRefused { reason }));
        }
        world.run(200);
    }
    assert_eq!((world.state(0), world.state(1)), ("ALONE Ready".into(), "SECOND Transient".into()));
    for index in 0..2 {
        assert!(world.reason(index).contains(&reason), "{index}: {}", world.reason(index));
    }
    let said = world.log.iter().filter(|line| line.contains("no data link to"));
    assert_eq!(said.count(), 2, "{}", world.tail());
}

#[test]
fn second_beside_a_primary_without_a_link_names_the_link() {
    let mut world = pair();
    world.wish(1, Wish::Stop);
    world.run(4_000);
    world.set_net(false, false);
    world.run(2 * SILENCE_MS);
    world.wish(1, Wish::Start(StartKind::Second { discard: false, full: false }));
    world.run(2 * SILENCE_MS);
    let reason = world.reason(1);
    assert!(reason.contains("no link to n1") && !reason.contains("not primary"), "{reason}");
}
