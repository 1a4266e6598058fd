//! The log (section 5.3): entries numbered from 1, each with the term in which a leader received it; and how a snapshot takes the place
//! of its beginning (section 7).

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Entries, Members, SessionRequest, Term};
use crate::Time;

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
    /// When, by the log's own clock: it never goes back along the log, and passes as fast as the clock of whoever leads
    /// (dissertation, 6.3).
    pub time: Time,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: "each leader commits a blank no-op entry at the start of its term" (section 8).
    Noop,
    /// A command for the state machine.
    Command(#[serde(deserialize_with = "crate::codec::read_bytes")] Bytes),
    /// A command of a client's session, which is run at most once (section 8; dissertation, 6.3). In a box, because every entry takes as
    /// much memory as the largest kind.
    Session(Box<SessionRequest>),
    /// The cluster's members from here on (dissertation, 4.1).
    Members(Members),
}

// To fill memory with entries is much of what a command costs.
const _: () = assert!(size_of::<Entry>() <= 56);

impl Entry {
    /// What an entry takes beside its command, in bytes, at most: term, time, and what a codec adds.
    pub const OVERHEAD: usize = 32;

    /// What it takes in a message, in bytes, at most.
    pub fn size(&self) -> usize {
        Entry::OVERHEAD + self.payload.size()
    }
}

impl Payload {
    /// The length of the command in it, in bytes; zero if there is none.
    pub fn command_len(&self) -> usize {
        match self {
            Payload::Command(command) => command.len(),
            Payload::Session(request) => request.command_len(),
            Payload::Noop | Payload::Members(_) => 0,
        }
    }

    /// What it takes beside [`Entry::OVERHEAD`], in bytes, at most.
    pub fn size(&self) -> usize {
        match self {
            Payload::Noop => 0,
            Payload::Command(command) => command.len(),
            Payload::Session(request) => request.size(),
            Payload::Members(members) => members.size(),
        }
    }
}

/// The entries of one node, without those that a snapshot has replaced.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The last entry that is no longer here: where the log begins.
    before: Position,
    /// And its time.
    before_time: Time,
    /// The entries, as they came together, so that they can be shared. Where one run ends and the next begins means nothing.
    runs: VecDeque<Run>,
    /// What the entries take, in bytes.
    bytes: usize,
}

/// Some entries of a log. There is at least one.
#[derive(Clone, Debug)]
struct Run {
    /// The index of the first.
    first: u64,
    entries: Entries,
}

impl Run {
    /// The index of the last.
    fn last(&self) -> u64 {
        self.first + self.entries.len() as u64 - 1
    }

    /// How many of its entries precede this index.
    fn before(&self, index: u64) -> usize {
        let before = index.saturating_sub(self.first);
        usize::try_from(before).map_or(self.entries.len(), |many| many.min(self.entries.len()))
    }
}

/// So few entries are put to those before them, where nobody shares those: a run each would take more memory than they do.
const FEW: usize = 8;

impl Log {
    /// An empty log.
    pub fn new() -> Log {
        Log::default()
    }

    /// An empty log that follows this entry, which a snapshot holds.
    pub fn after(before: Position, time: Time) -> Log {
        Log {
            before,
            before_time: time,
            ..Log::default()
        }
    }

    /// Where the last entry stands.
    pub fn last(&self) -> Position {
        let last = self.runs.back().map(|run| (run, run.entries.last()));
        match last {
            Some((run, Some(entry))) => Position {
                term: entry.term,
                index: run.last(),
            },
            _ => self.before,
        }
    }

    /// The log time of the last entry.
    pub fn last_time(&self) -> Time {
        let last = self.runs.back().and_then(|run| run.entries.last());
        last.map_or(self.before_time, |entry| entry.time)
    }

    /// The last entry that is no longer here.
    pub fn before(&self) -> Position {
        self.before
    }

    /// The index of the first entry that is here, or would be.
    pub fn first(&self) -> u64 {
        self.before.index + 1
    }

    /// What the entries take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entry at `index`, if it is here.
    pub fn get(&self, index: u64) -> Option<&Entry> {
        let run = self.runs.get(self.run_of(index)?)?;
        run.entries.get(run.before(index))
    }

    /// Which run holds the entry at `index`, or would if it were longer. Nothing for one that is no longer here.
    fn run_of(&self, index: u64) -> Option<usize> {
        // Mostly it is the last.
        let begins_after = |run: &Run| run.first > index;
        let before = match self.runs.back().is_some_and(begins_after) {
            true => self.runs.partition_point(|run| !begins_after(run)),
            false => self.runs.len(),
        };
        before.checked_sub(1)
    }

