//! Plain data as bytes: the only module that names bincode.
//!
//! What it writes is what bincode 2 makes of serde's types, in the order of their fields: numbers of fixed width in network byte
//! order; an enum is the number of its variant (4 bytes) and its fields; an option is one byte, 0 or 1, and the value; a list, map,
//! string or byte string is its length (8 bytes) and its elements. So a type that changes changes the format: whoever stores or sends
//! it writes a version in front.
//!
//! bincode 2.0.1 is finished and pinned. The project is [unmaintained](https://crates.io/crates/bincode/3.0.0), and 3.0.0 is a tombstone
//! without code. Its serde front end is all that is used, here alone, and the bytes above are plain enough to be written by hand should
//! it have to go.

use std::cell::RefCell;

use bincode::config::{BigEndian, Configuration, Fixint, Limit, NoLimit};
use bincode::error::DecodeError;
use bincode::serde::{
    borrow_decode_from_slice, decode_from_slice, encode_into_slice, encode_to_vec,
};
use bytes::Bytes;
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

#[cfg(test)]
mod tests;

const CONFIG: Configuration<BigEndian, Fixint, NoLimit> = bincode::config::standard()
    .with_big_endian()
    .with_fixed_int_encoding();

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Malformed {
    /// They end too early.
    #[error("it is truncated")]
    Truncated,
    /// They go on after their end.
    #[error("it has trailing bytes")]
    Trailing,
    /// They make no sense, or claim to be longer than the limit.
    #[error("it is malformed")]
    Nonsense,
}

/// What was to be written does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it does not fit")]
pub struct TooLong;

/// The bytes of a value.
///
/// # Panics
/// If the type can't be written, which plain data always can: it depends on the type and never on the value.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_to_vec(value, CONFIG).expect("plain data can be written")
}

/// Writes a value to the front of `buffer`, and returns its length.
///
/// # Errors
/// If it does not fit.
pub fn encode_into<T: Serialize>(value: &T, buffer: &mut [u8]) -> Result<usize, TooLong> {
    // The one way in which plain data can fail to be written is that the buffer ends.
    encode_into_slice(value, buffer, CONFIG).map_err(|_| TooLong)
}

/// Reads a value that takes up all of `bytes`, from a source that is trusted not to claim more than it has: a disk's record whose checksum
/// held, an entry of the log. A type that borrows (`&str`, `&[u8]`) copies nothing and reserves nothing, so it needs no such trust.
///
/// # Errors
/// If the bytes are not exactly one value.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Malformed> {
    all_of(bytes, borrow_decode_from_slice(bytes, CONFIG))
}

/// The same from a source that is not trusted: a claim of more than `LIMIT` bytes is an error before anything is reserved for it.
///
/// # Errors
/// If the bytes are not exactly one value.
pub fn decode_within<T: DeserializeOwned, const LIMIT: usize>(
    bytes: &[u8],
) -> Result<T, Malformed> {
    all_of(bytes, decode_from_slice(bytes, limited::<LIMIT>()))
}

/// The same, and the commands in it are parts of `bytes` instead of copies: each keeps the whole of it in memory. For many commands that
/// come together and go together, which otherwise take from the heap one by one.
///
/// # Errors
/// If the bytes are not exactly one value.
pub fn decode_shared<T: DeserializeOwned, const LIMIT: usize>(
    bytes: &Bytes,
) -> Result<T, Malformed> {
    WHOLE.set(bytes.clone());
    let read = borrow_decode_from_slice(bytes, limited::<LIMIT>());
    WHOLE.set(Bytes::new());
    all_of(bytes, read)
}

thread_local! {
    /// What [`decode_shared`] reads: serde hands a field its bytes, and not what they are a part of.
    static WHOLE: RefCell<Bytes> = const { RefCell::new(Bytes::new()) };
}

/// Reads a field that [`decode_shared`] shares.
pub(crate) fn read_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
    from.deserialize_bytes(Part)
}

struct Part;

impl<'de> Visitor<'de> for Part {
    type Value = Bytes;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bytes")
    }

    fn visit_borrowed_bytes<E>(self, part: &'de [u8]) -> Result<Bytes, E> {
        WHOLE.with_borrow(|whole| {
            let begin = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
            let within = begin
                .checked_add(part.len())
                .filter(|end| *end <= whole.len());
            Ok(within.map_or_else(
                || Bytes::copy_from_slice(part),
                |end| whole.slice(begin..end),
            ))
        })
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(bytes.into())
    }

    /// Other formats have no bytes.
    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Bytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = all.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}

const fn limited<const LIMIT: usize>() -> Configuration<BigEndian, Fixint, Limit<LIMIT>> {
    CONFIG.with_limit::<LIMIT>()
}

fn all_of<T>(bytes: &[u8], read: Result<(T, usize), DecodeError>) -> Result<T, Malformed> {
    let (value, length) = read.map_err(|why| match why {
        DecodeError::UnexpectedEnd { .. } => Malformed::Truncated,
        _ => Malformed::Nonsense,
    })?;
    if length < bytes.len() {
        return Err(Malformed::Trailing);
    }
    Ok(value)
}
