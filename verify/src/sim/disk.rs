//! A disk that keeps what was synced and nothing else.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use biglock::{Batch, Outside, Position, Storage, StorageError, Stored, Time};

/// How a machine's disk behaves from now on.
#[derive(Clone, Debug)]
pub struct DiskHabits {
    /// How long a write and its sync take.
    pub latency: Range<Duration>,
    /// Whether a write takes no time, as in memory: then whoever has something to write writes it.
    pub instant: bool,
    /// Until when no write ends.
    pub stalled_until: Time,
    /// Whether writes fail. Whether what failed is on the disk afterwards, nobody knows.
    pub fails: bool,
}

impl Default for DiskHabits {
    /// A good disk: 0.1 to 2 ms a write.
    fn default() -> DiskHabits {
        DiskHabits {
            latency: Duration::from_micros(100)..Duration::from_millis(2),
            instant: false,
            stalled_until: Time::ZERO,
            fails: false,
        }
    }
}

/// What survives a crash: the platters, which outlive the machine's every boot. Clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Platters>>);

#[derive(Debug, Default)]
struct Platters {
    stored: Stored,
    habits: DiskHabits,
    writes: u64,
}

impl Disk {
    /// An empty one.
    pub fn new(habits: DiskHabits) -> Disk {
        Disk(Arc::new(Mutex::new(Platters {
            habits,
            ..Platters::default()
        })))
    }

    fn platters(&self) -> MutexGuard<'_, Platters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it behaves.
    pub fn habits(&self) -> DiskHabits {
        self.platters().habits.clone()
    }

    /// Changes how it behaves.
    pub fn change(&self, change: impl FnOnce(&mut DiskHabits)) {
        change(&mut self.platters().habits);
    }

    /// Looks at what is durable.
    pub fn look<T>(&self, look: impl FnOnce(&Stored) -> T) -> T {
        look(&self.platters().stored)
    }

    /// Whether the entry at this place is durable, by itself or in a snapshot.
    pub fn holds(&self, position: Position) -> bool {
        self.look(|stored| {
            position.index <= stored.log.before().index || stored.log.contains(position)
        })
    }

    /// The index of the last durable entry.
    pub fn last(&self) -> u64 {
        self.look(|stored| stored.log.last().index)
    }

    /// The bytes of what is durable: entries and snapshot.
    pub fn bytes(&self) -> usize {
        self.look(|stored| {
            stored.log.bytes() + stored.snapshot.as_ref().map_or(0, |s| s.data.len())
        })
    }

    /// How many writes became durable.
    pub fn writes(&self) -> u64 {
        self.platters().writes
    }

    /// A batch reaches the platters: whole, as the contract says.
    pub(super) fn land(&self, batch: Batch) {
        let mut platters = self.platters();
        platters.stored.apply(batch);
        platters.writes += 1;
    }
}

impl Storage for Disk {
    fn load(&mut self, _: &Outside) -> Result<Stored, StorageError> {
        Ok(self.platters().stored.clone())
    }

    fn write(&mut self, _: &Outside, batch: Batch) -> Result<(), StorageError> {
        if self.platters().habits.fails {
            return Err(StorageError::new("the simulated disk fails"));
        }
        self.land(batch);
        Ok(())
    }

    fn is_instant(&self) -> bool {
        self.platters().habits.instant
    }
}
