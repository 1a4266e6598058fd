//! The one place where the clock is read.

use std::time::Instant;

/// Now.
#[allow(
    clippy::disallowed_methods,
    reason = "a stopwatch is what a bench is for, and the peers' nodes need a clock"
)]
pub fn now() -> Instant {
    Instant::now()
}
