//! The parts of the page about the proof as a whole: the ledger by rule, and what was not checked.

use std::path::Path;

use maud::{Markup, html};

use super::bugs::markdown;
use super::{Scope, known, linked, not_run, thousands};
use crate::proof::{self, Entry};
use crate::report::{ModelRow, many};

/// Each rule, with what stands for it and what this run says. Nothing, if there are no rules.
pub(super) fn by_rule(rows: &[ModelRow], scope: &Scope) -> Markup {
    let entries = proof::ledger(&scope.rules, rows);
    html! {
        @if !entries.is_empty() {
            h2 id="ledger" { "The ledger, by rule" }
            p {
                (proof::summary(&entries)) ". Which check stands for which rule is kept in " code { "verify/rules.md" } "; the numbers are those of this run. \
                 Tests and planted bugs are run apart: " code { "cargo test" } ", " code { "cargo verify --bugs" } "."
            }
            @for entry in &entries { (rule(entry, scope)) }
        }
    }
}

fn rule(entry: &Entry<'_>, scope: &Scope) -> Markup {
    let verdict = entry.verdict();
    let class = match verdict {
        "holds" => "good",
        "FAILED" => "wrong",
        _ => "quiet",
    };
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    html! {
        details.rule id={ "rule-" (entry.rule.id) } open=[(verdict == "FAILED").then_some("open")] {
            summary {
                span.title { b { (entry.rule.says) } }
                span.how { (entry.rule.id) ", " span.(class) { (verdict) } }
            }
            p.quiet { (entry.rule.from) }
            @if !entry.rows.is_empty() {
                table.checks {
                    thead { tr { th { "model" } th { "what it shows" } th.number { "searched" } th { "exhausted" } th.number { "seconds" } } }
                    tbody { @for row in &entry.rows { (line(row)) } }
                }
            }
            @if !entry.rule.bugs.is_empty() {
                p { "Known bugs that break it, each of which must be found: " (known::named(&entry.rule.bugs, scope)) "." }
            }
            @if !entry.rule.tests.is_empty() {
                p { "Tests: "
                    @for (nth, file) in entry.rule.tests.iter().enumerate() {
                        @if nth > 0 { ", " }
                        @if let Some(n) = proof::tests_in(root, file) { (many(n, "test")) " in " }
                        code { (file) }
                    }
                    "."
                }
            }
        }
    }
}

fn line(row: &ModelRow) -> Markup {
    let class = if row.passed() { "good" } else { "wrong" };
    let unit = row.searched.unit();
    html! {
        tr {
            td.name { a href={ "#" (row.name) } { (row.name) } }
            td.property { (row.property) }
            td.number data-label=(unit) { (thousands(row.searched.count())) }
            td.verdict { span.(class) { (said(row)) } }
            td.number data-label="seconds" { (format!("{:.1}", row.seconds)) }
        }
    }
}

fn said(row: &ModelRow) -> &'static str {
    match proof::said(row) {
        "exhausted" => "yes",
        "broken on purpose, and found" => "found",
        other => other,
    }
}

/// What this run left out, and what no run sees.
pub(super) fn unchecked(rows: &[ModelRow], scope: &Scope) -> Markup {
    let short = rows
        .iter()
        .filter(|row| !row.exhausted && row.found.is_none());
    let short: Vec<&str> = short.map(|row| &row.name[..]).collect();
    // What is broken on purpose and found shows nothing, so nothing beyond its bound is left open.
    let exhausted = rows.iter().filter(|row| row.exhausted);
    let bounded = exhausted.filter(|row| row.found.is_none() && !row.bounds.is_empty());
    let bounded: Vec<&str> = bounded.map(|row| &row.name[..]).collect();
    html! {
        h2 id="unchecked" { "What was not checked, and why" }
        ul {
            li { (not_run(scope)) }
            @if !short.is_empty() {
                li { strong.wrong { "Begun, and not exhausted: " (linked(&short)) ". " } "Why, stands with each of them." }
            }
            @if !bounded.is_empty() {
                li { "Exhausted within bounds alone, which stand with each, because there is no end of the states beyond them: " (linked(&bounded)) "." }
            }
            @if !scope.rules.is_empty() {
                li {
                    "Whether the known bugs are still found. What is shown of them is from when their pages were last blessed; "
                    code { "cargo verify --bugs" } " plants them anew."
                }
                li { "Ordinary tests, which " code { "cargo test" } " runs; so the ledger counts them, and does not say that they pass." }
            }
        }
        @if !scope.rules.is_empty() {
            h3 { "By any run" }
            div.prose { (markdown(proof::outside(), false)) }
            h3 { "Of the checker" }
            p {
                "Loom is compared with a brute force, which bears out its locks, its waits and its broadcasts, and nothing else. These parts of it are not \
                 compared, and the facade offers them to nobody:"
            }
            div.prose { (markdown(proof::not_compared(), false)) }
        }
    }
}
