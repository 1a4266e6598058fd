//! The monitor: one lock, its condvars, and the rules of both.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Clock;
use super::sync::{Activity, Board, CHECKED, Condvar, Mutex, MutexGuard, ThreadActivity};
use crate::Time;

/// A thread's permission to touch the outside world: to send, to sync a disk, to sleep, to log, to call a user's code.
///
/// Everything that may wait asks for `&Outside`; [`Monitor::enter`] borrows it as `&mut`. So while a thread holds the lock it
/// has no permission left to give, and waiting under the lock does not compile (rule 4 of the course):
///
/// ```compile_fail,E0502
/// use biglock::lock::{Monitor, Outside};
/// # use biglock::lock::Guarded;
/// # struct Votes(u32);
/// # impl Guarded for Votes {
/// #     type Digest = u32;
/// #     type Audience = ();
/// #     const AUDIENCES: &[()] = &[()];
/// #     fn digest(&self) -> u32 { self.0 }
/// #     fn check(&self, _: &u32) -> Result<(), String> { Ok(()) }
/// #     fn give_up(&mut self, _: &'static str) {}
/// # }
/// fn send(outside: &Outside, term: u32) { /* a system call */ }
///
/// let monitor = Monitor::new(Votes(0));
/// let mut outside = Outside::claim("election");
/// monitor.enter(&mut outside, "campaign", |votes| {
///     votes.0 += 1;
///     send(&outside, votes.0); // error[E0502]: cannot borrow `outside` as immutable
/// });
/// ```
///
/// What compiles is to take the news out of the section and send it afterwards:
///
/// ```
/// # use biglock::lock::{Monitor, Outside, Guarded};
/// # struct Votes(u32);
/// # impl Guarded for Votes {
/// #     type Digest = u32;
/// #     type Audience = ();
/// #     const AUDIENCES: &[()] = &[()];
/// #     fn digest(&self) -> u32 { self.0 }
/// #     fn check(&self, _: &u32) -> Result<(), String> { Ok(()) }
/// #     fn give_up(&mut self, _: &'static str) {}
/// # }
/// # fn send(outside: &Outside, term: u32) {}
/// # let monitor = Monitor::new(Votes(0));
/// # let mut outside = Outside::claim("election");
/// let news = monitor.enter(&mut outside, "campaign", |votes| {
///     votes.0 += 1;
///     votes.0
/// });
/// send(&outside, news);
/// ```
///
/// The same error meets whoever would write to the disk there, or sleep, or enter a second time (which would wait for itself):
///
/// ```compile_fail,E0502
/// # use biglock::lock::{Monitor, Outside, Guarded};
/// # struct Votes(u32);
/// # impl Guarded for Votes {
/// #     type Digest = u32;
/// #     type Audience = ();
/// #     const AUDIENCES: &[()] = &[()];
/// #     fn digest(&self) -> u32 { self.0 }
/// #     fn check(&self, _: &u32) -> Result<(), String> { Ok(()) }
/// #     fn give_up(&mut self, _: &'static str) {}
/// # }
/// # let monitor = Monitor::new(Votes(0));
/// # let mut outside = Outside::claim("disk");
/// use biglock::{Batch, HardState, MemoryStorage, Storage};
/// let mut disk = MemoryStorage::new();
/// monitor.enter(&mut outside, "persist", |votes| {
///     disk.write(&outside, Batch::new(HardState::default())) // error[E0502]
/// });
/// ```
///
/// ```compile_fail,E0502
/// # use biglock::lock::{Monitor, Outside, Guarded};
/// # struct Votes(u32);
/// # impl Guarded for Votes {
/// #     type Digest = u32;
/// #     type Audience = ();
/// #     const AUDIENCES: &[()] = &[()];
/// #     fn digest(&self) -> u32 { self.0 }
/// #     fn check(&self, _: &u32) -> Result<(), String> { Ok(()) }
/// #     fn give_up(&mut self, _: &'static str) {}
/// # }
/// # let monitor = Monitor::new(Votes(0));
/// # let mut outside = Outside::claim("election");
/// # fn sleep_a_moment(outside: &Outside) {}
/// monitor.enter(&mut outside, "poll", |votes| {
///     while votes.0 < 2 {
///         sleep_a_moment(&outside); // error[E0502]
///     }
/// });
/// ```
///
/// ```compile_fail,E0499
/// # use biglock::lock::{Monitor, Outside, Guarded};
/// # struct Votes(u32);
/// # impl Guarded for Votes {
/// #     type Digest = u32;
/// #     type Audience = ();
/// #     const AUDIENCES: &[()] = &[()];
/// #     fn digest(&self) -> u32 { self.0 }
/// #     fn check(&self, _: &u32) -> Result<(), String> { Ok(()) }
/// #     fn give_up(&mut self, _: &'static str) {}
/// # }
/// # let monitor = Monitor::new(Votes(0));
/// # let mut outside = Outside::claim("election");
/// monitor.enter(&mut outside, "outer", |votes| {
///     monitor.enter(&mut outside, "inner", |votes| votes.0) // error[E0499]
/// });
/// ```
///
/// A thread claims its permission once, where it starts, and hands it down as `&mut`. Nothing stops code from claiming a second one
/// while the first is lent: that is the one hole in the rule, it is easy to search for, and the checker finds what comes of it
/// (bugs K1, K11 and K12 of the catalogue use it).
#[derive(Debug)]
pub struct Outside {
    thread: &'static str,
    token: u64,
    lasting: bool,
    /// A permission belongs to one thread.
    not_send: PhantomData<*const ()>,
}

