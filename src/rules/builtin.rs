//! The rules that a module has without writing any, and how they meet the rules that it writes.
//!
//! Safekit.md 1.6: "`module_failure: module.? == down → wait`; `interface_failure: intf.? == down
//! → wait`; `ip_failure: ip.? == down → stopstart`; `splitbrain_failure: splitbrain.uptodate ==
//! down → wait`", and per checker `t_<ident>`, `p_<ident>`, `c_<ident>` with its action. The four
//! are there without such checkers too, where they are true of nothing; a script may still set
//! such a resource. The rules on `rfs` are not here: replication is the automaton's.
use super::{Action, Condition, Effect, Names, Resource, Rule, Whose};
use std::time::Duration;

/// Period of the rules where a module gives none.
pub const PERIOD: Duration = Duration::from_millis(5_000);
/// How long a rule must be true before it acts, where a module does not say.
pub const HANDLE_TIME: Duration = Duration::from_millis(15_000);
/// "No wait rule is true: wake up". It is no condition on resources and so no [`Rule`]; like one,
/// it may be disabled by this label.
pub const IMPLICIT_WAKEUP: &str = "Implicit_wakeup";

/// Kinds of checker whose action is chosen for each checker. The others have their fixed rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    Tcp,
    Ping,
    Custom,
    /// Applications that are named instead of scripts.
    Ocf,
    Unit,
}

/// The rules of all modules.
pub fn fixed() -> Vec<Rule> {
    vec![
        down("module_failure", "module.?", Action::Wait),
        down("interface_failure", "intf.?", Action::Wait),
        down("ip_failure", "ip.?", Action::StopStart),
        down("splitbrain_failure", "splitbrain.uptodate", Action::Wait),
    ]
}

/// `t_<ident>`, `p_<ident>`, `c_<ident>`, `o_<ident>` or `u_<ident>`: what follows when this
/// checker says down.
pub fn of_checker(kind: Chosen, ident: &str, action: Action) -> Rule {
    let (prefix, class) = match kind {
        Chosen::Tcp => ("t", "tcp"),
        Chosen::Ping => ("p", "ping"),
        Chosen::Custom => ("c", "custom"),
        Chosen::Ocf => ("o", "ocf"),
        Chosen::Unit => ("u", "unit"),
    };
    is_down(format!("{prefix}_{ident}"), Resource::own(&format!("{class}.{ident}")), action)
}

fn down(label: &str, resource: &str, action: Action) -> Rule {
    let resource = Resource::parse(resource).unwrap_or_else(|| Resource::own(resource));
    is_down(label.to_owned(), resource, action)
}

fn is_down(label: String, resource: Resource, action: Action) -> Rule {
    let down = Condition::Value("down".to_owned());
    let condition = Condition::compare(Condition::Resource(resource), true, down);
    Rule { label, condition, effect: Effect::Act(action) }
}

/// What a module says about its rules, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    Rule(Rule),
    /// What has this label until now, a built-in rule or one of the module, shall not act.
    Disable(String),
}

/// What one `<failover>` says.
#[derive(Clone, Copy, Debug)]
pub struct UserRules<'a> {
    /// `false`: the module has no built-in rules.
    pub extends: bool,
    pub statements: &'a [Statement],
}

/// All rules of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// Built-in ones first.
    pub rules: Vec<Rule>,
    /// A module in WAIT goes on when no wait rule is true.
    pub implicit_wakeup: bool,
    /// Labels of those that do not wait for the handle time: what they look at was looked at
    /// twice, as a watched process is.
    pub at_once: Vec<String>,
}

impl RuleSet {
    /// What the rules look at of the peer.
    pub fn of_peer(&self) -> Vec<&Names> {
        let mut found = Vec::new();
        for rule in &self.rules {
            rule.condition.visit(&mut |part| {
                if let Condition::Resource(Resource { whose: Whose::Peer, names }) = part {
                    found.push(names);
                }
            });
        }
        found
    }
}

