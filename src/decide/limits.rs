//! Limits of the automaton, milliseconds, and how they relate.
/// How long a `start` waits for the first report of a peer that was never heard.
pub const FIRST_REPORT_MS: u64 = 1_000;
/// Between two attempts to tell the peer something that matters.
pub const RETRY_MS: u64 = 300;
/// What is due is late by so much: the node was paused. Engine and peer are heard more often.
pub const PAUSE_MS: u64 = 1_500;
/// Barrier over everything before a planned stop; after that the stop goes on without it.
pub const FLUSH_MS: u64 = 20_000;
/// How long an engine may take to say that it writes nothing more.
pub const FENCE_MS: u64 = 1_000;
/// How long an order of a walk may take. An engine that has not given its part back by then is
/// killed; whatever else was ordered, the walk goes on without the answer.
pub const ORDER_MS: u64 = 60_000;
/// A secondary's engine that has not recorded *outdated* by then hangs: the primary's application
/// waits for it.
pub const OUTDATE_MS: u64 = 5_000;
/// How long the loser of a claim leaves the way to the winner.
pub const YIELD_MS: u64 = 3_000;
/// How long a running script may finish when a stop overtakes a start.
pub const OVERTAKE_MS: u64 = 10_000;
/// A role must have been complete this long before `defaultprim` moves it.
pub const FAILBACK_MS: u64 = 2_000;
/// A start that was blocked by something outside (an address in use) is tried again.
pub const BLOCKED_RETRY_MS: u64 = 5_000;

const _: () = assert!(RETRY_MS < FIRST_REPORT_MS);
const _: () = assert!(FIRST_REPORT_MS < YIELD_MS);