impl Outside {
    /// The permission of a thread of this name. Once per thread, where it starts.
    pub fn claim(thread: &'static str) -> Outside {
        Outside::new(thread, true)
    }

    /// The permission of a user's thread that only calls in.
    pub(crate) fn caller() -> Outside {
        Outside::new("caller", false)
    }

    /// Another permission of the same thread, from one that is at hand: no lock is held by it, or it could not be lent. For who is called with
    /// a permission that is only lent and must enter a monitor of another node.
    pub(crate) fn again(&self) -> Outside {
        Outside::new(self.thread, false)
    }

    fn new(thread: &'static str, lasting: bool) -> Outside {
        // Tells threads of one name apart on the board; nothing else depends on it.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Outside {
            thread,
            token: NEXT.fetch_add(1, Ordering::Relaxed),
            lasting,
            not_send: PhantomData,
        }
    }

    /// The name of the thread.
    pub fn thread(&self) -> &'static str {
        self.thread
    }
}

/// What a monitor can guard.
pub trait Guarded {
    /// The few small things that waiters can observe. The monitor broadcasts exactly when they have changed.
    type Digest: PartialEq;

    /// Those who wait for the same kind of change. Each audience has a condvar of its own on the one lock, because waking a thread that
    /// finds nothing new costs everyone who wants the lock after it. With one audience there is one condvar.
    type Audience: Copy + PartialEq + 'static;

    /// All audiences.
    const AUDIENCES: &'static [Self::Audience];

    /// What waiters can observe now.
    fn digest(&self) -> Self::Digest;

    /// Whether this audience can see a difference between two digests, which are not equal: then the monitor broadcasts to it. It may see
    /// too much, and must not see too little; unless told otherwise it sees all of them.
    fn concerns(_: Self::Audience, _before: &Self::Digest, _now: &Self::Digest) -> bool {
        true
    }

    /// When time alone makes a difference to this audience. If that comes closer while someone sleeps until later, the monitor
    /// broadcasts, so that nobody oversleeps.
    fn alarm(&self, _: Self::Audience) -> Option<Time> {
        None
    }

    /// Checks the invariants, given what could be observed when the section began. Called at every leave and wait.
    ///
    /// # Errors
    /// The sentence that says which invariant is broken; the section then panics, and the monitor gives up.
    fn check(&self, before: &Self::Digest) -> Result<(), String>;

    /// Called when `section` panicked or broke an invariant: nothing in here may be believed from now on, and every waiter
    /// must be let go.
    fn give_up(&mut self, section: &'static str);
}

/// What a waiting thread sees when it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<R> {
    /// What it waited for; the wait is over.
    Ready(R),
    /// Not yet. It looks again after the next broadcast, and at this moment at the latest.
    NotBefore(Option<Time>),
}

