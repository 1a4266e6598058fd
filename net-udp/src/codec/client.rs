//! What clients and nodes say to each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use biglock::rules::{BadChange, Change};
use biglock::{NodeId, Position, SessionReply, SessionRequest};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a client asks of a node. It is sent again until there is a reply, always with the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRequest {
    /// Which client: a random number.
    pub client: u64,
    /// The request's number among those of this client (lecture 2's XID): the reply has it too.
    pub xid: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// A request to the client's session (dissertation, chapter 6). Of the leader.
    Session(SessionRequest),
    /// A linearizable read: the bytes are what the node's [reader](crate::UdpTransport::with_reader) understands. Of any node.
    Read(Bytes),
    /// Who belongs to the cluster. Of any node.
    Members,
    /// A change of the members. Of the leader.
    Change(Change),
    /// Hand the leadership over to this node. Of the leader.
    Transfer(NodeId),
    /// Take a snapshot. Of any node, which takes its own.
    Snapshot,
}

/// What a node replies to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientReply {
    /// Which client.
    pub client: u64,
    /// To which of its requests.
    pub xid: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request: of the one datagram that is answered. What became of others with the same request, of copies that the network made
/// too, it does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The session's reply.
    Session(SessionReply),
    /// What was read.
    Value(Bytes),
    /// The members, and who leads them.
    Members {
        /// The members.
        members: BTreeMap<NodeId, Listed>,
        /// The leader, if there is one.
        leader: Option<NodeId>,
    },
    /// The members were changed.
    Changed,
    /// This node leads now.
    Leads(NodeId),
    /// A snapshot was taken, up to and with this entry.
    Snapshot(Position),
    /// This node does not lead; who does, as far as it knows, and where that one listens. The request was not proposed.
    NotLeader {
        /// Who leads.
        leader: Option<(NodeId, Option<SocketAddr>)>,
    },
    /// Not now: too much is under way, or the leader is handing over. The request was not proposed.
    Busy,
    /// It began, and this node can't tell what became of it.
    Undecided,
    /// The command is too long. It was not proposed.
    TooLarge {
        /// Its length, in bytes.
        size: u64,
        /// The most that it may have.
        limit: u64,
    },
    /// The request was done, and what came of it does not fit into a datagram of this node.
    AnswerTooLarge {
        /// The length of what came of it, in bytes.
        size: u64,
    },
    /// It makes no sense, and was not begun.
    Refused(Refused),
}

impl Outcome {
    /// The length of what came of the request, in bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Outcome::Value(bytes) | Outcome::Session(SessionReply::Done(bytes)) => {
                bytes.len() as u64
            }
            _ => 0,
        }
    }
}

/// Why a request makes no sense, now or ever.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refused {
    /// As a change of the members.
    #[error(transparent)]
    Change(#[from] BadChange),
    /// The learner that is to vote has to catch up before.
    #[error("the learner lacks {entries} entries: wait until it has caught up")]
    CatchingUp {
        /// How many entries it lacks.
        entries: u64,
    },
    /// The leadership can't be handed over to who does not vote.
    #[error("{0} is not a voter, and nobody else can lead")]
    NotAVoter(NodeId),
    /// The node was not told how to read its state.
    #[error("the node serves no reads: its transport was given no reader")]
    NoReads,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Whether it votes; otherwise it is a learner.
    pub voter: bool,
    /// Where it listens, as far as the node that replies knows.
    pub address: Option<SocketAddr>,
}
