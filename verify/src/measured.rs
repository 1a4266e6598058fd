//! How hard a bug is to find: by one check, as it was measured, and as its page says it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::report::thousands;
use crate::tries::Tries;

/// What was measured of one check of one bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// It does not compile.
    Compiler,
    /// An ordinary test fails: it draws nothing and its threads, if it has any, need no luck.
    Test,
    /// A test fails that draws from seeds of its own, which are always the same.
    Fixed {
        /// The first seed with which it fails. The test tries no more.
        seed: u64,
    },
    /// A model of threads breaks.
    Threads {
        /// In which execution of the whole search,
        execution: u64,
        /// of how many that it has if nothing is broken.
        of: u64,
        /// What bounded searches see.
        bounded: Vec<Bounded>,
        /// How many random schedules break.
        schedules: Tries,
    },
    /// A comparison of the checker with a brute force differs, on random programs.
    Programs {
        /// In which execution,
        execution: u64,
        /// of how many that it has if nothing is broken.
        of: u64,
    },
    /// An exploration of message orders breaks.
    Messages {
        /// After how many states,
        state: u64,
        /// of how many that it has if nothing is broken.
        of: u64,
        /// How many random walks break.
        walks: Tries,
    },
    /// A simulated test fails.
    Seeds {
        /// With how many seeds.
        seeds: Tries,
    },
}

impl Measured {
    /// How much there is to search if nothing is broken; of what searches nothing, nothing.
    pub fn without_the_bug(&self) -> Option<u64> {
        match *self {
            Measured::Threads { of, .. }
            | Measured::Programs { of, .. }
            | Measured::Messages { of, .. } => Some(of),
            Measured::Compiler
            | Measured::Test
            | Measured::Fixed { .. }
            | Measured::Seeds { .. } => None,
        }
    }
}

/// What a search sees that allows only so many preemptions in an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounded {
    /// How many.
    pub preemptions: usize,
    /// In which execution it finds the bug, if it does.
    pub execution: Option<u64>,
}

/// The bounds that are tried: two is the one that most users of loom set.
pub const BOUNDS: [usize; 2] = [1, 2];

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Measured::Compiler => f.write_str(COMPILER),
            Measured::Test => f.write_str(TEST),
            Measured::Fixed { seed } => write!(f, "{FIXED}{}", thousands(*seed)),
            Measured::Threads {
                execution,
                of,
                bounded,
                schedules,
            } => {
                f.write_str(&first("execution", *execution, *of))?;
                for Bounded {
                    preemptions,
                    execution,
                } in bounded
                {
                    let found = match execution {
                        Some(n) => format!("execution {}", thousands(*n)),
                        None => "not found".into(),
                    };
                    write!(f, "; preemption bound {preemptions}: {found}")?;
                }
                write!(f, "; {}", tried(schedules, "random schedules"))
            }
            Measured::Programs { execution, of } => {
                write!(f, "{}{PROGRAMS}", first("execution", *execution, *of))
            }
            Measured::Messages { state, of, walks } => {
                let walks = tried(walks, "random walks");
                write!(f, "{}; {walks}", first("state", *state, *of))
            }
            Measured::Seeds { seeds } => f.write_str(&tried(seeds, "seeds")),
        }
    }
}

const COMPILER: &str = "nothing runs: it does not compile";
const TEST: &str =
    "every run: nothing is searched, so a preemption bound and random draws do not apply";
const FIXED: &str = "every run: nothing is searched, and its seeds are always the same, from 0 on; the first that fails is ";

/// How a test says which of its seeds has failed: `for_each_seed` in core/tests/properties.rs.
const SEED: &str = "the seed is ";

const PROGRAMS: &str = ", of random programs";

impl Measured {
    /// Of an ordinary test that said this as it failed.
    pub fn of_test(said: &str) -> Measured {
        let seed = said.lines().find_map(|line| line.strip_prefix(SEED));
        match seed.and_then(|seed| seed.parse().ok()) {
            Some(seed) => Measured::Fixed { seed },
            None => Measured::Test,
        }
    }
}

/// Where it was found, and how many there are if nothing is broken. With the bug there may be more.
fn first(what: &str, nth: u64, of: u64) -> String {
    let (nth, of) = (thousands(nth), thousands(of));
    format!("{what} {nth} ({of} without the bug)")
}

fn tried(tries: &Tries, what: &str) -> String {
    match tries.otherwise {
        0 => format!("{tries} {what}"),
        n => format!("{tries} {what}, {} of them in other words", thousands(n)),
    }
}

impl FromStr for Measured {
    type Err = String;

