//! Client sessions (section 8; dissertation, chapter 6): a command that is sent again is run once.
//!
//! The table is part of the replicated state. Every node fills it from the same entries in the same order, so all tables are equal, and a
//! snapshot holds it beside the user's state.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Time;

/// What a client asks of its session, as an entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionRequest {
    /// Opens a session. Its number is the index of this entry.
    Open {
        /// How long the session may be idle, in log time, before it expires.
        patience: Duration,
    },
    /// Runs a command at most once.
    Call {
        /// The session.
        session: u64,
        /// The command's number in it; the first has 1.
        sequence: u64,
        /// The client has seen the replies to all commands before this number: they need not be kept.
        seen: u64,
        /// The command for the state machine.
        #[serde(deserialize_with = "crate::codec::read_bytes")]
        command: Bytes,
    },
    /// Ends a session.
    Close {
        /// The session.
        session: u64,
    },
}

impl SessionRequest {
    /// The length of the command in it, in bytes; zero if there is none.
    pub fn command_len(&self) -> usize {
        match self {
            SessionRequest::Call { command, .. } => command.len(),
            SessionRequest::Open { .. } | SessionRequest::Close { .. } => 0,
        }
    }

    /// What it takes in an entry, in bytes, at most.
    pub fn size(&self) -> usize {
        match self {
            SessionRequest::Call { command, .. } => 48 + command.len(),
            SessionRequest::Open { .. } | SessionRequest::Close { .. } => 48,
        }
    }
}

/// What a session answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionReply {
    /// It is open.
    Opened {
        /// Its number.
        session: u64,
    },
    /// The command's reply: of the one time when it was run, however often it was sent.
    Done(Bytes),
    /// There is no such session: it expired or was closed. Whether the command was run before that can't be told.
    Expired,
    /// The command was run, and the client said that it has seen the reply, which is therefore gone.
    Forgotten,
    /// It is closed.
    Closed,
}

/// The most sessions at a time. One more ends the one that was idle for longest.
pub const MAX_SESSIONS: usize = 65_536;

/// The most bytes that replies take which clients may ask for again, all sessions together. One more ends the session that was idle for
/// longest: a table must fit into a snapshot, and a client that never says what it has seen must not be the end of the others.
pub const MAX_REPLY_BYTES: u64 = 64 << 20;

/// All sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Sessions {
    open: BTreeMap<u64, Session>,
    /// No session expires before this: so that not every request looks at all of them.
    soonest: Time,
    /// What the replies of all sessions take.
    bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Session {
    /// Log time of its last request.
    last_used: Time,
    patience: Duration,
    /// Every command before this number is answered and its reply seen.
    seen: u64,
    /// The replies that the client may ask for again.
    replies: BTreeMap<u64, Bytes>,
}

impl Sessions {
    /// Runs one request, which stands at `index` and `time` of the log; `run` is the state machine.
    pub fn handle(
        &mut self,
        index: u64,
        time: Time,
        request: &SessionRequest,
        run: impl FnOnce(&[u8]) -> Bytes,
    ) -> SessionReply {
        self.expire(time);
        match request {
            SessionRequest::Open { patience } => {
                self.make_room();
                let session = Session {
                    last_used: time,
                    patience: *patience,
                    seen: 1,
                    replies: BTreeMap::new(),
                };
                self.soonest = self.soonest.min(session.expires());
                self.open.insert(index, session);
                SessionReply::Opened { session: index }
            }
            SessionRequest::Call {
                session,
                sequence,
                seen,
                command,
            } => {
                let Some(session) = self.open.get_mut(session) else {
                    return SessionReply::Expired;
                };
                session.last_used = time;
                self.bytes -= session.see(*seen);
                if let Some(reply) = session.replies.get(sequence) {
                    return SessionReply::Done(reply.clone());
                }
                if *sequence < session.seen {
                    return SessionReply::Forgotten;
                }
                let reply = run(command);
                self.bytes += size(&reply);
                session.replies.insert(*sequence, reply.clone());
                while self.bytes > MAX_REPLY_BYTES {
                    self.end_idlest();
                }
                SessionReply::Done(reply)
            }
            SessionRequest::Close { session } => match self.end(*session) {
                true => SessionReply::Closed,
                false => SessionReply::Expired,
            },
        }
    }

    /// How many sessions are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Ends those that were idle for too long. Log time is the same on every node, so all end the same ones at the same entry.
    fn expire(&mut self, time: Time) {
        if time > self.soonest {
            let expired = self.open.extract_if(.., |_, s| time > s.expires());
            self.bytes -= expired.map(|(_, session)| session.bytes()).sum::<u64>();
            let soonest = self.open.values().map(Session::expires).min();
            self.soonest = soonest.unwrap_or(Time::NEVER);
        }
    }

    fn make_room(&mut self) {
        if self.open.len() >= MAX_SESSIONS {
            self.end_idlest();
        }
    }

    fn end_idlest(&mut self) {
        let idlest = self.open.iter().min_by_key(|(_, s)| s.last_used);
        if let Some(id) = idlest.map(|(&id, _)| id) {
            self.end(id);
        }
    }

    /// Ends a session. False if there is none of this number.
    fn end(&mut self, session: u64) -> bool {
        let ended = self.open.remove(&session);
        self.bytes -= ended.as_ref().map_or(0, Session::bytes);
        ended.is_some()
    }
}

/// What a reply takes in the table.
fn size(reply: &Bytes) -> u64 {
    16 + reply.len() as u64
}

impl Session {
    fn expires(&self) -> Time {
        self.last_used + self.patience
    }

    /// The client has seen the replies before this number. Returns what they took.
    fn see(&mut self, seen: u64) -> u64 {
        if seen <= self.seen {
            return 0;
        }
        self.seen = seen;
        let kept = self.replies.split_off(&seen);
        let gone = std::mem::replace(&mut self.replies, kept);
        gone.values().map(size).sum()
    }

    fn bytes(&self) -> u64 {
        self.replies.values().map(size).sum()
    }
}
