//! The wire format: the only module that knows the bytes.
//!
//! One datagram is at most [`MAX_DATAGRAM`] bytes long. All numbers are of fixed width and in network byte order.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 1 | [`VERSION`] |
//! | 1 | 8 | the cluster's id: keeps clusters apart that share a network |
//! | 9 | 8 | the sender's node id; 0 if the sender is no node |
//! | 17 | 1 | the kind: 0 messages, 1 status request, 2 status report, 3 client's request, 4 reply to a client |
//! | 18 | | the payload |
//!
//! | kind | payload |
//! |---|---|
//! | messages | the receiver's node id (8); then each message: its length (2), the sender's term (8), the [`Body`](biglock::rules::Body) |
//! | status request | padding up to [`STATUS_DATAGRAM`], whatever it is |
//! | status report | the [`Report`] |
//! | client's request | the [`ClientRequest`] |
//! | reply to a client | the [`ClientReply`] |
//!
//! Payloads are what [`biglock::codec`] makes of the types, in the order of their fields. So a type of the core that changes changes the
//! format: a golden test holds the bytes of every kind, and whoever changes them raises [`VERSION`]. Nodes of different versions do not
//! understand each other.
//!
//! # What a sender can do
//! Nobody allocates what a sender chooses. A datagram is decoded from the bytes that arrived, and must be used up. None of the containers
//! in it is as large as it claims to be: a list, set or map reserves nothing and grows with the elements that are really there. A string of
//! bytes or a text is reserved as long as it claims, but all that is claimed in one message counts against a limit, which is at most
//! four times what arrived (and 256 bytes at least); a larger claim is an error before anything is reserved. What is malformed costs
//! the text of serde's error besides, which is dropped at once. The tests measure this on every datagram that they make up.
//!
//! A status request can come with a forged address, to make a node send its answer there. It is as long as the longest answer, so
//! this gains an attacker nothing over sending the bytes himself. A client's request is not padded, and its answer may be longer: but
//! whoever can send one could as well send a message that makes him the leader.

mod client;
mod messages;

use biglock::NodeId;
use biglock::codec::{Malformed, TooLong, decode_shared, decode_within, encode_into};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

pub use client::{Ask, ClientReply, ClientRequest, Listed, Outcome, Refused};
pub use messages::{Frame, Messages, encode_message};
pub(crate) use messages::{is_max_datagram, max_payload};

use crate::Report;

/// The version of the format. Whoever changes a byte of it raises this.
pub const VERSION: u8 = 2;

/// The longest datagram that UDP over IPv4 carries, in bytes; every node takes what is not longer.
pub const MAX_DATAGRAM: usize = 65_507;

/// The longest datagram that fits into one frame of every network that carries IPv6 (MTU 1280), headers included, so that it is not cut
/// into fragments of which each may be lost. Whatever is not told otherwise sends no longer ones.
pub const SAFE_DATAGRAM: usize = 1200;

/// The length of a status request, and the most that a status report may have.
pub const STATUS_DATAGRAM: usize = SAFE_DATAGRAM;

/// The bytes before the payload.
pub const HEADER: usize = 18;

const MESSAGES: u8 = 0;
const STATUS_REQUEST: u8 = 1;
const STATUS_REPORT: u8 = 2;
const CLIENT_REQUEST: u8 = 3;
const CLIENT_REPLY: u8 = 4;

/// Who asks for something is no node.
const NOBODY: NodeId = NodeId(0);

/// What a node can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Messages of Raft.
    Messages(Messages<'a>),
    /// Somebody wants to know how the node is.
    Status,
    /// A client asks for something.
    Client(ClientRequest),
}

/// Why a datagram, or the rest of one, was dropped.
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
    /// Its sender can't be another node: it says that it is number 0, or the receiver itself.
    #[error("its sender is no other node")]
    Stranger,
    /// It is for another node.
    #[error("it is for another node")]
    Misaddressed,
}

impl From<Malformed> for Invalid {
    fn from(why: Malformed) -> Invalid {
        match why {
            Malformed::Truncated => Invalid::Truncated,
            Malformed::Trailing => Invalid::Trailing,
            Malformed::Nonsense => Invalid::Malformed,
        }
    }
}

