//! Goal: what can be known of an agent or a unit is said when the module is checked.
use super::*;
use crate::config::Mistake;
use crate::ocf::Parameter;

/// Every agent but `heartbeat:gone` and `heartbeat:mute` has `pgdata` (required), `config` and the
/// deprecated `old`.
fn describe(agent: &Agent) -> Described {
    let parameter = |name: &str, required, deprecated| Parameter {
        name: name.to_owned(),
        required,
        deprecated,
    };
    match agent.name.as_str() {
        "gone" => Described::Absent,
        "mute" => Described::Mute("answered meta-data with exit status: 1".to_owned()),
        _ => Described::Known(MetaData {
            parameters: vec![
                parameter("pgdata", true, false),
                parameter("config", false, false),
                parameter("old", false, true),
            ],
            actions: Vec::new(),
        }),
    }
}

fn read(inside: &str) -> Result<UserConfig, Mistakes> {
    let text = format!(
        "<safe><service mode=\"mirror\"><heart><heartbeat name=\"default\"/></heart>\n{inside}\
         </service></safe>"
    );
    let around = Surroundings { describe, ..Surroundings::of(&Paths::system()) };
    UserConfig::parse(Path::new("u.xml"), &text, &around).map(|reading| reading.config)
}

fn mistakes(inside: &str) -> Vec<String> {
    read(inside).expect_err(inside).0.iter().map(Mistake::to_string).collect()
}

#[test]
fn they_keep_the_order_of_the_file_and_have_names_that_rules_can_use() {
    let config = read(
        "<user><unit name=\"first\"/>\
         <ocf agent=\"ocf:heartbeat:pgsql\" ident=\"db\" depth=\"10\" start_timeout=\"90\"\
          stop_timeout=\"2m\" monitor_timeout=\"30s\" interval=\"5s\" action=\"swap\">\
         <param name=\"pgdata\" value=\"/srv/db\"/><param name=\"config\" value=\"\"/></ocf>\
         <unit name=\"postgresql@15-main.service\" interval=\"7s\" action=\"noaction\"/></user>",
    );
    let config = config.expect("valid");
    let all = &config.applications;
    let resources: Vec<String> = all.iter().map(|known| known.application.resource()).collect();
    assert_eq!(resources, ["unit.first", "ocf.db", "unit.postgresql_15-main"]);
    assert_eq!(all[0].application.by, RunBy::Unit("first.service".into()));
    assert_eq!(all[0].action, ErrorAction::Restart);
    let db = &all[1].application;
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
    let limits = [db.start_limit, db.stop_limit, db.monitor_limit, db.interval].map(seconds);
    assert_eq!(limits, [Some(90), Some(120), Some(30), Some(5)]);
    let RunBy::Agent(agent) = &db.by else { panic!("{db:?}") };
    assert_eq!((agent.title().as_str(), agent.depth), ("heartbeat:pgsql", Some(10)));
    let params = [("pgdata", "/srv/db"), ("config", "")];
    assert_eq!(agent.params, params.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(all[2].application.by, RunBy::Unit("postgresql@15-main.service".into()));
    // Their rules, at once, as a watched process has no handle time either.
    let set = config.rules(&[]);
    let texts: Vec<String> = set.rules.iter().skip(4).map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "u_first: if ( unit.first == down ) then restart();",
            "o_db: if ( ocf.db == down ) then swap();",
        ]
    );
    assert_eq!(set.at_once, ["u_first", "o_db"]);
}

/// Scripts of old archives may end with any code; here the start is known to have failed.
#[test]
fn a_start_is_checked_unless_the_module_says_otherwise() {
    let checked = |attribute: &str, user: &str| {
        let text = format!(
            "<safe><service mode=\"mirror\" {attribute}><heart><heartbeat name=\"default\"/>\
             </heart>{user}</service></safe>"
        );
        let around = Surroundings { describe, ..Surroundings::of(&Paths::system()) };
        let reading = UserConfig::parse(Path::new("u.xml"), &text, &around).expect("valid");
        reading.config.start_checked
    };
    let unit = "<user><unit name=\"a\"/></user>";
    assert!(checked("", unit) && checked("start=\"checked\"", "<user/>"));
    assert!(!checked("", "<user/>") && !checked("start=\"unchecked\"", unit));
}

