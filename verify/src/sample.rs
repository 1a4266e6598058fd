//! `cargo schedules`: arguments, what is run, and what is printed.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use biglock::Clock;
use biglock_verify::jobs::{Said, say};
use biglock_verify::report::thousands;
use biglock_verify::schedules::{self, Reached};
use biglock_verify::tries::TRIES;
use biglock_verify::{course, diagram, harness, models};
use clap::{Parser, ValueEnum};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// Runs whole clusters, with all the threads of all their nodes, under schedules that are drawn at random. A sample, and no proof.
#[derive(Debug, Parser)]
#[command(name = "cargo schedules", bin_name = "cargo schedules")]
struct Args {
    /// How many schedules of each cluster and each scheduler.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// From which the schedules are drawn: the same again with the same.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many nodes [default: 5, and then 7].
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [5, 7], value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: Vec<u64>,
    /// How they are drawn [default: both, one after the other].
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Drawn::Random, Drawn::Pct])]
    scheduler: Vec<Drawn>,
    /// Run one model in this process. For the use of `cargo verify --bugs --measure`.
    #[arg(long, hide = true, value_name = "MODEL")]
    child: Option<String>,
    #[command(flatten)]
    how: crate::said::Drawn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Drawn {
    /// Any thread that can go on, at each step.
    Random,
    /// The one of the highest priority; few priorities change.
    Pct,
}

/// How often PCT changes priorities in a schedule, beside the first.
const DEPTH: usize = 10;

pub fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(name) = &args.child {
        return child(name, &args.how);
    }
    let mut out = std::io::stdout();
    let clock = Clock::monotonic();
    let mut missed = Vec::new();
    for &nodes in &args.nodes {
        for &drawn in &args.scheduler {
            let name = match drawn {
                Drawn::Random => "random",
                Drawn::Pct => "PCT",
            };
            let begin = clock.now();
            let _ = writeln!(out, "{nodes} nodes, {name}, seed {}: ...", args.seed);
            let (runs, reached) = match drawn {
                Drawn::Random => run(
                    nodes,
                    RandomScheduler::new_from_seed(args.seed, args.runs as usize),
                ),
                Drawn::Pct => run(
                    nodes,
                    PctScheduler::new_from_seed(args.seed, DEPTH, args.runs as usize),
                ),
            };
            for goal in schedules::GOALS {
                if !reached.contains_key(goal) {
                    missed.push(format!("\"{goal}\" ({nodes} nodes, {name})"));
                }
            }
            let reached: Vec<String> = reached
                .iter()
                .map(|(what, &times)| format!("{what}: {}", thousands(times)))
                .collect();
            let _ = writeln!(
                out,
                "  {} schedules in {:.1} s hold; {}",
                thousands(runs as u64),
                clock.now().since(begin).as_secs_f64(),
                reached.join(", ")
            );
        }
    }
    if !missed.is_empty() {
        let _ = writeln!(
            out,
            "Nothing is shown: none of these schedules reached {}.",
            missed.join(", nor ")
        );
        return ExitCode::FAILURE;
    }
    let _ = writeln!(
        out,
        "A sample: there are more schedules than can be counted, and these are some of them."
    );
    ExitCode::SUCCESS
}

/// Tries one model here, and says how often it broke.
fn child(name: &str, how: &crate::said::Drawn) -> ExitCode {
    let lessons = course::all().map(|lesson| &lesson.model);
    let mut all = models::all().chain(lessons);
    let Some(model) = all.find(|model| model.name == name) else {
        eprintln!("there is no model {name}");
        return ExitCode::from(2);
    };
    if how.unrefined {
        biglock_verify::world::refine_nothing();
    }
    let judge = |events: Vec<_>, message: String| {
        how.expects(&message)
            || diagram::of_threads(&events, &message)
                .text()
                .contains(&how.says)
    };
    let tries = how.from..how.tries.unwrap_or(TRIES);
    let tried = harness::sample(model, tries, judge, |tries| say(&Said::Progress(tries)));
    say(&Said::Tried(tried));
    // Tries that broke are still there, each in the middle of something.
    std::process::exit(0)
}

/// Ends the process if a schedule breaks something, with the schedule.
fn run(nodes: u64, scheduler: impl Scheduler + 'static) -> (usize, BTreeMap<&'static str, u64>) {
    let mut config = Config::new();
    config.stack_size = 0x40000;
    config.max_steps = MaxSteps::FailAfter(20_000_000);
    let all = Arc::new(Mutex::new(Reached::default()));
    let sum = all.clone();
    let runs = Runner::new(scheduler, config).run(move || {
        let reached = schedules::cluster(nodes);
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        for (what, times) in reached.0 {
            *sum.0.entry(what).or_default() += times;
        }
    });
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    (runs, all.0.clone())
}
