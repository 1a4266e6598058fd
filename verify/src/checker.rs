//! What loom and shuttle call differently, for the models that run on both: the only file of this package that asks which of them it is.
//!
//! Loom searches every schedule of a model, shuttle draws some of them. Either way the stage of an execution is set first, by one thread after the other
//! and always in the same order; from [`explore`] on it is the checker that says who goes on.

#[cfg(biglock_loom)]
pub use loom::{
    explore, stop_exploring,
    sync::{Mutex, MutexGuard},
    thread::yield_now,
};
#[cfg(biglock_shuttle)]
pub use shuttle::{
    sync::{Mutex, MutexGuard},
    thread::yield_now,
};

#[cfg(biglock_loom)]
use loom::thread;
#[cfg(biglock_shuttle)]
use shuttle::thread;

/// Large enough for a failing assertion. Loom counts words, shuttle bytes.
const STACK: usize = if cfg!(biglock_loom) { 0x8000 } else { 0x40000 };

/// Starts a thread that nobody joins.
pub fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(name.into()).stack_size(STACK);
    thread.spawn(body).expect("the checker gives threads");
}

#[cfg(biglock_shuttle)]
mod drawn {
    use std::cell::Cell;

    use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

    // All threads of an execution are coroutines of one thread of the system.
    thread_local! {
        static EXPLORING: Cell<bool> = const { Cell::new(false) };
    }

    /// From here on whoever can go on may be drawn, at each step.
    pub fn explore() {
        EXPLORING.set(true);
    }

    /// From here on the thread that runs goes on, until it waits or yields.
    pub fn stop_exploring() {
        EXPLORING.set(false);
    }

    /// Draws the schedules of one execution after the other, each from a seed of its own.
    #[derive(Debug)]
    pub struct Drawn<S> {
        /// The next seed, until there is none.
        pub seeds: S,
        rng: fastrand::Rng,
        yielded: Option<TaskId>,
    }

    impl<S> Drawn<S> {
        pub fn new(seeds: S) -> Drawn<S> {
            let rng = fastrand::Rng::with_seed(0);
            Drawn {
                seeds,
                rng,
                yielded: None,
            }
        }
    }

    impl<S: Iterator<Item = u64>> Scheduler for Drawn<S> {
        fn new_execution(&mut self) -> Option<Schedule> {
            let seed = self.seeds.next()?;
            self.rng = fastrand::Rng::with_seed(seed);
            self.yielded = None;
            Some(Schedule::new(seed))
        }

        fn next_task(
            &mut self,
            ready: &[&Task],
            current: Option<TaskId>,
            yields: bool,
        ) -> Option<TaskId> {
            if EXPLORING.get() {
                return Some(ready[self.rng.usize(..ready.len())].id());
            }
            // As loom does it while it does not explore: whoever yields comes last.
            if yields {
                self.yielded = current;
            }
            let mut others = ready.iter().map(|task| task.id());
            let others = others.by_ref().filter(|id| Some(*id) != self.yielded);
            let others: Vec<TaskId> = others.collect();
            let goes_on = current.filter(|id| others.contains(id));
            let next = goes_on.or(others.first().copied());
            next.or_else(|| self.yielded.take())
        }

        fn next_u64(&mut self) -> u64 {
            self.rng.u64(..)
        }
    }
}

#[cfg(biglock_shuttle)]
pub use drawn::{Drawn, explore, stop_exploring};
