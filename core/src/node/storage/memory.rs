use super::{Batch, Storage, Stored};
use crate::{Outside, StorageError};

/// Keeps everything in memory: for tests, benchmarks and models. **A node that restarts with an empty one may vote twice in a term**,
/// so it must not come back under the same id.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    stored: Stored,
}

impl MemoryStorage {
    /// An empty one.
    pub fn new() -> MemoryStorage {
        MemoryStorage::default()
    }
}

impl Storage for MemoryStorage {
    fn load(&mut self, _: &Outside) -> Result<Stored, StorageError> {
        Ok(self.stored.clone())
    }

    fn write(&mut self, _: &Outside, batch: Batch) -> Result<(), StorageError> {
        self.stored.apply(batch);
        Ok(())
    }

    fn is_instant(&self) -> bool {
        true
    }
}
