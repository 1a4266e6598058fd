//! The one place of the benches where the clock is read.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// A moment, in nanoseconds since the first one; comparable over all threads of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// How long after `earlier` this was; zero if it was before.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Now.
#[allow(
    clippy::disallowed_methods,
    reason = "a stopwatch is what a bench is for"
)]
pub fn now() -> Moment {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    Moment(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// Stays away from the machine for `pause`. Nothing is awaited: it is the pause that is wanted.
pub fn keep_silent(pause: Duration) {
    let from = now();
    loop {
        let left = pause.saturating_sub(now().since(from));
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}
