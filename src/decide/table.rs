//! Which role may follow which, and which scripts run on the way, in this order. The rows are those
//! that administrators know; the walks below are built from them and from nothing else.
//!
//! A script marked *twice* is called plainly and then with `force`.
use super::context::Context;
use super::walk::{Kind, Step, Walk};
use super::words::{Ending, Script, StartKind, Word};
use crate::model::{EngineCommand, PeerMessage, Role};

use Role::{Alone, Prim, Second, Stop, Wait};
use Script::{
    Poststop, Prestart, RfsPritoscd, RfsStartsynch, StartBoth, StartPrim, StartSec, StartSecond,
    StopBoth, StopPrim, StopSec, StopSecond, Transition,
};

/// One allowed change of role and what causes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub from: Role,
    pub to: Role,
    pub cause: &'static str,
    /// `(script, also with force)`, in order. Forced-only scripts of WAIT → STOP say `true` alone
    /// in [`FORCED`].
    pub scripts: &'static [(Script, bool)],
}

const fn row(
    from: Role,
    to: Role,
    cause: &'static str,
    scripts: &'static [(Script, bool)],
) -> Move {
    Move { from, to, cause, scripts }
}

/// Every change of role that may ever happen.
pub const MOVES: &[Move] = &[
    row(
        Stop,
        Wait,
        "start, prim, second, boot, automatic restart",
        &[(Transition, false), (Prestart, false)],
    ),
    row(
        Wait,
        Alone,
        "up to date, no peer",
        &[(Transition, false), (StartBoth, false), (StartPrim, false), (StartSec, false)],
    ),
    row(
        Wait,
        Prim,
        "up to date, peer starting as secondary",
        &[(Transition, false), (StartBoth, false), (StartPrim, false)],
    ),
    row(
        Wait,
        Second,
        "peer is primary",
        &[(Transition, false), (StartBoth, false), (StartSecond, false), (StartSec, false)],
    ),
    row(Alone, Prim, "peer reached SECOND Ready", &[(StopSec, false), (Transition, false)]),
    row(
        Prim,
        Alone,
        "secondary stopped, died, or replication to it timed out",
        &[(Transition, false), (StartSec, false)],
    ),
    row(
        Second,
        Alone,
        "primary stopped cleanly, or all heartbeats lost",
        &[(StopSecond, false), (Transition, false), (StartPrim, false)],
    ),
    row(
        Alone,
        Second,
        "the other side is preferred",
        &[(StopPrim, true), (Transition, false), (StartSecond, false)],
    ),
    row(
        Prim,
        Second,
        "swap or defaultprim, old primary",
        &[(StopPrim, true), (Transition, false), (StartSecond, false), (StartSec, false)],
    ),
    row(
        Second,
        Prim,
        "swap or defaultprim, new primary",
        &[(StopSec, false), (StopSecond, false), (Transition, false), (StartPrim, false)],
    ),
    row(
        Prim,
        Wait,
        "stop, stopstart, wait",
        &[(StopPrim, false), (StopBoth, false), (Transition, false)],
    ),
    row(
        Alone,
        Wait,
        "stop, stopstart, wait",
        &[(StopSec, false), (StopPrim, false), (StopBoth, false), (Transition, false)],
    ),
    row(
        Second,
        Wait,
        "stop, stopstart, wait",
        &[(StopSec, false), (StopSecond, false), (StopBoth, false), (Transition, false)],
    ),
    row(Wait, Stop, "end of stop", &[(Poststop, false), (Transition, false)]),
];

/// Forced stops in WAIT before [`Poststop`].
pub const FORCED: [Script; 4] = [StopSec, StopPrim, StopSecond, StopBoth];

/// Restart in place: the role and the peer do not change.
pub const RESTARTS: &[Move] = &[
    row(
        Alone,
        Alone,
        "restart",
        &[
            (StopSec, false),
            (StopPrim, true),
            (StopBoth, true),
            (StartBoth, false),
            (StartPrim, false),
            (StartSec, false),
        ],
    ),
    row(
        Prim,
        Prim,
        "restart",
        &[(StopPrim, true), (StopBoth, true), (StartBoth, false), (StartPrim, false)],
    ),
    row(
        Second,
        Second,
        "restart",
        &[
            (StopSec, false),
            (StopSecond, false),
            (StopBoth, false),
            (StartBoth, false),
            (StartSecond, false),
            (StartSec, false),
        ],
    ),
];

/// The row of a change of role; `None`: it must never happen.
pub fn allowed(from: Role, to: Role) -> Option<&'static Move> {
    let rows = if from == to { RESTARTS } else { MOVES };
    rows.iter().find(|row| row.from == from && row.to == to)
}

fn scripts(from: Role, to: Role) -> &'static [(Script, bool)] {
    allowed(from, to).map_or(&[], |row| row.scripts)
}

