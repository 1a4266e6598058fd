//! What a client says when it has no answer.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::time::Duration;

use biglock::NodeId;
use biglock::codec::Malformed;
use thiserror::Error;

use crate::codec::{Outcome, Refused};

/// Why a client has no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It was told what can't work. Nothing was sent.
    #[error("configuration: {0}")]
    Config(String),
    /// The system gave no socket. Nothing was sent.
    #[error("can't open a socket: {0}")]
    Socket(#[source] io::Error),
    /// There was no answer in time.
    #[error(
        "no answer in {timeout:?}{}: {heard}",
        if *.may_have_run { ", and it may have run, or may run yet" } else { "" }
    )]
    TimedOut {
        /// How long it had.
        timeout: Duration,
        /// What was heard last.
        heard: Heard,
        /// Whether the cluster may have done it, or may do it yet.
        may_have_run: bool,
    },
    /// The cluster ended the session early (there were too many, or their replies took too much), or lost its memory; or this machine was
    /// suspended for longer than the session's patience. The command **may have run** before that, and nobody can tell any more. It never
    /// will from here on, and the next call opens another session.
    #[error("the session has ended: it may have run before that, and nobody can tell any more")]
    SessionExpired,
    /// The command does not fit into a datagram, of this client or of the node that leads.
    #[error(
        "{size} bytes are too many: at most {limit} fit into a datagram; make it shorter, or raise max_datagram, on every node and here{}",
        if *.may_have_run { " (and it may have run, by way of a node that has a longer one)" } else { "" }
    )]
    TooLarge {
        /// The length of the command, in bytes; for a [`KvClient`](crate::KvClient) that of the key and the values in it, together.
        size: u64,
        /// The most that fit, in bytes.
        limit: u64,
        /// Whether the cluster may have run it, or may do it yet: it was sent more than once, and who got it before may have longer
        /// datagrams.
        may_have_run: bool,
    },
    /// It was done, and what came of it does not fit into a datagram of the node.
    #[error(
        "it was done, but its answer of {size} bytes does not fit into a datagram of the node: raise the nodes' max_datagram"
    )]
    AnswerTooLarge {
        /// The length of the answer, in bytes.
        size: u64,
    },
    /// It makes no sense, and is not so.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Nobody has said where this node is. Nothing was sent to it.
    #[error("nobody knows where {0} is: name its address among the servers")]
    UnknownServer(NodeId),
    /// The node does not belong to the cluster. Nothing was sent to it.
    #[error("{node} is no member of this cluster; its members are {}", numbers(.members))]
    NotAMember {
        /// The node.
        node: NodeId,
        /// Who belongs to it.
        members: BTreeSet<NodeId>,
    },
    /// A node answered what is no answer to that, or its state machine is another.
    #[error(
        "a node gave an answer that makes no sense: is its state machine the one that this client is for? {0}"
    )]
    Nonsense(String),
}

impl ClientError {
    /// Whether what was asked may have been done, or may be done yet.
    pub fn may_have_run(&self) -> bool {
        match self {
            ClientError::TimedOut { may_have_run, .. }
            | ClientError::TooLarge { may_have_run, .. } => *may_have_run,
            ClientError::SessionExpired
            | ClientError::AnswerTooLarge { .. }
            | ClientError::Nonsense(_) => true,
            _ => false,
        }
    }

    /// What is an outcome, but not the one that was hoped for.
    pub(super) fn of(outcome: Outcome) -> ClientError {
        match outcome {
            Outcome::AnswerTooLarge { size } => ClientError::AnswerTooLarge { size },
            Outcome::Refused(why) => ClientError::Refused(why),
            other => ClientError::Nonsense(format!("{other:?}")),
        }
    }

    /// The same, when what failed was asked before what was to be done was sent, or after.
    pub(super) fn having_sent(self, sent: bool) -> ClientError {
        match self {
            ClientError::TimedOut { timeout, heard, .. } => ClientError::TimedOut {
                timeout,
                heard,
                may_have_run: sent,
            },
            other => other,
        }
    }
}

impl From<Malformed> for ClientError {
    fn from(why: Malformed) -> ClientError {
        ClientError::Nonsense(why.to_string())
    }
}

/// `1, 2, 3`.
fn numbers(nodes: &BTreeSet<NodeId>) -> String {
    let numbers: Vec<String> = nodes.iter().map(|id| id.0.to_string()).collect();
    numbers.join(", ")
}

/// What a client heard last before it gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// Nothing at all.
    Nothing,
    /// This node does not lead, and knows nobody who does.
    NoLeader(NodeId),
    /// This node says that another one leads, which says nothing.
    SilentLeader {
        /// Who was heard.
        from: NodeId,
        /// Who is said to lead.
        leader: NodeId,
    },
    /// This node is busy.
    Busy(NodeId),
    /// This node began it and can't tell what became of it.
    Undecided(NodeId),
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Heard::Nothing => f.write_str(
                "nothing was heard; do the nodes run, are these their addresses, and is this their cluster?",
            ),
            Heard::NoLeader(id) => write!(f, "{id} knows no leader; does a majority of the nodes run?"),
            Heard::SilentLeader { from, leader } => {
                write!(f, "{from} says that {leader} leads, which can't be reached")
            }
            Heard::Busy(id) => write!(f, "{id} is busy"),
            Heard::Undecided(id) => write!(f, "{id} can't tell what became of it"),
        }
    }
}
