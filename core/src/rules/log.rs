//! The log (section 5.3): entries numbered from 1, each with the term in which a leader received it.

use serde::{Deserialize, Serialize};

use super::Term;

/// Where an entry stands: its term and its index. `Position::default()` stands before the first entry.
///
/// The order is the one of section 5.4.1: a log is *more up to date* than another if its last entry has the later term, or the
/// same term and the larger index.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Position {
    /// The term. First, because it decides first.
    pub term: Term,
    /// The index; the first entry has 1.
    pub index: u64,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The term in which a leader received it.
    pub term: Term,
    /// The user's command.
    pub command: Vec<u8>,
}

/// The entries of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Log {
    entries: Vec<Entry>,
}

impl Log {
    /// An empty log.
    pub fn new() -> Log {
        Log::default()
    }

    /// Where the last entry stands.
    pub fn last(&self) -> Position {
        Position {
            term: self.entries.last().map_or(Term::default(), |e| e.term),
            index: self.entries.len() as u64,
        }
    }

    /// The term of the entry at `index`; the term zero for index zero, nothing beyond the end.
    pub fn term_at(&self, index: u64) -> Option<Term> {
        match index.checked_sub(1) {
            None => Some(Term::default()),
            Some(offset) => self.get(offset).map(|entry| entry.term),
        }
    }

    /// Whether an entry of this term stands at this index: the consistency check of AppendEntries (5.3).
    pub fn contains(&self, position: Position) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// Adds an entry at the end.
    ///
    /// # Panics
    /// If its term is older than the last one's: terms never go back along a log.
    pub fn push(&mut self, entry: Entry) {
        assert!(
            entry.term >= self.last().term,
            "an entry of {:?} cannot follow {:?}",
            entry.term,
            self.last()
        );
        self.entries.push(entry);
    }

    /// Removes the entry at `index` and all that follow it.
    pub fn truncate_from(&mut self, index: u64) {
        let keep = usize::try_from(index.saturating_sub(1)).unwrap_or(usize::MAX);
        self.entries.truncate(keep);
    }

    fn get(&self, offset: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(offset).ok()?)
    }
}

impl FromIterator<Entry> for Log {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Log {
        let mut log = Log::new();
        entries.into_iter().for_each(|entry| log.push(entry));
        log
    }
}
