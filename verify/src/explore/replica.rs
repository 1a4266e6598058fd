//! What a node's state machine makes of the entries: something that depends on all of them and their order, and what its clients were served.

use std::time::Duration;

use biglock::Outside;
use biglock::node::{Applied, Applier, Done, Job, Reply, RestoreError, StateMachine};
use biglock::rules::{Entry, Log, Payload, SessionReply, SessionRequest, Snapshot};
use bytes::Bytes;

/// The state of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    /// All entries, and their order.
    sum: u16,
    /// The real sessions, around a machine that counts.
    served: Applier<Runs>,
}

/// Where the request of the client's session was run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Runs(Vec<u64>);

impl StateMachine for Runs {
    /// A command without bytes is nobody's in particular.
    fn apply(&mut self, at: Applied, command: &[u8]) -> Bytes {
        if command.is_empty() {
            return Bytes::new();
        }
        self.0.push(at.index);
        Bytes::copy_from_slice(&at.index.to_be_bytes())
    }

    fn snapshot(&mut self) -> Bytes {
        self.0
            .iter()
            .flat_map(|index| index.to_be_bytes())
            .collect()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        let (all, rest) = snapshot.as_chunks();
        if !rest.is_empty() {
            return Err(RestoreError::new("it is cut off"));
        }
        self.0 = all.iter().map(|index| u64::from_be_bytes(*index)).collect();
        Ok(())
    }
}

/// The number of the one session that there may be: of the entry that opens it.
pub const SESSION: u64 = 2;

/// Opens it, and it never expires.
pub fn open() -> Payload {
    let patience = Duration::MAX;
    Payload::Session(Box::new(SessionRequest::Open { patience }))
}

/// Its one request, however often it is sent.
pub fn call() -> Payload {
    Payload::Session(Box::new(SessionRequest::Call {
        session: SESSION,
        sequence: 1,
        seen: 0,
        command: Bytes::from_static(b"!"),
    }))
}

impl Replica {
    /// Of a node that has applied nothing.
    pub fn new() -> Replica {
        Replica {
            sum: 0,
            served: Applier::new(Runs::default()),
        }
    }

    /// Applies the entries from `first` to `last`. True if a request was not run, because it had been.
    ///
    /// # Errors
    /// The law that was broken.
    pub fn apply(&mut self, log: &Log, first: u64, last: u64) -> Result<bool, String> {
        let entries = log.share_until(first, last, usize::MAX);
        for entry in &entries {
            self.sum = self.sum.wrapping_mul(251).wrapping_add(word(entry));
        }
        let before = self.served.machine().0.len();
        let outside = Outside::claim("apply");
        let done = self.served.run(&outside, Job::Apply { first, entries });
        let Done::Applied { replies, .. } = done else {
            return Err("the entries were not applied".into());
        };
        let runs = &self.served.machine().0;
        if let [one, two, ..] = runs[..] {
            return Err(format!(
                "a request of one number was run as entry {one}, and again as entry {two} (section 8)"
            ));
        }
        let mut calls = 0;
        for (_, reply) in replies {
            let Reply::Session(reply) = reply else {
                continue;
            };
            match reply {
                SessionReply::Opened { session: SESSION } => continue,
                SessionReply::Done(bytes)
                    if runs.iter().any(|run| bytes[..] == run.to_be_bytes()) => {}
                other => return Err(format!("a request that was run is answered with {other:?}")),
            }
            calls += 1;
        }
        Ok(calls > runs.len() - before)
    }

    /// What a snapshot has of it. Two bytes, so that one takes two messages; and more where there is a session.
    pub fn save(&mut self, head: Snapshot) -> Snapshot {
        let mut data = self.sum.to_be_bytes().to_vec();
        let outside = Outside::claim("apply");
        let job = Job::Snapshot {
            last: head.last,
            time: head.time,
            members: head.members.clone(),
        };
        if self.served != Applier::new(Runs::default())
            && let Done::Taken(taken) = self.served.run(&outside, job)
        {
            data.extend_from_slice(&taken.data);
        }
        Snapshot {
            data: data.into(),
            ..head
        }
    }

    /// The state that a snapshot has.
    ///
    /// # Errors
    /// If it was never saved like that.
    pub fn restore(snapshot: &Snapshot) -> Result<Replica, String> {
        let mut new = Replica::new();
        let (sum, served) = snapshot
            .data
            .split_first_chunk()
            .ok_or("a snapshot has less than was saved")?;
        new.sum = u16::from_be_bytes(*sum);
        if served.is_empty() {
            return Ok(new);
        }
        let served = Snapshot {
            data: Bytes::copy_from_slice(served),
            ..snapshot.clone()
        };
        let outside = Outside::claim("apply");
        match new.served.run(&outside, Job::Restore(served)) {
            Done::Restored(_) => Ok(new),
            other => Err(format!(
                "a snapshot that was saved is not restored: {other:?}"
            )),
        }
    }
}

impl Default for Replica {
    fn default() -> Replica {
        Replica::new()
    }
}

fn word(entry: &Entry) -> u16 {
    let word = match &entry.payload {
        Payload::Noop => 1,
        Payload::Command(_) => 2,
        Payload::Session(_) => 3,
        Payload::Members(members) => 4 + members.len() as u16,
    };
    word + 16 * entry.term.0 as u16
}
