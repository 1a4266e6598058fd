//! The wire format: the only module that knows the bytes, and the only one that names bincode.
//!
//! One datagram carries one thing, and is at most [`MAX_DATAGRAM`] bytes long. All numbers are of fixed width and in network byte order.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | [`VERSION`] |
//! | 1 | 8 | the cluster's id: keeps clusters apart that share a network |
//! | 9 | 8 | the sender's node id; 0 in a status request, whose sender is no node |
//! | 17 | 1 | the kind: 0 message, 1 status request, 2 status report |
//! | 18 | | the payload |
//!
//! | kind | payload |
//! |---|---|
//! | message | the receiver's node id (8), the sender's term (8), the [`Body`] |
//! | status request | padding up to [`MAX_DATAGRAM`], whatever it is |
//! | status report | the [`Report`] |
//!
//! Payloads are what bincode 2 makes of the types, in the order of their fields: an enum is the number of its variant (4) and its
//! fields; an option is one byte, 0 or 1, and the value; a set, map or string is its length (8) and its elements. So a type of the core
//! that changes changes the format: a golden test holds the bytes of every kind, and whoever changes them raises [`VERSION`]. Nodes
//! of different versions do not understand each other.
//!
//! # What a sender can do
//! Nobody allocates what a sender chooses. A datagram is decoded from the bytes that arrived, and must be used up.
//!
//! A node: what it is told has no container in it, so it allocates nothing to decode it; only if the payload is malformed, the text of
//! serde's error, which is dropped at once.
//!
//! An asker: a report has containers, and none is as large as it claims to be. A set or map reserves nothing and grows with the elements
//! that are really there. A text is reserved as long as it claims, but all that is claimed counts against bincode's limit, which is one
//! payload; a larger claim is an error before anything is reserved. So a report takes at most 4 KiB of the heap, whatever it says.
//! A list (`Vec`) would not be as good: serde reserves up to 1 MiB for what is claimed.
//!
//! The tests measure this on every datagram that they make up.
//!
//! A status request can come with a forged address, to make a node send its answer there. It is as long as the longest answer, so
//! this gains an attacker nothing over sending the bytes himself.
//!
//! # bincode
//! 2.0.1 is finished and pinned: the project is [unmaintained](https://crates.io/crates/bincode/3.0.0), and 3.0.0 is a tombstone
//! without code. Its serde front end is all that is used, here alone, and the bytes above are plain enough to be written by hand should
//! it have to go.

use biglock::rules::Body;
use biglock::{Message, NodeId, Term};
use bincode::config::{BigEndian, Configuration, Fixint, Limit};
use bincode::error::DecodeError;
use bincode::serde::{decode_from_slice, encode_into_slice};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::Report;

/// The version of the format. Whoever changes a byte of it raises this.
pub const VERSION: u8 = 1;

/// The longest datagram, in bytes: it fits into one frame of every network that carries IPv6 (MTU 1280), headers included, so none is
/// cut into fragments of which each may be lost.
pub const MAX_DATAGRAM: usize = 1200;

/// The bytes before the payload.
pub const HEADER: usize = 18;

const MAX_PAYLOAD: usize = MAX_DATAGRAM - HEADER;

const MESSAGE: u8 = 0;
const STATUS_REQUEST: u8 = 1;
const STATUS_REPORT: u8 = 2;

/// Who asks for a status is no node.
const NOBODY: NodeId = NodeId(0);

const BINCODE: Configuration<BigEndian, Fixint, Limit<MAX_PAYLOAD>> = bincode::config::standard()
    .with_big_endian()
    .with_fixed_int_encoding()
    .with_limit::<MAX_PAYLOAD>();

/// Room for one datagram to send.
pub type Buffer = [u8; MAX_DATAGRAM];

/// What a node can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A message of Raft.
    Message(Message),
    /// Somebody wants to know how the node is.
    Status,
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Invalid {
    /// It is longer than [`MAX_DATAGRAM`].
    #[error("it is longer than {MAX_DATAGRAM} bytes")]
    Oversized,
    /// It ends too early; a status request, if it is shorter than the answer could be.
    #[error("it is truncated")]
    Truncated,
    /// It goes on after its end.
    #[error("it has trailing bytes")]
    Trailing,
    /// Its payload makes no sense.
    #[error("it is malformed")]
    Malformed,
    /// It is of another version of the format.
    #[error("it is not of version {VERSION}")]
    Version,
    /// It is of another cluster.
    #[error("it is of another cluster")]
    Cluster,
    /// It is of a kind that is unknown, or not meant for the receiver.
    #[error("it is of a kind that is not expected")]
    Kind,
    /// Its sender is no peer of the receiver.
    #[error("its sender is no peer")]
    Stranger,
    /// It is for another node.
    #[error("it is for another node")]
    Misaddressed,
}

