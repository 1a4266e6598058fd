//! The lecture's second bug of Raft: votes are counted as if nothing had happened since they were asked for.
//!
//! Server 1 asks the others for their votes in term 1, each by a thread of its own. While it waits its lock is free, so that server 2 can ask for a vote in
//! term 2, and get it. Then a vote of term 1 arrives and makes a majority: of an election that is over. The rule: whoever takes the lock again knows nothing,
//! and looks first whether this is still the candidate, and the term, for which the vote was given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use biglock::lock::Outside;

use super::{Lesson, Lock, State, broken, lock, mended};
use crate::world::World;

/// The versions.
pub const LESSONS: &[Lesson] = &[
    broken(
        "course-ballot-broken",
        "broken: a vote is counted, and nobody looks again: who asked in term 1 leads term 2, which has a leader",
        3,
        "two leaders of term 2",
        |world| elect(world, without_a_look),
    ),
    mended(
        "course-ballot-mended",
        "a vote counts as long as its election goes on, and no longer: a term has one leader",
        3,
        &["a leader of term 1", "a leader of term 2", "a late vote"],
        |world| elect(world, after_a_look),
    ),
];

/// Of three servers two are a majority.
const MAJORITY: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Default)]
enum Role {
    #[default]
    Follower,
    Candidate,
    Leader,
}

#[derive(Clone, PartialEq, Default)]
struct Server {
    term: u64,
    role: Role,
    voted_for: Option<u64>,
    votes: u8,
}

impl State for Server {
    fn show(&self) -> String {
        format!("term {}, {:?}, {} votes", self.term, self.role, self.votes)
    }
}

impl Server {
    fn campaign(&mut self, id: u64) -> u64 {
        self.term += 1;
        self.role = Role::Candidate;
        self.voted_for = Some(id);
        self.votes = 1;
        self.term
    }

    fn handle(&mut self, term: u64, candidate: u64) -> bool {
        if term > self.term {
            self.term = term;
            self.role = Role::Follower;
            self.voted_for = None;
        }
        term == self.term && *self.voted_for.get_or_insert(candidate) == candidate
    }

    fn count(&mut self) {
        self.votes += 1;
        if self.votes >= MAJORITY {
            self.role = Role::Leader;
        }
    }
}

/// A vote that was asked for in this term has come. Returns what the server is then.
type Count = fn(&Lock<Server>, &mut Outside, term: u64) -> Server;

fn without_a_look(own: &Lock<Server>, outside: &mut Outside, _: u64) -> Server {
    own.enter(outside, "count a vote", |server| {
        server.count();
        server.clone()
    })
}

/// Nobody begins a second election here, so that one of the two questions would do. In Raft a candidate of a later term must not count votes of this one.
fn after_a_look(own: &Lock<Server>, outside: &mut Outside, term: u64) -> Server {
    own.enter(outside, "count a vote", |server| {
        if server.term == term && server.role == Role::Candidate {
            server.count();
        }
        server.clone()
    })
}

/// A server asks another for its vote, and counts it. No lock is held meanwhile: the handler takes the other's, and counting its own.
struct Ask {
    id: u64,
    own: Lock<Server>,
    other: Lock<Server>,
    count: Count,
    world: World,
    /// Who led which term: the judge's own, and no part of the program.
    leaders: Arc<Mutex<BTreeMap<u64, u64>>>,
}

impl Ask {
    fn run(&self, outside: &mut Outside, term: u64) {
        let granted = self.other.enter(outside, "handle a request", |server| {
            server.handle(term, self.id)
        });
        if granted {
            let counted = (self.count)(&self.own, outside, term);
            self.judge(&counted, term);
        }
    }

    fn judge(&self, server: &Server, asked_in: u64) {
        let leads = server.term;
        if server.role == Role::Leader {
            let mut leaders = self.leaders.lock().expect("nobody panics");
            let leader = *leaders.entry(leads).or_insert(self.id);
            assert_eq!(leader, self.id, "two leaders of term {leads}");
            self.world.reached(match leads {
                1 => "a leader of term 1",
                _ => "a leader of term 2",
            });
        } else if leads > asked_in {
            self.world.reached("a late vote");
        }
    }
}

/// Server 1 has begun an election, and started a thread for each of the others. Server 2 begins one when its time is up: at any moment.
fn elect(world: &World, count: Count) {
    let [one, two, three] = [(); 3].map(|()| lock(world, Server::default()));
    let leaders = Arc::default();
    let ask = |id, own: &Lock<Server>, other: &Lock<Server>| Ask {
        id,
        own: own.clone(),
        other: other.clone(),
        count,
        world: world.clone(),
        leaders: Arc::clone(&leaders),
    };
    let start = &mut Outside::claim("start");
    let term = one.enter(start, "campaign", |server| server.campaign(1));
    for (name, other) in [("1 asks 2", &two), ("1 asks 3", &three)] {
        let ask = ask(1, &one, other);
        world.thread(name, move |outside| ask.run(outside, term));
    }
    let ask = ask(2, &two, &one);
    world.thread("server 2", move |outside| {
        let term = two.enter(outside, "campaign", |server| server.campaign(2));
        ask.run(outside, term);
    });
}
