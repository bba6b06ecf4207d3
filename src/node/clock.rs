//! The only reader of the system's clock and boot id.
use crate::decide::Moment;
use crate::model::BootId;
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::time::Duration;

/// Time since boot, pauses of a suspended machine included.
pub fn since_boot() -> Duration {
    // The call cannot fail for a clock that every Linux has.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

pub fn now() -> Moment {
    Moment(u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX))
}

/// # Errors
/// `/proc` is not mounted, or the kernel says something unexpected.
pub fn boot_id() -> io::Result<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    BootId::try_from(text.trim().to_owned()).map_err(|error| io::Error::other(error.to_string()))
}
