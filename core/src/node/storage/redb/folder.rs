//! The folder: whose it is, who uses it, and names that survive a crash.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use redb::Builder;

use super::records::{self, State};
use super::writes::{self, Writes};
use super::{CACHE, Cause, REPLACE, failed};
use crate::StorageError;
use crate::rules::{Batch, HardState, NodeId};

/// The database while it is made: it gets its name when it is complete, so that a crash leaves a whole database or none.
const UNFINISHED: &str = "biglock.redb.new";
/// Locked by whoever uses the folder.
const LOCK: &str = "lock";

/// Makes the folder, and those above it, with names that are durable.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = above(folder);
    make(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => {
            Err(error)
        }
        _ => sync(above),
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
pub(super) fn lock(folder: &Path) -> Result<File, StorageError> {
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
pub(super) fn prepare(folder: &Path, file: &Path, id: NodeId) -> Result<(), StorageError> {
    let fail = failed(
        || format!("can't make {}", file.display()),
        "check that the disk has room and that this user may write to the folder",
    );
    if !file.try_exists().map_err(|error| fail(error.into()))? {
        let written = Writes::written(folder).map_err(&fail)?;
        if written {
            return Err(StorageError::new(format!(
                "{} is missing, though this node has written it, as {} beside it says ({REPLACE})",
                file.display(),
                writes::FILE
            )));
        }
        create(folder, file, id).map_err(&fail)?;
    }
    // Even if the file was there: who renamed it may have been killed right after.
    sync(folder).map_err(|error| fail(error.into()))
}

fn create(folder: &Path, file: &Path, id: NodeId) -> Result<(), Cause> {
    let unfinished = folder.join(UNFINISHED);
    // What is there was left by a crash, and by no node that ever said anything.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let database = Builder::new().set_cache_size(CACHE).create(&unfinished)?;
    let new = State::new(id);
    let batch = Batch::new(HardState::default());
    records::commit(&database, &new, &new, &batch)?;
    drop(database);
    Ok(fs::rename(&unfinished, file)?)
}

/// Makes the names in a folder durable.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(windows) {
        // It has no such call, and opens no folder like a file.
        return Ok(());
    }
    File::open(folder)?.sync_all()
}
