//! Snapshots (section 7): a state takes the place of the log that led to it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::raft::Leading;
use super::{At, Beat, Body, Follower, Log, Members, NodeId, Position, Raft, Role, Sending};
use crate::Time;

/// The state after an entry, and all that Raft must know of the log up to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last entry that it holds: "the last included index and term" (section 7).
    pub last: Position,
    /// That entry's log time.
    pub time: Time,
    /// "The latest configuration in the log as of last included index" (section 7).
    pub members: Members,
    /// The state: sessions and the user's own.
    pub data: Bytes,
}

/// A snapshot without its state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotHead {
    /// The last entry that it holds.
    pub last: Position,
    /// That entry's log time.
    pub time: Time,
    /// The members as of that entry.
    pub members: Members,
    /// The length of the state, in bytes.
    pub length: u64,
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chunk {
    /// Which snapshot: the last entry that it holds.
    pub last: Position,
    /// The whole without its state; with the first piece alone.
    pub head: Option<SnapshotHead>,
    /// Where the piece begins, in bytes.
    pub offset: u64,
    /// The piece.
    pub bytes: Bytes,
}

/// How many answers that bring nothing new say that a piece was lost.
const ENOUGH: u8 = 3;

/// A snapshot of which a part has arrived.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Incoming {
    head: SnapshotHead,
    data: Vec<u8>,
}

impl Raft {
    /// The latest snapshot.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Whether the log has grown so long since the last snapshot that another one is due.
    pub fn wants_snapshot(&self) -> bool {
        let last = self.snapshot.as_ref().map_or(0, |s| s.last.index);
        // While a follower is sent one it falls behind, and with the log gone up to a new one it would need that too: so it has some time.
        let sends = self.role.leading().is_some_and(Leading::sends_snapshots);
        let patience = if sends { 4 } else { 1 };
        let enough = self.settings.snapshot_every.saturating_mul(patience);
        self.knows_members() && self.applied > last && self.bytes_since_snapshot() >= enough
    }

    /// Whether a snapshot taken now would have the members in it. A node that was not yet added knows none before the entry that adds it.
    pub fn knows_members(&self) -> bool {
        !self.members_at(self.applied).is_empty()
    }

    fn bytes_since_snapshot(&self) -> usize {
        // What is not yet applied would not be in it.
        self.log
            .bytes()
            .saturating_sub(self.kept_bytes + self.unapplied)
    }

    /// What a snapshot of the state after the entry `index` has to say beside that state. Nothing if the entry is no longer here, or
    /// not yet applied.
    pub fn snapshot_head(&self, index: u64) -> Option<(Position, Time, Members)> {
        let last = Position {
            term: self.log.term_at(index)?,
            index,
        };
        let time = self.log.get(index)?.time;
        (index <= self.applied).then(|| (last, time, self.members_at(index).clone()))
    }

    /// This node took a snapshot: the log up to it goes, but for a short tail that slow followers may still need. Ignored if a later one
    /// has come in between.
    pub fn compact(&mut self, snapshot: Snapshot) {
        let last = snapshot.last;
        if self.snapshot.as_ref().is_some_and(|s| s.last >= last) {
            return;
        }
        assert!(
            last.index <= self.applied && self.log.contains(last),
            "a snapshot holds what was applied here, and {last:?} was not"
        );
        self.take_snapshot(snapshot);
        self.compact_to(last.index.saturating_sub(self.settings.keep_entries));
        self.kept_bytes = self
            .log
            .iter()
            .take_while(|(i, _)| *i <= last.index)
            .map(|(_, e)| e.size())
            .sum();
    }

    fn take_snapshot(&mut self, snapshot: Snapshot) {
        self.snapshot = Some(snapshot);
        self.durability.snapshot_changed();
    }

    /// Sends as much of the snapshot as may be in flight to this follower.
    pub(super) fn send_chunks(&mut self, to: NodeId) {
        let (beat, limit) = (self.beat(), self.settings.max_payload as u64);
        let many = self.settings.max_in_flight as u64;
        let mut chunks = Vec::new();
        if let Role::Leader(leading) = &mut self.role
            && let Some(follower) = leading.followers.get_mut(&to)
            && let Sending::Snapshot {
                snapshot,
                acked,
                sent,
                silent,
                ..
            } = &mut follower.sending
        {
            let length = snapshot.data.len() as u64;
            // Whoever does not answer is sent one piece again at a time: it may not be there.
            let window = if *silent { 1 } else { limit * many };
            while sent.is_none_or(|sent| sent < length && sent < *acked + window) {
                let offset = sent.unwrap_or(0);
                let head = sent.is_none().then(|| SnapshotHead {
                    last: snapshot.last,
                    time: snapshot.time,
                    members: snapshot.members.clone(),
                    length,
                });
                let room =
                    limit.saturating_sub(head.as_ref().map_or(0, |h| h.members.size() as u64 + 64));
                let end = length.min(offset + room.max(1));
                let bytes = snapshot.data.slice(offset as usize..end as usize);
                let last = snapshot.last;
                chunks.push(Chunk {
                    last,
                    head,
                    offset,
                    bytes,
                });
                *sent = Some(end);
            }
        }
        for chunk in chunks {
            self.send(to, Body::InstallSnapshot { chunk, beat });
        }
    }

