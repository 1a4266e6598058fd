//! What nodes tell each other.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Chunk, Entries, NodeId, Position, Term};
use crate::Time;

/// A message from one node to another. All are one-way: a reply is a message of its own, and any may be lost, late, repeated or out
/// of order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who sends it.
    pub from: NodeId,
    /// Whom it is for.
    pub to: NodeId,
    /// The sender's current term. No message carries any other, so "if one server's current term is smaller than the other's,
    /// then it updates its current term to the larger value" (5.1) holds for all of them alike.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// "Would you vote for me in the term after this one?" (dissertation, 9.6). The voter gives no vote and resets no deadline; like
    /// every message it may tell it of a higher term.
    PreVote {
        /// Tells this attempt from earlier ones of the same term, whose answers may still be under way.
        attempt: u64,
        /// The end of the candidate's log.
        last: Position,
    },
    /// The answer to [`Body::PreVote`].
    PreVoteReply {
        /// The attempt that is answered.
        attempt: u64,
        /// The answer.
        answer: Answer,
    },
    /// RequestVote (5.2, figure 2).
    RequestVote {
        /// The end of the candidate's log.
        last: Position,
        /// Whether the leader itself asked for this election: then nobody holds against it that a leader is heard (dissertation,
        /// 3.10 and 4.2.3).
        handed_over: bool,
    },
    /// The answer to [`Body::RequestVote`]. Its term says which candidacy it answers.
    VoteReply {
        /// The answer.
        answer: Answer,
    },
    /// AppendEntries (5.3, figure 2); without entries it is a heartbeat.
    AppendEntries {
        /// The entry that precedes the new ones.
        prev: Position,
        /// The new entries, in the order of their indexes.
        entries: Entries,
        /// The leader's commit index.
        commit: u64,
        /// Which round of the leader's this belongs to.
        beat: Beat,
    },
    /// The answer to [`Body::AppendEntries`].
    AppendReply {
        /// The latest beat that was heard; none, if the leader's term has passed.
        beat: Beat,
        /// What became of the entries.
        answer: Appended,
    },
    /// InstallSnapshot (section 7): a piece of it.
    InstallSnapshot {
        /// The piece.
        chunk: Chunk,
        /// Which round of the leader's this belongs to.
        beat: Beat,
    },
    /// The answer to [`Body::InstallSnapshot`], until the whole has arrived; then [`Body::AppendReply`] says that it is durable.
    SnapshotReply {
        /// Which snapshot: the last entry that it holds.
        last: Position,
        /// How much of it is here, in bytes from its beginning: the next piece begins there.
        received: u64,
        /// The latest beat that was heard.
        beat: Beat,
    },
    /// "Start an election at once": the leader hands over to this node (dissertation, 3.10).
    TimeoutNow,
    /// "From which index on may I serve this read, and those before it?" (dissertation, 6.4).
    ReadIndex {
        /// The reader's number for it. Later reads have higher ones.
        read: u64,
    },
    /// The answer to [`Body::ReadIndex`].
    ReadIndexReply {
        /// The reader's number.
        read: u64,
        /// The state after this entry is recent enough for it and those before it; nothing if this node can't tell.
        index: Option<u64>,
    },
}

/// A round of a leader's messages. Whoever answers it, answers after it was sent: so a round that a majority answered proves that the
/// leader led when it began (dissertation, 6.4).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Beat {
    /// Its number. A leader never uses one twice in a term.
    pub round: u64,
    /// When this message was sent, by the leader's own clock. It comes back as it was.
    pub sent: Time,
}

/// What became of a leader's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Appended {
    /// The follower's log is durably equal to the leader's up to this index.
    Matched(u64),
    /// The follower has another entry, or none, where the new ones were to follow.
    Conflict(Conflict),
    /// The leader's term has passed; the reply's own term tells it which one it is.
    Stale,
}

/// Where a follower's log parts from the leader's (5.3: "the follower can include the term of the conflicting entry and the first index it
/// stores for that term").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conflict {
    /// The index of the entry that was to precede the new ones.
    pub prev: u64,
    /// The term of the follower's entry there; nothing if its log ends before.
    pub term: Option<Term>,
    /// The first index of that term, or the one after the end of the log.
    pub first: u64,
}

impl Body {
    /// The name, as the paper spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Body::PreVote { .. } => "PreVote",
            Body::PreVoteReply { .. } => "PreVoteReply",
            Body::RequestVote { .. } => "RequestVote",
            Body::VoteReply { .. } => "VoteReply",
            Body::AppendEntries { .. } => "AppendEntries",
            Body::AppendReply { .. } => "AppendReply",
            Body::InstallSnapshot { .. } => "InstallSnapshot",
            Body::SnapshotReply { .. } => "SnapshotReply",
            Body::TimeoutNow => "TimeoutNow",
            Body::ReadIndex { .. } => "ReadIndex",
            Body::ReadIndexReply { .. } => "ReadIndexReply",
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} to {}", self.body.name(), self.term, self.to)?;
        match &self.body {
            Body::PreVoteReply { answer, .. } | Body::VoteReply { answer } => {
                write!(f, ": {answer}")
            }
            Body::AppendEntries { prev, entries, .. } if !entries.is_empty() => {
                let first = prev.index + 1;
                let last = prev.index + entries.len() as u64;
                write!(f, ": {first} to {last}")
            }
            Body::AppendReply { answer, .. } => match answer {
                Appended::Matched(index) => write!(f, ": equal up to {index}"),
                Appended::Conflict(at) => write!(f, ": conflict at {}", at.prev),
                Appended::Stale => f.write_str(": the term has passed"),
            },
            _ => Ok(()),
        }
    }
}

/// A voter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// Yes.
    Granted,
    /// No, and why: so that a cluster without a leader can say what blocks it.
    Refused(Refusal),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Granted => f.write_str("granted"),
            Answer::Refused(why) => write!(f, "refused, {why}"),
        }
    }
}

/// Why a vote was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// The request's term has passed (5.1).
    StaleTerm,
    /// The voter gave its vote of this term to another (5.2: first come, first served).
    VotedForAnother,
    /// The candidate's log is not as up to date as the voter's (5.4.1).
    LogBehind,
    /// The voter hears from a leader (dissertation, 4.2.3 and 9.6).
    LeaderAlive,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::StaleTerm => "the term has passed",
            Refusal::VotedForAnother => "it voted for another",
            Refusal::LogBehind => "the candidate's log is behind",
            Refusal::LeaderAlive => "it hears from a leader",
        })
    }
}
