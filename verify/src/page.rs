//! The report as a page: what was searched, how far, and a picture of whatever broke.
//!
//! One file that asks for nothing else, without a script. Each picture is in it, and once more as a file of its own.

use std::fs;
use std::path::{Path, PathBuf};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::catalogue::Bug;
use crate::diagram::{self, Diagram};
use crate::proof::Rule;
use crate::report::{BugRow, ModelRow, Searched, many, that_hold, thousands};

mod bugs;
mod known;
mod ledger;

#[cfg(test)]
mod tests;

const STYLE: &str = include_str!("page/style.css");

/// What else there is, beside what was run.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The command.
    pub command: String,
    /// What names had to contain, if only some were wanted.
    pub filter: Option<String>,
    /// Whether that was the whole name.
    pub exact: bool,
    /// How many others there are, which were not wanted.
    pub others: usize,
    /// Explorations that only run if they are asked for.
    pub deep: Vec<String>,
    /// Models that are gone and of which counts are kept.
    pub gone: Vec<String>,
    /// The rules for which the models stand, if they are Biglock's own.
    pub rules: Vec<Rule>,
    /// The known bugs, if they are Biglock's own: as their pages tell of them.
    pub bugs: Vec<Bug>,
    /// Where the counts are kept.
    pub golden: String,
}

/// The folder of a report.
#[derive(Debug)]
pub struct Report {
    folder: PathBuf,
}

impl Report {
    /// Makes the folder and writes a page that says that the run has not ended: what was there of an earlier run is gone, and nothing else.
    ///
    /// # Errors
    /// If the folder can't be made or written to, or if somebody else's page is there.
    pub fn begin(folder: &Path, command: &str) -> Result<Report, String> {
        let wrong = |e| {
            let folder = folder.display();
            format!("can't make {folder}: {e}; name a folder that exists or can be made")
        };
        fs::create_dir_all(folder).map_err(wrong)?;
        let report = Report {
            folder: folder.into(),
        };
        let page = report.page();
        if page.exists() && !read(&page).is_some_and(|text| text.contains(OURS)) {
            let page = page.display();
            return Err(format!(
                "{page} is no report, and stays as it is; name another folder"
            ));
        }
        // Pictures of what broke then would look like this run's. Others are not ours to remove.
        for file in fs::read_dir(folder).map_err(wrong)?.flatten() {
            let path = file.path();
            if path.extension().is_some_and(|kind| kind == "svg")
                && read(&path).is_some_and(|text| text.starts_with(diagram::MARK))
            {
                fs::remove_file(path).map_err(wrong)?;
            }
        }
        report.write("index.html", &unfinished(command))?;
        Ok(report)
    }

    /// The page of a run of models.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn models(&self, rows: &[ModelRow], scope: &Scope) -> Result<(), String> {
        for row in rows {
            let seen = row.failure.as_ref().or(row.found.as_ref());
            let drawing = seen.and_then(|f| f.drawing.as_ref());
            self.picture(&row.name, drawing)?;
        }
        for bug in &scope.bugs {
            self.picture(&bug.id, known::drawing(bug))?;
        }
        self.write("index.html", &of_models(rows, scope))
    }

    /// The page of a run of planted bugs.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn bugs(&self, bugs: &[Bug], rows: &[BugRow], scope: &Scope) -> Result<(), String> {
        for ((id, row), bug) in bugs::ids(rows).iter().zip(rows).zip(bugs) {
            self.picture(id, row.drawing.as_ref().or(known::drawing(bug)))?;
        }
        self.write("index.html", &bugs::page(bugs, rows, scope))
    }

    /// The page.
    pub fn page(&self) -> PathBuf {
        self.folder.join("index.html")
    }

    /// The picture of this name.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.svg"))
    }

    fn picture(&self, name: &str, drawing: Option<&Diagram>) -> Result<(), String> {
        match drawing {
            Some(drawing) => self.write(&format!("{name}.svg"), &drawing.svg_file(name)),
            None => Ok(()),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|e| format!("can't write {}: {e}", path.display()))
    }
}

/// By its title a page is known as one of ours.
const OURS: &str = "<title>Biglock";

fn read(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok()
}

fn page(title: &str, body: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(diagram::STYLE)) }
            }
            body { main { h1 { (title) } (body) } }
        }
    };
    page.into_string() + "\n"
}

fn unfinished(command: &str) -> String {
    let body = html! { p.lead.wrong { "This run has not ended: nothing is shown yet. " code { (command) } } };
    page("Biglock", body)
}

