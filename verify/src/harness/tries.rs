//! The same models under schedules that are drawn at random, by shuttle: how often does one break?
//!
//! A try that broke can't be cleaned up: its threads hold locks, and what unwinds would run into them. So it is left as it is, with the thread of the
//! system that ran it, and the next try has another. A process has room for [`ROOM`] of those.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use super::{Model, Odometer, Search, current, execute, locked};
use crate::checker::Drawn;
use crate::diagram;
use crate::record::Event;
use crate::tries::Tries;

/// So many tries that broke may be left behind.
const ROOM: u64 = 400;
/// More steps than any try has that ends.
const MAX_STEPS: usize = 20_000;

enum Said {
    Begun(u64),
    Broke(Vec<Event>, String),
    Ended,
}

thread_local! {
    static TRIES: Cell<bool> = const { Cell::new(false) };
}

/// Draws the tries of these numbers, and stops early if too many broke: [`Tries::of`] says how many were made. `judge` is asked whether a try that broke did so
/// in the words that were expected.
///
/// Called once in a process.
pub fn sample(
    model: &'static Model,
    tries: Range<u64>,
    mut judge: impl FnMut(Vec<Event>, String) -> bool,
    progress: impl Fn(u64),
) -> Tries {
    let search = Arc::new(Search::default());
    let (says, said) = channel();
    listen(says.clone());
    let mut found = Tries::default();
    let mut next = tries.start;
    while next < tries.end && found.broke < ROOM {
        let (search, says, from) = (search.clone(), says.clone(), next..tries.end);
        let run = move || {
            TRIES.set(true);
            run(model, &search, from, &says);
        };
        let _left = thread::Builder::new()
            .spawn(run)
            .expect("the system gives threads");
        for word in &said {
            match word {
                Said::Begun(number) => {
                    next = number + 1;
                    if next.is_multiple_of(512) {
                        progress(next);
                    }
                }
                Said::Broke(events, message) => {
                    found.broke += 1;
                    found.otherwise += u64::from(!judge(events, message));
                    break;
                }
                Said::Ended => break,
            }
        }
    }
    found.of = next - tries.start;
    let goals = locked(&search.goals);
    let reached = |goal: &&'static str| goals.contains_key(goal);
    let missed = model.goals.iter().filter(|goal| !reached(goal));
    found.missed = missed.map(|goal| goal.to_string()).collect();
    found
}

/// Whoever panics in a try says why, and goes no further.
fn listen(says: Sender<Said>) {
    let says = Mutex::new(says);
    std::panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or("a panic");
        if !TRIES.get() {
            eprintln!("{message}: {info}");
            return;
        }
        // Shuttle's own words for it are about its threads' numbers.
        let message = match message.starts_with("deadlock") {
            true => diagram::DEADLOCK,
            false => message,
        };
        let (_, events, _) = current().unwrap_or_default();
        let _ = locked(&says).send(Said::Broke(events, message.into()));
        left();
    }));
}

/// This thread is left where it is.
fn left() -> ! {
    loop {
        thread::park();
    }
}

fn run(model: &'static Model, search: &Arc<Search>, tries: Range<u64>, says: &Sender<Said>) {
    let mut config = Config::new();
    config.stack_size = 0x40000;
    config.max_steps = MaxSteps::FailAfter(MAX_STEPS);
    config.failure_persistence = FailurePersistence::None;
    let (search, drawn, says) = (search.clone(), search.clone(), says.clone());
    let mut tries = tries;
    let seeds = std::iter::from_fn(move || {
        let Some(number) = tries.next() else {
            let _ = says.send(Said::Ended);
            // Who cleans up a coroutine exchanges the hook in which the tries that broke still are.
            left();
        };
        // The numbers of tries are their seeds. Choices are drawn from others.
        *locked(&drawn.choices) = Odometer::drawn(!number);
        let _ = says.send(Said::Begun(number));
        Some(number)
    });
    Runner::new(Drawn::new(seeds), config).run(move || {
        search.executions.fetch_add(1, Ordering::Relaxed);
        execute(model, &search);
    });
}
