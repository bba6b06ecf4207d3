//! S1, S4, S7 on whole nodes, for as long as somebody has patience: power cuts, deaths of engines
//! and daemons, pauses, short cuts of the network, swaps and stops in any order and one into the
//! other, under load. Whatever happens, the pair is whole again without a person, and nothing that
//! was acknowledged to the client outside is missing on either copy. `bin-scripts/torture --cluster
//! COUNT [FIRST]` runs it; the seed of a failure is printed.
use crate::fixture::{Cluster, DATA, HEART_TIMEOUT, MODULE, Wish};
use crate::kills::{daemon, kill};
use crate::random::{Random, tell};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

const CHURN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/churn.py");
const NODES: [&str; 2] = ["n1", "n2"];
/// After this time heartbeats have passed again, so that two short silences are not a long one.
const HEARD_AGAIN: Duration = Duration::from_millis(700);

#[test]
#[ignore = "runs as long as it is told to, see bin-scripts/torture"]
fn torture() {
    tell(story);
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Engine(&'static str),
    Daemon(&'static str),
    EngineAndDaemon(&'static str),
    Power(&'static str),
    /// Only where each answer waits for both disks.
    BothPower,
    Freeze(&'static str),
    /// The primary, longer than the heartbeats' limit: the other one takes over.
    LongFreeze,
    Cut,
    Swap(&'static str),
    StopStart(&'static str),
    Restart(&'static str),
}

impl Deed {
    /// `whole`: the pair is. Memory of two nodes is lost one after the other only where nothing
    /// but memory was promised.
    fn any(random: &mut Random, whole: bool, durable: bool) -> Deed {
        let node = random.one_of(&NODES);
        match random.below(if whole { 15 } else { 10 }) {
            0 | 1 => Deed::Engine(node),
            2 => Deed::Daemon(node),
            3 => Deed::EngineAndDaemon(node),
            4 => Deed::Freeze(node),
            5 => Deed::Cut,
            6 | 7 => Deed::Swap(node),
            8 => Deed::StopStart(node),
            9 => Deed::Restart(node),
            13 if durable => Deed::BothPower,
            14 => Deed::LongFreeze,
            _ => Deed::Power(node),
        }
    }

    fn carry_out(self, cluster: &Cluster, random: &mut Random) {
        // Shorter than the heartbeats' limit, so that nobody takes the other for dead.
        let short = Duration::from_millis(random.below(HEART_TIMEOUT.as_millis() as u64 / 2));
        let pause = Duration::from_millis(random.below(5000));
        let kill_engine = |node: &str| {
            let pid = cluster.view(node)["replication"]["engine"]["pid"].as_u64();
            pid.into_iter().for_each(|pid| drop(cluster.lab.try_run(kill_words(node, pid))));
        };
        match self {
            Deed::Engine(node) => kill_engine(node),
            Deed::Daemon(node) => kill(cluster, node, &daemon(cluster, node)),
            Deed::EngineAndDaemon(node) => {
                kill_engine(node);
                kill(cluster, node, &daemon(cluster, node));
            }
            Deed::Power(node) => {
                cluster.lab.run(["kill", node]);
                sleep(pause);
                cluster.lab.run(["boot", node]);
            }
            Deed::BothPower => {
                NODES.iter().for_each(|node| drop(cluster.lab.run(["kill", node])));
                let mut order = NODES;
                order.rotate_left(random.below(2) as usize);
                order.iter().for_each(|node| drop(cluster.lab.run(["boot", node])));
            }
            Deed::Freeze(node) => {
                cluster.lab.run(["freeze", node]);
                sleep(short);
                cluster.lab.run(["thaw", node]);
                sleep(HEARD_AGAIN);
            }
            Deed::LongFreeze => {
                let node = primary(cluster);
                cluster.lab.run(["freeze", node]);
                sleep(HEART_TIMEOUT + Duration::from_secs(1) + short);
                cluster.lab.run(["thaw", node]);
            }
            Deed::Cut => {
                cluster.lab.run(["cut", "n1", "n2"]);
                sleep(short);
                cluster.lab.run(["heal"]);
                sleep(HEARD_AGAIN);
            }
            // May be refused where the pair is not whole.
            Deed::Swap(node) => drop(cluster.cli(node, &["swap", "-m", MODULE])),
            Deed::Restart(node) => drop(cluster.cli(node, &["restart", "-m", MODULE])),
            Deed::StopStart(node) => {
                drop(cluster.cli(node, &["stop", "-m", MODULE, "--wait", "--timeout", "30"]));
                cluster.ok(node, &["start", "-m", MODULE]);
            }
        }
    }
}

fn kill_words(node: &str, pid: u64) -> [String; 6] {
    ["exec", node, "--", "kill", "-9", &pid.to_string()].map(str::to_owned)
}

fn primary(cluster: &Cluster) -> &'static str {
    NODES.into_iter().find(|node| cluster.state(node).starts_with("PRIM")).unwrap_or("n1")
}

/// Random operations in the directory on the node that is primary now, beside the application.
fn churn(cluster: &Cluster, seed: u64) -> Child {
    let words = format!("exec /usr/bin/python3 -B {CHURN} {DATA}/churn {seed} 1500");
    let mut command = cluster.lab.command(["exec", primary(cluster), "--", "sh", "-c", &words]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn story(seed: u64) {
    let mut random = Random(seed);
    let durable = random.below(3) == 0;
    let rfs = if durable { r#"async="none""# } else { "" };
    let wish = Wish { service: r#"maxloop="1000""#, rfs, ..Wish::default() };
    let Some(mut cluster) = Cluster::started("torture", wish) else { return };
    NODES.iter().for_each(|node| drop(cluster.ok(node, &["boot", "on", "-m", MODULE])));
    cluster.start_client();
    let mut beside = Vec::new();
    for step in 0..8 {
        beside.push(churn(&cluster, seed * 100 + step));
        cluster.wait_acknowledged(random.below(100) as usize);
        for deed in 0..random.one_of(&[1, 1, 1, 2, 3]) {
            let deed = Deed::any(&mut random, deed == 0, durable);
            println!("  step {step}: {deed:?}");
            deed.carry_out(&cluster, &mut random);
            sleep(Duration::from_millis(random.below(1500)));
        }
        cluster.wait_acknowledged(30);
        cluster.wait_whole();
        let acknowledged = cluster.record().acknowledged;
        for node in NODES {
            crate::counter::check(&cluster.copy(node), &acknowledged);
        }
    }
    for mut program in beside {
        let _ = program.kill().and_then(|()| program.wait());
    }
    cluster.stop_client();
    cluster.check_copies();
}
