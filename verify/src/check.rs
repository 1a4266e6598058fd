//! Checks of a program of your own, around a [`Node`](biglock::Node): every interleaving of its threads, by the same harness that checks Biglock.
//!
//! "Check your own code" in `verify/README.md` tells it step by step, and `verify/examples/service` is a crate to start from. In short:
//!
//! - a [`Check`] is a name, a sentence, how many threads, and a plain function over a [`Stage`];
//! - the function makes a [leader](Stage::leader) and [monitors](Stage::monitor), builds the program on them as it is, and gives it
//!   [threads](Stage::thread), [laws](Stage::law) and a [last check](Stage::finally);
//! - [`main`] runs them all, as `cargo verify` does, each in a process of its own.
//!
//! What holds in every execution of every check, without being asked for: no thread is left waiting, the invariants of the node and of every
//! [`Guarded`](biglock::lock::Guarded) value hold, the state machine gets what is committed, once and in order, and each step of the node is one that
//! the specification of Raft allows.
//!
//! **What is explored** is who gets a lock when: of the node, of each monitor, and of each caller's cell. **What is not**: std's locks, atomics and
//! channels (loom does not see them, so nothing comes between two of their uses; a thread that waits for one of them waits for ever), threads that the
//! program spawns itself, more than four threads, real time, disks, networks, and other nodes than the one that leads.

mod stage;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::{fs, io};

use clap::Parser;

pub use self::stage::{Setup, Stage};
use crate::harness::{GATED, Model};
use crate::here;
use crate::jobs::{Ended, Run};
use crate::options::Options;
use crate::output::try_to_write;
use crate::page::Scope;
use crate::report::{Golden, ModelRow, many, model_table, that_hold};
use crate::rows::{self, print_pictures, row_of_model, run_all};

/// One check: what runs, what must be reached, and what must hold.
pub struct Check {
    model: Model,
    body: fn(&Stage),
    finds: Option<&'static str>,
}

/// The check that runs in this process.
static CHOSEN: OnceLock<&'static Check> = OnceLock::new();

impl Check {
    /// A check of this name, which `shows` this and has so many threads (those of the node included that take part; from 1 to 4).
    ///
    /// No other check has the name, and it can be that of a file: letters, digits, `-` and `_`.
    pub const fn new(
        name: &'static str,
        shows: &'static str,
        threads: usize,
        body: fn(&Stage),
    ) -> Check {
        Check {
            model: Model {
                name,
                property: shows,
                threads,
                body: |world| {
                    let check = CHOSEN.get().expect("chosen before it runs");
                    Stage::set(world.clone(), check.body);
                },
                ..GATED
            },
            body,
            finds: None,
        }
    }

    /// What at least one execution must reach: a check whose waiter never waited shows nothing.
    pub const fn reaches(mut self, goals: &'static [&'static str]) -> Check {
        self.model.goals = goals;
        self
    }

    /// It is broken on purpose: it passes if this is found, as a part of the message with which it fails.
    pub const fn finds(mut self, says: &'static str) -> Check {
        self.finds = Some(says);
        self
    }
}

/// Checks every interleaving, without a bound.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Run one in this process. For this program's own use.
    #[arg(long, hide = true, value_name = "CHECK")]
    child: Option<String>,
    /// For this program's own use.
    #[arg(long, hide = true, value_name = "N", default_value_t = 1)]
    threads: usize,
}

/// Runs the checks that the arguments ask for, and prints a table of them; before it, the picture of the first execution of each that broke
/// something. `golden` is the file that keeps how many executions each has: one that shrinks unnoticed fails.
///
/// The exit status is 0 if all were exhausted, reached their goals and hold (or, if broken on purpose, were found), 1 if not, and 2 if it was not called
/// as it should be.
pub fn main(checks: &'static [Check], golden: &str) -> ExitCode {
    let args = Args::parse();
    if let Some(name) = &args.child {
        return child(checks, name);
    }
    let ran = are_usable(checks).and_then(|()| run(checks, Path::new(golden), &args.options));
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("{wrong}");
            ExitCode::from(2)
        }
    }
}

/// Whether each can be run, and told from the others: by its name its process finds it, its count is kept, and its picture is a file.
fn are_usable(checks: &[Check]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for Check { model, .. } in checks {
        let (name, threads) = (model.name, model.threads);
        let usable = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.starts_with('-') || !name.chars().all(usable) {
            return Err(format!(
                "a check can't be called {name:?}: write letters, digits, - and _, with no - in front"
            ));
        }
        if !names.insert(name) {
            return Err(format!(
                "two checks are called {name}: give each a name of its own"
            ));
        }
        if !(1..loom::MAX_THREADS).contains(&threads) {
            let most = loom::MAX_THREADS - 1;
            return Err(format!(
                "{name} can't have {threads} threads: write how many run, those of the node included, from 1 to {most}"
            ));
        }
    }
    Ok(())
}

