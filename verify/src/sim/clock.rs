//! Clocks that are set to anything and run too fast or too slow.

use std::time::Duration;

use biglock::Time;

/// A machine's monotonic clock: some other moment at its start, and a rate of its own.
#[derive(Clone, Copy, Debug)]
pub struct Drifting {
    /// The moment that it showed,
    offset: u64,
    /// and when, by the world's time.
    since: Time,
    /// How many millionths faster it runs than the world; negative if slower.
    drift: i64,
}

const MILLION: i128 = 1_000_000;

impl Drifting {
    /// A clock that shows `offset` at `now` and runs `drift` millionths too fast.
    pub fn new(now: Time, offset: Duration, drift: i64) -> Drifting {
        let offset = u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX);
        Drifting {
            offset,
            since: now,
            drift,
        }
    }

    /// What it shows at `now` of the world.
    pub fn at(&self, now: Time) -> Time {
        let passed = i128::from(now.as_nanos() - self.since.as_nanos());
        let passed = passed * (MILLION + i128::from(self.drift)) / MILLION;
        Time::from_nanos(self.offset + u64::try_from(passed).unwrap_or(0))
    }

    /// The first moment of the world at which it shows `local` or later.
    pub fn when(&self, local: Time) -> Time {
        if local == Time::NEVER {
            return Time::NEVER;
        }
        let ahead = i128::from(local.as_nanos().saturating_sub(self.offset));
        let rate = MILLION + i128::from(self.drift);
        // Rounded up, so that it is not too early.
        let passed = (ahead * MILLION + rate - 1) / rate;
        self.since + Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_never_early_and_hardly_late() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let start = Time::from_nanos(random.u64(..1 << 40));
            let offset = Duration::from_nanos(random.u64(..1 << 40));
            let clock = Drifting::new(start, offset, random.i64(-100_000..=100_000));
            let local = Time::ZERO + offset + Duration::from_nanos(random.u64(..1 << 40));
            let when = clock.when(local);
            assert!(clock.at(when) >= local);
            let nanos = clock.at(when).as_nanos() - local.as_nanos();
            assert!(nanos <= 2, "{nanos} ns late");
        }
    }
}
