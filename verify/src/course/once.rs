//! At most once: a client that hears no answer sends its request again, and the server must not run it again.
//!
//! The server remembers the answers that it gave. Whether there is one is asked, and the new one noted, in the section that runs the request: the network
//! may deliver both copies at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use biglock::lock::Outside;

use super::{Lesson, Lock, State, broken, lock, mended};
use crate::world::World;

/// The versions.
pub const LESSONS: &[Lesson] = &[
    broken(
        "course-once-forgets",
        "broken: the server remembers no answers, and a request that is sent again runs again",
        3,
        "a request ran twice",
        |world| serve(world, forgets),
    ),
    broken(
        "course-once-two-sections",
        "broken: the server looks for an answer in one section and runs the request in the next: both copies run",
        3,
        "a request ran twice",
        |world| serve(world, in_two_sections),
    ),
    mended(
        "course-once",
        "two copies of a request arrive at once: it runs once, and both get the same answer",
        3,
        &["the request runs", "its copy runs"],
        |world| serve(world, in_one_section),
    ),
];

/// A counter; a request adds to it and is answered with the sum.
#[derive(Clone, PartialEq, Default)]
struct Server {
    sum: u8,
    answers: BTreeMap<Id, u8>,
}

/// A client, and the number of its request.
type Id = (&'static str, u8);

impl State for Server {
    fn show(&self) -> String {
        let answers: Vec<String> = self
            .answers
            .iter()
            .map(|((client, number), answer)| format!("{client} {number}: {answer}"))
            .collect();
        format!("sum {}, answered [{}]", self.sum, answers.join(", "))
    }
}

impl Server {
    fn run(&mut self, id: Id, add: u8) -> u8 {
        self.sum += add;
        self.answers.insert(id, self.sum);
        self.sum
    }
}

type Handler = fn(&Lock<Server>, &mut Outside, Id, u8) -> u8;

fn forgets(server: &Lock<Server>, outside: &mut Outside, id: Id, add: u8) -> u8 {
    server.enter(outside, "run the request", |server| server.run(id, add))
}

fn in_two_sections(server: &Lock<Server>, outside: &mut Outside, id: Id, add: u8) -> u8 {
    let known = server.enter(outside, "look for an answer", |server| {
        server.answers.get(&id).copied()
    });
    match known {
        Some(answer) => answer,
        None => server.enter(outside, "run the request", |server| server.run(id, add)),
    }
}

fn in_one_section(server: &Lock<Server>, outside: &mut Outside, id: Id, add: u8) -> u8 {
    server.enter(outside, "handle the request", |server| {
        match server.answers.get(&id).copied() {
            Some(answer) => answer,
            None => server.run(id, add),
        }
    })
}

/// Both copies must get the same answer: what the first of them was told, if one was, is the judge's own and no part of the program.
fn serve(world: &World, handle: Handler) {
    let server = lock(world, Server::default());
    let told = Arc::new(Mutex::new(None));
    for (name, goal) in [
        ("the request", "the request runs"),
        ("its copy", "its copy runs"),
    ] {
        let (there, server, told) = (world.clone(), server.clone(), told.clone());
        world.thread(name, move |outside| {
            let answer = handle(&server, outside, ("x", 1), 10);
            let mut told = told.lock().expect("nobody panics");
            if told.is_none() {
                there.reached(goal);
            }
            let first = *told.get_or_insert(answer);
            assert_eq!(answer, first, "a request ran twice, or it has two answers");
        });
    }
    world.thread("another", move |outside| {
        let answer = handle(&server, outside, ("y", 1), 1);
        assert!(
            [1, 11].contains(&answer),
            "a request ran twice: {answer} is no sum"
        );
    });
}