/// STOP → WAIT, up to the decision which role follows.
pub(super) fn up(start: StartKind, word: Word) -> Walk {
    Walk::new(Kind::Up { start }, Stop, Wait, word)
        .then(Step::Enter(Wait))
        .scripts(scripts(Stop, Wait))
        .then(Step::StartEngine)
}

/// WAIT → ALONE, or → PRIM when an equal peer is starting beside. The address is there before
/// `start_prim`.
pub(super) fn lead(to: Role, forced: bool, reason: &str) -> Walk {
    let order = EngineCommand::Lead { reason: reason.to_owned(), forced };
    let walk =
        Walk::new(Kind::Lead, Wait, to, Word::Start).then(Step::Order(order)).then(Step::Enter(to));
    address_first(walk, scripts(Wait, to))
}

/// WAIT → SECOND.
pub(super) fn follow(discard: bool, full: bool) -> Walk {
    Walk::new(Kind::Follow, Wait, Second, Word::Start)
        .run(RfsStartsynch)
        .then(Step::Order(EngineCommand::Follow { discard, full }))
        .then(Step::Enter(Second))
        .scripts(scripts(Wait, Second))
}

/// SECOND → ALONE, or → PRIM when the old primary handed over and comes back as secondary.
pub(super) fn take_over(swap: bool, reason: &str) -> Walk {
    let to = if swap { Prim } else { Alone };
    let order = EngineCommand::Lead { reason: reason.to_owned(), forced: false };
    let row = scripts(Second, to);
    let stops = row.iter().take_while(|(script, _)| script.is_stop()).count();
    let walk = Walk::new(Kind::TakeOver { swap }, Second, to, Word::Start)
        .scripts(&row[..stops])
        .then(Step::Order(order))
        .then(Step::Enter(to));
    address_first(walk, &row[stops..])
}

pub(super) fn to_prim() -> Walk {
    Walk::new(Kind::ToPrim, Alone, Prim, Word::Start)
        .then(Step::Enter(Prim))
        .scripts(scripts(Alone, Prim))
}

pub(super) fn to_alone() -> Walk {
    Walk::new(Kind::ToAlone, Prim, Alone, Word::Start)
        .then(Step::Enter(Alone))
        .scripts(scripts(Prim, Alone))
}

/// Old primary of a swap, or an ALONE that gives way: application and address first, then the
/// directories under the old generation, then (swap) the other side, then follow it.
pub(super) fn hand_over(swap: bool, module: crate::model::ModuleName, reason: &str) -> Walk {
    let from = if swap { Prim } else { Alone };
    let kind = if swap { Kind::SwapOut } else { Kind::Yield };
    let row = scripts(from, Second);
    let message = PeerMessage::TakeOver { module, reason: reason.to_owned() };
    Walk::new(kind, from, Second, Word::Start)
        .then_if(swap, Step::Order(EngineCommand::Flush))
        // What the application writes while it stops would make a fork of one that gives way.
        .then_if(!swap, Step::Order(EngineCommand::Fence))
        .then_if(!swap, Step::Confirm)
        // While two have the address every client that comes here makes a fork of it.
        .then_if(!swap, Step::ReleaseAddress)
        .run(StopPrim)
        .then_if(swap, Step::ReleaseAddress)
        .then(Step::Order(EngineCommand::FailHeld))
        .force(StopPrim)
        // Before the directories are given back: what it lets go of holds them up no more.
        .run(RfsPritoscd)
        .then(Step::Order(EngineCommand::Release { detach: false }))
        .then_if(swap, Step::Tell(message))
        .then(Step::Enter(Second))
        .run(Transition)
        .run(RfsStartsynch)
        .then(Step::Order(EngineCommand::Follow { discard: false, full: false }))
        .scripts(&row[2..])
}

/// The hand-over was refused: primary again, with what was stopped for it.
pub(super) fn swap_back() -> Walk {
    let order = EngineCommand::Lead { reason: "the swap was refused".to_owned(), forced: false };
    Walk::new(Kind::SwapBack, Prim, Prim, Word::Start)
        .then(Step::Order(order))
        .then(Step::TakeAddress)
        .run(StartPrim)
}

pub(super) fn restart(role: Role) -> Walk {
    Walk::new(Kind::Restart, role, role, Word::Start).scripts(scripts(role, role))
}

/// The two scripts of the application that are told which of its services they restart.
pub(super) fn restart_services(role: Role, services: String) -> Walk {
    let walk = Walk::new(Kind::Restart, role, role, Word::Start)
        .scripts(&[(StopPrim, true), (StartPrim, false)]);
    Walk { services: Some(services), ..walk }
}

