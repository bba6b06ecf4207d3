use super::super::outbox::*;
use super::*;
use std::time::Duration;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn texts(step: Step) -> Vec<String> {
    match step {
        Step::Send(batch) => batch.events.into_iter().map(|event| event.text).collect(),
        other => panic!("nothing to send: {other:?}"),
    }
}

fn push(outbox: &mut Outbox, text: &str) {
    outbox.push(&[event(text, Severity::Info)]);
}

#[test]
fn the_first_goes_at_once_and_the_rest_of_its_minute_together() {
    let mut outbox = Outbox::new("x");
    assert_eq!(outbox.next(s(0)), Step::Idle);
    push(&mut outbox, "a");
    assert_eq!(texts(outbox.next(s(5))), ["a"]);
    assert_eq!(outbox.done(true, s(6)), Done::Delivered);
    push(&mut outbox, "b");
    push(&mut outbox, "c");
    assert_eq!(outbox.next(s(10)), Step::WaitUntil(s(65)));
    assert_eq!(outbox.next(s(64)), Step::WaitUntil(s(65)));
    assert_eq!(texts(outbox.next(s(65))), ["b", "c"]);
    outbox.done(true, s(66));
    assert_eq!(outbox.next(s(66)), Step::Idle);
    push(&mut outbox, "d");
    assert_eq!(texts(outbox.next(s(500))), ["d"], "a quiet time ends the window");
    assert_eq!(outbox.counts().delivered, 3);
}

#[test]
fn what_failed_goes_again_as_it_was_and_later_each_time() {
    let mut outbox = Outbox::new("x");
    push(&mut outbox, "a");
    let Step::Send(first) = outbox.next(s(0)) else { panic!("not sent") };
    let mut now = s(0);
    let mut pauses = Vec::new();
    loop {
        match outbox.done(false, now) {
            Done::AgainIn(pause) => {
                pauses.push(pause.as_secs());
                push(&mut outbox, "later");
                assert_eq!(outbox.next(now), Step::WaitUntil(now + pause));
                now += pause;
                assert_eq!(outbox.next(now), Step::Send(first.clone()));
            }
            done => {
                assert_eq!(done, Done::GivenUp(1));
                break;
            }
        }
    }
    assert_eq!(pauses[..4], [5, 10, 20, 40]);
    assert_eq!((pauses.last(), pauses.len()), (Some(&600), 12));
    let Step::Send(next) = outbox.next(now) else { panic!("not sent") };
    assert_eq!((next.events.len(), next.dropped), (12, 1), "what is lost is told");
    assert_ne!(next.id, first.id);
    let counts = outbox.counts();
    assert_eq!((counts.failures, counts.dropped, counts.waiting), (13, 1, 12));
}

#[test]
fn the_queue_ends_and_the_oldest_go() {
    let mut outbox = Outbox::new("x");
    for number in 0..WAITING_MAX + 7 {
        push(&mut outbox, &number.to_string());
    }
    assert_eq!(outbox.counts().waiting, WAITING_MAX as u64);
    let Step::Send(batch) = outbox.next(s(0)) else { panic!("not sent") };
    assert_eq!((batch.events.len(), batch.dropped), (BATCH_MAX, 7));
    assert_eq!(batch.events[0].text, "7");
    outbox.done(true, s(0));
    let Step::Send(rest) = outbox.next(s(60)) else { panic!("not sent") };
    assert_eq!((rest.dropped, outbox.counts().dropped), (0, 7), "told once");
}
