//! Goal: an action comes when it was due and only then, whatever the order of changes, and never
//! twice. Single stories first, then random ones against a naive recomputation from all history.
use super::*;
use crate::rules::{Table, language};
use proptest::prelude::*;

const PERIOD: u64 = 5;
const HANDLE: u64 = 15;

fn rules(text: &str) -> Vec<Rule> {
    language::parse(text).unwrap_or_else(|slip| panic!("{text}: {slip:?}"))
}

/// An engine, its resources and what it said.
struct Story {
    engine: Rules,
    table: Table,
}

impl Story {
    fn new(text: &str) -> Story {
        let ms = Duration::from_millis;
        Story { engine: Rules::new(rules(text), ms(PERIOD), ms(HANDLE)), table: Table::default() }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.table.local.insert(name.to_owned(), value.to_owned());
    }

    /// Labels of what is done now.
    fn at(&mut self, now: u64) -> String {
        let verdicts = self.engine.evaluate(&self.table, Moment(now));
        let label = |verdict: &Verdict| match verdict {
            Verdict::Act { label, .. } | Verdict::Assign { label, .. } => label.clone(),
        };
        verdicts.iter().map(label).collect::<Vec<_>>().join(" ")
    }

    fn deadline(&self) -> Option<u64> {
        self.engine.deadline().map(|due| due.0)
    }
}

#[test]
fn an_action_comes_after_the_handle_time_and_once() {
    let mut story = Story::new("a: if (x.a == down) then restart();");
    assert_eq!((story.at(0), story.deadline()), (String::new(), None));
    story.set("x.a", "down");
    assert_eq!((story.at(100), story.deadline()), (String::new(), Some(115)));
    assert_eq!(story.at(114), "");
    let act = Verdict::Act { label: "a".to_owned(), action: Action::Restart };
    assert_eq!(story.engine.evaluate(&story.table, Moment(115)), [act]);
    assert_eq!((story.at(1_000), story.deadline()), (String::new(), None));
}

/// What it looks at was confirmed by a second look already.
#[test]
fn some_rules_act_at_once_and_wait_like_others_when_they_are_refused() {
    let mut story =
        Story::new("a: if (x.a == down) then restart(); b: if (x.b == down) then restart();");
    story.engine = story.engine.at_once(&["a".to_owned()]);
    story.set("x.b", "down");
    story.set("x.a", "down");
    assert_eq!(story.at(100), "a");
    story.engine.rearm(Moment(100));
    assert_eq!((story.at(101), story.deadline()), (String::new(), Some(115)));
    story.set("x.b", "up");
    assert_eq!(story.at(114), "");
    assert_eq!(story.at(115), "a");
}

#[test]
fn a_break_begins_the_handle_time_again() {
    let mut story = Story::new("a: if (x.a == down) then restart();");
    story.set("x.a", "down");
    assert_eq!(story.at(0), "");
    story.set("x.a", "up");
    assert_eq!((story.at(14), story.deadline()), (String::new(), None));
    story.set("x.a", "down");
    assert_eq!((story.at(14), story.deadline()), (String::new(), Some(29)));
    assert_eq!(story.at(28), "");
    assert_eq!(story.at(29), "a");
    story.set("x.a", "up");
    assert_eq!(story.at(30), "");
    story.set("x.a", "down");
    assert_eq!(story.at(31), "");
    assert_eq!(story.at(46), "a", "it was false in between");
}

#[test]
fn after_rearm_what_is_still_wrong_is_asked_for_again() {
    let mut story = Story::new("a: if (x.a == down) then restart();");
    story.set("x.a", "down");
    assert_eq!((story.at(0), story.at(15)), (String::new(), "a".to_owned()));
    story.engine.rearm(Moment(20));
    assert_eq!(story.deadline(), Some(35));
    assert_eq!((story.at(34), story.at(35)), (String::new(), "a".to_owned()));
    // Without a handle time there is still a pause.
    let ms = Duration::from_millis;
    story.engine = Rules::new(rules("a: if (x.a == down) then swap();"), ms(PERIOD), ms(0));
    assert_eq!(story.at(50), "a");
    story.engine.rearm(Moment(50));
    assert_eq!((story.at(54), story.at(55)), (String::new(), "a".to_owned()));
}

