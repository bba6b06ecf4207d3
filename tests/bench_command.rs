//! `lockstep bench` on a real pair: figures for everything it names, nothing left behind, nothing
//! of the application touched; refused where it would mislead or disturb. How good the figures
//! are is no business of this test.
#![allow(clippy::unwrap_used)]
#[path = "support/lab.rs"]
mod support;
use serde_json::Value;
use std::process::{Output, Stdio};
use support::{Lab, pack, wait_for};

const USERCONFIG: &str = r#"<!DOCTYPE safe>
<safe><service mode="mirror" defaultprim="alone">
  <heart pulse="200ms" timeout="5s"><heartbeat name="default"/></heart>
  <rfs><replicated dir="/srv/data"/></rfs>
  <user/>
</service></safe>
"#;
const SMALL: [&str; 4] = ["--seconds", "0.02", "--file-mb", "2"];

/// n1 PRIM Ready, n2 SECOND Ready, a file of an application in the mirror.
fn pair() -> Option<Lab> {
    let lab = Lab::cluster("bench", &["--disk-mb", "512"])?;
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("data.safe");
    pack(&file, USERCONFIG, &[("start_prim", "#!/bin/sh\n")]);
    for node in ["n1", "n2"] {
        lab.sh(node, "mkdir -p /srv/data");
    }
    lab.sh("n1", "echo precious >/srv/data/file");
    lab.sh("n1", &format!("lockstep module install -m data {}", file.display()));
    lab.sh("n1", "lockstep -H '*' -E data");
    lab.sh("n1", "lockstep prim -m data --wait=ALONE --timeout 60");
    lab.sh("n2", "lockstep second -m data --wait=SECOND --timeout 60");
    lab.sh("n1", "lockstep waitstate -m data PRIM --timeout 60");
    Some(lab)
}

fn bench(lab: &Lab, node: &str, words: &[&str]) -> (Output, String) {
    let begin = ["exec", node, "--", "lockstep", "bench", "-m", "data"];
    let output = lab.try_run([&begin[..], &SMALL[..], words].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

fn nothing_is_left(lab: &Lab) {
    for node in ["n1", "n2"] {
        let found = lab.sh(node, "find /srv /var/lib/lockstep -name '.lockstep-bench*'");
        assert_eq!(found, "", "{node}");
        assert_eq!(lab.sh(node, "ls -A /srv/data; cat /srv/data/file"), "file\nprecious", "{node}");
    }
}

fn ready(lab: &Lab) {
    assert_eq!(lab.sh("n1", "lockstep state -m data -lq || echo $?"), "3", "PRIM");
    assert_eq!(lab.sh("n2", "lockstep state -m data -lq || echo $?"), "4", "SECOND");
}

#[test]
fn a_pair_is_measured_and_left_as_it_was() {
    let Some(lab) = pair() else { return };
    everything_is_measured(&lab);
    refusals_change_nothing(&lab);
    an_interrupt_removes_everything(&lab);
    an_interrupted_return_goes_on(&lab);
    ready(&lab);
}

fn everything_is_measured(lab: &Lab) {
    let (output, said) = bench(lab, "n1", &["--with-return", "--yes", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let data = &document["answers"][0]["data"];
    let words = ["module", "node", "peer", "level", "directory", "file_system", "plain_directory"];
    let words = words.map(|name| data[name].as_str().unwrap_or("?"));
    let plain = "/var/lib/lockstep";
    assert_eq!(words, ["data", "n1", "n2", "mirror", "/srv/data", "ext4", plain], "{data:#}");
    assert!(data["features"].as_array().is_some_and(|all| !all.is_empty()), "{data:#}");

    let workloads = data["workloads"].as_array().unwrap();
    assert_eq!(workloads.len(), 9, "{data:#}");
    for workload in workloads {
        for place in ["mirrored", "plain"] {
            let rates = workload[place]["rates"].as_array().unwrap();
            assert_eq!(rates.len(), 3, "{workload:#}");
            assert!(rates.iter().all(|rate| rate.as_f64() > Some(0.0)), "{workload:#}");
        }
        assert!(workload["ratio"].as_f64() > Some(0.0), "{workload:#}");
    }
    let back = &data["return"];
    assert_eq!(back["file_bytes"], 8 << 20);
    assert_eq!(back["changed_bytes"], 21 * 4096, "1 % of 2048 pages, rounded up");
    assert!(back["sent_bytes"].as_u64() >= back["changed_bytes"].as_u64(), "{back:#}");
    // Only what changed travels, and only that is counted: not what was measured before.
    assert!(back["sent_bytes"].as_u64() < Some(4 << 20), "{back:#}");
    assert!(back["plan"].is_string() && back["seconds"].as_f64() > Some(0.0), "{back:#}");
    nothing_is_left(lab);
    ready(lab);
}

fn refusals_change_nothing(lab: &Lab) {
    let (output, said) = bench(lab, "n2", &["--yes"]);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("run `lockstep bench -m data` on n1"), "{said}");

    let (output, said) = bench(lab, "n1", &[]);
    assert_eq!(output.status.code(), Some(3), "nobody consents: {said}");
    assert!(said.contains("--yes"), "{said}");

    let (output, said) = bench(lab, "n1", &["--yes", "--dir", "/srv"]);
    assert_eq!(output.status.code(), Some(2), "not mirrored: {said}");

    // The disk of the secondary decides too.
    lab.run(["fill", "n2", "20"]);
    wait_for("a refusal for lack of space on n2", || {
        let (output, said) = bench(lab, "n1", &["--yes", "--only", "barrier"]);
        output.status.code() == Some(3) && said.contains("not enough space on n2")
    });
    lab.run(["unfill", "n2"]);
    nothing_is_left(lab);
}

fn an_interrupt_removes_everything(lab: &Lab) {
    let words = "exec lockstep bench -m data --yes --seconds 60 --file-mb 2 --only write";
    let script = format!("echo $$; {words} 2>/dev/null");
    let mut command = lab.command(["exec", "n1", "--", "sh", "-c", &script]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut pid).unwrap();
    wait_for("the benchmark's files", || {
        lab.holds("n1", "test -e /srv/data/.lockstep-bench/pages-0")
    });
    let (output, said) = bench(lab, "n1", &["--yes"]);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("another benchmark runs"), "{said}");
    lab.sh("n1", &format!("kill -INT {}", pid.trim()));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    nothing_is_left(lab);
}

/// Nobody but the benchmark would start the secondary again.
fn an_interrupted_return_goes_on(lab: &Lab) {
    let script = "lockstep bench -m data --yes --file-mb 2 --only return 2>/run/said & pid=$!
        until grep -q 'stopping n2' /run/said; do sleep 0.01; done
        kill -INT $pid; wait $pid && exit 9 || test $? = 1";
    lab.sh("n1", script);
    lab.sh("n1", "grep -q 'interrupted: no figures' /run/said");
    lab.sh("n2", "lockstep waitstate -m data SECOND --timeout 60");
    lab.sh("n1", "lockstep waitstate -m data PRIM --timeout 60");
    nothing_is_left(lab);
}
