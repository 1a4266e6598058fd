//! The proof by rule: which checks stand for each rule of the lock and of the paper, and what this run has to say for it.
//!
//! `verify/rules.md` says which they are.

use std::fmt::Write;
use std::path::Path;

use crate::report::{ModelRow, thousands};

#[cfg(test)]
mod tests;

/// The file, as it stood when this was built.
const RULES: &str = include_str!("../rules.md");
/// What the package says of itself; one part of it tells what is outside.
const README: &str = include_str!("../README.md");

/// A line for each model and exploration there is.
const COUNTED: [&str; 2] = [
    include_str!("../models.golden"),
    include_str!("../orders.golden"),
];

/// Whether it is too large for every day, so that only `--deep` runs it: its name says so.
pub fn is_deep(name: &str) -> bool {
    name.ends_with("-deep")
}

/// One rule, and what stands for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its name: `lock-5`.
    pub id: String,
    /// What it says.
    pub says: String,
    /// Where that is from.
    pub from: String,
    /// Models of threads: names, of which the last character may be a `*`.
    pub models: Vec<String>,
    /// Orders of messages: the same.
    pub explorations: Vec<String>,
    /// Known bugs that break it.
    pub bugs: Vec<String>,
    /// Files of ordinary tests.
    pub tests: Vec<String>,
}

impl Rule {
    /// Whether the model or exploration of this name stands for it.
    pub fn has(&self, name: &str) -> bool {
        let mut all = self.models.iter().chain(&self.explorations);
        all.any(|pattern| fits(pattern, name))
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

/// All rules.
pub fn rules() -> Vec<Rule> {
    parse(RULES)
}

/// The names of the rules for which the model or exploration of this name stands.
pub fn stands_for(rules: &[Rule], name: &str) -> Vec<String> {
    let all = rules.iter().filter(|rule| rule.has(name));
    all.map(|rule| rule.id.clone()).collect()
}

fn parse(text: &str) -> Vec<Rule> {
    let mut rules = Vec::new();
    for part in text.split("\n## ").skip(1) {
        let mut lines = part.lines();
        let (id, says) = lines
            .next()
            .and_then(|line| line.split_once(": "))
            .unwrap_or_default();
        let mut rule = Rule {
            id: id.into(),
            says: says.into(),
            ..Rule::default()
        };
        for line in lines {
            let list = |names: &str| names.split(", ").map(String::from).collect();
            match line
                .strip_prefix("- ")
                .and_then(|line| line.split_once(": "))
            {
                Some(("models", names)) => rule.models = list(names),
                Some(("explorations", names)) => rule.explorations = list(names),
                Some(("bugs", names)) => rule.bugs = list(names),
                Some(("tests", names)) => rule.tests = list(names),
                _ => {
                    let space = if rule.from.is_empty() { "" } else { " " };
                    rule.from += &format!("{space}{line}");
                }
            }
        }
        rule.from = rule.from.trim().into();
        rules.push(rule);
    }
    rules
}

/// What the package says is outside of every check, in Markdown.
pub fn outside() -> &'static str {
    let after = README
        .split_once("\n## What is outside\n")
        .map(|(_, after)| after);
    let part = after.map(|after| after.split("\n## ").next().unwrap_or(after));
    part.unwrap_or_default()
}

/// What of the checker itself was not compared with anything, and why: a table, in Markdown.
pub fn not_compared() -> &'static str {
    let after = README.split_once("\nNot compared, and offered by the facade to nobody:\n\n");
    let table = after.map(|(_, after)| after.split("\n\n").next().unwrap_or(after));
    table.unwrap_or_default()
}

/// What this run says of a rule.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The rows that stand for it.
    pub rows: Vec<&'a ModelRow>,
}

impl Entry<'_> {
    /// In a word: whether all that stands for it ran and passed. What is broken on purpose shows by itself only that it can be found.
    pub fn verdict(&self) -> &'static str {
        let whole = self.rows.iter().any(|row| row.found.is_none());
        match (self.rows.iter().all(|row| row.passed()), whole) {
            (false, _) => "FAILED",
            (true, false) => "not run",
            (true, true) if self.is_in_part() => "holds in part",
            (true, true) => "holds",
        }
    }

    /// Whether something that stands for it did not run. (Larger sizes are more of the same, and not for every run.)
    fn is_in_part(&self) -> bool {
        let lines = COUNTED.iter().flat_map(|text| text.lines());
        let names = lines.filter_map(|line| line.split(' ').next());
        let ran = |name: &str| self.rows.iter().any(|row| row.name == name);
        let mut all = names.filter(|name| self.rule.has(name) && !is_deep(name));
        all.any(|name| !ran(name))
    }
}

/// The ledger of a run.
pub fn ledger<'a>(rules: &'a [Rule], rows: &'a [ModelRow]) -> Vec<Entry<'a>> {
    let entry = |rule: &'a Rule| Entry {
        rule,
        rows: rows.iter().filter(|row| rule.has(&row.name)).collect(),
    };
    rules.iter().map(entry).collect()
}

/// The same as text.
pub fn text(rules: &[Rule], rows: &[ModelRow]) -> String {
    let mut out = String::new();
    for entry in ledger(rules, rows) {
        let Rule { id, says, from, .. } = entry.rule;
        // A string takes whatever is written to it.
        let _ = writeln!(out, "{id}: {says}\n  {from} This run: {}.", entry.verdict());
        for row in entry.rows {
            let (searched, verdict) = (row.searched(), said(row));
            let seconds = row.seconds;
            let _ = writeln!(
                out,
                "    {:32} {searched:>24}  {verdict}, {seconds:.1} s",
                row.name
            );
        }
        for (what, names) in [("bugs", &entry.rule.bugs), ("tests", &entry.rule.tests)] {
            if !names.is_empty() {
                let _ = writeln!(out, "    {what}, not run here: {}", names.join(", "));
            }
        }
    }
    out
}

/// What became of a row, in a few words.
pub fn said(row: &ModelRow) -> &'static str {
    match (row.passed(), &row.found) {
        (false, _) if row.exhausted => "FAILED",
        (false, _) => "FAILED, not exhausted",
        (true, Some(_)) => "broken on purpose, and found",
        (true, None) => "exhausted",
    }
}

/// How many tests a file has, if it can be read.
pub fn tests_in(root: &Path, file: &str) -> Option<u64> {
    let text = std::fs::read_to_string(root.join(file)).ok()?;
    Some(text.lines().filter(|line| line.trim() == "#[test]").count() as u64)
}

/// How many of what there is, for a summary: `12 rules`, of which so many had something that ran.
pub fn summary(entries: &[Entry<'_>]) -> String {
    let of = |verdict: &str| {
        entries
            .iter()
            .filter(|entry| entry.verdict() == verdict)
            .count()
    };
    let (all, holds) = (thousands(entries.len() as u64), of("holds"));
    match (of("FAILED"), of("holds in part"), of("not run")) {
        (0, 0, 0) => format!("{holds} of {all} rules hold in all that stands for them"),
        (0, part, idle) => format!(
            "No rule is broken: {holds} of {all} hold in all that stands for them, {part} in the part of it that ran, and {idle} were not asked about"
        ),
        (failed, ..) => format!("{failed} of {all} rules are broken, or not shown"),
    }
}
