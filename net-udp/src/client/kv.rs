//! The key-value store over UDP.

use biglock::codec;
use biglock::kv::{Command, KvStore, Reply};
use bytes::Bytes;

use super::{Client, ClientConfig, ClientError};
use crate::codec::MAX_DATAGRAM;

/// Serves clients' reads from a key-value store: the question is a key, the answer a [`Reply::Value`]. For
/// [`UdpTransport::with_reader`](crate::UdpTransport::with_reader).
pub fn kv_reader(store: KvStore) -> impl Fn(&[u8]) -> Bytes + Send + Sync + 'static {
    move |key| {
        let value = std::str::from_utf8(key).ok();
        let value = value.and_then(|key| store.get(key));
        codec::encode(&Reply::Value(value)).into()
    }
}

/// A client of a cluster of [`KvStore`]s that serve reads with [`kv_reader`].
#[derive(Debug)]
pub struct KvClient {
    client: Client,
}

/// What became of a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// The value was what was expected, and is the new one now.
    Done,
    /// It was this, and still is.
    Found(Option<Bytes>),
}

impl KvClient {
    /// A client, as [`Client::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect(config: ClientConfig) -> Result<KvClient, ClientError> {
        Client::connect(config).map(KvClient::from)
    }

    /// The value of a key; nothing if there is none. Linearizable.
    ///
    /// # Errors
    /// As [`Client::read`].
    pub fn get(&mut self, key: impl Into<String>) -> Result<Option<Bytes>, ClientError> {
        let answer = self.client.read(key.into().into_bytes())?;
        match decode(&answer)? {
            Reply::Value(value) => Ok(value),
            other => Err(nonsense(&other)),
        }
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn put(
        &mut self,
        key: impl Into<String>,
        value: impl Into<Bytes>,
    ) -> Result<(), ClientError> {
        self.run(Command::put(key, value))
    }

    /// Adds to the end of a value, once.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn append(
        &mut self,
        key: impl Into<String>,
        value: impl Into<Bytes>,
    ) -> Result<(), ClientError> {
        self.run(Command::append(key, value))
    }

    /// Removes a key, if it is there.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn delete(&mut self, key: impl Into<String>) -> Result<(), ClientError> {
        self.run(Command::delete(key))
    }

    /// Sets the value of a key if it is `expected`; nothing expects the key to be missing.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn compare_and_swap(
        &mut self,
        key: impl Into<String>,
        expected: Option<Bytes>,
        new: impl Into<Bytes>,
    ) -> Result<Swapped, ClientError> {
        match self.reply(Command::compare_and_swap(key, expected, new))? {
            Reply::Done => Ok(Swapped::Done),
            Reply::Mismatch(value) => Ok(Swapped::Found(value)),
            other => Err(nonsense(&other)),
        }
    }

    /// The client, for what is not about keys.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    fn run(&mut self, command: Command) -> Result<(), ClientError> {
        match self.reply(command)? {
            Reply::Done => Ok(()),
            other => Err(nonsense(&other)),
        }
    }

    fn reply(&mut self, command: Command) -> Result<Reply, ClientError> {
        let length = length(&command);
        let command = Bytes::from(command);
        let beside = (command.len() - length) as u64;
        match self.client.call(command) {
            Ok(reply) => decode(&reply),
            // The user counts what the user wrote.
            Err(ClientError::TooLarge {
                size,
                limit,
                may_have_run,
            }) => Err(ClientError::TooLarge {
                size: size.saturating_sub(beside),
                limit: limit.saturating_sub(beside),
                may_have_run,
            }),
            Err(error) => Err(error),
        }
    }
}

impl From<Client> for KvClient {
    fn from(client: Client) -> KvClient {
        KvClient { client }
    }
}

/// Key and values, in bytes.
fn length(command: &Command) -> usize {
    let values = match command {
        Command::Put { value, .. } | Command::Append { value, .. } => value.len(),
        Command::CompareAndSwap { expected, new, .. } => {
            expected.as_ref().map_or(0, Bytes::len) + new.len()
        }
        Command::Delete { .. } | Command::Get { .. } => 0,
    };
    command.key().len() + values
}

/// Reads a reply, which came in a datagram and so is no longer than one.
fn decode(reply: &[u8]) -> Result<Reply, ClientError> {
    Ok(codec::decode_within::<Reply, MAX_DATAGRAM>(reply)?)
}

fn nonsense(reply: &Reply) -> ClientError {
    ClientError::Nonsense(format!("{reply:?}"))
}
