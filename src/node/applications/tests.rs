//! Goal: what a module names runs before start_prim and ends after stop_prim, also when a daemon
//! dies in the middle; its failure is that of the script.
use super::super::tests::Fixture;
use super::*;
use crate::fixture;
use std::fs;

const INSIDE: &str = "<user><ocf agent=\"test:app\" ident=\"app\"/></user>";
const AGENT: &str = "#!/bin/sh\n[ \"$1\" = meta-data ] && echo '<resource-agent/>' && exit\n\
     echo \"agent $1\" >>\"$SAFEUSERVAR/calls\"\ncase $1 in\n\
     start) [ ! -e \"$SAFEUSERVAR/broken\" ] || exit 6; touch \"$SAFEUSERVAR/up\" ;;\n\
     stop) rm -f \"$SAFEUSERVAR/up\" ;;\n\
     monitor) [ -e \"$SAFEUSERVAR/up\" ] || exit 7 ;;\nesac\n";
const SCRIPT: &str = "#!/bin/sh\necho \"${0##*/} $*\" >>\"$SAFEUSERVAR/calls\"\n";

struct Module {
    fixture: Fixture,
    log: PathBuf,
}

impl Module {
    async fn new() -> Module {
        let mut fixture = Fixture::new(INSIDE).await;
        let control = &mut fixture.control;
        let (paths, name) = (&control.site.paths, &control.site.active.name);
        let (bin, log) = (paths.module_active(name).join("bin"), paths.module_log_dir(name));
        let root = paths.lib.join("ocf");
        let provider = root.join("resource.d/test");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(&provider).unwrap();
        for script in ["start_prim", "stop_prim", "prestart", "start_both"] {
            fixture::program(&bin.join(script), SCRIPT.as_bytes());
        }
        fixture::program(&provider.join("app"), AGENT.as_bytes());
        control.hands.applications = control.hands.applications.clone().with_agents(&root);
        Module { fixture, log }
    }

    async fn run(&self, script: Script, words: &[&str], force: bool) -> Outcome {
        let args = words.iter().map(|word| (*word).to_owned()).collect();
        self.fixture.control.hands.run(script, args, force).await
    }

    async fn adopt(&self, script: Script) -> Outcome {
        self.fixture.control.hands.await_script(script, false).await
    }

    /// What was called since this was asked last.
    fn calls(&self) -> Vec<String> {
        let path = self.log.join("calls");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(&path);
        text.lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn applications_come_before_start_prim_and_go_after_stop_prim() {
    let module = Module::new().await;
    let outcome = module.run(Script::Prestart, &["STOP", "WAIT", "start"], false).await;
    assert_eq!(outcome, Outcome::Exit(0));
    assert_eq!(module.calls(), ["prestart STOP WAIT start", "agent monitor"]);
    let words = ["WAIT", "ALONE", "start"];
    assert_eq!(module.run(Script::StartBoth, &words, false).await, Outcome::Exit(0));
    assert_eq!(module.calls(), ["start_both WAIT ALONE start"]);
    assert_eq!(module.run(Script::StartPrim, &words, false).await, Outcome::Exit(0));
    assert_eq!(module.calls(), ["agent start", "agent monitor", "start_prim WAIT ALONE start"]);
    let words = ["ALONE", "WAIT", "stop"];
    assert_eq!(module.run(Script::StopPrim, &words, false).await, Outcome::Exit(0));
    assert_eq!(module.calls(), ["stop_prim ALONE WAIT stop", "agent stop", "agent monitor"]);
    let words = ["force", "ALONE", "WAIT", "stop"];
    assert_eq!(module.run(Script::StopPrim, &words, true).await, Outcome::Exit(0));
    assert_eq!(module.calls(), ["stop_prim force ALONE WAIT stop", "agent monitor"]);
    let log = module.fixture.log();
    assert!(log.contains("script-called: Script ocf.app \"start\" > userlog_"), "{log}");
}

#[tokio::test]
async fn an_application_that_fails_is_a_start_that_fails() {
    let module = Module::new().await;
    assert!(module.fixture.control.machine.policy().start_checked);
    fs::write(module.log.join("broken"), "").unwrap();
    let outcome = module.run(Script::StartPrim, &["WAIT", "ALONE", "start"], false).await;
    let Outcome::Failed(reason) = outcome else { panic!("{outcome:?}") };
    assert!(reason.starts_with("ocf.app start ended with code 6"), "{reason}");
    assert_eq!(module.calls(), ["agent start"], "the script is not called");
    let log = module.fixture.log();
    assert!(log.contains("script-failed: Script ocf.app start ended with code 6"), "{log}");
}

/// Whoever died between the last application and the end of the script has called it already.
#[tokio::test]
async fn a_new_daemon_goes_on_with_the_start_and_calls_no_script_twice() {
    let module = Module::new().await;
    let args: Vec<String> = ["WAIT", "ALONE", "start"].map(str::to_owned).into();
    let hands = &module.fixture.control.hands;
    hands.mark(&Mark { args: args.clone(), called: false }).await;
    assert_eq!(module.adopt(Script::StartPrim).await, Outcome::Exit(0));
    assert_eq!(module.calls(), ["agent start", "agent monitor", "start_prim WAIT ALONE start"]);
    assert_eq!(module.adopt(Script::StartPrim).await, Outcome::Done);
    assert_eq!(module.calls(), Vec::<String>::new());
    assert_eq!(module.adopt(Script::StopPrim).await, Outcome::Done);
    assert_eq!(module.calls(), ["agent stop", "agent monitor"]);
}

#[tokio::test]
async fn its_monitor_is_a_checker_while_the_module_serves() {
    let module = Module::new().await;
    let implied = super::super::implied::implied(&module.fixture.control.site.active.config);
    let names: Vec<String> = implied.iter().map(super::super::implied::resource).collect();
    assert_eq!(names, ["ocf.app"]);
}
