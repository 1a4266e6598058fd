//! From what a process said at its end to its row.

use crate::harness::Model;
use crate::jobs::{self, Ended, Said};
use crate::report::{Failure, ModelRow, Searched, many, thousands};

/// Whether it is a row of a model of threads, and not of an exploration.
pub fn is_of_threads(row: &ModelRow) -> bool {
    matches!(row.searched, Searched::Executions { .. })
}

/// Runs them, `at_once` at a time and the largest by `size` first, and shows how it goes; `run` makes the row of one of them.
pub fn run_all(
    names: &[&str],
    at_once: usize,
    unit: &str,
    size: impl Fn(usize) -> u64,
    run: impl Fn(usize, &dyn Fn(u64)) -> ModelRow + Sync,
) -> Vec<ModelRow> {
    let job = |_, at: usize, progress: &dyn Fn(u64)| run(at, progress);
    let finished = |row: &ModelRow| {
        let verdict = match (row.passed(), &row.found) {
            (false, _) => "FAILED",
            (true, Some(_)) => "found",
            (true, None) => "exhausted",
        };
        let (count, unit) = (thousands(row.searched.count()), row.searched.unit());
        format!(
            "{:32} {count:>12} {unit}, {verdict}, {:.1} s",
            row.name, row.seconds
        )
    };
    if names.is_empty() {
        return Vec::new();
    }
    jobs::spread(names, at_once, unit, size, job, finished)
}

/// The row of a model that has not run yet.
pub fn row_of_model(level: &str, model: &Model) -> ModelRow {
    let sizes = many(model.threads as u64, "thread");
    ModelRow::new(model.name, level, model.property, sizes)
}

/// The row, once the process has ended that fills it.
pub fn row_of(mut row: ModelRow, ended: std::io::Result<Ended>) -> ModelRow {
    match ended {
        Err(e) => row.fail(format!("its process can't be started: {e}")),
        Ok(ended) => {
            row.seconds = ended.took.as_secs_f64();
            match ended.said {
                Some(Said::Found {
                    executions,
                    depth,
                    exhausted,
                    goals,
                }) => {
                    row.searched = Searched::of(executions, depth);
                    row.exhausted = exhausted;
                    row.goals = goals;
                }
                Some(Said::Broke {
                    executions,
                    depth,
                    goals,
                    message,
                    diagram,
                }) => {
                    row.searched = Searched::of(executions, depth);
                    row.goals = goals;
                    row.failure = Some(Failure {
                        message: match depth {
                            Some(_) => format!("after {executions} states: {message}"),
                            None => format!("execution {executions}: {message}"),
                        },
                        diagram: Some(diagram.text()),
                        drawing: Some(diagram),
                    });
                }
                _ => row.fail(format!(
                    "its process ended without a word:\n{}",
                    ended.stderr
                )),
            }
        }
    }
    row.judge();
    row
}

/// Prints what broke, with its picture; and what was found where it had to be, if that is to be shown.
pub fn print_pictures(rows: &[ModelRow], show: bool) {
    for row in rows {
        let shown = row.failure.as_ref().or(row.found.as_ref().filter(|_| show));
        if let Some(failure) = shown {
            println!("\n{}: {}", row.name, failure.message.trim());
            println!("{}", failure.diagram.as_deref().unwrap_or_default());
        }
    }
}
