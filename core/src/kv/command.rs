//! What a client may ask of the store, what each of it means, and how it travels.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::codec::{self, Malformed};

/// What a client asks of the store. Each concerns one key; a key that is missing has the value `None`.
///
/// The order of the variants and of their fields is the format of the log: new ones go to the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields say what they are")]
pub enum Command {
    /// Sets the value.
    Put { key: String, value: Bytes },
    /// Adds to the end of the value; a missing key counts as empty. Twice is not the same as once, so retry it in a client session.
    Append { key: String, value: Bytes },
    /// Removes the key, if there is one.
    Delete { key: String },
    /// Sets the value to `new` if it is what was `expected`; `None` expects the key to be missing.
    CompareAndSwap {
        key: String,
        expected: Option<Bytes>,
        new: Bytes,
    },
    /// Answers with the value, through the log. [`Node::read`](crate::Node::read) and [`KvStore::get`](super::KvStore::get) do it without.
    Get { key: String },
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// The value that a `Get` asked for.
    Value(Option<Bytes>),
    /// The compare-and-swap found this value instead of the expected one, and changed nothing.
    Mismatch(Option<Bytes>),
    /// The bytes are no [`Command`]; nothing was changed. It says no more than that: replies are a part of the replicated state, and the
    /// words may differ between versions.
    Malformed,
}

impl Command {
    /// Sets the value of `key`.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Command {
        let (key, value) = (key.into(), value.into());
        Command::Put { key, value }
    }

    /// Adds to the end of the value of `key`.
    pub fn append(key: impl Into<String>, value: impl Into<Bytes>) -> Command {
        let (key, value) = (key.into(), value.into());
        Command::Append { key, value }
    }

    /// Removes `key`.
    pub fn delete(key: impl Into<String>) -> Command {
        Command::Delete { key: key.into() }
    }

    /// Sets the value of `key` to `new` if it is `expected`.
    pub fn compare_and_swap(
        key: impl Into<String>,
        expected: Option<Bytes>,
        new: impl Into<Bytes>,
    ) -> Command {
        let (key, new) = (key.into(), new.into());
        Command::CompareAndSwap { key, expected, new }
    }

    /// Answers with the value of `key`.
    pub fn get(key: impl Into<String>) -> Command {
        Command::Get { key: key.into() }
    }

    /// The one key that it concerns.
    pub fn key(&self) -> &str {
        match self {
            Command::Put { key, .. }
            | Command::Append { key, .. }
            | Command::Delete { key }
            | Command::CompareAndSwap { key, .. }
            | Command::Get { key } => key,
        }
    }

    /// What it does to the value of its key, and the reply. This is the whole meaning of the store: the checker of histories judges by it too.
    pub fn run(&self, value: &mut Option<Bytes>) -> Reply {
        match self {
            Command::Put { value: new, .. } => *value = Some(new.clone()),
            Command::Append { value: end, .. } => {
                let start = value.as_deref().unwrap_or_default();
                *value = Some([start, end].concat().into());
            }
            Command::Delete { .. } => *value = None,
            Command::CompareAndSwap { expected, new, .. } if value == expected => {
                *value = Some(new.clone());
            }
            Command::CompareAndSwap { .. } => return Reply::Mismatch(value.clone()),
            Command::Get { .. } => return Reply::Value(value.clone()),
        }
        Reply::Done
    }
}

/// What is proposed: `node.propose(command)`.
impl From<Command> for Bytes {
    fn from(command: Command) -> Bytes {
        codec::encode(&command).into()
    }
}

/// These bytes are no [`Reply`]: another state machine wrote them, or a newer version of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no reply of this key-value store: {0}")]
pub struct NotAReply(Malformed);

impl Command {
    /// Reads what [`Bytes::from`] wrote.
    pub(super) fn decode(command: &[u8]) -> Result<Command, Malformed> {
        codec::decode_within::<_, LARGEST>(command)
    }
}

impl Reply {
    /// Reads what a proposal was answered with.
    ///
    /// # Errors
    /// If it was not a [`KvStore`](super::KvStore) that answered.
    pub fn decode(reply: &[u8]) -> Result<Reply, NotAReply> {
        codec::decode_within::<_, LARGEST>(reply).map_err(NotAReply)
    }
}

/// The largest command and reply, in bytes: what claims to be larger is malformed. Without a limit, one wrong length would ask for all memory.
const LARGEST: usize = 64 << 20;
