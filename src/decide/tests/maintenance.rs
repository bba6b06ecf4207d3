//! Maintenance: nothing happens by itself, both nodes know it, and it ends by itself.
use super::single::{pair, states};
use super::world::{SILENCE_MS, World};
use crate::decide::*;

const LENGTH_MS: u64 = 120_000;

fn on(world: &mut World, index: usize, reason: &str) {
    let asked = Asked::new("ops", reason, LENGTH_MS).unwrap();
    world.wish(index, Wish::Maintenance(Some(asked)));
    assert!(world.nodes[index].answers.last().unwrap().is_ok(), "{}", world.tail());
    world.run(500);
}

fn reason(world: &World, index: usize) -> Option<String> {
    let machine = world.nodes[index].machine.as_ref().unwrap();
    machine.memory().maintenance.window().map(|window| window.reason().to_owned())
}

fn said(world: &World, words: &str) -> usize {
    world.log.iter().filter(|line| line.contains(words)).count()
}

fn by(world: &mut World, index: usize, wish: Wish, caller: Caller) -> Result<String, Refusal> {
    world.event(index, Event::Wish { ticket: 1, wish, caller });
    world.nodes[index].answers.last().unwrap().clone()
}

#[test]
fn a_secondary_does_not_take_over_and_both_are_whole_again_afterwards() {
    let mut world = pair();
    // Typed at the primary; the secondary learns of it.
    on(&mut world, 0, "new kernel");
    assert_eq!(reason(&world, 1).as_deref(), Some("new kernel"), "{}", world.tail());
    world.power_off(0);
    world.run(SILENCE_MS + 5_000);
    assert_eq!(world.state(1), "WAIT NotReady", "{}", world.tail());
    assert_eq!(said(&world, "nothing takes over by itself"), 1, "{}", world.tail());
    world.boot(0, true);
    world.run(8_000);
    let mut both = states(&world);
    both.sort();
    assert_eq!(both, ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
    // It is over: the next death is answered.
    world.run(LENGTH_MS);
    assert_eq!((reason(&world, 0), reason(&world, 1)), (None, None));
    let prim = usize::from(world.state(1) == "PRIM Ready");
    world.power_off(prim);
    world.run(SILENCE_MS + 5_000);
    assert_eq!(world.state(1 - prim), "ALONE Ready", "{}", world.tail());
}

#[test]
fn what_acts_by_itself_only_reports_and_people_go_on_as_before() {
    let mut world = pair();
    on(&mut world, 0, "x");
    let errd = || Caller::Identity("errd".to_owned());
    let rule = || Caller::Rule("ip_failure".to_owned());
    let wait = Wish::Wait { reason: "r".to_owned() };
    let loops = world.nodes[0].machine.as_ref().unwrap().memory().loops.clone();
    for (wish, caller) in [
        (Wish::Restart, errd()),
        (Wish::StopStart, errd()),
        (Wish::Swap, errd()),
        (wait.clone(), rule()),
        (Wish::Stop, rule()),
        (Wish::Wakeup, rule()),
    ] {
        let answer = by(&mut world, 0, wish.clone(), caller);
        assert!(matches!(answer, Err(Refusal::Maintained { .. })), "{wish:?}: {answer:?}");
    }
    let machine = world.nodes[0].machine.as_ref().unwrap();
    assert!(!machine.acts_by_itself());
    assert_eq!((machine.memory().loops.clone(), world.state(0)), (loops, "PRIM Ready".into()));
    by(&mut world, 0, Wish::Swap, Caller::User("root".to_owned())).unwrap();
    world.run(5_000);
    assert_eq!(states(&world), ["SECOND Ready", "PRIM Ready"], "{}", world.tail());
    world.wish(1, Wish::Maintenance(None));
    world.run(500);
    assert_eq!((reason(&world, 0), reason(&world, 1)), (None, None), "{}", world.tail());
    by(&mut world, 1, Wish::Restart, errd()).unwrap();
}

#[test]
fn the_end_is_announced_once_and_comes_by_itself_on_both_nodes() {
    let mut world = pair();
    on(&mut world, 1, "first");
    // A second one changes reason and end; the first one's end is none any more.
    world.run(LENGTH_MS / 2);
    on(&mut world, 0, "second");
    assert_eq!(reason(&world, 1).as_deref(), Some("second"));
    world.run(LENGTH_MS * 3 / 4 - 2_000);
    assert_eq!(said(&world, "gives it more time"), 0, "{}", world.tail());
    world.run(4_000);
    assert_eq!(said(&world, "gives it more time"), 2, "{}", world.tail());
    assert!(reason(&world, 0).is_some() && reason(&world, 1).is_some());
    // A daemon that dies meanwhile forgets nothing and says nothing twice.
    world.kill_daemon(0);
    world.run(2_000);
    assert_eq!(reason(&world, 0).as_deref(), Some("second"), "{}", world.tail());
    world.run(LENGTH_MS / 4);
    assert_eq!((reason(&world, 0), reason(&world, 1)), (None, None), "{}", world.tail());
    assert_eq!(said(&world, "gives it more time"), 2, "{}", world.tail());
    world.run(10_000);
    let ends = said(&world, "Maintenance by ops is over") + said(&world, "Maintenance ended on");
    assert_eq!(ends, 2, "{}", world.tail());
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"]);
}

#[test]
fn a_node_that_was_away_learns_of_both_begin_and_end() {
    let mut world = pair();
    world.power_off(1);
    world.run(SILENCE_MS + 5_000);
    on(&mut world, 0, "x");
    world.boot(1, true);
    world.run(8_000);
    assert_eq!(reason(&world, 1).as_deref(), Some("x"), "{}", world.tail());
    world.power_off(1);
    world.wish(0, Wish::Maintenance(None));
    world.run(SILENCE_MS);
    world.boot(1, true);
    world.run(8_000);
    assert_eq!((reason(&world, 0), reason(&world, 1)), (None, None), "{}", world.tail());
    world.wish(1, Wish::Maintenance(None));
    let answer = world.nodes[1].answers.last().unwrap();
    assert!(matches!(answer, Err(Refusal::AlreadyThere(_))), "{answer:?}");
}

#[test]
fn what_is_asked_for_has_limits() {
    for (owner, reason, ms, word) in [
        ("", "x", LENGTH_MS, "--owner"),
        ("ops", " ", LENGTH_MS, "--reason"),
        ("ops", "a\nb", LENGTH_MS, "--reason"),
        ("ops", "x", 59_999, "--for"),
        ("ops", "x", 31 * 86_400_000, "--for"),
    ] {
        let error = Asked::new(owner, reason, ms).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(length(7_500_000), "2 h 5 min");
    assert_eq!(
        (length(100), length(119_000), length(86_400_000)),
        ("1 s".into(), "119 s".into(), "1 d 0 h".into())
    );
}

/// The clock of a boot begins anew: what is left of a window is what is left after the time off.
#[test]
fn a_reboot_takes_the_time_that_it_took() {
    let mut world = pair();
    on(&mut world, 0, "x");
    let memory = world.nodes[0].machine.as_ref().unwrap().memory().clone();
    let now = Moment(world.now);
    let left = memory.maintenance.window().unwrap().remaining_ms(now);
    let mut after = memory.after_reboot().maintenance;
    after.after_reboot(now, 30_000, Moment(7));
    assert_eq!(after.window().unwrap().remaining_ms(Moment(7)), left - 30_000);
    after.after_reboot(Moment(7), LENGTH_MS, Moment(3));
    assert_eq!(after.window().unwrap().remaining_ms(Moment(3)), 0);
}
