//! Linearizable reads off the log (section 8; dissertation, 6.4): by read index, and by lease where clocks are trusted.
//!
//! A read gets an index; a state that holds everything up to it is recent enough. The leader takes its commit index, once it has
//! committed an entry of its own term, and must then learn that it still led when the read came: by a round of messages that began after
//! it. Rounds belong to the leader, and it uses no number twice, so a late answer to an earlier round proves nothing about a later read.

use std::collections::BTreeMap;

use thiserror::Error;

use super::raft::Leading;
use super::{At, Body, Follower, NodeId, Raft, Role, Sending};
use crate::Time;

/// The number of a read of this node's callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadAnswer {
    /// Which read.
    pub id: ReadId,
    /// The index up to which the state must have been applied; nothing if nobody answered for too long.
    pub index: Option<u64>,
}

/// Why a read does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadRefused {
    /// Too many wait.
    #[error("too many reads are waiting")]
    Busy,
}

/// For each node that reads, the latest of its reads: whatever serves that one serves those before it.
type Readers = BTreeMap<NodeId, ReadId>;

/// Reads that wait at the leader, its own among them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Reads {
    /// Those that wait for a round to begin.
    new: Readers,
    /// Those that wait for a round to be answered. One round at a time: those that come meanwhile share the next.
    asked: Option<Asked>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    round: u64,
    /// The commit index when the round began.
    commit: u64,
    readers: Readers,
}

/// Reads of this node's callers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct OwnReads {
    /// The number of the one to come.
    next: u64,
    /// Those that wait, and until when. Each for equally long, so the first is given up first.
    waiting: BTreeMap<ReadId, Time>,
    /// Whether somebody was asked, and when to ask again. Meanwhile nobody is asked for those that come: they share the next question.
    ask_again: Option<Time>,
    answers: Vec<ReadAnswer>,
}

impl OwnReads {
    /// With numbers that begin at a random one, so that an answer to this node's earlier life fits none of them.
    pub(super) fn starting_at(random: u64) -> OwnReads {
        OwnReads {
            // They only rise, and never come to an end.
            next: random >> 1,
            ..OwnReads::default()
        }
    }

    /// All up to `latest` have this answer. False if none of them waited.
    fn answer(&mut self, latest: ReadId, index: Option<u64>) -> bool {
        // Of an earlier life, with higher numbers. One with lower numbers serves none that waits.
        if latest.0 >= self.next {
            return false;
        }
        let later = self.waiting.split_off(&ReadId(latest.0 + 1));
        let answered = std::mem::replace(&mut self.waiting, later);
        let answers = answered.keys().map(|&id| ReadAnswer { id, index });
        self.answers.extend(answers);
        if self.waiting.is_empty() {
            self.ask_again = None;
        }
        !answered.is_empty()
    }

    fn latest(&self) -> Option<ReadId> {
        self.waiting.last_key_value().map(|(&id, _)| id)
    }
}

impl Raft {
    /// Begins a read. What becomes of it is among the [answers](Raft::take_reads) later, or at once.
    ///
    /// # Errors
    /// If too many wait.
    pub fn read(&mut self, at: At) -> Result<ReadId, ReadRefused> {
        if self.own_reads.waiting.len() >= self.settings.max_reads {
            return Err(ReadRefused::Busy);
        }
        let id = ReadId(self.own_reads.next);
        self.own_reads.next += 1;
        let until = at.now + self.settings.patience();
        self.own_reads.waiting.insert(id, until);
        if self.role.leading().is_some() || self.own_reads.ask_again.is_none() {
            self.ask(at);
        }
        Ok(id)
    }

    /// Gives the reads of this life numbers from here on, before there is one. An answer to an earlier life must fit none of them, so they
    /// begin at a number that no seed makes again.
    pub fn number_reads_from(&mut self, random: u64) {
        self.own_reads = OwnReads::starting_at(random);
    }

    /// The reads that were answered.
    pub fn take_reads(&mut self) -> Vec<ReadAnswer> {
        std::mem::take(&mut self.own_reads.answers)
    }

    /// When reads of this node's callers are asked for again, or given up; nothing if none wait.
    pub fn retry_due(&self) -> Option<Time> {
        let (_, &until) = self.own_reads.waiting.first_key_value()?;
        let again = self.own_reads.ask_again;
        Some(again.map_or(until, |again| again.min(until)))
    }

    /// Asks again for reads that were not answered, and gives up those that waited for too long.
    pub fn retry(&mut self, at: At) {
        self.give_up_reads(at);
        if self
            .own_reads
            .ask_again
            .is_some_and(|again| again <= at.now)
        {
            self.ask(at);
        }
    }

    /// Asks whoever leads for all reads that wait: by the latest, whose answer is recent enough for those before it.
    pub(super) fn ask(&mut self, at: At) {
        let Some(read) = self.own_reads.latest() else {
            return;
        };
        let me = self.id();
        if let Role::Leader(leading) = &mut self.role {
            self.own_reads.ask_again = Some(Time::NEVER);
            leading.now = at.now;
            leading.reads.new.insert(me, read);
            return self.advance_reads(at);
        }
        self.own_reads.ask_again = Some(at.now + self.settings.heartbeat);
        if let Some(leader) = self.leader() {
            self.send(leader, Body::ReadIndex { read: read.0 });
        }
    }

