//! The log (section 5.3): entries numbered from 1, each with the term in which a leader received it; and how a snapshot takes the place
//! of its beginning (section 7).

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{Members, SessionRequest, Term};
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

/// Reads entries that somebody sent, however many he claims to send: nothing is reserved for those that are not there. (What serde makes
/// for a `Vec` reserves up to 1 MiB.)
pub(super) fn read_entries<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Entry>, D::Error> {
    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<Entry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Vec<Entry>, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = all.next_element()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }

    from.deserialize_seq(Entries)
}

/// The entries of one node, without those that a snapshot has replaced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Log {
    /// The last entry that is no longer here: where the log begins.
    before: Position,
    /// And its time.
    before_time: Time,
    entries: VecDeque<Entry>,
    /// What the entries take, in bytes.
    bytes: usize,
}

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
        match self.entries.back() {
            Some(entry) => Position {
                term: entry.term,
                index: self.before.index + self.entries.len() as u64,
            },
            None => self.before,
        }
    }

    /// The log time of the last entry.
    pub fn last_time(&self) -> Time {
        self.entries.back().map_or(self.before_time, |e| e.time)
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
        self.entries.get(self.offset(index)?)
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

    /// Copies the entries from `first` on, as many as take at most `bytes`, but one at least if there is one.
    ///
    /// # Panics
    /// If `first` is no longer here.
    pub fn copy(&self, first: u64, bytes: usize) -> Vec<Entry> {
        self.copy_until(first, u64::MAX, bytes)
    }

    /// The same, and none after `last`.
    ///
    /// # Panics
    /// If `first` is no longer here.
    pub fn copy_until(&self, first: u64, last: u64, bytes: usize) -> Vec<Entry> {
        let Some(offset) = self.offset(first) else {
            panic!("entry {first} is no longer here");
        };
        let most =
            usize::try_from(last.saturating_add(1).saturating_sub(first)).unwrap_or(usize::MAX);
        let offset = offset.min(self.entries.len());
        let mut left = bytes;
        let mut many = 0;
        for entry in self.entries.range(offset..).take(most) {
            let size = entry.size();
            if many > 0 && size > left {
                break;
            }
            left = left.saturating_sub(size);
            many += 1;
        }
        self.entries.range(offset..offset + many).cloned().collect()
    }

    /// All entries, with their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        (self.first()..).zip(&self.entries)
    }

    /// The last entry whose term is at most `term`, among those that can be told: index and term.
    pub fn last_of(&self, term: Term) -> Position {
        // Terms never go down along the log, so the boundary can be found by halves.
        let many = self.entries.partition_point(|entry| entry.term <= term);
        match many.checked_sub(1).and_then(|at| self.entries.get(at)) {
            Some(entry) => Position {
                term: entry.term,
                index: self.before.index + many as u64,
            },
            None => self.before,
        }
    }

    /// The first entry of `term` or a later one, by index; after the end if there is none.
    pub fn first_of(&self, term: Term) -> u64 {
        let many = self.entries.partition_point(|entry| entry.term < term);
        self.first() + many as u64
    }

    /// Adds an entry at the end.
    ///
    /// # Panics
    /// If its term is older than the last one's: terms never go back along a log.
    pub fn push(&mut self, entry: Entry) {
        self.append([entry]);
    }

    /// Adds entries at the end, all at once: they are moved as one block.
    ///
    /// # Panics
    /// As [`push`](Log::push) does.
    pub(super) fn append<E>(&mut self, entries: E)
    where
        E: AsRef<[Entry]> + IntoIterator<Item = Entry>,
    {
        let mut term = self.last().term;
        for entry in entries.as_ref() {
            assert!(
                entry.term >= term,
                "an entry of {} cannot follow one of {term}",
                entry.term
            );
            term = entry.term;
            self.bytes += entry.size();
        }
        self.entries.extend(entries);
    }

    /// Removes the entry at `index` and all that follow it.
    pub fn truncate_from(&mut self, index: u64) {
        let keep = self.offset(index).unwrap_or(0).min(self.entries.len());
        for entry in self.entries.drain(keep..) {
            self.bytes -= entry.size();
        }
    }

    /// Removes the entries up to and with `index`: a snapshot holds what they did.
    pub fn compact_to(&mut self, index: u64) {
        while self.before.index < index
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= entry.size();
            self.before = Position {
                term: entry.term,
                index: self.before.index + 1,
            };
            self.before_time = entry.time;
        }
    }

    fn offset(&self, index: u64) -> Option<usize> {
        let offset = index.checked_sub(self.first())?;
        usize::try_from(offset).ok()
    }
}

impl FromIterator<Entry> for Log {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Log {
        let mut log = Log::new();
        entries.into_iter().for_each(|entry| log.push(entry));
        log
    }
}
