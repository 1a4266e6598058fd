//! The facade: the only file that names parking_lot, loom or shuttle.
//!
//! By itself it is parking_lot and std's threads. With `--cfg biglock_loom` the same few names are loom's, and every lock,
//! wait, broadcast and thread of Biglock is one that the checker schedules, in every way there is; with `--cfg biglock_shuttle` they are
//! shuttle's, which schedules larger clusters at random. It offers a mutex, a condvar that waits and
//! broadcasts, and threads that are spawned and joined: the part of loom that was validated, and nothing else. There is no
//! `try_lock`, no `notify_one`, no atomic and no park.
//!
//! Reference counts are std's `Arc` in both builds: they order nothing that a reader of this crate relies on.

#[cfg(any(biglock_loom, biglock_shuttle))]
use self::scheduled as imp;
#[cfg(not(any(biglock_loom, biglock_shuttle)))]
use self::shipped as imp;

pub(crate) use imp::Board;
pub use imp::{Activity, ThreadActivity};
#[cfg(not(biglock_loom))]
pub(crate) use imp::{Condvar, JoinHandle, Mutex, MutexGuard, spawn};
// Under loom whoever checks the checker needs the facade itself: nobody links such a build.
#[cfg(biglock_loom)]
pub use imp::{Condvar, JoinHandle, Mutex, MutexGuard, spawn};
// Whoever lets threads start on such a lock must see that they take no other before.
#[cfg(any(biglock_loom, biglock_shuttle))]
pub use imp::locks_taken;

#[cfg(all(
    feature = "deadlock-detection",
    not(any(biglock_loom, biglock_shuttle))
))]
pub use imp::find_deadlocks;

/// Whether this build checks all invariants at every leave and wait, and not the cheap ones alone.
pub const CHECKED: bool = cfg!(any(debug_assertions, biglock_loom, biglock_shuttle));

#[cfg(not(any(biglock_loom, biglock_shuttle)))]
mod shipped {
    use std::io;
    use std::thread;
    use std::time::Duration;

    pub(crate) use parking_lot::{Mutex, MutexGuard};

    pub use super::board::{Activity, ThreadActivity};

    /// Waits, with a predicate around it (`Section::wait_until`), and broadcasts.
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Condvar {
            Condvar(parking_lot::Condvar::new())
        }