#[test]
fn a_rule_of_the_module_takes_the_place_of_the_built_in_one() {
    let config = read(
        "<user><unit name=\"a\"/><unit name=\"b\"/></user><failover><![CDATA[
         u_a: if (unit.a == down) then stop(); ]]></failover><failover><![CDATA[--Lua Rules
         Rules.disable('u_b')]]></failover>",
    );
    let config = config.expect("valid");
    assert!(config.notes.is_empty(), "{:?}", config.notes);
    let set = config.rules(&[]);
    let last = set.rules.iter().skip(4).map(ToString::to_string).collect::<String>();
    assert_eq!(last, "u_a: if ( unit.a == down ) then stop();");
    assert!(set.at_once.is_empty(), "a rule of the module waits for its handle time");
}

#[test]
fn parameters_are_those_of_the_agent() {
    let said = mistakes(
        "<user>\n<ocf agent=\"heartbeat:pgsql\">\n  <param name=\"pgdta\" value=\"x\"/>\n\
         <param name=\"nonsense\" value=\"x\"/></ocf></user>",
    );
    assert_eq!(
        said,
        [
            "u.xml:3:1: <ocf>: expected <param name=\"pgdata\">, which heartbeat:pgsql requires, \
             found none: add <param name=\"pgdata\" value=\"…\"/>",
            "u.xml:4:16: <param>: expected a parameter of heartbeat:pgsql, found \"pgdta\": \
             did you mean \"pgdata\"?",
            "u.xml:5:14: <param>: expected a parameter of heartbeat:pgsql, found \"nonsense\": \
             it has pgdata, config, old",
        ]
    );
    let twice = "<user><ocf agent=\"heartbeat:pgsql\"><param name=\"pgdata\" value=\"a\"/>\
                 <param name=\"pgdata\" value=\"b\"/><param name=\"a-b\" value=\"\"/></ocf></user>";
    let said = mistakes(twice).join("\n");
    assert!(said.contains("\"pgdata\" again") && said.contains("\"a-b\""), "{said}");
}

#[test]
fn an_agent_that_cannot_be_asked_is_a_note() {
    let config = read(
        "<user><ocf agent=\"heartbeat:gone\"><param name=\"any\" value=\"\"/></ocf>\
         <ocf agent=\"heartbeat:mute\"/><ocf agent=\"heartbeat:pgsql\">\
         <param name=\"pgdata\" value=\"\"/><param name=\"old\" value=\"\"/></ocf></user>",
    );
    let notes = config.expect("valid").notes;
    let texts: Vec<&str> = notes.iter().map(|note| note.text.as_str()).collect();
    let [gone, mute, old] = texts[..] else { panic!("{texts:?}") };
    assert!(gone.ends_with("(an error only at start)"), "{gone}");
    assert!(gone.contains("/resource.d/heartbeat/gone is not on this node"), "{gone}");
    assert!(mute.contains("answered meta-data with exit status: 1"), "{mute}");
    assert_eq!(old, "\"old\" is deprecated by the agent");
}

#[test]
fn names_that_cannot_be_are_mistakes() {
    for (inside, said) in [
        ("<ocf agent=\"pgsql\"/>", "expected PROVIDER:NAME"),
        ("<ocf agent=\"a:../../sh\"/>", "expected PROVIDER:NAME"),
        ("<ocf agent=\"heartbeat:gone\" ident=\"a/b\"/>", "an ident of letters"),
        ("<ocf agent=\"heartbeat:gone\" ident=\"-x\"/>", "an ident of letters"),
        ("<ocf agent=\"heartbeat:gone\"/><ocf agent=\"x:gone\"/>", "ocf.gone again"),
        ("<unit name=\"a\"/><unit name=\"a.service\"/>", "unit.a again"),
        ("<unit name=\"--now\"/>", "the name of a systemd unit"),
        ("<unit name=\"a/b\"/>", "the name of a systemd unit"),
        ("<unit name=\"srv.mount\"/>", "the name of a systemd unit"),
        ("<unit name=\"a\" depth=\"1\"/>", "one of the attributes"),
        ("<ocf agent=\"heartbeat:gone\" interval=\"10ms\"/>", "at least 1s"),
    ] {
        let all = mistakes(&format!("<user>{inside}</user>")).join("\n");
        assert!(all.contains(said), "{inside}: {all}");
    }
    let said = mistakes("<unit name=\"a\"/>").join("\n");
    assert!(said.contains("<unit> belongs into <user>"), "{said}");
}
