//! The checkers are checked: loom, by a brute force of our own.
//!
//! Every model relies on loom to try every interleaving of what runs on the facade (`core/src/lock/sync.rs`). So random tiny programs are run by both:
//! under loom, through that very facade, and by [`brute`], which knows nothing of loom and leaves nothing out. They must reach the same ends (what the
//! mutexes guard, what each thread saw, who waits for ever), and loom must report a deadlock exactly where there is one.
//!
//! | module | what it has |
//! |---|---|
//! | [`program`] | programs: their steps, how they are drawn, how they are made smaller |
//! | [`brute`] | every interleaving, one step at a time |
//! | `facade` | the same programs under loom, through the facade |
//!
//! A deadlock ends loom's process, so programs are run in one that is started again. Nothing here knows what is under test: [`Check`] says which bound loom
//! gets and by which rules the brute force goes, and all but one of them are wrong on purpose.

pub mod brute;
#[cfg(biglock_loom)]
pub mod facade;
pub mod program;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};

use self::brute::Rules;
use self::program::Program;
use crate::report::{ModelRow, thousands};

/// How many programs a row has, and of which seed.
pub const PROGRAMS: u64 = 1_000;
/// The seed of every row.
pub const SEED: u64 = 1;

/// A comparison.
#[derive(Debug)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// The sentence that it shows.
    pub property: &'static str,
    /// The most preemptions that loom may try.
    pub bound: Option<usize>,
    /// By which rules the brute force goes.
    pub rules: Rules,
    /// How loom's threads come to the harness's gate, in programs that could be models.
    pub gate: Gate,
    /// What must be said, if something here is broken on purpose.
    pub finds: Option<&'static str>,
}

/// What the gate of the harness does while threads come to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It holds all locks, so that each thread stops at its first.
    Held,
    /// Nothing: some threads run on before exploring begins.
    Open,
}

/// All of them: one that must agree, and those that must not.
pub const CHECKS: &[Check] = &[
    Check {
        name: "checker-agrees",
        property: "loom finds the same ends and the same deadlocks as a brute force, in each of 1,000 random programs",
        bound: None,
        rules: Rules::Right,
        gate: Gate::Held,
        finds: None,
    },
    Check {
        name: "checker-bound-0",
        property: "broken: loom may not preempt, and the comparison sees what it misses",
        bound: Some(0),
        rules: Rules::Right,
        gate: Gate::Held,
        finds: Some("by brute force alone"),
    },
    Check {
        name: "checker-bound-1",
        property: "broken: loom may preempt once, and the comparison sees what it misses",
        bound: Some(1),
        rules: Rules::Right,
        gate: Gate::Held,
        finds: Some("by brute force alone"),
    },
    Check {
        name: "checker-bound-2",
        property: "broken: loom may preempt twice, and the comparison sees what it misses",
        bound: Some(2),
        rules: Rules::Right,
        gate: Gate::Held,
        finds: Some("by brute force alone"),
    },
    Check {
        name: "checker-open-gate",
        property: "broken: threads run on before exploring begins, and the comparison sees what is missed",
        bound: None,
        rules: Rules::Right,
        gate: Gate::Open,
        finds: Some("by brute force alone"),
    },
    Check {
        name: "checker-no-exclusion",
        property: "broken: in the brute force a lock excludes nobody, and the comparison sees it",
        bound: None,
        rules: Rules::NoExclusion,
        gate: Gate::Held,
        finds: Some("under loom alone"),
    },
    Check {
        name: "checker-sleeps-late",
        property: "broken: in the brute force a wake-up can come between unlocking and sleeping, and the comparison sees it",
        bound: None,
        rules: Rules::SleepsLate,
        gate: Gate::Held,
        finds: Some("by brute force alone"),
    },
    Check {
        name: "checker-wakes-one",
        property: "broken: the brute force signals where it should broadcast, and the comparison sees it",
        bound: None,
        rules: Rules::WakesOne,
        gate: Gate::Held,
        finds: Some("by brute force alone"),
    },
    Check {
        name: "checker-wakes-for-nothing",
        property: "broken: the brute force wakes for no reason, which loom never does, and the comparison sees it",
        bound: None,
        rules: Rules::WakesForNothing,
        gate: Gate::Held,
        finds: Some("under loom alone"),
    },
];

/// The argument with which this program runs programs for a [`Check`], a line of JSON each.
pub const WORKER: &str = "--worker";

/// What became of one program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// How many executions loom ran.
    pub executions: u64,
    /// How many interleavings there are.
    pub interleavings: u64,
    /// What it has in it that we want to see.
    pub has: Vec<String>,
    /// How the two differ.
    pub difference: Option<String>,
    /// Whether the process that ran it is lost, because it met a deadlock.
    pub gone: bool,
}

/// What became of all.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// How many executions loom ran.
    pub executions: u64,
    /// How many programs were compared.
    pub programs: u64,
    /// How many interleavings they have.
    pub interleavings: u64,
    /// How many programs have each thing in them that at least one must have.
    pub goals: BTreeMap<&'static str, u64>,
    /// The first difference.
    pub difference: Option<String>,
}

