//! Bad input on a running cluster: one clear sentence, the right exit code, and nothing changed.
use crate::fixture::{Cluster, DATA, MODULE, Wish};
use crate::support::pack;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

/// Everything that a command said.
fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// A command that must end with `code` and say all of `words`.
fn refuses(cluster: &Cluster, node: &str, command: &[&str], code: i32, words: &[&str]) {
    let output = cluster.cli(node, command);
    let text = said(&output);
    println!("{command:?}: {text}");
    assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{command:?} does not say {word:?}: {text}");
    }
}

/// A `.safe` archive with this configuration and a start script.
fn archive(cluster: &Cluster, name: &str, xml: &str) -> PathBuf {
    let file = cluster.outside().join(name);
    pack(&file, xml, &[("start_prim", "#!/bin/sh\nexit 0\n")]);
    file
}

fn replicating(dir: &str) -> String {
    format!(
        r#"<safe><service mode="mirror" defaultprim="alone">
<heart><heartbeat name="default"/></heart>
<rfs><replicated dir="{dir}"/></rfs><user/></service></safe>"#
    )
}

/// Somebody stands in the directory: a swap says who and changes nothing; a stop does not wait for
/// them, and the node comes back.
#[test]
fn a_swap_is_refused_while_somebody_is_in_the_directory() {
    let Some(mut cluster) = Cluster::started("stands", Wish::default()) else { return };
    cluster.start_client();
    cluster.wait_acknowledged(50);
    let stand = format!("cd {DATA}; setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $!");
    let pid = cluster.lab.sh("n1", &stand);
    let swap = ["swap", "-m", MODULE, "--wait", "--timeout", "60"];
    refuses(&cluster, "n1", &swap, 1, &["given up", "PRIM Ready", "sleep (process", DATA]);
    cluster.wait_acknowledged(100);
    cluster.wait("n2", "SECOND Ready");
    cluster.ok("n1", &["stop", "-m", MODULE, "--wait", "--timeout", "60"]);
    cluster.wait("n2", "ALONE Ready");
    cluster.wait_acknowledged(50);
    cluster.wait_log("n1", "which does not belong to the module");
    cluster.lab.sh("n1", &format!("kill {pid}"));
    cluster.ok("n1", &["start", "-m", MODULE]);
    cluster.wait("n1", "SECOND Ready");
    cluster.wait("n2", "PRIM Ready");
    cluster.ok("n2", &swap);
    cluster.wait("n2", "SECOND Ready");
    cluster.stop_client();
    cluster.check_copies();
}

/// A mirrored pair goes on, untouched by every mistake that is made beside it.
#[test]
fn mistakes_are_said_and_change_nothing() {
    let Some(mut cluster) = Cluster::started("refuse", Wish::default()) else { return };
    cluster.start_client();
    cluster.wait_acknowledged(50);
    let path = |file: &PathBuf| file.to_str().unwrap().to_owned();
    let listed = cluster.ok("n1", &["module", "list"]);

    // An archive that was cut off while it was copied.
    let good = archive(&cluster, "good.safe", &replicating("/srv/other"));
    let bytes = fs::read(&good).unwrap();
    let cut = cluster.outside().join("cut.safe");
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let words = ["cut.safe", "copy it again", "nothing was changed"];
    refuses(&cluster, "n1", &["module", "install", "-m", "other", &path(&cut)], 2, &words);

    // Three mistakes, each with its line, all at once.
    let xml = "<safe>\n<service mode=\"miror\" defaultprim=\"alone\">\n<heart><heartbeat name=\"default\"/></heart>\n\
               <rfs><replicated dir=\"srv/other\"/></rfs>\n<nonsense/>\n<user/></service></safe>";
    let wrong = archive(&cluster, "wrong.safe", xml);
    let words =
        ["userconfig.xml:2:", "miror", "userconfig.xml:4:", "userconfig.xml:5:", "nonsense"];
    refuses(&cluster, "n1", &["module", "install", "-m", "other", &path(&wrong)], 2, &words);
    assert_eq!(cluster.ok("n1", &["module", "list"]), listed, "nothing was installed");

    // The same mistakes in a module that runs: the applied configuration stays.
    let before = cluster.view("n1")["config"].to_string();
    let file = format!("/etc/lockstep/modules/{MODULE}/conf/userconfig.xml");
    let kept = cluster.lab.sh("n1", &format!("cat {file}"));
    fs::write(cluster.lab.path("n1", &file), xml).unwrap();
    let words = ["userconfig.xml:2:", "userconfig.xml:4:", "userconfig.xml:5:"];
    refuses(&cluster, "n1", &["confcheck", "-m", MODULE], 2, &words);
    // Also where the state of the module would be a reason by itself.
    refuses(&cluster, "n1", &["config", "-m", MODULE], 2, &words);
    refuses(&cluster, "n1", &["-H", "*", "-E", MODULE], 2, &words);
    fs::write(cluster.lab.path("n1", &file), kept).unwrap();
    assert_eq!(cluster.view("n1")["config"].to_string(), before);

    // A node that is not there.
    let words = ["n9", "not in cluster.xml", "n1, n2"];
    refuses(&cluster, "n1", &["-H", "n9", "module", "list"], 2, &words);

    // Two modules over one directory, or one inside the other.
    for dir in [DATA.to_owned(), format!("{DATA}/inside"), "/srv".to_owned()] {
        let over = archive(&cluster, "over.safe", &replicating(&dir));
        cluster.lab.sh("n1", &format!("rm -rf {DATA}/inside; mkdir {DATA}/inside"));
        cluster.cli("n1", &["module", "install", "-m", "over", &path(&over)]);
        let words = [MODULE, "over", DATA];
        refuses(&cluster, "n1", &["config", "-m", "over"], 2, &words);
        cluster.cli("n1", &["module", "uninstall", "-m", "over"]);
    }
    assert_eq!(cluster.ok("n1", &["module", "list"]), listed);

    cluster.wait_acknowledged(50);
    assert_eq!(cluster.state("n1"), "PRIM Ready");
    assert_eq!(cluster.state("n2"), "SECOND Ready");
    cluster.stop_client();
    cluster.lab.sh("n1", &format!("rmdir {DATA}/inside"));
    cluster.check_copies();
}