/// The user's rules beside the built-in ones, or in their place: all of them with `extends="no"`,
/// one where the label is the same. Of its own, too, the later replaces. A wait still ends by
/// itself with `extends="no"` (a module that never goes on again helps nobody), only `disable` ends
/// that.
pub fn combine<'a>(builtin: Vec<Rule>, users: impl IntoIterator<Item = UserRules<'a>>) -> RuleSet {
    let mut rules = builtin;
    let mut own: Vec<Rule> = Vec::new();
    let mut implicit_wakeup = true;
    for user in users {
        if !user.extends {
            rules.clear();
        }
        for statement in user.statements {
            match statement {
                Statement::Rule(rule) => {
                    rules.retain(|known| known.label != rule.label);
                    own.retain(|known| known.label != rule.label);
                    own.push(rule.clone());
                }
                Statement::Disable(label) => {
                    rules.retain(|known| known.label != *label);
                    own.retain(|known| known.label != *label);
                    implicit_wakeup &= label != IMPLICIT_WAKEUP;
                }
            }
        }
    }
    rules.extend(own);
    RuleSet { rules, implicit_wakeup, at_once: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::language;

    fn texts(rules: &[Rule]) -> Vec<String> {
        rules.iter().map(Rule::to_string).collect()
    }

    #[test]
    fn the_four_of_every_module() {
        assert_eq!(
            texts(&fixed()),
            [
                "module_failure: if ( module.? == down ) then wait();",
                "interface_failure: if ( intf.? == down ) then wait();",
                "ip_failure: if ( ip.? == down ) then stopstart();",
                "splitbrain_failure: if ( splitbrain.uptodate == down ) then wait();",
            ]
        );
        let read = language::parse(&texts(&fixed()).join("\n")).expect("the old language");
        assert_eq!(read, fixed());
    }

    #[test]
    fn a_checker_has_a_rule_with_the_letter_of_its_kind() {
        let rules = [
            of_checker(Chosen::Tcp, "sql", Action::Restart),
            of_checker(Chosen::Ping, "router", Action::Wait),
            of_checker(Chosen::Custom, "10.0.0.9", Action::Swap),
        ];
        assert_eq!(
            texts(&rules),
            [
                "t_sql: if ( tcp.sql == down ) then restart();",
                "p_router: if ( ping.router == down ) then wait();",
                "c_10.0.0.9: if ( custom.10.0.0.9 == down ) then swap();",
            ]
        );
    }

    fn statements(text: &str) -> Vec<Statement> {
        let rules = language::parse(text).expect("rules");
        rules.into_iter().map(Statement::Rule).collect()
    }

    fn labels(users: &[UserRules<'_>]) -> (String, bool) {
        let set = combine(fixed(), users.iter().copied());
        let labels: Vec<String> = set.rules.iter().map(|rule| rule.label.clone()).collect();
        (labels.join(" "), set.implicit_wakeup)
    }

    #[test]
    fn users_add_replace_and_disable() {
        let own = statements(
            "own: if (custom.x == down) then stop(); ip_failure: if (ip.? == down) then stop();",
        );
        let disabled =
            ["module_failure", IMPLICIT_WAKEUP].map(|label| Statement::Disable(label.to_owned()));
        let user = |extends, statements| UserRules { extends, statements };
        let four = "module_failure interface_failure ip_failure splitbrain_failure".to_owned();
        assert_eq!(labels(&[]), (four, true));
        let replaced = "module_failure interface_failure splitbrain_failure own ip_failure";
        assert_eq!(labels(&[user(true, &own)]), (replaced.to_owned(), true));
        let fewer = "interface_failure splitbrain_failure own ip_failure".to_owned();
        assert_eq!(labels(&[user(true, &own), user(true, &disabled)]), (fewer, false));
        assert_eq!(labels(&[user(false, &own)]), ("own ip_failure".to_owned(), true));
        assert_eq!(labels(&[user(false, &[])]), (String::new(), true));
        let set = combine(fixed(), [user(true, &own)]);
        assert_eq!(set.rules.last().map(|rule| rule.label.as_str()), Some("ip_failure"));
    }

    /// Wherever it was written: in the same section, another one, another `<failover>`.
    #[test]
    fn disable_takes_away_what_the_module_said_before() {
        let first = statements("own: if (a.b == down) then stop(); x: if (a.b == up) then stop();");
        let then = [Statement::Disable("own".to_owned()), first[0].clone()];
        let user = |statements| UserRules { extends: true, statements };
        let four = labels(&[]).0;
        assert_eq!(labels(&[user(&first), user(&then[..1])]).0, format!("{four} x"));
        assert_eq!(labels(&[user(&first), user(&then)]).0, format!("{four} x own"));
        let both = [&first[..], &then[..1]].concat();
        assert_eq!(labels(&[user(&both)]).0, format!("{four} x"));
        assert_eq!(labels(&[user(&then[..1]), user(&first)]).0, format!("{four} own x"));
    }

    #[test]
    fn of_two_own_rules_of_one_label_the_later_counts() {
        let first = statements("a: if (x.y == down) then stop(); b: if (x.z == down) then stop();");
        let later = statements("a: if (x.y == down) then restart();");
        let user = |statements| UserRules { extends: false, statements };
        let both = [&first[..], &later[..]].concat();
        for users in [vec![user(&first), user(&later)], vec![user(&both)]] {
            let set = combine(Vec::new(), users);
            let expected =
                ["b: if ( x.z == down ) then stop();", "a: if ( x.y == down ) then restart();"];
            assert_eq!(texts(&set.rules), expected);
        }
    }

    #[test]
    fn what_is_looked_at_of_the_peer_is_known() {
        let text = "a: if (tcp.a == down && !(remote.tcp.b == down)) then stop();\
                    b: if (remote.x.? == up || remote.state == ALONE) then stop();";
        let statements = &statements(text);
        let set = combine(fixed(), [UserRules { extends: true, statements }]);
        let told = |name: &str| set.of_peer().iter().any(|names| names.hold(name));
        assert!(told("tcp.b") && told("x.y"));
        assert!(!told("tcp.a") && !told("state.remote") && !told("intf.lan"));
        assert!(combine(fixed(), []).of_peer().is_empty());
    }
}
