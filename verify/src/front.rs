//! The front door: arguments, what is run, what is printed, and the exit status.

mod bugs;
mod child;
mod rows;
mod seeds;

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use biglock_verify::catalogue::{self, Bug};
use biglock_verify::differential::{self, CHECKS, Compared};
use biglock_verify::explore::{Order, orders};
use biglock_verify::jobs::{self, Run};
use biglock_verify::lab;
use biglock_verify::options::Options;
use biglock_verify::output::try_to_write;
use biglock_verify::page::{Report, Scope};
use biglock_verify::proof;
use biglock_verify::report::{Golden, many, model_table, that_hold};
use biglock_verify::rows::{is_of_threads, print_pictures, row_of, run_all};
use biglock_verify::spec::trace::{self, Wrong};
use clap::Parser;

use self::rows::{Job, STACKS, deep_names};

/// Checks Biglock's shipped source: every interleaving of each model's threads, without a bound; and every order of the messages of several nodes,
/// within bounds.
#[derive(Debug, Parser)]
#[command(name = "cargo verify", bin_name = "cargo verify")]
struct Args {
    #[command(flatten)]
    options: Options,
    /// Plant each known bug in a copy of the source, and fail if one is not found. Then it is bugs that are listed, and pictures that are blessed.
    #[arg(long)]
    bugs: bool,
    /// Print the ledger as well: each rule of the lock and of the paper, and what stands for it.
    #[arg(long, conflicts_with_all = ["list", "bugs", "trace", "differential"])]
    ledger: bool,
    /// With --bugs: run the other checks as well that a page says find its bug.
    #[arg(long, requires = "bugs", conflicts_with_all = ["bless", "list"])]
    also: bool,
    /// With --bugs: measure how hard each bug is to find, by each of those checks: with bounded searches, and by thousands of tries at random.
    #[arg(long, requires = "bugs", conflicts_with_all = ["also", "list"])]
    measure: bool,
    /// Search larger sizes as well: for a night.
    #[arg(long, conflicts_with = "bugs")]
    deep: bool,
    /// Check the traces of a real cluster instead: the files that its nodes wrote with `biglock node --trace FILE`, all of them.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["filter", "list", "show", "json", "report", "bless", "jobs", "exact", "bugs", "deep", "fresh_stacks"])]
    trace: Vec<PathBuf>,
    /// Compare loom with a brute force on this many random programs, instead of the few of an ordinary run.
    #[arg(long, value_name = "N", value_parser = programs, conflicts_with_all = ["bugs", "list", "filter", "bless", "json", "report", "trace", "deep", "show", "ledger", "fresh_stacks"])]
    differential: Option<u64>,
    /// Run the lab suite in the simulator instead, with each of these seeds: 1-25, or one alone. A FILTER is then of the names of its tests.
    #[arg(long, value_name = "FROM-TO", value_parser = seeds::range, conflicts_with_all = ["bugs", "bless", "report", "trace", "deep", "show", "ledger", "fresh_stacks", "differential"])]
    seeds: Option<RangeInclusive<u64>>,
    /// With --differential: the seed of the programs; without it, that of an ordinary run.
    #[arg(long, value_name = "S", requires = "differential")]
    seed: Option<u64>,
    /// Run programs for one comparison in this process. For this program's own use.
    #[arg(long, hide = true, value_name = "CHECK")]
    worker: Option<String>,
    /// Run one model in this process. For this program's own use.
    #[arg(long, hide = true, value_name = "MODEL")]
    child: Option<String>,
    /// Give each execution of a model new stacks, instead of those of the last: slower, and nothing else may change.
    #[arg(long, conflicts_with = "bugs")]
    fresh_stacks: bool,
    #[command(flatten)]
    how: child::How,
}

pub fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(name) = &args.child {
        crate::stacks::reuse(!args.fresh_stacks);
        return child::child(name, &args.how);
    }
    if let Some(name) = &args.worker {
        return child::worker(name);
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("cargo verify: {wrong}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool, String> {
    // clap asks for what an option requires only where nothing that was given excludes it.
    if (args.also || args.measure) && !args.bugs {
        return Err("--also and --measure are of known bugs: give --bugs as well".into());
    }
    if args.seed.is_some() && args.differential.is_none() {
        return Err("--seed is of --differential; a range of seeds is --seeds FROM-TO".into());
    }
    if !args.trace.is_empty() {
        return check_traces(&args.trace);
    }
    if let Some(programs) = args.differential {
        return compare(args, programs);
    }
    if !args.options.list {
        try_outputs(args)?;
    }
    if let Some(seeds) = &args.seeds {
        return seeds::run(&args.options, seeds.clone());
    }
    match args.bugs {
        true => bugs::run_bugs(args),
        false => run_models(args),
    }
}

/// Fails now if what this run is to write could not be written at its end.
fn try_outputs(args: &Args) -> Result<(), String> {
    if let Some(path) = &args.options.json {
        try_to_write(path)?;
    }
    if args.options.bless && args.bugs {
        for bug in catalogue::read(root())? {
            try_to_write(&bug.page)?;
            try_to_write(&bug.drawing_file())?;
        }
    } else if args.options.bless {
        GOLDEN
            .iter()
            .try_for_each(|path| try_to_write(&root().join(path)))?;
    }
    Ok(())
}

fn check_traces(files: &[PathBuf]) -> Result<bool, String> {
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        return Err(format!("there is no file {}", missing.display()));
    }
    match trace::check_files(files) {
        Ok(summary) => println!("{summary}"),
        Err(Wrong::Rule(why)) => {
            println!("{why}");
            return Ok(false);
        }
        Err(Wrong::File(why)) => return Err(why),
    }
    Ok(true)
}