    /// Once in a heartbeat: what was not answered since the last one is sent again.
    pub(super) fn resend_snapshots(&mut self) {
        let latest = self.snapshot.as_ref();
        if let Role::Leader(leading) = &mut self.role {
            for follower in leading.followers.values_mut() {
                follower.resend_chunks(latest);
            }
        }
    }

    /// A heartbeat for who waits for the rest of a snapshot.
    pub(super) fn send_empty_chunk(&mut self, to: NodeId) {
        let beat = self.beat();
        if let Some(Follower {
            sending: Sending::Snapshot {
                snapshot, acked, ..
            },
            ..
        }) = self.follower(to)
        {
            let chunk = Chunk {
                last: snapshot.last,
                head: None,
                offset: *acked,
                bytes: Bytes::new(),
            };
            self.send(to, Body::InstallSnapshot { chunk, beat });
        }
    }

    pub(super) fn on_install_snapshot(&mut self, at: At, from: NodeId, chunk: Chunk, beat: Beat) {
        self.hear_from_leader(at, from, beat);
        let last = chunk.last;
        if last.index <= self.commit {
            // It holds nothing new: what is committed here is what the leader has.
            self.incoming
                .take_if(|incoming| incoming.head.last.index <= self.commit);
            self.prove(last.index);
            return self.acknowledge(from, true);
        }
        // A leader's snapshots only grow, so an earlier one is a message that comes late.
        if let Some(head) = chunk.head
            && self
                .incoming
                .as_ref()
                .is_none_or(|i| i.head.last < head.last)
        {
            self.incoming = Some(Incoming {
                head,
                data: Vec::new(),
            });
        }
        let mut received = 0;
        if let Some(incoming) = self.incoming.as_mut().filter(|i| i.head.last == last) {
            // In order alone: what comes too early is sent again.
            if chunk.offset == incoming.data.len() as u64 {
                incoming.data.extend_from_slice(&chunk.bytes);
            }
            received = incoming.data.len() as u64;
            if received >= incoming.head.length {
                let incoming = self.incoming.take().expect("it is there");
                self.install(incoming);
                self.prove(last.index);
                // It is told when it is durable.
                return self.acknowledge(from, false);
            }
        }
        self.send(
            from,
            Body::SnapshotReply {
                last,
                received,
                beat,
            },
        );
    }

    /// "If existing log entry has same index and term as snapshot's last included entry, retain log entries following it and reply; else
    /// discard the entire log" (figure 13).
    fn install(&mut self, incoming: Incoming) {
        let Incoming { head, data } = incoming;
        let last = head.last;
        if self.log.contains(last) {
            self.compact_to(last.index);
        } else {
            self.log = Log::after(last, head.time);
            self.durability.log_replaced(last.index + 1);
            self.configs = vec![(last.index, head.members.clone())];
        }
        self.unapplied = self.log.bytes();
        self.kept_bytes = 0;
        self.commit = self.commit.max(last.index);
        self.take_snapshot(Snapshot {
            last,
            time: head.time,
            members: head.members,
            data: data.into(),
        });
    }

    pub(super) fn on_snapshot_reply(
        &mut self,
        at: At,
        from: NodeId,
        of: Position,
        received: u64,
        beat: Beat,
    ) {
        let Some(follower) = self.hear_from_follower(at, from, beat) else {
            return;
        };
        if let Sending::Snapshot {
            snapshot,
            acked,
            sent,
            silent,
            repeated,
        } = &mut follower.sending
            && snapshot.last == of
        {
            if received > *acked {
                (*acked, *silent, *repeated) = (received, false, 0);
                *sent = sent.map(|sent| sent.max(received));
            } else if received == *acked {
                // Pieces arrive, but not the one that is to come next: it was lost. Once or twice it may only have been overtaken.
                *repeated = repeated.saturating_add(1);
                if *repeated == ENOUGH {
                    *sent = Some(received).filter(|&sent| sent > 0);
                }
            } else if received == 0 || *silent {
                // It has lost what it had: it was restarted.
                *acked = received;
                *sent = Some(received).filter(|&sent| sent > 0);
            }
            self.send_chunks(from);
        }
        self.advance_reads(at);
    }
}

impl Leading {
    /// Whether a snapshot is being sent to somebody.
    pub fn sends_snapshots(&self) -> bool {
        let sends = |f: &Follower| matches!(f.sending, Sending::Snapshot { .. });
        self.followers.values().any(sends)
    }
}
