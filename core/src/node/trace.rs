//! What each critical section leaves behind, as far as the paper's rules speak of it: a record a section, for whoever checks a node's steps
//! against a specification.
//!
//! A [`Recorder`] takes notes with the lock held, from an [`Observer`](crate::lock::Observer): it copies a few numbers and counts references.
//! What costs more, the digests of the payloads and the line of a file, is made from the [`Note`] without the lock.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::rules::{HardState, NodeId, Payload, Position, Raft, RoleKind, WriteId};

/// What one node looks like between two sections.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Visible {
    /// Term and vote,
    pub hard_state: HardState,
    /// and whether both are durable.
    pub hard_state_durable: bool,
    /// The role.
    pub role: RoleKind,
    /// The last entry that a snapshot has replaced: where the log begins.
    pub before: Position,
    /// The last entry of each term in the log, in order. With `before` it says which term stands at which index.
    pub log: Vec<Position>,
    /// Up to which index the log, as it is now, is durable.
    pub log_durable: u64,
    /// Up to which index it is known to be committed.
    pub commit: u64,
    /// Who votes, by the latest members in the log.
    pub voters: Vec<NodeId>,
    /// Whether the node has stopped.
    pub stopped: bool,
}

impl Visible {
    /// What this node looks like now.
    pub fn of(raft: &Raft, stopped: bool) -> Visible {
        let log = raft.log();
        let mut ends = Vec::new();
        let mut last = log.last();
        while last.index > log.before().index {
            ends.push(last);
            let first = log.first_of(last.term);
            let index = first - 1;
            let term = log.term_at(index).unwrap_or_default();
            last = Position { term, index };
        }
        ends.reverse();
        Visible {
            hard_state: raft.hard_state(),
            hard_state_durable: raft.is_hard_state_durable(),
            role: raft.role().kind(),
            before: log.before(),
            log: ends,
            log_durable: raft.durable_log(),
            commit: raft.commit(),
            voters: raft.members().voters().collect(),
            stopped,
        }
    }

    /// Where the last entry stands.
    pub fn last(&self) -> Position {
        self.log.last().copied().unwrap_or(self.before)
    }

    /// The term of the entry at `index`, if that can be told.
    pub fn term_at(&self, index: u64) -> Option<crate::Term> {
        if index <= self.before.index {
            return (index == self.before.index).then_some(self.before.term);
        }
        let end = self.log.iter().find(|end| index <= end.index);
        end.map(|end| end.term)
    }

    /// Up to which index this log has what `old` had; the index before its first entry if it has none of it.
    fn same_as(&self, old: &Visible) -> u64 {
        let mut index = self.last().index.min(old.last().index);
        while index > self.before.index && self.term_at(index) != old.term_at(index) {
            index -= 1;
        }
        index.max(self.before.index)
    }
}

/// One entry, as a record has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// Where it stands.
    pub at: Position,
    /// What tells its payload from others.
    pub digest: u64,
    /// Who votes from here on, if it says so.
    pub voters: Option<Vec<NodeId>>,
}

impl Mark {
    /// The mark of an entry.
    pub fn of(at: Position, payload: &Payload) -> Mark {
        let voters = match payload {
            Payload::Members(members) => Some(members.voters().collect()),
            _ => None,
        };
        // FNV-1a: to tell two payloads apart, and not against somebody who wants them to look alike.
        let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let digest = codec::encode(payload)
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, fold);
        Mark { at, digest, voters }
    }
}

/// What is left of one section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose lock it was.
    pub node: NodeId,
    /// Who held it.
    pub thread: String,
    /// What for. The first record of a life is called [`START`].
    pub section: String,
    /// What the node looked like when it was given up.
    pub now: Visible,
    /// The entries that were not in its log before.
    pub entries: Vec<Mark>,
}

/// The name of a record that says what a node found on its disk.
pub const START: &str = "start";

/// A record in the making: what is noted with the lock held.
#[derive(Clone, Debug)]
pub struct Note {
    node: NodeId,
    thread: &'static str,
    section: &'static str,
    /// What the node looks like.
    pub now: Visible,
    entries: Vec<(Position, Payload)>,
}

impl Note {
    /// The entries that were not in the log before.
    pub fn marks(&self) -> Vec<Mark> {
        let mark = |(at, payload): &(Position, Payload)| Mark::of(*at, payload);
        self.entries.iter().map(mark).collect()
    }
}

impl From<&Note> for Record {
    fn from(note: &Note) -> Record {
        Record {
            node: note.node,
            thread: note.thread.into(),
            section: note.section.into(),
            now: note.now.clone(),
            entries: note.marks(),
        }
    }
}

/// Takes the notes of one life of one node.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    seen: Option<(WriteId, Visible)>,
}

impl Recorder {
    /// Whether nothing was noted yet: then the next note is the [`START`].
    pub fn is_new(&self) -> bool {
        self.seen.is_none()
    }

    /// Notes what a section leaves behind. (With the lock held: no digest is made here.)
    pub fn note(
        &mut self,
        thread: &'static str,
        section: &'static str,
        raft: &Raft,
        stopped: bool,
    ) -> Note {
        let section = if self.is_new() { START } else { section };
        let changes = raft.latest_write();
        let (now, first) = match self.seen.take() {
            // The log is the one that it was.
            Some((seen, old)) if seen == changes => {
                let now = Visible {
                    hard_state_durable: raft.is_hard_state_durable(),
                    role: raft.role().kind(),
                    log_durable: raft.durable_log(),
                    commit: raft.commit(),
                    stopped,
                    ..old
                };
                (now, None)
            }
            Some((_, old)) => {
                let now = Visible::of(raft, stopped);
                let first = now.same_as(&old) + 1;
                (now, Some(first))
            }
            None => (Visible::of(raft, stopped), Some(raft.log().first())),
        };
        let entries = match first {
            None => Vec::new(),
            Some(first) => raft
                .log()
                .iter_from(first)
                .map(|(index, entry)| {
                    let term = entry.term;
                    (Position { term, index }, entry.payload.clone())
                })
                .collect(),
        };
        self.seen = Some((changes, now.clone()));
        Note {
            node: raft.id(),
            thread,
            section,
            now,
            entries,
        }
    }
}

#[cfg(test)]
mod tests;
