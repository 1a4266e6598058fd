//! The programs of the course as models: MIT 6.824, lectures 2 and 5. Each is here broken, as the lecture shows it, and mended.
//!
//! Every file is a lesson and can be read from top to bottom. `cargo verify course` runs them all; with `--show` it prints what it found. What
//! they share with Biglock is the lock: [`Monitor`] on the facade, so a program that holds here holds in every interleaving of the real thing.
//!
//! | lesson | about |
//! |---|---|
//! | [`bank`] | locks protect invariants, not accesses |
//! | [`tally`] | five ways to count votes while you wait for them |
//! | [`periodic`] | a loop, and how to end it |
//! | [`crawler`] | who may fetch a page is decided and noted in one section |
//! | [`group`] | to wait for threads, count them before they start |
//! | [`channel`] | a channel is a lock and a condvar |
//! | [`once`] | a request that is sent again must not run again |
//! | [`call`] | Raft's first bug: no lock is held across a call |
//! | [`ballot`] | Raft's second bug: who takes the lock again looks again |
//!
//! The last two, and the bugs of the lecture's debugging session, are planted in the real source as well: K1 to K14 of the catalogue.

pub mod ballot;
pub mod bank;
pub mod call;
pub mod channel;
pub mod crawler;
pub mod group;
pub mod once;
pub mod periodic;
pub mod tally;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use biglock::Time;
use biglock::lock::{Guarded, Look, Monitor, Section};

use crate::harness::{GATED, Model};
use crate::world::World;

/// A program of the course.
pub struct Lesson {
    /// The program as a model.
    pub model: Model,
    /// If it is broken: what must be found.
    pub finds: Option<&'static str>,
}

/// All of them, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Lesson> {
    [
        bank::LESSONS,
        tally::LESSONS,
        periodic::LESSONS,
        crawler::LESSONS,
        group::LESSONS,
        channel::LESSONS,
        once::LESSONS,
        call::LESSONS,
        ballot::LESSONS,
    ]
    .into_iter()
    .flatten()
}

/// A program that holds in every interleaving.
const fn mended(
    name: &'static str,
    property: &'static str,
    threads: usize,
    goals: &'static [&'static str],
    body: fn(&World),
) -> Lesson {
    Lesson {
        model: Model {
            name,
            property,
            threads,
            goals,
            body,
            ..GATED
        },
        finds: None,
    }
}

/// A program in which this must be found.
const fn broken(
    name: &'static str,
    property: &'static str,
    threads: usize,
    finds: &'static str,
    body: fn(&World),
) -> Lesson {
    Lesson {
        finds: Some(finds),
        ..mended(name, property, threads, &[], body)
    }
}

/// What the threads of a lesson share.
pub trait State: Clone + PartialEq + Send + 'static {
    /// How it looks, in a few words: for the picture.
    fn show(&self) -> String;
}

/// One lock, one condvar, and what they guard. Whoever leaves a section in which something changed wakes all who wait.
pub type Lock<S> = Arc<Monitor<Held<S>>>;

/// What is behind the lock.
pub struct Held<S>(S);

/// A lock of this program. Its threads wait at it until all of them are there.
pub fn lock<S: State>(world: &World, state: S) -> Lock<S> {
    world.monitor(Held(state), |held| held.0.show())
}

/// To wait in a section: in a loop, around a predicate.
pub trait Wait<S> {
    /// Sleeps until it is `ready`. `what` completes "the thread waits for ...".
    fn wait(&mut self, what: &'static str, ready: impl Fn(&S) -> bool);

    /// The same, and until this time at the longest.
    fn wait_until_time(&mut self, what: &'static str, by: Time, ready: impl Fn(&S) -> bool);
}

impl<S: State> Wait<S> for Section<'_, Held<S>> {
    fn wait(&mut self, what: &'static str, ready: impl Fn(&S) -> bool) {
        self.wait_until((), what, |held, _| match ready(held) {
            true => Look::Ready(()),
            false => Look::NotBefore(None),
        });
    }

    fn wait_until_time(&mut self, what: &'static str, by: Time, ready: impl Fn(&S) -> bool) {
        self.wait_until((), what, |held, now| match now >= by || ready(held) {
            true => Look::Ready(()),
            false => Look::NotBefore(Some(by)),
        });
    }
}

impl<S> Deref for Held<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.0
    }
}

impl<S> DerefMut for Held<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.0
    }
}

impl<S: State> Guarded for Held<S> {
    type Digest = S;
    type Audience = ();
    const AUDIENCES: &'static [()] = &[()];

    fn digest(&self) -> S {
        self.0.clone()
    }

    fn check(&self, _: &S) -> Result<(), String> {
        Ok(())
    }

    fn give_up(&mut self, _: &'static str) {}
}
