//! Where the demo reads the clock: it measures, so it must.

use std::time::Instant;

/// Now.
#[allow(
    clippy::disallowed_methods,
    reason = "the demo measures failover times"
)]
pub fn now() -> Instant {
    Instant::now()
}
