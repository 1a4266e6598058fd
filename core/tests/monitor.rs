//! The monitor alone, guarding something that is not Raft.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use biglock::lock::{Activity, Guarded, Look, Monitor, Observer, Section, Step};
use biglock::{Clock, Outside, Time};

/// How long a test waits for an event before it says that it does not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Some numbers, of which waiters can see two.
#[derive(Debug, Default)]
struct Numbers {
    seen: u64,
    unseen: u64,
    /// Breaks the invariant while it is set, unless it is known.
    broken: bool,
    gave_up: Option<&'static str>,
}

impl Guarded for Numbers {
    type Digest = (u64, Option<&'static str>);
    type Audience = ();
    const AUDIENCES: &'static [()] = &[()];

    fn digest(&self) -> Self::Digest {
        (self.seen, self.gave_up)
    }

    fn check(&self, before: &Self::Digest) -> Result<(), String> {
        if self.gave_up.is_some() {
            return Ok(());
        }
        if self.broken {
            return Err("it is broken".into());
        }
        if self.seen < before.0 {
            return Err(format!("{} went back to {}", before.0, self.seen));
        }
        Ok(())
    }

    fn give_up(&mut self, section: &'static str) {
        self.gave_up = Some(section);
    }
}

/// What a section does.
type Act = fn(&mut Section<'_, Numbers>);

type Event = (&'static str, &'static str, Step, Option<u64>);

struct Notes(Mutex<Sender<Event>>);

impl Observer<Numbers> for Notes {
    fn observe(
        &self,
        thread: &'static str,
        section: &'static str,
        step: Step,
        state: Option<&Numbers>,
    ) {
        let event = (thread, section, step, state.map(|numbers| numbers.seen));
        let _ = self.0.lock().unwrap().send(event);
    }
}

/// A monitor in virtual time, and what its observer notes.
fn watched() -> (Arc<Monitor<Numbers>>, Receiver<Event>) {
    let (sender, events) = channel();
    let monitor = Monitor::with_clock(Numbers::default(), Clock::manual());
    let monitor = monitor.observed_by(Arc::new(Notes(Mutex::new(sender))));
    (Arc::new(monitor), events)
}

/// Waits until the thread of this name has made such a step.
fn until(events: &Receiver<Event>, thread: &str, fits: impl Fn(Step) -> bool) {
    loop {
        let event = events
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|e| panic!("{thread}: {e}"));
        if event.0 == thread && fits(event.2) {
            return;
        }
    }
}

fn sleeps(step: Step) -> bool {
    matches!(step, Step::Waits(_))
}

/// Starts a thread that waits in one section, and returns what comes of it once it sleeps.
fn waiter<R: Send + 'static>(
    monitor: &Arc<Monitor<Numbers>>,
    events: &Receiver<Event>,
    look: impl FnMut(&mut Numbers, Time) -> Look<R> + Send + 'static,
) -> Receiver<R> {
    let (sender, result) = channel();
    let monitor = monitor.clone();
    let wait = move || {
        let mut outside = Outside::claim("waiter");
        let found = monitor.enter(&mut outside, "wait", |section| {
            section.wait_until((), "a sign", look)
        });
        let _ = sender.send(found);
    };
    thread::Builder::new().spawn(wait).expect("a thread");
    until(events, "waiter", sleeps);
    result
}

