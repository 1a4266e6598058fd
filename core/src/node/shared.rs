//! What the big lock guards.

use super::{Leadership, Stopped, Storage, StorageError};
use crate::lock::{Guarded, sync};
use crate::rules::{At, HardState, Raft, Term, Verdict, Write, WriteId};
use crate::{Message, Time};

/// Everything that a node's threads share, behind its one lock.
pub struct Shared {
    /// The rules.
    pub raft: Raft,
    /// The disk, while nobody writes. **Whoever finds something to write takes it along, and is the flusher until it is back**: so
    /// writes reach the disk in order, no thread waits for another to write, and no write waits for a thread to wake.
    storage: Option<Box<dyn Storage>>,
    /// Set once, when the node stops; from then on nothing is decided, written or sent.
    stopped: Option<Stopped>,
    /// The last leadership that was handed out as news,
    told: Leadership,
    /// and how many were.
    changes: u64,
    random: fastrand::Rng,
}

/// What a section gives a thread to do without the lock, in this order: send, then write.
#[must_use = "what a section decided has to be carried out"]
#[derive(Default)]
pub struct Work {
    /// What may be sent at once.
    pub messages: Vec<Message>,
    /// What must be written, and the disk to write it to; afterwards the disk goes back through [`Shared::finish_write`].
    pub write: Option<(Box<dyn Storage>, Write)>,
    /// Who leads, if that changed: for the log. The number, from 1, puts changes in order that two threads tell at once.
    pub news: Option<(u64, Leadership)>,
}

/// Those who wait, each for its own kind of change.
///
/// One condvar for all of them woke every voter's loops for each new term, on the way of its answer: 70 futex calls an election
/// instead of 24, and 15 us more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The election thread.
    Election,
    /// The leader thread.
    Leader,
    /// Users who wait for a leadership.
    Callers,
}

/// What waiters can observe: all that their predicates read, and nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Nobody waits for it; the invariants compare it.
    hard_state: HardState,
    election: ElectionSees,
    /// Whether heartbeats are to be sent: the leader thread sees that. When they are due it keeps to itself.
    leads: bool,
    /// What callers see.
    leadership: Leadership,
    /// Everyone sees the end.
    stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ElectionSees {
    /// Which campaign runs,
    campaign: Option<(Term, Option<u64>)>,
    /// and that it is decided: not every vote.
    standing: Option<Verdict>,
}

impl Shared {
    /// A node that has loaded `raft` from `storage`.
    pub fn new(raft: Raft, storage: Box<dyn Storage>, seed: u64) -> Shared {
        let told = leadership(&raft);
        Shared {
            raft,
            storage: Some(storage),
            stopped: None,
            told,
            changes: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The input that every decision gets: the time, and a fresh random number.
    pub fn at(&mut self, now: Time) -> At {
        At {
            now,
            random: self.random.u64(..),
        }
    }

    /// Why the node stopped, if it has.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    /// Stops the node. The first reason stays.
    pub fn stop(&mut self, why: Stopped) {
        self.stopped.get_or_insert(why);
    }

    /// Who leads, and in which term.
    pub fn leadership(&self) -> Leadership {
        leadership(&self.raft)
    }

    /// Takes what this section gives its thread to do. If there is something to write, the thread becomes the flusher, unless there is
    /// one already: that one will find it when it brings the disk back.
    pub fn take_work(&mut self) -> Work {
        let mut work = self.take_messages();
        if self.stopped.is_none()
            && let Some(storage) = self.storage.take()
        {
            match self.raft.take_write() {
                Some(write) => work.write = Some((storage, write)),
                None => self.storage = Some(storage),
            }
        }
        work
    }

    /// The same for a thread that must not wait for the disk: the leader's, so that the disk never holds up a heartbeat.
    pub fn take_messages(&mut self) -> Work {
        if self.stopped.is_some() {
            return Work::default();
        }
        let now = self.leadership();
        let news = (now != self.told).then(|| {
            self.changes += 1;
            (self.changes, now)
        });
        self.told = now;
        Work {
            messages: self.raft.take_messages(),
            write: None,
            news,
        }
    }

    /// The disk, for good: the node has stopped. Nothing while somebody still writes.
    pub fn take_storage(&mut self) -> Option<Box<dyn Storage>> {
        match self.stopped {
            Some(_) => self.storage.take(),
            None => None,
        }
    }

    /// The flusher brings the disk back, with the number of what it wrote or the error. After an error nothing is tried again: the
    /// node stops.
    pub fn finish_write(
        &mut self,
        storage: Box<dyn Storage>,
        id: WriteId,
        result: Result<(), StorageError>,
    ) {
        self.storage = Some(storage);
        match result {
            Ok(()) => self.raft.written(id),
            Err(error) => self.stop(Stopped::Storage(error)),
        }
    }
}

impl Guarded for Shared {
    type Digest = Digest;
    type Audience = Audience;
    const AUDIENCES: &'static [Audience] =
        &[Audience::Election, Audience::Leader, Audience::Callers];

    fn digest(&self) -> Digest {
        Digest {
            hard_state: self.raft.hard_state(),
            election: ElectionSees {
                campaign: self.raft.campaign_running(),
                standing: self.raft.standing(),
            },
            leads: self.raft.heartbeat_due().is_some(),
            leadership: self.leadership(),
            stopped: self.stopped.is_some(),
        }
    }

    fn alarm(&self, who: Audience) -> Option<Time> {
        match who {
            Audience::Election => self.raft.next_look(),
            Audience::Leader => self.raft.heartbeat_due(),
            // Each has a time of its own, which nothing brings closer.
            Audience::Callers => None,
        }
    }

    fn concerns(who: Audience, before: &Digest, now: &Digest) -> bool {
        let news = match who {
            Audience::Election => before.election != now.election,
            Audience::Leader => before.leads != now.leads,
            Audience::Callers => before.leadership != now.leadership,
        };
        news || before.stopped != now.stopped
    }

    fn check(&self, before: &Digest) -> Result<(), String> {
        if let Some(Stopped::Broken { .. }) = self.stopped {
            // It is known, and whoever comes now comes to hear it.
            return Ok(());
        }
        self.raft.check_transition(before.hard_state)?;
        if sync::CHECKED {
            self.raft.check_invariants()?;
            let pending = !self.raft.is_durable() && self.stopped.is_none();
            if pending && self.storage.is_some() {
                return Err(
                    "there is something to write, and nobody took the disk to do it".into(),
                );
            }
        }
        Ok(())
    }

    fn give_up(&mut self, section: &'static str) {
        self.stop(Stopped::Broken { section });
    }
}

fn leadership(raft: &Raft) -> Leadership {
    Leadership {
        term: raft.term(),
        leader: raft.leader(),
    }
}

#[cfg(test)]
mod tests;
