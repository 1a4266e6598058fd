//! Rows, tables, JSON, and the golden counts.

use std::collections::BTreeMap;

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};
use serde::{Deserialize, Serialize};

use crate::diagram::Diagram;
use crate::measured::Measured;

/// What every row of `--json` has, whatever it is of; and either `executions` or `states`.
#[cfg(test)]
pub const ROW: &str = "name level property sizes bounds exhausted goals seconds";

/// What became of one model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelRow {
    /// Its name.
    pub name: String,
    /// `threads`: every interleaving of the real node's threads. `messages`: every order of the messages of several nodes. `course`: a program of
    /// the course, under the same lock. `checker`: random programs, by which loom itself is checked. Samples: `simulation`, the lab suite with some
    /// seeds; `schedules`, whole clusters under random schedules.
    pub level: String,
    /// The sentence that it shows.
    pub property: String,
    /// How much runs at once: threads, or nodes.
    pub sizes: String,
    /// How often things may happen, where that has a bound. None, where threads are searched.
    pub bounds: BTreeMap<String, u64>,
    /// How many executions were run, or how many different states there are.
    #[serde(flatten)]
    pub searched: Searched,
    /// Whether that was all of them: within the bounds, if there are any, and by the checker's own word for it.
    pub exhausted: bool,
    /// How often each thing was reached that must be reached.
    pub goals: BTreeMap<String, u64>,
    /// How long it took.
    pub seconds: f64,
    /// The rules for which it stands: their names in `verify/rules.md`.
    #[serde(default)]
    pub rules: Vec<String>,
    /// What was found in something that is broken on purpose. Then the search ended there.
    pub found: Option<Failure>,
    /// What is wrong, if anything is: a broken law, a goal that was missed, a count that changed.
    pub failure: Option<Failure>,
}

/// How much was searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Searched {
    /// One run of the threads after the other.
    Executions {
        /// How many.
        executions: u64,
    },
    /// One state after the other.
    States {
        /// How many, of those that differ in more than the names of the nodes.
        states: u64,
        /// How many steps away the farthest is; of a search that stopped early, the farthest from which it went on.
        depth: u64,
    },
}

impl Searched {
    /// So many states, the farthest so many steps away; or, if nothing has a depth, so many executions.
    pub fn of(count: u64, depth: Option<u64>) -> Searched {
        match depth {
            Some(depth) => Searched::States {
                states: count,
                depth,
            },
            None => Searched::Executions { executions: count },
        }
    }

    /// The number that is kept.
    pub fn count(&self) -> u64 {
        match *self {
            Searched::Executions { executions } => executions,
            Searched::States { states, .. } => states,
        }
    }

    /// What is counted.
    pub fn unit(&self) -> &'static str {
        match self {
            Searched::Executions { .. } => "executions",
            Searched::States { .. } => "states",
        }
    }
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// In a sentence.
    pub message: String,
    /// The execution as a picture, where there is one.
    pub diagram: Option<String>,
    /// The same as data.
    pub drawing: Option<Diagram>,
}

impl ModelRow {
    /// Of threads that have not run yet: nothing is searched, and nothing reached.
    pub fn new(name: &str, level: &str, property: &str, sizes: String) -> ModelRow {
        ModelRow {
            name: name.into(),
            level: level.into(),
            property: property.into(),
            sizes,
            bounds: BTreeMap::new(),
            searched: Searched::Executions { executions: 0 },
            exhausted: false,
            goals: BTreeMap::new(),
            seconds: 0.0,
            rules: Vec::new(),
            found: None,
            failure: None,
        }
    }

    /// What ran, and how far.
    fn size(&self) -> String {
        let bounds = self
            .bounds
            .iter()
            .map(|(name, many)| format!(", {name} {many}"));
        self.sizes.clone() + &bounds.collect::<String>()
    }

    /// How much was searched, in words.
    pub fn searched(&self) -> String {
        let count = thousands(self.searched.count());
        match self.searched {
            Searched::Executions { .. } => count,
            Searched::States { depth, .. } => format!("{count} states, depth {depth}"),
        }
    }