    /// Those that waited for too long: nobody leads, or whoever does is out of reach.
    pub(super) fn give_up_reads(&mut self, at: At) {
        let waiting = self.own_reads.waiting.iter();
        let late = waiting.take_while(|(_, until)| **until <= at.now);
        if let Some((&latest, _)) = late.last() {
            self.own_reads.answer(latest, None);
        }
    }

    pub(super) fn on_read_index(&mut self, at: At, from: NodeId, read: u64) {
        let room = self.settings.max_reads;
        let Role::Leader(leading) = &mut self.role else {
            return self.send(from, Body::ReadIndexReply { read, index: None });
        };
        leading.now = at.now;
        leading.reads.add(from, ReadId(read), room);
        self.advance_reads(at);
    }

    pub(super) fn on_read_index_reply(
        &mut self,
        at: At,
        from: NodeId,
        read: u64,
        index: Option<u64>,
    ) {
        // Who does not lead can't tell; the reads are asked for again.
        if self.leader() == Some(from)
            && index.is_some()
            && self.own_reads.answer(ReadId(read), index)
        {
            // Those that came meanwhile.
            self.ask(at);
        }
    }

    /// Answers the reads whose round a majority has answered, and begins a round for those that wait for one.
    pub(super) fn advance_reads(&mut self, at: At) {
        loop {
            let commit = self.commit;
            let Some(leading) = self.role.leading() else {
                return;
            };
            if leading.reads.is_empty() {
                return;
            }
            let round = leading.round;
            let proved = self.reached_by_majority(leading, round, |follower| follower.beat.round);
            let leased = self.has_lease(leading, at.now);
            // "If the leader has not yet marked an entry from its current term committed, it waits until it has done so": only then does
            // it know what is committed (dissertation, 6.4).
            let knows = commit >= leading.first;
            let Role::Leader(leading) = &mut self.role else {
                return;
            };
            let reads = &mut leading.reads;
            let mut ready = Vec::new();
            let answered = |asked: &mut Asked| proved.is_some_and(|proved| asked.round <= proved);
            if let Some(asked) = reads.asked.take_if(answered) {
                ready.push((asked.commit, asked.readers));
            }
            if leased && knows {
                let asked = reads.asked.take().map(|asked| asked.readers);
                let new = std::mem::take(&mut reads.new);
                ready.extend(asked.into_iter().chain([new]).map(|all| (commit, all)));
            }
            let begin = knows && reads.asked.is_none() && !reads.new.is_empty();
            if begin {
                reads.asked = Some(Asked {
                    round: leading.round + 1,
                    commit,
                    readers: std::mem::take(&mut reads.new),
                });
            }
            let done = ready.is_empty();
            for (index, readers) in ready {
                for (reader, latest) in readers {
                    self.answer_reads(reader, latest, index);
                }
            }
            if begin {
                self.send_heartbeats(at);
            } else if done {
                return;
            }
        }
    }

    fn answer_reads(&mut self, reader: NodeId, latest: ReadId, index: u64) {
        if reader == self.id() {
            self.own_reads.answer(latest, Some(index));
            return;
        }
        let (read, index) = (latest.0, Some(index));
        self.send(reader, Body::ReadIndexReply { read, index });
        // It can't serve them before it knows that the index is committed.
        let lags =
            |f: &Follower| f.told < self.commit && matches!(f.sending, Sending::Streaming { .. });
        if self.follower(reader).is_some_and(lags) {
            self.send_heartbeat(reader);
        }
    }

    /// Whether nobody else can have been elected yet: a majority answered messages that were sent recently, and refuses its votes for a
    /// while (dissertation, 6.4.1).
    fn has_lease(&self, leading: &Leading, now: Time) -> bool {
        let Some(lease) = self.settings.lease else {
            return false;
        };
        // Round 0 is none that was answered.
        let answered = |f: &Follower| (f.beat.round > 0).then_some(f.beat.sent);
        let sent = self.reached_by_majority(leading, Some(now), answered);
        !leading.lease_void && sent.flatten().is_some_and(|sent| now < sent + lease)
    }

    /// A leader that steps down asks the next one for what its callers wait for; the others ask again themselves.
    pub(super) fn take_reads_back(&mut self, at: At) {
        let again = at.now + self.settings.heartbeat;
        self.own_reads.ask_again = self.own_reads.latest().map(|_| again);
    }

    /// A node that becomes leader answers its own callers.
    pub(super) fn take_reads_along(&mut self, at: At) {
        self.ask(at);
    }
}

impl Reads {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.asked.is_none()
    }

    /// A node reads. Asked again for what waits for its round already: nothing new.
    fn add(&mut self, reader: NodeId, latest: ReadId, room: usize) {
        let asked = self.asked.as_ref();
        let waits = asked.and_then(|asked| asked.readers.get(&reader));
        if waits.is_none_or(|&waits| waits < latest) {
            let full = self.new.len() >= room;
            match self.new.get_mut(&reader) {
                Some(known) => *known = latest.max(*known),
                None if full => {}
                None => drop(self.new.insert(reader, latest)),
            }
        }
    }
}
