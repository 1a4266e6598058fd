//! Counting votes while waiting for them. The lecture goes through these versions, of which two are good.
//!
//! Three voters are asked, each by a thread of its own. Two votes win. Whoever asked must learn how it ended as soon as that is decided, and every thread
//! must end.

use std::time::Duration;

use biglock::lock::Outside;

use super::channel::Channel;
use super::{Lesson, Lock, State, Wait, broken, lock, mended};
use crate::world::World;

/// The versions.
pub const LESSONS: &[Lesson] = &[
    broken(
        "course-tally-no-lock",
        "broken: a vote is read, and one more is written, without the lock in between: votes get lost",
        4,
        "a vote was lost",
        |world| count(world, without_lock, on_the_condvar),
    ),
    broken(
        "course-tally-busy",
        "broken: the lock is there, but the waiter looks again and again: an execution need not end",
        4,
        "exceeded maximum number of branches",
        |world| count(world, with_lock, busily),
    ),
    broken(
        "course-tally-sleep",
        "broken: the waiter sleeps for 50 ms between two looks, however long ago it has won",
        4,
        "? still waits for 50 ms to pass",
        |world| count(world, with_lock, with_sleep),
    ),
    mended(
        "course-tally-condvar",
        "the waiter sleeps on a condvar, and each vote wakes it to look again",
        4,
        &["won", "lost", "an end of the election"],
        |world| count(world, with_lock, on_the_condvar),
    ),
    broken(
        "course-tally-unbuffered",
        "broken: votes come through a channel without room, and whoever votes after the end waits for ever",
        4,
        "? still waits for a receiver",
        |world| through_channel(world, 0),
    ),
    mended(
        "course-tally-channel",
        "votes come through a channel that has room for all of them",
        4,
        &["won", "lost", "an item"],
        |world| through_channel(world, 3),
    ),
];

const VOTERS: u8 = 3;
const MAJORITY: u8 = 2;
const NAMES: [&str; VOTERS as usize] = ["voter 1", "voter 2", "voter 3"];

#[derive(Clone, PartialEq, Default)]
struct Votes {
    granted: u8,
    answered: u8,
}

impl Votes {
    fn is_decided(&self) -> bool {
        self.granted >= MAJORITY || self.answered == VOTERS
    }
}

impl State for Votes {
    fn show(&self) -> String {
        format!("{} granted of {}", self.granted, self.answered)
    }
}

/// A voter's answer has come.
type Count = fn(&Lock<Votes>, &mut Outside, granted: bool);

/// Every access of its own is atomic here. In Go it would not even be that, and in Rust it would not compile.
fn without_lock(votes: &Lock<Votes>, outside: &mut Outside, granted: bool) {
    let seen = votes.enter(outside, "read granted", |votes| votes.granted);
    votes.enter(outside, "write granted", |votes| {
        votes.granted = seen + u8::from(granted);
        votes.answered += 1;
    });
}

fn with_lock(votes: &Lock<Votes>, outside: &mut Outside, granted: bool) {
    votes.enter(outside, "count a vote", |votes| {
        votes.granted += u8::from(granted);
        votes.answered += 1;
    });
}

/// Waits until the election is decided. Returns whether it is won.
type Await = fn(&Lock<Votes>, &mut Outside) -> bool;

fn busily(votes: &Lock<Votes>, outside: &mut Outside) -> bool {
    loop {
        let (decided, won) = look(votes, outside);
        if decided {
            return won;
        }
    }
}

fn with_sleep(votes: &Lock<Votes>, outside: &mut Outside) -> bool {
    loop {
        let (decided, won) = look(votes, outside);
        if decided {
            return won;
        }
        // Time is an event like any other; in this model none passes, so whoever needs some never gets any further.
        votes.enter(outside, "sleep", |votes| {
            let by = votes.now() + Duration::from_millis(50);
            votes.wait_until_time("50 ms to pass", by, |_| false);
        });
    }
}

fn look(votes: &Lock<Votes>, outside: &mut Outside) -> (bool, bool) {
    votes.enter(outside, "look", |votes| {
        (votes.is_decided(), votes.granted >= MAJORITY)
    })
}

fn on_the_condvar(votes: &Lock<Votes>, outside: &mut Outside) -> bool {
    votes.enter(outside, "await the votes", |votes| {
        votes.wait("an end of the election", Votes::is_decided);
        votes.granted >= MAJORITY
    })
}

/// Whether each voter grants its vote, and whether that wins.
fn answers(world: &World) -> ([bool; VOTERS as usize], bool) {
    let answers = NAMES.map(|_| world.choose([true, false]));
    let granted = answers.iter().filter(|&&granted| granted).count();
    (answers, granted >= usize::from(MAJORITY))
}

fn judge(world: &World, won: bool, should_win: bool) {
    assert_eq!(won, should_win, "a vote was lost, or one was made up");
    world.reached(if won { "won" } else { "lost" });
}

fn count(world: &World, count: Count, wait: Await) {
    let (answers, should_win) = answers(world);
    let votes = lock(world, Votes::default());
    for (name, granted) in NAMES.into_iter().zip(answers) {
        let votes = votes.clone();
        world.thread(name, move |outside| count(&votes, outside, granted));
    }
    let there = world.clone();
    world.thread("candidate", move |outside| {
        let won = wait(&votes, outside);
        judge(&there, won, should_win);
    });
}

fn through_channel(world: &World, room: usize) {
    let (answers, should_win) = answers(world);
    let channel = Channel::new(world, room);
    for (name, granted) in NAMES.into_iter().zip(answers) {
        let channel = channel.clone();
        world.thread(name, move |outside| channel.send(outside, granted));
    }
    let there = world.clone();
    world.thread("candidate", move |outside| {
        // Nobody else has these: a channel hands votes over, and no lock is needed to count them.
        let mut votes = Votes::default();
        while !votes.is_decided() {
            let granted = channel.receive(outside).expect("nobody closes it");
            votes.granted += u8::from(granted);
            votes.answered += 1;
        }
        judge(&there, votes.granted >= MAJORITY, should_win);
    });
}
