//! `<failover>`: rules in the old language and in Lua, read by `crate::rules`; a slip is found
//! when the module is configured and not when a checker fails at night.
use super::read::Reader;
use super::*;
use crate::config::findings::{did_you_mean, quoted};
use crate::config::grammar::Node;
use crate::config::xml::Text;
use crate::model::RunBy;
use crate::rules::builtin::{self, Chosen};
use crate::rules::{
    Action, Found, Rule, Statement, SyntaxError, UserRules, language, lua, unsupported,
};
use std::collections::BTreeSet;

impl Reader<'_> {
    /// `checkers`, `applications`: those of the module, which have rules of their own.
    pub(super) fn failover_rules(
        &mut self,
        service: Node<'_>,
        checkers: &[Checker],
        applications: &[NamedApplication],
    ) -> Vec<FailoverRules> {
        let builtin = builtin::fixed().into_iter().chain(checkers.iter().filter_map(checker_rule));
        let builtin = builtin.chain(applications.iter().filter_map(application_rule));
        let mut labels: BTreeSet<String> = builtin.map(|rule| rule.label).collect();
        labels.insert(builtin::IMPLICIT_WAKEUP.to_owned());
        let mut found = Vec::new();
        for node in service.children("failover") {
            let extends = node.switch("extends");
            let mut block = FailoverRules { extends, statements: Vec::new() };
            // A section of CDATA is one text; so is plain text with the entities inside it.
            for pieces in node.element.texts.chunk_by(|one, next| !one.cdata && !next.cdata) {
                block.statements.extend(self.rules_text(pieces, &mut labels));
            }
            found.push(block);
        }
        found
    }

    /// `labels`: of all rules until now.
    fn rules_text(&mut self, pieces: &[Text], labels: &mut BTreeSet<String>) -> Vec<Statement> {
        let text: String = pieces.iter().map(|piece| piece.value.as_str()).collect();
        let (read, remedy) = if lua::is_lua(&text) {
            (lua::parse(&text), lua::REMEDY)
        } else {
            let rules = language::parse(&text);
            let all = rules.map(|rules| rules.into_iter().map(Statement::Rule).collect());
            (all, language::REMEDY)
        };
        match read {
            Ok(statements) => {
                for statement in &statements {
                    let note = match statement {
                        Statement::Rule(rule) => {
                            labels.insert(rule.label.clone());
                            unsupported(rule)
                                .map(|why| format!("rule {}: {why}", quoted(&rule.label)))
                        }
                        Statement::Disable(label) => (!labels.remove(label)).then(|| {
                            let near = did_you_mean(label, labels.iter().map(String::as_str));
                            let near = if near.is_empty() { near } else { format!("; {near}") };
                            format!(
                                "no rule is called {}: nothing is disabled{near}",
                                quoted(label)
                            )
                        }),
                    };
                    if let Some(note) = note {
                        self.findings.note(place(pieces, 0), "failover", None, note);
                    }
                }
                return statements;
            }
            Err(SyntaxError { at, expected, found }) => {
                let at = place(pieces, at);
                let found = match found {
                    Found::Text(text) => quoted(&text),
                    Found::Said(words) => words.to_owned(),
                };
                self.findings.mistake(at, "failover", expected, found, remedy);
            }
        }
        Vec::new()
    }
}

/// A time that any `<failover>` may say: the last one counts.
pub(super) fn last_time(service: Node<'_>, attribute: &str, default: Duration) -> Duration {
    let said = service.children("failover").filter(|node| node.given(attribute).is_some());
    said.last().map_or(default, |node| node.time(attribute))
}

/// Where in the file a byte of the joined pieces stands. An entity counts as its first byte; line
/// ends that were shortened are counted again.
fn place(pieces: &[Text], mut at: usize) -> usize {
    let mut place = 0;
    for Text { raw, value, .. } in pieces {
        let before = value.get(..at).unwrap_or(value);
        let lines = |text: &str| text.matches('\n').count();
        let shortened = raw.len() == value.len() + lines(value);
        let dropped = if shortened { lines(before) } else { 0 };
        place = raw.start + (before.len() + dropped).min(raw.len());
        if at < value.len() {
            break;
        }
        at -= value.len();
    }
    place
}

