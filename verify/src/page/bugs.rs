//! The page of a run of planted bugs.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{Scope, known, linked, not_run, page as whole, shown};
use crate::catalogue::Bug;
use crate::diagram::Diagram;
use crate::report::{BugRow, Searched, many, that_were_found, thousands};

/// As many as these, and all are shown from the beginning.
const FEW: usize = 3;

/// A name for each row, unique: the same bug may be found by several checks.
pub(super) fn ids(rows: &[BugRow]) -> Vec<String> {
    let id = |nth: usize| {
        let name = &rows[nth].name;
        match rows[..nth].iter().filter(|row| row.name == *name).count() {
            0 => name.clone(),
            before => format!("{name}-{}", before + 1),
        }
    };
    (0..rows.len()).map(id).collect()
}

pub(super) fn page(bugs: &[Bug], rows: &[BugRow], scope: &Scope) -> String {
    let ids = ids(rows);
    let all = || ids.iter().zip(rows);
    let missed = all().filter(|(_, row)| !row.found);
    let missed: Vec<&str> = missed.map(|(id, _)| id.as_str()).collect();
    let found = rows.iter().filter(|row| row.found).count();
    let body = html! {
        p.lead {
            @if !missed.is_empty() {
                strong.wrong { "Not found: " (linked(&missed)) ". " }
            }
            (found) " of " (that_were_found(rows.len())) ". A check that finds none of these would show nothing by passing; \
             one that finds them may still miss others."
        }
        p.quiet { (not_run(scope)) }
        p.quiet { "Written by " code { (scope.command) } "." }
        p {
            "Each is a mistake that real systems have shipped, or that was made here. It was planted in a copy of the source, compiled, and run; \
             a search stops at the first execution in which it breaks something, so none of these was exhausted. Of the checks that a page names \
             the cheapest was run; with " code { "--also" } " the others too."
        }
        @for ((id, row), bug) in all().zip(bugs) {
            (article(id, row, bug, rows.len() <= FEW))
        }
    };
    whole("Biglock: known bugs, planted", body)
}

fn article(id: &str, row: &BugRow, bug: &Bug, open: bool) -> Markup {
    let how_it_went = html! {
        @if row.found { span.good { "found" } } @else { span.wrong { "missed" } }
        ", " (how(row))
    };
    let found_by = html! {
        dt { "found by" } dd { code { (row.check) } ", " (how(row)) "; compiling included it took " (format!("{:.1}", row.seconds)) " s" }
        dt { "which says" } dd { code { (row.says) } }
        @if let Some(measured) = &row.measured {
            dt { "how hard" } dd { (measured.to_string()) }
        }
    };
    let happens = html! {
        @if !row.found { p.wrong { "It was not found: " (row.message.trim()) } }
        @if row.diagram.is_some() {
            @if row.found { p { (row.message.trim()) "." } }
            (shown(id, row.drawing.as_ref(), row.diagram.as_deref()))
        }
        // What this check does not draw another may have drawn.
        @if row.drawing.is_none() && known::drawing(bug).is_some() { (known::happens(id, bug)) }
    };
    let drawn = row.drawing.as_ref().or(known::drawing(bug));
    let wide = drawn.is_some_and(Diagram::is_wide);
    told(
        bug,
        [id, &row.name],
        open,
        how_it_went,
        found_by,
        (happens, wide),
    )
}

/// All that a page tells, folded behind its title: with what is said behind that, by what it is found, and what happens.
pub(super) fn told(
    bug: &Bug,
    [id, name]: [&str; 2],
    open: bool,
    short: Markup,
    found_by: Markup,
    (happens, wide): (Markup, bool),
) -> Markup {
    html! {
        details.bug id=(id) open=[open.then_some("open")] {
            summary {
                b { (name) } span.title { (markdown(&bug.title, true)) }
                span.how { (short) }
            }
            dl {
                @if let Some(made_by) = &bug.made_by { dt { "made by" } dd { (markdown(made_by, true)) } }
                dt { "breaks" } dd { (markdown(&bug.breaks, true)) }
                (found_by)
                @for blind in &bug.not_seen_by { dt { "not seen by" } dd { (markdown(blind, true)) } }
            }
            (markdown(&bug.story, false))
            h4 { "The change" }
            (changed(&bug.diff))
            // On paper a wide picture has a sheet of its own, and this stands above it.
            div.wide[wide] {
                h4 { span.print { (name) ": " } "What happens" }
                (happens)
            }
        }
    }
}

/// At which level, and how soon.
fn how(row: &BugRow) -> String {
    let count = row.searched.count();
    let by = known::by(&row.level);
    match (&row.level[..], row.searched) {
        (_, Searched::States { .. }) => format!("{by}, after {}", many(count, "state")),
        ("threads", _) if count > 0 => format!("{by}, in execution {}", thousands(count)),
        _ => by.into(),
    }
}

fn changed(diff: &str) -> Markup {
    let class = |line: &str| match line.as_bytes().first() {
        _ if line.starts_with("+++") || line.starts_with("---") => "place",
        Some(b'@') => "place",
        Some(b'+') => "plus",
        Some(b'-') => "minus",
        _ => "same",
    };
    html! {
        pre { code { @for line in diff.lines() { span.(class(line)) { (line) "\n" } } } }
    }
}

/// The Markdown of a page of the catalogue. Its links lead nowhere from here, so only their words stay; what looks like HTML is text.
pub(super) fn markdown(text: &str, inline: bool) -> Markup {
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Start(Tag::Link { .. } | Tag::Image { .. })
        | Event::End(TagEnd::Link | TagEnd::Image) => None,
        Event::Start(Tag::Paragraph) | Event::End(TagEnd::Paragraph) if inline => None,
        Event::Html(html) | Event::InlineHtml(html) => Some(Event::Text(html)),
        event => Some(event),
    });
    let mut out = String::new();
    pulldown_cmark::html::push_html(&mut out, events);
    PreEscaped(out)
}
