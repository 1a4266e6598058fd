//! Models as processes: each in its own, so that a failure can stop at the moment it happens; several at a time; with progress.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::diagram::Diagram;
use crate::report::thousands;
use crate::tries::Tries;

/// What a process that runs one model says, a line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// So many executions so far.
    Progress(u64),
    /// The search ended.
    Found {
        /// After so many executions, or states.
        executions: u64,
        /// How many steps away the farthest state was, where states are searched.
        depth: Option<u64>,
        /// Whether they were all.
        exhausted: bool,
        /// How often each goal was reached.
        goals: BTreeMap<String, u64>,
    },
    /// An execution, or a step, broke something.
    Broke {
        /// Which execution, or how many states there were.
        executions: u64,
        /// How many steps away the farthest state was from which it went on, where states are searched.
        depth: Option<u64>,
        /// How often each goal was reached until then.
        goals: BTreeMap<String, u64>,
        /// What it broke.
        message: String,
        /// Its picture.
        diagram: Diagram,
    },
    /// Tries were made.
    Tried(Tries),
}

/// How long a job took, and how it ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The last that it said, if it was an end.
    pub said: Option<Said>,
    /// What it printed on standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

/// How many jobs run at a time unless told otherwise: one for each core.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// One model, exploration or simulated test, to be run in a process of its own.
#[derive(Clone, Debug)]
pub struct Run {
    program: PathBuf,
    args: Vec<String>,
}

impl Run {
    /// What has this name. `program` is this program, perhaps built with a bug planted in it.
    pub fn of(program: &Path, name: &str) -> Run {
        Run {
            program: program.into(),
            args: vec!["--child".into(), name.into()],
        }
    }

    fn with(mut self, args: &[&str]) -> Run {
        self.args.extend(args.iter().map(|arg| arg.to_string()));
        self
    }

    /// With so many threads, beside those of the model.
    pub fn threads(self, many: usize) -> Run {
        self.with(&["--threads", &many.to_string()])
    }

    /// Without checking each step against the specification, if it is not to be `refined`.
    pub fn refined(self, refined: bool) -> Run {
        match refined {
            true => self,
            false => self.with(&["--unrefined"]),
        }
    }

    /// With new stacks for each execution, instead of those of the last, if they are to be `fresh`.
    pub fn fresh_stacks(self, fresh: bool) -> Run {
        match fresh {
            true => self.with(&["--fresh-stacks"]),
            false => self,
        }
    }

    /// With at most so many preemptions in an execution: no search, but what is left of one.
    pub fn preemptions(self, most: usize) -> Run {
        self.with(&["--preemptions", &most.to_string()])
    }

    /// Instead of searching, makes the tries of these numbers, and counts those that break; and of them, those that do not say this.
    pub fn tries(self, numbers: Range<u64>, says: &str) -> Run {
        let (from, to) = (numbers.start.to_string(), numbers.end.to_string());
        self.with(&["--from", &from, "--tries", &to, "--says", says])
    }

    /// Runs it.
    ///
    /// No variable of loom's reaches it: a bound that somebody set for another program shrinks nothing here.
    ///
    /// # Errors
    /// If the process can't be started.
    pub fn start(&self, progress: impl Fn(u64)) -> std::io::Result<Ended> {
        start(&self.program, &self.args, progress)
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long a search took is measured here"
)]
fn start(program: &Path, args: &[String], progress: impl Fn(u64)) -> std::io::Result<Ended> {
    let start = Instant::now();
    let mut command = Command::new(program);
    command.args(args);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LOOM_") {
            command.env_remove(name);
        }
    }
    let mut child = command.spawn()?;
    let stderr = child.stderr.take().map(|pipe| {
        thread::Builder::new()
            .name("stderr".into())
            .spawn(move || std::io::read_to_string(pipe).unwrap_or_default())
    });
    let mut end = None;
    let lines = child.stdout.take().map(|pipe| BufReader::new(pipe).lines());
    for line in lines.into_iter().flatten().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Said::Progress(executions)) => progress(executions),
            Ok(said) => {
                end = Some(said);
                break;
            }
            Err(_) => {}
        }
    }
    // What was broken stays broken: it need not be waited for.
    if matches!(end, Some(Said::Broke { .. })) {
        let _ = child.kill();
    }
    child.wait()?;
    let stderr = stderr
        .and_then(Result::ok)
        .and_then(|thread| thread.join().ok())
        .unwrap_or_default();
    Ok(Ended {
        said: end,
        stderr,
        took: start.elapsed(),
    })
}

