//! What is in the database, and how it is read and written.
//!
//! | table | key | value |
//! |---|---|---|
//! | `hard_state` | none | the version, one byte, then [`State`] |
//! | `snapshot` | 0, then 1, 2, ... | the snapshot without its state, then the state in pieces |
//! | `log` | the index | the entry |
//!
//! The one record of the first table says what must be in the others, so that nothing can be missing unnoticed. All values are what
//! [`codec`] makes of them; numbers are in network byte order. Whoever changes one of them must raise the version.

use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    TableError, TableHandle, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::snapshot;
use crate::codec;
use crate::rules::{Batch, Entry, HardState, Members, NodeId, Position, Stored};

/// Its value is a slice, so that another version's, of whatever length, can be told from damage.
const STATE: TableDefinition<'_, (), &[u8]> = TableDefinition::new("hard_state");
const SNAPSHOT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("snapshot");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// The version of all records.
const VERSION: u8 = 3;
/// The version before the members were kept with which a node begins.
const NO_FOUNDERS: u8 = 2;
/// The version of Biglock 0.1.0 before it had a log. It had the first table alone.
const TERM_AND_VOTE: u8 = 1;

/// The most that a record may claim, in bytes, so that a wrong length is an error and not the end of the process.
pub(super) const MOST: usize = 1 << 30;

/// Term and vote, with which members the node began, and what must be in the other tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Whose it is.
    node: NodeId,
    pub(super) hard_state: HardState,
    /// How many batches were written.
    pub(super) writes: u64,
    /// Where the snapshot ends; all zero if there is none. The first entry follows it.
    pub(super) snapshot: Position,
    /// The index of the last entry, or where the snapshot ends if there is none.
    pub(super) last: u64,
    /// With which members the node began, if it has.
    founders: Option<Members>,
}

/// Why something can't be read.
#[derive(Debug, Error)]
pub(super) enum Problem {
    /// It is sound, but not for this node. The text says what to do.
    #[error("{0}")]
    NotOurs(String),
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    Unreadable(#[from] redb::Error),
}

impl Problem {
    pub(super) fn damaged(what: impl Into<String>) -> Problem {
        Problem::Damaged(what.into())
    }
}

impl From<redb::StorageError> for Problem {
    fn from(error: redb::StorageError) -> Problem {
        Problem::Unreadable(error.into())
    }
}

impl State {
    /// A new node's.
    pub(super) fn new(node: NodeId) -> State {
        State {
            node,
            hard_state: HardState::default(),
            writes: 0,
            snapshot: Position::default(),
            last: 0,
            founders: None,
        }
    }

    /// The index of the first entry, or of the one to come.
    fn first(&self) -> u64 {
        self.snapshot.index + 1
    }

    /// What it is after this batch.
    ///
    /// # Errors
    /// If the log would have a gap: what the batch is refused for, in words.
    pub(super) fn after(&self, batch: &Batch) -> Result<State, String> {
        let mut next = self.clone();
        next.hard_state = batch.hard_state;
        next.writes += 1;
        if batch.founders.is_some() {
            next.founders.clone_from(&batch.founders);
        }
        if let Some(snapshot) = &batch.snapshot {
            if snapshot.last.index < self.snapshot.index.max(1) {
                return Err(format!(
                    "a snapshot up to entry {} can't take the place of one up to entry {}",
                    snapshot.last.index, self.snapshot.index
                ));
            }
            next.snapshot = snapshot.last;
            next.last = next.last.max(snapshot.last.index);
        }
        if let Some(suffix) = &batch.log {
            if suffix.first == 0 || suffix.first > next.last + 1 {
                return Err(format!(
                    "entry {} can't follow entry {}",
                    suffix.first, next.last
                ));
            }
            let last = suffix.first - 1 + suffix.entries.len() as u64;
            next.last = last.max(next.snapshot.index);
        }
        Ok(next)
    }

    fn encode(&self) -> Vec<u8> {
        let mut value = vec![VERSION];
        value.extend(codec::encode(self));
        value
    }