/// What programs must have in them, or they show little.
pub const GOALS: &[&str] = &[
    "a deadlock by the order of locks",
    "a lost wake-up",
    "a deadlock in some executions and none in others",
    "a wait that ends",
    "two who wait on one condvar",
    "several mutexes",
    "several condvars",
    "a broadcast without the lock",
    "a join",
    "a gate",
];

/// Compares these programs of this seed, until one differs. `progress` hears of the executions. Differences are reported in the smallest program that still has one.
///
/// # Errors
/// If the process that runs them can't be started, or says nothing.
pub fn compare(
    check: &'static Check,
    seed: u64,
    programs: Range<u64>,
    program: &Path,
    progress: impl Fn(u64),
) -> Result<Compared, String> {
    let mut worker = Worker::new(check, program);
    let mut compared = Compared {
        goals: GOALS.iter().map(|&goal| (goal, 0)).collect(),
        ..Compared::default()
    };
    for which in programs {
        let drawn = Program::draw(seed, which);
        let verdict = worker.judge(&drawn)?;
        compared.programs += 1;
        compared.executions += verdict.executions;
        compared.interleavings = compared.interleavings.saturating_add(verdict.interleavings);
        for (goal, times) in &mut compared.goals {
            *times += u64::from(verdict.has.iter().any(|has| has == goal));
        }
        progress(compared.executions);
        if let Some(difference) = verdict.difference {
            let (smallest, difference) = shrink(&mut worker, drawn.clone(), difference)?;
            compared.difference = Some(format!(
                "loom and the brute force differ, in program {which} of seed {seed}\n{difference}\nin\n{smallest}made smaller from\n{drawn}"
            ));
            break;
        }
    }
    Ok(compared)
}

/// The smallest program that still has a difference, going down one step at a time.
fn shrink(
    worker: &mut Worker,
    mut program: Program,
    mut difference: String,
) -> Result<(Program, String), String> {
    'smaller: loop {
        for candidate in program.smaller() {
            if let Some(still) = worker.judge(&candidate)?.difference {
                (program, difference) = (candidate, still);
                continue 'smaller;
            }
        }
        return Ok((program, difference));
    }
}

/// Whether this row shows that the two agree. Others of its level show something else.
pub fn agrees(row: &ModelRow) -> bool {
    row.name == CHECKS[0].name && row.passed()
}

/// What that means.
pub fn agree() -> String {
    let programs = thousands(PROGRAMS);
    format!("Loom and a brute force agree, in {programs} random programs.")
}

impl Compared {
    /// Both together.
    pub fn add(&mut self, other: Compared) {
        self.executions += other.executions;
        self.programs += other.programs;
        self.interleavings = self.interleavings.saturating_add(other.interleavings);
        for (goal, times) in other.goals {
            *self.goals.entry(goal).or_default() += times;
        }
        self.difference = self.difference.take().or(other.difference);
    }

    /// In a sentence.
    pub fn summary(&self) -> String {
        let has = self
            .goals
            .iter()
            .map(|(goal, times)| format!("  {:>6} have {goal}\n", thousands(*times)));
        format!(
            "{} programs, {} interleavings, {} executions under loom: the same ends and the same deadlocks.\n{}",
            thousands(self.programs),
            thousands(self.interleavings),
            thousands(self.executions),
            has.collect::<String>()
        )
    }
}

/// A process that runs programs, and is started again after each that it does not survive.
struct Worker {
    check: &'static Check,
    program: PathBuf,
    running: Option<(Child, ChildStdin, BufReader<ChildStdout>)>,
}

impl Worker {
    fn new(check: &'static Check, program: &Path) -> Worker {
        Worker {
            check,
            program: program.into(),
            running: None,
        }
    }

    fn start(&self) -> std::io::Result<(Child, ChildStdin, BufReader<ChildStdout>)> {
        let mut command = Command::new(&self.program);
        command.args([WORKER, self.check.name]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Loom's panic is heard by the worker's own hook.
        command.stderr(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LOOM_") {
                command.env_remove(name);
            }
        }
        let mut child = command.spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            unreachable!("both are piped");
        };
        Ok((child, input, BufReader::new(output)))
    }

    fn judge(&mut self, program: &Program) -> Result<Verdict, String> {
        let wrong =
            |what: &str, why: &dyn std::fmt::Display| format!("{what}: {why}\nin\n{program}");
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self
                .start()
                .map_err(|e| wrong("a process can't be started", &e))?,
        };
        let (_, input, output) = &mut running;
        let line = serde_json::to_string(program).map_err(|e| wrong("it can't be written", &e))?;
        writeln!(input, "{line}").map_err(|e| wrong("it can't be handed over", &e))?;
        let mut answer = String::new();
        output
            .read_line(&mut answer)
            .map_err(|e| wrong("no answer", &e))?;
        let verdict: Verdict = serde_json::from_str(&answer)
            .map_err(|e| wrong("its process ended without a word", &e))?;
        match verdict.gone {
            true => end(running),
            false => self.running = Some(running),
        }
        Ok(verdict)
    }
}

fn end((mut child, input, output): (Child, ChildStdin, BufReader<ChildStdout>)) {
    drop((input, output));
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            end(running);
        }
    }
}
