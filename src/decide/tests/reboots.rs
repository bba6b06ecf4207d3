//! `automatic_reboot`: an error that would stop and start the module boots the server instead,
//! and never more often than `maxloop` allows.
use super::single::{pair, states};
use super::world::World;
use crate::decide::*;

/// Node n1 has `automatic_reboot` and may fail three times.
fn reboots(world: &mut World) {
    let machine = world.nodes[0].machine.as_mut().unwrap();
    let policy = Policy { automatic_reboot: true, maxloop: 3, ..machine.policy().clone() };
    machine.set_policy(policy);
}

fn stopstart(world: &mut World, caller: Caller) {
    world.event(0, Event::Wish { ticket: 1, wish: Wish::StopStart, caller });
    world.run(4_000);
}

fn errd() -> Caller {
    Caller::Identity("errd".to_owned())
}

/// What the hub was told to do, done.
fn boot(world: &mut World) {
    world.power_off(0);
    world.run(1_000);
    world.boot(0, false);
    reboots(world);
    let wish = Wish::Start(StartKind::Normal);
    world.event(0, Event::Wish { ticket: 1, wish, caller: Caller::Boot });
    world.run(6_000);
}

#[test]
fn an_error_boots_the_server_when_the_forced_stops_are_done() {
    for caller in [errd(), Caller::Rule("tcp_failure".to_owned())] {
        let mut world = pair();
        reboots(&mut world);
        stopstart(&mut world, caller);
        assert_eq!(states(&world), ["STOP NotReady", "ALONE Ready"], "{}", world.tail());
        assert_eq!(world.nodes[0].reboots, 1, "{}", world.tail());
        assert!(world.reason(0).starts_with("the server reboots"), "{}", world.reason(0));
        assert_eq!(world.nodes[0].scripts.last().unwrap(), "transition WAIT STOP stopstart");
        assert!(world.nodes[0].machine.as_ref().unwrap().memory().running, "boot=auto starts it");
        boot(&mut world);
        assert_eq!(states(&world), ["SECOND Ready", "PRIM Ready"], "{}", world.tail());
    }
}

#[test]
fn a_person_and_a_module_without_it_only_start_again() {
    let mut world = pair();
    reboots(&mut world);
    stopstart(&mut world, Caller::User("root".to_owned()));
    assert_eq!(world.nodes[0].reboots, 0, "{}", world.tail());
    let mut world = pair();
    stopstart(&mut world, errd());
    assert_eq!(world.nodes[0].reboots, 0, "{}", world.tail());
    assert_eq!(states(&world), ["SECOND Ready", "PRIM Ready"], "{}", world.tail());
}

#[test]
fn the_death_of_an_engine_boots_the_server_of_a_primary_with_a_secondary() {
    let mut world = pair();
    reboots(&mut world);
    world.kill_engine(0);
    world.run(5_000);
    assert_eq!(states(&world), ["STOP NotReady", "ALONE Ready"], "{}", world.tail());
    assert_eq!(world.nodes[0].reboots, 1, "{}", world.tail());
}

#[test]
fn the_fourth_error_stops_the_module_across_boots() {
    let mut world = pair();
    reboots(&mut world);
    for round in 1..=3 {
        stopstart(&mut world, errd());
        assert_eq!(world.nodes[0].reboots, round, "{}", world.tail());
        boot(&mut world);
    }
    stopstart(&mut world, errd());
    assert_eq!(world.nodes[0].reboots, 3, "{}", world.tail());
    assert_eq!(world.state(0), "STOP NotReady");
    assert!(!world.nodes[0].machine.as_ref().unwrap().memory().running, "a boot starts nothing");
    // Whoever looks after it begins anew.
    world.start(0);
    world.run(4_000);
    stopstart(&mut world, errd());
    assert_eq!(world.nodes[0].reboots, 4, "{}", world.tail());
}

#[test]
fn a_boot_for_another_reason_begins_the_count_anew() {
    let mut world = pair();
    reboots(&mut world);
    for _ in 0..3 {
        stopstart(&mut world, errd());
        boot(&mut world);
    }
    boot(&mut world);
    stopstart(&mut world, errd());
    assert_eq!(world.nodes[0].reboots, 4, "{}", world.tail());
}

#[test]
fn a_daemon_that_dies_on_the_way_boots_the_server_all_the_same() {
    for after in 1..40 {
        let mut world = pair();
        reboots(&mut world);
        world.nodes[0].dies_in = Some(after);
        stopstart(&mut world, errd());
        if world.nodes[0].dies_in.is_some() {
            break;
        }
        world.run(6_000);
        assert_eq!(world.nodes[0].reboots, 1, "died after {after}\n{}", world.tail());
    }
}
