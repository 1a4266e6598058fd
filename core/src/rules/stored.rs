//! What must survive a crash, and what becomes of it: plain data between the rules and the disk.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Entries, Entry, HardState, Log, Members, Payload, Position, Snapshot};

/// What a disk held when it was opened. [`Stored::default`] is a new node's.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stored {
    /// The members of the cluster when this node began: nobody, if it waited to be added. Nothing, if it has not begun yet.
    pub founders: Option<Members>,
    /// Term and vote.
    pub hard_state: HardState,
    /// The latest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The entries that follow the snapshot, without a gap: the first has the index after it, or 1.
    pub log: Log,
}

impl Stored {
    /// A node that has this term and vote, and an empty log.
    pub fn new(hard_state: HardState) -> Stored {
        Stored {
            hard_state,
            ..Stored::default()
        }
    }

    /// The same with these members when it began, if it did.
    pub fn with_founders(mut self, founders: Option<Members>) -> Stored {
        self.founders = founders;
        self
    }

    /// The same with this snapshot. Entries come after it.
    ///
    /// # Panics
    /// If there are entries already.
    pub fn with_snapshot(mut self, snapshot: Option<Snapshot>) -> Stored {
        assert!(
            self.log.last() == self.log.before(),
            "entries come after the snapshot"
        );
        self.log = snapshot
            .as_ref()
            .map_or_else(Log::new, |held| Log::after(held.last, held.time));
        self.snapshot = snapshot;
        self
    }

    /// The same with these entries after those that are there.
    ///
    /// # Panics
    /// If a term is older than the one before: that is no log.
    pub fn with_entries(mut self, entries: impl IntoIterator<Item = Entry>) -> Stored {
        self.log.extend(entries);
        self
    }

    /// Whether the log begins where the snapshot ends.
    pub fn is_whole(&self) -> bool {
        let held = self.snapshot.as_ref().map(|snapshot| snapshot.last);
        self.log.before() == held.unwrap_or_default()
    }

    /// With which members this node begins, if it is told these.
    ///
    /// A server "always uses the latest configuration in its log" (section 6); but as long as the log has none, what the node is told
    /// decides who is a majority. So the first answer is kept for ever: a node that is told of itself alone when it comes back would elect
    /// itself in a term that the others share, and commit what they never see. Who names the members as they are now is understood.
    ///
    /// # Errors
    /// If it began with others.
    pub fn founded_by(&self, told: &Members) -> Result<Members, OtherMembers> {
        let same = |members: &Members| members.ids().eq(told.ids());
        let now = self.members();
        match &self.founders {
            Some(founders) if same(founders) || now.is_some_and(same) => Ok(founders.clone()),
            // New, or an older version's, which did not keep them: then those count that the log names.
            None if told.is_empty() || now.is_none_or(same) => Ok(told.clone()),
            founders => Err(OtherMembers {
                began: founders.clone(),
                now: now.cloned(),
                told: told.clone(),
                has_promised: self.hard_state != HardState::default()
                    || self.log.last() != Position::default(),
            }),
        }
    }

    /// The latest members that snapshot or log name, if any.
    fn members(&self) -> Option<&Members> {
        let logged = self
            .log
            .iter()
            .filter_map(|(_, entry)| match &entry.payload {
                Payload::Members(members) => Some(members),
                _ => None,
            });
        let logged = logged.last();
        logged.or(self.snapshot.as_ref().map(|snapshot| &snapshot.members))
    }

    /// Does to these what a disk does with a batch: for storages in memory, and as the definition of what every storage must do.
    pub fn apply(&mut self, batch: Batch) {
        self.hard_state = batch.hard_state;
        if batch.founders.is_some() {
            self.founders = batch.founders;
        }
        if let Some(snapshot) = batch.snapshot {
            self.log.begin_after(snapshot.last, snapshot.time);
            self.snapshot = Some(snapshot);
        }
        if let Some(Suffix { first, entries }) = batch.log {
            self.log.truncate_from(first);
            // What the snapshot holds needs no entry of its own.
            let held = self.log.first().saturating_sub(first);
            let held = usize::try_from(held).map_or(entries.len(), |held| held.min(entries.len()));
            self.log.append(entries.part(held..entries.len()));
        }
    }
}

/// A node is told of other members than those it began with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct OtherMembers {
    /// Those it began with; nobody, if it waited to be added. Nothing, if an older version did not keep them.
    pub began: Option<Members>,
    /// Those that its log names since, if it names any.
    pub now: Option<Members>,
    /// Those it is told.
    pub told: Members,
    /// Whether it has given a vote, or holds an entry, or has at least heard of a term: what others may rely on.
    pub has_promised: bool,
}

impl fmt::Display for OtherMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherMembers {
            began,
            now,
            told,
            has_promised,
        } = self;
        match began {
            Some(began) if began.is_empty() => {
                f.write_str("this node began as one that joins a cluster")?;
            }
            Some(began) => write!(f, "this node began with the members {began}")?,
            None => f.write_str("with which members this node began was not kept")?,
        }
        if let Some(now) = now {
            write!(f, ", its log names {now}")?;
        }
        if told.is_empty() {
            f.write_str(", and it is told to join a cluster")?;
        } else {
            write!(f, ", and it is told {told}")?;
        }
        f.write_str(match began {
            Some(began) if began.is_empty() => ": let it join again",
            Some(_) => ": tell it those it began with, for the log knows of all changes since",
            None => ": tell it those that its log names",
        })?;
        f.write_str(if *has_promised {
            "; if it is to begin anew, give it a storage of its own, and a number that no node of this cluster had"
        } else {
            "; if those were wrong, remove its storage: it has given no vote and holds no entry, so nobody relies on it"
        })
    }
}

/// What a disk is to make durable, whole or not at all. In this order: the founders, term and vote, the snapshot, the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Batch {
    /// The members of the cluster when this node began: in its first batch alone.
    pub founders: Option<Members>,
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

    /// The same with these members, with which the node begins.
    pub fn with_founders(mut self, founders: Members) -> Batch {
        self.founders = Some(founders);
        self
    }

    /// The same with this snapshot.
    pub fn with_snapshot(mut self, snapshot: Snapshot) -> Batch {
        self.snapshot = Some(snapshot);
        self
    }

    /// The same with these entries, the first of which has the index `first`.
    pub fn with_log(mut self, first: u64, entries: impl Into<Entries>) -> Batch {
        let entries = entries.into();
        self.log = Some(Suffix { first, entries });
        self
    }
}

/// The end of a log: all that is stored at `first` and after it goes, and these entries, perhaps none, take its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Suffix {
    /// The index of the first entry.
    pub first: u64,
    /// The entries. To keep them in memory, clone them: that copies none.
    pub entries: Entries,
}
