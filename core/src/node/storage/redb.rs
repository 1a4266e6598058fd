//! Term and vote in an embedded database, [redb](https://docs.rs/redb).

use std::error::Error as StdError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use redb::{Builder, Database, Durability, ReadableDatabase, TableDefinition, TableError};

use super::{Batch, Storage, Stored};
use crate::rules::{HardState, NodeId, Term};
use crate::{Outside, StorageError};

/// The database, in the node's folder.
const FILE: &str = "biglock.redb";
/// The same while it is made: it gets its name when it is complete, so that a crash leaves a whole database or none.
const UNFINISHED: &str = "biglock.redb.new";
/// Locked by whoever uses the folder.
const LOCK: &str = "lock";

/// One table with one record. Its value is a slice, so that another version's, of whatever length, can be told from damage.
const TABLE: TableDefinition<'_, (), &[u8]> = TableDefinition::new("hard_state");

/// The version of the record, its first byte.
const VERSION: u8 = 1;
/// The record: version (1), node (8), term (8), whether it voted (1), for whom (8), in network byte order.
const LENGTH: usize = 26;

/// The database caches a gigabyte unless told otherwise. It has a dozen pages.
const CACHE: usize = 1 << 20;

/// Keeps term and vote in a folder on disk, in an embedded database. What it has written survives a crash of the machine.
///
/// ```
/// use biglock::{Config, LocalNetwork, Node, NodeId, RedbStorage};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let temporary = tempfile::tempdir()?;
/// # let data = temporary.path();
/// let storage = RedbStorage::open(data.join("node-1"), NodeId(1))?;
/// let transport = LocalNetwork::new().transport(1);
/// let node = Node::start(Config::new(1, [1]), storage, transport)?;
/// # node.shutdown()?;
/// # Ok(())
/// # }
/// ```
///
/// A write is one transaction of one record: five or six pages, and one `fdatasync`. After an error every further write fails too; opening the
/// folder again reads what reached the disk.
///
/// **The folder is the node's memory.** A node that comes back without it, or with an old copy, may vote twice in a term; let it
/// join under a new id instead.
#[derive(Debug)]
pub struct RedbStorage {
    id: NodeId,
    file: PathBuf,
    database: Database,
    /// Held as long as the database is open, and so dropped after it.
    _lock: File,
}

impl RedbStorage {
    /// Opens a node's folder. One that does not exist or is empty is made a new node's, and is durably so when this returns.
    ///
    /// # Errors
    /// If the folder can't be made, read or written; if it is in use, also by this process; if it belongs to another node; if it was
    /// written by another version; if the database is damaged. Nothing in it is changed then.
    pub fn open(path: impl AsRef<Path>, id: NodeId) -> Result<RedbStorage, StorageError> {
        let folder = path.as_ref();
        make_folder(folder).map_err(failed(
            || format!("can't make the folder {}", folder.display()),
            "choose one that this user may write to",
        ))?;
        let lock = lock(folder)?;
        let file = folder.join(FILE);
        prepare(folder, &file, id).map_err(failed(
            || format!("can't make {}", file.display()),
            "check that the disk has room and that this user may write to the folder",
        ))?;
        let database = Builder::new()
            .set_cache_size(CACHE)
            .open(&file)
            .map_err(failed(
                || format!("can't open {}", file.display()),
                "is it a database of Biglock? If it is damaged, remove this node and let it join under a new id: its vote is lost",
            ))?;
        let storage = RedbStorage {
            id,
            file,
            database,
            _lock: lock,
        };
        // Says now, and not when the node starts, that this is not the node's own.
        storage.read()?;
        Ok(storage)
    }

    fn read(&self) -> Result<HardState, StorageError> {
        let value = read_value(&self.database).map_err(failed(
            || format!("can't read {}", self.file.display()),
            "check the disk; if it is damaged, remove this node and let it join under a new id: its vote is lost",
        ))?;
        decode(value.as_deref(), self.id)
            .map_err(|what| StorageError::new(format!("{}: {what}", self.file.display())))
    }
}

impl Storage for RedbStorage {
    fn load(&mut self, _: &Outside) -> Result<Stored, StorageError> {
        self.read().map(Stored::new)
    }

    fn write(&mut self, _: &Outside, batch: &Batch) -> Result<(), StorageError> {
        commit(&self.database, self.id, batch.hard_state).map_err(failed(
            || format!("can't write {}", self.file.display()),
            "check that the disk has room and is sound, then start the node again",
        ))
    }
}

type Cause = Box<dyn StdError + Send + Sync>;

/// An error that says what failed, why, and what to do. All in one text, because it is told over the network too.
fn failed<E: Into<Cause>>(
    what: impl FnOnce() -> String,
    remedy: &str,
) -> impl FnOnce(E) -> StorageError {
    move |cause| StorageError::new(format!("{}: {} ({remedy})", what(), cause.into()))
}

/// Makes the folder, and those above it, with names that are durable.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = above(folder);
    make_folder(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => {
            Err(error)
        }
        _ => sync_folder(above),
    }
}

fn above(folder: &Path) -> &Path {
    match folder.parent() {
        None => folder,
        // A relative name of one part is in the current folder.
        Some(above) if above == Path::new("") => Path::new("."),
        Some(above) => above,
    }
}

