//! `rfs scripts="on"`: where `_rfs_callback` is called, and that its error counts.
use super::single::{clear, states};
use super::world::World;
use crate::decide::*;

/// `prim` on n1, `second` on n2, call-backs on both.
fn pair(exit: i32) -> World {
    let mut world = World::new(7);
    for node in &mut world.nodes {
        let machine = node.machine.as_mut().unwrap();
        machine.set_policy(Policy { callbacks: true, ..machine.policy().clone() });
    }
    world.nodes[1].exits.insert(Script::RfsStartsynch, exit);
    world.wish(0, Wish::Start(StartKind::Prim { force: false }));
    world.run(1_500);
    world.write(0);
    world.wish(1, Wish::Start(StartKind::Second { discard: false, full: false }));
    world.run(3_000);
    world.chosen = false;
    world
}

fn called(world: &World, node: usize) -> Vec<&str> {
    let scripts = world.nodes[node].scripts.iter();
    scripts.filter_map(|line| line.strip_prefix("_rfs_callback ")).collect()
}

#[test]
fn a_secondary_is_asked_before_its_copy_is_overwritten() {
    let world = pair(0);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
    assert_eq!(world.nodes[1].scripts[2], "_rfs_callback _rfs_startsynch WAIT SECOND start");
    assert_eq!((called(&world, 0).len(), called(&world, 1).len()), (0, 1));
}

#[test]
fn a_swap_asks_behind_stop_prim_and_again_before_it_follows() {
    let mut world = pair(0);
    clear(&mut world);
    world.wish(0, Wish::Swap);
    world.run(5_000);
    assert_eq!(states(&world), ["SECOND Ready", "PRIM Ready"], "{}", world.tail());
    assert_eq!(
        world.nodes[0].scripts[..5],
        [
            "stop_prim PRIM SECOND stop",
            "stop_prim force PRIM SECOND stop",
            "_rfs_callback _rfs_pritoscd PRIM SECOND start",
            "transition PRIM SECOND start",
            "_rfs_callback _rfs_startsynch PRIM SECOND start",
        ]
    );
    assert_eq!(called(&world, 1), Vec::<&str>::new());
}

#[test]
fn nothing_is_fetched_while_startsynch_fails_and_it_is_tried_again() {
    let mut world = pair(2);
    assert_eq!(states(&world), ["ALONE Ready", "WAIT NotReady"], "{}", world.tail());
    assert!(world.reason(1).contains("_rfs_startsynch ended with exit code 2"), "{}", world.tail());
    world.nodes[1].exits.clear();
    world.run(8_000);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
}

#[test]
fn a_swap_whose_pritoscd_fails_is_given_up() {
    let mut world = pair(0);
    world.nodes[0].exits.insert(Script::RfsPritoscd, 3);
    world.wish(0, Wish::Swap);
    world.run(5_000);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
    assert!(world.active(0) && !world.active(1), "{}", world.tail());
    let said = "the swap was given up: _rfs_callback _rfs_pritoscd ended with exit code 3";
    assert!(world.log.iter().any(|line| line.contains(said)), "{}", world.tail());
}
