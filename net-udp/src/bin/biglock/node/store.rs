//! The node's store, with a line for the supervisor whenever something in it became durable.

use biglock::{
    Batch, HardState, MemoryStorage, NodeId, Outside, RedbStorage, Storage, StorageError, Stored,
};
use crossbeam_channel::Sender;

use super::events::Events;
use super::settings::Place;
use crate::line::Line;

/// A store that tells what it does.
pub struct Store {
    id: NodeId,
    inner: Box<dyn Storage>,
    lines: Option<Sender<Line>>,
    /// Term and vote as they were told last.
    told: Option<HardState>,
    /// Whether it is in a folder that was empty.
    pub is_new: bool,
}

impl Store {
    /// Opens the store of this node.
    pub fn open(id: NodeId, place: &Place, events: Option<&Events>) -> anyhow::Result<Store> {
        let (inner, is_new): (Box<dyn Storage>, bool) = match place {
            Place::Memory => (Box::new(MemoryStorage::new()), false),
            Place::Folder(folder) => {
                let store = RedbStorage::open(folder, id)?;
                let is_new = store.is_new();
                (Box::new(store), is_new)
            }
        };
        Ok(Store {
            id,
            inner,
            lines: events.map(Events::lines),
            told: None,
            is_new,
        })
    }

    fn tell(&self, line: impl FnOnce(u64) -> Line) {
        if let Some(lines) = &self.lines {
            let _ = lines.send(line(self.id.0));
        }
    }
}

impl Storage for Store {
    fn load(&mut self, outside: &Outside) -> Result<Stored, StorageError> {
        let stored = self.inner.load(outside)?;
        let HardState { term, voted_for } = stored.hard_state;
        self.told = Some(stored.hard_state);
        self.tell(|node| Line::Loaded {
            node,
            term: term.0,
            voted_for: voted_for.map(|id| id.0),
        });
        Ok(stored)
    }

    fn write(&mut self, outside: &Outside, batch: Batch) -> Result<(), StorageError> {
        let hard_state = batch.hard_state;
        self.inner.write(outside, batch)?;
        // Most batches are about the log alone.
        if self.told.replace(hard_state) == Some(hard_state) {
            return Ok(());
        }
        let HardState { term, voted_for } = hard_state;
        // Told before core hears of it, so before anything that relies on it can leave this node.
        self.tell(|node| Line::Durable {
            node,
            term: term.0,
            voted_for: voted_for.map(|id| id.0),
        });
        Ok(())
    }

    fn is_instant(&self) -> bool {
        self.inner.is_instant()
    }
}
