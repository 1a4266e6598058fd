//! One error per operation: whose fault it is, and what to do.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::{ConfigError, Leadership, RestoreError};
use crate::rules::{
    ChangeRefused, NodeId, OtherMembers, ProposalRefused, ReadRefused, TransferRefused,
};

/// Why [`Node::start`](crate::Node::start) did not start. No thread is left behind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration can't work.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The storage could not be read, or a new one not written to.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is told of other members than those it began with. Nothing was changed.
    #[error(transparent)]
    OtherMembers(#[from] OtherMembers),
    /// The transport could not start.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The system gave no thread.
    #[error("the system gave no thread: {0}")]
    Thread(io::Error),
}

/// What a [`Storage`](crate::Storage) says when it fails. Whatever it says, the node stops, and tries nothing again: after a failed
/// sync nobody knows what the disk holds.
#[derive(Clone, Debug, Error)]
#[error("storage: {message}")]
pub struct StorageError {
    message: String,
    #[source]
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl StorageError {
    /// An error with a sentence that says what failed, where, and what to do.
    pub fn new(message: impl Into<String>) -> StorageError {
        StorageError {
            message: message.into(),
            source: None,
        }
    }

    /// The same error, with what caused it.
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> StorageError {
        self.source = Some(Arc::new(source));
        self
    }
}

/// What a [`Transport`](crate::Transport) says when it cannot start.
#[derive(Debug, Error)]
#[error("transport: {message}")]
pub struct TransportError {
    message: String,
    #[source]
    source: Option<io::Error>,
}

impl TransportError {
    /// An error with a sentence that says what failed, and what to do.
    pub fn new(message: impl Into<String>, source: Option<io::Error>) -> TransportError {
        TransportError {
            message: message.into(),
            source,
        }
    }
}

/// Why a node does nothing any more.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Stopped {
    /// It was shut down.
    #[error("the node was shut down")]
    Shutdown,
    /// Its disk failed. It said nothing that it had not made durable. Mend the disk and start it again.
    #[error("the node stopped because a write failed: {0}")]
    Storage(StorageError),
    /// Its state machine did not understand a snapshot. Start it with the version of the state machine that took it.
    #[error("the node stopped because its state machine did not understand a snapshot: {0}")]
    StateMachine(RestoreError),
    /// Code that the node called without the lock panicked: its storage, its transport, its state machine, or whoever reads its log. The message is on
    /// standard error. Nobody can tell what was written or sent, so nothing is tried again.
    #[error("the node stopped because thread {thread} panicked outside the lock")]
    Panicked {
        /// The thread.
        thread: &'static str,
    },
    /// An invariant broke, which is a bug in Biglock or in what it was given. It said nothing since. Please report it, with the
    /// message that the thread left on standard error.
    #[error(
        "the node stopped because an invariant broke while a thread held the lock to {section}"
    )]
    Broken {
        /// The section in which it broke.
        section: &'static str,
    },
}

/// Why a wait ended without what it waited for.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The time was up.
    #[error("the time was up")]
    TimedOut,
    /// The node stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why a proposal was not made: it is in no log, and may be proposed again, here or elsewhere.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ProposeError {
    /// This node does not lead. Ask the leader, if it is known.
    #[error("this node does not lead{}", .leader.map(|id| format!("; {id} does")).unwrap_or_default())]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// The leader is handing over to another node. Ask again in a moment.
    #[error("the leader is handing over to another node; ask again in a moment")]
    Transferring,
    /// Too much is waiting to be committed and applied ([`Config::max_unapplied`](crate::Config::max_unapplied)). Wait for some of it.
    #[error(
        "the node is busy: too much is waiting to be committed and applied; wait for some of it"
    )]
    Busy,
    /// It does not fit into the largest message of the transport.
    #[error("the command has {size} bytes; at most {limit} fit into a message of this transport")]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The most there may be, in bytes.
        limit: usize,
    },
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl ProposeError {
    pub(super) fn refused(why: ProposalRefused, leader: Option<NodeId>) -> ProposeError {
        match why {
            ProposalRefused::NotLeader => ProposeError::NotLeader { leader },
            ProposalRefused::Transferring => ProposeError::Transferring,
            ProposalRefused::Busy => ProposeError::Busy,
            ProposalRefused::TooLarge { size, limit } => ProposeError::TooLarge { size, limit },
        }
    }
}

/// Why there is no reply to a proposal that was made.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Undecided {
    /// Another entry was committed in its place: it was never run, and never will be.
    #[error("another entry took its place: it was not run, and may be proposed again")]
    Lost,
    /// Nobody here can tell: it may have been run, or will be, or never. To send it again and have it run once, use a session.
    #[error("nobody here can tell whether it was run, or will be")]
    Unknown,
    /// The node stopped; the same is unknown.
    #[error("{0}; whether the command was run, or will be, is unknown")]
    Stopped(Stopped),
}

/// Why a read was not served.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader answered for several election timeouts.
    #[error("no leader answered for several election timeouts")]
    NoLeader,
    /// Too many reads are waiting.
    #[error("the node is busy: too many reads are waiting")]
    Busy,
    /// The node stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl From<ReadRefused> for ReadError {
    fn from(_: ReadRefused) -> ReadError {
        ReadError::Busy
    }
}

/// Why the leadership was not handed over.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// It did not begin.
    #[error(transparent)]
    Refused(#[from] TransferRefused),
    /// It was given up, or another node was elected: this is how it ended.
    #[error("the leadership was not handed over: {} leads in {}", .0.leader.map_or("nobody".into(), |id| id.to_string()), .0.term)]
    Failed(Leadership),
    /// The node stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why the members were not changed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// It did not begin.
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
    /// It began, and what became of it is this.
    #[error("the change began, but {0}")]
    Undecided(#[from] Undecided),
    /// The node stopped before.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}