/// The page of a run of models.
pub fn of_models(rows: &[ModelRow], scope: &Scope) -> String {
    let is_model = |row: &&ModelRow| matches!(row.searched, Searched::Executions { .. });
    // What is broken on purpose, and what checks the checker, show nothing of Biglock.
    let whole = rows.iter().filter(|row| row.found.is_none());
    let (checkers, whole): (Vec<&ModelRow>, Vec<&ModelRow>) =
        whole.partition(|row| row.level == "checker");
    let (models, explored): (Vec<_>, Vec<_>) = whole.into_iter().partition(is_model);
    let found: Vec<&ModelRow> = rows.iter().filter(|row| row.found.is_some()).collect();
    let failed: Vec<&ModelRow> = rows.iter().filter(|row| !row.passed()).collect();
    let body = html! {
        (lead(rows, &models, &explored, scope))
        p.quiet { (not_run(scope)) }
        p.quiet {
            "Written by " code { (scope.command) } ". "
            @if !scope.rules.is_empty() { a href="#ledger" { "The ledger, by rule" } ". " }
            @if !scope.bugs.is_empty() { a href="#catalogue" { "Known bugs, with their pictures" } ". " }
            a href="#unchecked" { "What was not checked" } "."
        }
        @if !failed.is_empty() {
            h2 { "What is wrong" }
            @for row in failed { (failure(row)) }
        }
        @if !models.is_empty() {
            h2 { "Interleavings of threads" }
            p {
                (what_runs(&models)) " Exhausted: the checker's own word that the search was completed, no bound of any kind, every goal reached, \
                 and as many executions as are kept in "
                code { (scope.golden) } "."
            }
            (model_table(&models))
        }
        @if !explored.is_empty() {
            h2 { "Orders of messages" }
            p {
                "Each exploration lets several nodes send to each other over a network that loses, repeats and reorders; which rows have late answers and crashes, verify/README.md says. \
                 Exhausted: no state is left within the bounds that the row names. Beyond them nothing is known."
            }
            (model_table(&explored))
        }
        @if !checkers.is_empty() {
            h2 { "The checker itself" }
            p { "What searches is itself compared with something that does it otherwise; each row says with what. A difference would fail it." }
            (model_table(&checkers))
        }
        @if !found.is_empty() {
            h2 { "Broken on purpose" }
            p { "What must be found was found: in programs of the course, and in comparisons of the checker." }
            @for row in found { (was_found(row)) }
        }
        (ledger::by_rule(rows, scope))
        (known::all(rows, scope))
        (ledger::unchecked(rows, scope))
    };
    page("Biglock: what was searched", body)
}

/// Whose threads the models run.
fn what_runs(models: &[&ModelRow]) -> &'static str {
    let course = models.iter().filter(|row| row.level == "course").count();
    match course {
        0 => {
            "Each model runs threads of the real node in every order in which they can take its locks."
        }
        all if all == models.len() => {
            "Each is a program of the course, whose threads share what a lock guards: in every order in which they can take it. No node is in it, \
             but the lock is the node's own."
        }
        _ => {
            "Each model runs threads of the real node in every order in which they can take its locks; those named course- are programs of the \
             course, with threads of their own and without a node, under the same lock."
        }
    }
}

/// The first line: whatever was not exhausted, before anything else.
fn lead(rows: &[ModelRow], models: &[&ModelRow], explored: &[&ModelRow], scope: &Scope) -> Markup {
    let names = |wanted: &dyn Fn(&ModelRow) -> bool| -> Vec<&str> {
        let rows = rows.iter().filter(|row| wanted(row));
        rows.map(|row| &row.name[..]).collect()
    };
    let drawn = |row: &ModelRow| row.failure.as_ref().is_some_and(|f| f.drawing.is_some());
    let broken = names(&|row| !row.exhausted && drawn(row));
    let stopped = names(&|row| !row.exhausted && row.found.is_none() && !drawn(row));
    let failed = names(&|row| row.exhausted && !row.passed());
    let whole = broken.is_empty() && stopped.is_empty();
    let holds = |rows: &[&ModelRow]| rows.iter().filter(|row| row.passed()).count();
    let total = |rows: &[&ModelRow]| rows.iter().map(|row| row.searched.count()).sum();
    html! {
        p.lead {
            @if !broken.is_empty() {
                strong.wrong { "Broken, and so not exhausted: " (linked(&broken)) ". " }
            }
            @if !stopped.is_empty() {
                strong.wrong { "Not exhausted: " (linked(&stopped)) ". " }
            }
            @if !failed.is_empty() {
                strong.wrong { "Failed: " (linked(&failed)) ". " }
            }
            @if !scope.gone.is_empty() {
                strong.wrong { "Counts are kept of models that are gone: " (scope.gone.join(", ")) ". " }
            }
            @if whole && !models.is_empty() {
                "Exhausted without a bound: every model of threads that ran. "
            }
            @if whole && !explored.is_empty() {
                "Exhausted only within the bounds that each states: the explorations of messages. "
            }
            @if !models.is_empty() {
                (holds(models)) " of " (that_hold(models.len(), "model")) " in every interleaving: " (many(total(models), "execution")) ". "
            }
            @if !explored.is_empty() {
                (holds(explored)) " of " (that_hold(explored.len(), "exploration")) " within the stated bounds: " (many(total(explored), "state")) "."
            }
        }
    }
}

