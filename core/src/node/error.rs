//! One error per operation: whose fault it is, and what to do.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::ConfigError;

/// Why [`Node::start`](crate::Node::start) did not start. No thread is left behind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration can't work.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The storage could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
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
    /// Code that the node called without the lock panicked: its storage, its transport, or whoever reads its log. The message is on
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