/// Keeps two nodes from using one folder.
fn lock(folder: &Path) -> Result<File, StorageError> {
    let path = folder.join(LOCK);
    let locked = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(TryLockError::Error)
        .and_then(|file| file.try_lock().map(|()| file));
    match locked {
        Ok(file) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StorageError::new(format!(
            "{} is in use: another node runs on it; stop that one, or give this one a folder of its own",
            folder.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(
            || format!("can't lock {}", path.display()),
            "check that this user may write to the folder",
        )(error)),
    }
}

/// Makes the database, if this is a new node, and its name durable, which a file's own sync does not. Only with the folder locked.
fn prepare(folder: &Path, file: &Path, id: NodeId) -> Result<(), Cause> {
    if !file.try_exists()? {
        let unfinished = folder.join(UNFINISHED);
        // What is there was left by a crash, and by no node that ever said anything.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let database = Builder::new().set_cache_size(CACHE).create(&unfinished)?;
        commit(&database, id, HardState::default())?;
        drop(database);
        fs::rename(&unfinished, file)?;
        sync_folder(above(folder))?;
    }
    // Even if the file was there: who renamed it may have been killed right after.
    Ok(sync_folder(folder)?)
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(windows) {
        // It has no such call, and opens no folder like a file.
        return Ok(());
    }
    File::open(folder)?.sync_all()
}

/// Replaces the record, durably.
fn commit(database: &Database, id: NodeId, hard_state: HardState) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // Both are the defaults, and what the node's promises rest on: durable when `commit` returns, by one sync; whether the last
    // commit is whole is found by checksum when the database is opened after a crash.
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(false);
    transaction
        .open_table(TABLE)?
        .insert((), encode(id, hard_state).as_slice())?;
    Ok(transaction.commit()?)
}

fn read_value(database: &Database) -> Result<Option<Vec<u8>>, redb::Error> {
    match database.begin_read()?.open_table(TABLE) {
        Ok(table) => Ok(table.get(())?.map(|value| value.value().to_vec())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn encode(id: NodeId, hard_state: HardState) -> [u8; LENGTH] {
    let mut value = [0; LENGTH];
    value[0] = VERSION;
    value[1..9].copy_from_slice(&id.0.to_be_bytes());
    value[9..17].copy_from_slice(&hard_state.term.0.to_be_bytes());
    if let Some(NodeId(candidate)) = hard_state.voted_for {
        value[17] = 1;
        value[18..26].copy_from_slice(&candidate.to_be_bytes());
    }
    value
}

fn decode(value: Option<&[u8]>, id: NodeId) -> Result<HardState, String> {
    let value = value
        .ok_or("it is a database, but none of Biglock's; give the node a folder of its own")?;
    let version = value.first().copied().unwrap_or_default();
    if version != VERSION {
        return Err(format!(
            "it is of format {version}, and this version of Biglock knows format {VERSION}; use the version that wrote it"
        ));
    }
    let damaged =
        "its record is damaged; remove this node and let it join under a new id: its vote is lost";
    let value: &[u8; LENGTH] = value.try_into().map_err(|_| damaged)?;
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&value[at..at + 8]);
        u64::from_be_bytes(bytes)
    };
    let owner = NodeId(number(1));
    if owner != id {
        return Err(format!(
            "it belongs to {owner}, and this is {id}; correct the id, or give this node a folder of its own"
        ));
    }
    let voted_for = match value[17] {
        0 => None,
        1 => Some(NodeId(number(18))),
        _ => return Err(damaged.into()),
    };
    Ok(HardState {
        term: Term(number(9)),
        voted_for,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::*;

    /// A disk whose sync fails once it is told so.
    #[derive(Debug, Default)]
    struct Disk {
        memory: InMemoryBackend,
        broken: Arc<AtomicBool>,
    }

    impl StorageBackend for Disk {
        fn len(&self) -> Result<u64, io::Error> {
            self.memory.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
            self.memory.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), io::Error> {
            self.memory.set_len(len)
        }

        fn sync_data(&self) -> Result<(), io::Error> {
            if self.broken.load(Ordering::Relaxed) {
                return Err(io::Error::other("the disk is gone"));
            }
            self.memory.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
            self.memory.write(offset, data)
        }
    }

    #[test]
    fn a_failed_sync_is_an_error_and_so_is_every_write_after_it() {
        let disk = Disk::default();
        let broken = disk.broken.clone();
        let mut storage = RedbStorage {
            id: NodeId(1),
            file: "somewhere/biglock.redb".into(),
            database: Builder::new().create_with_backend(disk).unwrap(),
            _lock: tempfile::tempfile().unwrap(),
        };
        let outside = Outside::claim("test");
        let vote = |term| {
            Batch::new(HardState {
                term: Term(term),
                voted_for: Some(NodeId(2)),
            })
        };
        storage.write(&outside, &vote(1)).unwrap();
        broken.store(true, Ordering::Relaxed);
        let error = storage.write(&outside, &vote(2)).unwrap_err().to_string();
        assert!(error.contains("somewhere/biglock.redb"), "{error}");
        assert!(error.contains("the disk is gone"), "{error}");
        // A disk that seems well again proves nothing about what it dropped.
        broken.store(false, Ordering::Relaxed);
        assert!(storage.write(&outside, &vote(3)).is_err());
    }
}
