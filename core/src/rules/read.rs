//! Linearizable reads off the log (section 8; dissertation, 6.4): by read index, and by lease where clocks are trusted.
//!
//! A read gets an index; a state that holds everything up to it is recent enough. The leader takes its commit index, once it has
//! committed an entry of its own term, and must then learn that it still led when the read came: by a round of messages that began after
//! it. Rounds belong to the leader, and it uses no number twice, so a late answer to an earlier round proves nothing about a later read.

use std::collections::{BTreeMap, VecDeque};

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

/// Reads that wait at the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Reads {
    /// Those that wait for a round to begin.
    new: Vec<Reader>,
    /// Those that wait for a round to be answered: the round, and the commit index when it began.
    asked: VecDeque<(u64, u64, Vec<Reader>)>,
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Own(ReadId),
    /// Another node, and its number for the read.
    Other(NodeId, u64),
}

/// Reads of this node's callers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct OwnReads {
    next: u64,
    /// Those that wait: until when, and when they are asked for again.
    waiting: BTreeMap<ReadId, Waiting>,
    answers: Vec<ReadAnswer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    until: Time,
    /// When the leader is asked again; never while this node leads.
    again: Time,
}

impl OwnReads {
    /// With numbers that begin at a random one, so that an answer to this node's earlier life fits none of them.
    pub(super) fn starting_at(random: u64) -> OwnReads {
        OwnReads {
            next: random,
            ..OwnReads::default()
        }
    }

    fn answer(&mut self, id: ReadId, index: Option<u64>) {
        if self.waiting.remove(&id).is_some() {
            self.answers.push(ReadAnswer { id, index });
        }
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
        self.own_reads.next = id.0.wrapping_add(1);
        let waiting = Waiting {
            until: at.now + self.settings.patience(),
            again: Time::NEVER,
        };
        self.own_reads.waiting.insert(id, waiting);
        self.ask(at, id);
        Ok(id)
    }

    /// The reads that were answered.
    pub fn take_reads(&mut self) -> Vec<ReadAnswer> {
        std::mem::take(&mut self.own_reads.answers)
    }

    /// When reads of this node's callers are asked for again, or given up; nothing if none wait.
    pub fn retry_due(&self) -> Option<Time> {
        let waiting = self.own_reads.waiting.values();
        waiting
            .map(|waiting| waiting.until.min(waiting.again))
            .min()
    }

    /// Asks again for reads that were not answered, and gives up those that waited for too long.
    pub fn retry(&mut self, at: At) {
        self.give_up_reads(at);
        let waiting = self.own_reads.waiting.iter();
        let due = waiting.filter(|(_, waiting)| waiting.again <= at.now);
        let due: Vec<ReadId> = due.map(|(&id, _)| id).collect();
        due.into_iter().for_each(|id| self.ask(at, id));
    }

    /// Asks whoever leads.
    fn ask(&mut self, at: At, id: ReadId) {
        let again = match self.role {
            Role::Leader(_) => Time::NEVER,
            _ => at.now + self.settings.heartbeat,
        };
        if let Some(waiting) = self.own_reads.waiting.get_mut(&id) {
            waiting.again = again;
        }
        if let Role::Leader(leading) = &mut self.role {
            leading.now = at.now;
            leading.reads.new.push(Reader::Own(id));
            self.advance_reads(at);
        } else if let Some(leader) = self.leader() {
            self.send(leader, Body::ReadIndex { read: id.0 });
        }
    }

    /// Those that waited for too long: nobody leads, or whoever does is out of reach.
    pub(super) fn give_up_reads(&mut self, at: At) {
        let own = &mut self.own_reads;
        let waiting = own.waiting.iter();
        let late = waiting.filter(|(_, waiting)| waiting.until <= at.now);
        let late: Vec<ReadId> = late.map(|(&id, _)| id).collect();
        if late.is_empty() {
            return;
        }
        late.into_iter().for_each(|id| own.answer(id, None));
        // Nobody waits for these any more.
        let waits = |reader: &Reader| match reader {
            Reader::Own(id) => own.waiting.contains_key(id),
            Reader::Other(..) => true,
        };
        if let Role::Leader(leading) = &mut self.role {
            leading.reads.new.retain(waits);
            for (_, _, readers) in &mut leading.reads.asked {
                readers.retain(waits);
            }
        }
    }

    pub(super) fn on_read_index(&mut self, at: At, from: NodeId, read: u64) {
        let room = self.settings.max_reads;
        let Role::Leader(leading) = &mut self.role else {
            return self.send(from, Body::ReadIndexReply { read, index: None });
        };
        leading.now = at.now;
        let reader = Reader::Other(from, read);
        // Asked again: it waits already.
        if !leading.reads.contains(reader) && leading.reads.len() < room {
            leading.reads.new.push(reader);
        }
        self.advance_reads(at);
    }

    pub(super) fn on_read_index_reply(&mut self, from: NodeId, read: u64, index: Option<u64>) {
        // Who does not lead can't tell; the read is asked for again.
        if self.leader() == Some(from) && index.is_some() {
            self.own_reads.answer(ReadId(read), index);
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
            while let Some((round, _, _)) = reads.asked.front()
                && proved.is_some_and(|proved| *round <= proved)
                && let Some((_, index, readers)) = reads.asked.pop_front()
            {
                ready.extend(readers.into_iter().map(|reader| (reader, index)));
            }
            if leased && knows {
                let all = reads.asked.drain(..).flat_map(|(_, _, readers)| readers);
                let all = all.chain(reads.new.drain(..));
                ready.extend(all.map(|reader| (reader, commit)));
            }
            // One round at a time: those that come meanwhile share the next.
            let begin = knows && reads.asked.is_empty() && !reads.new.is_empty();
            if begin {
                let readers = std::mem::take(&mut reads.new);
                reads.asked.push_back((leading.round + 1, commit, readers));
            }
            let done = ready.is_empty();
            for (reader, index) in ready {
                self.answer_read(reader, index);
            }
            if begin {
                self.send_heartbeats(at);
            } else if done {
                return;
            }
        }
    }

    fn answer_read(&mut self, reader: Reader, index: u64) {
        match reader {
            Reader::Own(id) => self.own_reads.answer(id, Some(index)),
            Reader::Other(node, read) => {
                let index = Some(index);
                self.send(node, Body::ReadIndexReply { read, index });
                // It can't serve the read before it knows that the index is committed.
                let lags = |f: &Follower| {
                    f.told < self.commit && matches!(f.sending, Sending::Streaming { .. })
                };
                if self.follower(node).is_some_and(lags) {
                    self.send_heartbeat(node);
                }
            }
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
        for waiting in self.own_reads.waiting.values_mut() {
            waiting.again = again;
        }
    }

    /// A node that becomes leader answers its own callers.
    pub(super) fn take_reads_along(&mut self, at: At) {
        let ids: Vec<ReadId> = self.own_reads.waiting.keys().copied().collect();
        ids.into_iter().for_each(|id| self.ask(at, id));
    }
}

impl Reads {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.asked.is_empty()
    }

    fn len(&self) -> usize {
        let asked = self.asked.iter().map(|(_, _, readers)| readers.len());
        self.new.len() + asked.sum::<usize>()
    }

    fn contains(&self, reader: Reader) -> bool {
        let asked = self.asked.iter().flat_map(|(_, _, readers)| readers);
        self.new.iter().chain(asked).any(|&other| other == reader)
    }
}
