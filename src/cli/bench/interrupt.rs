//! Ctrl-C and requests to end: noted, so that the workloads end and the folders are removed.
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_: libc::c_int) {
    ASKED.store(true, Ordering::Relaxed);
}

/// From now on the first signal of each kind is only noted; a second one ends the process.
pub fn watch() {
    let flags = SaFlags::SA_RESTART | SaFlags::SA_RESETHAND;
    let action = SigAction::new(SigHandler::Handler(note), flags, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does one atomic store, which is allowed at any point.
        let _ = unsafe { sigaction(signal, &action) };
    }
}

/// Has somebody asked the program to end?
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
