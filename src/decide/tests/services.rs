//! `restart_services`: the application restarts in place, and its scripts are told which services.
use super::single::{clear, pair, states};
use super::world::World;
use crate::decide::*;

fn restart(world: &mut World, node: usize) -> Vec<String> {
    clear(world);
    let wish = Wish::RestartServices { services: "db, web".to_owned() };
    let caller = Caller::Identity("errd".to_owned());
    world.event(node, Event::Wish { ticket: 1, wish, caller });
    world.run(2_000);
    world.nodes[node].scripts.clone()
}

#[test]
fn the_scripts_of_the_application_are_told_which_services() {
    let mut world = pair();
    let told = [
        "stop_prim PRIM PRIM stop -Services db, web",
        "stop_prim force PRIM PRIM stop -Services db, web",
        "start_prim PRIM PRIM start -Services db, web",
    ];
    assert_eq!(restart(&mut world, 0), told);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
    assert!(world.active(0));
    assert_eq!(world.nodes[0].machine.as_ref().unwrap().memory().loops.len(), 1, "counted");
    world.wish(1, Wish::Stop);
    world.run(3_000);
    assert_eq!(world.state(0), "ALONE Ready", "{}", world.tail());
    assert_eq!(restart(&mut world, 0), told.map(|line| line.replace("PRIM PRIM", "ALONE ALONE")));
}

#[test]
fn a_secondary_restarts_its_own_scripts() {
    let mut world = pair();
    let scripts = restart(&mut world, 1);
    assert!(scripts.iter().any(|line| line == "start_second SECOND SECOND start"), "{scripts:?}");
    assert!(!scripts.iter().any(|line| line.contains("-Services")), "{scripts:?}");
}