fn linked(names: &[&str]) -> Markup {
    html! {
        @for (nth, name) in names.iter().enumerate() {
            @if nth > 0 { ", " }
            a href={ "#" (name) } { (name) }
        }
    }
}

fn not_run(scope: &Scope) -> Markup {
    html! {
        "Not run: "
        @match &scope.filter {
            Some(name) if scope.exact => { (many(scope.others as u64, "other")) ", not named " q { (name) } "." }
            Some(part) => { (many(scope.others as u64, "other")) ", without " q { (part) } " in the name." }
            None if scope.others > 0 => { (many(scope.others as u64, "other")) "." }
            None if scope.deep.is_empty() => { "nothing; all there is was run." }
            None => { "what " code { "--deep" } " adds (" (scope.deep.join(", ")) "). All else was run." }
        }
        @if scope.filter.is_some() && !scope.deep.is_empty() {
            " Nor what " code { "--deep" } " adds (" (scope.deep.join(", ")) ")."
        }
    }
}

/// What was found where something is broken on purpose.
fn was_found(row: &ModelRow) -> Markup {
    let Some(found) = &row.found else {
        return html! {};
    };
    html! {
        details.found id=(row.name) {
            summary { b { (row.name) } ": " (row.property) ". Found in execution " (thousands(row.searched.count())) "." }
            (plain(found.message.trim()))
            (shown(&row.name, found.drawing.as_ref(), found.diagram.as_deref()))
        }
    }
}

fn failure(row: &ModelRow) -> Markup {
    let Some(failure) = &row.failure else {
        return html! {};
    };
    let picture = failure.drawing.as_ref();
    html! {
        section.failure id=(row.name) {
            h3 { (row.name) }
            p { "What it should show: " (row.property) "." }
            p.wrong { (failure.message.trim()) }
            (shown(&row.name, picture, failure.diagram.as_deref()))
        }
    }
}

/// A picture, and the same as text.
fn shown(name: &str, drawing: Option<&Diagram>, text: Option<&str>) -> Markup {
    html! {
        @if let Some(drawing) = drawing {
            figure.wide[drawing.is_wide()] {
                div.scroll tabindex="0" role="region" aria-label={ "The picture of " (name) } { (drawing.svg(name)) }
                figcaption { (name) ". " a href={ (name) ".svg" } { "The picture alone" } }
            }
            @if let Some(text) = text {
                details.text { summary { "The same as text" } (plain(text)) }
            }
        } @else if let Some(text) = text {
            (plain(text))
        }
    }
}

fn plain(text: &str) -> Markup {
    html! { pre { code { @for line in text.lines() { span { (line) "\n" } } } } }
}

fn model_table(rows: &[&ModelRow]) -> Markup {
    let threads = matches!(rows[0].searched, Searched::Executions { .. });
    let (sizes, unit) = match threads {
        true => ("threads", "executions"),
        false => ("nodes", "states"),
    };
    html! {
        div.box { table {
            thead { tr {
                th { "name" } th { "what it shows" } th.number { (sizes) } th.number { (unit) }
                @if !threads { th.number { "depth" } }
                th { "exhausted" } th.number { "seconds" }
            } }
            tbody { @for row in rows { (model_row(row, sizes, unit)) } }
        } }
    }
}

fn model_row(row: &ModelRow, sizes: &str, unit: &str) -> Markup {
    let many = row.sizes.split(' ').next().unwrap_or_default();
    let bounds: Vec<String> = row.bounds.iter().map(|(k, n)| format!("{k} {n}")).collect();
    html! {
        tr id=[row.passed().then_some(&row.name)] {
            td.name { @if row.passed() { (row.name) } @else { a href={ "#" (row.name) } { (row.name) } } }
            td.property {
                (row.property)
                @if !bounds.is_empty() { div.bounds { "at most: " (bounds.join(", ")) } }
                @if !row.goals.is_empty() {
                    div.goals { "reached: "
                        @for (nth, (goal, times)) in row.goals.iter().enumerate() {
                            @if nth > 0 { " · " }
                            span.wrong[*times == 0] { (goal) "\u{a0}" b { (thousands(*times)) "×" } }
                        }
                    }
                }
            }
            td.number data-label=(sizes) { (many) }
            td.number data-label=(unit) { (thousands(row.searched.count())) }
            @if let Searched::States { depth, .. } = row.searched { td.number data-label="depth" {
                // Of a search that stopped at what broke it is not known.
                @if row.exhausted { (depth) } @else { "–" }
            } }
            td.verdict data-label="exhausted" { (verdict(row)) }
            td.number data-label="seconds" { (format!("{:.1}", row.seconds)) }
        }
    }
}

fn verdict(row: &ModelRow) -> Markup {
    html! {
        @match (row.passed(), row.exhausted) {
            (true, true) => span.good { "yes" },
            (false, true) => span.wrong { "yes, but failed" },
            (_, false) => span.wrong { "no" },
        }
    }
}
