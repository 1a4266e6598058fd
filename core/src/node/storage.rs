//! Where a node keeps what must survive a crash.

mod memory;
#[cfg(feature = "redb")]
mod redb;

pub use memory::MemoryStorage;
#[cfg(feature = "redb")]
pub use redb::RedbStorage;

use super::StorageError;
use crate::Outside;
use crate::rules::HardState;

/// Where a node keeps what must survive a crash: term and vote ("persistent state on all servers", figure 2).
///
/// One thread at a time has it, and it is never called with the lock held: it may take as long as it must.
pub trait Storage: Send {
    /// What the disk holds. Called once, before anything else.
    ///
    /// # Errors
    /// If it cannot be read; the node does not start.
    fn load(&mut self, outside: &Outside) -> Result<Stored, StorageError>;

    /// Writes a batch, whole or not at all, and returns when it is durable: it must survive a crash of the machine.
    ///
    /// # Errors
    /// If it may not be durable. The node stops and never calls again.
    fn write(&mut self, outside: &Outside, batch: &Batch) -> Result<(), StorageError>;
}

/// What a [`Storage`] held when it was opened. [`Stored::default`] is a new node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stored {
    /// Term and vote.
    pub hard_state: HardState,
}

impl Stored {
    /// A node that has this term and vote.
    pub fn new(hard_state: HardState) -> Stored {
        Stored { hard_state }
    }
}

/// What a [`Storage`] is to make durable, whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// Term and vote: one record. It takes the place of the one before.
    pub hard_state: HardState,
}

impl Batch {
    /// A batch with this term and vote.
    pub fn new(hard_state: HardState) -> Batch {
        Batch { hard_state }
    }
}
