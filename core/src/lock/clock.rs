//! The one place where the clock is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Time;

/// Where a node's time comes from: the machine's monotonic clock, or a hand that moves it.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Monotonic(Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's monotonic clock; its start is now.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the place where the clock is read"
    )]
    pub fn monotonic() -> Clock {
        Clock(Source::Monotonic(Instant::now()))
    }

    /// A clock that stands still at [`Time::ZERO`] until [`Monitor::tick`](super::Monitor::tick) moves it: virtual time, for
    /// tests and models. Clones share their hands.
    pub fn manual() -> Clock {
        Clock(Source::Manual(Arc::new(AtomicU64::new(0))))
    }

    /// The time now. Never goes back.
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::Monotonic(start) => Time::ZERO + start.elapsed(),
            // Moved and read under the monitor's lock, which orders the two; the checker therefore need not see it.
            Source::Manual(hands) => Time::from_nanos(hands.load(Ordering::Relaxed)),
        }
    }

    /// Whether this is a manual clock.
    pub fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// Moves the hands of a manual clock forward to `to`; never back.
    pub(super) fn set(&self, to: Time) {
        match &self.0 {
            Source::Monotonic(_) => panic!("the machine's own clock cannot be set"),
            Source::Manual(hands) => {
                hands.fetch_max(to.as_nanos(), Ordering::Relaxed);
            }
        }
    }

    /// How long a thread that must look again at `by` may sleep: `None` is until the next broadcast. A manual clock is moved by
    /// a broadcast, so nobody needs a timer.
    pub(super) fn timeout(&self, by: Option<Time>) -> Option<Duration> {
        match (&self.0, by) {
            (Source::Monotonic(_), Some(by)) if by != Time::NEVER => Some(by.since(self.now())),
            _ => None,
        }
    }
}
