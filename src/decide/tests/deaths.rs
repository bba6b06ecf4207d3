//! Single faults without chance: a dead node, engine or daemon, a cut link, an isolation, a
//! blackout.
use super::single::{clear, pair, states};
use super::world::{SILENCE_MS, World};
use crate::decide::*;
use crate::model::*;

#[test]
fn a_dead_node_is_replaced_after_the_time_limit_and_not_before() {
    let mut world = pair();
    world.power_off(0);
    world.run(SILENCE_MS - 500);
    assert_eq!(world.role(1), Some(Role::Second));
    world.run(1_500);
    assert_eq!(world.state(1), "ALONE Ready", "{}", world.tail());
    world.write(1);
    world.boot(0, true);
    world.run(5_000);
    assert_eq!(states(&world), ["SECOND Ready", "PRIM Ready"], "{}", world.tail());
    world.check_data();
}

#[test]
fn a_rebooted_primary_is_replaced_at_once() {
    let mut world = pair();
    world.power_off(0);
    world.run(100);
    world.boot(0, false);
    world.run(1_200);
    assert_eq!(world.state(1), "ALONE Ready", "{}", world.tail());
}

#[test]
fn a_dead_engine_of_the_primary_moves_the_role_at_once_and_comes_back_as_second() {
    let mut world = pair();
    world.kill_engine(0);
    world.run(700);
    assert!(world.active(1) && !world.active(0), "{}", world.tail());
    world.run(6_000);
    assert_eq!(states(&world), ["SECOND Ready", "PRIM Ready"], "{}", world.tail());
    world.check_data();
}

#[test]
fn a_dead_engine_of_a_lonely_primary_is_replaced_in_place() {
    let mut world = World::new(3);
    world.wish(0, Wish::Start(StartKind::Prim { force: false }));
    world.run(1_500);
    clear(&mut world);
    world.kill_engine(0);
    world.run(2_000);
    assert_eq!(world.state(0), "ALONE Ready", "{}", world.tail());
    assert!(world.active(0) && world.nodes[0].engine.leads());
    assert_eq!(
        world.nodes[0].scripts.last().map(String::as_str),
        Some("start_sec ALONE ALONE start")
    );
}

#[test]
fn a_dead_engine_of_the_secondary_delays_the_primary_only_shortly() {
    let mut world = pair();
    world.kill_engine(1);
    world.run(120);
    assert_eq!(world.nodes[0].engine.mode, EngineMode::LeadingAlone, "{}", world.tail());
    world.run(5_000);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
}

/// The daemon of the secondary lives, so its silence settles nothing: the primary's application
/// would wait for ever.
#[test]
fn a_hung_engine_of_the_secondary_is_replaced() {
    let mut world = pair();
    world.hang_engine(1);
    world.run(7_000);
    assert_ne!(world.nodes[0].engine.mode, EngineMode::Holding, "{}", world.tail());
    world.run(5_000);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
    world.check_data();
}

#[test]
fn the_death_of_a_daemon_changes_no_role_and_runs_no_script() {
    for index in 0..2 {
        let mut world = pair();
        world.kill_daemon(index);
        world.run(5_000);
        assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
        assert!(world.nodes.iter().all(|node| node.scripts.is_empty()), "{}", world.tail());
    }
}

/// Wherever in a restart of the whole module its daemon dies: it is started again.
#[test]
fn a_daemon_that_dies_in_a_restart_goes_on_with_it() {
    for count in 0..40 {
        let mut world = pair();
        world.kill_engine(0);
        world.nodes[0].dies_in = Some(count);
        world.run(12_000);
        let states = states(&world);
        assert_eq!(states, ["SECOND Ready", "PRIM Ready"], "death {count}\n{}", world.tail());
    }
}

#[test]
fn lost_heartbeats_promote_nobody_while_the_data_link_acknowledges() {
    let mut world = pair();
    world.set_net(false, true);
    world.run(3 * SILENCE_MS);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
}

#[test]
fn a_lost_data_link_outdates_the_secondary_before_anything_is_returned() {
    let mut world = pair();
    world.set_net(true, false);
    world.run(3_000);
    for line in ["n1: The link to n2 was lost: ", "n2: The link to n1 was lost: "] {
        assert!(world.log.iter().any(|logged| logged.contains(line)), "{line}: {:#?}", world.log);
    }
    assert_eq!(world.state(0), "ALONE Ready", "{}", world.tail());
    assert_eq!(world.nodes[1].engine.data.copy, CopyState::Outdated);
    world.power_off(0);
    world.run(3 * SILENCE_MS);
    assert_eq!(world.state(1), "WAIT NotReady", "{}", world.tail());
    // The start of n1 ends this wait, too.
    assert!(!world.nodes[1].machine.as_ref().unwrap().needs_decision());
}

