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

/// Milliseconds since 1970, for people, and to tell how long a reboot took.
pub fn wall_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What people's clocks show when so much time has passed, to the second, RFC 3339.
pub fn date_in(ms: u64) -> String {
    let at = wall_ms().saturating_add(i64::try_from(ms).unwrap_or(i64::MAX));
    let seconds = at.saturating_add(500) / 1_000;
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "never".to_owned(), |at| at.to_string())
}

/// # Errors
/// `/proc` is not mounted, or the kernel says something unexpected.
pub fn boot_id() -> io::Result<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    BootId::try_from(text.trim().to_owned()).map_err(|error| io::Error::other(error.to_string()))
}
