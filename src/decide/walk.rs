//! A walk is one transition under way: steps in order, one at a time. The hub carries out a step
//! and answers; the walk says what comes next. It is plain data, so it is remembered, and a daemon
//! that was started again goes on with the step after the one that was under way.
use super::words::{Ending, Moment, Script, StartKind, Word};
use crate::model::{EngineCommand, PeerMessage, Role};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// One thing to do before the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Script {
        script: Script,
        force: bool,
    },
    /// A script that the last daemon called may still run: its end is waited for.
    Await {
        script: Script,
        force: bool,
    },
    TakeAddress,
    ReleaseAddress,
    KillGroup,
    /// Ask the engine and wait for its answer.
    Order(EngineCommand),
    /// Of two primaries this one gives way: does it still, now that it writes nothing more?
    Confirm,
    /// Tell the peer; the answer is looked at only for `TakeOver`.
    Tell(PeerMessage),
    StartEngine,
    StopEngine,
    /// Take away what an engine that died left over the directories (promise S5).
    Uncover,
    /// Become this role (remembered durably before it is visible).
    Enter(Role),
}

impl Step {
    /// What a person would call it when it was not done.
    pub fn not_done(&self) -> String {
        match self {
            Step::Script { script, .. } | Step::Await { script, .. } => {
                format!("script {} has not ended as it should", script.file_name())
            }
            Step::ReleaseAddress => "the virtual addresses were not given back".to_owned(),
            Step::KillGroup => "processes of the module were not ended".to_owned(),
            Step::Tell(_) => "the peer was not told".to_owned(),
            Step::Order(_) => "the engine did not do what it was told".to_owned(),
            Step::Enter(_)
            | Step::Confirm
            | Step::TakeAddress
            | Step::StartEngine
            | Step::StopEngine
            | Step::Uncover => "a step of the transition was not done".to_owned(),
        }
    }
}

/// Which transition it is; decides what its end means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// STOP → WAIT, up to the decision.
    Up {
        start: StartKind,
    },
    /// WAIT → ALONE.
    Lead,
    /// WAIT → SECOND.
    Follow,
    /// SECOND → ALONE, or → PRIM when the other side handed over.
    TakeOver {
        swap: bool,
    },
    ToPrim,
    ToAlone,
    /// ALONE → SECOND: the other side is preferred.
    Yield,
    /// PRIM → SECOND.
    SwapOut,
    /// The hand-over was refused: primary again.
    SwapBack,
    /// In place.
    Restart,
    /// Engine died under an application that has nobody to go to.
    Revive,
    /// Engine of a secondary died.
    Refollow,
    /// A role → WAIT, gracefully.
    Down {
        ending: Ending,
    },
    /// The engine died under a primary with an in-sync secondary: → WAIT at once.
    Resign {
        ending: Ending,
    },
    /// In WAIT: the forced stops, then STOP or a block.
    Force {
        ending: Ending,
    },
}

/// A walk and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    pub kind: Kind,
    pub from: Role,
    pub to: Role,
    pub word: Word,
    pub steps: VecDeque<Step>,
    /// The step under way.
    pub running: Option<Step>,
    /// Token of the running step.
    #[serde(default)]
    pub token: u64,
    /// When the running step is given up.
    #[serde(default)]
    pub limit: Option<Moment>,
    /// A stop overtook this walk: no further step, and this comes after the running one.
    #[serde(default)]
    pub overtaken: Option<Ending>,
    /// Of a restart: only these services. Each script is told so.
    #[serde(default)]
    pub services: Option<String>,
}

impl Walk {
    /// Where it leads the module is stopped, and stays so.
    pub fn ends_in_stop(&self) -> bool {
        let ending = match &self.kind {
            Kind::Down { ending } | Kind::Resign { ending } | Kind::Force { ending } => {
                Some(ending)
            }
            _ => None,
        };
        self.overtaken.as_ref().or(ending) == Some(&Ending::Stop)
    }

    pub fn new(kind: Kind, from: Role, to: Role, word: Word) -> Walk {
        Walk {
            kind,
            from,
            to,
            word,
            steps: VecDeque::new(),
            running: None,
            token: 0,
            limit: None,
            overtaken: None,
            services: None,
        }
    }

    pub fn then(mut self, step: Step) -> Walk {
        self.steps.push_back(step);
        self
    }

    pub fn then_if(self, condition: bool, step: Step) -> Walk {
        if condition { self.then(step) } else { self }
    }

    /// Scripts in order; each is called plainly and, where the table has a star, with `force`.
    pub fn scripts(mut self, list: &[(Script, bool)]) -> Walk {
        for (script, twice) in list {
            self.steps.push_back(Step::Script { script: *script, force: false });
            if *twice {
                self.steps.push_back(Step::Script { script: *script, force: true });
            }
        }
        self
    }

    pub fn run(self, script: Script) -> Walk {
        self.then(Step::Script { script, force: false })
    }

    pub fn force(self, script: Script) -> Walk {
        self.then(Step::Script { script, force: true })
    }

    /// Arguments of a script of this walk: `[force] current next action`.
    pub fn arguments(&self, force: bool) -> Vec<String> {
        let mut arguments = Vec::with_capacity(4);
        if force {
            arguments.push("force".to_owned());
        }
        arguments.push(self.from.to_string());
        arguments.push(self.to.to_string());
        arguments.push(self.word.as_str().to_owned());
        arguments
    }
}
