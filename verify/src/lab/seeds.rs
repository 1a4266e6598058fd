//! Seed after seed, over several threads: for `cargo verify --seeds` and the example `soak`.

use std::fmt;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{Test, tell_seed};

/// The first run that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Of which test,
    pub name: &'static str,
    /// with which seed,
    pub seed: u64,
    /// and what it said.
    pub message: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failed {
            name,
            seed,
            message,
        } = self;
        write!(f, "{name} failed with seed {seed}: {message}")
    }
}

/// Runs all `tests` with one seed after the other, `at_once` at a time, as long as `goes_on` says so, and until one fails: then it says on standard error
/// how to see that again. `ended` hears of each run that passed.
///
/// # Errors
/// The first that failed.
pub fn run_seeds(
    tests: &[&Test],
    seeds: RangeInclusive<u64>,
    at_once: usize,
    goes_on: impl Fn() -> bool + Sync,
    ended: impl Fn() + Sync,
) -> Result<(), Failed> {
    let (next, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let first = Mutex::new(None);
    let many = tests.len() as u64;
    let work = || {
        while !has_failed.load(Ordering::Relaxed) && goes_on() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let seed = seeds.start().checked_add(number / many);
            let Some(seed) = seed.filter(|seed| seeds.contains(seed)) else {
                return;
            };
            let Test { name, run, .. } = tests[usize::try_from(number % many).unwrap_or(0)];
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(()) => ended(),
                Err(panic) if !has_failed.swap(true, Ordering::Relaxed) => {
                    tell_seed(name, seed);
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                    let message = text.unwrap_or("it panicked").into();
                    let failed = Failed {
                        name,
                        seed,
                        message,
                    };
                    first
                        .lock()
                        .expect("nobody panics here")
                        .get_or_insert(failed);
                }
                Err(_) => {}
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_once.max(1) {
            scope.spawn(work);
        }
    });
    match first.into_inner().expect("nobody panics here") {
        Some(failed) => Err(failed),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static RUNS: Mutex<Vec<(char, u64)>> = Mutex::new(Vec::new());

    fn noted(by: char, seed: u64) {
        RUNS.lock().unwrap().push((by, seed));
    }

    const A: Test = Test {
        name: "a",
        run: |seed| noted('a', seed),
        seeds: 1,
    };
    const B: Test = Test {
        name: "b",
        run: |seed| noted('b', seed),
        seeds: 1,
    };
    const NOT_SEVEN: Test = Test {
        name: "not_seven",
        run: |seed| assert!(seed != 7, "it is {seed}"),
        seeds: 1,
    };

    #[test]
    fn each_test_runs_once_with_each_seed() {
        let ended = AtomicU64::new(0);
        let count = || {
            ended.fetch_add(1, Ordering::Relaxed);
        };
        run_seeds(&[&A, &B], 5..=7, 2, || true, count).unwrap();
        let mut runs = RUNS.lock().unwrap().clone();
        runs.sort_unstable();
        let all = [('a', 5), ('a', 6), ('a', 7), ('b', 5), ('b', 6), ('b', 7)];
        assert_eq!((runs.as_slice(), ended.into_inner()), (&all[..], 6));
    }

    #[test]
    fn the_seed_that_fails_is_told_and_no_other_is_run_after_it() {
        let last = AtomicU64::new(0);
        let count = || {
            last.fetch_add(1, Ordering::Relaxed);
        };
        let failed = run_seeds(&[&NOT_SEVEN], 1..=100, 1, || true, count).unwrap_err();
        assert_eq!(failed.to_string(), "not_seven failed with seed 7: it is 7");
        assert_eq!(last.into_inner(), 6);
    }

    #[test]
    fn the_last_seed_there_is_is_run_and_none_after_it() {
        let end = u64::MAX;
        run_seeds(&[&NOT_SEVEN], end - 1..=end, 1, || true, || ()).unwrap();
    }
}
