//! Term and vote, log and snapshot in an embedded database, [redb](https://docs.rs/redb).
//!
//! | file | what is in it |
//! |---|---|
//! | `biglock.redb` | the database: everything that the node must remember |
//! | `biglock.writes` | which write was begun last, and which is durable; written beside each write, never waited for |
//! | `lock` | locked by whoever uses the folder |
//!
//! A batch is one transaction, and one sync. Redb finds out by checksum, after a crash, whether the last transaction is whole, and goes back
//! to the one before if it is not. A last write that a crash tore and a last write that the disk damaged later look alike to it: the
//! second would be a vote forgotten. So before the database is opened, it is [examined](examine) without changing a byte of it, and `biglock.writes`
//! tells the two apart.

mod examine;
mod folder;
mod records;
mod snapshot;
#[cfg(test)]
mod tests;
mod writes;

use std::error::Error as StdError;
use std::fs::File;
use std::path::{Path, PathBuf};

use redb::{Builder, Database};

use self::records::{Problem, State};
use self::writes::Writes;
use super::Storage;
use crate::rules::{Batch, NodeId, Stored};
use crate::{Outside, StorageError};

/// The database, in the node's folder.
const FILE: &str = "biglock.redb";

/// The database caches a gigabyte unless told otherwise. What a node reads again while it runs is the way to the end of its log.
const CACHE: usize = 4 << 20;

/// What to do about a node whose memory is gone.
const REPLACE: &str = "remove this node from the cluster and let it join under a new id, with a new folder: its vote is lost";

/// Keeps a node's memory in a folder on disk, in an embedded database: term and vote, log, snapshot. What it has written survives a crash
/// of the machine.
///
/// ```
/// use biglock::{NodeId, RedbStorage};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let temporary = tempfile::tempdir()?;
/// # let data = temporary.path();
/// let storage = RedbStorage::open(data.join("node-1"), NodeId(1))?;
/// if let Some(dropped) = storage.dropped() {
///     println!("{dropped}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// A write is one transaction, whole or not at all, and one `fdatasync`. After an error every further write fails too; opening the
/// folder again reads what reached the disk.
///
/// **The folder is the node's memory.** A node that comes back without it, or with an old copy, may vote twice in a term and forget what it
/// acknowledged; let it join under a new id instead.
#[derive(Debug)]
pub struct RedbStorage {
    file: PathBuf,
    database: Database,
    writes: Writes,
    /// What is durable.
    state: State,
    /// What was found when it was opened, until it is asked for or no longer true.
    found: Option<Stored>,
    dropped: Option<String>,
    /// Held as long as the database is open, and so dropped after it.
    _lock: File,
}

impl RedbStorage {
    /// Opens a node's folder. One that does not exist or is empty is made a new node's, and is durably so when this returns. One that holds
    /// only term and vote, as Biglock 0.1 left it, is read, and grows with the next write.
    ///
    /// All of it is read and checked: about as long as the system takes to read the files. After a crash, a last write that is not whole is
    /// [dropped](RedbStorage::dropped): it was never acknowledged.
    ///
    /// # Errors
    /// If the folder can't be made, read or written; if it is in use, also by this process; if it belongs to another node; if it was
    /// written by another version; if anything in it is damaged, missing, or older than what was acknowledged. Nothing in it is changed then.
    pub fn open(path: impl AsRef<Path>, id: NodeId) -> Result<RedbStorage, StorageError> {
        let folder = path.as_ref();
        folder::make(folder).map_err(failed(
            || format!("can't make the folder {}", folder.display()),
            "choose one that this user may write to",
        ))?;
        let lock = folder::lock(folder)?;
        let file = folder.join(FILE);
        folder::prepare(folder, &file, id)?;
        let (mut writes, last) = Writes::open(folder).map_err(failed(
            || format!("can't open {}", folder.join(writes::FILE).display()),
            "check that this user may read and write it",
        ))?;

        let examined = examine::examine(&file, id, last.as_ref()).map_err(telling(&file))?;
        if let Some(dropped) = &examined.dropped {
            tracing::warn!("{dropped}");
        }
        let database = Builder::new()
            .set_cache_size(CACHE)
            .open(&file)
            .map_err(redb::Error::from)
            .map_err(Problem::from)
            .map_err(telling(&file))?;
        let state = records::read_state(&database, id).map_err(telling(&file))?;
        if state != examined.state {
            return Err(telling(&file)(Problem::Damaged(
                "it changed while it was opened".into(),
            )));
        }
        writes
            .acknowledge(state.writes)
            .map_err(can_not_write(&file))?;
        Ok(RedbStorage {
            file,
            database,
            writes,
            state,
            found: Some(examined.stored),
            dropped: examined.dropped,
            _lock: lock,
        })
    }

    /// Whether no node has begun in this folder yet: it was made, or found empty, when it was opened.
    pub fn is_new(&self) -> bool {
        self.state.writes == 0
    }

    /// What [`open`](RedbStorage::open) dropped, if anything, as a sentence: a write that a crash cut off. Nobody was told that it was durable.
    /// Also logged as a warning.
    ///
    /// A crash of the machine can leave nothing of such a write, not even that there was one.
    pub fn dropped(&self) -> Option<&str> {
        self.dropped.as_deref()
    }
}

impl Storage for RedbStorage {
    fn load(&mut self, _: &Outside) -> Result<Stored, StorageError> {
        match self.found.take() {
            Some(stored) => Ok(stored),
            None => records::read(&self.database, &self.state).map_err(telling(&self.file)),
        }
    }

    fn write(&mut self, _: &Outside, batch: Batch) -> Result<(), StorageError> {
        let next = self.state.after(&batch).map_err(|what| {
            StorageError::new(format!(
                "{}: {what} (this is a bug in Biglock; please report it)",
                self.file.display()
            ))
        })?;
        self.found = None;
        let fail = can_not_write(&self.file);
        self.writes.begin(next.writes, &batch).map_err(&fail)?;
        records::commit(&self.database, &self.state, &next, &batch)
            .map_err(can_not_write(&self.file))?;
        self.writes.acknowledge(next.writes).map_err(&fail)?;
        self.state = next;
        Ok(())
    }
}

type Cause = Box<dyn StdError + Send + Sync>;

/// An error that says what failed, why, and what to do. All in one text, because it is told over the network too.
fn failed<E: Into<Cause>>(what: impl Fn() -> String, remedy: &str) -> impl Fn(E) -> StorageError {
    move |cause| StorageError::new(format!("{}: {} ({remedy})", what(), cause.into()))
}

fn can_not_write<E: Into<Cause>>(file: &Path) -> impl Fn(E) -> StorageError {
    failed(
        move || format!("can't write {}", file.display()),
        "check that the disk has room and is sound, then start the node again",
    )
}

/// The same for what was found in a file.
fn telling(file: &Path) -> impl Fn(Problem) -> StorageError {
    move |problem| {
        let file = file.display();
        StorageError::new(match problem {
            Problem::NotOurs(what) => format!("{file}: {what}"),
            Problem::Damaged(what) => {
                format!("{file}: it is damaged: {what} (check the disk; {REPLACE})")
            }
            Problem::Unreadable(cause) => format!(
                "can't read {file}: {cause} (is it a database of Biglock? Check the disk; if it is damaged, {REPLACE})"
            ),
        })
    }
}
