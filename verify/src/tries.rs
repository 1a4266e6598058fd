//! How often something breaks that is tried at random: what a random test would have had to hope for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::report::thousands;

/// So many tries there are of each model, and of each exploration.
pub const TRIES: u64 = 10_000;
/// So many seeds there are of each simulated test: each is a run of a whole cluster, through minutes of its time.
pub const SEEDS: u64 = 1_000;

/// What came of tries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// How many broke something.
    pub broke: u64,
    /// How many of those did not say what the page says that they should.
    pub otherwise: u64,
    /// How many there were.
    pub of: u64,
    /// What no try reached that must be reached in some.
    pub missed: Vec<String>,
}

impl Tries {
    /// Counts the tries of another process as well.
    pub fn add(&mut self, others: &Tries) {
        self.missed = match self.of {
            0 => others.missed.clone(),
            _ => {
                let both = self
                    .missed
                    .iter()
                    .filter(|goal| others.missed.contains(goal));
                both.cloned().collect()
            }
        };
        self.broke += others.broke;
        self.otherwise += others.otherwise;
        self.of += others.of;
    }
}

impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", thousands(self.broke), thousands(self.of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_process_reached_is_missed() {
        let tries = |broke, missed: &[&str]| Tries {
            broke,
            otherwise: 0,
            of: 5000,
            missed: missed.iter().map(|goal| goal.to_string()).collect(),
        };
        let mut all = Tries::default();
        all.add(&tries(2, &["a", "b"]));
        assert_eq!(all, tries(2, &["a", "b"]));
        all.add(&tries(1, &["b", "c"]));
        assert_eq!(
            (all.to_string(), all.missed),
            ("3 of 10,000".into(), vec!["b".to_string()])
        );
    }
}