/// What is wrong with a directory is a note when the module is checked and an error when it starts.
#[test]
fn a_directory_that_cannot_be_mirrored_is_refused_at_the_start() {
    let Some(cluster) = Cluster::installed("dirs", Wish::default()) else { return };
    let check = ["module", "check", "-m", MODULE];
    let start = ["prim", "-m", MODULE];

    cluster.lab.sh("n1", &format!("rmdir {DATA}"));
    refuses(&cluster, "n1", &check, 0, &[DATA, "does not exist"]);
    refuses(&cluster, "n1", &start, 1, &[DATA, "does not exist"]);
    assert_eq!(cluster.state("n1"), "STOP NotReady");

    let below = format!("{DATA}/disk");
    cluster.lab.sh("n1", &format!("mkdir -p {below} && mount -t tmpfs none {below}"));
    refuses(&cluster, "n1", &check, 0, &[&below, "is mounted below"]);
    refuses(&cluster, "n1", &start, 1, &[&below, "is mounted below", "unmount it"]);
    assert_eq!(cluster.state("n1"), "STOP NotReady");
    cluster.lab.sh("n1", &format!("umount {below} && rmdir {below}"));

    // Somebody works in it: he would write past the mirror.
    cluster.lab.sh("n1", &format!("cd {DATA} && setsid sleep 300 >/dev/null 2>&1 & sleep 0.1"));
    cluster.cli("n1", &start);
    cluster.wait("n1", "WAIT NotReady");
    let reason = cluster.view("n1")["reason"].to_string();
    assert!(reason.contains("in use") && reason.contains("(sleep)"), "{reason}");
    // He leaves, and the start goes on by itself.
    cluster.lab.sh("n1", "pkill -x sleep");
    cluster.wait("n1", "ALONE Ready");
}

/// A node of another cluster is told from a silent one, on both sides, with what to do.
#[test]
fn a_peer_with_another_certificate_is_named() {
    let Some(cluster) = Cluster::started("cert", Wish::default()) else { return };
    let init = "cp /etc/lockstep/cluster.xml /tmp/$LOCKSTEP_NODE.xml 2>/dev/null; \
                lockstep cluster init --force --node n2 /etc/lockstep/cluster.xml";
    let text = cluster.lab.sh("n2", init);
    assert!(text.contains("restart its daemon"), "{text}");
    cluster.lab.run(["kill", "n2"]);
    cluster.wait("n1", "ALONE Ready");
    cluster.lab.run(["boot", "n2"]);
    for (node, words) in [
        ("n1", "shows a certificate of another cluster: join it to this cluster with a token"),
        ("n2", "refuses this node's certificate, which is of another cluster: join this node"),
    ] {
        crate::support::wait_for(&format!("{words:?} in the state of {node}"), || {
            said(&cluster.cli(node, &["cluster", "state"])).contains(words)
        });
    }
    assert_eq!(cluster.state("n1"), "ALONE Ready");
    // The remedy works.
    let token = cluster.ok("n1", &["cluster", "token"]);
    let address = cluster.lab.variable("LAB_ADDR_n1");
    let join = ["cluster", "join", &address, "--token", token.trim(), "--force", "--replace"];
    cluster.ok("n2", &join);
    cluster.lab.run(["kill", "n2"]);
    cluster.lab.run(["boot", "n2"]);
    cluster.ok("n2", &["start", "-m", MODULE]);
    cluster.wait("n2", "SECOND Ready");
    cluster.wait("n1", "PRIM Ready");
    cluster.check_copies();
}
