//! The catalogue in the page of models: each known bug as its page tells of it, with its picture. Nothing is planted for that.

use maud::{Markup, html};

use super::bugs::told;
use super::{Scope, shown};
use crate::catalogue::{Bug, Check};
use crate::diagram::Diagram;
use crate::report::{ModelRow, many};

/// What is drawn of a bug, if anything is.
pub(super) fn drawing(bug: &Bug) -> Option<&Diagram> {
    bug.picture.as_ref()?.drawing.as_ref()
}

/// All of them, if there are any.
pub(super) fn all(rows: &[ModelRow], scope: &Scope) -> Markup {
    let drawn = scope.bugs.iter().filter(|bug| drawing(bug).is_some());
    let drawn = drawn.count();
    html! {
        @if !scope.bugs.is_empty() {
            h2 id="catalogue" { "Known bugs" }
            p {
                (many(scope.bugs.len() as u64, "mistake")) " that real systems have shipped, or that somebody made or invented here. Each can be planted in \
                 the real source, and a check must find it. "
                b { "What is shown was found when each page of the catalogue was last blessed, not by this run; " }
                code { "cargo verify --bugs" } " plants them anew, and fails if one is no longer found. Of "
                (drawn) " there is a picture: the first history in which the bug broke something. Of the others, which a test or the compiler finds, \
                 there is what that said."
            }
            @for bug in &scope.bugs { (article(bug, rows)) }
        }
    }
}

fn article(bug: &Bug, rows: &[ModelRow]) -> Markup {
    let others = bug.also.iter().map(|(check, says)| (check, &says[..]));
    let found_by = html! {
        dt { "found by" } dd { (found(bug, &bug.check, &bug.says, rows)) }
        @for (check, says) in others { dt { "also found by" } dd { (found(bug, check, says, rows)) } }
    };
    let short = html! { (by(bug.check.level())) };
    let id = &bug.id;
    let wide = drawing(bug).is_some_and(Diagram::is_wide);
    let happens = (happens(id, bug), wide);
    told(bug, [id, id], false, short, found_by, happens)
}

/// A check, what it says, and how hard it is to find by it.
fn found(bug: &Bug, check: &Check, says: &str, rows: &[ModelRow]) -> Markup {
    let name = check.to_string();
    html! {
        @if rows.iter().any(|row| row.name == name) { a href={ "#" (name) } { code { (name) } } } @else { code { (name) } }
        ", " (by(check.level())) ", which says " code { (says) }
        @if let Some(measured) = bug.measured(check) { div.quiet { (measured.to_string()) } }
    }
}

/// What the page of the bug shows of it.
pub(super) fn happens(id: &str, bug: &Bug) -> Markup {
    let Some(picture) = &bug.picture else {
        return html! {};
    };
    html! {
        @if picture.by != bug.check {
            p { "Drawn by " code { (picture.by) } ", which finds it too: the check that needs least has nothing to draw." }
        }
        (shown(id, picture.drawing.as_ref(), Some(&picture.text)))
    }
}

/// At which level.
pub(super) fn by(level: &str) -> &'static str {
    match level {
        "compiler" => "by the compiler: it does not compile",
        "simulation" => "by a simulated run",
        "test" => "by an ordinary test",
        "messages" => "by an exploration",
        _ => "by a model of threads",
    }
}

/// The names of bugs, which lead to them if they are in the page.
pub(super) fn named(names: &[String], scope: &Scope) -> Markup {
    html! {
        @for (nth, name) in names.iter().enumerate() {
            @if nth > 0 { ", " }
            @if scope.bugs.iter().any(|bug| bug.id == *name) { a href={ "#" (name) } { (name) } } @else { (name) }
        }
    }
}