/// What was to be sent does not fit into a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it does not fit into {MAX_DATAGRAM} bytes")]
pub struct TooLong;

/// Writes a message.
///
/// # Errors
/// If it is too long.
pub fn encode_message<'a>(
    buffer: &'a mut Buffer,
    cluster: u64,
    message: &Message,
) -> Result<&'a [u8], TooLong> {
    let payload = (message.to, message.term, &message.body);
    encode(buffer, cluster, message.from, MESSAGE, &payload)
}

/// Writes a status request: the padding is what makes it as long as the longest answer.
pub fn encode_status_request(buffer: &mut Buffer, cluster: u64) -> &[u8] {
    buffer.fill(0);
    write_header(buffer, cluster, NOBODY, STATUS_REQUEST);
    buffer
}

/// Writes a status report.
///
/// # Errors
/// If it is too long.
pub fn encode_report<'a>(
    buffer: &'a mut Buffer,
    cluster: u64,
    report: &Report,
) -> Result<&'a [u8], TooLong> {
    encode(buffer, cluster, report.status.id, STATUS_REPORT, report)
}

/// Reads what arrived at a node of this cluster. Allocates nothing that the sender chooses.
///
/// # Errors
/// If it is not exactly one message or status request of this version and cluster.
pub fn decode_request(bytes: &[u8], cluster: u64) -> Result<Request, Invalid> {
    let (from, kind, payload) = split(bytes, cluster)?;
    match kind {
        MESSAGE => {
            let (to, term, body): (NodeId, Term, Body) = decode(payload)?;
            Ok(Request::Message(Message {
                from,
                to,
                term,
                body,
            }))
        }
        STATUS_REQUEST if payload.len() == MAX_PAYLOAD => Ok(Request::Status),
        STATUS_REQUEST => Err(Invalid::Truncated),
        _ => Err(Invalid::Kind),
    }
}

/// Reads what arrived at somebody who asked a node of this cluster for its status.
///
/// # Errors
/// If it is not exactly one status report of this version and cluster.
pub fn decode_report(bytes: &[u8], cluster: u64) -> Result<Report, Invalid> {
    match split(bytes, cluster)? {
        (_, STATUS_REPORT, payload) => decode(payload),
        _ => Err(Invalid::Kind),
    }
}

fn write_header(buffer: &mut Buffer, cluster: u64, from: NodeId, kind: u8) {
    buffer[0] = VERSION;
    buffer[1..9].copy_from_slice(&cluster.to_be_bytes());
    buffer[9..17].copy_from_slice(&from.0.to_be_bytes());
    buffer[17] = kind;
}

fn encode<'a>(
    buffer: &'a mut Buffer,
    cluster: u64,
    from: NodeId,
    kind: u8,
    payload: &impl Serialize,
) -> Result<&'a [u8], TooLong> {
    write_header(buffer, cluster, from, kind);
    // The one way in which plain data can fail to be written is that the buffer ends.
    let length = encode_into_slice(payload, &mut buffer[HEADER..], BINCODE).map_err(|_| TooLong)?;
    Ok(&buffer[..HEADER + length])
}

/// Checks the header, and returns the sender, the kind and the payload.
fn split(bytes: &[u8], cluster: u64) -> Result<(NodeId, u8, &[u8]), Invalid> {
    if bytes.len() > MAX_DATAGRAM {
        return Err(Invalid::Oversized);
    }
    // The version comes first, in a byte of its own: another version may have another header.
    let (&version, rest) = bytes.split_first().ok_or(Invalid::Truncated)?;
    if version != VERSION {
        return Err(Invalid::Version);
    }
    let (its_cluster, rest) = rest.split_first_chunk().ok_or(Invalid::Truncated)?;
    let (from, rest) = rest.split_first_chunk().ok_or(Invalid::Truncated)?;
    let (&kind, payload) = rest.split_first().ok_or(Invalid::Truncated)?;
    if u64::from_be_bytes(*its_cluster) != cluster {
        return Err(Invalid::Cluster);
    }
    Ok((NodeId(u64::from_be_bytes(*from)), kind, payload))
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Invalid> {
    let (value, length) = decode_from_slice(payload, BINCODE).map_err(|why| match why {
        DecodeError::UnexpectedEnd { .. } => Invalid::Truncated,
        _ => Invalid::Malformed,
    })?;
    if length < payload.len() {
        return Err(Invalid::Trailing);
    }
    Ok(value)
}
