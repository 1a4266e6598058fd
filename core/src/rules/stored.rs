//! What must survive a crash, and what becomes of it: plain data between the rules and the disk.

use serde::{Deserialize, Serialize};

use super::{Entry, HardState, Snapshot};

/// What a disk held when it was opened. [`Stored::default`] is a new node's.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stored {
    /// Term and vote.
    pub hard_state: HardState,
    /// The latest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The entries that follow the snapshot, without a gap: the first has the index after it, or 1.
    pub entries: Vec<Entry>,
}

impl Stored {
    /// A node that has this term and vote, and an empty log.
    pub fn new(hard_state: HardState) -> Stored {
        Stored {
            hard_state,
            ..Stored::default()
        }
    }

    /// The same with this snapshot.
    pub fn with_snapshot(mut self, snapshot: Option<Snapshot>) -> Stored {
        self.snapshot = snapshot;
        self
    }

    /// The same with these entries after the snapshot.
    pub fn with_entries(mut self, entries: Vec<Entry>) -> Stored {
        self.entries = entries;
        self
    }

    /// The index of the first entry, or of the one to come.
    pub fn first(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |s| s.last.index) + 1
    }

    /// Does to these what a disk does with a batch: for storages in memory, and as the definition of what every storage must do.
    pub fn apply(&mut self, batch: Batch) {
        self.hard_state = batch.hard_state;
        if let Some(snapshot) = batch.snapshot {
            let gone = (snapshot.last.index + 1).saturating_sub(self.first());
            let gone = usize::try_from(gone).unwrap_or(usize::MAX);
            self.entries.drain(..gone.min(self.entries.len()));
            self.snapshot = Some(snapshot);
        }
        if let Some(suffix) = batch.log {
            let keep = suffix.first.saturating_sub(self.first());
            self.entries
                .truncate(usize::try_from(keep).unwrap_or(usize::MAX));
            // What the snapshot holds needs no entry of its own.
            let held = self.first().saturating_sub(suffix.first);
            let held = usize::try_from(held).unwrap_or(usize::MAX);
            self.entries.extend(suffix.entries.into_iter().skip(held));
        }
    }
}

/// What a disk is to make durable, whole or not at all. In this order: term and vote, the snapshot, the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Batch {
    /// Term and vote: one record. It takes the place of the one before.
    pub hard_state: HardState,
    /// A new snapshot, if there is one. It takes the place of the one before and of all entries up to its last.
    pub snapshot: Option<Snapshot>,
    /// The new end of the log, if it has changed.
    pub log: Option<Suffix>,
}

impl Batch {
    /// A batch with this term and vote, and nothing else.
    pub fn new(hard_state: HardState) -> Batch {
        Batch {
            hard_state,
            ..Batch::default()
        }
    }

    /// The same with this snapshot.
    pub fn with_snapshot(mut self, snapshot: Snapshot) -> Batch {
        self.snapshot = Some(snapshot);
        self
    }

    /// The same with these entries, the first of which has the index `first`.
    pub fn with_log(mut self, first: u64, entries: Vec<Entry>) -> Batch {
        self.log = Some(Suffix { first, entries });
        self
    }
}

/// The end of a log: all that is stored at `first` and after it goes, and these entries, perhaps none, take its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Suffix {
    /// The index of the first entry.
    pub first: u64,
    /// The entries.
    pub entries: Vec<Entry>,
}
