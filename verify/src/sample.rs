//! `cargo schedules`: arguments, what is run, and what is printed.

use std::io::Write;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use biglock::Clock;
use biglock_verify::jobs::{Said, say};
use biglock_verify::options::write_rows;
use biglock_verify::output::try_to_write;
use biglock_verify::report::{ModelRow, Searched, many, thousands};
use biglock_verify::schedules;
use biglock_verify::tries::TRIES;
use biglock_verify::{course, diagram, harness, models};
use clap::{Parser, ValueEnum};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
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
    /// Write an array with a row for each cluster and scheduler to this file.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
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
/// The variable with which shuttle replaces a seed.
const REPLACES: &str = "SHUTTLE_RANDOM_SEED";

pub fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(name) = &args.child {
        return child(name, &args.how);
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("cargo schedules: {wrong}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool, String> {
    if std::env::var_os(REPLACES).is_some() {
        return Err(format!(
            "{REPLACES} is set and would take the place of --seed: unset it"
        ));
    }
    if let Some(path) = &args.json {
        try_to_write(path)?;
    }
    let rows = Rows::default();
    rows.tell_what_breaks(args.json.clone());
    for &nodes in &args.nodes {
        for &drawn in &args.scheduler {
            row(args, nodes, drawn, &rows);
        }
    }
    let rows = rows.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &args.json {
        write_rows(path, &rows)?;
    }
    let mut out = std::io::stdout();
    let failed: Vec<&ModelRow> = rows.iter().filter(|row| !row.passed()).collect();
    for row in &failed {
        let why = row.failure.as_ref().map_or("", |failure| &failure.message);
        let then = match why.starts_with("never reached") {
            true => "Nothing is broken, and nothing shown: draw more with --runs",
            false => "Nothing is shown",
        };
        let _ = writeln!(out, "{}: {why}. {then}.", row.name);
    }
    if failed.is_empty() {
        let _ = writeln!(
            out,
            "A sample: there are more schedules than can be counted, and these are some of them."
        );
    }
    Ok(failed.is_empty())
}

/// What became of each cluster under each scheduler so far. The last is the one that runs.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<Vec<ModelRow>>>);

impl Rows {
    /// Whatever panics has broken something, in the middle of a schedule that can't be cleaned up: so the process ends there, and what it knows is written.
    fn tell_what_breaks(&self, json: Option<PathBuf>) {
        let (rows, say) = (self.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            say(info);
            let mut rows = rows.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(row) = rows.last_mut() {
                let schedule = row.searched.count() + 1;
                let message = info.payload_as_str().unwrap_or("a panic");
                row.fail(format!("schedule {schedule} breaks: {message}"));
                eprintln!("\n{} FAILED, in schedule {schedule}", row.name);
            }
            if let Some(Err(wrong)) = json.as_ref().map(|path| write_rows(path, &rows)) {
                eprintln!("{wrong}");
            }
            std::process::exit(1);
        }));
    }

    /// The one that runs.
    fn note(&self, note: impl FnOnce(&mut ModelRow)) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.last_mut() {
            note(row);
        }
    }
}

/// Draws the schedules of one cluster by one scheduler.
fn row(args: &Args, nodes: u64, drawn: Drawn, rows: &Rows) {
    let (seed, runs) = (args.seed, args.runs as usize);
    let (name, short) = match drawn {
        Drawn::Random => ("random", "random"),
        Drawn::Pct => ("PCT", "pct"),
    };
    let goals = schedules::GOALS.map(|goal| (goal.into(), 0));
    let bounds = schedules::BOUNDS.map(|(what, many)| (what.into(), many));
    let new = ModelRow {
        bounds: bounds.into_iter().chain([("seed".into(), seed)]).collect(),
        goals: goals.into(),
        ..ModelRow::new(
            &format!("schedules-{nodes}-{short}-seed-{seed}"),
            "schedules",
            schedules::PROPERTY,
            many(nodes, "node"),
        )
    };
    rows.0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(new);
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{}, {name}, seed {seed}: ...", many(nodes, "node"));
    let clock = Clock::monotonic();
    let begin = clock.now();
    let there = rows.clone();
    let cluster = move || {
        let reached = schedules::cluster(nodes);
        there.note(|row| {
            row.searched = Searched::of(row.searched.count() + 1, None);
            for (what, times) in reached.0 {
                *row.goals.entry(what.into()).or_default() += times;
            }
        });
    };
    let mut config = Config::new();
    config.stack_size = 0x40000;
    config.max_steps = MaxSteps::FailAfter(20_000_000);
    match drawn {
        Drawn::Random => {
            Runner::new(RandomScheduler::new_from_seed(seed, runs), config).run(cluster)
        }
        Drawn::Pct => {
            Runner::new(PctScheduler::new_from_seed(seed, DEPTH, runs), config).run(cluster)
        }
    };
    rows.note(|row| {
        row.seconds = clock.now().since(begin).as_secs_f64();
        let reached: Vec<String> = row
            .goals
            .iter()
            .map(|(what, &times)| format!("{what}: {}", thousands(times)))
            .collect();
        let _ = writeln!(
            out,
            "  {} in {:.1} s hold; {}",
            many(row.searched.count(), "schedule"),
            row.seconds,
            reached.join(", ")
        );
        row.reached_all();
    });
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
