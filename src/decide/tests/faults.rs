//! Two nodes under seeded faults: cuts of heartbeats and data link, dead engines, dead daemons,
//! power cuts, operators. Never two primaries that see each other, never an acknowledged write on
//! no copy; and when the faults stop, the pair is whole again or says which command decides.
use super::world::World;
use crate::decide::*;

/// What may be cut besides the data link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cuts {
    Heartbeats,
    Everything,
    /// Everything, and one node from the witness as well.
    Witnessed,
}

fn pair(seed: u64, cuts: Cuts) -> World {
    let mut world = World::with(seed, cuts == Cuts::Witnessed);
    world.wish(0, Wish::Start(StartKind::Prim { force: false }));
    world.start(1);
    world.run(4_000);
    world.chosen = false;
    world
}

fn fault(world: &mut World, cuts: Cuts) {
    let partitions = cuts != Cuts::Heartbeats;
    let index = world.random(2) as usize;
    match world.random(19) {
        0..=3 => {
            world.write(0);
            world.write(1);
        }
        4 => world.kill_engine(index),
        5 => world.kill_daemon(index),
        6 => world.power_off(index),
        7 | 8 => {
            let start = world.random(4) > 0;
            world.boot(index, start);
        }
        9 => world.wish(index, Wish::Stop),
        10 => world.start(index),
        11 => world.wish(index, Wish::Swap),
        12 => world.wish(index, Wish::Restart),
        13 => world.set_net(true, true),
        14 if partitions => {
            // Who is cut off stays so until the net is whole again.
            if let Some(answers) = &mut world.witness
                && *answers == [true; 2]
            {
                answers[index] = false;
            }
            world.set_net(false, false);
        }
        14 => world.set_net(true, false),
        16 | 17 => world.nodes[index].gate = !world.nodes[index].gate,
        15 => world.nodes[index].dies_in = Some(world.random(30)),
        _ => world.set_net(world.hearts && !partitions, true),
    }
}

fn calm(world: &mut World) {
    world.set_net(true, true);
    for index in 0..2 {
        world.nodes[index].gate = false;
        world.boot(index, true);
    }
    world.run(12_000);
    for index in 0..2 {
        world.start(index);
    }
    world.run(25_000);
}

/// How many seeds each campaign tries; `LOCKSTEP_SEEDS` asks for more.
fn seeds() -> u64 {
    std::env::var("LOCKSTEP_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(250)
}

fn campaign(seeds: std::ops::Range<u64>, cuts: Cuts) {
    for seed in seeds {
        let mut world = pair(seed, cuts);
        world.log.push(format!("seed {seed}"));
        for _ in 0..25 {
            fault(&mut world, cuts);
            let pause = 1 + world.random(3_000) * world.random(2);
            world.run(pause);
            world.check_data();
        }
        calm(&mut world);
        world.check_data();
        let mut both = [world.state(0), world.state(1)];
        both.sort();
        let whole = both == ["PRIM Ready", "SECOND Ready"];
        let says = (0..2).any(|index| world.reason(index).contains("lockstep"));
        assert!(whole || says, "seed {seed}: {both:?}\n{}", world.tail());
        let double = (0..2).any(|index| world.reason(index).contains("lost-memory-behind"));
        if !world.partitioned && !world.blackout && !double {
            assert!(whole, "seed {seed}: {both:?}\n{}", world.tail());
        }
    }
}

#[test]
fn faults_without_isolation_lose_nothing_and_end_whole() {
    campaign(1..1 + seeds(), Cuts::Heartbeats);
}

#[test]
fn faults_with_isolation_never_overwrite_without_a_command() {
    campaign(1_000_000..1_000_000 + seeds(), Cuts::Everything);
}

#[test]
fn a_witness_keeps_an_isolation_from_becoming_a_fork() {
    campaign(2_000_000..2_000_000 + seeds(), Cuts::Witnessed);
}
