//! Runs the lab suite with fresh seeds, over all cores, for as long as it is told; stops at the first failure and says how to see it again.
//!
//! ```text
//! cargo run --release -p biglock-verify --example soak -- --minutes 60
//! cargo run --release -p biglock-verify --example soak -- --seeds 1000 figure_8
//! ```

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use biglock_verify::lab::{ALL, Test, tell_seed};
use clap::Parser;

/// Runs the lab suite with fresh seeds, over all cores.
#[derive(Parser)]
struct Options {
    /// For how many minutes.
    #[arg(long, default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
    /// Stops after this many seeds of each test, if the time is not up before.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed; a fresh one unless it is named.
    #[arg(long)]
    from: Option<u64>,
    /// Only tests with this in their names.
    #[arg(default_value = "")]
    filter: String,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if f64::is_normal(minutes) && minutes > 0.0 => Ok(minutes),
        _ => Err("write a number of minutes above 0, e.g. 0.5".into()),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "it runs for a time of the machine, and says how long"
)]
fn main() -> ExitCode {
    let options = Options::parse();
    let tests: Vec<&Test> = ALL
        .iter()
        .filter(|test| test.name.contains(&options.filter))
        .collect();
    if tests.is_empty() {
        eprintln!("no test has {:?} in its name", options.filter);
        return ExitCode::FAILURE;
    }
    // Short enough to be typed again.
    let from = options.from.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{} tests, {cores} cores, {} minutes, seeds from {from}",
        tests.len(),
        options.minutes
    );

    let start = Instant::now();
    let minutes = Duration::from_secs_f64(options.minutes * 60.0);
    let (next, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    let failed = AtomicBool::new(false);
    let last = options
        .seeds
        .map_or(u64::MAX, |seeds| seeds.saturating_mul(tests.len() as u64));
    // Seed by seed, all tests of each.
    let work = || {
        while !failed.load(Ordering::Relaxed) && start.elapsed() < minutes {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= last {
                return;
            }
            let many = tests.len() as u64;
            let test = tests[usize::try_from(number % many).unwrap_or(0)];
            let seed = from.wrapping_add(number / many);
            if catch_unwind(|| (test.run)(seed)).is_err() {
                if !failed.swap(true, Ordering::Relaxed) {
                    tell_seed(test.name, seed);
                }
                return;
            }
            ended.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let (done, over) = channel::<()>();
        for _ in 0..cores {
            let done = done.clone();
            scope.spawn(move || {
                work();
                drop(done);
            });
        }
        drop(done);
        while over.recv_timeout(Duration::from_secs(10)) == Err(RecvTimeoutError::Timeout) {
            let runs = ended.load(Ordering::Relaxed);
            let seconds = start.elapsed().as_secs();
            println!(
                "{seconds:6} s: {runs} runs, {} seeds of each",
                runs / tests.len() as u64
            );
        }
    });
    let runs = ended.into_inner();
    if failed.into_inner() {
        println!("FAILED after {runs} runs");
        return ExitCode::FAILURE;
    }
    println!("{runs} runs passed in {:?}", start.elapsed());
    ExitCode::SUCCESS
}
