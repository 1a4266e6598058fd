//! One model, run in this process, which says how it goes: a line of JSON each.

use std::collections::BTreeMap;
use std::path::Path;

use crate::diagram;
use crate::harness::{self, Model};
use crate::jobs::{Said, say};
use crate::record::Event;

/// Runs it, perhaps with a bound on the preemptions (then it is no proof), and says what came of it. If an execution breaks something, this does
/// not return.
pub fn run(model: &'static Model, preemptions: Option<usize>) {
    // Set once: loom's coroutines wrap it in one of their own, which hides how they end a thread.
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("a panic");
        // Loom's own words for it are about its threads' numbers, and its own place in the source says nothing.
        let message = match message.starts_with("deadlock") {
            true => diagram::DEADLOCK,
            false => message,
        };
        // What is built here has a path from here; of what is linked, the place says nothing.
        let place = info
            .location()
            .filter(|at| Path::new(at.file()).is_relative())
            .map(|at| format!(" ({}:{})", at.file(), at.line()))
            .unwrap_or_default();
        let (executions, events, goals) = harness::current().unwrap_or_default();
        let goals = model.told(&goals);
        broke(executions, goals, events, format!("{message}{place}"));
    }));
    let found = harness::check(model, preemptions, |executions| {
        say(&Said::Progress(executions))
    });
    say(&Said::Found {
        executions: found.executions,
        depth: None,
        exhausted: found.exhausted,
        goals: found.goals,
    });
}

/// An execution broke something: says so at once, and goes no further, because what unwinds now would run into locks that nobody leaves.
pub fn broke(executions: u64, goals: BTreeMap<String, u64>, events: Vec<Event>, message: String) {
    // On a thread of its own: a coroutine's stack is too small to draw on.
    let drawing = std::thread::Builder::new().spawn(move || {
        let diagram = diagram::of_threads(&events, &message);
        say(&Said::Broke {
            executions,
            depth: None,
            goals,
            message,
            diagram,
        });
    });
    if let Ok(thread) = drawing {
        let _ = thread.join();
    }
    std::process::abort();
}
