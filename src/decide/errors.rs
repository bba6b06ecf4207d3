//! What an error of this node leads to: counted, one too many within the interval stops the module,
//! and a stopstart boots the server if the module says so.
//!
//! ```text
//! cause                                       without      with automatic_reboot
//! stopstart of a person, or of a fact         starts again starts again
//! stopstart of errd, a checker or a rule      starts again boots
//! the engine of a primary with a peer died    starts again boots
//! restart, an engine that comes back in place as it is     as it is
//! one too many                                stops        stops
//! ```
//! A reboot keeps the count, so that errors that come back with every boot end in a stop.
use super::context::Context;
use super::walk::{Kind, Walk};
use super::words::Ending;

impl Context {
    /// Counts an error-driven action; `true` when one more is not allowed (`maxloop`).
    pub(super) fn count_error(&mut self) -> bool {
        let interval = self.policy.loop_interval_ms;
        if interval == 0 {
            return false;
        }
        let now = self.now;
        self.memory.loops.retain(|at| now.since(*at) < interval);
        self.memory.loops.push(now);
        let over = self.memory.loops.len() as u64 > u64::from(self.policy.maxloop);
        if over {
            self.log('C', "stop-maxloop", "Action stop called by maxloop");
            self.because(format!(
                "stopped: more than {} error-driven actions within the loop interval; see the log, \
                 repair, then start",
                self.policy.maxloop
            ));
            self.memory.running = false;
        }
        over
    }

    /// What becomes of a role that an error has ended.
    pub(super) fn after_error(&mut self) -> Ending {
        match self.count_error() {
            true => Ending::Stop,
            false if self.policy.automatic_reboot => Ending::Reboot,
            false => Ending::StopStart,
        }
    }

    /// The stopstart that has just begun was not asked for by a person.
    pub(super) fn reboot_instead(&mut self) {
        let ending = match &mut self.walk {
            Some(Walk { overtaken: Some(ending), .. }) => ending,
            Some(Walk {
                kind: Kind::Down { ending } | Kind::Resign { ending } | Kind::Force { ending },
                ..
            }) => ending,
            _ => return,
        };
        if self.policy.automatic_reboot && *ending == Ending::StopStart {
            *ending = Ending::Reboot;
        }
    }
}