/// The engine died and nobody can take over: start it again beneath the application, then restart
/// the application, whose open files are gone.
pub(super) fn revive() -> Walk {
    let order = EngineCommand::Lead { reason: "the engine died".to_owned(), forced: false };
    Walk::new(Kind::Revive, Alone, Alone, Word::Start)
        .then(Step::KillGroup)
        .then(Step::StartEngine)
        .then(Step::Order(order))
        .scripts(scripts(Alone, Alone))
}

/// The engine of a secondary died: the primary must not wait for it.
pub(super) fn refollow(cx: &Context) -> Walk {
    let reason = "the engine of the secondary died".to_owned();
    let leave = cx.leave(true, "the engine died");
    let told = goes_on(cx);
    Walk::new(Kind::Refollow, Second, Second, Word::Start)
        .then(Step::StartEngine)
        .then_if(told, Step::Order(EngineCommand::Outdate { reason }))
        .then_if(told, leave)
        .run(RfsStartsynch)
        .then(Step::Order(EngineCommand::Follow { discard: false, full: false }))
}

/// A role → WAIT, gracefully. The peer hears of it when the application has stopped, the address
/// is gone and the engine has given back what it led, before the forced stops (rule A8). Files that
/// are still open do not hold the peer up: whatever is written to them is acknowledged no more.
pub(super) fn down(cx: &Context, from: Role, ending: Ending) -> Walk {
    let word = ending.word();
    if from == Wait {
        return force(cx, ending);
    }
    let reason = cx.memory.reason.clone();
    let mirrors = cx.facts.engine.mirrors();
    let outdate = from == Second && cx.policy.replicates && goes_on(cx);
    let order = EngineCommand::Outdate { reason: reason.clone() };
    let row = scripts(from, Wait);
    let walk = Walk::new(Kind::Down { ending }, from, Wait, word)
        .then_if(from.is_primary() && mirrors, Step::Order(EngineCommand::Flush));
    let walk = row.iter().filter(|(script, _)| script.is_stop()).fold(walk, |walk, (script, _)| {
        walk.run(*script).then_if(*script == StopPrim, Step::ReleaseAddress)
    });
    walk.then_if(outdate, Step::Order(order))
        .then(Step::Order(EngineCommand::Release { detach: false }))
        .then(cx.leave(outdate, &reason))
        .run(Transition)
        .then(Step::Enter(Wait))
}

/// The engine died under a primary, or another node is primary: nothing graceful is possible, and
/// every moment counts. The address goes first, then the application, then the peer is told.
pub(super) fn resign(cx: &Context, from: Role, ending: Ending) -> Walk {
    let word = ending.word();
    let leave = cx.leave(false, &cx.memory.reason);
    Walk::new(Kind::Resign { ending }, from, Wait, word)
        .then(Step::ReleaseAddress)
        // A process that waits for an answer cannot be killed.
        .then_if(cx.facts.engine.leads(), Step::Order(EngineCommand::FailHeld))
        .then(Step::KillGroup)
        .then(leave)
        .then(Step::Enter(Wait))
        .run(Transition)
}

/// The forced stops, the directories, and STOP or a block in WAIT. Held requests fail first
/// (rule A6), so that a process waiting for one can end.
pub(super) fn force(cx: &Context, ending: Ending) -> Walk {
    let word = ending.word();
    let to_stop = !matches!(ending, Ending::Wait { .. });
    let walk = Walk::new(Kind::Force { ending }, Wait, if to_stop { Stop } else { Wait }, word);
    let walk = walk.then_if(cx.facts.engine.leads(), Step::Order(EngineCommand::FailHeld));
    // The address may still be there if a start was overtaken.
    let walk = walk.then(Step::ReleaseAddress);
    let walk = FORCED.iter().fold(walk, |walk, script| walk.force(*script));
    let walk = walk.then(Step::Order(EngineCommand::Release { detach: false }));
    if !to_stop {
        return walk;
    }
    walk.scripts(scripts(Wait, Stop))
        .then(Step::StopEngine)
        .then(Step::Uncover)
        .then(Step::Enter(Stop))
}

/// The primary is there and hears that this copy is given up: only then may a secondary record
/// itself as outdated, for it may hold what nobody else has.
fn goes_on(cx: &Context) -> bool {
    let peer = &cx.facts.peer;
    peer.connected && peer.leads() && peer.left.is_none() && !peer.reborn && !cx.peer_silent()
}

/// Between the transition and the starts: the address, then the application.
fn address_first(walk: Walk, row: &[(Script, bool)]) -> Walk {
    row.iter().fold(walk, |walk, (script, _)| {
        walk.run(*script).then_if(*script == Transition, Step::TakeAddress)
    })
}

/// Third argument: stop scripts within a change of role are told `stop`, the others `start`; a stop
/// or restart of the whole module has one word for all.
pub(super) fn word(walk: &Walk, script: Script) -> Word {
    if walk.word == Word::Start && script.is_stop() { Word::Stop } else { walk.word }
}