    fn decode(value: &[u8], id: NodeId) -> Result<State, Problem> {
        let state = match value {
            [VERSION, rest @ ..] => codec::decode(rest)
                .map_err(|why| Problem::damaged(format!("its first record: {why}")))?,
            [NO_FOUNDERS, rest @ ..] => no_founders(rest)?,
            [TERM_AND_VOTE, rest @ ..] => term_and_vote(rest)?,
            _ => {
                let version = value.first().copied().unwrap_or_default();
                return Err(Problem::NotOurs(format!(
                    "it is of format {version}, and this version of Biglock knows formats {TERM_AND_VOTE} to {VERSION}; use the version that wrote it"
                )));
            }
        };
        if state.node != id {
            return Err(Problem::NotOurs(format!(
                "it belongs to {}, and this is {id}; correct the id, or give this node a folder of its own",
                state.node
            )));
        }
        Ok(state)
    }
}

/// The same but for the last field.
fn no_founders(value: &[u8]) -> Result<State, Problem> {
    let (node, hard_state, writes, snapshot, last) =
        codec::decode(value).map_err(|why| Problem::damaged(format!("its first record: {why}")))?;
    Ok(State {
        node,
        hard_state,
        writes,
        snapshot,
        last,
        founders: None,
    })
}

/// Node, term, whether it voted, and for whom, or zero.
fn term_and_vote(value: &[u8]) -> Result<State, Problem> {
    let old: (NodeId, crate::rules::Term, bool, NodeId) =
        codec::decode(value).map_err(|why| Problem::damaged(format!("its one record: {why}")))?;
    let (node, term, voted, candidate) = old;
    let mut state = State::new(node);
    state.hard_state = HardState {
        term,
        voted_for: voted.then_some(candidate),
    };
    Ok(state)
}

/// Does one batch, durably, whole or not at all.
pub(super) fn commit(
    database: &Database,
    before: &State,
    after: &State,
    batch: &Batch,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // Both are the defaults, and what the node's promises rest on: durable when `commit` returns, by one sync; whether the last
    // commit is whole is found by checksum when the database is opened after a crash.
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(false);
    transaction
        .open_table(STATE)?
        .insert((), after.encode().as_slice())?;
    if let Some(snapshot) = &batch.snapshot {
        snapshot::put(&mut transaction.open_table(SNAPSHOT)?, snapshot)?;
    }
    if batch.snapshot.is_some() || batch.log.is_some() {
        write_log(&transaction, before, after, batch)?;
    }
    Ok(transaction.commit()?)
}

fn write_log(
    transaction: &WriteTransaction,
    before: &State,
    after: &State,
    batch: &Batch,
) -> Result<(), redb::Error> {
    // Of those that are there, these stay.
    let end = batch.log.as_ref().map_or(u64::MAX, |suffix| suffix.first);
    let stay = after.first().max(before.first())..end.min(before.last + 1);
    if stay.is_empty() && before.first() <= before.last {
        transaction.delete_table(LOG)?;
    }
    let mut table = transaction.open_table(LOG)?;
    if !stay.is_empty() {
        if before.first() < stay.start {
            table.retain_in(..stay.start, |_, _| false)?;
        }
        if stay.end <= before.last {
            table.retain_in(stay.end.., |_, _| false)?;
        }
    }
    if let Some(suffix) = &batch.log {
        // What the snapshot holds is not kept again.
        for (index, entry) in (suffix.first..).zip(&suffix.entries) {
            if index >= after.first() {
                table.insert(index, codec::encode(entry).as_slice())?;
            }
        }
    }
    Ok(())
}

/// Reads term and vote, and what else must be there.
pub(super) fn read_state(database: &Database, id: NodeId) -> Result<State, Problem> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let value = match open(&transaction, STATE)? {
        None => None,
        Some(table) => table.get(())?.map(|value| value.value().to_vec()),
    };
    let value = value.ok_or_else(|| {
        Problem::NotOurs(
            "it is a database, but none of Biglock's; give the node a folder of its own".into(),
        )
    })?;
    State::decode(&value, id)
}

/// Reads the rest, and checks that it is what must be there.
pub(super) fn read(database: &Database, state: &State) -> Result<Stored, Problem> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let snapshot = match open(&transaction, SNAPSHOT)? {
        None => None,
        Some(table) => snapshot::get(&table)?,
    };
    let found = snapshot.as_ref().map_or(Position::default(), |s| s.last);
    if found != state.snapshot {
        return Err(Problem::damaged(format!(
            "its snapshot should be up to entry {}, and is up to entry {}",
            state.snapshot.index, found.index
        )));
    }
    let entries = match open(&transaction, LOG)? {
        None => Vec::new(),
        Some(table) => read_log(&table, state)?,
    };
    let next = state.first() + entries.len() as u64;
    if next <= state.last {
        return Err(missing(next, state));
    }
    Ok(Stored::new(state.hard_state)
        .with_founders(state.founders.clone())
        .with_snapshot(snapshot)
        .with_entries(entries))
}

fn read_log(
    table: &impl ReadableTable<u64, &'static [u8]>,
    state: &State,
) -> Result<Vec<Entry>, Problem> {
    let mut entries = Vec::new();
    let mut term = state.snapshot.term;
    for (expected, record) in (state.first()..).zip(table.range::<u64>(..)?) {
        let (index, value) = record?;
        let index = index.value();
        if index > expected && expected <= state.last {
            return Err(missing(expected, state));
        }
        if index != expected || index > state.last {
            return Err(Problem::damaged(format!(
                "it has an entry {index}, and should have entries {} to {}",
                state.first(),
                state.last
            )));
        }
        let entry: Entry = codec::decode_within::<_, MOST>(value.value())
            .map_err(|why| Problem::damaged(format!("entry {index}: {why}")))?;
        if entry.term < term || entry.term > state.hard_state.term {
            return Err(Problem::damaged(format!(
                "entry {index} is of {}, which can't be: the one before is of {term}, and the node is in {}",
                entry.term, state.hard_state.term
            )));
        }
        term = entry.term;
        entries.push(entry);
    }
    Ok(entries)
}

fn missing(index: u64, state: &State) -> Problem {
    Problem::damaged(format!(
        "entry {index} is missing: it should have entries {} to {}",
        state.first(),
        state.last
    ))
}

/// A table, if it is there: redb makes one when it is first written.
fn open<K: redb::Key + 'static, V: redb::Value + 'static>(
    transaction: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<Option<redb::ReadOnlyTable<K, V>>, Problem> {
    match transaction.open_table(table) {
        Ok(open) => Ok(Some(open)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(TableError::Storage(error)) => Err(error.into()),
        Err(error) => Err(Problem::damaged(format!(
            "its table {}: {error}",
            table.name()
        ))),
    }
}