    fn from_str(text: &str) -> Result<Measured, String> {
        let read = || match text {
            COMPILER => Some(Measured::Compiler),
            TEST => Some(Measured::Test),
            _ if text.starts_with(FIXED) => {
                let seed = number(text.strip_prefix(FIXED)?)?;
                Some(Measured::Fixed { seed })
            }
            _ if text.ends_with(PROGRAMS) => {
                let (execution, of) = where_found("execution", text.strip_suffix(PROGRAMS)?)?;
                Some(Measured::Programs { execution, of })
            }
            _ if text.starts_with("execution ") => threads(text),
            _ if text.starts_with("state ") => {
                let (states, walks) = text.split_once("; ")?;
                let (state, of) = where_found("state", states)?;
                let walks = tries(walks, "random walks")?;
                Some(Measured::Messages { state, of, walks })
            }
            _ => {
                let seeds = tries(text, "seeds")?;
                Some(Measured::Seeds { seeds })
            }
        };
        read().ok_or_else(|| format!("this is no measurement: {text}"))
    }
}

fn threads(text: &str) -> Option<Measured> {
    let mut parts: Vec<&str> = text.split("; ").collect();
    let schedules = tries(parts.pop()?, "random schedules")?;
    let mut parts = parts.into_iter();
    let (execution, of) = where_found("execution", parts.next()?)?;
    let bounded = parts.map(|part| {
        let (bound, found) = part.strip_prefix("preemption bound ")?.split_once(": ")?;
        let execution = match found {
            "not found" => None,
            _ => Some(number(found.strip_prefix("execution ")?)?),
        };
        Some(Bounded {
            preemptions: bound.parse().ok()?,
            execution,
        })
    });
    let bounded = bounded.collect::<Option<_>>()?;
    Some(Measured::Threads {
        execution,
        of,
        bounded,
        schedules,
    })
}

fn tries(text: &str, what: &str) -> Option<Tries> {
    let (text, otherwise) = match text.split_once(", ") {
        Some((text, rest)) => (text, number(rest.strip_suffix(" of them in other words")?)?),
        None => (text, 0),
    };
    let (broke, of) = of(text.strip_suffix(what)?.trim_end())?;
    Some(Tries {
        broke,
        otherwise,
        of,
        missed: Vec::new(),
    })
}

/// `execution 1,234 (5,678 without the bug)`.
fn where_found(what: &str, text: &str) -> Option<(u64, u64)> {
    let text = text.strip_prefix(what)?.trim_start();
    let (nth, of) = text.strip_suffix(" without the bug)")?.split_once(" (")?;
    Some((number(nth)?, number(of)?))
}

/// `1,234 of 5,678`.
fn of(text: &str) -> Option<(u64, u64)> {
    let (some, all) = text.split_once(" of ")?;
    Some((number(some)?, number(all)?))
}

fn number(text: &str) -> Option<u64> {
    let number = text.replace(',', "").parse().ok()?;
    (thousands(number) == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(broke: u64, otherwise: u64, of: u64) -> Tries {
        Tries {
            broke,
            otherwise,
            of,
            missed: Vec::new(),
        }
    }

    #[test]
    fn a_test_that_names_its_seed_has_drawn() {
        let said = "thread 'a' panicked at x.rs:1:2:\ntwo leaders\nthe seed is 319";
        assert_eq!(Measured::of_test(said), Measured::Fixed { seed: 319 });
        for said in ["", "two leaders", "it is not the seed is 3"] {
            assert_eq!(Measured::of_test(said), Measured::Test);
        }
    }

    #[test]
    fn what_a_page_says_is_what_was_measured() {
        let found = |execution| Bounded {
            preemptions: 2,
            execution,
        };
        let threads = |bounded| Measured::Threads {
            execution: 1234,
            of: 56_789,
            bounded,
            schedules: some(17, 2, 10_000),
        };
        for (measured, text) in [
            (Measured::Compiler, COMPILER),
            (Measured::Test, TEST),
            (Measured::Fixed { seed: 1_012 }, &format!("{FIXED}1,012")),
            (
                threads(vec![found(None)]),
                "execution 1,234 (56,789 without the bug); preemption bound 2: not found; 17 of 10,000 random schedules, 2 of them in other words",
            ),
            (
                threads(vec![found(Some(88))]),
                "execution 1,234 (56,789 without the bug); preemption bound 2: execution 88; 17 of 10,000 random schedules, 2 of them in other words",
            ),
            (
                Measured::Messages {
                    state: 12,
                    of: 1_167_490,
                    walks: some(0, 0, 10_000),
                },
                "state 12 (1,167,490 without the bug); 0 of 10,000 random walks",
            ),
            (
                Measured::Programs {
                    execution: 7,
                    of: 418_835,
                },
                "execution 7 (418,835 without the bug), of random programs",
            ),
            (
                Measured::Seeds {
                    seeds: some(200, 0, 200),
                },
                "200 of 200 seeds",
            ),
        ] {
            assert_eq!(measured.to_string(), text);
            assert_eq!(text.parse(), Ok(measured));
        }
        for wrong in [
            "",
            "often",
            "3 of 4 attempts",
            "execution 1 of 2",
            "1000 of 2000 seeds",
        ] {
            assert!(wrong.parse::<Measured>().is_err(), "{wrong}");
        }
    }
}
