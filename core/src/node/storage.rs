//! Where a node keeps what must survive a crash.

mod memory;
#[cfg(feature = "redb")]
mod redb;

pub use memory::MemoryStorage;
#[cfg(feature = "redb")]
pub use redb::RedbStorage;

pub use crate::rules::{Batch, Stored, Suffix};

use super::StorageError;
use crate::Outside;

/// Where a node keeps what must survive a crash: term and vote and the log ("persistent state on all servers", figure 2), the latest
/// snapshot (section 7), and the members it began with.
///
/// One thread at a time has it, and it is never called with the lock held: it may take as long as it must.
pub trait Storage: Send {
    /// What the disk holds. Called once, before anything else.
    ///
    /// # Errors
    /// If it cannot be read; the node does not start.
    fn load(&mut self, outside: &Outside) -> Result<Stored, StorageError>;

    /// Writes a batch, whole or not at all, and returns when it is durable: it must survive a crash of the machine. What a batch means is
    /// defined by [`Stored::apply`].
    ///
    /// # Errors
    /// If it may not be durable. The node stops and never calls again.
    fn write(&mut self, outside: &Outside, batch: Batch) -> Result<(), StorageError>;

    /// Whether writing takes no time, as in memory. Then whoever has something to write writes it at once, in its own thread; otherwise a
    /// thread of its own does, for everyone, and only term and vote are written by those who changed them.
    fn is_instant(&self) -> bool {
        false
    }
}

impl<S: Storage + ?Sized> Storage for Box<S> {
    fn load(&mut self, outside: &Outside) -> Result<Stored, StorageError> {
        (**self).load(outside)
    }

    fn write(&mut self, outside: &Outside, batch: Batch) -> Result<(), StorageError> {
        (**self).write(outside, batch)
    }

    fn is_instant(&self) -> bool {
        (**self).is_instant()
    }
}
