//! The front door: arguments, what is run, what is printed, and the exit status.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use biglock_verify::catalogue::{self, Bug};
use biglock_verify::harness::{self, Model};
use biglock_verify::jobs::{self, Ended, Said};
use biglock_verify::plant::Nursery;
use biglock_verify::report::{
    BugRow, Failure, Golden, ModelRow, bug_table, model_table, thousands,
};
use biglock_verify::spec::trace;
use biglock_verify::{diagram, models};
use clap::Parser;

/// Checks Biglock's shipped source: every interleaving of each model's threads, without a bound.
#[derive(Debug, Parser)]
#[command(name = "cargo verify", bin_name = "cargo verify")]
struct Args {
    /// Only models, or bugs, whose name contains this.
    filter: Option<String>,
    /// List the models, or with --bugs the bugs, and run none.
    #[arg(long)]
    list: bool,
    /// Plant each known bug in a copy of the source, and fail if one is not found.
    #[arg(long)]
    bugs: bool,
    /// Write an array with a row for each model or bug to this file.
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// Keep the counts of this run, or with --bugs the pictures, as the ones to compare with.
    #[arg(long)]
    bless: bool,
    /// With --bugs: run the other checks as well that a page says find its bug.
    #[arg(long, requires = "bugs", conflicts_with = "bless")]
    also: bool,
    /// Print the picture of each bug.
    #[arg(long)]
    show: bool,
    /// How many run at a time. Default: the number of cores.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Check the traces of a real cluster instead: the files that its nodes wrote with `biglock node --trace FILE`, all of them.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    trace: Vec<PathBuf>,
    /// Run one model in this process. For this program's own use.
    #[arg(long, hide = true, value_name = "MODEL")]
    child: Option<String>,
}

pub fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(name) = &args.child {
        return child(name);
    }
    let result = if !args.trace.is_empty() {
        check_traces(&args.trace)
    } else if args.bugs {
        run_bugs(&args)
    } else {
        run_models(&args)
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("cargo verify: {wrong}");
            ExitCode::from(2)
        }
    }
}

fn check_traces(files: &[PathBuf]) -> Result<bool, String> {
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        return Err(format!("there is no file {}", missing.display()));
    }
    let result = trace::check_files(files);
    match &result {
        Ok(summary) => println!("{summary}"),
        Err(why) => println!("{why}"),
    }
    Ok(result.is_ok())
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn golden() -> PathBuf {
    root().join("verify/models.golden")
}

fn run_models(args: &Args) -> Result<bool, String> {
    let wanted = |name: &str| args.filter.as_ref().is_none_or(|part| name.contains(part));
    let chosen: Vec<&'static Model> = models::all().filter(|model| wanted(model.name)).collect();
    if chosen.is_empty() {
        return Err("no model has such a name: `cargo verify --list` lists them".into());
    }
    if args.list {
        for model in chosen {
            println!("{:32} {}", model.name, model.property);
        }
        return Ok(true);
    }
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let names: Vec<&str> = chosen.iter().map(|model| model.name).collect();
    let job = |_, at: usize, progress: &dyn Fn(u64)| {
        row_of(chosen[at], jobs::run_model(&program, names[at], progress))
    };
    let finished = |row: &ModelRow| {
        let verdict = if row.passed() { "exhausted" } else { "FAILED" };
        let count = thousands(row.executions);
        format!(
            "{:32} {count:>12} executions, {verdict}, {:.1} s",
            row.name, row.seconds
        )
    };
    let at_once = args.jobs.unwrap_or_else(jobs::cores);
    let mut rows = jobs::spread(&names, at_once, "executions", job, finished);
    let text = fs::read_to_string(golden()).unwrap_or_default();
    let mut kept = Golden::parse(&text);
    if args.bless {
        kept.bless(&rows, args.filter.is_none());
        fs::write(golden(), kept.print()).map_err(|e| format!("{}: {e}", golden().display()))?;
    }
    kept.compare(&mut rows);
    for row in &rows {
        if let Some(Failure { message, diagram }) = &row.failure {
            println!("\n{}: {}", row.name, message.trim());
            println!("{}", diagram.as_deref().unwrap_or_default());
        }
    }
    println!("{}", model_table(&rows));
    let passed = rows.iter().filter(|row| row.passed()).count();
    let executions = rows.iter().map(|row| row.executions).sum();
    println!(
        "{passed} of {} models hold in every interleaving: {} executions, no bound.",
        rows.len(),
        thousands(executions)
    );
    write_json(args, &rows)?;
    if args.filter.is_none() && !kept.missing(&rows).is_empty() {
        let missing = kept.missing(&rows).join(", ");
        return Err(format!(
            "verify/models.golden keeps counts of models that are gone: {missing}"
        ));
    }
    Ok(passed == rows.len())
}

