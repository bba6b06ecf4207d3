//! Random lives of two nodes: write, kill, cut the power, cut the link, go alone, take over, stop,
//! return, each interrupted anywhere. Whenever a return ends, the two trees are equal and hold
//! every acknowledged barrier; and when everything is well again, a return always ends.
#![allow(clippy::unwrap_used)] // A test that cannot go on has failed.

mod back;
mod decide;
mod node;
mod world;

use node::{CELLS, OBJECTS, Target};
use proptest::prelude::*;
use world::World;

#[derive(Clone, Debug)]
enum Event {
    Write {
        node: usize,
        target: Target,
        stop: u8,
    },
    Barrier(usize),
    Checkpoint(bool),
    Kill(usize),
    PowerCut(usize, u64),
    /// Both at once.
    Blackout(u64, u64),
    Start(usize),
    Stop(usize),
    CutLink,
    MendLink,
    BreakSession,
    GoAlone(usize, u8),
    TakeOver(usize),
    GoOn(usize),
    Meet(usize),
    Step(u8),
    Snapshot(usize),
    Restore(usize),
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        6 => (0..OBJECTS, 0..CELLS).prop_map(|(object, cell)| Target::Cell(object, cell)),
        1 => (0..OBJECTS).prop_map(Target::Whole),
    ]
}

fn event(power: bool) -> impl Strategy<Value = Event> {
    let node = || 0..2usize;
    let bits = || prop_oneof![3 => Just(0u64), 1 => any::<u64>()];
    let stop = || prop_oneof![5 => Just(9u8), 1 => 0..3u8];
    prop_oneof![
        12 => (node(), target(), stop()).prop_map(|(node, target, stop)| Event::Write { node, target, stop }),
        2 => node().prop_map(Event::Barrier),
        2 => any::<bool>().prop_map(Event::Checkpoint),
        1 => node().prop_map(Event::Kill),
        2 => (node(), bits()).prop_map(|(node, bits)| Event::PowerCut(node, bits)),
        1 => (bits(), bits()).prop_map(|(a, b)| Event::Blackout(a, b)),
        4 => node().prop_map(Event::Start),
        1 => node().prop_map(Event::Stop),
        1 => Just(Event::CutLink),
        3 => Just(Event::MendLink),
        1 => Just(Event::BreakSession),
        3 => (node(), stop()).prop_map(|(node, stop)| Event::GoAlone(node, stop)),
        2 => node().prop_map(Event::TakeOver),
        2 => node().prop_map(Event::GoOn),
        10 => node().prop_map(Event::Meet),
        16 => stop().prop_map(Event::Step),
        1 => node().prop_map(Event::Snapshot),
        1 => node().prop_map(Event::Restore),
    ]
    .prop_map(move |event| match event {
        Event::PowerCut(node, _) if !power => Event::Kill(node),
        Event::Blackout(..) if !power => Event::Kill(0),
        event => event,
    })
}

fn happen(world: &mut World, event: &Event) {
    match *event {
        Event::Write { node, target, stop } => world.write(node, target, stop),
        Event::Barrier(node) => world.barrier(node),
        Event::Checkpoint(done) => world.checkpoint(done),
        Event::Kill(node) => world.die(node, None),
        Event::PowerCut(node, bits) => world.die(node, Some(bits)),
        Event::Blackout(a, b) => {
            world.die(0, Some(a));
            world.die(1, Some(b));
        }
        Event::Start(node) => world.start(node),
        Event::Stop(node) => world.stop(node),
        Event::CutLink => {
            world.cut_session();
            world.link = false;
        }
        Event::MendLink => world.link = true,
        Event::BreakSession => world.cut_session(),
        Event::GoAlone(node, stop) => world.go_alone(node, stop),
        Event::TakeOver(node) => world.take_over(node),
        Event::GoOn(node) => world.go_on(node),
        Event::Meet(winner) => world.meet(winner),
        Event::Step(stop) => world.step(stop),
        Event::Snapshot(node) => world.take_snapshot(node),
        Event::Restore(node) => world.restore_snapshot(node),
    }
}

/// Everything works again: the return must end.
fn heal(world: &mut World, winner: usize) {
    world.link = true;
    for _ in 0..200 {
        if world.is_in_sync() {
            return;
        }
        for node in 0..2 {
            world.start(node);
            world.go_alone(node, 9);
        }
        world.meet(winner);
        world.step(9);
    }
    panic!("a return that never ends");
}

fn live(events: &[Event], winner: usize) -> World {
    let mut world = World::new();
    heal(&mut world, 0);
    for event in events {
        happen(&mut world, event);
    }
    heal(&mut world, winner);

    world
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("LIVES").map_or(8000, |n| n.parse().unwrap()),
        max_shrink_iters: 100_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn equal_after_every_return_and_no_barrier_lost(
        events in prop::collection::vec(event(true), 1..80),
        winner in 0..2usize,
    ) {
        live(&events, winner);
    }

    #[test]
    fn without_a_power_cut_no_answer_is_lost(
        events in prop::collection::vec(event(false), 1..80),
        winner in 0..2usize,
    ) {
        live(&events, winner);
    }
}