/// A step of a thread through a section, as an [`Observer`] sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The thread asks for the lock. (The state cannot be seen: others may hold it.)
    Wants,
    /// The thread has the lock.
    Entered,
    /// The thread gives up the lock and sleeps until this has happened.
    Waits(&'static str),
    /// The thread woke and has the lock again.
    Woke,
    /// The thread broadcasts, and this one sleeps and hears it. (Once for each who does, before the thread leaves or sleeps itself.)
    Wakes(&'static str),
    /// The thread leaves; true if it broadcast.
    Left(bool),
}

/// Watches sections go by: for models and traces. Called with the lock held, so it must do nothing but take notes.
pub trait Observer<S>: Send + Sync {
    /// `thread` made a `step` in `section`, and `state` is what it saw (nothing for [`Step::Wants`] and [`Step::Wakes`]).
    fn observe(&self, thread: &'static str, section: &'static str, step: Step, state: Option<&S>);
}

/// One lock, its condvars, and the state they guard. There is no way to the state but [`Monitor::enter`].
pub struct Monitor<S: Guarded> {
    guarded: Mutex<Held<S>>,
    /// One for each audience; every one of them broadcasts, none signals.
    changed: Vec<(S::Audience, Condvar)>,
    clock: Clock,
    board: Board,
    observer: Option<Arc<dyn Observer<S>>>,
}

/// What the lock guards.
struct Held<S: Guarded> {
    state: S,
    /// Those who sleep, and were not yet woken.
    asleep: Vec<Sleeper<S::Audience>>,
}

struct Sleeper<A> {
    who: A,
    thread: &'static str,
    token: u64,
    /// When it looks again on its own.
    until: Time,
}

impl<S: Guarded> Monitor<S> {
    /// A monitor on the machine's clock.
    pub fn new(state: S) -> Monitor<S> {
        Monitor::with_clock(state, Clock::monotonic())
    }

    /// A monitor on this clock.
    pub fn with_clock(state: S, clock: Clock) -> Monitor<S> {
        Monitor {
            guarded: Mutex::new(Held {
                state,
                asleep: Vec::new(),
            }),
            changed: S::AUDIENCES
                .iter()
                .map(|&who| (who, Condvar::new()))
                .collect(),
            clock,
            board: Board::new(),
            observer: None,
        }
    }

    /// The same monitor, watched.
    pub fn observed_by(mut self, observer: Arc<dyn Observer<S>>) -> Monitor<S> {
        self.observer = Some(observer);
        self
    }

    /// Runs one critical section: takes the lock, runs `body`, checks the invariants, broadcasts if a waiter could see a
    /// difference, and leaves. `name` completes the sentence "the thread holds the lock to ...".
    ///
    /// # Panics
    /// If an invariant is broken. The monitor gives up first, and every waiter is woken to see it.
    pub fn enter<R>(
        &self,
        outside: &mut Outside,
        name: &'static str,
        body: impl FnOnce(&mut Section<'_, S>) -> R,
    ) -> R {
        let (thread, token) = (outside.thread, outside.token);
        self.board.set(thread, token, Activity::WantsLock(name));
        if let Some(observer) = &self.observer {
            observer.observe(thread, name, Step::Wants, None);
        }
        // Declared first, so dropped last: if the section panics in leaving, what it made is dropped without the lock.
        let result;
        let guard = self.guarded.lock();
        self.board.set(thread, token, Activity::Inside(name));
        let mut section = Section {
            now: self.clock.now(),
            before: guard.state.digest(),
            guard,
            monitor: self,
            name,
            thread,
            token,
            in_order: false,
        };
        section.observe(Step::Entered);
        result = body(&mut section);
        let broadcast = section.settle();
        section.observe(Step::Left(broadcast));
        section.in_order = true;
        drop(section);
        if outside.lasting {
            self.board.set(thread, token, Activity::OutsideAfter(name));
        } else {
            self.board.clear(thread, token);
        }
        result
    }

    /// Moves a manual clock forward to `to` and wakes those whose time has come, as a timer would: time is an event like any other.
    ///
    /// # Panics
    /// If the clock is the machine's own.
    pub fn tick(&self, outside: &mut Outside, to: Time) {
        assert!(
            self.clock.is_manual(),
            "the machine's own clock cannot be set"
        );
        self.enter(outside, "let time pass", |section| {
            self.clock.set(to);
            for &who in S::AUDIENCES {
                let due = |s: &Sleeper<_>| s.who == who && s.until <= to;
                if section.guard.asleep.iter().any(due) {
                    section.wake(who);
                }
            }
        });
    }

    /// Wakes everyone for no reason. Every waiter must be able to bear it: the system may do the same.
    pub fn disturb(&self, outside: &mut Outside) {
        self.enter(outside, "disturb the others", |section| section.wake_all());
    }

    fn condvar(&self, who: S::Audience) -> &Condvar {
        let mut all = self.changed.iter();
        let (_, condvar) = all
            .find(|(audience, _)| *audience == who)
            .expect("AUDIENCES has all");
        condvar
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What each thread is doing. Does not take the big lock, so it answers when that is stuck.
    pub fn threads(&self) -> Vec<ThreadActivity> {
        self.board.read()
    }
}

/// Inside the lock: the state, and the only place from which to wait.
pub struct Section<'a, S: Guarded> {
    guard: MutexGuard<'a, Held<S>>,
    monitor: &'a Monitor<S>,
    /// What could be observed when the lock was taken.
    before: S::Digest,
    now: Time,
    name: &'static str,
    thread: &'static str,
    token: u64,
    /// Set when the section is left the regular way; unset while it unwinds.
    in_order: bool,
}

impl<S: Guarded> Section<'_, S> {
    /// The time at which the lock was taken, or taken again after a wait.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Gives up the lock and sleeps, as one of the audience `who`, until `look` is ready, looking again after every broadcast to it.
    /// `what` completes the sentence "the thread waits for ...".
    ///
    /// Everything that was known before the wait may be false after it: `look` gets the state and the time as they are now.
    pub fn wait_until<R>(
        &mut self,
        who: S::Audience,
        what: &'static str,
        mut look: impl FnMut(&mut S, Time) -> Look<R>,
    ) -> R {
        let monitor = self.monitor;
        let changed = monitor.condvar(who);
        loop {
            let by = match look(&mut self.guard.state, self.now) {
                Look::Ready(result) => return result,
                Look::NotBefore(by) => by,
            };
            self.settle();
            self.observe(Step::Waits(what));
            monitor
                .board
                .set(self.thread, self.token, Activity::WaitsFor(what));
            let (thread, token) = (self.thread, self.token);
            let until = by.unwrap_or(Time::NEVER);
            let alarm = self.guard.state.alarm(who).unwrap_or(Time::NEVER);
            assert!(
                !CHECKED || until <= alarm,
                "who waits for {what} until {until:?} would sleep past {alarm:?}"
            );
            self.guard.asleep.push(Sleeper {
                who,
                thread,
                token,
                until,
            });
            changed.wait(&mut self.guard, monitor.clock.timeout(by));
            self.guard.asleep.retain(|sleeper| sleeper.token != token);
            monitor
                .board
                .set(self.thread, self.token, Activity::Inside(self.name));
            self.now = monitor.clock.now();
            self.before = self.guard.state.digest();
            self.observe(Step::Woke);
        }
    }

    /// Checks the invariants and broadcasts, still under the lock, to those who can see a difference or would oversleep one.
    fn settle(&mut self) -> bool {
        if let Err(broken) = self.guard.state.check(&self.before) {
            panic!(
                "invariant broken: {broken} (thread {}, which held the lock to {})",
                self.thread, self.name
            );
        }
        let now = self.guard.state.digest();
        let changed = now != self.before;
        let mut broadcast = false;
        for &who in S::AUDIENCES {
            if changed && S::concerns(who, &self.before, &now) || self.oversleeps(who) {
                self.wake(who);
                broadcast = true;
            }
        }
        broadcast
    }

    fn oversleeps(&self, who: S::Audience) -> bool {
        if self.guard.asleep.iter().all(|sleeper| sleeper.who != who) {
            return false;
        }
        let alarm = self.guard.state.alarm(who).unwrap_or(Time::NEVER);
        let late = |sleeper: &Sleeper<_>| sleeper.who == who && sleeper.until > alarm;
        self.guard.asleep.iter().any(late)
    }

    /// Broadcasts to this audience.
    fn wake(&mut self, who: S::Audience) {
        let (monitor, thread, name) = (self.monitor, self.thread, self.name);
        monitor.condvar(who).notify_all();
        self.guard.asleep.retain(|sleeper| {
            if sleeper.who == who
                && let Some(observer) = &monitor.observer
            {
                observer.observe(thread, name, Step::Wakes(sleeper.thread), None);
            }
            sleeper.who != who
        });
    }

    fn wake_all(&mut self) {
        S::AUDIENCES.iter().for_each(|&who| self.wake(who));
    }

    fn observe(&self, step: Step) {
        if let Some(observer) = &self.monitor.observer {
            observer.observe(self.thread, self.name, step, Some(&self.guard.state));
        }
    }
}

impl<S: Guarded> Deref for Section<'_, S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.guard.state
    }
}

impl<S: Guarded> DerefMut for Section<'_, S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.guard.state
    }
}

impl<S: Guarded> Drop for Section<'_, S> {
    fn drop(&mut self) {
        if !self.in_order {
            self.guard.state.give_up(self.name);
            // Not `wake`: an observer must not be called while a panic is under way.
            self.guard.asleep.clear();
            let changed = self.monitor.changed.iter();
            changed.for_each(|(_, condvar)| condvar.notify_all());
            self.monitor.board.clear(self.thread, self.token);
        }
    }
}
