//! The snapshot, in pieces.

use bytes::Bytes;
use redb::{ReadableTable, Table};

use super::records::{MOST, Problem};
use crate::codec;
use crate::rules::{Snapshot, SnapshotHead};

/// The key of the head: the snapshot without its state. The pieces of the state follow, from 1.
const HEAD: u64 = 0;

/// A piece of the state, in bytes. Redb gives a value pages whose number is a power of two, and needs a few bytes of them itself.
pub(super) const PIECE: usize = (1 << 20) - 512;

/// Replaces the snapshot. The pages of the old one are free once this is durable.
pub(super) fn put(
    table: &mut Table<'_, u64, &[u8]>,
    snapshot: &Snapshot,
) -> Result<(), redb::Error> {
    let head = SnapshotHead {
        last: snapshot.last,
        time: snapshot.time,
        members: snapshot.members.clone(),
        length: snapshot.data.len() as u64,
    };
    table.retain(|_, _| false)?;
    table.insert(HEAD, codec::encode(&head).as_slice())?;
    for (number, piece) in (HEAD + 1..).zip(snapshot.data.chunks(PIECE)) {
        table.insert(number, piece)?;
    }
    Ok(())
}

/// Reads the snapshot, if there is one.
pub(super) fn get(
    table: &impl ReadableTable<u64, &'static [u8]>,
) -> Result<Option<Snapshot>, Problem> {
    let mut records = table.range::<u64>(..)?;
    let Some(first) = records.next() else {
        return Ok(None);
    };
    let (key, value) = first?;
    if key.value() != HEAD {
        return Err(Problem::damaged("the head of the snapshot is missing"));
    }
    let head: SnapshotHead = codec::decode_within::<_, MOST>(value.value())
        .map_err(|why| Problem::damaged(format!("the head of the snapshot: {why}")))?;
    let mut data = Vec::new();
    for (number, record) in (HEAD + 1..).zip(records) {
        let (key, piece) = record?;
        if key.value() != number {
            return Err(Problem::damaged(format!(
                "piece {number} of the snapshot is missing"
            )));
        }
        if number == HEAD + 1 {
            // At once, and no more than is there if the length is wrong.
            data.reserve_exact(usize::try_from(head.length.min(MOST as u64)).unwrap_or(0));
        }
        data.extend_from_slice(piece.value());
    }
    if data.len() as u64 != head.length {
        return Err(Problem::damaged(format!(
            "the snapshot has {} bytes instead of {}",
            data.len(),
            head.length
        )));
    }
    Ok(Some(Snapshot {
        last: head.last,
        time: head.time,
        members: head.members,
        data: Bytes::from(data),
    }))
}
