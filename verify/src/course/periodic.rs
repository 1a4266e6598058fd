//! A thread that does something every 100 ms until it is killed.
//!
//! The lecture's loop asks `for !killed`. In Go, without the lock, a compiler may ask once and never again. With the lock but in a section of its own, the kill
//! fits between the question and the sleep, and nobody wakes the sleeper: here it is asked by the predicate of the very wait that it must end.

use std::time::Duration;

use biglock::Time;
use biglock::lock::Outside;

use super::{Lesson, Lock, State, Wait, broken, lock, mended};
use crate::world::World;

/// The versions.
pub const LESSONS: &[Lesson] = &[
    broken(
        "course-periodic-looks-once",
        "broken: whether it is killed is asked once, as a compiler may do with a flag that nothing guards",
        3,
        "? still waits for the next beat",
        |world| start(world, looks_once),
    ),
    broken(
        "course-periodic-looks-before",
        "broken: whether it is killed is asked in one section, and it sleeps in the next: a kill in between is lost",
        3,
        "? still waits for the next beat",
        |world| start(world, looks_before),
    ),
    mended(
        "course-periodic",
        "whoever sleeps until the next beat is woken by the kill as well",
        3,
        &["the next beat", "a beat", "no beat"],
        |world| start(world, looks_while_waiting),
    ),
];

const PERIOD: Duration = Duration::from_millis(100);

#[derive(Clone, PartialEq, Default)]
struct Server {
    is_killed: bool,
    beats: u8,
}

impl State for Server {
    fn show(&self) -> String {
        let killed = if self.is_killed { ", killed" } else { "" };
        format!("{} beats{killed}", self.beats)
    }
}

/// What a compiler may make of the loop below, where the flag is read without a lock: nothing in the loop writes it.
fn looks_once(server: &Lock<Server>, outside: &mut Outside) {
    if server.enter(outside, "is it killed?", |server| server.is_killed) {
        return;
    }
    let mut next = Time::ZERO + PERIOD;
    loop {
        server.enter(outside, "beat", |server| {
            server.wait_until_time("the next beat", next, |_| false);
            server.beats += 1;
        });
        next = next + PERIOD;
    }
}

fn looks_before(server: &Lock<Server>, outside: &mut Outside) {
    let mut next = Time::ZERO + PERIOD;
    while !server.enter(outside, "is it killed?", |server| server.is_killed) {
        server.enter(outside, "beat", |server| {
            server.wait_until_time("the next beat", next, |_| false);
            server.beats += 1;
        });
        next = next + PERIOD;
    }
}

fn looks_while_waiting(server: &Lock<Server>, outside: &mut Outside) {
    let mut next = Time::ZERO + PERIOD;
    let mut is_killed = false;
    while !is_killed {
        is_killed = server.enter(outside, "beat", |server| {
            server.wait_until_time("the next beat", next, |server| server.is_killed);
            if !server.is_killed {
                server.beats += 1;
            }
            server.is_killed
        });
        next = next + PERIOD;
    }
}

fn start(world: &World, run: fn(&Lock<Server>, &mut Outside)) {
    let server = lock(world, Server::default());
    let clock = server.clone();
    // Time goes on for a while, and then there is no more of it: only the kill ends the last sleep.
    world.thread("time", move |outside| {
        for beat in 1..=2 {
            clock.tick(outside, Time::ZERO + PERIOD * beat);
        }
    });
    let killer = server.clone();
    let there = world.clone();
    world.thread("killer", move |outside| {
        killer.enter(outside, "kill", |server| {
            server.is_killed = true;
            there.reached(if server.beats > 0 {
                "a beat"
            } else {
                "no beat"
            });
        });
    });
    world.thread("loop", move |outside| run(&server, outside));
}