        /// Gives up the lock, sleeps until a broadcast or for `timeout`, and takes the lock again.
        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Option<Duration>) {
            match timeout {
                None => self.0.wait(guard),
                Some(timeout) => {
                    self.0.wait_for(guard, timeout);
                }
            }
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// A thread that was spawned and must be joined.
    pub(crate) struct JoinHandle(thread::JoinHandle<()>);

    impl JoinHandle {
        /// Waits until the thread has ended. False if it panicked.
        pub(crate) fn join(self) -> bool {
            self.0.join().is_ok()
        }

        /// Whether the caller is this very thread, which therefore must not join it.
        pub(crate) fn is_current(&self) -> bool {
            self.0.thread().id() == thread::current().id()
        }
    }

    /// Starts a named thread.
    pub(crate) fn spawn(
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle> {
        let thread = thread::Builder::new().name(name.into()).spawn(body)?;
        Ok(JoinHandle(thread))
    }

    /// Cycles of threads that wait for each other's locks, each as the text of its threads' backtraces. Empty if there is none. Each
    /// is told once, and its threads stay stuck.
    #[cfg(feature = "deadlock-detection")]
    pub fn find_deadlocks() -> Vec<String> {
        let cycles = parking_lot::deadlock::check_deadlock();
        let texts = cycles.iter().map(|cycle| {
            let threads = cycle.iter().map(|thread| {
                let (id, backtrace) = (thread.thread_id(), thread.backtrace());
                format!("{id:?} waits for a lock at\n{backtrace:?}")
            });
            threads.collect::<Vec<_>>().join("\n")
        });
        texts.collect()
    }

    /// What each thread is doing, for [`crate::Node::threads`]. It has a lock of its own, so that it can be read when the big one
    /// is stuck; it is held for a store and never while another is taken; and no logic ever reads it. There are few threads, so a
    /// search from the front is the quickest: every section writes here.
    pub(crate) struct Board(Mutex<Vec<(u64, ThreadActivity)>>);

    impl Board {
        pub(crate) fn new() -> Board {
            Board(Mutex::new(Vec::new()))
        }

        pub(crate) fn set(&self, thread: &'static str, token: u64, activity: Activity) {
            let mut board = self.0.lock();
            match board.iter_mut().find(|(of, _)| *of == token) {
                Some((_, known)) => known.activity = activity,
                None => board.push((token, ThreadActivity { thread, activity })),
            }
        }

        pub(crate) fn clear(&self, _: &'static str, token: u64) {
            let mut board = self.0.lock();
            if let Some(at) = board.iter().position(|(of, _)| *of == token) {
                board.swap_remove(at);
            }
        }

        pub(crate) fn read(&self) -> Vec<ThreadActivity> {
            let mut board = self.0.lock().clone();
            board.sort_by_key(|(token, known)| (known.thread, *token));
            board.into_iter().map(|(_, known)| known).collect()
        }
    }
}

#[cfg(any(biglock_loom, biglock_shuttle))]
mod scheduled {
    use std::cell::Cell;
    use std::io;
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    #[cfg(biglock_loom)]
    use loom::{sync as checked, thread};
    #[cfg(biglock_shuttle)]
    use shuttle::{sync as checked, thread};

    pub use super::board::{Activity, ThreadActivity};

    /// The default of both is 32 kB, which an assertion that formats a message overflows. Loom counts words, shuttle bytes.
    const STACK: usize = if cfg!(biglock_loom) { 0x8000 } else { 0x40000 };

    /// A mutex that the checker schedules.
    pub struct Mutex<T>(checked::Mutex<T>);

    /// Loom's guard moves through a wait, parking_lot's is lent: an `Option` makes the two alike.
    pub struct MutexGuard<'a, T>(Option<checked::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        /// An unlocked mutex.
        pub fn new(value: T) -> Mutex<T> {
            Mutex(checked::Mutex::new(value))
        }

        /// Waits for the lock and takes it.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            let held = self.0.lock();
            TAKEN.set(TAKEN.get() + 1);
            MutexGuard(Some(held.expect("whoever panics ends the whole execution")))
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_ref().expect("held except inside a wait")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("held except inside a wait")
        }
    }

    /// A condvar that the checker schedules.
    pub struct Condvar(checked::Condvar);

    impl Condvar {
        /// A condvar on which nobody waits.
        #[allow(clippy::new_without_default, reason = "the other half has none either")]
        pub fn new() -> Condvar {
            Condvar(checked::Condvar::new())
        }

        /// Gives up the lock, sleeps until a broadcast, and takes the lock again. No timeout is allowed here.
        pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Option<Duration>) {
            assert!(
                timeout.is_none(),
                "a model has a manual clock: under a checker, time is one more thread that broadcasts"
            );
            let held = guard.0.take().expect("held when a wait begins");
            guard.0 = Some(
                self.0
                    .wait(held)
                    .expect("whoever panics ends the whole execution"),
            );
        }

        /// Wakes all who sleep.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// A thread that was spawned and must be joined.
    pub struct JoinHandle(thread::JoinHandle<()>);

    impl JoinHandle {
        /// Waits until the thread has ended.
        pub fn join(self) -> bool {
            self.0.join().is_ok()
        }

        pub(crate) fn is_current(&self) -> bool {
            self.0.thread().id() == thread::current().id()
        }
    }

    /// Starts a named thread.
    ///
    /// # Errors
    /// None: the checkers give threads, or panic.
    pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle> {
        let thread = thread::Builder::new()
            .name(name.into())
            .stack_size(STACK)
            .spawn(body)?;
        Ok(JoinHandle(thread))
    }

    // The threads of an execution are coroutines of one thread of the system.
    std::thread_local! {
        static TAKEN: Cell<u64> = const { Cell::new(0) };
    }

    /// How many locks were taken so far, in this execution and in those before it: no logic reads it but a checker's harness.
    pub fn locks_taken() -> u64 {
        TAKEN.get()
    }

    /// Nothing is written down: the checker has pictures of its own, and no logic reads the board.
    pub(crate) struct Board;

    impl Board {
        pub(crate) fn new() -> Board {
            Board
        }

        pub(crate) fn set(&self, _: &'static str, _: u64, _: Activity) {}

        pub(crate) fn clear(&self, _: &'static str, _: u64) {}

        pub(crate) fn read(&self) -> Vec<ThreadActivity> {
            Vec::new()
        }
    }
}

mod board {
    use std::fmt;

    /// What a thread was doing when it was last looked at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Activity {
        /// It wants the lock, for the section of this name.
        WantsLock(&'static str),
        /// It holds the lock, in the section of this name.
        Inside(&'static str),
        /// It sleeps on the condvar until this has happened.
        WaitsFor(&'static str),
        /// It left the section of this name and does what that section told it to, without the lock.
        OutsideAfter(&'static str),
    }

    impl fmt::Display for Activity {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Activity::WantsLock(section) => write!(f, "wants the lock, to {section}"),
                Activity::Inside(section) => write!(f, "holds the lock, to {section}"),
                Activity::WaitsFor(what) => write!(f, "waits for {what}"),
                Activity::OutsideAfter(section) => {
                    write!(f, "is outside the lock, after it was there to {section}")
                }
            }
        }
    }

    /// A thread of a node, and what it is doing.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct ThreadActivity {
        /// The thread's name.
        pub thread: &'static str,
        /// What it is doing.
        pub activity: Activity,
    }
}
