//! A page's change: applied where its line numbers say, or nowhere.
//!
//! A diff's context may stand in a file twice. Whoever searches for it, as `patch` does, may plant the bug in a twin of the place that the page is about. So a
//! part of a change must fit within [`NEAR`] lines of its own number; a page that has been left behind is brought up to date by [`rebased`].

use std::ops::RangeInclusive;

use diffy::{Hunk, Line, Patch};

/// So far may a part of a change be from the line that it names.
pub const NEAR: usize = 20;

/// The file with this change in it.
///
/// # Errors
/// If a part of it does not fit near its line.
pub fn apply(source: &str, patch: &Patch<'_, str>) -> Result<String, String> {
    let lines: Vec<&str> = source.split_inclusive('\n').collect();
    let mut out = String::new();
    let mut done = 0;
    for hunk in patch.hunks() {
        let line = hunk.old_range().start();
        let near = line.saturating_sub(NEAR)..=line + NEAR;
        let at = *places(&lines, hunk, near)
            .iter()
            .filter(|&&at| at > done)
            .min_by_key(|&&at| at.abs_diff(line))
            .ok_or_else(|| format!("line {line}, give or take {NEAR}, is not what it changes"))?;
        out.extend(lines[done..at - 1].iter().copied());
        out.extend(hunk.lines().iter().filter_map(|line| match line {
            Line::Context(line) | Line::Insert(line) => Some(*line),
            Line::Delete(_) => None,
        }));
        done = at - 1 + before(hunk).count();
    }
    out.extend(lines[done..].iter().copied());
    Ok(out)
}

/// What a part of a change finds.
fn before<'a>(hunk: &'a Hunk<'_, str>) -> impl Iterator<Item = &'a str> {
    hunk.lines().iter().filter_map(|line| match line {
        Line::Context(line) | Line::Delete(line) => Some(*line),
        Line::Insert(_) => None,
    })
}

/// The lines, counted from 1, of those that are wanted, where a part of a change fits.
fn places(lines: &[&str], hunk: &Hunk<'_, str>, wanted: RangeInclusive<usize>) -> Vec<usize> {
    let old: Vec<&str> = before(hunk).collect();
    let fits = |at: &usize| *at > 0 && lines[at - 1..].starts_with(&old);
    let last = *wanted.end().min(&lines.len());
    (*wanted.start()..=last).filter(fits).collect()
}

/// The headers of this file's part of the diff, with the numbers of today: for each the old one, and what it should be.
///
/// # Errors
/// If a part fits nowhere, or in several places and at none that it names.
pub fn rebased(source: &str, patch: &Patch<'_, str>) -> Result<Vec<String>, String> {
    let lines: Vec<&str> = source.split_inclusive('\n').collect();
    let (mut shift, mut headers) = (0, Vec::new());
    for hunk in patch.hunks() {
        let (old, new) = (hunk.old_range(), hunk.new_range());
        let all = places(&lines, hunk, 1..=lines.len());
        let at = match all[..] {
            [at] => at,
            _ if all.contains(&old.start()) => old.start(),
            [] => return Err(format!("what it changes at line {} is gone", old.start())),
            _ => {
                let line = old.start();
                return Err(format!(
                    "what it changes at line {line} is now at one of {all:?}"
                ));
            }
        };
        let to = at.saturating_add_signed(shift);
        headers.push(format!("@@ -{at},{} +{to},{} @@", old.len(), new.len()));
        shift += new.len().cast_signed() - old.len().cast_signed();
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of numbers in which a line stands twice, far apart.
    fn source() -> String {
        let lines = (1..=200).map(|n| match n {
            50 | 150 => "twin\n".into(),
            _ => format!("{n}\n"),
        });
        lines.collect()
    }

    fn change(at: usize, old: &str) -> String {
        format!("--- a/f\n+++ b/f\n@@ -{at},1 +{at},1 @@\n-{old}\n+new\n")
    }

    fn with(at: usize, old: &str) -> Result<String, String> {
        apply(&source(), &Patch::from_str(&change(at, old)).unwrap())
    }

    #[test]
    fn a_change_is_made_near_its_line_and_not_to_a_twin() {
        let changed = |n: usize| {
            let with = with(n, "twin").unwrap();
            with.lines().position(|line| line == "new").unwrap() + 1
        };
        assert_eq!((changed(50), changed(150)), (50, 150));
        assert_eq!((changed(50 + NEAR), changed(150 - NEAR)), (50, 150));
        assert!(with(51 + NEAR, "twin").is_err());
        assert!(with(7, "twin").is_err());
        assert!(with(7, "gone").is_err());
    }

    #[test]
    fn a_change_that_was_left_behind_is_found_if_there_is_one_place_for_it() {
        let headers = |at, old| rebased(&source(), &Patch::from_str(&change(at, old)).unwrap());
        assert_eq!(headers(7, "120").unwrap(), ["@@ -120,1 +120,1 @@"]);
        assert_eq!(headers(150, "twin").unwrap(), ["@@ -150,1 +150,1 @@"]);
        assert!(headers(100, "twin").is_err());
        assert!(headers(100, "gone").is_err());
    }
}
