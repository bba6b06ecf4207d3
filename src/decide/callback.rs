//! `_rfs_callback` (`rfs scripts="on"`): the module lets go of what it holds of a copy that is
//! about to be overwritten. Unlike other scripts its exit code is heard: non-zero is an error.
//!
//! ```text
//! edge                                                          call-back        non-zero
//! PRIM → SECOND (swap), behind stop_prim, before the peer hears _rfs_pritoscd    primary again
//! ALONE → SECOND (the other side stays), behind stop_prim       _rfs_pritoscd    said, goes on
//! before each order to follow: WAIT → SECOND, the two above,
//! a secondary whose engine died                                 _rfs_startsynch  nothing is fetched
//! ```
//! A return that only goes on after its link was down calls nobody: SECOND was not left, and its
//! directories have been read-only since.
use super::limits;
use super::table;
use super::walk::Kind;
use super::words::{Ending, Script};
use super::{Machine, Part};

impl Machine {
    /// A call-back of the walk under way did not end with 0.
    pub(super) fn callback_failed(&mut self, script: Script, reason: &str) {
        let cx = &mut self.cx;
        let call = format!("{} {}", script.file_name(), script.callback().unwrap_or_default());
        let swap = cx.walk.as_ref().is_some_and(|walk| walk.kind == Kind::SwapOut);
        if script == Script::RfsStartsynch {
            let text = format!(
                "nothing was fetched: {call} {reason}; see its output among the script logs of the \
                 module, then repair what it complains of (tried again every {} s)",
                limits::BLOCKED_RETRY_MS / 1000
            );
            cx.log('E', "callback-failed", text.clone());
            // In WAIT the start is only blocked; a role that was held begins anew.
            if let Part::Wait(wait) = &mut self.part {
                cx.walk = None;
                return wait.block(cx, text, true, false);
            }
            cx.because(text);
            return cx.overtake(Ending::StopStart, 0);
        }
        // Only a swap can go back: the peer has not been told yet.
        let text = match swap {
            true => format!("the swap was given up: {call} {reason}"),
            false => format!("{call} {reason}; the other side stays primary, so this node goes on"),
        };
        cx.log('E', "callback-failed", text.clone());
        if swap {
            cx.because(text);
            cx.walk = Some(table::swap_back());
        }
    }
}