impl UserConfig {
    /// All failover rules of the module: built-in ones, those of its checkers and of the checkers
    /// that `vip check=` implies, and its own.
    pub fn rules(&self, implied: &[Checker]) -> RuleSet {
        let mut builtin = builtin::fixed();
        builtin.extend(self.checkers.iter().chain(implied).filter_map(checker_rule));
        let at_once: Vec<Rule> = self.applications.iter().filter_map(application_rule).collect();
        builtin.extend(at_once.iter().cloned());
        let users = self
            .failover_rules
            .iter()
            .map(|block| UserRules { extends: block.extends, statements: &block.statements });
        let mut set = crate::rules::combine(builtin, users);
        // One that the module wrote itself is a rule like any other.
        let built_in = at_once.into_iter().filter(|rule| set.rules.contains(rule));
        set.at_once = built_in.map(|rule| rule.label).collect();
        set
    }

    /// Period and handle time of the rules.
    pub fn rules_timing(&self) -> (Duration, Duration) {
        (self.rules_period, self.rules_handle_time)
    }
}

/// `t_<ident>` and its like; kinds with a fixed action have a rule for all of them.
fn checker_rule(checker: &Checker) -> Option<Rule> {
    let kind = match checker.kind {
        CheckerKind::Tcp { .. } => Chosen::Tcp,
        CheckerKind::Ping { .. } => Chosen::Ping,
        CheckerKind::Custom { .. } => Chosen::Custom,
        CheckerKind::Interface { .. }
        | CheckerKind::Address { .. }
        | CheckerKind::Module { .. }
        | CheckerKind::Application { .. }
        | CheckerKind::Mounted { .. }
        | CheckerKind::SplitBrain { .. } => return None,
    };
    Some(builtin::of_checker(kind, &checker.ident, rule_action(&checker.action)?))
}

/// `o_<ident>`, `u_<ident>`: what follows when the monitor says down.
fn application_rule(named: &NamedApplication) -> Option<Rule> {
    let kind = match named.application.by {
        RunBy::Agent(_) => Chosen::Ocf,
        RunBy::Unit(_) => Chosen::Unit,
    };
    Some(builtin::of_checker(kind, &named.application.ident, rule_action(&named.action)?))
}

