//! Runs the lab suite with fresh seeds, over all cores, for as long as it is told; stops at the first failure and says how to see it again.
//!
//! ```text
//! cargo run --release -p biglock-verify --example soak -- --minutes 60
//! cargo run --release -p biglock-verify --example soak -- --seeds 1000 figure_8
//! ```

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use biglock_verify::lab::seeds::run_seeds;
use biglock_verify::lab::{ALL, Test};
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
    let ended = AtomicU64::new(0);
    let last = options
        .seeds
        .map_or(u64::MAX, |seeds| from.saturating_add(seeds - 1));
    let ran = thread::scope(|scope| {
        let (done, over) = channel::<()>();
        let (tests, ended) = (&tests, &ended);
        let soak = scope.spawn(move || {
            let goes_on = || start.elapsed() < minutes;
            let passed = || {
                ended.fetch_add(1, Ordering::Relaxed);
            };
            let ran = run_seeds(tests, from..=last, cores, goes_on, passed);
            drop(done);
            ran
        });
        while over.recv_timeout(Duration::from_secs(10)) == Err(RecvTimeoutError::Timeout) {
            let runs = ended.load(Ordering::Relaxed);
            let seconds = start.elapsed().as_secs();
            println!(
                "{seconds:6} s: {runs} runs, {} seeds of each",
                runs / tests.len() as u64
            );
        }
        soak.join().expect("it says what failed, and does not")
    });
    let runs = ended.into_inner();
    if ran.is_err() {
        println!("FAILED after {runs} runs");
        return ExitCode::FAILURE;
    }
    println!("{runs} runs passed in {:?}", start.elapsed());
    ExitCode::SUCCESS
}
