//! Each model, each exploration and each range of seeds as a test of its own, so that `cargo nextest` can spread them over any number of machines.
//!
//! What a build can run are its cases: models, explorations and the simulator's seeds in the checked build (`just cases`), random schedules in the sampled
//! one (`just schedules-cases`); in another there are none. Each case is a call of the program that `cargo verify` and `cargo schedules` call.

use std::io;
use std::process::{Command, Output};

use libtest_mimic::{Arguments, Failed, Trial};

/// The seeds 1 to 1,000 of the simulator, so many at a time: less than a minute of one core.
const SEEDS: u64 = 25;
const LAST_SEED: u64 = 1000;
/// Those that run unless more is asked for.
const ORDINARY_SEEDS: u64 = 100;

/// The seeds from which schedules are drawn, a thousand from each. The first is that of `cargo schedules`, and it alone runs unless more is asked for.
const SCHEDULE_SEEDS: u64 = 10;

fn main() -> io::Result<()> {
    let args = Arguments::from_args();
    let cases = match (cfg!(biglock_loom), cfg!(biglock_shuttle)) {
        (true, _) => [models()?, seeds()].concat(),
        (_, true) => schedules(),
        _ => Vec::new(),
    };
    let trials = cases.into_iter().map(Case::trial).collect();
    libtest_mimic::run(&args, trials).exit();
}

/// A call of the program.
#[derive(Clone)]
struct Case {
    name: String,
    args: Vec<String>,
    /// Whether it runs only if it is asked for.
    ignored: bool,
}

impl Case {
    fn new(name: &str, args: &[&str], ignored: bool) -> Case {
        Case {
            name: name.into(),
            args: args.iter().map(|arg| arg.to_string()).collect(),
            ignored,
        }
    }

    fn trial(self) -> Trial {
        let (name, ignored) = (self.name.clone(), self.ignored);
        Trial::test(name, move || self.check()).with_ignored_flag(ignored)
    }

    /// In a process of its own: what a broken execution leaves behind can't be cleaned up.
    fn check(&self) -> Result<(), Failed> {
        let output = program().args(&self.args).output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Failed::from(text(&output))),
        }
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_biglock-verify"))
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

/// Models, lessons, comparisons and explorations; the larger sizes only if they are asked for.
fn models() -> io::Result<Vec<Case>> {
    let all = names(&["--list", "--deep"])?;
    let ordinary = names(&["--list"])?;
    let case = |name: &String| {
        let deep = !ordinary.contains(name);
        let mut args = vec![name, "--exact", "--jobs", "1"];
        args.extend(deep.then_some("--deep"));
        Case::new(name, &args, deep)
    };
    Ok(all.iter().map(case).collect())
}

/// The first word of each line.
fn names(args: &[&str]) -> io::Result<Vec<String>> {
    let list = program().args(args).output()?;
    assert!(
        list.status.success(),
        "the models can't be listed: {}",
        text(&list)
    );
    let list = String::from_utf8_lossy(&list.stdout);
    let names = list.lines().filter_map(|line| line.split(' ').next());
    Ok(names.map(String::from).collect())
}

/// The lab suite, with so many seeds each.
fn seeds() -> Vec<Case> {
    let blocks = (1..=LAST_SEED).step_by(SEEDS as usize);
    let case = |from: u64| {
        let to = from + SEEDS - 1;
        let seeds = format!("{from}-{to}");
        let args = ["--seeds", &seeds, "--jobs", "1"];
        Case::new(&format!("seeds-{seeds}"), &args, to > ORDINARY_SEEDS)
    };
    blocks.map(case).collect()
}

/// Whole clusters of each size under each scheduler, from each seed.
fn schedules() -> Vec<Case> {
    let clusters = [("5", "random"), ("5", "pct"), ("7", "random"), ("7", "pct")];
    let seeds = 1..=SCHEDULE_SEEDS;
    let case = |(seed, (nodes, scheduler))| {
        let (ignored, seed) = (seed > 1, format!("{seed}"));
        let args = ["--nodes", nodes, "--scheduler", scheduler, "--seed", &seed];
        let name = format!("schedules-{nodes}-{scheduler}-seed-{seed}");
        Case::new(&name, &args, ignored)
    };
    let all = seeds.flat_map(|seed| clusters.map(|cluster| (seed, cluster)));
    all.map(case).collect()
}