/// Writes a status request: the padding is what makes it as long as the longest answer.
pub fn encode_status_request(buffer: &mut [u8; STATUS_DATAGRAM], cluster: u64) -> &[u8] {
    buffer.fill(0);
    write_header(buffer, cluster, NOBODY, STATUS_REQUEST);
    buffer
}

/// Writes a status report.
///
/// # Errors
/// If it is too long.
pub fn encode_report<'a>(
    buffer: &'a mut [u8; STATUS_DATAGRAM],
    cluster: u64,
    report: &Report,
) -> Result<&'a [u8], TooLong> {
    encode(buffer, cluster, report.status.id, STATUS_REPORT, report)
}

/// Writes a client's request.
///
/// # Errors
/// If it does not fit into the buffer.
pub fn encode_client_request<'a>(
    buffer: &'a mut [u8],
    cluster: u64,
    request: &ClientRequest,
) -> Result<&'a [u8], TooLong> {
    encode(buffer, cluster, NOBODY, CLIENT_REQUEST, request)
}

/// Writes a node's reply to a client.
///
/// # Errors
/// If it does not fit into the buffer.
pub fn encode_client_reply<'a>(
    buffer: &'a mut [u8],
    cluster: u64,
    from: NodeId,
    reply: &ClientReply,
) -> Result<&'a [u8], TooLong> {
    encode(buffer, cluster, from, CLIENT_REPLY, reply)
}

/// Reads what arrived at a node of this cluster.
///
/// # Errors
/// If it is not exactly one request of this version and cluster. Each of several messages is checked when it is taken.
pub fn decode_request(bytes: &[u8], cluster: u64) -> Result<Request<'_>, Invalid> {
    let (from, kind, payload) = split(bytes, cluster)?;
    match kind {
        MESSAGES => Messages::of(from, payload).map(Request::Messages),
        STATUS_REQUEST if bytes.len() == STATUS_DATAGRAM => Ok(Request::Status),
        STATUS_REQUEST if bytes.len() < STATUS_DATAGRAM => Err(Invalid::Truncated),
        STATUS_REQUEST => Err(Invalid::Trailing),
        CLIENT_REQUEST => decode(payload).map(Request::Client),
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

/// Reads what arrived at a client: which node replies, and what.
///
/// # Errors
/// If it is not exactly one reply to a client of this version and cluster.
pub fn decode_client_reply(bytes: &[u8], cluster: u64) -> Result<(NodeId, ClientReply), Invalid> {
    match split(bytes, cluster)? {
        (from, CLIENT_REPLY, payload) => Ok((from, decode(payload)?)),
        _ => Err(Invalid::Kind),
    }
}

fn write_header(buffer: &mut [u8], cluster: u64, from: NodeId, kind: u8) {
    buffer[0] = VERSION;
    buffer[1..9].copy_from_slice(&cluster.to_be_bytes());
    buffer[9..17].copy_from_slice(&from.0.to_be_bytes());
    buffer[17] = kind;
}

fn encode<'a>(
    buffer: &'a mut [u8],
    cluster: u64,
    from: NodeId,
    kind: u8,
    payload: &impl Serialize,
) -> Result<&'a [u8], TooLong> {
    if buffer.len() < HEADER {
        return Err(TooLong);
    }
    write_header(buffer, cluster, from, kind);
    let length = encode_into(payload, &mut buffer[HEADER..])?;
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

/// Reads one value. The limit of what it may claim goes with what arrived, in steps because it is part of the type.
fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Invalid> {
    let value = match payload.len() {
        0..=256 => decode_within::<T, 256>(payload),
        257..=1024 => decode_within::<T, 1024>(payload),
        1025..=4096 => decode_within::<T, 4096>(payload),
        4097..=16_384 => decode_within::<T, 16_384>(payload),
        _ => decode_within::<T, 65_536>(payload),
    };
    Ok(value?)
}

/// The same, with one copy of all the commands in it.
fn decode_together<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Invalid> {
    let payload = Bytes::copy_from_slice(payload);
    let value = match payload.len() {
        0..=256 => decode_shared::<T, 256>(&payload),
        257..=1024 => decode_shared::<T, 1024>(&payload),
        1025..=4096 => decode_shared::<T, 4096>(&payload),
        4097..=16_384 => decode_shared::<T, 16_384>(&payload),
        _ => decode_shared::<T, 65_536>(&payload),
    };
    Ok(value?)
}
