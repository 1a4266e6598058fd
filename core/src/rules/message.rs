//! What nodes tell each other.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{NodeId, Position, Term};

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
    },
    /// The answer to [`Body::RequestVote`]. Its term says which candidacy it answers.
    VoteReply {
        /// The answer.
        answer: Answer,
    },
    /// AppendEntries (5.3, figure 2) as a heartbeat: it proves who leads, and carries no entries yet.
    AppendEntries {
        /// The entry that precedes the new ones.
        prev: Position,
        /// The leader's commit index.
        commit: u64,
    },
    /// The answer to [`Body::AppendEntries`].
    AppendReply {
        /// Up to which index the follower's log is known to equal the leader's; nothing if its term was stale or the log did not
        /// contain the preceding entry.
        matched: Option<u64>,
    },
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
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} to {}", self.body.name(), self.term, self.to)?;
        match self.body {
            Body::PreVoteReply { answer, .. } | Body::VoteReply { answer } => {
                write!(f, ": {answer}")
            }
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
    /// The voter hears from a leader (pre-vote only; dissertation, 9.6).
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
