//! What somebody may have meant who wrote a name that nothing has.

use std::cmp::Reverse;

/// So many are told at most.
const MOST: usize = 3;
/// How alike two words must be, from 0 to 1000: one letter in three may be wrong.
const ALIKE: u64 = 650;

/// Those of `names` that are like `wrong`, or begin like it: the most alike first.
pub fn near<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wrong = wrong.to_lowercase();
    let mut near: Vec<(u64, &str)> = names
        .map(|name| (likeness(&wrong, &name.to_lowercase()), name))
        .filter(|&(alike, _)| alike >= ALIKE)
        .collect();
    near.sort_by_key(|&(alike, _)| Reverse(alike));
    near.dedup();
    near.into_iter().map(|(_, name)| name).take(MOST).collect()
}

/// Of the name, or of how it begins, up to where a word ends: who looks for all that is of "campaign" writes no more.
fn likeness(wrong: &str, name: &str) -> u64 {
    let ends = name.match_indices(['-', ':']).map(|(end, _)| end);
    let starts = ends.chain([name.len()]).map(|end| &name[..end]);
    let alike = starts.map(|start| strsim::normalized_damerau_levenshtein(wrong, start));
    alike
        .map(|alike| (alike * 1000.0) as u64)
        .max()
        .unwrap_or(0)
}

/// What to say, behind "no model" or whatever it is, if none has this name, or has it as a whole.
pub fn nothing_is_called(wrong: &str, exact: bool, names: &[&str]) -> String {
    let is_part = |name: &&&str| name.to_lowercase().contains(&wrong.to_lowercase());
    let longer: Vec<&str> = names.iter().filter(is_part).copied().collect();
    if exact && !longer.is_empty() {
        let first = longer[..longer.len().min(MOST)].join(", ");
        let more = match longer.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        return format!(
            " is called {wrong:?}, and --exact wants the whole name; without it that is {first}{more}."
        );
    }
    let has_it = match exact {
        true => format!(" is called {wrong:?}"),
        false => format!(" has {wrong:?} in its name"),
    };
    match near(wrong, names.iter().copied()).join(", or ") {
        none if none.is_empty() => has_it + ".",
        near => format!("{has_it}; did you mean {near}?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 7] = [
        "votes-3",
        "votes-5",
        "votes-pre",
        "votes-stale",
        "campaign-rival",
        "reading-term-change",
        "lab_2a::re_election",
    ];

    #[test]
    fn a_slip_is_known_for_the_name_that_it_is_nearest_to() {
        let meant = |wrong| near(wrong, NAMES.into_iter());
        assert_eq!(meant("vote-stale"), ["votes-stale"]);
        assert_eq!(meant("Votes-Stale"), ["votes-stale"]);
        assert_eq!(meant("campain"), ["campaign-rival"]);
        assert_eq!(meant("reading-trem"), ["reading-term-change"]);
        assert_eq!(meant("lab_2z"), ["lab_2a::re_election"]);
        assert!(meant("snapshot").is_empty());
        assert!(meant("").is_empty());
    }

    #[test]
    fn what_is_said_helps_whoever_wrote_it() {
        let said = |wrong, exact| nothing_is_called(wrong, exact, &NAMES);
        assert_eq!(
            said("vote-stale", false),
            " has \"vote-stale\" in its name; did you mean votes-stale?"
        );
        assert_eq!(said("snapshot", true), " is called \"snapshot\".");
        assert_eq!(
            said("votes", true),
            " is called \"votes\", and --exact wants the whole name; without it that is votes-3, votes-5, votes-pre and 1 more."
        );
    }
}
