//! A replicated key-value store: the state machine of the examples, and one to start your own from.
//!
//! Every node runs a [`KvStore`]. A client proposes a [`Command`]; once it is committed, every node applies it, and the client gets the
//! [`Reply`]. Whoever only reads asks the node for leave, and then its own store:
//!
//! ```
//! use biglock::kv::{Command, KvStore, Reply};
//! use biglock::{Config, LocalNetwork, MemoryStorage, Node};
//! # use std::time::Duration;
//!
//! let network = LocalNetwork::new();
//! let store = KvStore::new();
//! let node = Node::start(
//!     Config::new(1, [1]),
//!     MemoryStorage::new(),
//!     network.transport(1),
//!     store.clone(), // the node applies to one handle, we read through the other
//! )?;
//! # node.wait_for_leader(Duration::from_secs(5))?;
//!
//! node.propose(Command::put("fruit", "apple"))?.wait()?;
//! node.read()?; // from here on, the store has all that was committed before
//! assert_eq!(store.get("fruit").as_deref(), Some(&b"apple"[..]));
//!
//! let swap = Command::compare_and_swap("fruit", Some("pear".into()), "plum");
//! let reply = node.propose(swap)?.wait()?;
//! assert_eq!(Reply::decode(&reply)?, Reply::Mismatch(Some("apple".into())));
//! # node.shutdown()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Keys are strings, because people type them and errors print them; values are any bytes.

mod command;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

pub use command::{Command, NotAReply, Reply};

use crate::{Applied, RestoreError, StateMachine, codec};

/// The first thing in a snapshot: whose it is, and in which version.
const FORMAT: &str = "biglock::kv 1";

/// The store: a cheap handle, whose clones all see the same state. One clone becomes the node's state machine, the others read.
#[derive(Clone, Default)]
pub struct KvStore {
    /// The apply thread writes while others read. Held for one operation at a time, or for one snapshot.
    state: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

impl KvStore {
    /// An empty store.
    pub fn new() -> KvStore {
        KvStore::default()
    }

    /// The value of a key on this node, which may be old: call [`Node::read`](crate::Node::read) before.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.state().get(key).cloned()
    }

    /// How many keys there are on this node.
    pub fn len(&self) -> usize {
        self.state().len()
    }

    /// Whether there is no key on this node.
    pub fn is_empty(&self) -> bool {
        self.state().is_empty()
    }

    fn state(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KvStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.len();
        f.debug_struct("KvStore")
            .field("len", &len)
            .finish_non_exhaustive()
    }
}

impl StateMachine for KvStore {
    fn apply(&mut self, _: Applied, command: &[u8]) -> Bytes {
        let reply = match Command::decode(command) {
            Ok(command) => {
                let mut state = self.state();
                let mut value = state.get(command.key()).cloned();
                let reply = command.run(&mut value);
                match value {
                    Some(value) => state.insert(command.key().into(), value),
                    None => state.remove(command.key()),
                };
                reply
            }
            Err(_) => Reply::Malformed,
        };
        codec::encode(&reply).into()
    }

    /// It is a map in memory.
    fn is_instant(&self) -> bool {
        true
    }

    /// Equal states have equal snapshots: the map is in order.
    fn snapshot(&mut self) -> Bytes {
        codec::encode(&(FORMAT, &*self.state())).into()
    }

    /// Replaces all keys or, if the bytes are damaged, none.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        // Borrowed, so that a wrong length asks for no memory.
        let (format, state): (&str, BTreeMap<&str, &[u8]>) =
            codec::decode(snapshot).map_err(|why| {
                RestoreError::new(
                    "the key-value snapshot is damaged: start the node with an empty storage and a new id, and let the leader send it one",
                )
                .caused_by(why)
            })?;
        if format != FORMAT {
            return Err(RestoreError::new(format!(
                "the snapshot is of the format {format:?} and this store reads {FORMAT:?}: run the version that wrote it"
            )));
        }
        let owned = |(key, value): (&str, &[u8])| (key.into(), Bytes::copy_from_slice(value));
        *self.state() = state.into_iter().map(owned).collect();
        Ok(())
    }
}
