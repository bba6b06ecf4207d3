//! What a person can do about the state of a module. Pure.
use super::chain::Link;
use crate::api::{ModuleView, PeerView};
use crate::cli::state::marks;
use crate::model::{CopyState, Readiness, Role};

pub fn of(view: &ModuleView, chain: &[Link<'_>]) -> Vec<String> {
    let module = &view.module;
    let mut advice = Vec::new();
    // The side that stays after both were alone decides nothing itself, and says who must.
    let forked = view.state.role == Role::Alone && view.reason.contains("a person must decide");
    if view.needs_decision || forked {
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
        (Role::Second, Readiness::Transient) if has("link-refused") => {
            "the engines of the nodes refuse each other: cure what the reason names, on both nodes"
                .into()
        }
        (_, Readiness::Transient) => format!(
            "a transition is under way, there is nothing to do yet: lockstep waitstart -m {module} \
             waits for its end"
        ),
        (_, _) => of_copy(view, name)
            .unwrap_or_else(|| "it goes on by itself when what the reason names is cured".into()),
    }
}

/// For a copy that may only follow while nobody leads.
fn of_copy(view: &ModuleView, name: &str) -> Option<String> {
    let (module, replication) = (&view.module, view.replication.as_ref()?);
    let leads =
        |peer: &PeerView| peer.alive && peer.state.is_some_and(|state| state.role.is_primary());
    if replication.up_to_date || view.peers.iter().any(leads) {
        return None;
    }
    let half = replication.status.as_ref().map(|status| status.side.copy);
    if half == Some(CopyState::Incomplete) {
        return Some(format!(
            "this copy is half of a return: start {name} again; only if it is lost for good: \
             lockstep primforce -m {module}"
        ));
    }
    let has = if replication.in_doubt { "may have" } else { "has" };
    Some(format!(
        "start {name}, which {has} the newer copy: lockstep -H {name} start -m {module}; only if \
         it is lost for good: lockstep stop -m {module}, then lockstep prim -m {module}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::fixture::{PRIM, view};
    use crate::logbook::{Entry, Level, texts};
    use crate::model::State;

    fn advised(view: &ModuleView, entries: &[Entry]) -> String {
        let link = |entry| Link { entry, because: None, times: 1 };
        of(view, &entries.iter().map(link).collect::<Vec<_>>()).join("\n")
    }

    #[test]
    fn every_state_has_its_advice() {
        let text = "Action stop called by maxloop";
        let text = texts::other("stop-maxloop", Level::Critical, text);
        let maxloop = Entry::now(&view(PRIM).module, "control", text);
        let alone = State::new(Role::Alone, Readiness::Ready);
        let starting = State::new(Role::Wait, Readiness::Transient);
        for (state, entry, said) in [
            (PRIM, None, "nothing to do"),
            (State::STOP, None, "lockstep start -m web"),
            (State::STOP, Some(maxloop), "userlog_"),
            (alone, None, "lockstep -H n1 start -m web"),
            (starting, None, "waitstart"),
        ] {
            let advice = advised(&view(state), entry.as_slice());
            assert!(advice.contains(said), "{state}: {advice}");
        }
        let mut stays = view(alone);
        stays.reason = "alone: both wrote (rule both-wrote); a person must decide: …".into();
        let advice = advised(&stays, &[]);
        assert!(advice.contains("whose copy") && !advice.contains("takes no part"), "{advice}");
        let refused = texts::other("link-refused", Level::Critical, "no data link to n1: …");
        let refused = Entry::now(&view(PRIM).module, "control", refused);
        let second = view(State::new(Role::Second, Readiness::Transient));
        let advice = advised(&second, &[refused]);
        assert!(advice.contains("refuse each other") && !advice.contains("nothing to do"));
        let waits = advised(&view(State::new(Role::Wait, Readiness::NotReady)), &[]);
        assert!(waits.contains("whose copy is right"), "{waits}");
        let mut silent = view(alone);
        silent.peers[0].alive = false;
        silent.settings.failover = false;
        let advice = advised(&silent, &[]);
        assert!(advice.contains("n1 is not heard") && advice.contains("failover on"), "{advice}");
    }

    /// Which copy it is stands in the view: the log says it in other words each time.
    #[test]
    fn a_copy_that_may_only_follow_says_whom_to_start() {
        let mut waits = view(State::new(Role::Wait, Readiness::NotReady));
        waits.needs_decision = false;
        waits.peers[0].state = Some(State::STOP);
        assert!(advised(&waits, &[]).contains("goes on by itself"));
        let side = |view: &mut ModuleView, copy, in_doubt| {
            let replication = view.replication.as_mut().unwrap();
            (replication.up_to_date, replication.in_doubt) = (false, in_doubt);
            replication.status.as_mut().unwrap().side.copy = copy;
        };
        for (copy, in_doubt, said) in [
            (CopyState::Outdated, false, "start n1, which has the newer copy"),
            (CopyState::Current, true, "start n1, which may have the newer copy"),
            (CopyState::Incomplete, false, "lockstep primforce -m web"),
        ] {
            side(&mut waits, copy, in_doubt);
            let advice = advised(&waits, &[]);
            assert!(advice.contains(said), "{copy:?}: {advice}");
        }
        waits.peers[0].state = Some(PRIM);
        assert!(advised(&waits, &[]).contains("goes on by itself"), "n1 leads already");
    }
}