    /// Whether it shows what it says.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// A failure that has no picture.
    pub fn fail(&mut self, message: impl Into<String>) {
        self.failure.get_or_insert(Failure {
            message: message.into(),
            diagram: None,
            drawing: None,
        });
    }

    /// An execution has broken, of which there is a picture with nothing in it.
    #[cfg(test)]
    pub fn breaks(&mut self, message: &str) {
        self.failure = Some(Failure {
            message: message.into(),
            diagram: None,
            drawing: Some(Diagram {
                lanes: Vec::new(),
                story: crate::diagram::Story::Threads(Vec::new()),
                broken: message.into(),
            }),
        });
    }

    /// It is broken on purpose: an execution must have broken, and said this. Then that is what was found. A search that failed otherwise, for what it
    /// never reached or because its process died, has found nothing, whatever it says.
    pub fn expect(&mut self, says: &str) {
        let found = |failure: &Failure| {
            let picture = failure.diagram.as_deref().unwrap_or_default();
            let broke = failure.drawing.is_some();
            broke && (failure.message.contains(says) || picture.contains(says))
        };
        match self.failure.take() {
            Some(failure) if found(&failure) => {
                self.found = Some(failure);
            }
            Some(failure) => {
                let message = format!("not found in it: {says}; but {}", failure.message);
                self.failure = Some(Failure { message, ..failure });
            }
            None => self.fail(format!("it is broken on purpose, and nobody found: {says}")),
        }
    }

    /// Fails a search that was not completed, or that never reached what it must.
    pub fn judge(&mut self) {
        if self.found.is_some() {
            return;
        }
        if !self.exhausted {
            self.fail("the search was not completed: this run shows nothing");
        }
        self.reached_all();
    }

    /// Fails what never reached what it must: a search, or a sample, which is never exhausted.
    pub fn reached_all(&mut self) {
        let missed: Vec<&str> = self
            .goals
            .iter()
            .filter(|&(_, &times)| times == 0)
            .map(|(goal, _)| goal.as_str())
            .collect();
        if !missed.is_empty() {
            self.fail(format!("never reached: {}", missed.join(", ")));
        }
    }
}

/// What became of one planted bug.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BugRow {
    /// Its name in the catalogue.
    pub name: String,
    /// In a few words.
    pub title: String,
    /// What goes wrong.
    pub breaks: String,
    /// The change that was planted, as a unified diff.
    pub diff: String,
    /// Which kind of check finds it,
    pub level: String,
    /// and which one.
    pub check: String,
    /// The sentence that this shows: of a test, its name.
    pub property: String,
    /// How much runs at once, in a search: threads, or nodes.
    pub sizes: Option<String>,
    /// How often things may happen, where that has a bound: in an exploration; and how many seeds a simulated test has. None, where threads are searched.
    pub bounds: BTreeMap<String, u64>,
    /// How much of the search was made, up to what broke. Of a test: how often it ran. Of what does not compile: nothing.
    #[serde(flatten)]
    pub searched: Searched,
    /// Whether that was all of it. It was not, where the bug was found: the search stopped there. Nothing, where nothing is searched.
    pub exhausted: Option<bool>,
    /// How often each thing was reached, until the search stopped, that the check must reach.
    pub goals: BTreeMap<String, u64>,
    /// What it must say.
    pub says: String,
    /// Whether it must find the bug; else the page says that it does not.
    pub finds: bool,
    /// How hard it is to find, if that was measured.
    pub measured: Option<Measured>,
    /// Whether it was found.
    pub found: bool,
    /// How long that took, compiling included.
    pub seconds: f64,
    /// What found it, or what went wrong.
    pub message: String,
    /// What shows it: the execution as a picture, what the test said, or the compiler.
    pub diagram: Option<String>,
    /// The execution as data, where there is one.
    pub drawing: Option<Diagram>,
}

impl BugRow {
    /// Whether it is as the page says.
    pub fn passed(&self) -> bool {
        match self.finds {
            true => self.found,
            // Not if it could not be run.
            false => !self.found && self.message.ends_with(PASSES),
        }
    }
}