/// So many random programs are run by one process after the other, and as many such rows at a time as there are cores.
const ROW: u64 = 500;

/// Random programs, as many as are wanted: loom against a brute force.
fn compare(args: &Args, programs: u64) -> Result<bool, String> {
    let seed = args.seed.unwrap_or(differential::SEED);
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let part = |row: u64| row * ROW..programs.min((row + 1) * ROW);
    let names: Vec<String> = (0..programs.div_ceil(ROW))
        .map(|row| format!("programs {:?}", part(row)))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let job = |_, row: usize, progress: &dyn Fn(u64)| {
        differential::compare(&CHECKS[0], seed, part(row as u64), &program, progress)
    };
    let finished = |compared: &Result<Compared, String>| match compared {
        Ok(compared) if compared.difference.is_none() => {
            format!("{} programs: no difference", compared.programs)
        }
        _ => "FAILED".into(),
    };
    let at_once = args.options.at_once();
    let mut all = Compared::default();
    for compared in jobs::spread(&names, at_once, "executions", |_| 0, job, finished) {
        all.add(compared?);
    }
    match &all.difference {
        Some(difference) => println!("{difference}"),
        None => print!("{}", all.summary()),
    }
    Ok(all.difference.is_none())
}

fn programs(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Err("with no program nothing would be compared: write 1 or more".into()),
        Ok(programs) => Ok(programs),
        Err(_) => Err("write how many programs, e.g. 10000".into()),
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The counts that are kept: of executions, and of states.
const GOLDEN: [&str; 2] = ["verify/models.golden", "verify/orders.golden"];

fn run_models(args: &Args) -> Result<bool, String> {
    let options = &args.options;
    let wanted = |name: &str| options.want(name);
    let runs = |name: &str| wanted(name) && (args.deep || !proof::is_deep(name));
    let orders: Vec<&'static Order> = orders::all().filter(|order| runs(order.name)).collect();
    let jobs: Vec<Job> = Job::all().filter(|job| runs(job.name())).collect();
    if jobs.is_empty() && orders.is_empty() {
        return Err(no_model(options));
    }
    let names = jobs.iter().map(Job::name);
    let names: Vec<&str> = names.chain(orders.iter().map(|order| order.name)).collect();
    options.say_exact(&names);
    if options.list {
        let all = jobs.iter().map(|job| (job.name(), job.property()));
        for (name, property) in all.chain(orders.iter().map(|o| (o.name, o.property))) {
            println!("{name:32} {property}");
        }
        return Ok(true);
    }
    // A report shows the known bugs as well; and one that could not is not begun.
    let bugs = match options.report {
        Some(_) => catalogue::read(root())?,
        None => Vec::new(),
    };
    let report = options.begin_report(&command())?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let at_once = options.at_once();
    let run = |name| Run::of(&program, name).fresh_stacks(args.fresh_stacks);
    let kept = fs::read_to_string(root().join(GOLDEN[0])).unwrap_or_default();
    let kept = Golden::parse(&kept);
    // One pool for all that use one core each, and the longest first: so none is left over at the end.
    let mut threads = run_all(
        &jobs.iter().map(Job::name).collect::<Vec<_>>(),
        at_once,
        "executions",
        |at| kept.count(jobs[at].name()).unwrap_or(u64::MAX),
        |at, progress| jobs[at].ended(run(jobs[at].name()).start(progress)),
    );
    // Each of these uses all cores.
    let mut messages = run_all(
        &orders.iter().map(|order| order.name).collect::<Vec<_>>(),
        1,
        "states",
        |_| 0,
        |at, progress| {
            let name = orders[at].name;
            let ended = run(name).threads(at_once).start(progress);
            row_of(orders[at].row(), ended)
        },
    );
    let mut missing = Vec::new();
    for (path, rows) in GOLDEN.iter().zip([&mut threads, &mut messages]) {
        let path = root().join(path);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut kept = Golden::parse(&text);
        // Larger sizes that are not run keep their counts.
        let not_run = |name: &str| !args.deep && proof::is_deep(name);
        if options.bless {
            kept.bless(rows, |name| options.filter.is_some() || not_run(name));
            fs::write(&path, kept.print()).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        kept.compare(rows);
        let gone = kept.missing(rows).into_iter().filter(|name| !not_run(name));
        missing.extend(gone.map(String::from));
    }
    let mut rows = [threads, messages].concat();
    let rules = proof::rules();
    for row in &mut rows {
        row.rules = proof::stands_for(&rules, &row.name);
    }
    print_pictures(&rows, options.show);
    let nothing = rows
        .iter()
        .all(|row| row.failure.is_none() && row.found.is_none());
    if options.show && nothing {
        println!(
            "\n--show: all of it holds, so there is no picture. `cargo verify course --show` has some of what is broken on purpose, \
             `cargo verify --bugs K2 --exact --show` one of a bug."
        );
    }
    if args.ledger {
        println!("\n{}", proof::text(&rules, &rows));
    }
    println!("{}", model_table(&rows));
    let passed = rows.iter().filter(|row| row.passed()).count();
    let (broken, whole): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.found.is_some());
    let (checkers, whole): (Vec<_>, Vec<_>) =
        whole.into_iter().partition(|row| row.level == "checker");
    let whole = whole.into_iter();
    let (models, explored): (Vec<_>, Vec<_>) = whole.partition(|row| is_of_threads(row));
    if !models.is_empty() {
        let holds = models.iter().filter(|row| row.passed()).count();
        let executions = models.iter().map(|row| row.searched.count()).sum();
        println!(
            "{holds} of {} in every interleaving: {}, no bound.",
            that_hold(models.len(), "model"),
            many(executions, "execution")
        );
    }
    if !explored.is_empty() {
        let holds = explored.iter().filter(|row| row.passed()).count();
        let states = explored.iter().map(|row| row.searched.count()).sum();
        println!(
            "{holds} of {} in every order of messages: {}, within the bounds that each states.",
            that_hold(explored.len(), "exploration"),
            many(states, "state")
        );
    }
    println!("{}.", proof::summary(&proof::ledger(&rules, &rows)));
    if checkers.iter().any(|row| differential::agrees(row)) {
        println!("{}", differential::agree());
    }
    if !broken.is_empty() {
        let times = many(broken.len() as u64, "time");
        println!("What is broken on purpose was found, {times}.");
    }
    options.write_json(&rows)?;
    if options.filter.is_some() {
        missing.clear();
    }
    if let Some(report) = &report {
        let not_run = |name: &&str| !args.deep && wanted(name);
        let deep: Vec<String> = deep_names().filter(not_run).map(String::from).collect();
        let scope = Scope {
            others: Job::all().count() + orders::all().count() - rows.len() - deep.len(),
            deep,
            gone: missing.clone(),
            rules: rules.clone(),
            bugs,
            ..scope(args)
        };
        report.models(&rows, &scope)?;
        let pictures = rows.iter().filter(|row| {
            let failure = row.failure.as_ref();
            failure.is_some_and(|failure| failure.drawing.is_some())
        });
        print_report(report, pictures.map(|row| row.name.clone()));
    }
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(format!(
            "counts are kept of models that are gone ({}): {missing}",
            GOLDEN.join(", ")
        ));
    }
    Ok(passed == rows.len())
}

