//! Whom the monitor wakes: the audience that can see a difference, whoever would oversleep, and by the clock those whose time has come; nobody
//! else, and all of them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use biglock::lock::{Guarded, Look, Monitor};
use biglock::{Clock, Outside, Time};

/// How long a test waits for an event before it says that it does not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two numbers with an audience each; for the second, time alone may make a difference.
#[derive(Default)]
struct Two {
    left: u64,
    right: u64,
    alarm: Option<Time>,
    /// Counts what the test does. Nobody is woken for it.
    round: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Left,
    Right,
}

impl Guarded for Two {
    type Digest = (u64, u64);
    type Audience = Side;
    const AUDIENCES: &'static [Side] = &[Side::Left, Side::Right];

    fn digest(&self) -> (u64, u64) {
        (self.left, self.right)
    }

    fn concerns(who: Side, before: &(u64, u64), now: &(u64, u64)) -> bool {
        match who {
            Side::Left => before.0 != now.0,
            Side::Right => before.1 != now.1,
        }
    }

    fn alarm(&self, who: Side) -> Option<Time> {
        self.alarm.filter(|_| who == Side::Right)
    }

    fn check(&self, _: &(u64, u64)) -> Result<(), String> {
        Ok(())
    }

    fn give_up(&mut self, _: &'static str) {}
}

/// Somebody looked, in this round.
type Looked = (Side, u64);

/// A thread that looks whenever it is woken, and never finds anything until round 9.
fn sleeper(monitor: &Arc<Monitor<Two>>, looks: &Sender<Looked>, side: Side, until: Option<Time>) {
    let (monitor, looks) = (monitor.clone(), looks.clone());
    let sleep = move || {
        monitor.enter(&mut Outside::claim("sleeper"), "wait", |section| {
            section.wait_until(side, "round 9", |two, _| {
                let _ = looks.send((side, two.round));
                if two.round == 9 {
                    Look::Ready(())
                } else {
                    // As a waiter must, it sleeps no longer than its audience's alarm.
                    let alarm = two.alarm.filter(|_| side == Side::Right);
                    Look::NotBefore(until.into_iter().chain(alarm).min())
                }
            });
        });
    };
    thread::Builder::new().spawn(sleep).expect("a thread");
}

/// Who is woken by `act` while one thread of each side sleeps, until `until` at the latest.
fn wakes(expected: &[Side], until: Option<Time>, act: impl FnOnce(&Monitor<Two>, &mut Outside)) {
    wakes_of(&[Side::Left, Side::Right], expected, until, act);
}

/// Who of `asleep` is woken by `act`. `expected` is waited for, and whoever else comes is found.
fn wakes_of(
    asleep: &[Side],
    expected: &[Side],
    until: Option<Time>,
    act: impl FnOnce(&Monitor<Two>, &mut Outside),
) {
    let (sender, looks) = channel();
    let monitor = Arc::new(Monitor::with_clock(Two::default(), Clock::manual()));
    for &side in asleep {
        sleeper(&monitor, &sender, side, until);
        assert_eq!(looks.recv_timeout(PATIENCE), Ok((side, 0)));
    }
    let mut outside = Outside::claim("test");
    // Whoever has the lock now knows that all are asleep.
    monitor.enter(&mut outside, "begin", |two| two.round = 1);
    act(&monitor, &mut outside);
    let mut woken = Vec::new();
    while woken.len() < expected.len() {
        woken.push(look(&looks, 1));
    }
    monitor.enter(&mut outside, "end", |two| two.round = 9);
    monitor.disturb(&mut outside);
    for _ in asleep {
        look(&looks, 9);
    }
    let same = woken.len() == expected.len() && expected.iter().all(|side| woken.contains(side));
    assert!(same, "{woken:?} were woken, and not {expected:?}");
}

fn look(looks: &Receiver<Looked>, round: u64) -> Side {
    let (side, when) = looks.recv_timeout(PATIENCE).expect("somebody is woken");
    assert_eq!(when, round, "{side:?} was woken too");
    side
}

#[test]
fn the_audience_that_can_see_a_difference_is_woken() {
    let enter = |monitor: &Monitor<Two>, outside: &mut Outside, by: (u64, u64)| {
        monitor.enter(outside, "act", |two| {
            two.left += by.0;
            two.right += by.1;
        });
    };
    wakes(&[], None, |monitor, outside| {
        enter(monitor, outside, (0, 0))
    });
    wakes(&[Side::Left], None, |monitor, outside| {
        enter(monitor, outside, (1, 0))
    });
    wakes(&[Side::Right], None, |monitor, outside| {
        enter(monitor, outside, (0, 1))
    });
    wakes(&[Side::Left, Side::Right], None, |monitor, outside| {
        enter(monitor, outside, (1, 1))
    });
}

#[test]
fn whoever_would_oversleep_is_woken() {
    let alarm = |at: u64| {
        move |monitor: &Monitor<Two>, outside: &mut Outside| {
            monitor.enter(outside, "act", |two| {
                two.alarm = Some(Time::from_millis(at))
            });
        }
    };
    let until = Some(Time::from_millis(10));
    wakes(&[Side::Right], until, alarm(9));
    wakes(&[], until, alarm(10));
    wakes(&[], until, alarm(11));
    wakes(&[Side::Right], None, alarm(11));
    wakes_of(&[Side::Right], &[Side::Right], None, alarm(11));
    wakes_of(&[Side::Left], &[], None, alarm(11));
}

#[test]
fn the_clock_wakes_those_whose_time_has_come() {
    let tick = |to: u64| {
        move |monitor: &Monitor<Two>, outside: &mut Outside| {
            monitor.tick(outside, Time::from_millis(to))
        }
    };
    let until = Some(Time::from_millis(10));
    wakes(&[], until, tick(9));
    wakes(&[Side::Left, Side::Right], until, tick(10));
    wakes(&[Side::Left, Side::Right], until, tick(99));
    wakes(&[], None, tick(99));
}

#[test]
fn everyone_can_be_disturbed() {
    wakes(&[Side::Left, Side::Right], None, |monitor, outside| {
        monitor.disturb(outside)
    });
}

/// A section that panics lets everyone go, whatever they wait for.
#[test]
fn a_panic_wakes_every_audience() {
    wakes(&[Side::Left, Side::Right], None, |monitor, outside| {
        let act = || monitor.enter(outside, "act", |_| panic!("on purpose"));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        assert!(panic.is_err());
    });
}

/// The alarm and the predicate are written in two places; whoever sleeps past its own audience's alarm has them apart.
#[test]
#[should_panic(expected = "would sleep past")]
fn nobody_may_fall_asleep_past_the_alarm() {
    let monitor = Monitor::with_clock(Two::default(), Clock::manual());
    monitor.enter(&mut Outside::claim("sleeper"), "wait", |two| {
        two.alarm = Some(Time::from_millis(9));
        let late = Some(Time::from_millis(10));
        two.wait_until(Side::Right, "too long", |_, _| Look::<()>::NotBefore(late));
    });
}

/// A section that waits is two: what it changes afterwards is compared with what it found when it woke, so to change something *back* wakes too.
#[test]
fn a_change_back_after_a_wait_is_a_change() {
    let monitor = Arc::new(Monitor::with_clock(Two::default(), Clock::manual()));
    let (looked, looks) = channel();
    let (looked_too, woken) = (looked.clone(), monitor.clone());
    let change_back = move || {
        woken.enter(&mut Outside::claim("changer"), "change back", |section| {
            section.wait_until(Side::Left, "a sign", |two, _| {
                let _ = looked_too.send("changer");
                match two.left {
                    0 => Look::NotBefore(None),
                    _ => Look::Ready(()),
                }
            });
            section.right = 0;
        });
    };
    thread::Builder::new().spawn(change_back).expect("a thread");
    assert_eq!(looks.recv_timeout(PATIENCE), Ok("changer"));
    let mut outside = Outside::claim("test");
    monitor.enter(&mut outside, "change", |two| two.right = 1);
    let sleeper = monitor.clone();
    let wait = move || {
        sleeper.enter(&mut Outside::claim("sleeper"), "wait", |section| {
            section.wait_until(Side::Right, "the change back", |two, _| {
                let _ = looked.send(if two.right == 0 { "woken" } else { "sleeper" });
                match two.right {
                    0 => Look::Ready(()),
                    _ => Look::NotBefore(None),
                }
            });
        });
    };
    thread::Builder::new().spawn(wait).expect("a thread");
    assert_eq!(looks.recv_timeout(PATIENCE), Ok("sleeper"));
    monitor.enter(&mut outside, "give the sign", |two| two.left = 1);
    assert_eq!(looks.recv_timeout(PATIENCE), Ok("changer"));
    assert_eq!(
        looks.recv_timeout(PATIENCE),
        Ok("woken"),
        "who waits for what is changed back is woken"
    );
}
