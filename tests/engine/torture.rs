//! S1, S7, for as long as somebody has patience: random programs on the same few names, random
//! deaths of either engine, returns under load. After each story both copies are equal.
//! `bin-scripts/torture COUNT [FIRST]` runs it; the seed of a failure is printed.
use crate::kills::lost;
use crate::left_out::assert_equal_without;
use crate::pair::Pair;
use crate::random::{Random, tell};
use crate::returns::{Churning, churn, return_at_once};
use lockstep::model::{EngineEvent, Level, NotReplicated};
use std::time::Duration;

#[test]
#[ignore = "runs as long as it is told to, see bin-scripts/torture"]
fn torture() {
    tell(story);
}

/// Some of the names that the programs use, in every third story: renames and links across the edge
/// included.
fn left_out() -> [NotReplicated; 3] {
    let pattern = |text: &str| NotReplicated::Pattern { pattern: text.into(), only: false };
    [pattern("\\.tmp$"), pattern("^n1[01]$"), NotReplicated::Path("churn/d1/e".into())]
}

/// What [`left_out`] says, as find(1) says it.
const LEFT_OUT: &str = "-name '*.tmp' -o -name n10 -o -name n11 -o -path ./churn/d1/e";

fn story(seed: u64) {
    let mut random = Random(seed);
    let level = random.one_of(&[Level::Mirror, Level::Mirror, Level::Memory, Level::Disk]);
    let leaves_out = random.below(3) == 0;
    let rules = left_out();
    let mut pair = Pair::without(level, if leaves_out { &rules } else { &[] });
    pair.begin();
    churn(&pair.n1, &pair.dir, seed, 1 + random.below(800));
    for step in 0..3 + random.below(3) {
        let load = |pair: &Pair, count: u64| -> Vec<Churning> {
            let seeds = (0..count).map(|n| seed * 100 + step * 10 + n);
            seeds.map(|seed| Churning::start(&pair.n1, &pair.dir, seed)).collect()
        };
        let deeds = 1 + random.below(400);
        let kind = random.below(6);
        println!("  step {step}: kind {kind}, {level:?}, leaves out: {leaves_out}");
        match kind {
            // The secondary dies under load and comes back under load.
            0 => {
                let running = load(&pair, 1 + random.below(2));
                pair.n2.kill();
                pair.n1.wait(lost);
                pair.n1.go_alone();
                churn(&pair.n1, &pair.dir, seed + step, deeds);
                return_at_once(&mut pair);
                running.into_iter().for_each(|running| running.stop(&pair.n1));
            }
            // The secondary dies at rest; the load begins with its return.
            1 => {
                pair.lose_n2();
                churn(&pair.n1, &pair.dir, seed + step, deeds);
                let running = load(&pair, 1 + random.below(3));
                return_at_once(&mut pair);
                running.into_iter().for_each(|running| running.stop(&pair.n1));
            }
            // The only one that is left dies under load, more than once.
            2 => {
                pair.lose_n2();
                for life in 0..1 + random.below(2) {
                    let running = load(&pair, 1 + random.below(3));
                    churn(&pair.n1, &pair.dir, seed + step + life, deeds);
                    pair.n1.kill();
                    running.into_iter().for_each(|running| running.ended(&pair.n1));
                    pair.n1.start();
                    pair.n1.lead(false);
                }
                let running = load(&pair, random.below(3));
                return_at_once(&mut pair);
                running.into_iter().for_each(|running| running.stop(&pair.n1));
            }
            // The secondary returns under load and its primary dies in the middle, more than once.
            3 => {
                pair.lose_n2();
                churn(&pair.n1, &pair.dir, seed + step, deeds);
                pair.n2.start();
                pair.n2.follow(false);
                for _ in 0..1 + random.below(3) {
                    let running = load(&pair, 1 + random.below(3));
                    std::thread::sleep(Duration::from_millis(random.below(250)));
                    pair.n1.kill();
                    running.into_iter().for_each(|running| running.ended(&pair.n1));
                    pair.n1.start();
                    pair.n1.lead(false);
                }
                let running = load(&pair, random.below(3));
                pair.n1.wait(|event| matches!(event, EngineEvent::PeerReady { .. }));
                running.into_iter().for_each(|running| running.stop(&pair.n1));
            }
            // The secondary hangs under load for a moment, and goes on or is ended.
            4 => {
                let running = load(&pair, 1 + random.below(3));
                pair.n2.signal("STOP");
                std::thread::sleep(Duration::from_millis(random.below(600)));
                if random.below(2) == 0 {
                    pair.n2.signal("CONT");
                } else {
                    pair.n2.kill();
                    pair.n1.wait(lost);
                    pair.n1.go_alone();
                    return_at_once(&mut pair);
                }
                churn(&pair.n1, &pair.dir, seed + step, deeds);
                running.into_iter().for_each(|running| running.stop(&pair.n1));
            }
            // The primary dies under load; the other one leads, and it returns.
            _ => {
                let running = load(&pair, 1 + random.below(2));
                churn(&pair.n1, &pair.dir, seed + step, deeds);
                pair.n1.kill();
                running.into_iter().for_each(|running| running.ended(&pair.n1));
                pair.n2.wait(|event| matches!(event, EngineEvent::PrimaryLost { .. }));
                pair.n2.lead(false);
                std::mem::swap(&mut pair.n1, &mut pair.n2);
                let running = load(&pair, random.below(3));
                churn(&pair.n1, &pair.dir, seed + step, 1 + random.below(400));
                return_at_once(&mut pair);
                running.into_iter().for_each(|running| running.stop(&pair.n1));
            }
        }
        match leaves_out {
            true => assert_equal_without(&pair, LEFT_OUT),
            false => pair.assert_equal(),
        }
    }
}