/// No model has the name that was asked for.
fn no_model(options: &Options) -> String {
    let jobs: Vec<Job> = Job::all().collect();
    let names = jobs.iter().map(Job::name);
    let names = names.chain(orders::all().map(|order| order.name));
    let names: Vec<&str> = names.collect();
    if let Some(deep) = deep_names().find(|name| options.want(name)) {
        return format!("{deep} is of a larger size: --deep runs it as well.");
    }
    if let Some(test) = lab::ALL.iter().find(|test| options.want(test.name)) {
        let name = test.name;
        return format!(
            "{name} is a test of the lab suite: `cargo verify --seeds 1-25 {name}` runs it."
        );
    }
    let bugs = catalogue::read(root()).unwrap_or_default();
    let is_bug = |bug: &&Bug| {
        options
            .filter
            .as_ref()
            .is_some_and(|id| bug.id.eq_ignore_ascii_case(id))
    };
    if let Some(Bug { id, .. }) = bugs.iter().find(is_bug) {
        return format!("{id} is a known bug: `cargo verify --bugs {id} --exact` plants it.");
    }
    let why = options.nothing(&names);
    format!("no model{why} `cargo verify --list` lists them.")
}

fn scope(args: &Args) -> Scope {
    Scope {
        command: command(),
        filter: args.options.filter.clone(),
        exact: args.options.exact,
        golden: GOLDEN[0].into(),
        ..Scope::default()
    }
}

/// What was typed.
fn command() -> String {
    let words = std::env::args().skip(1);
    words.fold("cargo verify".into(), |all, word| all + " " + &word)
}

fn print_report(report: &Report, pictures: impl IntoIterator<Item = String>) {
    for name in pictures {
        println!("The picture of {name}: {}", report.file(&name).display());
    }
    println!("The report: {}", report.page().display());
}
