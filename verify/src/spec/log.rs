//! The terms of a log, which is all that the specification needs of one: by log matching, an entry is named by its index and term.

use biglock::node::Visible;
use biglock::{Position, Term};

/// A log, as the last entry of each term in it. Terms never go down along a log, so that says which term stands at which index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    /// What comes before is in a snapshot; of that entry alone the term is known.
    pub before: Position,
    /// The last entry of each term, in order.
    pub ends: Vec<Position>,
}

impl Log {
    /// The log of a node.
    pub fn of(node: &Visible) -> Log {
        Log {
            before: node.before,
            ends: node.log.clone(),
        }
    }

    /// An empty log that follows this entry.
    pub fn after(before: Position) -> Log {
        let ends = Vec::new();
        Log { before, ends }
    }

    /// Where the last entry stands: the LAST of the TLA+.
    pub fn last(&self) -> Position {
        self.ends.last().copied().unwrap_or(self.before)
    }

    /// The term at this index, if it can be told.
    pub fn term_at(&self, index: u64) -> Option<Term> {
        if index <= self.before.index {
            return (index == self.before.index).then_some(self.before.term);
        }
        let at = self.ends.partition_point(|end| end.index < index);
        self.ends.get(at).map(|end| end.term)
    }

    /// The entry at this index, if it can be told.
    pub fn at(&self, index: u64) -> Option<Position> {
        let term = self.term_at(index)?;
        Some(Position { term, index })
    }

    /// Whether it has this entry, as far as that can be told: what a snapshot replaced is taken for the same.
    pub fn has(&self, entry: Position) -> bool {
        entry.index < self.before.index || self.term_at(entry.index) == Some(entry.term)
    }

    /// The first index at which one of two logs has another entry than the other, or none: one after the end of the shorter if it is the
    /// beginning of the longer. What a snapshot replaced is taken for the same.
    pub fn differs_at(&self, other: &Log) -> u64 {
        let end = self.last().index.min(other.last().index);
        let mut index = self.before.index.max(other.before.index);
        while index <= end {
            if self.term_at(index) != other.term_at(index) {
                return index;
            }
            // Both go on with one term up to here.
            let run = |log: &Log| {
                let at = log.ends.partition_point(|end| end.index <= index);
                log.ends.get(at).map_or(u64::MAX, |end| end.index)
            };
            // The next place where one of them may change its term.
            let next = run(self).min(run(other));
            let here = self.term_at(index);
            let whole = self.term_at(next.min(end)) == here && other.term_at(next.min(end)) == here;
            index = if whole { next.min(end) + 1 } else { index + 1 };
        }
        end.max(self.before.index.max(other.before.index)) + 1
    }

    /// Whether both have the same entries up to this index, as far as that can be told, and have it.
    pub fn agree_up_to(&self, other: &Log, index: u64) -> bool {
        let reach = |log: &Log| log.last().index >= index;
        reach(self) && reach(other) && self.differs_at(other) > index
    }

    /// Adds an entry at the end.
    pub fn push(&mut self, entry: Position) {
        match self.ends.last_mut() {
            Some(end) if end.term == entry.term => end.index = entry.index,
            _ => self.ends.push(entry),
        }
    }

    /// The entries up to this index.
    pub fn up_to(&self, index: u64) -> Log {
        let mut log = Log::after(self.before);
        for &end in &self.ends {
            let first = log.last().index + 1;
            if first <= index {
                log.ends.push(Position {
                    index: end.index.min(index),
                    ..end
                });
            }
        }
        log
    }

    /// Up to which index it has entries of this term, if it has any; a snapshot's last entry counts.
    pub fn last_of(&self, term: Term) -> Option<u64> {
        let all = [self.before].into_iter().chain(self.ends.iter().copied());
        all.filter(|end| end.term == term && end.index > 0)
            .map(|end| end.index)
            .next_back()
    }

    /// The first index at which it has an entry of this term.
    pub fn first_of(&self, term: Term) -> Option<u64> {
        if self.before.term == term && self.before.index > 0 {
            return Some(self.before.index);
        }
        let mut before = self.before.index;
        for end in &self.ends {
            if end.term == term {
                return Some(before + 1);
            }
            before = end.index;
        }
        None
    }
}