#[test]
fn the_strongest_goes_first_and_holds_back_what_is_not_stronger() {
    let mut story = Story::new(
        "restart: if (x.a == down) then restart(); again: if (x.a == down) then restart();
         wakeup: if (x.a == down) then wakeup(); swap: if (x.a == down) then swap();
         stopstart: if (x.a == down) then stopstart(); wait: if (x.a == down) then wait();
         stop: if (x.b == down) then stop();",
    );
    story.set("x.a", "down");
    assert_eq!((story.at(0), story.at(15)), (String::new(), "wait".to_owned()));
    assert_eq!((story.at(16), story.deadline()), (String::new(), None));
    story.set("x.b", "down");
    assert_eq!((story.at(20), story.deadline()), (String::new(), Some(35)));
    assert_eq!(story.at(35), "stop", "stronger than what is in the hub's hands");
    story.engine.rearm(Moment(40));
    assert_eq!(story.deadline(), Some(15), "the others were due long ago");
    for label in ["stopstart", "swap", "restart", "again", "wakeup"] {
        assert_eq!(story.at(40), label);
        assert_eq!(story.at(40), "");
        story.engine.rearm(Moment(40));
    }
    assert_eq!(story.deadline(), Some(55));
}

#[test]
fn a_rule_that_is_false_again_holds_nothing_back() {
    let mut story =
        Story::new("a: if (x.a == down) then stop(); b: if (x.b == down) then restart();");
    story.set("x.a", "down");
    story.set("x.b", "down");
    assert_eq!((story.at(0), story.at(15)), (String::new(), "a".to_owned()));
    story.set("x.a", "up");
    assert_eq!(story.at(16), "b");
}

#[test]
fn assignments_come_at_once_before_the_action_and_once() {
    let mut story = Story::new(
        "act: if (x.a == down) then stop(); set: if (x.b == down) then rfs.uptodate=up;",
    );
    story.set("x.a", "down");
    assert_eq!(story.at(0), "");
    story.set("x.b", "down");
    let verdicts = story.engine.evaluate(&story.table, Moment(15));
    let (label, resource) = ("set".to_owned(), "rfs.uptodate".to_owned());
    assert_eq!(verdicts[0], Verdict::Assign { label, resource, value: Value::Up });
    assert_eq!(verdicts.len(), 2);
    assert_eq!(story.at(16), "");
    story.engine.rearm(Moment(16));
    assert_eq!((story.at(1_000), story.at(1_000)), ("act".to_owned(), String::new()));
    story.set("x.b", "up");
    assert_eq!(story.at(1_001), "");
    story.set("x.b", "down");
    assert_eq!(story.at(1_002), "set");
}

#[test]
fn a_start_waits_for_what_failed_and_for_what_is_not_known() {
    let mut story = Story::new(
        "no: if (a.a == down || a.a == init) then restart(); m: if (module.? == down) then wait();
         i: if (intf.? == down) then wait(); p: if (ping.r == down && a.a == up) then wait();",
    );
    let failed = |label: &str| Some(Blocked::Failed { label: label.to_owned() });
    assert_eq!(story.engine.waits(&story.table), None, "nobody set anything");
    story.set("a.a", "down");
    assert_eq!(story.engine.waits(&story.table), None, "no rule with wait");
    story.set("ping.r", "init");
    let (label, resource) = ("p".to_owned(), "ping.r".to_owned());
    let unknown = Some(Blocked::Unknown { label, resource });
    assert_eq!(story.engine.waits(&story.table), unknown);
    story.set("intf.lan", "down");
    assert_eq!(story.engine.waits(&story.table), failed("i"), "without handle time");
    story.set("module.storage", "init");
    assert_eq!(story.engine.waits(&story.table), failed("i"), "what failed is said first");
    story.set("module.other", "down");
    assert_eq!(story.engine.waits(&story.table), failed("m"));
    for name in ["module.storage", "module.other", "intf.lan", "ping.r"] {
        story.set(name, "up");
    }
    assert_eq!(story.engine.waits(&story.table), None, "wakeup");
}

/// One rule per resource; the last one assigns.
const RANDOM: &str = "r0: if (x.0 == down) then restart(); r1: if (x.1 == down) then restart();
    r2: if (x.2 == down) then stopstart(); r3: if (x.3 == down) then wait();
    r4: if (x.4 == down) then stop(); r5: if (x.5 == down) then y.y=up;";
const COUNT: usize = 6;

/// A moment of a random story: time since the one before, which rules are true, whether the
/// hub's answer came just before.
type Step = (u64, [bool; COUNT], bool);

fn story() -> impl Strategy<Value = Vec<Step>> {
    let truths = proptest::array::uniform6(proptest::bool::weighted(0.8));
    proptest::collection::vec((0..12u64, truths, proptest::bool::weighted(0.3)), 1..40)
}

/// What was seen until now, and nothing that was concluded from it but the actions themselves.
#[derive(Default)]
struct History {
    seen: Vec<(u64, [bool; COUNT])>,
    /// Rule and the number of the moment.
    fired: Vec<(usize, usize)>,
    /// Time, and the number of the moment that followed.
    rearmed: Vec<(u64, usize)>,
}