fn row_of(model: &Model, ended: std::io::Result<Ended>) -> ModelRow {
    let mut row = ModelRow {
        name: model.name.into(),
        level: "threads".into(),
        property: model.property.into(),
        threads: model.threads,
        executions: 0,
        exhausted: false,
        goals: BTreeMap::new(),
        seconds: 0.0,
        failure: None,
    };
    match ended {
        Err(e) => row.fail(format!("its process can't be started: {e}")),
        Ok(ended) => {
            row.seconds = ended.took.as_secs_f64();
            match ended.said {
                Some(Said::Found {
                    executions,
                    exhausted,
                    goals,
                }) => {
                    row.executions = executions;
                    row.exhausted = exhausted;
                    row.goals = goals;
                }
                Some(Said::Broke {
                    executions,
                    message,
                    diagram,
                }) => {
                    row.executions = executions;
                    row.failure = Some(Failure {
                        message: format!("execution {executions}: {message}"),
                        diagram: Some(diagram),
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

fn run_bugs(args: &Args) -> Result<bool, String> {
    let wanted = |bug: &Bug| {
        let name = format!("{}: {}", bug.id, bug.title).to_lowercase();
        let part = |part: &String| bug.id == *part || name.contains(&part.to_lowercase());
        args.filter.as_ref().is_none_or(part)
    };
    let mut bugs = catalogue::read(root())?;
    bugs.retain(wanted);
    if bugs.is_empty() {
        return Err("no bug has such a name: `cargo verify --bugs --list` lists them".into());
    }
    if args.list {
        for bug in bugs {
            println!("{:4} {:64} {}", bug.id, bug.title, bug.check);
        }
        return Ok(true);
    }
    if args.also {
        let all = bugs.into_iter();
        let all = all.flat_map(|bug| bug.by_others().chain([bug.clone()]).collect::<Vec<_>>());
        bugs = all.collect();
    }
    let at_once = args.jobs.unwrap_or_else(jobs::cores).min(bugs.len());
    let nurseries: Vec<Nursery> = (0..at_once)
        .map(|slot| Nursery::new(root(), slot))
        .collect::<Result<_, _>>()
        .map_err(|e| format!("the copies of the source: {e}"))?;
    let titles: Vec<String> = bugs
        .iter()
        .map(|bug| {
            format!("{} {}", bug.id, bug.title)
                .chars()
                .take(32)
                .collect()
        })
        .collect();
    let names: Vec<&str> = titles.iter().map(String::as_str).collect();
    let job =
        |slot: usize, at: usize, progress: &dyn Fn(u64)| nurseries[slot].grow(&bugs[at], progress);
    let finished = |row: &BugRow| {
        let found = if row.found { "found" } else { "MISSED" };
        let by = row.message.lines().next().unwrap_or_default();
        format!("{:4} {found:6} {:6.1} s  {by}", row.name, row.seconds)
    };
    let rows = jobs::spread(&names, at_once, "executions", job, finished);
    for (bug, row) in bugs.iter().zip(&rows) {
        if !row.found {
            println!("\n{} was not found: {}", bug.id, row.message.trim());
        }
        if let Some(picture) = &row.diagram {
            if args.show || !row.found {
                println!("\n{}: {}\n\n{picture}", bug.id, bug.title);
            }
            if args.bless && row.found {
                bug.bless(picture)
                    .map_err(|e| format!("{}: {e}", bug.page.display()))?;
            }
        }
    }
    println!("{}", bug_table(&rows));
    let found = rows.iter().filter(|row| row.found).count();
    println!("{found} of {} planted bugs were found.", rows.len());
    write_json(args, &rows)?;
    Ok(found == rows.len())
}

fn write_json<T: serde::Serialize>(args: &Args, rows: &[T]) -> Result<(), String> {
    let Some(path) = &args.json else {
        return Ok(());
    };
    let text = serde_json::to_string_pretty(rows).map_err(|e| e.to_string())?;
    fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))
}

/// Runs one model here and says how it goes, a line of JSON each.
fn child(name: &str) -> ExitCode {
    let Some(model) = models::all().find(|model| model.name == name) else {
        eprintln!("there is no model {name}");
        return ExitCode::from(2);
    };
    // Set once: loom's coroutines wrap it in one of their own, which hides how they end a thread.
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("a panic");
        // Loom's own words for it are about its threads' numbers, and its own place in the source says nothing.
        let message = match message.starts_with("deadlock") {
            true => "deadlock: whoever is left waits, and nobody can end it",
            false => message,
        };
        let place = info
            .location()
            .filter(|at| at.file().starts_with("verify/") || at.file().starts_with("core/"));
        let place = place
            .map(|at| format!(" ({}:{})", at.file(), at.line()))
            .unwrap_or_default();
        broke(format!("{message}{place}"));
    }));
    let found = harness::check(model, |executions| say(&Said::Progress(executions)));
    say(&Said::Found {
        executions: found.executions,
        exhausted: found.exhausted,
        goals: found
            .goals
            .into_iter()
            .map(|(goal, n)| (goal.into(), n))
            .collect(),
    });
    ExitCode::SUCCESS
}

/// An execution broke something: says so at once, and goes no further, because what unwinds now would run into locks that nobody leaves.
fn broke(message: String) {
    // On a thread of its own: a coroutine's stack is too small to draw on.
    let drawing = std::thread::Builder::new().spawn(move || {
        let (executions, events) = harness::current().unwrap_or_default();
        let diagram = diagram::draw(&events, &message);
        say(&Said::Broke {
            executions,
            message,
            diagram,
        });
    });
    if let Ok(thread) = drawing {
        let _ = thread.join();
    }
    std::process::abort();
}

fn say(said: &Said) {
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