/// What a message ends with if a check found nothing.
pub const PASSES: &str = " passes";

/// The table of models.
pub fn model_table(rows: &[ModelRow]) -> String {
    let mut table = table(&[
        "model",
        "property",
        "size",
        "searched",
        "exhausted",
        "seconds",
    ]);
    for row in rows {
        let verdict = match (&row.failure, row.exhausted) {
            (Some(_), _) => Cell::new("FAILED").fg(Color::Red),
            (None, _) if row.found.is_some() => Cell::new("found").fg(Color::Green),
            (None, true) => Cell::new("yes").fg(Color::Green),
            (None, false) => Cell::new("no").fg(Color::Red),
        };
        table.add_row(vec![
            Cell::new(&row.name).add_attribute(Attribute::Bold),
            Cell::new(&row.property),
            Cell::new(row.size()),
            right(row.searched()),
            verdict,
            right(format!("{:.1}", row.seconds)),
        ]);
    }
    table.to_string()
}

/// The table of bugs.
pub fn bug_table(rows: &[BugRow]) -> String {
    let mut table = table(&["bug", "level", "found", "searched", "seconds", "by"]);
    for row in rows {
        let found = match (row.passed(), row.finds) {
            (true, true) => Cell::new("found").fg(Color::Green),
            (true, false) => Cell::new("not seen").fg(Color::Green),
            (false, true) => Cell::new("MISSED").fg(Color::Red),
            (false, false) => Cell::new("SEEN").fg(Color::Red),
        };
        table.add_row(vec![
            Cell::new(&row.name).add_attribute(Attribute::Bold),
            Cell::new(&row.level),
            found,
            right(thousands(row.searched.count())),
            right(format!("{:.1}", row.seconds)),
            Cell::new(row.message.lines().next().unwrap_or_default()),
        ]);
    }
    table.to_string()
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
        .set_header(header);
    table
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// A number with its thousands apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 model`, `2 models`.
pub fn many(number: u64, what: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {what}{s}", thousands(number))
}

/// `1 model holds`, `2 models hold`.
pub fn that_hold(number: usize, what: &str) -> String {
    let hold = if number == 1 { "holds" } else { "hold" };
    format!("{} {hold}", many(number as u64, what))
}

/// `1 planted bug was found`, `2 planted bugs were found`.
pub fn that_were_found(number: usize) -> String {
    let were = if number == 1 { "was" } else { "were" };
    format!("{} {were} found", many(number as u64, "planted bug"))
}

/// How many executions, or states, each model has: kept in the repository, so that a model which shrinks unnoticed fails.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Golden(BTreeMap<String, u64>);

impl Golden {
    /// Reads lines of "name count".
    pub fn parse(text: &str) -> Golden {
        let line = |line: &str| {
            let (name, count) = line.split_once(' ')?;
            Some((name.to_string(), count.trim().parse().ok()?))
        };
        Golden(text.lines().filter_map(line).collect())
    }

    /// The same as text.
    pub fn print(&self) -> String {
        let lines = self
            .0
            .iter()
            .map(|(name, count)| format!("{name} {count}\n"));
        lines.collect()
    }

    /// The count that is kept of a model.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// Takes over the counts of `rows`, of those that passed. Of others, those stay that `stays` says.
    pub fn bless(&mut self, rows: &[ModelRow], stays: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| stays(name));
        for row in rows.iter().filter(|row| row.passed()) {
            self.0.insert(row.name.clone(), row.searched.count());
        }
    }

    /// Models whose count is kept and which are not among `rows`, all there are.
    pub fn missing(&self, rows: &[ModelRow]) -> Vec<&str> {
        let there = |name: &&str| !rows.iter().any(|row| row.name == **name);
        self.0.keys().map(String::as_str).filter(there).collect()
    }

    /// Fails each row whose count is not the one that is kept.
    pub fn compare(&self, rows: &mut [ModelRow]) {
        for row in rows {
            let kept = self.0.get(&row.name).copied();
            let count = row.searched.count();
            if row.passed() && kept != Some(count) {
                let kept = kept.map_or("none is kept".into(), |kept| format!("{kept} are kept"));
                row.fail(format!(
                    "{count} {}, and {kept}: if the model or the code under it was meant to change, run this again with `--bless` \
                     and say why in the commit",
                    row.searched.unit()
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(executions: u64, exhausted: bool, goal: u64) -> ModelRow {
        ModelRow {
            searched: Searched::Executions { executions },
            exhausted,
            goals: [("waited".to_string(), goal)].into(),
            ..ModelRow::new("model", "threads", "it holds", "2 threads".into())
        }
    }

    #[test]
    fn what_is_broken_on_purpose_passes_if_it_is_found_and_only_then() {
        let mut missed = row(10, true, 1);
        missed.expect("money is missing");
        assert!(!missed.passed());
        let broke = |message: &str| {
            let mut row = row(10, false, 0);
            row.breaks(message);
            row.expect("money is missing");
            row.judge();
            row
        };
        assert!(broke("execution 3: money is missing").passed());
        assert!(!broke("execution 3: there is too much money").passed());
        let mut died = row(10, false, 0);
        died.fail("its process ended without a word: money is missing");
        died.expect("money is missing");
        assert!(!died.passed());
        let mut missed = row(10, true, 0);
        missed.goals = [("money is missing".to_string(), 0)].into();
        missed.judge();
        missed.expect("money is missing");
        assert!(!missed.passed(), "no execution has found it");
    }

    #[test]
    fn a_row_of_json_has_all_that_the_table_has_and_the_goals() {
        let threads = row(10, true, 1);
        let mut messages = row(10, true, 1);
        messages.bounds = [("campaigns".to_string(), 2)].into();
        messages.searched = Searched::of(7, Some(3));
        for (row, count) in [(threads, "executions"), (messages, "states")] {
            let json = serde_json::to_value(&row).unwrap();
            for field in ROW.split(' ').chain(["rules", "found", "failure", count]) {
                assert!(json.get(field).is_some(), "{field} is missing: {json}");
            }
            assert_eq!(json[count], row.searched.count());
            assert_eq!(json["goals"]["waited"], 1);
            assert_eq!(json["bounds"].as_object().unwrap().len(), row.bounds.len());
        }
    }

    #[test]
    fn a_search_that_was_cut_short_fails() {
        let mut row = row(10, false, 1);
        row.judge();
        assert!(!row.passed());
    }

    #[test]
    fn a_goal_that_was_missed_fails() {
        let mut row = row(10, true, 0);
        row.judge();
        assert_eq!(row.failure.unwrap().message, "never reached: waited");
    }

    #[test]
    fn a_model_that_shrinks_fails() {
        let golden = Golden::parse("model 10\nother 5\n");
        let mut rows = [row(10, true, 1), row(9, true, 1)];
        golden.compare(&mut rows);
        assert!(rows[0].passed() && !rows[1].passed());
    }

    #[test]
    fn a_model_without_a_kept_count_fails() {
        let mut rows = [row(10, true, 1)];
        Golden::default().compare(&mut rows);
        assert!(!rows[0].passed());
    }

    #[test]
    fn blessed_counts_survive_printing() {
        let mut golden = Golden::default();
        golden.bless(&[row(12, true, 1)], |_| false);
        assert_eq!(Golden::parse(&golden.print()), golden);
    }

    #[test]
    fn a_model_that_is_gone_is_missed_and_one_that_failed_is_not_blessed() {
        let mut golden = Golden::parse("gone 3\nmodel 10\n");
        assert_eq!(golden.missing(&[row(10, true, 1)]), ["gone"]);
        let mut failed = row(7, false, 1);
        failed.judge();
        golden.bless(&[failed], |_| true);
        assert_eq!(golden, Golden::parse("gone 3\nmodel 10\n"));
    }

    #[test]
    fn thousands_are_apart() {
        let texts = [0, 999, 1_000, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
