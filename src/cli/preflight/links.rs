//! The ways between the nodes, as the daemons see them: their own link on each lan, and the data
//! link of a module that runs on both.
use super::super::context::Context;
use crate::api::{
    ClusterView, Command, Data, Finding, Grade, ModuleView, PreflightView, Refusal, Reply, Response,
};
use crate::model::NodeName;

/// Asks the same nodes once more, and adds what they say to their findings.
pub fn add(context: &mut Context<'_>, replies: &mut [Reply]) -> Result<(), Refusal> {
    let module = context.module.clone();
    let states = context.ask(Command::State)?;
    context.module = None;
    let clusters = context.ask(Command::ClusterState)?;
    context.module = module;
    for reply in replies {
        // Looked at without the daemon, a node has no name; there is only this one then.
        let same = |other: &&Reply| reply.node.is_none() || other.node == reply.node;
        let Response::Data { data: Data::Preflight(view) } = &mut reply.response else { continue };
        for answer in clusters.iter().chain(&states).filter(same) {
            match &answer.response {
                Response::Data { data: Data::Cluster(cluster) } => daemons(cluster, view),
                Response::Data { data: Data::Module(module) } => data(module, view),
                Response::Data { data: Data::Modules(modules) } => {
                    modules.iter().for_each(|module| data(module, view));
                }
                _ => {}
            }
        }
        if reply.node.is_none() {
            reply.node = clusters.iter().find_map(|answer| answer.node.clone());
        }
    }
    Ok(())
}

fn daemons(cluster: &ClusterView, view: &mut PreflightView) {
    if cluster.nodes.len() < 2 {
        let text = "is the only node of its cluster: nobody can take over";
        let remedy = "lockstep cluster token here, lockstep cluster join on the other node";
        view.findings.push(Finding::new(Grade::Failure, "alone", "this node", text, remedy));
    }
    for node in cluster.nodes.iter().filter(|node| node.node != cluster.me) {
        let place = format!("link to {}", node.node);
        let remedy = format!(
            "on {}: does its daemon run (lockstep level), does the firewall pass the UDP port of \
             <lans port> (4800 if it says nothing)",
            node.node
        );
        for (lan, why) in &node.problems {
            let grade = if node.reachable { Grade::Warning } else { Grade::Failure };
            let text = format!("there is none on lan {lan}: {why}");
            view.findings.push(Finding::new(grade, "link", &place, &text, &remedy));
        }
        if !node.reachable && node.problems.is_empty() {
            let text = "there is none";
            view.findings.push(Finding::new(Grade::Failure, "link", &place, text, &remedy));
        }
    }
}

fn data(module: &ModuleView, view: &mut PreflightView) {
    let Some(replication) = &module.replication else { return };
    let place = format!("module {}", module.module);
    let runs = |node: &NodeName| {
        let peer = module.peers.iter().find(|peer| peer.node == *node);
        peer.is_some_and(|peer| {
            peer.alive && peer.state.is_some_and(|state| state != crate::model::State::STOP)
        })
    };
    let both = module.peers.iter().any(|peer| runs(&peer.node));
    let finding = match (&replication.status, both) {
        (Some(status), _) if status.link_up => return,
        (Some(_), true) => Finding::new(
            Grade::Failure,
            "data-link",
            &place,
            "runs on both nodes, and its data link is down",
            &format!(
                "lockstep log -m {0} says why; does the firewall pass the UDP port of `lockstep \
                 module getports -m {0}`",
                module.module
            ),
        ),
        _ => Finding::new(
            Grade::Note,
            "data-link",
            &place,
            "does not run on both nodes, so its data link was not tried",
            "",
        ),
    };
    view.findings.push(finding);
}
