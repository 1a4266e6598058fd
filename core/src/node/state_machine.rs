//! What the cluster replicates: the user's state.

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::Time;

/// The replicated state: every node applies the same commands in the same order (section 2).
///
/// One thread at a time has it, and it is never called with the lock held: it may take as long as it must, and only those who wait for
/// its replies wait. To read the state as well, let it share what is inside (`Arc<Mutex<..>>`) with whoever reads after
/// [`Node::read`](crate::Node::read), as [`kv::KvStore`](crate::kv::KvStore) does.
///
/// If it panics, the node stops.
pub trait StateMachine: Send {
    /// Applies one committed command and returns the reply to whoever proposed it. **Deterministic**: the same commands must make the
    /// same states and replies on every node; so no clock (take `at.time`), no random numbers, no order of a hash map.
    fn apply(&mut self, at: Applied, command: &[u8]) -> Bytes;

    /// Whether applying takes no time, as on a map in memory: then whoever learns that a command is committed applies it at once, and nobody
    /// waits for a thread to wake. Otherwise a thread of its own does. Snapshots are always made and read by that thread.
    fn is_instant(&self) -> bool {
        false
    }

    /// The whole state, as bytes that [`restore`](StateMachine::restore) understands, on this node and on others.
    fn snapshot(&mut self) -> Bytes;

    /// Replaces the state with the one of a snapshot.
    ///
    /// # Errors
    /// If it makes no sense. The node stops: it cannot go on without its state.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError>;
}

/// Where the command stands that is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Its index in the log.
    pub index: u64,
    /// Its log time: the same on every node, and never earlier than the one before (dissertation, 6.3).
    pub time: Time,
}

impl Applied {
    /// A command at this place.
    pub fn at(index: u64, time: Time) -> Applied {
        Applied { index, time }
    }
}

/// Why a state machine can't take a snapshot.
#[derive(Clone, Debug, Error)]
#[error("{message}")]
pub struct RestoreError {
    message: String,
    #[source]
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl RestoreError {
    /// An error with a sentence that says what is wrong, and what to do.
    pub fn new(message: impl Into<String>) -> RestoreError {
        RestoreError {
            message: message.into(),
            source: None,
        }
    }

    /// The same error, with what caused it.
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> RestoreError {
        self.source = Some(Arc::new(source));
        self
    }
}

/// Remembers nothing, and replies nothing: for nodes that only elect a leader.
impl StateMachine for () {
    fn apply(&mut self, _: Applied, _: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn is_instant(&self) -> bool {
        true
    }

    fn snapshot(&mut self) -> Bytes {
        Bytes::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

impl<M: StateMachine + ?Sized> StateMachine for Box<M> {
    fn apply(&mut self, at: Applied, command: &[u8]) -> Bytes {
        (**self).apply(at, command)
    }

    fn is_instant(&self) -> bool {
        (**self).is_instant()
    }

    fn snapshot(&mut self) -> Bytes {
        (**self).snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        (**self).restore(snapshot)
    }
}
