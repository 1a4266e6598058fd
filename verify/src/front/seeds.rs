//! The lab suite with a range of seeds.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use biglock::Clock;
use biglock_verify::lab::seeds::run_seeds;
use biglock_verify::lab::{ALL, Test};
use biglock_verify::options::Options;
use biglock_verify::report::{ModelRow, Searched, many};

/// `1-25`, or `7`.
pub fn range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if from <= to => Ok(from..=to),
        (Ok(_), Ok(_)) => Err("the first seed is the lower one: write e.g. 1-25".into()),
        _ => Err("write the first seed and the last, e.g. 1-25".into()),
    }
}

/// Runs every test that is wanted with each of the seeds, and stops at the first that fails.
pub fn run(options: &Options, seeds: RangeInclusive<u64>) -> Result<bool, String> {
    let tests: Vec<&Test> = ALL.iter().filter(|test| options.want(test.name)).collect();
    if tests.is_empty() {
        let all: Vec<&str> = ALL.iter().map(|test| test.name).collect();
        let why = options.nothing(&all);
        return Err(format!(
            "no test of the lab suite{why} `cargo verify --seeds 1 --list` lists them."
        ));
    }
    if options.list {
        tests.iter().for_each(|test| println!("{}", test.name));
        return Ok(true);
    }
    let clock = Clock::monotonic();
    let begin = clock.now();
    let passed = AtomicU64::new(0);
    let ended = || {
        passed.fetch_add(1, Ordering::Relaxed);
    };
    let ran = run_seeds(&tests, seeds.clone(), options.at_once(), || true, ended);
    let (from, to) = (seeds.start(), seeds.end());
    let (name, property) = match &options.filter {
        None => (
            format!("seeds-{from}-{to}"),
            "the lab suite holds, with each of these seeds",
        ),
        Some(filter) => (
            format!("seeds-{from}-{to} {filter}"),
            "these tests of the lab suite hold, with each of these seeds",
        ),
    };
    let mut row = ModelRow {
        bounds: [("from".into(), *from), ("to".into(), *to)].into(),
        searched: Searched::Executions {
            executions: passed.into_inner(),
        },
        seconds: clock.now().since(begin).as_secs_f64(),
        ..ModelRow::new(
            &name,
            "simulation",
            property,
            many(tests.len() as u64, "test"),
        )
    };
    if let Err(failed) = &ran {
        row.fail(failed.to_string());
    }
    options.write_json(&[&row])?;
    let runs = many(row.searched.count(), "run");
    match &row.failure {
        Some(failure) => println!("{}\nFAILED, after {runs} that passed", failure.message),
        None => println!(
            "{} with the seeds {from} to {to}: {runs} passed in {:.1} s. A sample, and no proof.",
            row.sizes, row.seconds
        ),
    }
    Ok(row.passed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_or_one_alone() {
        assert_eq!(range("1-25"), Ok(1..=25));
        assert_eq!(range("7"), Ok(7..=7));
        for wrong in ["", "-", "1-", "-3", "a", "9-8"] {
            range(wrong).unwrap_err();
        }
    }
}
