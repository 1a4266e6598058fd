//! Which write was begun last, and which was acknowledged: what tells a torn write from a damaged one.
//!
//! The file is never synced after it was made, so it costs no time. That is enough: what it says was true when it was written, and if a
//! crash of the machine takes the latest of it back, it says less, and nothing wrong.
//!
//! - *Acknowledged* is written after the sync of that write: a database that knows less has lost something.
//! - *Begun* is written before the first byte of that write: if the database does not have it, a crash cut it off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Cause, folder};
use crate::codec;
use crate::rules::{Batch, Position, Term};

pub(super) const FILE: &str = "biglock.writes";

const VERSION: u8 = 1;

/// Writes are numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Last {
    /// The last that was durable. All before it were, too.
    pub(super) acknowledged: u64,
    /// The last that was begun.
    pub(super) begun: u64,
    /// Its term.
    term: Term,
    /// Its snapshot, or all zero.
    snapshot: Position,
    /// The index of its first entry, or zero if it changed nothing in the log.
    first: u64,
    /// The number of its entries.
    entries: u64,
}

impl Last {
    /// What the write that was begun last would have written, in words.
    pub(super) fn contents(&self) -> String {
        let mut text = self.term.to_string();
        if self.snapshot != Position::default() {
            text += &format!(", a snapshot up to entry {}", self.snapshot.index);
        }
        if self.first > 0 {
            text += &match self.entries {
                0 => format!(", the end of the log after entry {}", self.first - 1),
                many => format!(", entries {} to {}", self.first, self.first + many - 1),
            };
        }
        text
    }
}

#[derive(Debug)]
pub(super) struct Writes {
    file: File,
    last: Last,
}

impl Writes {
    /// Opens the file, or makes it, durably. The second is what it says, if it says anything: it may be torn, or another version's.
    pub(super) fn open(folder: &Path) -> Result<(Writes, Option<Last>), Cause> {
        let path = folder.join(FILE);
        let new = !path.try_exists()?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        if new {
            file.sync_all()?;
            folder::sync(folder)?;
        }
        let mut bytes = Vec::new();
        // Longer than ever needed, and no longer.
        (&mut file).take(4096).read_to_end(&mut bytes)?;
        let last = decode(&bytes);
        if last.is_none() {
            // It may be longer than ours.
            file.set_len(0)?;
        }
        let writes = Writes {
            file,
            last: last.clone().unwrap_or_default(),
        };
        Ok((writes, last))
    }

    /// Whether anything was ever acknowledged here.
    pub(super) fn written(folder: &Path) -> Result<bool, Cause> {
        match fs::read(folder.join(FILE)) {
            Ok(bytes) => Ok(decode(&bytes).is_some_and(|last| last.acknowledged > 0)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// This write is about to be written.
    pub(super) fn begin(&mut self, number: u64, batch: &Batch) -> io::Result<()> {
        let log = batch.log.as_ref();
        self.last = Last {
            acknowledged: self.last.acknowledged,
            begun: number,
            term: batch.hard_state.term,
            snapshot: batch
                .snapshot
                .as_ref()
                .map_or(Position::default(), |s| s.last),
            first: log.map_or(0, |log| log.first),
            entries: log.map_or(0, |log| log.entries.len() as u64),
        };
        self.put()
    }

    /// This write and all before it are durable.
    pub(super) fn acknowledge(&mut self, number: u64) -> io::Result<()> {
        self.last.acknowledged = number;
        self.last.begun = number;
        self.put()
    }

    fn put(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&encode(&self.last))
    }
}

/// Twice, so that one that is torn or damaged can be told.
fn encode(last: &Last) -> Vec<u8> {
    let mut once = vec![VERSION];
    once.extend(codec::encode(last));
    once.repeat(2)
}

fn decode(bytes: &[u8]) -> Option<Last> {
    let (once, again) = bytes.split_at(bytes.len() / 2);
    let (version, rest) = once.split_first()?;
    (once == again && *version == VERSION)
        .then(|| codec::decode(rest).ok())
        .flatten()
}
