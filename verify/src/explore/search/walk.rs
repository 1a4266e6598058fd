//! Random walks through what is else searched: how often would one have come upon what breaks?

use std::sync::Mutex;

use super::super::known::{self, Action, Known};
use super::super::laws::GOALS;
use super::super::{Order, recovery, trace};
use super::{PARTS, Seen, Worker};
use crate::tries::Tries;

/// A walk ends after so many steps, if it does not before: as nothing is left that changes anything. No search is half as deep.
const STEPS: u32 = 100;

/// Makes so many walks through this configuration, each from its number as a seed: at each state one of the steps is taken that change anything, and each of
/// them as often as any other. A walk breaks where the search would have stopped. `judge` is asked whether what it broke is what was expected.
pub fn walk(
    order: &'static Order,
    walks: u64,
    judge: impl Fn(&str) -> bool,
    progress: impl Fn(u64),
) -> Tries {
    known::listen();
    let known = Known::new(order);
    let mut worker = Worker::new(&known);
    let settled: Vec<Mutex<Seen>> = (0..PARTS).map(|_| Mutex::default()).collect();
    let mut first = worker.library.beginning();
    let mut found = Tries::default();
    let mut reached = 0;
    for seed in 0..walks {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut state = first.clone();
        let mut actions: Vec<Action> = Vec::new();
        let mut broken = None;
        'walk: for _ in 0..STEPS {
            if let Err((wrong, _)) = recovery::recovers(&mut worker.library, state.nodes, &settled)
            {
                broken = Some(wrong);
                break;
            }
            worker.library.actions(&state, &mut actions);
            loop {
                if actions.is_empty() {
                    break 'walk;
                }
                let action = actions.swap_remove(rng.usize(..actions.len()));
                match worker.library.go(&state, action, &mut worker.wire) {
                    Err(wrong) => {
                        broken = Some(wrong);
                        break 'walk;
                    }
                    Ok((next, goals)) => {
                        reached |= goals;
                        if next.is_some() {
                            state = worker.follow(&state, action);
                            break;
                        }
                    }
                }
            }
        }
        if let Some(wrong) = broken {
            found.broke += 1;
            found.otherwise += u64::from(!judge(&trace::rename(&wrong)));
        }
        found.of += 1;
        // What the specification makes of this walk is no other's business.
        known.keep_clusters(std::iter::once(&mut first.cluster));
        worker.library.forget_clusters();
        worker.library.refresh();
        if found.of.is_multiple_of(512) {
            progress(found.of);
        }
    }
    let goals = GOALS.iter().enumerate();
    let missed = goals.filter(|(nth, goal)| order.goals.contains(goal) && reached >> nth & 1 == 0);
    found.missed = missed.map(|(_, goal)| goal.to_string()).collect();
    found
}
