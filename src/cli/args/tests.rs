use super::*;
use crate::model::NodeName;
use std::ffi::OsString;

fn words(line: &str) -> Vec<OsString> {
    // Quotes as a shell would take them away, for the few lines that need them.
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(OsString::from(std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    words.push(word.into());
    words
}

fn parsed(line: &str) -> CommandLine {
    assert_eq!(later(&words(line)), None, "{line}");
    parse("safekit", words(line)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn verb(line: &str) -> Verb {
    parsed(line).verb.unwrap_or_else(|| panic!("{line}: no verb"))
}

#[test]
fn the_definition_is_consistent() {
    CommandLine::command().debug_assert();
}

#[test]
fn every_old_spelling_parses() {
    for line in [
        "-H * start -m AM",
        "-H node1,node2 stop -m AM",
        "-H [http:9500],a,b state -m AM",
        "start -m AM",
        "-m AM start",
        "stop -i start_prim",
        "restart -m AM -i errd",
        "stopstart -i custom",
        "forcestop -m AM",
        "shutdown",
        "swap -m AM",
        "swap nosync -m AM",
        "prim -m AM",
        "prim fullsync -m AM",
        "primforce -m AM",
        "second -m AM",
        "second fullsync -m AM",
        "waitstart -m AM",
        "waitstop -m AM",
        "waitstate -m AM ALONE",
        "waitstate STOP -m AM",
        "level",
        "state",
        "state -m AM",
        "state -m AM -v",
        "state -m AM -lq",
        "state -lq -m AM",
        "log -m AM",
        "log -m AM -s 50 -A -l en",
        "log -l fr",
        "logview -m AM -A -s 20",
        "printi \"some words\"",
        "printe \"some words\" -m AM",
        "printw words",
        "config -m AM",
        "confinfo -m AM",
        "confcheck -m AM",
        "module install -m AM x.safe",
        "module install -m AM -M 3 -r /tmp/x.safe",
        "module install -m AM",
        "module package -m AM /tmp/x.safe",
        "module uninstall -m AM",
        "module list",
        "module listid",
        "module getports -m AM",
        "-H * -E AM",
        "-H n1,n2 -E AM",
        "-H * -G",
        "-E AM",
        "-G",
        "-p",
        "cluster config",
        "cluster config /tmp/cluster.xml",
        "cluster config /tmp/cluster.zip lock",
        "cluster confcheck /tmp/cluster.xml",
        "cluster confinfo",
        "cluster state",
        "-H * cluster confinfo",
        "get -r rfs.uptodate -m AM",
        "set -r custom.x -v up -i me -m AM",
        "set -r custom.x -v down -n -l -i me",
        "incloop -i handler",
        "resetloop -m AM",
        "checkloop",
        "boot on -m AM",
        "boot off -m AM",
        "boot status -m AM",
        "failover on -m AM",
        "failover off -m AM",
        "errd on -m AM",
        "errd off",
        "errd suspend -m AM",
        "errd resume -m AM",
        "errd list -m AM",
        "errd enable backup -m AM",
        "errd disable prim",
        "resources -m AM",
        "snapshot -m AM /tmp/x.zip",
        "cmdlog",
        "checker on",
        "checker off -m AM",
    ] {
        parsed(line);
    }
}

#[test]
fn options_mean_the_same_before_and_after_the_command() {
    assert_eq!(parsed("-H * -m AM start"), parsed("start -m AM -H *"));
    let line = parsed("-H n1,n2 stop -m AM -i stop_prim --json");
    assert_eq!(line.common.nodes.as_deref(), Some("n1,n2"));
    assert_eq!(line.common.module, ModuleName::new("AM").ok());
    assert_eq!(line.common.identity.as_deref(), Some("stop_prim"));
    assert!(line.common.json);
}

#[test]
fn meanings_of_words() {
    let second = Verb::Second {
        mode: Some(FullSync::Fullsync),
        discard: true,
        wait: Wait { wait: Some(Some(Target(Role::Second))), timeout: Some(5.0) },
    };
    assert_eq!(verb("second fullsync --discard --wait=second --timeout 5s"), second);
    assert_eq!(verb("start --wait"), Verb::Start(Wait { wait: Some(None), timeout: None }));
    assert_eq!(
        verb("waitstate alone --timeout 0.5"),
        Verb::Waitstate { state: Target(Role::Alone), timeout: Some(0.5) }
    );
    assert_eq!(verb("state -lq"), Verb::State { verbose: false, local: true, quiet: true });
    assert_eq!(
        verb("printe -m AM -x is not an option here"),
        Verb::Printe(Words {
            words: ["-x", "is", "not", "an", "option", "here"].map(str::to_owned).into()
        })
    );
    let lan = |name: &str, address: &str| (name.to_owned(), address.parse().unwrap());
    let join = ClusterVerb::Join {
        address: "192.0.2.1".into(),
        token: "abc".into(),
        node: NodeName::new("n2").ok(),
        addresses: Addresses {
            addresses: vec![lan("default", "192.0.2.2"), lan("lan2", "2001:db8::2")],
        },
        replace: false,
        force: false,
    };
    let line = "cluster join 192.0.2.1 --token abc --node n2 --addr 192.0.2.2 \
                --lan lan2=[2001:db8::2]";
    assert_eq!(verb(line), Verb::Cluster(join));
    for line in ["printe -m AM words", "printe words -m AM"] {
        assert_eq!(verb(line), Verb::Printe(Words { words: vec!["words".into()] }), "{line}");
        assert_eq!(parsed(line).common.module, ModuleName::new("AM").ok(), "{line}");
    }
    assert_eq!(parsed("-E AM -H *").export, ModuleName::new("AM").ok());
}

#[test]
fn what_is_for_later_is_told_apart_from_what_is_wrong() {
    for line in [
        "update -m AM",
        "-m AM rfsverify",
        "boot webon",
        "module genkey -m AM",
        "kill -name=x -level=9",
        "dump -m AM",
        "rfssync external prim 12",
    ] {
        assert!(later(&words(line)).is_some(), "{line}");
    }
    for line in
        ["strat -m AM", "start --now", "module", "cluster jion", "boot perhaps", "waitstate UP"]
    {
        assert_eq!(later(&words(line)), None, "{line}");
        let error = parse("lockstep", words(line)).unwrap_err();
        assert!(error.use_stderr() || line == "module", "{line}");
    }
}

#[test]
fn the_last_line_of_help_is_an_example() {
    fn walk(command: &mut clap::Command, name: String) {
        command.build();
        if !command.is_hide_set() {
            let help = command.render_long_help().to_string();
            let last = help.trim_end().lines().last().unwrap_or_default().to_owned();
            assert!(last.starts_with("Example: lockstep"), "{name}: {last}");
        }
        for sub in command.get_subcommands_mut() {
            if sub.get_name() != "help" {
                let name = format!("{name} {}", sub.get_name());
                walk(sub, name);
            }
        }
    }
    walk(&mut CommandLine::command(), "lockstep".into());
}
