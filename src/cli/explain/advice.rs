//! What a person can do about the state of a module. Pure.
use super::chain::Link;
use crate::api::ModuleView;
use crate::cli::state::marks;
use crate::model::{Readiness, Role};

pub fn of(view: &ModuleView, chain: &[Link<'_>]) -> Vec<String> {
    let module = &view.module;
    let mut advice = Vec::new();
    if view.needs_decision {
        advice
            .push("a person must decide whose copy is right; the reason names the commands".into());
    } else {
        advice.push(of_state(view, chain));
    }
    let marks = marks(view);
    if marks.contains(&"failover-off") {
        advice.push(format!(
            "the secondary does not take over by itself; to allow it: lockstep -H '*' failover on \
             -m {module}"
        ));
    }
    if marks.contains(&"config-differs") {
        advice.push(format!(
            "the nodes have different configurations: stop the module, then run lockstep -H '*' \
             -E {module} on the node that has the right one"
        ));
    }
    advice
}

fn of_state(view: &ModuleView, chain: &[Link<'_>]) -> String {
    let module = &view.module;
    let peer = view.peers.first();
    let name = peer.map_or("the other node", |peer| peer.node.as_str());
    let has = |code: &str| chain.iter().any(|link| link.entry.code == code);
    match (view.state.role, view.state.readiness) {
        (Role::Prim | Role::Second, Readiness::Ready) => {
            "nothing to do: it is as it should be".into()
        }
        (Role::Stop, _) if has("stop-maxloop") => format!(
            "the application failed too often: read the userlog_… files in \
             /var/log/lockstep/modules/{module}, cure it, then lockstep start -m {module}"
        ),
        (Role::Stop, _) => format!("to start it: lockstep start -m {module}"),
        (Role::Alone, Readiness::Ready) => match peer {
            Some(peer) if peer.alive => format!(
                "{name} is heard and takes no part: lockstep -H {name} start -m {module}; if it has \
                 been started, lockstep -H {name} explain -m {module} says what it waits for"
            ),
            _ => format!(
                "{name} is not heard: see whether it and its network work (lockstep cluster state); \
                 then lockstep start -m {module} there, if it does not start by itself"
            ),
        },
        (_, Readiness::Transient) => format!(
            "a transition is under way, there is nothing to do yet: lockstep waitstart -m {module} \
             waits for its end"
        ),
        (_, _) if has("notuptodate") => format!(
            "start {name}, which has the newer copy: lockstep -H {name} start -m {module}; only if \
             it is lost for good: lockstep stop -m {module}, then lockstep prim -m {module}"
        ),
        (_, _) if has("inconsistent") => format!(
            "this copy is half of a return: start {name} again; only if it is lost for good: \
             lockstep primforce -m {module}"
        ),
        (_, _) => "it goes on by itself when what the reason names is cured".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::fixture::{PRIM, view};
    use crate::logbook::{Entry, texts};
    use crate::model::State;

    fn advised(view: &ModuleView, entries: &[Entry]) -> String {
        let link = |entry| Link { entry, because: None, times: 1 };
        of(view, &entries.iter().map(link).collect::<Vec<_>>()).join("\n")
    }

    #[test]
    fn every_state_has_its_advice() {
        let maxloop = Entry::now(&view(PRIM).module, "control", texts::stop_maxloop());
        let behind = Entry::now(&view(PRIM).module, "rfs", texts::not_up_to_date());
        let alone = State::new(Role::Alone, Readiness::Ready);
        let starting = State::new(Role::Wait, Readiness::Transient);
        for (state, entry, said) in [
            (PRIM, None, "nothing to do"),
            (State::STOP, None, "lockstep start -m web"),
            (State::STOP, Some(maxloop), "userlog_"),
            (alone, None, "lockstep -H n1 start -m web"),
            (starting, None, "waitstart"),
            (State::new(Role::Second, Readiness::NotReady), Some(behind), "lost for good"),
        ] {
            let advice = advised(&view(state), entry.as_slice());
            assert!(advice.contains(said), "{state}: {advice}");
        }
        let waits = advised(&view(State::new(Role::Wait, Readiness::NotReady)), &[]);
        assert!(waits.contains("whose copy is right"), "{waits}");
        let mut silent = view(alone);
        silent.peers[0].alive = false;
        silent.settings.failover = false;
        let advice = advised(&silent, &[]);
        assert!(advice.contains("n1 is not heard") && advice.contains("failover on"), "{advice}");
    }
}
