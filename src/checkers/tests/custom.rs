//! `custom`: real programs in a module's `bin`.
use super::*;
use std::path::PathBuf;

const CUSTOM: &str = "looks";

fn custom(arg: &str) -> CheckerKind {
    CheckerKind::Custom { exec: CUSTOM.into(), arg: arg.into() }
}

/// Numbers that a program has written, one a line.
fn pids(file: &PathBuf) -> Vec<u32> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[tokio::test]
async fn a_program_is_called_as_the_contract_says_and_ends_with_its_group() {
    let module = Module::new();
    let seen = module.root.path().join("seen");
    let shown = seen.display();
    let text = format!(
        "#!/bin/sh\n(trap '' TERM HUP; sleep 600) &\n\
         printf '%s\\n' \"$*\" \"$#\" \"$SAFEMODULE $LOCKSTEP_ROLE $PWD\" $$ $! >{shown}.new\n\
         echo printed\nmv {shown}.new {shown}\nwait\n"
    );
    module.program(CUSTOM, &text);
    let (running, _from) = module.start(custom(" -p  8080 "));
    until("the program runs", || seen.exists()).await;
    let lines = fs::read_to_string(&seen).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    let bin = module.around.runner.setup().active_dir.join("bin");
    assert_eq!(lines[..2], ["mod custom.x -p 8080", "4"]);
    assert_eq!(lines[2], format!("mod ALONE {}", bin.display()));
    let both: Vec<u32> = lines[3..].iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(both.len(), 2);
    let members = module.around.runner.setup().group.members().unwrap();
    assert!(both.iter().all(|pid| members.contains(pid)), "{both:?} of {members:?}");
    let logs = fs::read_dir(&module.around.runner.setup().log_dir).unwrap();
    let logs: Vec<PathBuf> = logs.map(|entry| entry.unwrap().path()).collect();
    assert!(fs::read_to_string(&logs[0]).unwrap().contains("printed"), "{logs:?}");
    drop(running);
    until("the program and its child are gone", || !both.iter().any(|pid| lives(*pid))).await;
}

#[tokio::test]
async fn a_program_that_ends_is_started_again_without_what_it_left() {
    let module = Module::new();
    let seen = module.root.path().join("seen");
    let left = module.root.path().join("left");
    let text = format!(
        "#!/bin/sh\nsleep 600 &\necho $! >>{}\necho $$ >>{}\nexit 3\n",
        left.display(),
        seen.display()
    );
    module.program(CUSTOM, &text);
    let begin = Instant::now();
    let (running, _from) = module.start(custom(""));
    until("it is started again", || pids(&seen).len() >= 2).await;
    assert!(begin.elapsed() >= Duration::from_secs(1), "not before a second");
    until("what the first left is gone", || !lives(pids(&left)[0])).await;
    // All lives share one log.
    let logs = fs::read_dir(&module.around.runner.setup().log_dir).unwrap().count();
    assert_eq!(logs, 1);
    drop(running);
    until("all are gone", || !pids(&left).iter().any(|pid| lives(*pid))).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_yet_is_started_when_it_is() {
    let module = Module::new();
    let seen = module.root.path().join("seen");
    let (_running, _from) = module.start(custom(""));
    module.program(CUSTOM, &format!("#!/bin/sh\necho $$ >>{}\nsleep 600\n", seen.display()));
    until("it runs", || !pids(&seen).is_empty()).await;
}

#[tokio::test]
async fn what_an_earlier_daemon_left_running_is_replaced() {
    let module = Module::new();
    let seen = module.root.path().join("seen");
    let text = format!("#!/bin/sh\necho $$ >>{}\nwhile :; do sleep 600; done\n", seen.display());
    module.program(CUSTOM, &text);
    let call = super::super::custom::call(&module.around, CUSTOM, "custom.x", "");
    let other = super::super::custom::call(&module.around, CUSTOM, "custom.y", "");
    let former = module.around.runner.program(CUSTOM, call).await.start().await.unwrap();
    until("the former one runs", || pids(&seen).len() == 1).await;
    let beside = module.around.runner.program(CUSTOM, other).await.start().await.unwrap();
    until("another one runs", || pids(&seen).len() == 2).await;
    let (_running, _from) = module.start(custom(""));
    until("the new one runs", || pids(&seen).len() == 3).await;
    let pids = pids(&seen);
    until("the former one is gone", || !lives(pids[0])).await;
    assert!(lives(pids[1]) && lives(pids[2]), "one for another resource stays");
    drop((former, beside));
}
