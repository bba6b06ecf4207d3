//! `syncat`: a secondary that goes back to WAIT after each synchronisation.
use super::single::{clear, pair, states};
use crate::decide::*;

#[test]
fn a_scheduled_wait_is_no_error_and_the_application_goes_on() {
    let mut world = pair();
    for node in &mut world.nodes {
        let machine = node.machine.as_mut().unwrap();
        machine.set_policy(Policy { maxloop: 2, ..machine.policy().clone() });
    }
    clear(&mut world);
    for turn in 0..5 {
        let wish = Wish::Wait { reason: "synchronised".to_owned() };
        let caller = Caller::Rule(SYNCAT_RULE.to_owned());
        world.nodes[1].gate = true;
        world.event(1, Event::Wish { ticket: 1, wish, caller });
        world.run(3_000);
        assert_eq!(states(&world), ["ALONE Ready", "WAIT NotReady"], "{turn} {}", world.tail());
        world.write(0);
        // Opened again: by the schedule, or by a person.
        world.nodes[1].gate = false;
        world.run(5_000);
        assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{turn} {}", world.tail());
    }
    assert!(world.nodes[1].machine.as_ref().unwrap().memory().loops.is_empty());
    let scripts = &world.nodes[0].scripts;
    assert!(!scripts.iter().any(|line| line.contains("_prim")), "{scripts:?}");
    let own = world.nodes[0].engine.data.writes.clone();
    assert_eq!(world.nodes[1].engine.data.writes, own);
}
