//! Goal: what a watch has said counts as long as it runs, and only a checker that runs holds up a
//! start.
use super::super::tests::Fixture;
use super::*;

const REPAIRED: &str = "<user/><errd><proc name=\"db\" class=\"prim\" action=\"repair\"/></errd>";

/// The program outlived the stop that an administrator asked for.
#[tokio::test]
async fn a_repair_counts_only_while_its_watch_runs() {
    let mut module = Fixture::new(REPAIRED).await;
    let failed = || Err("repair, the action for proc.db, ended with 1".to_owned());
    let acted = |module: &Fixture| module.log().contains("Action stopstart called by errd");
    module.control.saw(Seen::Cured(7, failed())).await;
    assert!(!acted(&module), "{}", module.log());
    module.control.watching.classes.push((When::Prim, 7, Running::default()));
    module.control.saw(Seen::Cured(6, failed())).await;
    assert!(!acted(&module), "{}", module.log());
    module.control.saw(Seen::Cured(7, failed())).await;
    assert!(acted(&module), "{}", module.log());
}

/// A witness that nobody has asked yet, and a module over HTTPS that has not answered yet.
#[tokio::test]
async fn a_start_waits_for_a_checker_that_runs_and_for_no_other() {
    let witness = "<splitbrain ident=\"w\" arg=\"192.0.2.1\"/>";
    let secure = "<module name=\"storage\"><to addr=\"192.0.2.1\" secure=\"on\"/></module>";
    for (inside, waits) in [(witness, None), (secure, Some("module.storage_192.0.2.1"))] {
        let mut module = Fixture::new(&format!("<check>{inside}</check>")).await;
        module.control.watch_turn().await;
        let gate = module.control.machine.facts().gate.clone();
        assert_eq!(gate.is_some(), waits.is_some(), "{gate:?}");
        assert!(waits.is_none_or(|name| gate.unwrap().reason.contains(name)));
    }
}

/// `rfs checktime=`: no rule stands between a directory that does not answer and a stopstart.
#[tokio::test]
async fn a_directory_that_does_not_answer_restarts_the_module() {
    let dir = tempfile::tempdir().unwrap();
    let inside = format!("<rfs><replicated dir='{}'/></rfs>", dir.path().display());
    let mut module = Fixture::new(&inside).await;
    let names: Vec<String> = module.control.watching.checkers.iter().map(resource).collect();
    assert_eq!(names, ["rfs.mounted"]);
    let running = (3, Running::default());
    module.control.watching.running.insert(names[0].clone(), running);
    let reading = |up| Reading { resource: names[0].clone(), up, why: "x".into(), by: "rfscheck" };
    let acted = |module: &Fixture| module.log().contains("Action stopstart called by rfscheck");
    module.control.saw(Seen::Reading(3, reading(true))).await;
    assert!(!acted(&module), "{}", module.log());
    module.control.saw(Seen::Reading(3, reading(false))).await;
    assert!(acted(&module), "{}", module.log());
    assert!(module.control.watching.running.is_empty(), "refused in STOP: looked at anew");
}

#[test]
fn services_are_restarted_by_name_where_the_module_says_so() {
    let text = "<safe><service mode='mirror'><heart><heartbeat name='a'/></heart><user/><errd>\
        <proc name='db' service='yes' action='restart' restart_services='db, web'/>\
        <proc name='web' service='yes' action='restart'/>\
        <proc name='x' action='restart' restart_services='db'/></errd></service></safe>";
    let around = crate::config::userconfig::Surroundings::of(&crate::config::Paths::system());
    let path = std::path::Path::new("u");
    let config = crate::config::UserConfig::parse(path, text, &around).unwrap().config;
    let procs = config.errd.unwrap().procs;
    let wishes: Vec<_> = procs.iter().map(|proc| wish_for(proc, String::new())).collect();
    let services = Some(Wish::RestartServices { services: "db, web".to_owned() });
    assert_eq!(wishes, [services, Some(Wish::Restart), Some(Wish::Restart)]);
    let notes: Vec<String> = config.notes.iter().map(ToString::to_string).collect();
    assert!(notes.len() == 1 && notes[0].contains("restart_services"), "{notes:?}");
}

#[tokio::test]
async fn a_rule_names_the_checkers_that_it_looks_at() {
    let tcp = |ident: &str, port: u16| {
        format!("<tcp ident='{ident}'><to addr='127.0.0.1' port='{port}'/></tcp>")
    };
    let inside = format!("<check>{}{}</check>", tcp("sql", 5432), tcp("web", 80));
    let mut module = Fixture::new(&inside).await;
    let watching = &mut module.control.watching;
    for (resource, why) in [("tcp.sql", "sql is mute"), ("tcp.web", "web is mute")] {
        watching.whys.insert(resource.to_owned(), why.to_owned());
    }
    assert_eq!(watching.waits("t_sql"), "waits by failover rule t_sql: sql is mute");
    let rule = watching.waits("ip_failure");
    assert!(rule.ends_with("ip_failure: if ( ip.? == down ) then stopstart();"), "{rule}");
}