fn child(checks: &'static [Check], name: &str) -> ExitCode {
    let Some(check) = checks.iter().find(|check| check.model.name == name) else {
        eprintln!("there is no check {name}");
        return ExitCode::from(2);
    };
    let chosen = CHOSEN.get_or_init(|| check);
    here::run(&chosen.model, None);
    ExitCode::SUCCESS
}

fn run(checks: &'static [Check], golden: &Path, options: &Options) -> Result<bool, String> {
    let wanted = |check: &&Check| options.want(check.model.name);
    let chosen: Vec<&'static Check> = checks.iter().filter(wanted).collect();
    let names: Vec<&str> = chosen.iter().map(|check| check.model.name).collect();
    if names.is_empty() {
        let all: Vec<&str> = checks.iter().map(|check| check.model.name).collect();
        let why = options.nothing(&all);
        return Err(format!("no check{why} --list lists them."));
    }
    if options.list {
        for Check { model, .. } in chosen {
            println!("{:32} {}", model.name, model.property);
        }
        return Ok(true);
    }
    if let Some(path) = &options.json {
        try_to_write(path)?;
    }
    if options.bless {
        try_to_write(golden)?;
    }
    let command = command();
    let report = options.begin_report(&command)?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let at_once = options.at_once();
    let run = |at: usize, progress: &dyn Fn(u64)| {
        let ended = Run::of(&program, names[at]).start(progress);
        row_of(chosen[at], ended)
    };
    let mut rows = run_all(&names, at_once, "executions", |_| 0, run);
    let compared = compare(&mut rows, golden, options);
    print(&rows, options.show);
    let gone = compared?;
    options.write_json(&rows)?;
    if let Some(report) = &report {
        let scope = Scope {
            command,
            filter: options.filter.clone(),
            exact: options.exact,
            others: checks.len() - rows.len(),
            gone: gone.clone(),
            golden: golden.display().to_string(),
            ..Scope::default()
        };
        report.models(&rows, &scope)?;
        println!("The report: {}", report.page().display());
    }
    if !gone.is_empty() {
        let (golden, gone) = (golden.display(), gone.join(", "));
        return Err(format!(
            "counts are kept of checks that are gone ({golden}): {gone}; `--bless` drops them"
        ));
    }
    Ok(rows.iter().all(ModelRow::passed))
}

fn row_of(check: &Check, ended: io::Result<Ended>) -> ModelRow {
    let mut row = rows::row_of(row_of_model("threads", &check.model), ended);
    if let Some(says) = check.finds {
        row.expect(says);
    }
    row
}

/// Compares the counts with those that are kept, or keeps them. Returns the checks that are gone and of which counts are kept, if all were run.
fn compare(rows: &mut [ModelRow], golden: &Path, options: &Options) -> Result<Vec<String>, String> {
    let mut kept = Golden::parse(&fs::read_to_string(golden).unwrap_or_default());
    if options.bless {
        kept.bless(rows, |_| options.filter.is_some());
        fs::write(golden, kept.print()).map_err(|e| format!("{}: {e}", golden.display()))?;
    }
    kept.compare(rows);
    let gone = match options.filter {
        None => kept.missing(rows),
        Some(_) => Vec::new(),
    };
    Ok(gone.into_iter().map(String::from).collect())
}

fn print(rows: &[ModelRow], show: bool) {
    print_pictures(rows, show);
    println!("{}", model_table(rows));
    let (broken, whole): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.found.is_some());
    if !whole.is_empty() {
        let holds = whole.iter().filter(|row| row.passed()).count();
        let executions = whole.iter().map(|row| row.searched.count()).sum();
        println!(
            "{holds} of {} in every interleaving: {}, no bound.",
            that_hold(whole.len(), "check"),
            many(executions, "execution")
        );
    }
    if !broken.is_empty() {
        let times = many(broken.len() as u64, "time");
        println!("What is broken on purpose was found, {times}.");
    }
}

/// What was typed, but for where the program is.
fn command() -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.is_empty() {
        true => "the checks".into(),
        false => format!("the checks, {}", words.join(" ")),
    }
}