impl History {
    /// The moment with which the rule became true for the last time, if it is true now.
    fn begin(&self, rule: usize) -> Option<usize> {
        let truths = || self.seen.iter().map(|(_, truths)| truths[rule]);
        let broken = truths().rposition(|truth| !truth).map_or(0, |broken| broken + 1);
        (broken < self.seen.len()).then_some(broken)
    }

    /// `None`: false. `Some(None)`: fired. `Some(Some(due))`.
    fn due(&self, rule: usize, handle: u64) -> Option<Option<u64>> {
        let begin = self.begin(rule)?;
        let of_rule = self.fired.iter().rfind(|(fired, at)| *fired == rule && *at >= begin);
        Some(match of_rule {
            None => Some(self.seen[begin].0 + handle),
            Some((_, at)) => {
                let answer = self.rearmed.iter().find(|(_, number)| number > at);
                answer.map(|(time, _)| time + handle.max(PERIOD))
            }
        })
    }

    fn open(&self, actions: &[Option<Action>], handle: u64) -> Vec<(usize, Action, u64)> {
        let all = || (0..COUNT).filter_map(|rule| Some((rule, actions[rule]?)));
        let held = all().filter(|(rule, _)| self.due(*rule, handle) == Some(None));
        let held = held.map(|(_, action)| action).max();
        all()
            .filter(|(_, action)| held.is_none_or(|held| *action > held))
            .filter_map(|(rule, action)| Some((rule, action, self.due(rule, handle)??)))
            .collect()
    }

    /// Labels of this moment.
    fn next(&mut self, actions: &[Option<Action>], handle: u64) -> Vec<String> {
        let number = self.seen.len() - 1;
        let now = self.seen[number].0;
        let mut labels = Vec::new();
        for (rule, action) in actions.iter().enumerate() {
            if action.is_none() && self.begin(rule) == Some(number) {
                labels.push(format!("r{rule}"));
            }
        }
        let open = self.open(actions, handle);
        let due: Vec<_> = open.iter().filter(|(_, _, due)| *due <= now).collect();
        let best = due.iter().map(|(_, action, _)| *action).max();
        if let Some((rule, _, _)) = due.iter().find(|(_, action, _)| Some(*action) == best) {
            self.fired.push((*rule, number));
            labels.push(format!("r{rule}"));
        }
        labels
    }
}

fn actions() -> Vec<Option<Action>> {
    let action = |rule: &Rule| match rule.effect {
        Effect::Act(action) => Some(action),
        Effect::Assign { .. } => None,
    };
    rules(RANDOM).iter().map(action).collect()
}

fn turn(story: &mut Story, truths: &[bool; COUNT]) {
    for (rule, truth) in truths.iter().enumerate() {
        story.set(&format!("x.{rule}"), if *truth { "down" } else { "up" });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn actions_are_those_of_the_naive_recomputation(steps in story(), handle in 0..20u64) {
        let ms = Duration::from_millis;
        let mut story = Story::new(RANDOM);
        story.engine = Rules::new(rules(RANDOM), ms(PERIOD), ms(handle));
        let (mut history, actions, mut now) = (History::default(), actions(), 0);
        for (wait, truths, rearm) in steps {
            now += wait;
            if rearm {
                story.engine.rearm(Moment(now));
                history.rearmed.push((now, history.seen.len()));
            }
            turn(&mut story, &truths);
            history.seen.push((now, truths));
            prop_assert_eq!(story.at(now), history.next(&actions, handle).join(" "), "{}", now);
            let due = history.open(&actions, handle).iter().map(|(_, _, due)| *due).min();
            prop_assert_eq!(story.deadline(), due, "deadline at {}", now);
        }
    }

    /// Who asks at changes and deadlines only hears the same as who asks every millisecond.
    #[test]
    fn the_deadline_is_early_enough(steps in story()) {
        let (mut lazy, mut eager) = (Story::new(RANDOM), Story::new(RANDOM));
        let (mut heard, mut expected, mut now) = (Vec::new(), Vec::new(), 0);
        for (wait, truths, rearm) in steps {
            for _ in 0..wait {
                now += 1;
                expected.push((now, eager.at(now)));
                if lazy.deadline().is_some_and(|due| due <= now) {
                    heard.push((now, lazy.at(now)));
                }
            }
            for story in [&mut lazy, &mut eager] {
                if rearm {
                    story.engine.rearm(Moment(now));
                }
                turn(story, &truths);
            }
            heard.push((now, lazy.at(now)));
            expected.push((now, eager.at(now)));
        }
        let said = |all: Vec<(u64, String)>| {
            all.into_iter().filter(|(_, labels)| !labels.is_empty()).collect::<Vec<_>>()
        };
        prop_assert_eq!(said(heard), said(expected));
    }
}
