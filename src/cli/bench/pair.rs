//! The pair that is measured, as the daemon of the primary tells it.
use crate::api::{Command, Data, Exit, ModuleView, Nodes, Refusal, ReplicationView, Response};
use crate::cli::context::{Context, failed};
use crate::model::{NodeName, Readiness, Role};

/// The module here; with no module named, the only one of the node that mirrors something.
pub fn look(context: &mut Context<'_>) -> Result<ModuleView, Refusal> {
    let replies = context.ask(Command::State)?;
    for reply in replies {
        match reply.response {
            Response::Data { data: Data::Module(view) } => return Ok(*view),
            Response::Data { data: Data::Modules(mut views) } => {
                views.retain(|view| view.replication.is_some());
                if views.len() == 1 {
                    let view = views.remove(0);
                    context.module = Some(view.module.clone());
                    return Ok(view);
                }
            }
            Response::Refused(refusal) => return Err(refusal),
            _ => {}
        }
    }
    context.needed_module()?;
    Err(failed("the daemon did not tell a state; see daemon.log"))
}

/// What a benchmark needs of a view, or why there is none and where to go.
pub fn measurable(view: &ModuleView) -> Result<(&ReplicationView, &NodeName), Refusal> {
    let (module, node, state) = (&view.module, &view.node, view.state);
    let peer = view.peers.first();
    let elsewhere = peer.filter(|peer| peer.state.is_some_and(|state| state.role.is_primary()));
    let there = |peer: &NodeName| {
        format!("run `lockstep bench -m {module}` on {peer}, which is the primary")
    };
    let why = match (state.role, &view.replication, peer) {
        (_, None, _) => {
            format!("module {module} mirrors no directory: there is nothing to measure")
        }
        (Role::Prim, Some(replication), Some(peer)) if state.readiness == Readiness::Ready => {
            return Ok((replication, &peer.node));
        }
        (Role::Prim, ..) => format!(
            "module {module} is {state} on {node}, and only a Ready pair is measured: wait for \
             it with `lockstep waitstate -m {module} PRIM`"
        ),
        (Role::Alone, _, peer) => {
            let peer = peer.map_or("the other node".to_owned(), |peer| peer.node.to_string());
            format!(
                "module {module} is {state} on {node}: without a second copy nothing is \
                 replicated; start it on {peer}, wait until that is SECOND Ready, and try again"
            )
        }
        _ => {
            let next = match elsewhere {
                Some(peer) => there(&peer.node),
                None => format!(
                    "run it where `lockstep -H '*' state -m {module}` shows PRIM Ready, after a \
                     start"
                ),
            };
            format!(
                "module {module} is {state} on {node}, and a benchmark needs the primary: {next}"
            )
        }
    };
    Err(Refusal { code: "not-primary".to_owned(), text: why, exit: Exit::Refused })
}

/// Refuses figures of a pair that was not the same all the time.
pub fn unchanged(begin: &ModuleView, now: &ModuleView) -> Result<(), Refusal> {
    let engine = |view: &ModuleView| view.replication.as_ref().and_then(|r| r.engine_pid);
    let same = begin.state == now.state && begin.since == now.since && begin.epoch == now.epoch;
    if same && engine(begin) == engine(now) {
        return Ok(());
    }
    Err(failed(format!(
        "module {} changed while it was measured (now {}: {}): no figures, because they would \
         compare different things; see `lockstep log -m {0}`",
        now.module, now.state, now.reason
    )))
}

/// An action on the other node; what is so already is as good as done.
pub fn order(context: &mut Context<'_>, peer: &NodeName, command: Command) -> Result<(), Refusal> {
    let request = context.request(command).on(Nodes::Named(vec![peer.clone()]));
    let replies = context.send(&request).map_err(|error| crate::cli::ask::refusal(&error))?;
    for reply in replies {
        if let Response::Refused(refusal) = reply.response
            && context.exit_of(&refusal) != 0
        {
            return Err(refusal);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::fixture::{PRIM, SECOND, node, view};
    use crate::model::State;

    fn refused(view: &ModuleView) -> String {
        let refusal = measurable(view).unwrap_err();
        assert_eq!((refusal.exit, refusal.code.as_str()), (Exit::Refused, "not-primary"));
        refusal.text
    }

    #[test]
    fn only_a_ready_primary_is_measured_and_others_are_told_where_to_go() {
        assert_eq!(measurable(&view(PRIM)).unwrap().1, &node("n1"));
        let mut stopped = view(State::STOP);
        stopped.peers[0].state = None;
        let told = [
            refused(&view(SECOND)),
            refused(&view(State::new(Role::Prim, Readiness::Transient))),
            refused(&view(State::new(Role::Alone, Readiness::Ready))),
            refused(&stopped),
        ];
        insta::assert_snapshot!(told.join("\n"));
        let mut light = view(PRIM);
        light.replication = None;
        assert!(refused(&light).contains("mirrors no directory"));
    }

    #[test]
    fn a_pair_that_changed_meanwhile_gives_no_figures() {
        let begin = view(PRIM);
        assert!(unchanged(&begin, &begin.clone()).is_ok());
        let changes: [fn(&mut ModuleView); 4] = [
            |view| view.state = SECOND,
            |view| view.since = Some("2026-02-03T05:00:00Z".into()),
            |view| view.epoch += 1,
            |view| view.replication.as_mut().unwrap().engine_pid = Some(1),
        ];
        for change in changes {
            let mut now = begin.clone();
            change(&mut now);
            assert_eq!(unchanged(&begin, &now).unwrap_err().exit, Exit::Failed);
        }
    }
}
