//! The process that runs one model, or one comparison, and says how it goes.

use std::collections::BTreeMap;
use std::process::ExitCode;

use biglock_verify::differential::{self, CHECKS, Check};
use biglock_verify::explore::{Order, orders, search};
use biglock_verify::harness::{self, Found, Goals};
use biglock_verify::here::{self, broke};
use biglock_verify::jobs::{Said, say};
use biglock_verify::{course, lab, models};

use super::STACKS;
use super::rows::Stacks;
use crate::said::Drawn;
use crate::stacks;

/// How it is run.
#[derive(Debug, clap::Args)]
pub struct How {
    /// How many threads it may use.
    #[arg(long, hide = true, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// With a bound on the preemptions: then it is no proof.
    #[arg(long, hide = true, value_name = "N")]
    preemptions: Option<usize>,
    #[command(flatten)]
    drawn: Drawn,
}

/// Runs programs for one comparison, as they come in.
pub fn worker(name: &str) -> ExitCode {
    let Some(check) = CHECKS.iter().find(|check| check.name == name) else {
        eprintln!("there is no comparison {name}");
        return ExitCode::from(2);
    };
    differential::facade::work(check);
    ExitCode::SUCCESS
}

/// Runs one model here and says how it goes, a line of JSON each.
pub fn child(name: &str, how: &How) -> ExitCode {
    if how.drawn.unrefined {
        biglock_verify::world::refine_nothing();
    }
    if let Some(order) = orders::all().find(|order| order.name == name) {
        match how.drawn.tries {
            Some(walks) => say(&Said::Tried(search::walk(
                order,
                walks,
                |message| how.drawn.expects(message),
                |walks| say(&Said::Progress(walks)),
            ))),
            None => explore(order, how.threads),
        }
        return ExitCode::SUCCESS;
    }
    if let Some(test) = lab::find(name) {
        let judge = |message: &str| how.drawn.expects(message);
        let seeds = 1..=how.drawn.tries.unwrap_or(test.seeds);
        let tried = lab::sample(test, seeds, judge, |seeds| say(&Said::Progress(seeds)));
        say(&Said::Tried(tried));
        return ExitCode::SUCCESS;
    }
    if let Some(check) = CHECKS.iter().find(|check| check.name == name) {
        check_the_checker(check);
        return ExitCode::SUCCESS;
    }
    if let Some(stacks) = STACKS.iter().find(|stacks| stacks.name == name) {
        compare_stacks(stacks);
        return ExitCode::SUCCESS;
    }
    let lessons = course::all().map(|lesson| &lesson.model);
    let mut all = models::all().chain(lessons);
    let Some(model) = all.find(|model| model.name == name) else {
        eprintln!("there is no model {name}");
        return ExitCode::from(2);
    };
    here::run(model, how.preemptions);
    ExitCode::SUCCESS
}

/// Explores one configuration here.
fn explore(order: &'static Order, threads: usize) {
    let found = search::search(order, threads, |states| say(&Said::Progress(states)));
    let (executions, depth) = (found.states, Some(found.depth));
    let goals = owned(found.goals);
    say(&match found.broken {
        Some(broken) => Said::Broke {
            executions,
            depth,
            goals,
            message: broken.message,
            diagram: broken.diagram,
        },
        None => Said::Found {
            executions,
            depth,
            exhausted: found.exhausted,
            goals,
        },
    });
}

fn owned(goals: Goals) -> BTreeMap<String, u64> {
    goals
        .into_iter()
        .map(|(goal, n)| (goal.into(), n))
        .collect()
}

/// Compares loom with the brute force here.
fn check_the_checker(check: &'static Check) {
    let programs = 0..differential::PROGRAMS;
    let program = std::env::current_exe().unwrap_or_default();
    let progress = |executions| say(&Said::Progress(executions));
    match differential::compare(check, differential::SEED, programs, &program, progress) {
        Err(wrong) => broke(0, BTreeMap::new(), Vec::new(), wrong),
        Ok(compared) => {
            let (executions, goals) = (compared.executions, owned(compared.goals));
            match compared.difference {
                Some(difference) => broke(executions, goals, Vec::new(), difference),
                None => say(&Said::Found {
                    executions,
                    depth: None,
                    exhausted: true,
                    goals,
                }),
            }
        }
    }
}

/// Runs models on new stacks, and on stacks that are used again: neither may find anything that the other does not.
fn compare_stacks(row: &Stacks) {
    let mut executions = 0;
    let mut goals = BTreeMap::from([("a model".to_string(), 0)]);
    for model in row.models() {
        let [fresh, again] = [false, true].map(|on| {
            stacks::reuse(on);
            harness::check(model, None, |_| ())
        });
        executions += fresh.executions + again.executions;
        let name = model.name;
        let found = |found: &Found| (found.executions, found.exhausted, found.goals.clone());
        if found(&fresh) != found(&again) {
            let message = format!("{name} finds {fresh:?} on new stacks, {again:?} on used ones");
            broke(executions, goals.clone(), Vec::new(), message);
        }
        // Two searches that were cut short at the same place are equal, and show nothing.
        if !fresh.exhausted {
            let message = format!("the search of {name} was not completed, on new stacks or used");
            broke(executions, goals.clone(), Vec::new(), message);
        }
        goals.entry("a model".into()).and_modify(|n| *n += 1);
        say(&Said::Progress(executions));
    }
    if stacks::CAN {
        goals.insert("a stack was used again".into(), stacks::reused());
    }
    say(&Said::Found {
        executions,
        depth: None,
        exhausted: goals["a model"] == row.many(),
        goals,
    });
}