/// Runs `job` for each of `names`, `at_once` at a time, those of the largest `size` first, and shows how it goes. `job` hears which of the slots
/// it has, and says with its last argument how far it is. The results come in the order of `names`.
pub fn spread<R: Send>(
    names: &[&str],
    at_once: usize,
    unit: &str,
    size: impl Fn(usize) -> u64,
    job: impl Fn(usize, usize, &dyn Fn(u64)) -> R + Sync,
    finished: impl Fn(&R) -> String + Sync,
) -> Vec<R> {
    let screen = Screen::new(names.len(), unit);
    let (jobs, waiting): (Sender<usize>, Receiver<usize>) = unbounded();
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(size(at)));
    for at in order {
        // The channel lives as long as this function.
        let _ = jobs.send(at);
    }
    drop(jobs);
    let (results, done) = unbounded();
    thread::scope(|scope| {
        for slot in 0..at_once.clamp(1, names.len().max(1)) {
            let (waiting, results) = (waiting.clone(), results.clone());
            let (screen, job, finished) = (&screen, &job, &finished);
            scope.spawn(move || {
                for at in waiting {
                    let line = screen.begin(names[at]);
                    let result = job(slot, at, &|count| screen.progress(&line, count));
                    screen.end(&line, &finished(&result));
                    let _ = results.send((at, result));
                }
            });
        }
    });
    drop(results);
    let mut results: Vec<(usize, R)> = done.iter().collect();
    results.sort_by_key(|&(at, _)| at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A line for each job that runs; without a terminal, a line for each that has ended.
struct Screen {
    lines: MultiProgress,
    total: ProgressBar,
    unit: String,
    live: bool,
}

impl Screen {
    fn new(jobs: usize, unit: &str) -> Screen {
        let lines = MultiProgress::new();
        let total = lines.add(ProgressBar::new(jobs as u64));
        total.set_style(style("{bar:30} {pos}/{len}  {elapsed}"));
        total.enable_steady_tick(Duration::from_millis(200));
        Screen {
            lines,
            total,
            unit: unit.into(),
            live: std::io::stderr().is_terminal(),
        }
    }

    fn begin(&self, name: &str) -> ProgressBar {
        let line = self
            .lines
            .insert_before(&self.total, ProgressBar::new_spinner());
        line.set_style(style("{spinner} {prefix:32} {msg}  {elapsed}"));
        line.set_prefix(name.to_string());
        line.enable_steady_tick(Duration::from_millis(200));
        line
    }

    fn progress(&self, line: &ProgressBar, count: u64) {
        line.set_position(count);
        let rate = thousands(line.per_sec() as u64);
        line.set_message(format!("{} {}, {rate}/s", thousands(count), self.unit));
    }

    fn end(&self, line: &ProgressBar, text: &str) {
        line.finish_and_clear();
        self.lines.remove(line);
        self.total.inc(1);
        if self.live {
            let _ = self.lines.println(text);
        } else {
            eprintln!(
                "[{}/{}] {text}",
                self.total.position(),
                self.total.length().unwrap_or(0)
            );
        }
        if Some(self.total.position()) == self.total.length() {
            self.total.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// What the process says to whoever started it: one line.
pub fn say(said: &Said) {
    let mut out = std::io::stdout().lock();
    let line = match serde_json::to_string(said) {
        Ok(line) => line,
        Err(e) => format!("{e}"),
    };
    // If nobody listens any more, nothing is left to be done.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() && !out.is_terminal() {
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_begin_and_the_results_keep_their_order() {
        let begun = std::sync::Mutex::new(Vec::new());
        let job = |_, at: usize, _: &dyn Fn(u64)| {
            begun.lock().unwrap().push(at);
            at
        };
        let sizes = [5, 9, 1, 9];
        let names = ["a", "b", "c", "d"];
        let results = spread(&names, 1, "steps", |at| sizes[at], job, |_| String::new());
        assert_eq!(results, [0, 1, 2, 3]);
        assert_eq!(*begun.lock().unwrap(), [1, 3, 0, 2]);
    }
}