/// After an isolation; n2 had been SECOND.
fn isolated() -> World {
    let mut world = pair();
    world.set_net(false, false);
    world.run(3 * SILENCE_MS);
    assert_eq!(states(&world), ["ALONE Ready", "ALONE Ready"], "{}", world.tail());
    world
}

/// n2 hears nothing while n1 goes on alone, writes and is stopped: what n2 hears then is no reason
/// to take over, for its copy lacks what was acknowledged.
#[test]
fn a_secondary_that_was_cut_off_does_not_take_over_from_a_stopped_primary() {
    for written in [true, false] {
        let mut world = pair();
        world.write(0);
        world.set_net(false, false);
        world.run(SILENCE_MS - 500);
        world.kill_daemon(1);
        world.run(700);
        assert_eq!((world.role(0), world.role(1)), (Some(Role::Alone), Some(Role::Second)));
        if written {
            world.write(0);
        }
        world.wish(0, Wish::Stop);
        world.run(1_000);
        assert_eq!(world.role(0), Some(Role::Stop), "{}", world.tail());
        world.set_net(true, true);
        world.run(4_000);
        let expected = if written { "WAIT NotReady" } else { "ALONE Ready" };
        assert_eq!(world.state(1), expected, "{}", world.tail());
        world.check_data();
        world.start(0);
        world.run(8_000);
        let mut both = states(&world);
        both.sort();
        assert_eq!(both, ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
    }
}

/// A node that was paused longer than the limit does not take the other for dead: it listens first.
#[test]
fn a_paused_node_listens_before_it_decides() {
    let mut world = pair();
    world.set_net(false, false);
    world.run(100);
    let paused = world.now + 10 * SILENCE_MS;
    let machine = world.nodes[1].machine.as_mut().unwrap();
    let actions = machine.on(Event::Tick, Moment(paused));
    assert_eq!(machine.state().role, Role::Second);
    assert!(!actions.iter().any(|action| matches!(action, Action::Order(_))), "{actions:?}");
    let beats = (0..=SILENCE_MS + 300).step_by(300);
    beats.for_each(|beat| drop(machine.on(Event::Tick, Moment(paused + beat))));
    assert!(machine.busy(), "a silence that lasts is decided: {:?}", machine.state());
}

/// One node took over while the other, slower, held its operations: that one gives way, whatever
/// the copies look like at this moment, and the new primary stays.
#[test]
fn a_primary_that_held_gives_way_to_the_one_that_took_over() {
    for late in (0..400).step_by(20) {
        let mut world = pair();
        world.write(0);
        world.set_net(false, false);
        world.write(0);
        world.run(SILENCE_MS - 500);
        // A new daemon has heard nobody yet, and decides later.
        world.kill_daemon(0);
        world.run(700 + late);
        assert_eq!(world.role(0), Some(Role::Prim), "{}", world.tail());
        assert_eq!(world.role(1), Some(Role::Alone), "{}", world.tail());
        world.set_net(true, true);
        world.run(200);
        world.write(1);
        world.run(8_000);
        assert_eq!(states(&world), ["SECOND Ready", "PRIM Ready"], "{}", world.tail());
        assert!(world.log.iter().all(|line| !line.contains("n2: Split brain recovery: exiting")));
        world.check_data();
    }
}

#[test]
fn after_both_were_alone_the_one_that_wrote_nothing_follows() {
    for writer in 0..2 {
        let mut world = isolated();
        world.write(writer);
        world.run(1_000);
        world.set_net(true, true);
        world.run(8_000);
        let expected = if writer == 0 {
            ["PRIM Ready", "SECOND Ready"]
        } else {
            ["SECOND Ready", "PRIM Ready"]
        };
        assert_eq!(states(&world), expected, "writer {writer}\n{}", world.tail());
        world.check_data();
    }
}

#[test]
fn after_both_wrote_the_former_second_stops_and_nothing_is_overwritten_without_a_command() {
    let mut world = isolated();
    world.write(0);
    world.write(1);
    let kept = world.nodes[1].engine.data.writes.clone();
    world.run(1_000);
    world.set_net(true, true);
    world.run(10_000);
    assert_eq!(states(&world), ["ALONE Ready", "WAIT NotReady"], "{}", world.tail());
    let reason = world.reason(1);
    // Also after a plain start, which finds the same fork.
    for start in [false, true] {
        if start {
            world.start(1);
            world.run(5_000);
        }
        assert_eq!(world.state(1), "WAIT NotReady", "{}", world.tail());
        assert!(world.nodes[1].machine.as_ref().unwrap().needs_decision(), "{}", world.tail());
        assert!(!world.nodes[0].machine.as_ref().unwrap().needs_decision());
        let stays = world.reason(0);
        let command = "a person must decide: to keep this copy `lockstep second --discard -m m` on";
        assert!(stays.contains(command), "{stays}");
    }
    assert!(reason.contains("second --discard -m m"), "{reason}");
    assert!(reason.contains("n1 is at operation") && reason.contains("n2 is at operation"));
    assert_eq!(world.nodes[1].engine.data.writes, kept);
    assert!(!world.active(1));
    world.wish(1, Wish::Start(StartKind::Second { discard: true, full: false }));
    world.run(5_000);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
}

#[test]
fn two_equal_copies_that_start_together_become_one_pair() {
    for seed in 0..40 {
        let mut world = pair();
        world.wish(1, Wish::Stop);
        world.run(4_000);
        world.wish(0, Wish::Stop);
        world.run(4_000);
        assert_eq!(states(&world), ["STOP NotReady", "STOP NotReady"]);
        world.start(0);
        world.run(seed * 10);
        world.start(1);
        world.run(8_000);
        assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
    }
}

#[test]
fn after_a_blackout_the_first_one_back_waits_for_the_other() {
    let mut world = pair();
    world.power_off(0);
    world.power_off(1);
    world.boot(1, true);
    world.run(5_000);
    assert_eq!(world.state(1), "WAIT NotReady", "{}", world.tail());
    world.boot(0, true);
    world.run(8_000);
    let mut both = states(&world);
    both.sort();
    assert_eq!(both, ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
}

#[test]
fn a_lonely_start_of_the_only_member_leads_after_a_short_grace() {
    let mut world = World::new(3);
    world.power_off(1);
    world.wish(0, Wish::Start(StartKind::Prim { force: false }));
    world.run(1_500);
    world.wish(0, Wish::Stop);
    world.run(3_000);
    world.start(0);
    world.run(2_500);
    assert_eq!(world.state(0), "ALONE Ready", "{}", world.tail());
}

#[test]
fn refusals_have_names() {
    let mut world = pair();
    world.wish(0, Wish::Start(StartKind::Normal));
    world.wish(1, Wish::Wakeup);
    assert!(matches!(world.nodes[0].answers.last(), Some(Err(Refusal::AlreadyThere(_)))));
    assert!(matches!(world.nodes[1].answers.last(), Some(Err(Refusal::AlreadyThere(_)))));
    world.wish(1, Wish::Stop);
    world.run(4_000);
    world.wish(1, Wish::Start(StartKind::Prim { force: false }));
    assert!(matches!(world.nodes[1].answers.last(), Some(Err(Refusal::PeerPrimary(_)))));
    world.wish(0, Wish::Swap);
    assert!(matches!(world.nodes[0].answers.last(), Some(Err(Refusal::WrongState { .. }))));
    world.wish(0, Wish::Stop);
    world.run(4_000);
    world.wish(1, Wish::Start(StartKind::Second { discard: false, full: false }));
    assert!(matches!(world.nodes[1].answers.last(), Some(Err(Refusal::PeerNotPrimary(_)))));
}

/// A wish that changes what is overwritten is not lost because a return is under way.
#[test]
fn discard_on_the_way_is_refused_unless_it_was_said_before() {
    let second = |discard, full| Wish::Start(StartKind::Second { discard, full });
    for said in [false, true] {
        let mut world = pair();
        world.wish(1, Wish::Stop);
        world.run(4_000);
        world.write(0);
        world.wish(1, second(said, false));
        while world.state(1) != "SECOND Transient" {
            world.run(10);
        }
        world.wish(1, second(false, false));
        world.wish(1, second(true, false));
        world.wish(1, second(false, true));
        let answers = &world.nodes[1].answers[world.nodes[1].answers.len() - 3..];
        let already = |at: usize| matches!(answers[at], Err(Refusal::AlreadyThere(_)));
        let begun = |at: usize, option: &str| matches!(&answers[at], Err(refusal) if refusal.to_string().contains(option));
        assert!(already(0), "{answers:?}");
        assert_eq!(already(1), said, "{answers:?}");
        assert!(said || begun(1, "`lockstep second --discard -m m`"), "{answers:?}");
        assert!(begun(2, "`lockstep second fullsync -m m`"), "{answers:?}");
        world.run(4_000);
        assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
        world.wish(1, second(true, false));
        assert!(matches!(world.nodes[1].answers.last(), Some(Err(Refusal::AlreadyThere(_)))));
    }
}

#[test]
fn the_fourth_error_within_the_interval_stops_the_module() {
    let mut world = pair();
    let mut policy = world.nodes[0].machine.as_ref().unwrap().policy().clone();
    policy.maxloop = 3;
    world.nodes[0].machine.as_mut().unwrap().set_policy(policy);
    for round in 1..=4 {
        let caller = Caller::Identity("errd".to_owned());
        world.event(0, Event::Wish { ticket: round, wish: Wish::Restart, caller });
        world.run(3_000);
    }
    assert_eq!(states(&world), ["STOP NotReady", "ALONE Ready"], "{}", world.tail());
    assert!(world.log.iter().any(|line| line.ends_with("Action stop called by maxloop")));
    assert!(world.reason(0).starts_with("stopped: more than 3"), "{}", world.reason(0));
    let told = "n1 leaves: stopped: more than 3";
    assert!(world.log.iter().any(|line| line.contains(told)), "{}", world.tail());
}

/// What ends while a person stops the module, or afterwards, starts nothing again.
#[test]
fn a_death_in_a_stop_starts_nothing_again() {
    let mut world = pair();
    world.wish(0, Wish::Stop);
    for later in [20, 100, 6_000] {
        world.run(later);
        let caller = Caller::Identity("errd".to_owned());
        world.event(0, Event::Wish { ticket: 2, wish: Wish::StopStart, caller });
    }
    world.run(5_000);
    assert_eq!(states(&world), ["STOP NotReady", "ALONE Ready"], "{}", world.tail());
}

/// Who acts by itself is named, here and on the other node; only what a person had done resets the
/// counter, not what was refused.
#[test]
fn errors_are_called_by_their_name() {
    let mut world = pair();
    let identity = |who: &str| Caller::Identity(who.to_owned());
    let stopstart = Event::Wish { ticket: 1, wish: Wish::StopStart, caller: identity("errd") };
    world.event(0, stopstart);
    world.wish(0, Wish::Swap);
    assert!(matches!(world.nodes[0].answers.last(), Some(Err(_))), "refused");
    let machine = world.nodes[0].machine.as_ref().unwrap();
    assert_eq!((machine.memory().loops.len(), machine.reason()), (1, "stopstart by errd"));
    world.run(1_000);
    let told = "n1 leaves: stopstart by errd";
    assert!(world.log.iter().any(|line| line.contains(told)), "{}", world.tail());
    let caller = Caller::Rule("r".to_owned());
    world.run(8_000);
    world.event(1, Event::Wish { ticket: 2, wish: Wish::StopStart, caller });
    world.run(1_000);
    let told = "n2 leaves: stopstart by failover rule r";
    assert!(world.log.iter().any(|line| line.contains(told)), "{}", world.tail());
}

#[test]
fn failover_off_waits() {
    let mut world = pair();
    world.wish(1, Wish::Failover(false));
    world.power_off(0);
    world.run(SILENCE_MS + 5_000);
    assert_eq!(world.state(1), "WAIT NotReady", "{}", world.tail());
    world.boot(0, true);
    world.run(8_000);
    let mut both = states(&world);
    both.sort();
    assert_eq!(both, ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
}

/// One side writes at the very moment at which they see each other again: what a daemon knows of
/// its own engine is a moment old, and yet only one of them gives way, the one that did not write.
#[test]
fn what_is_written_while_they_meet_again_lets_only_one_side_give_way() {
    for writer in 0..2 {
        for (before, after) in
            [(900, 0), (20, 0), (1, 0)].into_iter().chain((0..12).map(|ms| (0, ms)))
        {
            let mut world = isolated();
            let acked = world.acked.len();
            if before > 0 {
                world.write(writer);
                world.run(before);
            }
            world.set_net(true, true);
            world.run(after);
            if before == 0 {
                world.write(writer);
            }
            for _ in 0..800 {
                world.run(10);
                let primary = |index| world.role(index).is_some_and(Role::is_primary);
                assert!(primary(0) || primary(1), "nobody is primary\n{}", world.tail());
            }
            // What came behind the fence was refused, and nobody wrote.
            let wrote = world.acked.len() > acked;
            let expected = match writer {
                1 if wrote => ["SECOND Ready", "PRIM Ready"],
                _ => ["PRIM Ready", "SECOND Ready"],
            };
            let case = format!("writer {writer}, {before} ms before, {after} ms after");
            assert_eq!(states(&world), expected, "{case}\n{}", world.tail());
            world.check_data();
        }
    }
}

/// The side that gave way hears that the other one wrote, and is cut off again before it has that:
/// it does not lead.
#[test]
fn whoever_gave_way_does_not_lead_without_what_it_lacks() {
    let mut world = isolated();
    world.write(0);
    world.run(1_500);
    // The data link stays down: nothing returns.
    world.set_net(true, false);
    world.run(1_000);
    assert_eq!(world.role(1), Some(Role::Second), "{}", world.tail());
    world.set_net(false, false);
    world.run(60_000);
    assert!(!world.role(1).is_some_and(Role::is_primary), "{}", world.tail());
    assert_eq!(world.role(0), Some(Role::Alone), "{}", world.tail());
    world.set_net(true, true);
    world.run(8_000);
    assert_eq!(states(&world), ["PRIM Ready", "SECOND Ready"], "{}", world.tail());
    world.check_data();
}