fn rule_action(action: &ErrorAction) -> Option<Action> {
    match action {
        ErrorAction::Restart => Some(Action::Restart),
        ErrorAction::StopStart => Some(Action::StopStart),
        ErrorAction::Stop => Some(Action::Stop),
        ErrorAction::Wait => Some(Action::Wait),
        ErrorAction::Swap => Some(Action::Swap),
        // Programs belong to watched processes.
        ErrorAction::Nothing | ErrorAction::Program(_) => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::Mistake;

    /// A mirror module with this inside its `<service>`.
    pub(in super::super) fn read(inside: &str) -> Result<UserConfig, Mistakes> {
        let text = format!(
            "<safe><service mode=\"mirror\"><heart><heartbeat name=\"default\"/></heart>\n\
             {inside}</service></safe>"
        );
        let around = Surroundings::of(&Paths::system());
        UserConfig::parse(Path::new("u.xml"), &text, &around).map(|reading| reading.config)
    }

    fn labels(config: &UserConfig) -> String {
        let set = config.rules(&[]);
        set.rules.iter().skip(4).map(|rule| rule.to_string() + "\n").collect()
    }

    #[test]
    fn checkers_have_their_rules() {
        let config = read(
            "<check><tcp ident=\"sql\"><to addr=\"10.0.0.9\" port=\"5432\"/></tcp>\
             <tcp ident=\"early\" when=\"pre\"><to addr=\"10.0.0.9\" port=\"80\"/></tcp>\
             <ping ident=\"router\"><to addr=\"10.0.0.254\"/></ping>\
             <intf ident=\"lan\"><to local_addr=\"10.0.0.1\"/></intf>\
             <custom ident=\"query\" exec=\"q\" action=\"swap\"/><custom ident=\"log\" exec=\"l\"/>\
             <module name=\"storage\"/></check>",
        );
        let config = config.expect("valid");
        assert_eq!(
            labels(&config),
            "t_sql: if ( tcp.sql == down ) then restart();\n\
             t_early: if ( tcp.early == down ) then wait();\n\
             p_router: if ( ping.router == down ) then wait();\n\
             c_query: if ( custom.query == down ) then swap();\n"
        );
        let implied = config.checkers[0].clone();
        let implied = Checker { ident: "implied".to_owned(), ..implied };
        let all = config.rules(&[implied]).rules;
        assert_eq!(all.last().map(|rule| rule.label.as_str()), Some("t_implied"));
    }

    #[test]
    fn both_languages_are_read_and_the_last_time_that_is_said_counts() {
        let config = read(
            "<check><custom ident=\"a\" exec=\"q\" action=\"swap\"/></check>\
             <failover handle_time=\"9s\"/><failover handle_time=\"5s\"><![CDATA[ a: if (x.y == down) then stop(); ]]>\
             <![CDATA[--Lua Rules\n\
             Rules.disable(\"c_a\") Rules = Rules + {b=if_then('x.z', 'up', Action.swap)}]]>\
             </failover><failover period=\"1s\"/>",
        );
        let config = config.expect("valid");
        let own = "a: if ( x.y == down ) then stop();\nb: if ( x.z == up ) then swap();\n";
        assert_eq!(labels(&config), own);
        assert_eq!(config.rules_timing(), (Duration::from_secs(1), Duration::from_secs(5)));
        assert_eq!(config.failover_rules.len(), 3);
    }

    #[test]
    fn what_disable_does_not_find_is_noted() {
        let config = read(
            "<check><tcp ident=\"sql\"><to addr=\"db\" port=\"5432\"/></tcp></check>\
             <failover>own: if (x.y == down) then stop();</failover>\
             <failover><![CDATA[--Lua Rules\nRules.disable('own') Rules.disable('t_sql')
             Rules.disable('ip_failure') Rules.disable('Implicit_wakeup')]]><![CDATA[--Lua Rules
             Rules.disable('module_failures') Rules.disable('own')]]></failover>",
        );
        let config = config.expect("valid");
        let left = config.rules(&[]).rules;
        let left: Vec<&str> = left.iter().map(|rule| rule.label.as_str()).collect();
        assert_eq!(left, ["module_failure", "interface_failure", "splitbrain_failure"]);
        let notes = config.notes.iter().filter(|note| note.element == "failover");
        let notes: Vec<&str> = notes.map(|note| note.text.as_str()).collect();
        assert_eq!(
            notes,
            [
                "no rule is called \"module_failures\": nothing is disabled; \
                 did you mean \"module_failure\"?",
                "no rule is called \"own\": nothing is disabled",
            ]
        );
    }

    #[test]
    fn the_times_are_those_of_the_grammar() {
        let service = |attributes: &str| read(&format!("<failover {attributes}/>"));
        let [said, silent] = ["period=\"5000ms\" handle_time=\"15000ms\"", ""].map(service);
        let [said, silent] = [said.expect("valid"), silent.expect("valid")];
        assert_eq!(said.rules_timing(), silent.rules_timing());
        assert_eq!(read("").expect("valid").rules_timing(), said.rules_timing());
    }

    #[test]
    fn a_slip_has_line_and_column_and_cluster_a_note() {
        let mistakes = read(
            "<failover><![CDATA[\n  a: if (x.y = down) then stop(); ]]></failover>\n\
             <failover><![CDATA[--Lua Rules\n for i=1,2 do end]]></failover>\n\
             <failover><![CDATA[ a: if (x.y == down) then stop() /* ]]></failover>",
        );
        let texts: Vec<String> =
            mistakes.expect_err("slips").0.iter().map(Mistake::to_string).collect();
        let [old, lua, comment] = &texts[..] else { panic!("{texts:?}") };
        let said = "u.xml:3:14: <failover>: expected ) after the condition, found \"=\": write: ";
        assert!(old.starts_with(said), "{old}");
        let said = "u.xml:5:2: <failover>: expected Rules, found \"for\": only these forms are";
        assert!(lua.starts_with(said), "{lua}");
        let said = "u.xml:6:53: <failover>: expected */, found a comment without end: ";
        assert!(comment.starts_with(said), "{comment}");
        let text = "<failover>a: if (x.y == up &amp;&amp; x.z == up) then\r\n go();</failover>";
        let mistakes = read(text).expect_err("an unknown action").to_string();
        assert!(
            mistakes.starts_with("u.xml:3:2: <failover>: expected one of stop()"),
            "{mistakes}"
        );
        let text = text.replace(" &amp;&amp;", "\r\n &amp;&amp;&amp;").replace("go", "stop");
        let mistakes = read(&text).expect_err("three of them").to_string();
        assert!(mistakes.starts_with("u.xml:3:12: <failover>: expected a word"), "{mistakes}");
        let config = read("<failover>c: if (cluster() == up) then stop();</failover>");
        let notes = config.expect("valid").notes;
        assert!(
            notes.iter().any(|note| note.text.starts_with("rule \"c\": cluster() is not")),
            "{notes:?}"
        );
        let config = read("<failover>c: if (x.y == up) then rfs.uptodate=up;</failover>");
        let notes = config.expect("valid").notes;
        let said = "rule \"c\": the node itself says";
        assert!(notes.iter().any(|note| note.text.starts_with(said)), "{notes:?}");
    }
}
