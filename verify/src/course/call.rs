//! The lecture's first bug of Raft: the lock is held across a call.
//!
//! Two servers campaign at once, and each calls the other to ask for its vote. A call runs the handler of whoever is called, and a handler takes its server's
//! lock. Who holds its own lock while it asks can't answer, so each waits for the other. The rule: note under the lock what the call needs, let go, and call.

use biglock::lock::Outside;

use super::{Lesson, Lock, State, broken, lock, mended};
use crate::world::World;

/// The versions.
pub const LESSONS: &[Lesson] = &[
    broken(
        "course-call-broken",
        "broken: a candidate holds its lock while it calls the other, and each waits for the other's lock",
        2,
        "? wants handle a request",
        |world| both_campaign(world, with_the_lock),
    ),
    mended(
        "course-call-mended",
        "a candidate lets go of its lock before it calls: two that ask each other both hear an answer",
        2,
        &["granted", "refused"],
        |world| both_campaign(world, without_the_lock),
    ),
];

#[derive(Clone, PartialEq, Default)]
struct Server {
    term: u64,
    voted_for: Option<u64>,
}

impl State for Server {
    fn show(&self) -> String {
        match self.voted_for {
            Some(id) => format!("term {}, votes for {id}", self.term),
            None => format!("term {}, no vote", self.term),
        }
    }
}

impl Server {
    fn campaign(&mut self, id: u64) -> u64 {
        self.term += 1;
        self.voted_for = Some(id);
        self.term
    }

    fn handle(&mut self, term: u64, candidate: u64) -> bool {
        if term > self.term {
            self.term = term;
            self.voted_for = None;
        }
        term == self.term && *self.voted_for.get_or_insert(candidate) == candidate
    }
}

/// A remote procedure call: it returns when the other's handler has.
fn call(other: &Lock<Server>, outside: &mut Outside, term: u64, candidate: u64) -> bool {
    other.enter(outside, "handle a request", |server| {
        server.handle(term, candidate)
    })
}

/// Begins an election and asks the other for its vote. Returns whether it was granted.
type Campaign = fn(&Lock<Server>, &Lock<Server>, &mut Outside, id: u64) -> bool;

/// It has to claim the permission to call, which who holds a lock does not have: with the one that it lent to `enter` this does not compile.
fn with_the_lock(own: &Lock<Server>, other: &Lock<Server>, outside: &mut Outside, id: u64) -> bool {
    let thread = outside.thread();
    own.enter(outside, "campaign and call", |server| {
        let term = server.campaign(id);
        call(other, &mut Outside::claim(thread), term, id)
    })
}

fn without_the_lock(
    own: &Lock<Server>,
    other: &Lock<Server>,
    outside: &mut Outside,
    id: u64,
) -> bool {
    let term = own.enter(outside, "campaign", |server| server.campaign(id));
    call(other, outside, term, id)
}

fn both_campaign(world: &World, campaign: Campaign) {
    let one = lock(world, Server::default());
    let two = lock(world, Server::default());
    for (name, id, own, other) in [
        ("server 1", 1, one.clone(), two.clone()),
        ("server 2", 2, two, one),
    ] {
        let there = world.clone();
        world.thread(name, move |outside| {
            let granted = campaign(&own, &other, outside, id);
            there.reached(if granted { "granted" } else { "refused" });
        });
    }
}