/// Whether this section broadcast.
fn broadcasts(section: impl FnOnce(&mut Section<'_, Numbers>)) -> bool {
    let (monitor, events) = watched();
    monitor.enter(&mut Outside::claim("test"), "act", section);
    let left = events.try_iter().find_map(|event| match event.2 {
        Step::Left(broadcast) => Some(broadcast),
        _ => None,
    });
    left.expect("it left")
}

#[test]
fn it_broadcasts_exactly_when_a_waiter_could_see_a_difference() {
    assert!(!broadcasts(|_| {}), "nothing changed");
    assert!(
        !broadcasts(|numbers| numbers.unseen += 1),
        "nothing that can be seen"
    );
    assert!(broadcasts(|numbers| numbers.seen += 1));
    assert!(
        !broadcasts(|numbers| {
            numbers.seen += 1;
            numbers.seen -= 1;
        }),
        "it is as it was"
    );
}

/// The same over many sections at random: broadcasts are counted, no more and no less than changes.
#[test]
fn broadcasts_are_as_many_as_changes() {
    let mut random = fastrand::Rng::with_seed(1);
    let (monitor, events) = watched();
    let mut outside = Outside::claim("test");
    let mut changes = 0;
    for _ in 0..1000 {
        let (seen, unseen) = (random.u64(..2), random.u64(..2));
        changes += seen;
        monitor.enter(&mut outside, "act", |numbers| {
            numbers.seen += seen;
            numbers.unseen += unseen;
        });
    }
    let heard = events
        .try_iter()
        .filter(|event| event.2 == Step::Left(true))
        .count() as u64;
    assert_eq!(heard, changes);
    assert!((300..700).contains(&changes));
}

/// What changed before a wait is broadcast before it: the lock is free while a thread sleeps, as it is after it left.
#[test]
fn a_change_before_a_wait_wakes_the_others() {
    let (monitor, events) = watched();
    let first = waiter(&monitor, &events, |numbers, _| match numbers.seen {
        0 => Look::NotBefore(None),
        seen => Look::Ready(seen),
    });
    let second = waiter(&monitor, &events, |numbers, _| {
        numbers.seen = numbers.seen.max(1);
        if numbers.seen < 2 {
            Look::NotBefore(None)
        } else {
            Look::Ready(numbers.seen)
        }
    });
    assert_eq!(first.recv_timeout(PATIENCE), Ok(1));
    monitor.enter(&mut Outside::claim("test"), "act", |numbers| {
        numbers.seen = 2
    });
    assert_eq!(second.recv_timeout(PATIENCE), Ok(2));
}

/// After a wait, a difference is one from what was seen on waking: what others changed meanwhile they have told already.
#[test]
fn a_waiter_that_changes_nothing_does_not_broadcast() {
    let (monitor, events) = watched();
    let waiting = waiter(&monitor, &events, |numbers, _| match numbers.seen {
        0 => Look::NotBefore(None),
        seen => Look::Ready(seen),
    });
    monitor.enter(&mut Outside::claim("test"), "act", |numbers| {
        numbers.seen = 1
    });
    waiting.recv_timeout(PATIENCE).unwrap();
    let left = |event: &Event| event.0 == "waiter" && matches!(event.2, Step::Left(_));
    let left: Vec<Event> = events.try_iter().filter(left).collect();
    assert_eq!(
        left,
        [("waiter", "wait", Step::Left(false), Some(1))],
        "what others changed while it slept is no change of its own"
    );
}

#[test]
fn all_waiters_wake() {
    let (monitor, events) = watched();
    let wait = |_| {
        waiter(&monitor, &events, |numbers, _| match numbers.seen {
            0 => Look::NotBefore(None),
            seen => Look::Ready(seen),
        })
    };
    let waiting: Vec<_> = (0..8).map(wait).collect();
    monitor.enter(&mut Outside::claim("test"), "act", |numbers| {
        numbers.seen = 5
    });
    for waiting in waiting {
        assert_eq!(waiting.recv_timeout(PATIENCE), Ok(5));
    }
}

/// A wake-up for no reason: the predicate is asked again, and the waiter sleeps again.
#[test]
fn a_waiter_bears_wake_ups_for_no_reason() {
    let (monitor, events) = watched();
    let mut looks = 0;
    let waiting = waiter(&monitor, &events, move |numbers, _| {
        looks += 1;
        if numbers.seen == 3 {
            Look::Ready(looks)
        } else {
            Look::NotBefore(None)
        }
    });
    let mut outside = Outside::claim("test");
    for seen in [1, 2] {
        monitor.enter(&mut outside, "act", |numbers| numbers.seen = seen);
        until(&events, "waiter", sleeps);
        monitor.disturb(&mut outside);
        until(&events, "waiter", sleeps);
    }
    assert!(waiting.try_recv().is_err());
    monitor.enter(&mut outside, "act", |numbers| numbers.seen = 3);
    assert_eq!(
        waiting.recv_timeout(PATIENCE),
        Ok(6),
        "one look each, and no more"
    );
}

#[test]
fn a_deadline_ends_a_wait_by_the_clock_and_not_before() {
    let (monitor, events) = watched();
    let by = Time::from_millis(10);
    let waiting = waiter(&monitor, &events, move |_, now| {
        if now >= by {
            Look::Ready(now)
        } else {
            Look::NotBefore(Some(by))
        }
    });
    let mut outside = Outside::claim("time");
    monitor.tick(&mut outside, Time::from_nanos(by.as_nanos() - 1));
    monitor.disturb(&mut outside);
    until(&events, "waiter", sleeps);
    assert!(waiting.try_recv().is_err());
    monitor.tick(&mut outside, by);
    assert_eq!(waiting.recv_timeout(PATIENCE), Ok(by));
    monitor.tick(&mut outside, Time::ZERO);
    assert_eq!(monitor.clock().now(), by, "the clock never goes back");
}

/// The machine's own clock needs nobody to wake a waiter.
#[test]
fn the_machines_clock_ends_a_wait_by_itself() {
    let monitor = Monitor::new(Numbers::default());
    let mut outside = Outside::claim("waiter");
    let (by, now) = monitor.enter(&mut outside, "wait", |section| {
        let by = section.now() + Duration::from_millis(2);
        let now = section.wait_until((), "the deadline", |_, now| {
            if now >= by {
                Look::Ready(now)
            } else {
                Look::NotBefore(Some(by))
            }
        });
        assert!(section.now() >= by, "the section knows how late it is");
        (by, now)
    });
    assert!(now >= by);
}

/// Who tries has made a mistake, but has broken nothing: the others go on.
#[test]
fn the_machines_clock_cannot_be_set() {
    let monitor = Monitor::new(Numbers::default());
    let mut outside = Outside::claim("test");
    let tick = || monitor.tick(&mut Outside::claim("vandal"), Time::from_millis(1));
    let panic = catch_unwind(AssertUnwindSafe(tick)).expect_err("it panics");
    let text = panic.downcast_ref::<&str>().copied().unwrap_or_default();
    assert!(text.contains("cannot be set"), "{text}");
    let gave_up = monitor.enter(&mut outside, "look", |numbers| numbers.gave_up);
    assert_eq!(gave_up, None);
}

/// Runs a section that panics, and gives its message.
fn panics(monitor: &Monitor<Numbers>, section: impl FnOnce(&mut Section<'_, Numbers>)) -> String {
    let enter = || monitor.enter(&mut Outside::claim("vandal"), "break things", section);
    let panic = catch_unwind(AssertUnwindSafe(enter)).expect_err("it panics");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_default()
}

/// A panic in a section, a broken invariant on leaving, and one before a wait: each time the monitor gives up, everyone wakes, and the lock is free.
#[test]
fn a_section_that_panics_gives_up_and_wakes_everyone() {
    let ways: [(Act, &str); 4] = [
        (|_| panic!("on purpose"), "on purpose"),
        (|numbers| numbers.broken = true, "it is broken"),
        (|numbers| numbers.seen = 0, "1 went back to 0"),
        (
            |section| {
                section.broken = true;
                section.wait_until((), "nothing", |_, _| Look::<()>::NotBefore(None));
            },
            "it is broken",
        ),
    ];
    for (way, says) in ways {
        let (monitor, events) = watched();
        monitor.enter(&mut Outside::claim("test"), "act", |numbers| {
            numbers.seen = 1
        });
        let wait = |_| {
            waiter(&monitor, &events, |numbers, _| match numbers.gave_up {
                None => Look::NotBefore(None),
                Some(section) => Look::Ready(section),
            })
        };
        let waiting: Vec<_> = (0..4).map(wait).collect();
        let message = panics(&monitor, way);
        assert!(message.contains(says), "{message}");
        if says != "on purpose" {
            assert!(
                message.contains("thread vandal, which held the lock to break things"),
                "{message}"
            );
        }
        for waiting in waiting {
            assert_eq!(waiting.recv_timeout(PATIENCE), Ok("break things"));
        }
        let gave_up = monitor.enter(&mut Outside::claim("test"), "look", |numbers| {
            numbers.gave_up
        });
        assert_eq!(
            gave_up,
            Some("break things"),
            "the lock is free, and what is known is told"
        );
        let vandal = |activity: &biglock::ThreadActivity| activity.thread == "vandal";
        assert!(
            !monitor.threads().iter().any(vandal),
            "a thread that is gone holds nothing"
        );
    }
}

/// What a section made is dropped without the lock, even if the section panics in leaving: dropping may take as long as it likes.
#[test]
fn what_a_broken_section_made_is_dropped_without_the_lock() {
    struct NeedsTheLock(Arc<Monitor<Numbers>>, Sender<Option<&'static str>>);
    impl Drop for NeedsTheLock {
        fn drop(&mut self) {
            let look = |numbers: &mut Section<'_, Numbers>| numbers.gave_up;
            let _ = self
                .1
                .send(self.0.enter(&mut Outside::claim("drop"), "look", look));
        }
    }
    let (monitor, _events) = watched();
    let (sender, dropped) = channel();
    let made = NeedsTheLock(monitor.clone(), sender);
    let run = move || {
        monitor.enter(&mut Outside::claim("vandal"), "break things", |numbers| {
            numbers.broken = true;
            made
        })
    };
    let _ = thread::Builder::new().spawn(run).expect("a thread");
    assert_eq!(dropped.recv_timeout(PATIENCE), Ok(Some("break things")));
}

fn shown(monitor: &Monitor<Numbers>, thread: &str) -> Vec<Activity> {
    let threads = monitor.threads();
    threads
        .iter()
        .filter(|t| t.thread == thread)
        .map(|t| t.activity)
        .collect()
}

/// The board shows what each thread does, from outside and without the big lock.
#[test]
fn the_board_shows_what_each_thread_waits_for() {
    let (monitor, events) = watched();
    let waiting = waiter(&monitor, &events, |numbers, _| match numbers.seen {
        0 => Look::NotBefore(None),
        seen => Look::Ready(seen),
    });
    let mut outside = Outside::claim("test");
    // Whoever gets the lock now knows that the waiter is asleep.
    monitor.enter(&mut outside, "look", |_| {
        assert_eq!(shown(&monitor, "waiter"), [Activity::WaitsFor("a sign")]);
        assert_eq!(shown(&monitor, "test"), [Activity::Inside("look")]);

        let (sender, told) = channel();
        let other = monitor.clone();
        let want = move || {
            other.enter(&mut Outside::claim("other"), "have its turn", |_| ());
            let _ = sender.send(());
        };
        thread::Builder::new().spawn(want).expect("a thread");
        until(&events, "other", |step| step == Step::Wants);
        assert_eq!(
            shown(&monitor, "other"),
            [Activity::WantsLock("have its turn")]
        );
        assert!(told.try_recv().is_err(), "it does not get it meanwhile");
    });
    assert_eq!(shown(&monitor, "test"), [Activity::OutsideAfter("look")]);
    monitor.enter(&mut outside, "act", |numbers| numbers.seen = 1);
    waiting.recv_timeout(PATIENCE).unwrap();
    assert_eq!(shown(&monitor, "waiter"), [Activity::OutsideAfter("wait")]);
}

#[test]
fn an_activity_is_a_sentence() {
    let sentences = [
        (
            Activity::WantsLock("campaign"),
            "wants the lock, to campaign",
        ),
        (Activity::Inside("campaign"), "holds the lock, to campaign"),
        (Activity::WaitsFor("votes"), "waits for votes"),
        (
            Activity::OutsideAfter("campaign"),
            "is outside the lock, after it was there to campaign",
        ),
    ];
    for (activity, sentence) in sentences {
        assert_eq!(activity.to_string(), sentence);
    }
}

/// The observer sees each step with the state of that moment.
#[test]
fn the_observer_sees_each_step() {
    let (monitor, events) = watched();
    monitor.enter(&mut Outside::claim("test"), "act", |section| {
        section.seen = 4;
        section.wait_until((), "nothing", |_, _| Look::Ready(()));
    });
    let seen: Vec<Event> = events.try_iter().collect();
    assert_eq!(
        seen,
        [
            ("test", "act", Step::Wants, None),
            ("test", "act", Step::Entered, Some(0)),
            ("test", "act", Step::Left(true), Some(4)),
        ]
    );
}

/// Whom a broadcast reaches is seen, also where it wakes for nothing.
#[test]
fn the_observer_sees_who_is_woken() {
    let (monitor, events) = watched();
    let is_two = |numbers: &mut Numbers, _| match numbers.seen {
        2 => Look::Ready(()),
        _ => Look::NotBefore(None),
    };
    let result = waiter(&monitor, &events, is_two);
    let wakes = |step| step == Step::Wakes("waiter");
    monitor.disturb(&mut Outside::claim("system"));
    until(&events, "system", wakes);
    until(&events, "waiter", sleeps);
    monitor.enter(&mut Outside::claim("test"), "act", |numbers| {
        numbers.seen = 2;
    });
    until(&events, "test", wakes);
    result.recv_timeout(PATIENCE).expect("it is two");
    // Nobody is left.
    monitor.enter(&mut Outside::claim("test"), "act", |numbers| {
        numbers.seen = 3;
    });
    assert!(!events.try_iter().any(|event| wakes(event.2)));
}
