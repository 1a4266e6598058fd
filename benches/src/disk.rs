//! One durable write, on the disk that holds the target folder: raw, and through the store that Biglock ships.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use biglock::{Batch, HardState, NodeId, Outside, RedbStorage, Storage, Term};
use tempfile::TempDir;

use crate::SILENCE;
use crate::stopwatch::{keep_silent, now};

/// A file that was written once already, and a store.
pub struct Disk {
    file: File,
    store: RedbStorage,
    outside: Outside,
    term: u64,
    _folder: TempDir,
}

/// As much as one sector: a record of term and vote is smaller.
const RECORD: usize = 512;
const RECORDS: u64 = 2048;

impl Disk {
    /// Both, in a folder of their own under `scratch`.
    ///
    /// # Errors
    /// If the folder or the file can't be made.
    ///
    /// # Panics
    /// If the store can't be opened.
    pub fn open(scratch: &Path) -> io::Result<Disk> {
        let folder = TempDir::new_in(scratch)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(folder.path().join("raw"))?;
        // Preallocated: what follows changes bytes and never the file's length or place.
        let length = usize::try_from(RECORDS).expect("a small number") * RECORD;
        file.write_all_at(&vec![0; length], 0)?;
        file.sync_all()?;
        let mut store = RedbStorage::open(folder.path().join("store"), NodeId(1)).expect("a store");
        let outside = Outside::claim("bench");
        store.load(&outside).expect("an empty store");
        Ok(Disk {
            file,
            store,
            outside,
            term: 0,
            _folder: folder,
        })
    }

    /// 512 bytes written in place and synced, then silence.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn raw(&mut self) -> io::Result<Duration> {
        self.term += 1;
        let record = [self.term as u8; RECORD];
        let begin = now();
        self.file
            .write_all_at(&record, self.term % RECORDS * RECORD as u64)?;
        self.file.sync_data()?;
        let took = now().since(begin);
        keep_silent(SILENCE);
        Ok(took)
    }

    /// One record of term and vote through [`RedbStorage`], then silence.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn store(&mut self) -> Duration {
        self.term += 1;
        let batch = Batch::new(HardState {
            term: Term(self.term),
            voted_for: Some(NodeId(1)),
        });
        let begin = now();
        self.store
            .write(&self.outside, batch)
            .expect("a durable write");
        let took = now().since(begin);
        keep_silent(SILENCE);
        took
    }
}
