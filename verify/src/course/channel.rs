//! A channel, as Go has them, is a lock, a condvar and a queue. Then it can be checked: crossbeam's are made of atomics, and loom does not see those.
//!
//! Without room ("unbuffered") whoever sends waits until somebody has taken it. With room it waits only while the channel is full.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use biglock::lock::Outside;

use super::{Lesson, Lock, State, Wait, broken, lock, mended};
use crate::world::World;

/// The versions.
pub const LESSONS: &[Lesson] = &[
    broken(
        "course-channel-alone",
        "broken: two threads send into a channel without room, and would receive next",
        2,
        "? still waits for a receiver",
        |world| to_itself(world, 0),
    ),
    mended(
        "course-channel-room",
        "the same, and the channel has room for what is sent",
        2,
        &[],
        |world| to_itself(world, 2),
    ),
    broken(
        "course-channel-open",
        "broken: nobody closes the channel, and who took all that came waits for more",
        2,
        "? still waits for an item",
        |world| pipe(world, 0, &["consumer"], false),
    ),
    mended(
        "course-channel-closed",
        "who sends closes: the consumer gets everything in order, and hears of the end",
        2,
        &["an item", "a receiver"],
        |world| pipe(world, 0, &["consumer"], true),
    ),
    mended(
        "course-channel-shared",
        "two consumers: each item goes to one of them, and both hear of the end",
        3,
        &["an item"],
        |world| pipe(world, 2, &["consumer a", "consumer b"], true),
    ),
];

/// Clones share it.
pub struct Channel<T: State>(Lock<Queue<T>>);

#[derive(Clone, PartialEq)]
struct Queue<T> {
    room: usize,
    items: VecDeque<T>,
    sent: u64,
    taken: u64,
    is_closed: bool,
}

impl<T: State> State for Queue<T> {
    fn show(&self) -> String {
        let items: Vec<String> = self.items.iter().map(T::show).collect();
        let end = if self.is_closed { ", closed" } else { "" };
        format!("in the channel: [{}]{end}", items.join(", "))
    }
}

impl<T: State> Clone for Channel<T> {
    fn clone(&self) -> Channel<T> {
        Channel(self.0.clone())
    }
}

impl<T: State> Channel<T> {
    /// A channel that has room for so many.
    pub fn new(world: &World, room: usize) -> Channel<T> {
        let queue = Queue {
            room,
            items: VecDeque::new(),
            sent: 0,
            taken: 0,
            is_closed: false,
        };
        Channel(lock(world, queue))
    }

    /// Puts an item in, and waits for room; or, where there never is any, for a receiver.
    pub fn send(&self, outside: &mut Outside, item: T) {
        self.0.enter(outside, "send", |queue| {
            if queue.room > 0 {
                queue.wait("room", |queue| queue.items.len() < queue.room);
            }
            queue.items.push_back(item);
            queue.sent += 1;
            let mine = queue.sent;
            if queue.room == 0 {
                queue.wait("a receiver", |queue| queue.taken >= mine);
            }
        });
    }

    /// Waits for an item and takes it. Nothing, once the channel is closed and empty.
    pub fn receive(&self, outside: &mut Outside) -> Option<T> {
        self.0.enter(outside, "receive", |queue| {
            queue.wait("an item", |queue| {
                !queue.items.is_empty() || queue.is_closed
            });
            let item = queue.items.pop_front()?;
            queue.taken += 1;
            Some(item)
        })
    }

    /// Nothing more will come.
    pub fn close(&self, outside: &mut Outside) {
        self.0
            .enter(outside, "close", |queue| queue.is_closed = true);
    }
}

impl State for bool {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl State for u8 {
    fn show(&self) -> String {
        self.to_string()
    }
}

/// Two of these at once: each sends, and receives next.
fn to_itself(world: &World, room: usize) {
    let channel = Channel::new(world, room);
    for name in ["a", "b"] {
        let channel = channel.clone();
        world.thread(name, move |outside| {
            channel.send(outside, 1);
            assert_eq!(channel.receive(outside), Some(1));
        });
    }
}

/// Who sends closes: nobody else knows that nothing more comes.
fn pipe(world: &World, room: usize, consumers: &[&'static str], closes: bool) {
    let channel = Channel::new(world, room);
    // What was taken, by whomever: the judge's own, and no part of the program.
    let taken = Arc::new(Mutex::new(Vec::new()));
    for &name in consumers {
        let (channel, taken) = (channel.clone(), taken.clone());
        world.thread(name, move |outside| {
            let mut own = Vec::new();
            while let Some(item) = channel.receive(outside) {
                own.push(item);
            }
            assert!(
                own.is_sorted(),
                "items come in the order in which they were sent"
            );
            taken.lock().expect("nobody panics").extend(own);
        });
    }
    world.thread("producer", move |outside| {
        for item in 1..=2 {
            channel.send(outside, item);
        }
        if closes {
            channel.close(outside);
        }
    });
    world.finally(move || {
        let mut taken = taken.lock().expect("nobody panics").clone();
        taken.sort_unstable();
        assert_eq!(taken, [1, 2], "each item is taken once");
    });
}
