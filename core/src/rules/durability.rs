//! What must be durable before what: the writes, and the messages that wait for them.
//!
//! A change is visible in memory before it is durable. So a message names the write that it relies on and leaves after it; a vote or an
//! entry of this node's own counts when it is durable; and what a finished write proves is named by index **and term**.

use std::collections::VecDeque;
use std::mem::discriminant;

use super::{Batch, Body, HardState, Message, NodeId, Position, Raft, Suffix};

/// The number of a change to the persistent state: 0 is what was loaded, each change has the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WriteId(pub u64);

/// What must become durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// Its number: this and all changes before it are in it, or in writes that were finished.
    pub id: WriteId,
    /// What to write.
    pub batch: Batch,
}

/// A message, and the write it relies on: it leaves only when that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Outgoing {
    pub(super) relies_on: WriteId,
    pub(super) message: Message,
}

/// A write that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Writing {
    pub(super) id: WriteId,
    /// The end of the log that it makes durable. With its term: when the write ends, another entry may stand at that index.
    end: Position,
}

/// How far the persistent state has got on its way to the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Durability {
    /// The number of the latest change,
    latest: WriteId,
    /// of the latest change to term or vote,
    hard: WriteId,
    /// and of the latest that is durable.
    durable: WriteId,
    /// The write that is under way.
    pub(super) writing: Option<Writing>,
    /// The first entry that no write has taken yet.
    unwritten: Option<u64>,
    /// The number of the change that brought the snapshot,
    snapshot: WriteId,
    /// and whether no write has taken it yet.
    snapshot_unwritten: bool,
    /// Up to which index the log, as it is now, is durable.
    pub(super) log: u64,
    pub(super) outbox: VecDeque<Outgoing>,
}

impl Durability {
    pub(super) fn loaded(last: u64) -> Durability {
        Durability {
            log: last,
            ..Durability::default()
        }
    }

    fn touch(&mut self) {
        self.latest.0 += 1;
    }

    /// Term or vote have changed.
    pub(super) fn hard_state_changed(&mut self) {
        self.touch();
        self.hard = self.latest;
    }

    /// The log is another one from `index` on.
    pub(super) fn log_changed(&mut self, index: u64) {
        self.touch();
        let first = self.unwritten.map_or(index, |first| first.min(index));
        self.unwritten = Some(first);
        self.log = self.log.min(index - 1);
    }

    /// The whole log has gone, and what follows begins at `index`.
    pub(super) fn log_replaced(&mut self, index: u64) {
        self.touch();
        self.unwritten = Some(index);
        self.log = 0;
    }

    /// There is a new snapshot.
    pub(super) fn snapshot_changed(&mut self) {
        self.touch();
        self.snapshot = self.latest;
        self.snapshot_unwritten = true;
    }
}

impl Raft {
    /// The next write, if there is one to make. There is at most one at a time, with all changes that were made since the one before: so
    /// writes reach the disk in the order in which the sections made them, and those that come while the disk is busy share one sync.
    pub fn take_write(&mut self) -> Option<Write> {
        let durability = &mut self.durability;
        if durability.writing.is_some() || durability.latest == durability.durable {
            return None;
        }
        let end = self.log.last();
        let id = durability.latest;
        durability.writing = Some(Writing { id, end });
        let snapshot = std::mem::take(&mut durability.snapshot_unwritten);
        let held = self.snapshot.as_ref().map_or(0, |s| s.last.index);
        let log = durability.unwritten.take().map(|first| {
            // What the snapshot holds needs no entry of its own.
            let first = first.max(held + 1);
            let entries = self.log.share(first, usize::MAX);
            Suffix { first, entries }
        });
        let mut batch = Batch::new(self.hard_state());
        batch.snapshot = self.snapshot.clone().filter(|_| snapshot);
        batch.log = log;
        Some(Write { id, batch })
    }

    /// The write that was taken is durable.
    ///
    /// # Panics
    /// If it is not the one that was taken.
    pub fn written(&mut self, id: WriteId) {
        let writing = self.durability.writing.take();
        let writing = writing.filter(|writing| writing.id == id);
        let writing = writing.expect("what is reported is what was taken");
        self.durability.durable = id;
        // The entry that was written may have been replaced meanwhile, and so may all that follow it. If it is still there, so are those
        // before it: "if two entries in different logs have the same index and term, then the logs are identical in all preceding
        // entries" (5.3).
        if self.log.contains(writing.end) {
            self.durability.log = self.durability.log.max(writing.end.index);
        }
        self.count_own_vote();
        self.acknowledge_written();
        self.count_own_entries();
    }

    /// The messages that may leave now, in order.
    pub fn take_messages(&mut self) -> Vec<Message> {
        // Each relies on the latest term and vote of its moment, so along the queue these never go down.
        let durable = self.durability.durable;
        let outbox = &mut self.durability.outbox;
        let ready = outbox.iter().take_while(|out| out.relies_on <= durable);
        let ready = ready.count();
        outbox.drain(..ready).map(|out| out.message).collect()
    }

    /// The number of the latest change to the persistent state.
    pub fn latest_write(&self) -> WriteId {
        self.durability.latest
    }

    /// The number of the latest change that is durable.
    pub fn durable_write(&self) -> WriteId {
        self.durability.durable
    }

    /// Whether the whole persistent state is as of now durable.
    pub fn is_durable(&self) -> bool {
        self.durability.latest == self.durability.durable
    }

    /// Whether term and vote are as of now durable.
    pub fn is_hard_state_durable(&self) -> bool {
        self.durability.hard <= self.durability.durable
    }

    /// The number of the change that brought the latest snapshot.
    pub fn snapshot_write(&self) -> WriteId {
        self.durability.snapshot
    }

    /// Whether a write is under way.
    pub fn is_writing(&self) -> bool {
        self.durability.writing.is_some()
    }

    /// Up to which index the log, as it is now, is durable here.
    pub fn durable_log(&self) -> u64 {
        self.durability.log
    }

    /// **The one place where term and vote change.** In memory, that is: what is sent from here on relies on the new write.
    pub(super) fn set_hard_state(&mut self, new: HardState) {
        let old = self.hard_state();
        assert!(
            new.term >= old.term,
            "terms never go back (5.1): {old:?} cannot become {new:?}"
        );
        assert!(
            new.term > old.term || old.voted_for.is_none(),
            "a vote is given once (5.2): {old:?} cannot become {new:?}"
        );
        if new.term > old.term {
            // A new term voids what still waits to be said in an older one, and what a leader of an older one was about to bring.
            self.durability.outbox.clear();
            self.incoming = None;
        }
        self.hard_state = new;
        self.durability.hard_state_changed();
    }

    pub(super) fn send(&mut self, to: NodeId, body: Body) {
        let message = Message {
            from: self.id(),
            to,
            term: self.term(),
            body,
        };
        let relies_on = self.durability.hard;
        let outbox = &mut self.durability.outbox;
        if relies_on > self.durability.durable {
            // While the disk is stuck, the latest of a kind takes the place of what waits: so the queue is bounded.
            let kind = discriminant(&message.body);
            outbox.retain(|out| out.message.to != to || discriminant(&out.message.body) != kind);
        }
        outbox.push_back(Outgoing { relies_on, message });
    }
}
