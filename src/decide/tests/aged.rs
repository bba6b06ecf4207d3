//! `syncdelta`: who leads by the age of a copy, and that nothing is overwritten because of it.
use super::single::{pair, states};
use super::world::{SILENCE_MS, World};
use crate::decide::*;

/// In sync, then both lost their power; only `index` comes back, in sync so many minutes ago.
fn blackout(index: usize, minutes: Option<u64>) -> World {
    let mut world = pair();
    world.power_off(0);
    world.power_off(1);
    world.run(1_000);
    world.boot(index, true);
    world.event(index, Event::Synced(minutes));
    world.run(4 * SILENCE_MS);
    world
}

fn aged(world: &World, index: usize) -> bool {
    world.nodes[index].machine.as_ref().unwrap().memory().aged
}

fn said(world: &World, text: &str) -> bool {
    world.log.iter().any(|line| line.contains(text))
}

#[test]
fn one_of_two_that_lost_power_goes_on_only_if_its_age_is_accepted() {
    let world = blackout(0, None);
    assert_eq!(world.state(0), "WAIT NotReady", "{}", world.tail());
    let world = blackout(0, Some(3));
    assert_eq!(world.state(0), "ALONE Ready", "{}", world.tail());
    assert!(aged(&world, 0));
    assert!(said(&world, "rfs_forceuptodate (syncdelta)"), "{}", world.tail());
    assert!(said(&world, "3 min ago"), "{}", world.tail());
    assert!(world.reason(0).starts_with("primary by syncdelta"), "{}", world.reason(0));
}

#[test]
fn the_other_copy_is_not_overwritten_without_a_decision() {
    let mut world = blackout(0, Some(3));
    world.write(0);
    let kept = world.nodes[1].engine.data.writes.clone();
    world.boot(1, true);
    world.run(3 * SILENCE_MS);
    assert_eq!(states(&world), ["ALONE Ready", "WAIT NotReady"], "{}", world.tail());
    let other = world.nodes[1].machine.as_ref().unwrap();
    assert!(other.needs_decision());
    assert!(other.reason().contains("rfs_forceuptodate"), "{}", other.reason());
    assert_eq!(world.nodes[1].engine.data.writes, kept);
    world.wish(1, Wish::Start(StartKind::Second { discard: false, full: false }));
    let answer = world.nodes[1].answers.last().unwrap();
    assert!(matches!(answer, Err(Refusal::WouldLose(_))), "{answer:?}");
    world.run(SILENCE_MS);
    assert_eq!(world.state(1), "WAIT NotReady", "it goes on waiting");
    assert_eq!(world.nodes[1].engine.data.writes, kept, "refused without --discard");
    world.wish(1, Wish::Start(StartKind::Second { discard: true, full: false }));
    world.run(3 * SILENCE_MS);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
    assert!(!aged(&world, 0), "another copy is in sync with it");
}

#[test]
fn the_mark_outlives_a_stop_and_a_power_cut() {
    let mut world = blackout(0, Some(3));
    world.wish(0, Wish::Stop);
    world.run(3_000);
    world.start(0);
    world.run(3 * SILENCE_MS);
    assert_eq!(world.state(0), "ALONE Ready", "{}", world.tail());
    assert!(aged(&world, 0) && world.reason(0).starts_with("primary by syncdelta"));
    world.power_off(0);
    world.run(1_000);
    world.boot(0, true);
    world.run(3 * SILENCE_MS);
    assert!(aged(&world, 0));
}

/// The secondary was given up, then the primary died for good: what it wrote since is missing.
#[test]
fn an_outdated_copy_leads_by_its_age_and_the_one_that_went_on_decides_nothing_by_itself() {
    let mut world = pair();
    world.wish(1, Wish::Stop);
    world.run(3_000);
    world.write(0);
    world.power_off(0);
    world.run(1_000);
    world.start(1);
    world.event(1, Event::Synced(Some(1)));
    world.run(4 * SILENCE_MS);
    assert_eq!(world.state(1), "ALONE Ready", "{}", world.tail());
    world.write(1);
    let kept = world.nodes[0].engine.data.writes.clone();
    world.boot(0, true);
    world.run(3 * SILENCE_MS);
    assert_eq!(states(&world), ["WAIT NotReady", "ALONE Ready"], "{}", world.tail());
    assert_eq!(world.nodes[0].engine.data.writes, kept);
}

#[test]
fn a_peer_that_is_heard_is_asked_and_not_outrun() {
    let mut world = pair();
    world.wish(1, Wish::Stop);
    world.run(3_000);
    world.write(0);
    world.wish(0, Wish::Stop);
    world.run(3_000);
    world.start(1);
    world.event(1, Event::Synced(Some(1)));
    world.run(4 * SILENCE_MS);
    assert_eq!(states(&world), ["STOP NotReady", "WAIT NotReady"], "{}", world.tail());
}

/// What else keeps an isolated node from going on alone keeps it here too.
#[test]
fn neither_failover_off_nor_a_silent_witness_is_outvoted_by_an_age() {
    for (witness, failover, state) in [
        (Some([true, true]), true, "ALONE Ready"),
        (Some([false, true]), true, "WAIT NotReady"),
        (None, false, "WAIT NotReady"),
    ] {
        let mut world = pair();
        world.wish(0, Wish::Failover(failover));
        world.power_off(0);
        world.power_off(1);
        world.run(1_000);
        world.witness = witness;
        world.boot(0, true);
        world.event(0, Event::Synced(Some(3)));
        world.run(4 * SILENCE_MS);
        assert_eq!(world.state(0), state, "{witness:?} {failover} {}", world.tail());
    }
}
