//! What the apply thread does without the lock: the user's state machine, and the sessions around it.

use bytes::Bytes;

use super::{Applied, RestoreError, StateMachine};
use crate::rules::{
    Entries, Entry, Members, Payload, Position, SessionReply, Sessions, Snapshot, Term,
};
use crate::{Outside, Time, codec};

/// The replicated state. **Whoever takes it from behind the lock applies, until it brings it back**: so commands are applied in order.
/// (A node has a boxed machine; one that can be copied is for whoever explores states.)
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Applier<M = Box<dyn StateMachine>> {
    machine: M,
    sessions: Sessions,
}

/// The most bytes that a table of sessions takes.
const MAX_TABLE: usize = 1 << 28;

/// What there is to do.
#[derive(Debug)]
pub enum Job {
    /// Start from this snapshot.
    Restore(Snapshot),
    /// Apply these entries, the first of which has this index.
    Apply {
        /// The index of the first.
        first: u64,
        /// The entries.
        entries: Entries,
    },
    /// Take a snapshot; these are Raft's parts of it.
    Snapshot {
        /// The last entry that was applied.
        last: Position,
        /// Its log time.
        time: Time,
        /// The members as of it.
        members: Members,
    },
}

/// What was done.
#[derive(Debug)]
pub enum Done {
    /// The state is that of the snapshot that ends with this entry.
    Restored(u64),
    /// These were applied: the replies, each with its entry's term; the first has the index `first`.
    Applied {
        /// The index of the first.
        first: u64,
        /// The replies.
        replies: Vec<(Term, Reply)>,
    },
    /// A snapshot was taken.
    Taken(Snapshot),
    /// The state machine did not understand the snapshot.
    Failed(RestoreError),
}

/// What came of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is no command: the no-op of a term, or a change of the members.
    Nothing,
    /// The state machine's reply.
    Command(Bytes),
    /// The session's.
    Session(SessionReply),
}

impl<M: StateMachine> Applier<M> {
    /// A state machine that has applied nothing, and no sessions.
    pub fn new(machine: M) -> Applier<M> {
        Applier {
            machine,
            sessions: Sessions::default(),
        }
    }

    /// The state machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Does one job.
    pub fn run(&mut self, _: &Outside, job: Job) -> Done {
        match job {
            Job::Restore(snapshot) => match self.restore(&snapshot.data) {
                Ok(()) => Done::Restored(snapshot.last.index),
                Err(error) => Done::Failed(error),
            },
            Job::Apply { first, entries } => {
                let numbered = (first..).zip(&entries);
                let replies = numbered.map(|(index, entry)| (entry.term, self.apply(index, entry)));
                let replies = replies.collect();
                Done::Applied { first, replies }
            }
            Job::Snapshot {
                last,
                time,
                members,
            } => Done::Taken(Snapshot {
                last,
                time,
                members,
                data: self.snapshot(),
            }),
        }
    }

    fn apply(&mut self, index: u64, entry: &Entry) -> Reply {
        let at = Applied::at(index, entry.time);
        match &entry.payload {
            Payload::Noop | Payload::Members(_) => Reply::Nothing,
            Payload::Command(command) => Reply::Command(self.machine.apply(at, command)),
            Payload::Session(request) => {
                let run = |command: &[u8]| self.machine.apply(at, command);
                Reply::Session(self.sessions.handle(index, entry.time, request, run))
            }
        }
    }

    /// The sessions are a part of the replicated state, so they are a part of its snapshots (dissertation, 6.3).
    fn snapshot(&mut self) -> Bytes {
        let sessions = codec::encode(&self.sessions);
        let state = self.machine.snapshot();
        let mut data = Vec::with_capacity(8 + sessions.len() + state.len());
        data.extend_from_slice(&(sessions.len() as u64).to_be_bytes());
        data.extend_from_slice(&sessions);
        data.extend_from_slice(&state);
        data.into()
    }

    fn restore(&mut self, data: &[u8]) -> Result<(), RestoreError> {
        let damaged = || RestoreError::new("the snapshot's table of sessions is damaged");
        let (length, rest) = data.split_first_chunk().ok_or_else(damaged)?;
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| damaged())?;
        let (sessions, state) = rest.split_at_checked(length).ok_or_else(damaged)?;
        // What is damaged may claim to be as long as it likes.
        let sessions = codec::decode_within::<_, MAX_TABLE>(sessions).map_err(|_| damaged())?;
        self.machine.restore(state)?;
        self.sessions = sessions;
        Ok(())
    }
}
