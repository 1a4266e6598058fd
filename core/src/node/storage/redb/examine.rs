//! Looks into a database without changing it: whether it is whole, and what opening it will drop.

#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, Builder, StorageBackend};

use super::CACHE;
use super::records::{self, Problem, State};
use super::writes::Last;
use crate::rules::{NodeId, Stored};

/// What is in a database once it is open.
pub(super) struct Examined {
    pub(super) state: State,
    pub(super) stored: Stored,
    /// What opening it drops, in words.
    pub(super) dropped: Option<String>,
}

/// Reads and checks the whole database as it will be once redb has opened it, which after a crash includes a repair.
///
/// `last` is what is known of the last writes, if anything is.
pub(super) fn examine(file: &Path, id: NodeId, last: Option<&Last>) -> Result<Examined, Problem> {
    // On damage that no checksum covers, redb may panic instead of failing. Nothing of it is used after that.
    catch_unwind(AssertUnwindSafe(|| look(file, id, last))).unwrap_or_else(|_| {
        Err(Problem::damaged(
            "reading it failed, as the message above says",
        ))
    })
}

fn look(path: &Path, id: NodeId, last: Option<&Last>) -> Result<Examined, Problem> {
    let io = |error: io::Error| Problem::Unreadable(redb::Error::Io(error));
    // Nothing is written to it, but only a file that may be written to can be locked as if.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    // Shorter ones redb would take for new ones, or refuse with less to say.
    if length < Header::LENGTH as u64 {
        return Err(Problem::Unreadable(redb::Error::Corrupted(format!(
            "it has only {length} bytes"
        ))));
    }
    let below = FileBackend::new(file).map_err(|error| Problem::Unreadable(error.into()))?;
    let paper = Paper(Arc::new(Above {
        below,
        changes: Mutex::new(Changes {
            length,
            shows: length,
            writes: Vec::new(),
        }),
    }));
    let before = Header::read(&paper).map_err(io)?;
    let mut database = Builder::new()
        .set_cache_size(CACHE)
        .create_with_backend(paper.clone())
        .map_err(|error| Problem::Unreadable(error.into()))?;
    let whole = database
        .check_integrity()
        .map_err(|error| Problem::Unreadable(error.into()))?;
    if !whole {
        return Err(Problem::damaged("a checksum does not match"));
    }
    let state = records::read_state(&database, id)?;
    let stored = records::read(&database, &state)?;
    drop(database);
    let after = Header::read(&paper).map_err(io)?;

    let acknowledged = last.map_or(0, |last| last.acknowledged);
    if state.writes < acknowledged {
        return Err(Problem::damaged(format!(
            "write {acknowledged} was acknowledged, and it has only what was there after write {}: it lost the rest, or is an old copy",
            state.writes
        )));
    }
    let went_back = before.root() != after.root();
    if went_back && !before.in_use() {
        return Err(Problem::damaged(
            "its last write is not whole, though it was closed properly",
        ));
    }
    let begun = last.filter(|last| last.begun > state.writes);
    let kept = format!(
        "what is kept is all that was acknowledged: {} and the log up to entry {}, as of write {}",
        state.hard_state.term, state.last, state.writes
    );
    let path = path.display();
    let dropped = match (begun, went_back) {
        (Some(last), _) => Some(format!(
            "{path}: a crash cut off write {} ({}), which is dropped; {kept}",
            last.begun,
            last.contents()
        )),
        (None, true) => Some(format!(
            "{path}: a crash cut off the last write, which is dropped; {kept}"
        )),
        (None, false) => None,
    };
    Ok(Examined {
        state,
        stored,
        dropped,
    })
}

/// The first bytes of a database, as redb's design document has them: which of its two last commits is the valid one, and what that one's
/// tree of tables is. A repair that goes back to the other changes it, and nothing else that opening does.
struct Header([u8; Header::LENGTH]);

impl Header {
    const LENGTH: usize = 320;
    /// Bit 0: the second commit is the valid one. Bit 1: somebody has it open, or did when he crashed.
    const FLAGS: usize = 9;
    const COMMITS: usize = 64;
    const COMMIT: usize = 128;
    /// Where a commit has its tree: page, checksum, length.
    const ROOT: std::ops::Range<usize> = 8..40;

    fn read(paper: &Paper) -> io::Result<Header> {
        let mut bytes = [0; Header::LENGTH];
        paper.read(0, &mut bytes)?;
        Ok(Header(bytes))
    }

    fn in_use(&self) -> bool {
        self.0[Header::FLAGS] & 2 != 0
    }

    fn root(&self) -> &[u8] {
        let second = usize::from(self.0[Header::FLAGS] & 1);
        let commit = &self.0[Header::COMMITS + second * Header::COMMIT..];
        &commit[Header::ROOT]
    }
}

/// A file under tracing paper: what is written stays above it, and is gone with the paper.
#[derive(Clone, Debug)]
struct Paper(Arc<Above>);

#[derive(Debug)]
struct Above {
    below: FileBackend,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    length: u64,
    /// How much of the file shows through, in bytes: what was cut off does not come back.
    shows: u64,
    /// In their order. A repair makes a dozen.
    writes: Vec<(u64, Vec<u8>)>,
}

impl Paper {
    fn changes(&self) -> std::sync::MutexGuard<'_, Changes> {
        self.0
            .changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Paper {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes();
        let end = offset + out.len() as u64;
        if end > changes.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let below = changes.shows.clamp(offset, end) - offset;
        let (below, beyond) = out.split_at_mut(below as usize);
        self.0.below.read(offset, below)?;
        beyond.fill(0);
        for (start, bytes) in &changes.writes {
            let from = offset.max(*start);
            let to = end.min(start + bytes.len() as u64);
            if from < to {
                out[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut changes = self.changes();
        changes.shows = changes.shows.min(length);
        for (start, bytes) in &mut changes.writes {
            bytes.truncate(length.saturating_sub(*start) as usize);
        }
        changes.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.changes().writes.push((offset, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.0.below.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.below.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.below.unlock_range(start, end)
    }
}