    /// The term of the entry at `index`, if that can be told: it is here, or the last before the beginning. The term zero for index zero.
    pub fn term_at(&self, index: u64) -> Option<Term> {
        if index == self.before.index {
            return Some(self.before.term);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// Whether an entry of this term stands at this index: the consistency check of AppendEntries (5.3).
    pub fn contains(&self, position: Position) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// The entries from `first` on, as many as take at most `bytes`, but one at least if there is one. They are shared, if they came
    /// together, and copied otherwise.
    ///
    /// # Panics
    /// If `first` is no longer here.
    pub fn share(&self, first: u64, bytes: usize) -> Entries {
        self.share_until(first, u64::MAX, bytes)
    }

    /// The same, and none after `last`.
    ///
    /// # Panics
    /// If `first` is no longer here.
    pub fn share_until(&self, first: u64, last: u64, bytes: usize) -> Entries {
        assert!(first > self.before.index, "entry {first} is no longer here");
        let mut left = bytes;
        let mut many = 0;
        for (_, entry) in self
            .iter_from(first)
            .take_while(|(index, _)| *index <= last)
        {
            let size = entry.size();
            if many > 0 && size > left {
                break;
            }
            left = left.saturating_sub(size);
            many += 1;
        }
        let run = self.run_of(first).map(|run| &self.runs[run]);
        match run.map(|run| (run, run.before(first))) {
            Some((run, from)) if from + many <= run.entries.len() => {
                run.entries.part(from..from + many)
            }
            _ => {
                let entries = self.iter_from(first).take(many);
                entries.map(|(_, entry)| entry.clone()).collect()
            }
        }
    }

    /// All entries, with their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.iter_from(self.first())
    }

    /// The entries from `first` on that are here, with their indexes.
    pub fn iter_from(&self, first: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let runs = self.runs.range(self.run_of(first).unwrap_or(0)..);
        runs.flat_map(move |run| {
            let from = run.before(first);
            (run.first + from as u64..).zip(&run.entries[from..])
        })
    }

    /// The last entry whose term is at most `term`, among those that can be told: index and term.
    pub fn last_of(&self, term: Term) -> Position {
        let index = self.end_of(|entry| entry.term <= term) - 1;
        let term = self.term_at(index).unwrap_or_default();
        Position { term, index }
    }

    /// The first entry of `term` or a later one, by index; after the end if there is none.
    pub fn first_of(&self, term: Term) -> u64 {
        self.end_of(|entry| entry.term < term)
    }

    /// The index after the last entry of which this holds, as it does of all before. Terms never go down along the log, so it can be found by
    /// halves.
    fn end_of(&self, holds: impl Fn(&Entry) -> bool) -> u64 {
        let begin = self
            .runs
            .partition_point(|run| run.entries.first().is_some_and(&holds));
        match begin.checked_sub(1).and_then(|run| self.runs.get(run)) {
            Some(run) => run.first + run.entries.partition_point(holds) as u64,
            None => self.first(),
        }
    }

    /// Adds an entry at the end.
    ///
    /// # Panics
    /// If its term is older than the last one's: terms never go back along a log.
    pub fn push(&mut self, entry: Entry) {
        let last = self.last();
        self.bytes += check(last.term, &entry);
        let alone = match self.runs.back_mut() {
            Some(run) => run.entries.push(entry),
            None => Some(entry),
        };
        if let Some(entry) = alone {
            self.runs.push_back(Run {
                first: last.index + 1,
                entries: vec![entry].into(),
            });
        }
    }

    /// Adds entries at the end, all at once.
    ///
    /// # Panics
    /// As [`push`](Log::push) does.
    pub fn append(&mut self, entries: Entries) {
        if entries.len() < FEW {
            return entries.iter().for_each(|entry| self.push(entry.clone()));
        }
        let Position { mut term, index } = self.last();
        for entry in &entries {
            self.bytes += check(term, entry);
            term = entry.term;
        }
        let first = index + 1;
        self.runs.push_back(Run { first, entries });
    }

    /// Removes the entry at `index` and all that follow it.
    pub fn truncate_from(&mut self, index: u64) {
        while let Some(run) = self.runs.back_mut()
            && index <= run.last()
        {
            let keep = run.before(index);
            self.bytes -= size(&run.entries[keep..]);
            match keep {
                0 => drop(self.runs.pop_back()),
                _ => run.entries = run.entries.part(0..keep),
            }
        }
    }

    /// A snapshot that ends with this entry takes the place of what is here up to there.
    pub(super) fn begin_after(&mut self, last: Position, time: Time) {
        self.compact_to(last.index);
        (self.before, self.before_time) = (last, time);
    }

    /// Removes the entries up to and with `index`: a snapshot holds what they did.
    pub fn compact_to(&mut self, index: u64) {
        while let Some(run) = self.runs.front_mut()
            && run.first <= index
        {
            let (gone, many) = (run.before(index + 1), run.entries.len());
            self.bytes -= size(&run.entries[..gone]);
            let last = &run.entries[gone - 1];
            self.before = Position {
                term: last.term,
                index: run.first + gone as u64 - 1,
            };
            self.before_time = last.time;
            run.first += gone as u64;
            match gone == many {
                true => drop(self.runs.pop_front()),
                false => run.entries = run.entries.part(gone..many),
            }
        }
    }
}

/// What these take, in bytes.
fn size(entries: &[Entry]) -> usize {
    entries.iter().map(Entry::size).sum()
}

/// What an entry takes that is to follow one of this term.
fn check(last: Term, entry: &Entry) -> usize {
    assert!(
        entry.term >= last,
        "an entry of {} cannot follow one of {last}",
        entry.term
    );
    entry.size()
}

impl PartialEq for Log {
    fn eq(&self, other: &Log) -> bool {
        (self.before, self.before_time, self.last())
            == (other.before, other.before_time, other.last())
            && self.iter().eq(other.iter())
    }
}

impl Eq for Log {}

impl Hash for Log {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As the list that it is: the explorer names states by what they say here.
        (self.before, self.before_time).hash(state);
        self.iter().count().hash(state);
        self.iter().for_each(|(_, entry)| entry.hash(state));
        self.bytes.hash(state);
    }
}

/// Many that come at once, from a disk, are cut into runs of their own: as they go, one by one, their memory does.
impl Extend<Entry> for Log {
    fn extend<I: IntoIterator<Item = Entry>>(&mut self, entries: I) {
        let mut entries = entries.into_iter();
        loop {
            let run: Entries = entries.by_ref().take(Entries::TOGETHER).collect();
            if run.is_empty() {
                return;
            }
            self.append(run);
        }
    }
}

impl FromIterator<Entry> for Log {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Log {
        let mut log = Log::new();
        log.extend(entries);
        log
    }
}
