//! Plants known bugs, and prints what came of them.

use biglock_verify::catalogue::{self, Bug, Check, Picture};
use biglock_verify::explore::{Order, orders};
use biglock_verify::jobs;
use biglock_verify::page::Scope;
use biglock_verify::plant::{Healthy, Nursery};
use biglock_verify::report::{BugRow, ModelRow, bug_table, many, that_were_found};

use super::rows::Job;
use super::{Args, command, print_report, root, scope};

pub(super) fn run_bugs(args: &Args) -> Result<bool, String> {
    let all = catalogue::read(root())?;
    let wanted = |bug: &&Bug| args.options.want_bug(&bug.id, &bug.title);
    let mut bugs: Vec<Bug> = all.iter().filter(wanted).cloned().collect();
    let others = all.len() - bugs.len();
    if bugs.is_empty() {
        // With --exact it is the id that is wanted; else the words of a title are names as well.
        let words = all
            .iter()
            .flat_map(|bug| bug.title.split(|c: char| !c.is_alphanumeric() && c != '-'));
        let words = words.filter(|_| !args.options.exact);
        let ids = all.iter().map(|bug| bug.id.as_str());
        let why = args.options.nothing(&ids.chain(words).collect::<Vec<_>>());
        return Err(format!(
            "no bug{why} `cargo verify --bugs --list` lists them."
        ));
    }
    let ids: Vec<&str> = bugs.iter().map(|bug| bug.id.as_str()).collect();
    args.options.say_exact(&ids);
    if args.options.list {
        list(&bugs);
        return Ok(true);
    }
    if args.options.bless {
        bugs.iter_mut().try_for_each(|bug| bug.rebase(root()))?;
    }
    let report = args.options.begin_report(&command())?;
    let at_once = args.options.at_once().min(bugs.len());
    let nurseries: Vec<Nursery> = (0..at_once)
        .map(|slot| Nursery::new(root(), slot, blank))
        .collect::<Result<_, _>>()
        .map_err(|e| format!("the copies of the source: {e}"))?;
    if args.measure && !healthy(&nurseries, &bugs) {
        return Ok(false);
    }
    let titles = bugs.iter().map(|bug| format!("{} {}", bug.id, bug.title));
    let titles: Vec<String> = titles
        .map(|title| title.chars().take(32).collect())
        .collect();
    let names: Vec<&str> = titles.iter().map(String::as_str).collect();
    let job = |slot: usize, at: usize, progress: &dyn Fn(u64)| {
        let (nursery, bug) = (&nurseries[slot], &bugs[at]);
        let rows = match (args.measure, args.also) {
            (true, _) => nursery.measure(bug, progress),
            (false, true) => nursery.by_all(bug, progress),
            (false, false) if args.options.bless => nursery.draw(bug, progress),
            (false, false) => vec![nursery.grow(bug, progress)],
        };
        // At once: such a run takes an hour, and what was measured is no less true if the rest is not.
        let blessed = match args.options.bless {
            true => bless(bug, &rows, args.measure),
            false => Ok(()),
        };
        (rows, blessed)
    };
    let finished = |(rows, _): &(Vec<BugRow>, _)| {
        let line = |row: &BugRow| {
            let found = match (row.passed(), row.finds) {
                (true, true) => "found",
                (true, false) => "blind",
                (false, true) => "MISSED",
                (false, false) => "SEEN",
            };
            let by = row.message.lines().next().unwrap_or_default();
            let measured = row.measured.as_ref().filter(|_| args.measure);
            let measured = measured.map_or(String::new(), |how| format!("\n       {how}"));
            format!(
                "{:4} {found:6} {:6.1} s  {by}{measured}",
                row.name, row.seconds
            )
        };
        rows.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let grown = jobs::spread(&names, at_once, "executions", |_| 0, job, finished);
    let (mut of, mut rows) = (Vec::new(), Vec::new());
    for (bug, (its, blessed)) in bugs.iter().zip(grown) {
        blessed?;
        of.extend(its.iter().map(|_| bug.clone()));
        rows.extend(its);
    }
    for (bug, row) in of.iter().zip(&rows) {
        match (row.passed(), row.finds) {
            (false, true) => println!("\n{} was not found: {}", bug.id, row.message.trim()),
            (false, false) => {
                let (id, check, message) = (&bug.id, &row.check, row.message.trim());
                println!("\n{id}: its page says that {check} does not see it: {message}");
            }
            _ => {}
        }
        if let Some(picture) = &row.diagram
            && (args.options.show || !row.passed())
        {
            println!("\n{}: {}\n\n{picture}", bug.id, bug.title);
        }
    }
    println!("{}", bug_table(&rows));
    let passed = rows.iter().all(BugRow::passed);
    let (find, blind): (Vec<BugRow>, Vec<BugRow>) = rows.iter().cloned().partition(|row| row.finds);
    let found = find.iter().filter(|row| row.found).count();
    println!("{found} of {}.", that_were_found(find.len()));
    if !blind.is_empty() {
        let unseen = blind.iter().filter(|row| row.passed()).count();
        println!(
            "{unseen} of {} saw nothing, as their pages say.",
            many(blind.len() as u64, "other check")
        );
    }
    args.options.write_json(&rows)?;
    if let Some(report) = &report {
        let scope = Scope {
            others,
            ..scope(args)
        };
        of.retain({
            let mut rows = rows.iter();
            move |_| rows.next().is_some_and(|row| row.finds)
        });
        report.bugs(&of, &find, &scope)?;
        print_report(report, []);
    }
    Ok(passed)
}

/// The row of the model, lesson, comparison or exploration of this name, as long as it has not run.
fn blank(name: &str) -> Option<ModelRow> {
    let order = orders::all().find(|order| order.name == name);
    let job = || Job::all().find(|job| job.name() == name);
    order.map(Order::row).or_else(|| Some(job()?.row()))
}

fn list(bugs: &[Bug]) {
    for bug in bugs {
        println!("{:4} {:64} {}", bug.id, bug.title, bug.check);
        for (check, measured) in &bug.measured {
            println!("     {check}: {measured}");
        }
    }
}

/// Puts the picture into the page, that of the cheapest check which draws, and what was measured.
fn bless(bug: &Bug, rows: &[BugRow], measures: bool) -> Result<(), String> {
    let wrong = |e| format!("{}: {e}", bug.page.display());
    let shown = bug.checks().filter_map(|by| {
        let row = rows.iter().find(|row| row.check == by.to_string())?;
        Some((by, row)).filter(|(_, row)| row.found)
    });
    let shown: Vec<(&Check, &BugRow)> = shown.collect();
    // A page whose first words are not true is not blessed with what others say.
    if let Some(&first) = shown.first().filter(|(by, _)| **by == bug.check) {
        let drawn = shown.iter().find(|(_, row)| row.drawing.is_some());
        let (by, row) = *drawn.unwrap_or(&first);
        if let Some(text) = &row.diagram {
            let picture = Picture {
                by: by.clone(),
                text: text.clone(),
                drawing: row.drawing.clone(),
            };
            bug.bless(&picture).map_err(wrong)?;
        }
    }
    let find = rows.iter().filter(|row| row.finds);
    let measured = find.map(|row| Some((row.check.clone(), row.measured.clone()?)));
    // All or nothing: a page's rows are of one tree.
    if let Some(measured) = measured.collect::<Option<Vec<_>>>().filter(|_| measures) {
        bug.bless_measured(&measured).map_err(wrong)?;
    }
    Ok(())
}

/// Tries what will be tried of the bugs on the source as it is: nothing of it may break.
fn healthy(nurseries: &[Nursery], bugs: &[Bug]) -> bool {
    let mut checks: Vec<&Check> = bugs.iter().flat_map(Bug::checks).collect();
    checks.retain(|check| check.draws());
    checks.sort_by_key(|check| check.to_string());
    checks.dedup();
    let names: Vec<String> = checks.iter().map(|check| check.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let job = |slot: usize, at: usize, progress: &dyn Fn(u64)| {
        nurseries[slot].healthy(checks[at], progress)
    };
    let finished = |healthy: &Healthy| match (healthy.wrong(), &healthy.tried) {
        (None, Ok(tried)) => {
            let missed = match tried.missed.join(", ") {
                none if none.is_empty() => none,
                missed => format!("; none reached: {missed}"),
            };
            format!(
                "{}, nothing planted: {tried} tries break{missed}",
                healthy.check
            )
        }
        _ => format!("{}: FAILED", healthy.check),
    };
    let all = jobs::spread(&names, nurseries.len(), "tries", |_| 0, job, finished);
    let wrong: Vec<String> = all.iter().filter_map(Healthy::wrong).collect();
    for wrong in &wrong {
        println!("{wrong}");
    }
    wrong.is_empty()
}
